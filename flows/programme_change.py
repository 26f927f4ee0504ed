"""On demand: propose a change of the programme."""

import datetime as dt
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.programme_change import final_state, propose_programme


@flow(name="change-policy", flow_run_name="change-policy from {effective_from}")
def change_policy(
    effective_from: dt.date, reason: str, programme_file: str | None = None, programme_text: str | None = None
) -> dict[str, Any] | State[Any]:
    """Propose a programme: a TOML file that the worker can read, or its text, from a day on.

    What only gives more is in force at once. What takes something away ends as `WaitsForApproval`: a second person
    approves it with `loyalty policy approve`, and it is in force from its day on. Safe to run again.
    """
    return final_state(propose_programme(programme_file, programme_text, effective_from, reason, return_state=True))
