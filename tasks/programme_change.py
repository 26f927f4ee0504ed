"""Steps of a change of the programme as Prefect tasks: propose it, show it, and end in a state that says what is next."""

import datetime as dt
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from sqlalchemy.exc import OperationalError

from points_ledger.errors import InvalidRequest, LedgerError
from tasks import policy
from tasks.refusals import INPUT_REFUSED


@task(
    name="propose-programme",
    task_run_name="propose from {effective_from}",
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=lambda _task, _run, state: isinstance(state.result(raise_on_failure=False), OperationalError),
)
def propose_programme(
    programme_file: str | None, programme_text: str | None, effective_from: dt.date, reason: str
) -> dict[str, Any]:
    """``tasks.policy.propose`` as a step of a flow; safe to repeat, the same proposal is made once.

    Raises:
        InvalidRequest: neither a file nor its text was given, or both.
    """
    if bool(programme_file) == bool(programme_text):
        raise InvalidRequest("Give programme_file or programme_text, one of the two.")
    return policy.as_row(policy.propose(effective_from, reason, path=programme_file or None, content=programme_text))


def final_state(state: State[Any]) -> State[Any] | dict[str, Any]:
    """The flow's end: the row when nothing is left to do, else a state named after what has to be done.

    A change that waits ends the run, completed: nobody is to be woken for it. The approval puts it in force without
    another run.
    """
    found: Any = state.result(raise_on_failure=False)
    if state.is_completed():
        _publish(found)
        return (
            Completed(name="WaitsForApproval", message=policy.what_is_next(found))
            if found["state"] == "waits"
            else found
        )
    if isinstance(found, (LedgerError, *INPUT_REFUSED)):
        return Failed(name=type(found).__name__, message=str(found))
    return Failed(message=f"{type(found).__name__}: {found}. Nothing was proposed. Safe to run again.")


def _publish(row: dict[str, Any]) -> None:
    lines = ["# Change of the programme", "", policy.what_is_next(row), ""]
    if row["changes"]:
        lines += ["| key | before | after | what it does | why |", "|---|---|---|---|---|"]
        lines += [
            f"| `{c['key']}` | {_cell(c['before'])} | {_cell(c['after'])} | **{c['effect']}** | {c['why']} |"
            for c in row["changes"]
        ]
    create_markdown_artifact(key="change-policy", markdown="\n".join(lines), description="What the change does")


def _cell(value: Any) -> str:
    return "–" if value is None else f"`{value}`".replace("|", "\\|")
