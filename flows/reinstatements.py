"""On demand: propose to give a member back what lapsed from a lot."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from tasks.approvals import waits_for_approval
from tasks.reinstatements import propose_step


@flow(name="reinstate-points", flow_run_name="reinstate-points {member_no}")
def reinstate_points(
    member_no: str,
    lot: Annotated[int, Field(ge=1)],
    reason_code: str,
    reason: Annotated[str, Field(min_length=10)],
    valid_days: Annotated[int | None, Field(ge=1)] = None,
) -> State[Any]:
    """Propose to give lapsed points back, once, as a new lot. A second person posts it, with `loyalty approve`.

    The run ends at once, in the state WaitsForApproval, whose message holds the command.

    Args:
        member_no: The member's number, as on the card. No names.
        lot: The number of the lot that lapsed, as `loyalty explain` shows it.
        reason_code: One of reason_codes in the programme file, such as goodwill.
        reason: What the second person has to know; at least 10 letters.
        valid_days: For how many days from the approval on. Empty: reinstate_days of the programme.
    """
    return waits_for_approval(propose_step(member_no, lot, reason_code, reason, valid_days, return_state=True))
