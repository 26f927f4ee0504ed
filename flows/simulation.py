"""On demand: what a proposed programme would have done to the orders of the past."""

import datetime as dt
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.artifacts import publish_simulation
from tasks.simulation_step import final_state, simulate_step


@flow(name="simulate-policy", flow_run_name="simulate-policy {first} to {through}")
def simulate_policy(
    first: dt.date, through: dt.date, programme_file: str | None = None, programme_text: str | None = None
) -> dict[str, Any] | State[Any]:
    """Close the days `first` to `through` again with a programme: a TOML file that the worker can read, or its text.

    Who gains, who loses, points and money by tier, the liability after; beside the programme that was in force. Runs in a
    scratch database; nothing in the ledger is touched. Safe to run again.
    """
    state = simulate_step(programme_file, programme_text, first, through, return_state=True)
    if not state.is_completed():
        return final_state(state)
    report: dict[str, Any] = state.result()
    publish_simulation(report)
    return report
