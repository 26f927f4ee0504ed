"""Online spends against a transfer as pgledger makes it, on the same server, by the same clients.

Two client processes call ``points.spend`` (idempotency key, first-in-first-out lots, all guards) through a prepared
statement, each call its own durable commit. Two yardsticks, both written here:

* a transfer of pgledger's shape: both accounts locked one by one in id order, both updated, balances and currencies
  checked, one transfer and an entry for each account inserted, text ids, foreign keys and indexes as pgledger has them;
* the least that double entry needs: two accounts locked, two rows updated, one row inserted.

A third, with ``--pgledger``: pgledger's own transfer, from a folder that holds its ``pgledger.sql`` and ``uuid-to-ulid.sql``.

All run in short rounds in turn: fsync is part of each, and it swings with the machine.

    python benchmarks/bench_spend.py
    python benchmarks/bench_spend.py --size 2000 --seconds 1
    python benchmarks/bench_spend.py --pgledger pgledger
"""

import datetime as dt
import functools
import hashlib
import multiprocessing as mp
import random
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import kit
import psycopg2

CLIENTS = 2
LOTS = 6

MINIMAL = """
create schema minimal;
create table minimal.account (
    id bigint primary key, balance numeric not null default 0, version bigint not null default 0,
    allow_negative boolean not null default false, updated_at timestamptz not null default now()
);
create table minimal.transfer (
    id bigint generated always as identity primary key, from_id bigint not null references minimal.account,
    to_id bigint not null references minimal.account, amount numeric not null check (amount > 0 and from_id <> to_id),
    from_before numeric not null, from_after numeric not null, from_version bigint not null,
    to_before numeric not null, to_after numeric not null, to_version bigint not null,
    created_at timestamptz not null default now()
);
create index on minimal.transfer (from_id);
create index on minimal.transfer (to_id);
insert into minimal.account (id, balance) select n, 1000000 from generate_series(1, {accounts}) as n;
create function minimal.transfer(payer bigint, payee bigint, amount numeric) returns bigint language plpgsql as $$
declare a minimal.account; b minimal.account; transfer_id bigint;
begin
    perform from minimal.account where id in (payer, payee) order by id for update;
    update minimal.account set balance = balance - amount, version = version + 1, updated_at = now()
    where id = payer returning * into strict a;
    if a.balance < 0 and not a.allow_negative then
        raise exception 'account % has not enough', payer;
    end if;
    update minimal.account set balance = balance + amount, version = version + 1, updated_at = now()
    where id = payee returning * into strict b;
    insert into minimal.transfer (from_id, to_id, amount, from_before, from_after, from_version, to_before, to_after, to_version)
    values (payer, payee, amount, a.balance + amount, a.balance, a.version, b.balance - amount, b.balance, b.version)
    returning id into transfer_id;
    return transfer_id;
end $$;
"""

# ids come from uuidv7() as hexadecimal text, where pgledger writes them as ULIDs in PL/pgSQL: cheaper for the yardstick
SHAPED = """
create schema shaped;
create function shaped.new_id(prefix text) returns text language sql volatile as $$
    select prefix || '_' || replace(uuidv7()::text, '-', '')
$$;
create table shaped.account (
    id text primary key, name text not null, currency text not null, balance numeric not null default 0,
    version bigint not null default 0, may_be_negative boolean not null, may_be_positive boolean not null, metadata jsonb,
    created_at timestamptz not null default now(), updated_at timestamptz not null default now()
);
create table shaped.transfer (
    id text primary key default shaped.new_id('t'), from_id text not null references shaped.account,
    to_id text not null references shaped.account, amount numeric not null, created_at timestamptz not null,
    event_at timestamptz not null, metadata jsonb, check (amount > 0 and from_id <> to_id)
);
create index on shaped.transfer (from_id);
create index on shaped.transfer (to_id);
create index on shaped.transfer (event_at);
create table shaped.entry (
    id text primary key default shaped.new_id('e'), account_id text not null references shaped.account,
    transfer_id text not null references shaped.transfer, amount numeric not null, before numeric not null,
    after numeric not null, version bigint not null, created_at timestamptz not null
);
create index on shaped.entry (account_id);
create index on shaped.entry (transfer_id);
insert into shaped.account (id, name, currency, balance, may_be_negative, may_be_positive)
select 'a_' || md5(n::text), 'account ' || n, 'GBP', 1000000, false, true from generate_series(1, {accounts}) as n;
create function shaped.check_balance(account shaped.account) returns void language plpgsql as $$
begin
    if account.balance < 0 and not account.may_be_negative or account.balance > 0 and not account.may_be_positive then
        raise exception 'account % may not have the balance %', account.id, account.balance;
    end if;
end $$;
create function shaped.transfer(payer text, payee text, moved numeric) returns setof shaped.transfer language plpgsql as $$
declare a shaped.account; b shaped.account; made text; locked text;
begin
    if moved <= 0 or payer = payee then raise exception 'nothing to move'; end if;
    foreach locked in array (select array_agg(x order by x) from unnest(array[payer, payee]) as x) loop
        perform from shaped.account where id = locked for update;
    end loop;
    update shaped.account set balance = balance - moved, version = version + 1, updated_at = now()
    where id = payer returning * into a;
    perform shaped.check_balance(a);
    update shaped.account set balance = balance + moved, version = version + 1, updated_at = now()
    where id = payee returning * into b;
    perform shaped.check_balance(b);
    if a.currency <> b.currency then raise exception 'two currencies'; end if;
    insert into shaped.transfer (from_id, to_id, amount, created_at, event_at)
    values (payer, payee, moved, now(), now()) returning id into made;
    insert into shaped.entry (account_id, transfer_id, amount, before, after, version, created_at)
    values (payer, made, -moved, a.balance + moved, a.balance, a.version, now());
    insert into shaped.entry (account_id, transfer_id, amount, before, after, version, created_at)
    values (payee, made, moved, b.balance - moved, b.balance, b.version, now());
    return query select * from shaped.transfer where id = made;
end $$;
"""

PGLEDGER_ACCOUNTS = """
select pgledger_create_account('account ' || n, 'GBP', true, true) from generate_series(1, {accounts}) as n;
do $$
declare ids constant text [] := array(select id from pgledger_accounts);
begin
    for n in 1..{accounts} loop
        perform pgledger_create_transfer(ids[n], ids[n % {accounts} + 1], 1);
    end loop;
end $$
"""

WARM_UP = """
do $$
begin
    for n in 1..{size} loop
        perform points.spend('M' || n, 1, '{day}', 'till', 'warm-up');
        perform minimal.transfer(n, n % {size} + 1, 1);
        perform shaped.transfer('a_' || md5(n::text), 'a_' || md5((n % {size} + 1)::text), 1);
    end loop;
end $$
"""


def spends(
    client: int, dsn: str, size: int, seconds: float, ready: Barrier, done: "mp.Queue[int]", day: dt.date
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
    client: int, dsn: str, size: int, seconds: float, ready: Barrier, done: "mp.Queue[int]", shape: str
) -> None:
    """One client: move one point between two random accounts, again and again; report how many."""
    del client
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    cursor = connection.cursor()
    function = "pgledger_create_transfer" if shape == "pgledger" else f"{shape}.transfer"
    cursor.execute(f"PREPARE transfer AS SELECT {function}($1, $2, 1)")
    if shape == "pgledger":
        cursor.execute("SELECT quote_literal(id) FROM pgledger_accounts")
        accounts = [row[0] for row in cursor.fetchall()]
    else:
        accounts = [
            str(n) if shape == "minimal" else f"'a_{hashlib.md5(str(n).encode()).hexdigest()}'"  # noqa: S324
            for n in range(1, size + 1)
        ]
    chosen, n = random.Random(), 0
    ready.wait()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        payer = chosen.randint(1, size)
        payee = (payer + chosen.randint(1, size - 1) - 1) % size + 1
        cursor.execute(f"EXECUTE transfer ({accounts[payer - 1]}, {accounts[payee - 1]})")
        n += 1
    done.put(n)
    connection.close()


def main() -> None:
    """Fill a ledger and as many accounts, run the clients of both sides in turn, print the table."""
    parser = kit.arguments(
        __doc__, "members, and accounts of the other side", 20_000, "Goal: 1.0, two clients, fsync on."
    )
    parser.add_argument("--seconds", type=float, default=4, help="length of a round (default: 4)")
    parser.add_argument("--pgledger", type=Path, help="a folder with pgledger's SQL, to measure its own transfer, too")
    options = parser.parse_args()
    with kit.server(options.directory) as server:
        url = server.ledger("online")
        admin = server.engine(url)
        day = kit.fill(
            admin, members=options.size, lots=LOTS, history=4, valid_through=f"date '{kit.START}' + 400 + l::int"
        )
        kit.execute(
            admin,
            MINIMAL.format(accounts=options.size),
            SHAPED.format(accounts=options.size),
            "VACUUM (ANALYZE)",
            "CHECKPOINT",
        )
        if options.pgledger:
            with closing(admin.raw_connection()) as raw:  # as it is: its SQL is not ours to read parameters into
                for name in ("uuid-to-ulid.sql", "pgledger.sql"):
                    raw.cursor().execute((options.pgledger / name).read_text())
                raw.cursor().execute(PGLEDGER_ACCOUNTS.format(accounts=options.size))
                raw.commit()
            kit.execute(admin, "VACUUM (ANALYZE)")
        fsync = kit.one(admin, "SELECT current_setting('fsync'), current_setting('synchronous_commit')")
        dsn = url.set(drivername="postgresql").render_as_string()

        def rate(client: Callable[..., None], last: object) -> float:
            ready = mp.Barrier(CLIENTS)
            done: mp.Queue[int] = mp.Queue()
            processes = [
                mp.Process(target=client, args=(n, dsn, options.size, options.seconds, ready, done, last))
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
        ours = functools.partial(rate, spends, day)
        yardsticks = {"shaped": "a transfer of pgledger's shape", "minimal": "two rows updated, one inserted"}
        if options.pgledger:
            yardsticks["pgledger"] = "pgledger's own transfer"
        others = {shape: functools.partial(rate, transfers, shape) for shape in yardsticks}
        for side in (ours, *others.values()):
            side()
        rounds = {
            shape: kit.alternate(options.rounds, lambda _: ours(), lambda _, other=other: other())  # type: ignore[misc]
            for shape, other in others.items()
        }
        kit.invariants(admin, sample=11)
        what = f"online spend, {CLIENTS} clients"
        kit.report(
            [kit.compare(what, "commits/s", name, 1.0, rounds[shape]) for shape, name in yardsticks.items()],
            [f"fsync {fsync[0]}, synchronous_commit {fsync[1]}; {options.size:,} members with {LOTS} open lots each."],
        )


if __name__ == "__main__":
    main()
