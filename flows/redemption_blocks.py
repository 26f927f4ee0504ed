"""On demand: block a member's redemptions."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from tasks.night import why_stopped
from tasks.screens import block_step


@flow(name="block-redemptions", flow_run_name="block-redemptions {member_no}")
def block_redemptions(member_no: str, reason: Annotated[str, Field(min_length=10)]) -> State[Any]:
    """Refuse a member's redemptions, holds and gifts from now on. They go on earning, and lose no points by it.

    In force at once. Only another login than the one that set it releases it: form `release-redemptions`.

    Args:
        member_no: The member's number, as on the card. No names.
        reason: What whoever looks at it next has to know; at least 10 letters, no personal data. It is kept for ever.
    """
    state = block_step(member_no, reason, return_state=True)
    if not state.is_completed():
        return why_stopped(state)
    return Completed(message=f"Block {state.result()}: the redemptions of member {member_no} are refused.")
