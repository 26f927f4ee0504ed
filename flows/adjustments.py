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
    member_no: Annotated[str, Field(title="Member number", description="As on the card. No names.")],
    direction: Annotated[Literal["give", "take"], Field(description="Give points to the member, or take them away.")],
    points: Annotated[
        int, Field(ge=1, description="How many. What one login may propose at once and a day is limited.")
    ],
    reason_code: Annotated[str, Field(description="One of reason_codes in the programme file, such as goodwill.")],
    reason: Annotated[
        str, Field(min_length=10, description="What the second person has to know. At least 10 letters.")
    ],
    valid_through: Annotated[
        dt.date | None,
        Field(description="Points given: their last valid day. Empty: as long as points earned today."),
    ] = None,
) -> State[Any]:
    """Propose an adjustment. It posts nothing: a second person does, with `loyalty approve`, under a login of their own.

    The run ends at once, in the state WaitsForApproval, whose message holds the command. The same proposal again, while
    it waits, asks once.
    """
    return waits_for_approval(
        propose_step(member_no, direction, points, reason_code, reason, valid_through, return_state=True)
    )
