"""Nightly at 00:15: close every business date that is over, in order."""

import datetime as dt
from typing import Any

import prefect.runtime
from prefect import flow
from prefect.client.schemas.objects import State

from points_ledger.night import NightResult
from tasks.artifacts import publish_nights
from tasks.checks import not_green
from tasks.night import begin_night, due_nights, finish_night, one_at_a_time, resolve, run_step, steps, why_stopped
from tasks.notice_step import not_sent, send_after_night


def _name() -> str:
    through = prefect.runtime.flow_run.parameters.get("through")
    return f"close-night {through or resolve(None)}"


@flow(name="close-night", flow_run_name=_name)
def close_night(through: dt.date | None = None) -> list[dict[str, Any]] | State[Any]:
    """Close the nights up to `through` (empty: up to yesterday, by the time this run was scheduled for).

    Each night: post feeds, check, close, seal, expire, check again. Safe to run again at any time: what is done stays done.
    A run that ends as StopFindings closed its nights, but took nothing from members: a check found rows that must not be.
    One that ends as NoticesNotSent closed its nights, and members were not told yet.
    """
    results: list[NightResult] = []
    unsent: list[str] = []
    with one_at_a_time():
        for business_date in due_nights(resolve(through)):
            night = begin_night(business_date)
            if night is None:
                continue
            for step in steps():
                state = run_step(step.name, business_date, night.run_id, return_state=True)
                if not state.is_completed():
                    publish_nights(results, stopped := why_stopped(state))
                    return stopped
            results.append(finish_night(business_date, night.run_id))
            unsent += send_after_night(business_date, dt.datetime.now(dt.UTC))
    withheld = results[-1].totals.get("withheld") if results else None
    amiss = not_green(withheld) or not_sent(unsent)
    publish_nights(results, amiss)
    return amiss or [result.totals for result in results]
