"""Order import, from the file to the posted ledger, against the least that could be done with the same file.

Ours: ``feeds.import_file`` (checked, typed, quarantined, stored order by order) and ``events.post`` (judged by the
programme, posted with every guard, in commits of 500 members, two at a time as LOYALTY_CONNECTIONS ships). The other
side: COPY of the same file into a plain table and one INSERT…SELECT of entries. Lines a second; every round in a
database of its own, cloned from the same template.

The file is generated: about 20 lines an order as in a real wholesaler's shop, a quarter of the orders by guests, one
line in fifty a return. The other side passes over returns, which ours matches one by one with what was bought: the same
file without them shows what they cost. A third file has 3 lines an order: far more to post for the same lines.

    python benchmarks/bench_import.py
    python benchmarks/bench_import.py --size 32000 --rounds 3
"""

import random
import tempfile
from pathlib import Path

import kit
import psycopg2
from sqlalchemy import Engine, text

from infra.feed_files import open_feed
from infra.feed_layouts import load_layout
from points_ledger import events, feeds, orders
from points_ledger.policy import policy_on

BARE = """
create schema bare;
create table bare.line (order_no text, member_no text, placed_at timestamp, sku text, quantity numeric, unit_price numeric);
create table bare.member (member_no text primary key, member_id bigint not null);
create table bare.entry (like points.entry including defaults including generated, primary key (member_id, seq, book_date));
create index on bare.entry using brin (book_date);
"""

VARIANTS = (  # name, lines an order, share of lines that are returns, goal
    ("shop", 20, 0.02, 0.4),
    ("no_returns", 20, 0.0, None),
    ("small_orders", 3, 0.02, None),
)

ENTRIES = text("""
insert into bare.entry (member_id, seq, book_date, effective_on, journal_id, kind, points, lot_seq, lot_remaining_after,
    balance_after, debt_after, usable_from, valid_through, policy_version, source, source_ref)
select member_id, seq, day, day, md5(member_id || E'\\x1f' || 'order' || E'\\x1f' || order_no)::uuid, 'earn', points, seq, points,
    sum(points) over earlier, 0, day, day + 365, 1, 'order', order_no
from (
    select m.member_id, o.*, row_number() over (partition by m.member_id order by o.placed_at, o.order_no) as seq
    from (
        select order_no, member_no, min(placed_at) as placed_at, min(placed_at)::date as day,
            floor(sum(quantity * unit_price))::bigint as points
        from bare.line
        where member_no is not null and sku <> 'POST' and quantity > 0 and unit_price > 0
        group by order_no, member_no
    ) as o
    join bare.member as m using (member_no)
    where o.points > 0
) as numbered
window earlier as (partition by member_id order by seq rows unbounded preceding)
""")


def write_orders(path: Path, *, lines: int, lines_an_order: int, returns: float, seed: int = 7) -> None:
    """A day of a busy shop as CSV; ``lines`` are met to the line."""
    chosen = random.Random(seed)
    orders_ = max(lines // lines_an_order, 1)
    members = max(orders_ // 5, 1)
    with path.open("w") as file:
        file.write("order_no,member_no,placed_at,sku,quantity,unit_price\n")
        written, n = 0, 0
        while written < lines:
            n += 1
            count = min(lines - written, max(1, round(chosen.gauss(lines_an_order, lines_an_order / 4))))
            member = "" if chosen.random() < 0.25 else f"{10_000 + chosen.randrange(members)}"
            minute = chosen.randrange(24 * 60)
            at = f"{kit.START} {minute // 60:02}:{minute % 60:02}"
            for _ in range(count):
                sku = f"{20_000 + int(chosen.paretovariate(0.8)) % 4_000}"
                quantity = -1 if chosen.random() < returns else chosen.choice((1, 1, 2, 3, 4, 6, 12, 24))
                file.write(f"{500_000 + n},{member},{at},{sku},{quantity},{chosen.randrange(25, 1_500) / 100}\n")
            written += count


def ours(engine: Engine, path: Path, lines: int) -> float:
    """Import the file and post it; lines a second."""
    layout = load_layout(None, "orders")
    with engine.begin() as connection:
        policy = policy_on(connection, kit.START)
    assert policy is not None
    with kit.stopwatch() as seconds:
        with open_feed(path, "orders", layout) as stream, engine.begin() as connection:
            reading = feeds.Reading(path.name, layout.name, {}, ".", None, None, stream.line_of_first_row - 1)
            result = feeds.import_file(connection, feeds.FEEDS["orders"], stream, reading, policy, orders.accept)
        taken_in = seconds()
        posted = events.post(engine, through=kit.START, run_id=None, final=False)
        taken = seconds()
    assert result.rows_read == lines, "every line must have been read"
    assert posted.orders > 0, "the open day posts at once"
    print(
        f"    ours: {taken_in:.2f} s to store the file, {taken - taken_in:.2f} s to post {posted.orders:,} orders",
        flush=True,
    )
    return lines / taken


def bare(engine: Engine, path: Path, lines: int) -> float:
    """COPY the file into a plain table, then one INSERT…SELECT; lines a second."""
    with kit.stopwatch() as seconds:
        with engine.begin() as connection:
            cursor: psycopg2.extensions.cursor = connection.connection.cursor()  # type: ignore[assignment]
            with path.open("rb") as file:
                cursor.copy_expert("COPY bare.line FROM STDIN (FORMAT csv, HEADER true)", file, size=1 << 18)
            entries = connection.execute(ENTRIES).rowcount
        taken = seconds()
    print(f"    other: {taken:.2f} s, {entries:,} entries", flush=True)
    return lines / taken


def main() -> None:
    """Both files, both sides in turn, one table."""
    parser = kit.arguments(__doc__, "lines of the file", 320_000, "Goal: 0.4 at about 20 lines an order.")
    parser.add_argument("--connections", type=int, default=2, help="as LOYALTY_CONNECTIONS (default: 2)")
    options = parser.parse_args()
    rows = []
    with kit.server(options.directory) as server, tempfile.TemporaryDirectory() as folder:
        template = server.ledger("imports")
        admin = server.engine(template)
        kit.execute(admin, BARE)
        for variant, lines_an_order, returns, goal in VARIANTS:
            path = Path(folder) / f"orders-{variant}.csv"
            write_orders(path, lines=options.size, lines_an_order=lines_an_order, returns=returns)
            kit.execute(
                admin, "TRUNCATE bare.member", "INSERT INTO bare.member SELECT n::text, n FROM generate_series(10000, 10000"
                f" + {options.size // lines_an_order}) n", "VACUUM (ANALYZE)",
            )  # fmt: skip
            server.dispose()  # a template has no other session
            rounds = iter(range(10_000))
            lines = options.size

            def fresh(login: str | None, counter: object = rounds, each: str = variant) -> Engine:
                name = f"round_{each}_{next(counter)}"  # type: ignore[call-overload]
                engine = server.engine(
                    server.database(name, template="imports"), login, connections=options.connections
                )
                kit.execute(engine, "CHECKPOINT") if login is None else None
                return engine

            def side(run: object, login: str | None) -> float:
                engine = fresh(login)
                try:
                    return run(engine, path, lines)  # type: ignore[operator, no-any-return]  # noqa: B023
                finally:
                    engine.dispose()
                    server.maintain(f"DROP DATABASE {engine.url.database} WITH (FORCE)")

            print(
                f"{lines_an_order} lines an order, {returns:.0%} returns, {path.stat().st_size / 2**20:.0f} MiB",
                flush=True,
            )
            sides = kit.alternate(options.rounds, lambda _: side(ours, "loyalty_batch"), lambda _: side(bare, None))
            rows.append(
                kit.compare(
                    f"order import, {lines_an_order} lines an order, {returns:.0%} returns",
                    "lines/s",
                    "COPY and one INSERT…SELECT",
                    goal,
                    sides,
                )
            )
        kit.report(rows)


if __name__ == "__main__":
    main()
