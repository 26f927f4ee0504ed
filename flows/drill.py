"""Every week: the newest backup becomes a database again, and is held to what it was."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.backup_step import drill_step, final_state, publish_drill


@flow(name="drill-restore", flow_run_name="drill-restore {backup_id}")
def drill_restore(backup_id: str | None = None) -> dict[str, Any] | State[Any]:
    """Restore a backup (the newest) into a scratch Postgres, verify every wallet, lot and seal, compare the totals.

    Nothing in the ledger is touched but the catalogue of backups. Safe to run again. A copy that differs ends the run as
    RestoreFailed.
    """
    state = drill_step(backup_id, return_state=True)
    if not state.is_completed():
        return final_state(state)
    evidence: dict[str, Any] = state.result()
    publish_drill(evidence)
    return evidence
