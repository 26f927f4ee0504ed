"""Steps of an adjustment: put it before a second person. Its approval posts it (``tasks.approvals``)."""

import datetime as dt
from typing import Literal

from prefect import task

from points_ledger import adjustments
from points_ledger.errors import translated
from tasks import ledger

Direction = Literal["give", "take"]


def propose(
    member_no: str,
    direction: Direction,
    points: int,
    reason_code: str,
    reason: str,
    valid_through: dt.date | None = None,
    day: dt.date | None = None,
) -> int:
    """Propose to give or take points; return the approval's number.

    Raises:
        LedgerError: the member, the points, the reason code or this login's limits do not allow it.
    """
    ledger.policy()
    with translated(), ledger.engine().begin() as connection:
        return adjustments.propose(
            connection,
            member_no=member_no,
            points=points if direction == "give" else -points,
            day=day or ledger.open_date(),
            valid_through=valid_through,
            reason_code=reason_code,
            reason=reason,
        )


@task(name="propose-adjustment", task_run_name="propose for {member_no}")
def propose_step(
    member_no: str, direction: Direction, points: int, reason_code: str, reason: str, valid_through: dt.date | None
) -> int:
    """``propose`` as a step of a flow; the same proposal, while it waits, is proposed once."""
    return propose(member_no, direction, points, reason_code, reason, valid_through)
