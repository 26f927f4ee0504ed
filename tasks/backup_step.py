"""Backups and drills as Prefect tasks, the state in which their flows end, and what they publish.

No retries of the dump as a whole: the bucket is asked again inside, and the flow is safe to start again.
"""

import datetime as dt
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Failed

from infra.backup_refusals import BackupRefused, RestoreFailed
from infra.backup_run import catalogue_facts
from points_ledger.errors import LedgerError
from tasks import backup
from tasks.refusals import SETTINGS_REFUSED

SHOWN = 30  # backups in the trend


@task(name="back-up")
def back_up_step() -> dict[str, Any]:
    """Take a backup; return what the catalogue keeps of it."""
    manifest = backup.back_up()
    return {"backup_id": manifest["backup_id"], **catalogue_facts(manifest)}


@task(name="prune")
def prune_step(now: dt.datetime) -> list[str]:
    """Remove what retention no longer keeps; return the ids."""
    done = backup.prune(now, dry_run=False)
    if done.why:
        get_run_logger().warning("No backup was removed: %s", done.why)
    for one, until in done.locked:
        get_run_logger().info("Backup %s stays: it is locked until %s", one.backup_id, until)
    return [one.backup_id for one in done.gone]


@task(name="drill")
def drill_step(wanted: str | None) -> dict[str, Any]:
    """Restore a backup and prove it; a copy that differs is a failure.

    Raises:
        RestoreFailed: it differs; the evidence is in the catalogue.
    """
    logger = get_run_logger()
    evidence = backup.drill(wanted, lambda what: logger.info(what))
    if not evidence["passed"]:
        raise RestoreFailed(
            f"Backup {evidence['backup_id']} did not come back equal: {'; '.join(evidence['differences'][:3])}"
        )
    return evidence


def final_state(state: State[Any]) -> State[Any]:
    """The flow's end when there is no good one: named after what on-call has to do."""
    error: Any = state.result(raise_on_failure=False)
    if isinstance(error, (BackupRefused, LedgerError, *SETTINGS_REFUSED)):
        return Failed(name=type(error).__name__, message=f"{error} See docs/howto/restore.md")
    return Failed(message=f"{type(error).__name__}: {error}. Safe to run again. See docs/howto/restore.md")


def publish_backups(made: dict[str, Any]) -> None:
    """Publish the trend of sizes and durations, the newest last."""
    rows = [
        {
            "taken at": f"{one.taken_at:%Y-%m-%d %H:%M}",
            "state": one.state,
            "MB of rows": round(one.facts["plain_bytes"] / 1e6, 1),
            "MB stored": round(one.facts["stored_bytes"] / 1e6, 1),
            "seconds": one.facts["seconds"],
            "last closed day": one.facts["last_closed"],
            "locked until": (one.facts.get("locked_until") or "not locked")[:16].replace("T", " "),
        }
        for one in backup.listed()
        if one.taken_at
    ]
    create_table_artifact(key="backups", table=rows[-SHOWN:], description=f"The newest is {made['backup_id']}")


def publish_drill(evidence: dict[str, Any]) -> None:
    """Publish what a drill has proven."""
    lines = ["# The newest backup was restored and proven", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in evidence.items() if name not in ("differences", "stages")]
    lines += ["", "| step | seconds |", "|---|---|"]
    lines += [f"| {step} | {seconds} |" for step, seconds in evidence["stages"].items()]
    create_markdown_artifact(key="drill", markdown="\n".join(lines), description="Restored, verified, equal")
