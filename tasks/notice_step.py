"""Sending notices as a Prefect task and at the end of a night: the state that names what did not go out, and the artifact."""

import datetime as dt
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Failed

from infra.settings import InvalidSettings
from points_ledger.dispatch import Counts
from points_ledger.errors import translated
from tasks import notices
from tasks.notices import Sent

ROUND = 20  # batches in one task: some seconds to a minute of work
RUNBOOK = "docs/howto/send-notices.md"


@task(name="send-notices", task_run_name="send notices due at {now:%Y-%m-%d %H:%M}")
def send_step(now: dt.datetime) -> dict[str, Any]:
    """Send up to ten thousand of the notices that are due."""
    sent = notices.send(now, ROUND)
    for problem in sent.problems:
        get_run_logger().warning("%s", problem)
    return sent.facts


@task(name="send-notices-of-night", task_run_name="{business_date} send notices")
def send_after_night(business_date: dt.date, now: dt.datetime) -> list[str]:
    """Send what is due after a night; return why some of it did not go out. Never fails: the night is done."""
    return why_unsent(business_date, now)


def why_unsent(business_date: dt.date, now: dt.datetime) -> list[str]:
    """Send what is due after the night of a date; return why some of it did not go out, empty: nothing is in the way."""
    try:
        with translated():
            return list(notices.send(notices.night_moment(business_date, now)).problems)
    except Exception as error:  # the night is done; whatever this is, it must neither hide nor undo that
        plain = isinstance(error, (*notices.CANNOT_SEND, InvalidSettings))
        return [str(error) if plain else type(error).__name__]


def added(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The counts of several rounds as one."""
    names = [name for name in Sent(0, Counts(), ()).facts if name != "problems"]
    total: dict[str, Any] = {name: sum(one[name] for one in rounds) for name in names}
    return total | {"problems": sorted({problem for one in rounds for problem in one["problems"]})}


def not_sent(problems: list[str]) -> State[Any] | None:
    """The final state of a run that could not send some notices; None when nothing was in the way."""
    if not problems:
        return None
    said = "; ".join(dict.fromkeys(problems))
    return Failed(name="NoticesNotSent", message=f"{said}. They wait; nothing is lost. See {RUNBOOK}")


def publish_notices(facts: dict[str, Any]) -> None:
    """Publish what a run came to. Numbers only."""
    lines = ["# Notices", "", "| | |", "|---|---:|"]
    lines += [f"| {name} | {value:,} |" for name, value in facts.items() if name != "problems"]
    lines += ["", *(f"- {problem}" for problem in facts["problems"])]
    create_markdown_artifact(
        key="send-notices", markdown="\n".join(lines), description="What became of the notices due"
    )
