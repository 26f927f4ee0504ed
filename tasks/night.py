"""Steps of the night as Prefect tasks. What each does, and their order, stands in ``points_ledger.night``."""

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import prefect.runtime
from prefect import task
from prefect.client.schemas.objects import State
from prefect.states import Failed
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from infra.settings import settings
from points_ledger import night, overview, runs
from points_ledger.errors import LedgerError, WaitsForPerson, translated
from points_ledger.night import Night, NightResult, Progress, Step
from tasks import checks, ledger

ATTEMPTS_AFTER = [5.0, 30.0]  # seconds


def resolve(through: dt.date | None) -> dt.date:
    """The last date to close: the one asked for, else the day before the run's *scheduled* start.

    Late or repeated the next morning, a run is still for the night it was scheduled for.
    """
    if through is not None:
        return through
    scheduled: dt.datetime = prefect.runtime.flow_run.scheduled_start_time
    return ledger.business_date(scheduled) - dt.timedelta(days=1)


def steps() -> tuple[Step, ...]:
    """The steps of a night in this installation: the ledger's, and the checks unless LOYALTY_NIGHT_CHECKS says no."""
    return (*night.STEPS, checks.STEP) if settings().night_checks else night.STEPS


def one_at_a_time() -> AbstractContextManager[None]:
    """The night's mutex in Postgres; a second night waits here."""
    return runs.only_one(ledger.engine(), runs.NIGHT)


def due_nights(through: dt.date) -> list[dt.date]:
    """The dates to close, in order."""
    ledger.policy()
    with ledger.engine().connect() as connection:
        return night.due_nights(connection, through=through)


def begin_night(business_date: dt.date) -> Night | None:
    """Claim the night of a date; None when it is done."""
    flow_run_id = prefect.runtime.flow_run.id
    return night.begin(ledger.engine(), business_date, code_version=ledger.code_version(), flow_run_id=flow_run_id)


@task(
    name="night-step",
    task_run_name="{business_date} {step}",
    retries=len(ATTEMPTS_AFTER),
    retry_delay_seconds=ATTEMPTS_AFTER,
    retry_condition_fn=lambda _task, _run, state: _may_pass(state),
)
def run_step(step: str, business_date: dt.date, run_id: int) -> None:
    """Run one step of the night of a date; safe to repeat."""
    claimed = Night(business_date, run_id)
    with translated(), night.recorded(ledger.engine(), claimed):
        next(s for s in steps() if s.name == step).run(ledger.engine(), claimed, None)


@task(name="finish-night", task_run_name="{business_date} finish")
def finish_night(business_date: dt.date, run_id: int) -> NightResult:
    """Finish the night's run, with totals counted from the ledger."""
    claimed = Night(business_date, run_id)
    with night.recorded(ledger.engine(), claimed):
        return night.finish(ledger.engine(), claimed)


def why_stopped(state: State[Any]) -> State[Any]:
    """The flow's final state when a step stopped it: named after what on-call has to do."""
    error: Any = state.result(raise_on_failure=False)
    if isinstance(error, WaitsForPerson):
        return Failed(name="WaitsForApproval", message=str(error))
    if isinstance(error, LedgerError):
        return Failed(name=type(error).__name__, message=str(error))
    return Failed(message=f"{type(error).__name__}: {error}. Safe to run again. See docs/howto/rerun-a-night.md")


def close_directly(through: dt.date, watch: Callable[[Night, Step], Progress | None]) -> Iterator[NightResult]:
    """Close every due night without a Prefect server.

    Raises:
        GateFailed, WaitsForPerson, LedgerError: the night that stopped; those before it are done.
    """
    ledger.policy()
    with translated():
        yield from night.close_nights(
            ledger.engine(), through=through, code_version=ledger.code_version(), watch=watch, steps=steps()
        )


def accept_plan(run_id: int) -> tuple[str, str]:
    """Approve the waiting plan of a run as the approver's login; return (proposed by, approved by).

    Raises:
        SamePerson: the login that proposed it.
        LedgerError: no plan of that run waits.
    """
    with translated(), ledger.engine("approver").begin() as connection:
        waiting = connection.execute(
            text(
                "SELECT approval_id, proposed_by, session_user AS me FROM points.approval WHERE what = 'plan'"
                " AND approved_by IS NULL AND payload ->> 'run_id' = :run_id ORDER BY approval_id DESC LIMIT 1"
            ),
            {"run_id": str(run_id)},
        ).one_or_none()
        if waiting is None:
            raise LedgerError(f"No plan of run {run_id} waits for a person; see loyalty status.")
        connection.execute(text("SELECT points.approve(:id)"), {"id": waiting.approval_id})
        return waiting.proposed_by, waiting.me


def preview(through: dt.date) -> list[dict[str, Any]]:
    """What closing would do, date by date; changes nothing."""
    dates = due_nights(through)
    with ledger.engine().connect() as connection:
        return overview.preview(connection, dates)


def _may_pass(state: State[Any]) -> bool:
    # A lost connection or a lock can be different the next time; a failed gate or a waiting plan cannot.
    return isinstance(state.result(raise_on_failure=False), OperationalError)
