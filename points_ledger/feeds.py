"""Feeds: what the shop says happened, taken in whole or refused, before it is posted.

A feed file is staged by COPY, read set-based, and stored as waiting events of their own dates; ``events`` posts
them. Here: staging, the control total, the same-file rule. What a feed's rows mean stands in ``orders``,
``redemptions`` and ``members``; how a file is opened, in ``infra.feed_files``.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Any, Protocol

from psycopg2 import sql
from sqlalchemy import BigInteger, Column, Connection, Identity, MetaData, Table, Text, text

from points_ledger.contacts import Seal
from points_ledger.errors import ImplausibleValue
from points_ledger.policy import Policy


@dataclass(frozen=True)
class Feed:
    """The columns that a feed must have and may have."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All its columns, the required ones first."""
        return self.required + self.optional


MEMBER_COLUMNS = (
    "joined_on", "locale", "time_zone", "groups", "birthday", "status", "contact", "name", "email", "phone", "consent_marketing",
)  # fmt: skip
FEEDS: Mapping[str, Feed] = {
    feed.name: feed
    for feed in (
        Feed(
            "orders",
            ("order_no", "member_no", "placed_at", "sku", "quantity", "unit_price"),
            ("category", "store", "channel", "original_order_no"),
        ),
        Feed("redemptions", ("redemption_no", "member_no", "redeemed_at", "points"), ("reward",)),
        Feed("cancellations", ("redemption_no", "cancelled_at"), ()),
        Feed("activities", ("activity_no", "member_no", "activity", "happened_at"), ("store", "channel")),
        Feed("members", ("member_no",), MEMBER_COLUMNS),
    )
}


class FeedStream(Protocol):
    """The rows of an opened file, as ``COPY`` takes them; ``sha256`` is known once it has been read."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The staging column of each column of the stream."""

    @property
    def copy_format(self) -> str:
        """The options of COPY."""

    @property
    def sha256(self) -> str:
        """Hex digest of the file's bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""


@dataclass(frozen=True)
class Reading:
    """How the text of a file is to be read: what its layout says."""

    file_name: str
    layout: str
    constants: Mapping[str, str]
    decimal: str
    timestamp_format: str | None
    time_zone: str | None
    header_lines: int
    contact_key: bytes | None = field(default=None, repr=False)
    seal: Seal | None = None  # how contacts are kept; None: files with contacts are refused
    columns: tuple[str, ...] = ()  # those the file has, or the layout gives a constant for


@dataclass(frozen=True)
class Total:
    """One line of a control total: what became of so many rows, and their money."""

    fate: str
    reason: str
    rows: int
    money: Decimal | None


@dataclass(frozen=True)
class ImportResult:
    """What became of a file. ``rows_read`` is the sum of the totals' rows, or the import failed."""

    feed: str
    file_name: str
    sha256: str
    file_id: int | None
    rows_read: int
    totals: tuple[Total, ...]

    @property
    def is_known(self) -> bool:
        """The same file was imported before: nothing was done."""
        return self.file_id is None

    def rows(self, fate: str) -> int:
        """Rows accepted, rejected or skipped."""
        return sum(total.rows for total in self.totals if total.fate == fate)

    def money(self, fate: str | None = None) -> Decimal:
        """Money of the rows of one fate, or of all."""
        return sum((t.money or Decimal(0) for t in self.totals if fate in (None, t.fate)), Decimal(0))


Accept = Callable[[Connection, Reading, Policy, int], list[Total]]


def import_file(
    connection: Connection, feed: Feed, stream: FeedStream, reading: Reading, policy: Policy, accept: Accept
) -> ImportResult:
    """Take a whole file in, in the caller's transaction, or raise and leave nothing behind.

    Raises:
        ImplausibleValue: a value that no shop can mean.
        psycopg2.Error: COPY could not take the file apart; its context names the line.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(20263, hashtext(:feed))"), {"feed": feed.name})
    # times without a zone are local; the import's own tables are sorted in memory and need a small sample only
    connection.execute(
        text(
            "SELECT set_config('TimeZone', :zone, true), set_config('work_mem', '64MB', true),"
            " set_config('default_statistics_target', '10', true)"
        ),
        {"zone": reading.time_zone or policy.time_zone},
    )
    reading = replace(reading, columns=(*stream.columns, *reading.constants))
    rows_read = stage(connection, feed, stream, reading)
    known = connection.execute(
        text("SELECT file_id FROM points.feed_file WHERE feed = :feed AND sha256 = :sha256"),
        {"feed": feed.name, "sha256": stream.sha256},
    ).one_or_none()
    if known is not None:
        return ImportResult(feed.name, reading.file_name, stream.sha256, None, rows_read, ())
    file_id = connection.execute(
        text(
            "INSERT INTO points.feed_file (feed, name, sha256, layout)"
            " VALUES (:feed, :name, :sha256, :layout) RETURNING file_id"
        ),
        {"feed": feed.name, "name": reading.file_name, "sha256": stream.sha256, "layout": reading.layout},
    ).scalar_one()
    totals = accept(connection, reading, policy, file_id)
    for total in totals:
        connection.execute(
            text("INSERT INTO points.feed_total VALUES (:file_id, :fate, :reason, :rows, :money)"),
            {"file_id": file_id, **asdict(total)},
        )
    result = ImportResult(feed.name, reading.file_name, stream.sha256, file_id, rows_read, tuple(totals))
    if sum(total.rows for total in totals) != rows_read:
        raise AssertionError(f"{rows_read} rows read, but the control total has {totals}")
    return result


def stage(connection: Connection, feed: Feed, stream: FeedStream, reading: Reading) -> int:
    """COPY the stream into the temporary table ``staged``, all text, numbered in file order; return the rows."""
    ours = [column for column in feed.columns if column not in stream.columns]
    Table(
        "staged",
        MetaData(),
        Column("row_no", BigInteger, Identity(cache=1000)),  # one session numbers them: no gaps, and cheaper
        *(Column(name, Text) for name in stream.columns),
        *(Column(name, Text, server_default=reading.constants.get(name)) for name in ours),
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
    ).create(connection)
    copy = sql.SQL("COPY staged ({columns}) FROM STDIN ({format})").format(
        columns=sql.SQL(", ").join(map(sql.Identifier, stream.columns)), format=sql.SQL(stream.copy_format)
    )
    driver: Any = connection.connection
    with driver.cursor() as cursor:
        cursor.copy_expert(copy, stream, size=1 << 18)
        rows = int(cursor.rowcount)
    connection.execute(text("ANALYZE staged"))
    return rows


def refuse_implausible(
    connection: Connection, statement: Any, parameters: Mapping[str, Any], header_lines: int
) -> None:
    """Refuse the whole file when ``statement`` returns a row (row_no, column, value, why).

    Raises:
        ImplausibleValue: with the first such row.
    """
    row = connection.execute(statement, parameters).first()
    if row is not None:
        raise ImplausibleValue(row.row_no + header_lines, row.column_name, row.value, row.why)
