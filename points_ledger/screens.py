"""Fraud screens of a closed business date: findings for people to look at, never refusals (design 2.9).

Each screen is one read of what the day touched, with the thresholds of ``[screens]``; what it finds is recorded once a
screen, subject and day. What people decide (a block on redemptions, its release, a finding cleared) is here, too; who
may, and that nobody releases their own block, is in the database (``migrations/sql/0002_screens.sql``).
"""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

from points_ledger.queries import statement

SCREENS = {
    "member_earns_above_past": "earned {points:,} points; on {days} earlier days {median:,} (median)",
    "store_earns_above_past": "{orders:,} orders earned {points:,} points; on {days} earlier days {median:,} (median)",
    "shared_contact": "one contact is shared by {members} members: {member_nos}",
    "redemption_after_earn": "{points:,} points redeemed ({ref}) {minutes} minutes after order {order_no} earned {earned:,}",
    "refund_after_spend": "{orders} orders returned after their points were spent: {points:,} of {refunded:,} refunded points",
    "redemptions_above_cap": "{redemptions} redemptions of {points:,} points on {on}",
    "staff_credits_self": "{login} gave {points:,} points to their own member number, approvals {approvals}",
    "staff_favours_member": "{login} gave points to this member {times} times, {points:,} in all, approvals {approvals}",
    "staff_near_limit": "{login} stayed just under the limit of {limit:,} points {times} times, approvals {approvals}",
}


@dataclass(frozen=True)
class Finding:
    """What a screen found about a member, store, contact or login, and whether somebody decided about it."""

    finding_id: int
    business_date: dt.date
    screen: str
    subject: str
    member_no: str | None
    facts: dict[str, Any]
    is_blocked: bool
    cleared_because: str | None
    cleared_by: str | None
    is_open: bool

    @property
    def sentence(self) -> str:
        """The facts in a few words."""
        shown = {name: ", ".join(map(str, v)) if isinstance(v, list) else v for name, v in self.facts.items()}
        return SCREENS[self.screen].format(**shown)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "sentence": self.sentence}


@dataclass(frozen=True)
class Block:
    """A member's redemptions were blocked, by whom and why; and released, if they were."""

    block_id: int
    member_no: str
    reason: str
    blocked_by: str
    blocked_at: dt.datetime
    released_because: str | None
    released_by: str | None
    released_at: dt.datetime | None
    approval_id: int | None

    @property
    def release(self) -> str:
        """Who released it when and why, in a few words; empty while it is in force."""
        if self.released_at is None:
            return ""
        return f"{self.released_at:%Y-%m-%d %H:%M} UTC by {self.released_by}: {self.released_because}"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def screen(
    engine: Engine, *, day: dt.date, run_id: int | None, progress: Callable[[int, int], None] | None = None
) -> int:
    """Run every screen on a closed day, in one transaction; return how many findings are new. Safe to repeat."""
    new = 0
    with engine.begin() as connection:
        thresholds = _thresholds(connection, day)
        if thresholds is None:
            return 0
        # compiling a statement costs more here than running it
        connection.execute(text("SELECT set_config('jit', 'off', true)"))
        connection.execute(statement("record_store_day"), thresholds)
        is_due = connection.execute(statement("screens_due"), thresholds).one()._mapping
        due = [name for name in SCREENS if is_due[name]]
        for done, name in enumerate(due, start=1):
            new += _record(connection, name, find(connection, name, thresholds), thresholds, run_id)
            if progress:
                progress(done, len(due))
    return new


def find(connection: Connection, name: str, thresholds: dict[str, Any]) -> list[dict[str, Any]]:
    """What one screen finds: rows of subject, member_id (None: no member's) and facts. Records nothing."""
    return [dict(row) for row in connection.execute(statement(f"screen_{name}"), thresholds).mappings()]


def findings(connection: Connection, *, member_no: str | None = None, is_open: bool = False) -> list[Finding]:
    """Recorded findings, newest first; of one member, or only those nobody has decided about."""
    rows = connection.execute(statement("screen_findings"), {"member_no": member_no, "is_open": is_open}).mappings()
    return [Finding(**row) for row in rows]


def blocks(connection: Connection, *, member_no: str | None = None, is_open: bool = False) -> list[Block]:
    """Blocks of redemptions, oldest first; of one member, or only those in force."""
    rows = connection.execute(statement("redemption_blocks"), {"member_no": member_no, "is_open": is_open}).mappings()
    return [Block(**row) for row in rows]


def block(connection: Connection, *, member_no: str, reason: str) -> int:
    """Refuse a member's redemptions from now on; return the block's number. Again: the number of the block there is.

    Raises:
        sqlalchemy.exc.DBAPIError: PL004, nobody has that number; PL009, the reason says nothing.
    """
    return _call(connection, "block_redemptions(:member_no, :reason)", member_no=member_no, reason=reason)


def release(connection: Connection, *, member_no: str, reason: str) -> int:
    """End a member's block, as the connection's login; return its number.

    Raises:
        sqlalchemy.exc.DBAPIError: another_login_releases, this login set it; PL007, there is none (any more); PL009.
    """
    return _call(connection, "release_redemptions(:member_no, :reason)", member_no=member_no, reason=reason)


def propose_release(connection: Connection, *, member_no: str, reason: str) -> int:
    """Propose to end a member's block; return the approval's number. The same proposal, while it waits, is one.

    Raises:
        sqlalchemy.exc.DBAPIError: PL007, there is no block; PL009, the reason says nothing.
    """
    return _call(connection, "propose_release(:member_no, :reason)", member_no=member_no, reason=reason)


def approve_release(connection: Connection, approval_id: int) -> int:
    """Approve a proposed release and end the block, both or neither; return the block's number.

    Raises:
        sqlalchemy.exc.DBAPIError: four_eyes or another_login_releases, the same person; PL007, dealt with already.
    """
    return _call(connection, "approve_release(:approval_id)", approval_id=approval_id)


def clear(connection: Connection, finding_id: int, *, reason: str) -> None:
    """Close a finding that somebody looked into.

    Raises:
        sqlalchemy.exc.DBAPIError: PL041, it is about this login; PL005, unknown; PL007, cleared already; PL009.
    """
    connection.execute(text("SELECT points.clear_finding(:id, :reason)"), {"id": finding_id, "reason": reason})


def _call(connection: Connection, function: str, **values: object) -> int:
    return int(connection.execute(text(f"SELECT points.{function}"), values).scalar_one())


def _thresholds(connection: Connection, day: dt.date) -> dict[str, Any] | None:
    row = connection.execute(
        text("SELECT * FROM points.screening WHERE version = points.version_on(:day)"), {"day": day}
    ).one()
    return {**row._mapping, "day": day} if row.enabled else None


def _record(
    connection: Connection, name: str, found: list[dict[str, Any]], thresholds: dict[str, Any], run_id: int | None
) -> int:
    if not found:
        return 0
    values = {
        "screen": name,
        "day": thresholds["day"],
        "version": thresholds["version"],
        "run_id": run_id,
        "found": json.dumps(found, default=str),
    }
    return int(connection.execute(statement("record_screen_findings"), values).scalar_one())
