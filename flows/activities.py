"""On demand: import a file of activities."""

from typing import Any

from prefect import flow

from tasks.artifacts import publish_import
from tasks.feeds import import_feed_step


@flow(name="import-activities", flow_run_name="import-activities")
def import_activities(path: str, layout: str | None = None) -> dict[str, Any]:
    """Take in a file of activities (a path the worker can read); `layout` names how a foreign shop spells its columns.

    The same file again does nothing. Events wait for their business date; those of the open day are posted at once.
    """
    row = import_feed_step(path, "activities", layout)
    publish_import(row)
    return row
