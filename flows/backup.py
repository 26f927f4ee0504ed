"""Every night, after the close: the ledger, encrypted, in the bucket; and what retention no longer keeps removed."""

import datetime as dt
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.backup_step import back_up_step, final_state, prune_step, publish_backups


@flow(name="back-up-ledger", flow_run_name="back-up-ledger")
def back_up_ledger() -> dict[str, Any] | State[Any]:
    """Take a backup, then remove what is no longer kept.

    Safe to run again: each run takes a backup of its own, and first removes what a dead one left. A run that made no good
    backup ends in a state named after the reason, never as Completed.
    """
    state = back_up_step(return_state=True)
    if not state.is_completed():
        return final_state(state)
    made: dict[str, Any] = state.result()
    pruned = prune_step(dt.datetime.now(dt.UTC), return_state=True)
    publish_backups(made)
    return made if pruned.is_completed() else final_state(pruned)
