"""On the 2nd of the month: audit the month before, close it and store its evidence, so that an auditor can sign it."""

import datetime as dt
from typing import Any

import prefect.runtime
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed

from tasks.artifacts import publish_month
from tasks.evidence import publish_step
from tasks.month import close_step, month_before


@flow(name="reconcile-month")
def reconcile_month(month: str | None = None) -> dict[str, Any] | State[Any]:
    """Make the report of a month, record it once, store it with its evidence pack. Safe to run again; an auditor signs.

    Ends as MonthNotClosed when a night is missing, findings are open that stop, or something does not agree; as
    EvidenceNotStored when the month is closed, and its pack could not be signed or stored.

    Args:
        month: YYYY-MM. Empty: the month before the run's scheduled day, in the programme's zone.
    """
    planned: dt.datetime = prefect.runtime.flow_run.scheduled_start_time
    answer = close_step(month or month_before(planned))
    evidence = {} if "refused" in answer else publish_step(answer["month"])
    publish_month(answer, evidence)
    if "refused" in answer:
        return Failed(name="MonthNotClosed", message=answer["refused"])
    if "refused" in evidence:
        return Failed(name="EvidenceNotStored", message=evidence["refused"])
    return answer
