"""What waits for a second person, and the one call by which an approver posts it.

Proposing belongs to each noun (``adjustments``, ``reinstatements``, ``undo``, ``proposals`` of the programme). Who may
propose how much, and that nobody approves their own, is in the database (``migrations/sql/0002_adjustments.sql``).
"""

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, text

from points_ledger.errors import UnknownEvent
from points_ledger.queries import statement


@dataclass(frozen=True)
class Approval:
    """A proposal and its decision; ``payload`` is what will be posted, to the letter."""

    approval_id: int
    what: str
    payload: dict[str, Any]
    reason: str
    proposed_by: str
    proposed_at: dt.datetime
    approved_by: str | None

    @property
    def subject(self) -> str:
        """What is asked for, in a few words."""
        asked = self.payload
        match self.what:
            case "adjustment":
                verb, sign = ("give", 1) if asked["points"] > 0 else ("take", -1)
                until = f", valid through {asked['valid_through']}" if asked.get("valid_through") else ""
                return f"{verb} {sign * asked['points']:,} points: member {asked['member_no']}{until}"
            case "reinstatement":
                points = f"{asked['points']:,} points" if "points" in asked else "the lapsed points"
                return f"give back {points} of lot {asked.get('lot', '?')}: member {asked['member_no']}"
            case "release":
                return f"release the redemptions of member {asked['member_no']}, block {asked['block_id']}"
            case "undo":
                return f"undo run {asked['run_id']}; points that are spent: {asked['spent']}"
            case "plan":
                return f"the night of run {asked['run_id']}: clear {asked['points']:,} points"
            case "repair":
                return f"repair finding {asked['finding_no']} of {asked['check']} ({asked['repair']}): member_id {asked['member_id']}"
            case _:
                return ", ".join(f"{key} {value}" for key, value in asked.items())

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "subject": self.subject}


@dataclass(frozen=True)
class Posting:
    """What a verb answered: booked when, how many points, and the wallet afterwards."""

    book_date: dt.date
    points: int
    balance: int
    debt: int


def waiting(connection: Connection) -> list[Approval]:
    """Everything that waits for a second person, oldest first."""
    rows = connection.execute(statement("approvals"), {"approval_id": None}).mappings()
    return [Approval(**row) for row in rows]


def find(connection: Connection, approval_id: int) -> Approval:
    """One proposal, decided or not.

    Raises:
        UnknownEvent: there is none of that number.
    """
    row = connection.execute(statement("approvals"), {"approval_id": approval_id}).mappings().one_or_none()
    if row is None:
        raise UnknownEvent(f"Approval {approval_id} is not known: see loyalty approvals.")
    return Approval(**row)


def approve(connection: Connection, approval_id: int) -> None:
    """Decide, as the connection's login; the database refuses the proposer's.

    Raises:
        sqlalchemy.exc.DBAPIError: four_eyes, the proposer approved; PL007, somebody was faster.
    """
    connection.execute(text("SELECT points.approve(:id)"), {"id": approval_id})


def approve_and_post(connection: Connection, approval_id: int, *, day: dt.date) -> Posting:
    """Approve an adjustment or a reinstatement and post it, both or neither.

    Raises:
        sqlalchemy.exc.DBAPIError: four_eyes, the proposer approved; PL007, somebody was faster; or what the verb refuses.
    """
    row = connection.execute(
        text("SELECT * FROM points.approve_and_post(:id, :day)"), {"id": approval_id, "day": day}
    ).one()
    return Posting(row.book_date, row.points, row.balance, row.debt)
