"""Daily, after the night: run the checks that are due over the whole ledger, keep what they find, and store their pages."""

import datetime as dt
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.artifacts import publish_checks
from tasks.check_docs import publish_step
from tasks.checks import check_step, not_green
from tasks.night import why_stopped


@flow(name="check-ledger")
def check_ledger(as_of: dt.date | None = None, everything: bool = False) -> dict[str, Any] | State[Any]:
    """Run the checks in one snapshot, through Great Expectations. It changes nothing but the checks' own books.

    Ends as StopFindings while a finding keeps the nights from taking points away, and as CheckErrors when a check could
    not run.

    Args:
        as_of: The business date the checks are bound to. Empty: the last closed one.
        everything: Off: what is due on that day (weekly checks on Sundays, all on a month's last day). On: all of them.
    """
    state = check_step(as_of, everything, return_state=True)
    if not state.is_completed():
        return why_stopped(state)
    report = state.result()
    publish_checks(report.as_of, report.engine, report.answers, publish_step(report))
    return not_green() or {"check_run_id": report.check_run_id, "outcome": report.outcome}
