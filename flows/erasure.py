"""On demand: destroy the contact data of a member."""

from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from tasks.contacts import erase_step
from tasks.night import why_stopped


@flow(name="erase-member", flow_run_name="erase-member {member_no}")
def erase_member(member_no: str, reason: Annotated[str, Field(min_length=10)]) -> State[Any]:
    """Destroy a member's name, address and number, and the key of all proofs of what they were sent. It cannot be undone.

    The ledger stays: balance, entries and their reasons. A later file does not bring the contact back, nor does a
    restored backup.

    Args:
        member_no: The member's number, as on the card. No names.
        reason: Who asked for it and when, such as the number of the request; at least 10 letters, no personal data.
    """
    state = erase_step(member_no, reason, runtime.flow_run.scheduled_start_time, return_state=True)
    if not state.is_completed():
        return why_stopped(state)
    done = state.result()
    listed = (
        "" if done.not_listed is None else f" Not yet beside the backups, the next one tries again: {done.not_listed}"
    )
    return Completed(message=f"Member {member_no} is erased.{listed}", name="Completed" if not listed else "NotListed")
