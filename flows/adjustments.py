"""On demand: propose to give a member points, or to take them."""

import datetime as dt
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from tasks.adjustments import propose_step
from tasks.approvals import waits_for_approval


@flow(name="adjust-points", flow_run_name="adjust-points {member_no}")
def adjust_points(
    member_no: str,
    direction: Literal["give", "take"],
    points: Annotated[int, Field(ge=1)],
    reason_code: str,
    reason: Annotated[str, Field(min_length=10)],
    valid_through: dt.date | None = None,
) -> State[Any]:
    """Propose an adjustment. It posts nothing: a second person does, with `loyalty approve`, under a login of their own.

    The run ends at once, in the state WaitsForApproval, whose message holds the command. The same proposal again, while
    it waits, asks once.

    Args:
        member_no: The member's number, as on the card. No names.
        direction: Give points to the member, or take them away.
        points: How many. What one login may propose at once, and in a day, is limited by the programme.
        reason_code: One of reason_codes in the programme file, such as goodwill.
        reason: What the second person has to know; at least 10 letters. It stands in the member's story for ever.
        valid_through: The last valid day of points that are given. Empty: as long as points earned today.
    """
    return waits_for_approval(
        propose_step(member_no, direction, points, reason_code, reason, valid_through, return_state=True)
    )
