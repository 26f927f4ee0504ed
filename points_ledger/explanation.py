"""Why a member's balance is what it is: every lot, from which order and rule, what took from it, what is left."""

import datetime as dt
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from points_ledger.errors import UnknownMember
from points_ledger.queries import statement
from points_ledger.screens import Block, Finding, blocks, findings


@dataclass(frozen=True)
class Movement:
    """One entry: what moved points of the lot, or the debt."""

    seq: int
    kind: str
    points: int
    sign: int
    effective_on: dt.date
    book_date: dt.date
    source: str
    source_ref: str
    reason: str | None
    balance_after: int
    debt_after: int


@dataclass(frozen=True)
class Earned:
    """What lines of an order earned under one rate (of a band of spending, or not) and one multiplier (no name: none)."""

    lines: int
    amount: Decimal
    points_per_unit: Decimal
    factor: Decimal
    rule: str | None
    band: str | None
    points: Decimal


@dataclass
class ExplainedLot:
    """A lot and its story."""

    lot_seq: int
    points: int
    remaining: int
    held: int
    usable_from: dt.date
    valid_through: dt.date | None
    by_inactivity: bool
    opened_by: Movement
    policy_version: int | None
    earned: list[Earned] = field(default_factory=list)
    taken: list[Movement] = field(default_factory=list)


@dataclass
class Explanation:
    """A member's wallet on a day, lot by lot. ``waiting`` counts events that are stored and not posted yet."""

    member_no: str
    joined_on: dt.date
    as_of: dt.date | None
    balance: int
    available: int
    pending: int
    held: int
    debt: int
    currency: str
    lots: list[ExplainedLot]
    debts: list[Movement]
    refused: list[dict[str, Any]]
    waiting: int
    tier: str | None
    tier_decisions: list[dict[str, Any]]
    blocks: list[Block]
    screened: list[Finding]

    def as_json(self) -> dict[str, Any]:
        """Plain values; decimals and dates as text."""
        return asdict(self) | {"screened": [finding.as_json() for finding in self.screened]}


def explain(connection: Connection, member_no: str, *, as_of: dt.date | None, today: dt.date) -> Explanation:
    """The member's story up to ``as_of`` (book date), or up to now; ``today`` decides what counts as usable.

    Raises:
        UnknownMember: nobody has that number.
    """
    member = connection.execute(
        text(
            "SELECT m.member_id, m.joined_on, p.currency FROM points.member m"
            " LEFT JOIN points.policy p ON p.version = points.version_on(:today) WHERE m.member_no = :member_no"
        ),
        {"member_no": member_no, "today": today},
    ).one_or_none()
    if member is None:
        raise UnknownMember(member_no)
    values = {"member_id": member.member_id, "as_of": as_of or dt.date.max, "member_no": member_no}
    lots: dict[int, ExplainedLot] = {}
    debts: list[Movement] = []
    balance = debt = 0
    for row in connection.execute(statement("explain_entries"), values):
        movement = Movement(
            row.seq, row.kind, row.points, row.sign, row.effective_on, row.book_date, row.source, row.source_ref,
            row.reason, row.balance_after, row.debt_after,
        )  # fmt: skip
        balance, debt = row.balance_after, row.debt_after
        if row.lot_seq is None:
            debts.append(movement)
        elif row.seq == row.lot_seq:
            lots[row.seq] = ExplainedLot(
                row.seq, row.points, row.points, row.held if as_of is None else 0, row.usable_from, row.valid_through,
                row.idle_by is not None, movement, row.policy_version,
            )  # fmt: skip
        else:
            lot = lots[row.lot_seq]
            lot.taken.append(movement)
            lot.remaining = row.lot_remaining_after
            if row.kind == "expire":  # the last activity counted then, not the one since
                lot.valid_through = row.effective_on - dt.timedelta(days=1)
    for row in connection.execute(statement("explain_earnings"), values):
        if row.lot_seq in lots:
            lots[row.lot_seq].earned.append(
                Earned(row.lines, row.amount, row.points_per_unit, row.factor, row.rule, row.band, row.points)
            )
    day = as_of or today
    usable = [lot for lot in lots.values() if lot.valid_through is None or day <= lot.valid_through]
    return Explanation(
        member_no,
        member.joined_on,
        as_of,
        balance,
        sum(lot.remaining - lot.held for lot in usable if lot.usable_from <= day),
        sum(lot.remaining for lot in usable if lot.usable_from > day),
        sum(lot.held for lot in lots.values()),
        debt,
        member.currency or "",
        list(lots.values()),
        debts,
        [dict(row._mapping) for row in connection.execute(statement("explain_findings"), values)],
        connection.execute(statement("explain_waiting"), values).scalar_one(),
        connection.execute(text("SELECT points.tier_on(:member_id, :day)"), {**values, "day": day}).scalar_one(),
        [dict(row._mapping) for row in connection.execute(statement("explain_tiers"), values)],
        blocks(connection, member_no=member_no),
        findings(connection, member_no=member_no),
    )
