"""Proposed versions of the programme: proposed by one login, approved by another, in force once.

What a change does to members is told by ``points_ledger.policy_changes``; here is what becomes of a change. The
checks (dates, four eyes, what was approved is what is stored) are in the database, beside the table
(``migrations/sql/0002_policy.sql``), so that they hold for whatever calls them.
"""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from points_ledger.errors import NeedsReason, UnknownEvent
from points_ledger.policy_changes import Change, needs_approval
from points_ledger.queries import statement

SHORTEST_REASON = 10


@dataclass(frozen=True)
class Proposal:
    """A proposed version; ``version`` is its number once it is one, ``approval_id`` is None when it needed nobody."""

    proposal_id: int
    approval_id: int | None
    base_version: int
    effective_from: dt.date
    document: dict[str, Any]
    sha256: str
    changes: tuple[Change, ...]
    reason: str
    proposed_by: str
    proposed_at: dt.datetime
    approved_by: str | None
    version: int | None
    overtaken_by: int | None

    @property
    def state(self) -> str:
        """``in force`` (stored as a version), ``overtaken`` (another one came first) or ``waits``."""
        if self.version is not None:
            return "in force"
        return "waits" if self.overtaken_by is None else "overtaken"


def propose(
    connection: Connection,
    document: dict[str, Any],
    *,
    effective_from: dt.date,
    base_version: int,
    changes: Sequence[Change],
    reason: str,
) -> Proposal:
    """Propose a document, compared with ``base_version``; the same proposal again is answered with the first one.

    It is in force when this transaction commits, unless one of the changes needs an approval.

    Raises:
        NeedsReason: an approval is needed and the reason says nothing.
        sqlalchemy.exc.DBAPIError: PL020, the date is too early; PL021, another version came in between.
    """
    waits = needs_approval(changes)
    if waits and len(reason.strip()) < SHORTEST_REASON:
        raise NeedsReason(f'Give a reason of at least {SHORTEST_REASON} letters, not "{reason}".')
    proposal_id = connection.execute(
        statement("propose_policy"),
        {
            "document": json.dumps(document),
            "effective_from": effective_from,
            "base_version": base_version,
            "changes": json.dumps([change.as_json() for change in changes]),
            "needs_approval": waits,
            "reason": reason,
        },
    ).scalar_one()
    return _proposals(connection, proposal_id=proposal_id)[0]


def approve(connection: Connection, approval_id: int) -> Proposal:
    """Approve a proposal as the connection's login and put it in force, both or neither.

    Raises:
        UnknownEvent: no proposed programme has that number.
        sqlalchemy.exc.DBAPIError: four_eyes, the proposer approved; PL007, it is approved already; PL020, it would
            start too early by now; PL021, another version came in between.
    """
    find(connection, approval_id)
    connection.execute(text("SELECT points.approve(:id)"), {"id": approval_id})
    connection.execute(text("SELECT points.put_policy_in_force(:id)"), {"id": approval_id})
    return find(connection, approval_id)


def find(connection: Connection, approval_id: int) -> Proposal:
    """The proposal that an approval is about.

    Raises:
        UnknownEvent: there is none.
    """
    found = _proposals(connection, approval_id=approval_id)
    if not found:
        raise UnknownEvent(f"No proposed programme has the number {approval_id}: see loyalty policy show.")
    return found[0]


def waiting(connection: Connection) -> list[Proposal]:
    """The proposals that a second person can approve, oldest first."""
    return [proposal for proposal in _proposals(connection) if proposal.state == "waits"]


def _proposals(
    connection: Connection, *, proposal_id: int | None = None, approval_id: int | None = None
) -> list[Proposal]:
    rows = connection.execute(
        statement("policy_proposals"), {"proposal_id": proposal_id, "approval_id": approval_id}
    ).all()
    return [_proposal(row) for row in rows]


def _proposal(row: Row[Any]) -> Proposal:
    known = row._asdict()
    return Proposal(**{**known, "changes": tuple(Change.from_json(change) for change in known["changes"])})
