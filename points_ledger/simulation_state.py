"""The starting state of a simulation: the ledger as it was when the day before the period closed, in a scratch database.

What is given is copied as it is; what happened in the period waits in the schema ``simulation`` for the day on which
the ledger learned of it. What each table gives is a named statement, ``sql/simulation_*.sql``. The decision behind it:
``docs/decisions/0005-simulating-in-a-scratch-database.md``.
"""

import datetime as dt
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from psycopg2 import sql
from sqlalchemy import Connection, text

from points_ledger.policy import Version, store_version
from points_ledger.queries import statement

ALWAYS: Final = dt.date(1, 1, 1)
IN_MEMORY: Final = 1 << 26  # bytes of a table that wait in memory between the two databases; more go to a file

# In the order of their foreign keys: the statement that says what was there, None = the whole table.
GIVEN: Final[Mapping[str, str | None]] = {
    "member": None,
    "feed_file": None,
    "feed_total": None,
    "approval": "simulation_approvals",
    "run": "simulation_runs",
    "wallet": "simulation_wallets",
    "entry": "simulation_entries",
    "lot": "simulation_lots",
    "lot_deferral": "simulation_deferrals",
    "posting_key": "simulation_posting_keys",
    "one_use": "simulation_one_uses",
    "seal": "simulation_seals",
    "shop_order": "simulation_orders",
    "return_line": "simulation_return_lines",
    "redemption": "simulation_redemptions",
    "cancellation": "simulation_cancellations",
    "activity": "simulation_activities",
    "order_line": "simulation_order_lines",
    "order_earning": "simulation_order_earnings",
    "activity_earning": "simulation_activity_earnings",
    "returned_line": "simulation_returned_lines",
    "finding": "simulation_findings",
    "tier_decision": "simulation_tier_decisions",
    "undone": "simulation_undone",
}
# What the shop reports, by the statement above, waits for its day; these columns say what became of it in the ledger.
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "shop_order": ("is_waiting",),
    "return_line": ("is_waiting",),
    "redemption": ("state", "member_id"),
    "cancellation": ("state",),
    "activity": ("state",),
}
# Made anew by the ledger's own functions and triggers, or not needed, with the reason.
NOT_COPIED: Final[Mapping[str, str]] = {
    "alembic_version": "written by the migrations",
    "entry_kind": "written by the migrations",
    "policy_version": "stored again by store_policy",
    "policy_rule": "stored again by store_policy",
    "policy_proposal": "nothing is proposed in a simulation",
    "backup_event": "a scratch database is in no backup",
    "month_close": "nobody signs what was only simulated",
    "month_signature": "as month_close",
    "book_day": "closed again by close_day",
    "member_tier": "the projection of the decisions, by their trigger",
    "hold": "a captured hold is repeated as the spend it was",
    "hold_lot": "as hold",
    "hold_end": "as hold",
    "binding": "gifts between members are not repeated",
    "binding_end": "as binding",
    "check_run": "what was found is about the ledger, not about the simulation",
    "check_result": "as check_run",
    "check_finding": "as check_run",
    "incident": "as check_run",
    "screen_finding": "what was found is about the ledger, not about the simulation",
    "screen_review": "as screen_finding",
    "store_day": "as screen_finding",
    "member_contact": "as screen_finding",
    "redemption_block": "blocks are not repeated: what they refused is redeemed on both sides",
    "redemption_release": "as redemption_block",
    "contact": "nobody is told what was only simulated",
    "consent": "as contact",
    "suppression": "as contact",
    "erasure": "as contact",
    "notice": "as contact",
    "digest_part": "as contact",
    "notice_queue": "as contact",
    "notice_result": "as contact",
    "proof_dictionary": "as contact",
    "notice_proof": "as contact",
    "expiry_warning": "as contact",
    "dispatcher_identity": "as contact",
    "provider_rate": "as contact",
    "unannounced_expiry": "what lapsed before the period is not judged again",
}
# Nobody is told in a scratch database: what waits for a notice in the ledger lapses here as if each had been sent in time.
EVERYBODY_IS_TOLD: Final = (
    "CREATE OR REPLACE VIEW points.expiry_gate AS SELECT version, false AS required, 0 AS min_days,"
    " CAST('defer' AS text) AS unreachable, CAST('{}' AS text []) AS channels FROM points.policy_version"
)
Copied = Callable[[str], None]


@dataclass(frozen=True)
class Period:
    """The days that are simulated, both inclusive."""

    first: dt.date
    through: dt.date

    @property
    def days(self) -> list[dt.date]:
        """Every day, in order."""
        return [self.first + dt.timedelta(days=n) for n in range((self.through - self.first).days + 1)]


def fill(ledger: Connection, scratch: Connection, period: Period, versions: list[Version], *, on_table: Copied) -> None:
    """Fill an empty scratch database; ``ledger`` is read only, in one snapshot. In the caller's transactions.

    ``on_table`` is told of every table before it is copied.
    """
    scratch.execute(text("CREATE SCHEMA simulation AUTHORIZATION loyalty_owner"))
    scratch.execute(text("SET LOCAL ROLE loyalty_owner"))
    store_versions(scratch, [version for version in versions if version.effective_from < period.first])
    _close_days(scratch, _closed_before(ledger, period.first))
    dates = {"first": period.first, "through": period.through, "since": ALWAYS, "before": period.first}
    # the wallets and lots that these entries made are copied beside them
    scratch.execute(text("ALTER TABLE points.entry DISABLE TRIGGER apply_entries"))
    scratch.execute(text("ALTER TABLE points.lot_deferral DISABLE TRIGGER apply_deferrals"))
    for table, name in GIVEN.items():
        on_table(table)
        _copy(
            ledger,
            scratch,
            _select(ledger, name or table, dates, whole=name is None),
            "points",
            table,
            _columns(scratch, table),
        )
    scratch.execute(text("ALTER TABLE points.entry ENABLE ALWAYS TRIGGER apply_entries"))
    scratch.execute(text("ALTER TABLE points.lot_deferral ENABLE TRIGGER apply_deferrals"))
    scratch.execute(text(EVERYBODY_IS_TOLD))
    for table, fate in EVENTS.items():
        on_table(table)
        _stage(ledger, scratch, period, table, fate)
    _stage_calls(ledger, scratch, period)
    _advance_identities(scratch)
    scratch.execute(text("GRANT USAGE ON SCHEMA simulation TO loyalty_batch"))
    scratch.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA simulation TO loyalty_batch"))


def store_versions(scratch: Connection, versions: list[Version]) -> None:
    """Store versions of the programme as the ledger's owner does, with their dates."""
    for version in versions:
        store_version(scratch, version.document, effective_from=version.effective_from)


def arrive(connection: Connection, day: dt.date) -> None:
    """Let the events come in that the ledger learned of on a day; once, as the batch login."""
    for table in EVENTS:
        names = sql.SQL(", ").join(map(sql.Identifier, _columns(connection, table, schema="simulation")))
        command = sql.SQL("INSERT INTO points.{0} ({1}) SELECT {1} FROM simulation.{0} WHERE known_on = %s")
        with _cursor(connection) as cursor:
            cursor.execute(command.format(sql.Identifier(table), names), (day,))


def _closed_before(ledger: Connection, first: dt.date) -> list[dt.date]:
    rows = ledger.execute(
        text("SELECT book_date FROM points.book_day WHERE status = 'closed' AND book_date < :first ORDER BY 1"),
        {"first": first},
    )
    return list(rows.scalars())


def _close_days(scratch: Connection, days: list[dt.date]) -> None:
    for _, month in groupby(days, key=lambda day: (day.year, day.month)):
        scratch.execute(
            text("SELECT points.close_day(day, NULL) FROM unnest(CAST(:days AS date [])) AS day"), {"days": list(month)}
        )


def _stage(ledger: Connection, scratch: Connection, period: Period, table: str, fate: tuple[str, ...]) -> None:
    staged = sql.SQL("CREATE TABLE simulation.{0} (LIKE points.{0} INCLUDING DEFAULTS, known_on date NOT NULL)")
    with _cursor(scratch) as cursor:
        cursor.execute(staged.format(sql.Identifier(table)))
        if table == "shop_order":  # the others wait by default
            cursor.execute("ALTER TABLE simulation.shop_order ALTER COLUMN is_waiting SET DEFAULT true")
    known = [column for column in _columns(scratch, table) if column not in fate]
    select = _select(
        ledger, str(GIVEN[table]), {"since": period.first, "before": period.through + dt.timedelta(days=1)}
    )
    _copy(ledger, scratch, select, "simulation", table, [*known, "known_on"])
    with _cursor(scratch) as cursor:
        cursor.execute(sql.SQL("CREATE INDEX ON simulation.{} (known_on)").format(sql.Identifier(table)))


def _stage_calls(ledger: Connection, scratch: Connection, period: Period) -> None:
    scratch.execute(
        text(
            "CREATE TABLE simulation.call (known_on date, recorded_at timestamptz, member_no text, source text,"
            " source_ref text, effective_on date, points bigint, approval_id bigint)"
        )
    )
    columns = _columns(scratch, "call", schema="simulation")
    select = _select(ledger, "simulation_calls", {"first": period.first, "through": period.through})
    _copy(ledger, scratch, select, "simulation", "call", [*columns, "known_on"])


def _select(ledger: Connection, name: str, dates: Mapping[str, dt.date], *, whole: bool = False) -> sql.Composable:
    if whole:
        return sql.SQL("SELECT * FROM points.{}").format(sql.Identifier(name))
    # COPY takes no parameters: SQLAlchemy writes the dates out
    named = statement(name)
    asked = {key: day for key, day in dates.items() if key in named.compile().params}
    compiled = named.bindparams(**asked).compile(dialect=ledger.dialect, compile_kwargs={"literal_binds": True})
    return sql.SQL(str(compiled))


def _copy(
    ledger: Connection, scratch: Connection, select: sql.Composable, schema: str, table: str, columns: list[str]
) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    read = sql.SQL("COPY (SELECT {} FROM ({}) AS given) TO STDOUT").format(names, select)
    write = sql.SQL("COPY {}.{} ({}) FROM STDIN").format(sql.Identifier(schema), sql.Identifier(table), names)
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as rows:
        with _cursor(ledger) as cursor:
            cursor.copy_expert(read, rows)
        rows.seek(0)
        with _cursor(scratch) as cursor:
            cursor.copy_expert(write, rows)


def _columns(connection: Connection, table: str, *, schema: str = "points") -> list[str]:
    # as the new schema has them, without what Postgres computes: a column that is added is copied too
    rows = connection.execute(
        text(
            "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:name AS regclass) AND attnum > 0"
            " AND NOT attisdropped AND attgenerated = '' AND attname <> 'known_on' ORDER BY attnum"
        ),
        {"name": f"{schema}.{table}"},
    )
    return list(rows.scalars())


def _advance_identities(scratch: Connection) -> None:
    found = scratch.execute(
        text(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'points' AND is_identity = 'YES'"
        )
    )
    for table, column in found.tuples().all():
        command = sql.SQL("SELECT setval(pg_get_serial_sequence({}, {}), max({})) FROM points.{} HAVING count(*) > 0")
        parts = (sql.Literal(f"points.{table}"), sql.Literal(column), sql.Identifier(column), sql.Identifier(table))
        with _cursor(scratch) as cursor:
            cursor.execute(command.format(*parts))


def _cursor(connection: Connection) -> Any:
    driver: Any = connection.connection
    return driver.cursor()


def calls_of(connection: Connection, day: dt.date) -> Iterator[Any]:
    """What tills and approvers did on a day, in the order it was posted."""
    yield from connection.execute(
        text("SELECT * FROM simulation.call WHERE known_on = :day ORDER BY recorded_at, member_no, source_ref"),
        {"day": day},
    )
