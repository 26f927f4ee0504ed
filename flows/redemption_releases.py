"""On demand: propose to release a member's redemptions."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from tasks.approvals import waits_for_approval
from tasks.screens import propose_release_step


@flow(name="release-redemptions", flow_run_name="release-redemptions {member_no}")
def release_redemptions(member_no: str, reason: Annotated[str, Field(min_length=10)]) -> State[Any]:
    """Propose to end the block on a member's redemptions. A second person releases it, with `loyalty approve`.

    The run ends at once, in the state WaitsForApproval, whose message holds the command. The login that set the block is
    refused by the database.

    Args:
        member_no: The member's number, as on the card. No names.
        reason: Why the block is no longer needed; at least 10 letters, no personal data.
    """
    return waits_for_approval(propose_release_step(member_no, reason, return_state=True))
