"""The simulation of a programme as a Prefect task, and the state in which its flow ends."""

import datetime as dt
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State
from prefect.states import Failed

from points_ledger.errors import LedgerError
from tasks import simulation
from tasks.refusals import INPUT_REFUSED, SETTINGS_REFUSED


@task(name="simulate-programme", task_run_name="simulate {first} to {through}")
def simulate_step(
    programme_file: str | None, programme_text: str | None, first: dt.date, through: dt.date
) -> dict[str, Any]:
    """``tasks.simulation.simulate`` as a step of a flow; it leaves nothing behind, so it may be repeated."""
    return simulation.simulate(first, through, path=programme_file or None, content=programme_text or None)


def final_state(state: State[Any]) -> State[Any]:
    """The flow's end when there is no report: named after what was refused."""
    error: Any = state.result(raise_on_failure=False)
    if isinstance(error, (LedgerError, *INPUT_REFUSED, *SETTINGS_REFUSED)):
        return Failed(name=type(error).__name__, message=str(error))
    return Failed(message=f"{type(error).__name__}: {error}. The ledger was not touched. Safe to run again.")
