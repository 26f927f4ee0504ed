"""Every quarter of an hour: what members are to be told goes out."""

import datetime as dt
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.notice_step import added, not_sent, publish_notices, send_step


@flow(name="send-notices", flow_run_name="send-notices")
def send_notices() -> dict[str, Any] | State[Any]:
    """Send the notices that are due, batch after batch, until none is left.

    Safe to start again, to kill, and to run several times at once. A run that could not send some ends as NoticesNotSent;
    they wait in the outbox.
    """
    rounds: list[dict[str, Any]] = []
    while not rounds or (rounds[-1]["claimed"] and not rounds[-1]["problems"]):
        rounds.append(send_step(dt.datetime.now(dt.UTC)))
    facts = added(rounds)
    publish_notices(facts)
    return not_sent(facts["problems"]) or facts
