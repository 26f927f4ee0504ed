"""Steps of undoing a run: plan it, put it before a second person, carry it out. Safe to repeat, each of them."""

import datetime as dt
from collections.abc import Callable

from prefect import task
from sqlalchemy.exc import OperationalError

from infra.database import Login
from points_ledger import undo
from points_ledger.errors import translated
from points_ledger.undo import Figures, Spent, Standing
from tasks import ledger

Progress = Callable[[int, int], None]


def standing(run_id: int) -> Standing | None:
    """How far the undo of a run is; None when nobody has proposed it."""
    ledger.policy()
    with ledger.engine().connect() as connection:
        return undo.standing(connection, run_id)


def plan(run_id: int, spent: Spent, day: dt.date | None = None, progress: Progress | None = None) -> Figures:
    """What undoing a run would do; changes nothing.

    Raises:
        LedgerError: there is no such run, or it is not finished.
    """
    ledger.policy()
    with translated():
        return undo.plan(
            ledger.engine(), run_id=run_id, spent=spent, day=day or ledger.open_date(), progress=progress
        )  # fmt: skip


def propose(run_id: int, spent: Spent, figures: Figures, reason: str) -> int:
    """Put an undo and its plan before a second person; return the approval's number.

    Raises:
        LedgerError: the run cannot be undone, or the reason says nothing.
    """
    with translated(), ledger.engine().begin() as connection:
        return undo.propose(connection, run_id=run_id, spent=spent, figures=figures, reason=reason)


def carry_out(
    approval_id: int, day: dt.date | None = None, *, login: Login = "batch", progress: Progress | None = None
) -> tuple[int, Figures]:
    """Carry out an approved undo, or the rest of it; return its run and what it did.

    Raises:
        LedgerError: nobody has approved it, or the run was undone under another approval.
    """
    with translated():
        return undo.execute(
            ledger.engine(login),
            approval_id=approval_id,
            day=day or ledger.open_date(login),
            code_version=ledger.code_version(),
            progress=progress,
        )


@task(name="plan-undo", task_run_name="plan undo of run {run_id}")
def plan_step(run_id: int, spent: Spent) -> Figures:
    """``plan`` as a step of a flow."""
    return plan(run_id, spent)


@task(name="propose-undo", task_run_name="propose undo of run {run_id}")
def propose_step(run_id: int, spent: Spent, figures: Figures, reason: str) -> int:
    """``propose`` as a step of a flow."""
    return propose(run_id, spent, figures, reason)


@task(
    name="carry-out-undo",
    task_run_name="carry out approval {approval_id}",
    retries=2,
    retry_delay_seconds=[5, 30],
    # a lost connection or a lock can be different the next time; what was refused cannot
    retry_condition_fn=lambda _task, _run, state: isinstance(state.result(raise_on_failure=False), OperationalError),
)
def carry_out_step(approval_id: int) -> tuple[int, Figures]:
    """``carry_out`` as a step of a flow."""
    return carry_out(approval_id)
