"""Four eyes for flows and commands: how a proposal ends a flow, what waits, and the second person's decision.

A flow proposes and ends; nothing runs while somebody thinks. The approval is a row in the ledger made by a login of its
own, never a button: the Prefect UI does not know who presses one.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed
from sqlalchemy import Connection, text

from points_ledger import approvals, check_findings, proposals, screens
from points_ledger.approvals import Approval
from points_ledger.errors import InvalidRequest, translated
from tasks import ledger
from tasks.artifacts import publish_proposal
from tasks.night import why_stopped
from tasks.undo import carry_out

Progress = Callable[[int, int], None]


def waits_for_approval(state: State[Any]) -> State[Any]:
    """The final state of a flow that proposed: what it waits for and how a second person goes on; or why it was refused.

    Completed by type, because the flow did all it can do and nobody is to be woken.
    """
    if not state.is_completed():
        return why_stopped(state)
    with ledger.engine().connect() as connection:
        asked = approvals.find(connection, state.result())
    message = (
        f"Approval {asked.approval_id}, proposed by {asked.proposed_by}: {asked.subject}. Nothing is posted yet. "
        f"A second person continues, under a login of their own, with: loyalty approve {asked.approval_id}"
    )
    publish_proposal(asked, message)
    return Completed(name="WaitsForApproval", message=message)


def waiting() -> list[Approval]:
    """Everything that waits for a second person, oldest first."""
    ledger.policy()
    with ledger.engine().connect() as connection:
        return approvals.waiting(connection)


def approve(approval_id: int, day: dt.date | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Approve as the approver's login and do what was approved; return what came of it.

    An undo that was approved and did not finish is taken up again.

    Raises:
        SamePerson: the login that proposed it.
        AlreadyEnded: it was approved before.
        LedgerError: what the posting refuses; then the approval is not given either.
    """
    ledger.policy()
    on = day or ledger.open_date("approver")
    engine = ledger.engine("approver")
    with translated():
        with engine.begin() as connection:
            asked = approvals.find(connection, approval_id)
            outcome = _decide(connection, asked, on)
        if asked.what == "undo":
            run_id, figures = carry_out(approval_id, on, login="approver", progress=progress)
            outcome = {"run_id": run_id, **figures.as_json()}
    return {
        "approval_id": approval_id,
        "what": asked.what,
        "subject": asked.subject,
        "proposed_by": asked.proposed_by,
        **outcome,
    }


def _decide(connection: Connection, asked: Approval, day: dt.date) -> dict[str, Any]:
    match asked.what:
        case "adjustment" | "reinstatement":
            return asdict(approvals.approve_and_post(connection, asked.approval_id, day=day))
        case "release":
            return {"block_id": screens.approve_release(connection, asked.approval_id)}
        case "policy":
            return {"version": proposals.approve(connection, asked.approval_id).version}
        case "undo" if asked.approved_by is not None:
            return {}  # carried out again, which does what is left
        case "undo" | "plan":
            approvals.approve(connection, asked.approval_id)
            return {}
        case "repair":
            return {"points": check_findings.approve_and_repair(connection, asked.approval_id)}
        case "tier":
            approvals.approve(connection, asked.approval_id)
            connection.execute(text("SELECT points.protect_tier(:id, :day)"), {"id": asked.approval_id, "day": day})
            return {}
    raise InvalidRequest(f"Approval {asked.approval_id} is about a {asked.what}, which is not approved here.")
