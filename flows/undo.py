"""On demand: show what undoing a run would do, and propose it; or finish an undo that was approved."""

from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from tasks.approvals import waits_for_approval
from tasks.artifacts import publish_undo
from tasks.night import why_stopped
from tasks.undo import carry_out_step, plan_step, propose_step, standing


@flow(name="undo-run", flow_run_name="undo-run {run}")
def undo_run(
    run: Annotated[int, Field(ge=1)],
    spent: Literal["debt", "waive"] = "debt",
    propose: bool = False,
    reason: str = "",
) -> dict[str, Any] | State[Any]:
    """Plan the undo of a run: every entry answered by one that points at it. The plan changes nothing.

    With `propose` the run ends in the state WaitsForApproval; `loyalty approve` by a second person carries it out. Started
    again after an approval whose undo was cut short, it finishes that undo.

    Args:
        run: The number of the run to undo, as its artifact and `loyalty status` show it.
        spent: Points that are spent already are owed by the member (debt), or left to them (waive).
        propose: Off: only show the plan. On: put it before a second person.
        reason: With propose: what the second person has to know; at least 10 letters.
    """
    known = standing(run)
    if known is not None and known.approved_by is not None:
        _, done = carry_out_step(known.approval_id)
        publish_undo(run, known.spent, done, is_done=True)
        return done.as_json()
    planned = plan_step(run, spent, return_state=True)
    if not planned.is_completed():
        return why_stopped(planned)
    figures = planned.result()
    publish_undo(run, spent, figures, is_done=False)
    if not propose:
        return figures.as_json()
    return waits_for_approval(propose_step(run, spent, figures, reason, return_state=True))
