"""What a self-hosted Prefect does not tell: schedules without runs, silent, late, overdue and failed runs.

``self_check`` is asked once after a start; ``Watch.sweep`` every half minute from then on. It looks at the state a
run has now, not at events: the zombie automation of Prefect's documentation crashed runs that awaited approval. What is
new is logged and told to staff (``alerts``): a night that failed, and what the ledger itself reports (``backup_alerts``).
"""

import datetime as dt
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from infra.alerts import Tell
from infra.deployments import DEPLOYMENTS, Deployment
from infra.prefect_api import POOL, PrefectApi, Record, instant, state_since

logger = logging.getLogger(__name__)

SILENCE = dt.timedelta(seconds=120)  # four missed heartbeats
LATE = dt.timedelta(minutes=10)


def self_check(api: PrefectApi, worker: str) -> list[str]:
    """What is missing before jobs will really run; nothing means ready.

    Raises:
        infra.prefect_api.ServerUnreachable: The server does not answer.
    """
    problems = [] if api.worker_is_online(worker) else [f"worker {worker} is not online"]
    for deployment in api.deployments():
        active = any(schedule["active"] for schedule in deployment["schedules"])
        if active and not deployment["paused"] and not api.has_upcoming_run(deployment["id"]):
            problems.append(f"deployment {deployment['name']!r} has a schedule and no upcoming run")
    return problems


@dataclass
class Watch:
    """One pair of eyes; remembers what it has said, so that each finding is told once.

    ``ledger``: what is found there at a moment, whatever Prefect says.
    """

    api: PrefectApi
    tell: Tell
    ledger: Callable[[dt.datetime], list[str]] = lambda _: []
    told: set[str] = field(default_factory=set)

    def sweep(self, now: dt.datetime) -> list[str]:
        """Crash silent runs, find late, overdue and failed ones; log what is new and tell staff.

        Raises:
            infra.prefect_api.ServerUnreachable: The server does not answer.
        """
        current = [*self.ledger(now), *self._silent(now), *self._late(now), *self._overdue(now), *self._failed()]
        fresh = [finding for finding in current if finding not in self.told]
        self.told = set(current)  # what has cleared may be told again when it comes back
        for finding in fresh:
            logger.error(finding)
        if fresh:
            self.tell(fresh)
        return fresh

    def _silent(self, now: dt.datetime) -> list[str]:
        found = []
        for run in self.api.runs("RUNNING", "CANCELLING"):
            # A flow started from a shell on another machine is not ours to judge; a subflow of ours is.
            if run["work_pool_name"] != POOL and run["parent_task_run_id"] is None:
                continue
            if now - state_since(run) > SILENCE and now - (last := self.api.last_heartbeat(run)) > SILENCE:
                self.api.crash(run, f"No sign of life since {last:%Y-%m-%d %H:%M:%S} UTC: the process is gone.")
                found.append(
                    f"Run {run['name']} was silent since {last:%H:%M:%S} UTC and is now Crashed: {self.api.page(run)}"
                )
        return found

    def _late(self, now: dt.datetime) -> list[str]:
        late = [run for run in self.api.runs("SCHEDULED") if run["state_name"] == "Late"]
        return [
            f"Run {run['name']} is late since {run['expected_start_time'][:16]} UTC; is a worker online, or the pool "
            f"paused? {self.api.page(run)}"
            for run in late
            if now - instant(run["expected_start_time"]) > LATE
        ]

    def _overdue(self, now: dt.datetime) -> list[str]:
        found = []
        for deployment, item in self._scheduled():
            since = self._last_success(item)
            hours = deployment.overdue_after_hours
            if hours is not None and now - since > dt.timedelta(hours=hours):
                found.append(_overdue_sentence(deployment, since))
        return found

    def _failed(self) -> list[str]:
        """Scheduled jobs whose newest run that ended did not end well; a good run clears it."""
        found = []
        for deployment, item in self._scheduled():
            ended = self.api.runs("COMPLETED", "FAILED", "CRASHED", deployment=item["id"], limit=1, newest=True)
            if ended and ended[0]["state_type"] != "COMPLETED":
                run = ended[0]
                # The state's name and not its message: a message may quote what nobody foresaw.
                found.append(
                    f"Run {run['name']} ended {run['state_name']}: {self.api.page(run)} {deployment.consequence}"
                    f" Runbook: {deployment.runbook}."
                )
        return found

    def _scheduled(self) -> Iterator[tuple[Deployment, Record]]:
        """Our deployments that have a schedule which nobody has paused."""
        registered = {(item["entrypoint"], item["name"]): item for item in self.api.deployments()}
        for deployment in DEPLOYMENTS:
            item = registered.get((deployment.entrypoint, deployment.name))
            if deployment.cron is None or item is None or item["paused"]:
                continue
            if any(schedule["active"] for schedule in item["schedules"]):
                yield deployment, item

    def _last_success(self, item: Record) -> dt.datetime:
        done = self.api.runs("COMPLETED", deployment=item["id"], limit=1, newest=True)
        return instant(done[0]["end_time"] if done else item["created"])


def _overdue_sentence(deployment: Deployment, since: dt.datetime) -> str:
    runbook = f" Runbook: {deployment.runbook}." if deployment.runbook else ""
    return (
        f"{deployment.entrypoint} has not succeeded since {since:%Y-%m-%d %H:%M} UTC. {deployment.consequence}{runbook}"
    )
