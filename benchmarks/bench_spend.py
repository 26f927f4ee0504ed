"""Online spends against a transfer as pgledger makes it, on the same server, by the same clients.

Two client processes call ``points.spend`` (idempotency key, first-in-first-out lots, all guards) through a prepared
statement, each call its own durable commit. The yardstick is a double-entry transfer written here: two accounts locked
in id order, two rows updated, one transfer inserted. Both run in short rounds in turn: fsync is part of both, and it
swings with the machine.

    python benchmarks/bench_spend.py
    python benchmarks/bench_spend.py --size 2000 --seconds 1
"""

import datetime as dt
import multiprocessing as mp
import random
import time
from multiprocessing.synchronize import Barrier

import kit
import psycopg2

CLIENTS = 2
LOTS = 6

TRANSFER = """
create schema pgl;
create table pgl.account (
    id bigint primary key, balance numeric not null default 0, version bigint not null default 0,
    allow_negative boolean not null default false, updated_at timestamptz not null default now()
);
create table pgl.transfer (
    id bigint generated always as identity primary key, from_id bigint not null references pgl.account,
    to_id bigint not null references pgl.account, amount numeric not null check (amount > 0 and from_id <> to_id),
    from_before numeric not null, from_after numeric not null, from_version bigint not null,
    to_before numeric not null, to_after numeric not null, to_version bigint not null,
    created_at timestamptz not null default now()
);
create index on pgl.transfer (from_id);
create index on pgl.transfer (to_id);
insert into pgl.account (id, balance) select n, 1000000 from generate_series(1, {accounts}) as n;
create function pgl.transfer(payer bigint, payee bigint, amount numeric) returns bigint language plpgsql as $$
declare a pgl.account; b pgl.account; transfer_id bigint;
begin
    perform from pgl.account where id in (payer, payee) order by id for update;
    update pgl.account set balance = balance - amount, version = version + 1, updated_at = now()
    where id = payer returning * into strict a;
    if a.balance < 0 and not a.allow_negative then
        raise exception 'account % has not enough', payer;
    end if;
    update pgl.account set balance = balance + amount, version = version + 1, updated_at = now()
    where id = payee returning * into strict b;
    insert into pgl.transfer (from_id, to_id, amount, from_before, from_after, from_version, to_before, to_after, to_version)
    values (payer, payee, amount, a.balance + amount, a.balance, a.version, b.balance - amount, b.balance, b.version)
    returning id into transfer_id;
    return transfer_id;
end $$;
"""

WARM_UP = """
do $$
begin
    for n in 1..{size} loop
        perform points.spend('M' || n, 1, '{day}', 'till', 'warm-up');
        perform pgl.transfer(n, n % {size} + 1, 1);
    end loop;
end $$
"""


def spends(
    client: int, dsn: str, size: int, day: dt.date, seconds: float, ready: Barrier, done: "mp.Queue[int]"
) -> None:
    """One client: spend one point of a random member, again and again; report how many."""
    connection = psycopg2.connect(dsn, user="loyalty_api")
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(f"PREPARE spend AS SELECT points.spend($1, 1, '{day}', 'till', $2)")
    chosen, n, key = random.Random(), 0, f"{client}-{time.time_ns()}-"
    ready.wait()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        cursor.execute(f"EXECUTE spend ('M{chosen.randint(1, size)}', '{key}{n}')")
        n += 1
    done.put(n)
    connection.close()


def transfers(
    client: int, dsn: str, size: int, day: dt.date, seconds: float, ready: Barrier, done: "mp.Queue[int]"
) -> None:
    """One client: move one point between two random accounts, again and again; report how many."""
    del client, day
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("PREPARE transfer AS SELECT pgl.transfer($1, $2, 1)")
    chosen, n = random.Random(), 0
    ready.wait()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        payer = chosen.randint(1, size)
        payee = (payer + chosen.randint(1, size - 1) - 1) % size + 1
        cursor.execute(f"EXECUTE transfer ({payer}, {payee})")
        n += 1
    done.put(n)
    connection.close()


def main() -> None:
    """Fill a ledger and as many accounts, run the clients of both sides in turn, print the table."""
    parser = kit.arguments(
        __doc__, "members, and accounts of the other side", 20_000, "Goal: 1.0, two clients, fsync on."
    )
    parser.add_argument("--seconds", type=float, default=4, help="length of a round (default: 4)")
    options = parser.parse_args()
    with kit.server(options.directory) as server:
        url = server.ledger("online")
        admin = server.engine(url)
        day = kit.fill(
            admin, members=options.size, lots=LOTS, history=4, valid_through=f"date '{kit.START}' + 400 + l::int"
        )
        kit.execute(admin, TRANSFER.format(accounts=options.size), "VACUUM (ANALYZE)", "CHECKPOINT")
        fsync = kit.one(admin, "SELECT current_setting('fsync'), current_setting('synchronous_commit')")
        dsn = url.set(drivername="postgresql").render_as_string()

        def rate(client: object) -> float:
            ready = mp.Barrier(CLIENTS)
            done: mp.Queue[int] = mp.Queue()
            processes = [
                mp.Process(target=client, args=(n, dsn, options.size, day, options.seconds, ready, done))  # type: ignore[arg-type]
                for n in range(CLIENTS)
            ]
            for process in processes:
                process.start()
            total = sum(int(done.get(timeout=600)) for _ in processes)
            for process in processes:
                process.join()
            return float(total / options.seconds)

        # One of each for every member and account, not counted: what follows is the steady state between checkpoints,
        # without the page images that the first change of a page writes.
        kit.execute(admin, WARM_UP.format(size=options.size, day=day))
        rate(spends), rate(transfers)
        sides = kit.alternate(options.rounds, lambda _: rate(spends), lambda _: rate(transfers))
        kit.invariants(admin, sample=11)
        kit.report(
            [kit.compare(f"online spend, {CLIENTS} clients", "commits/s", "a pgledger-like transfer", 1.0, sides)],
            [f"fsync {fsync[0]}, synchronous_commit {fsync[1]}; {options.size:,} members with {LOTS} open lots each."],
        )


if __name__ == "__main__":
    main()
