"""The few questions the supervisor asks the Prefect server, over its REST API.

Not Prefect's own client: importing that takes a second and a hundred megabytes, which a process that only watches
should not hold. Addresses and environment of everything Prefect are decided here too.
"""

import base64
import datetime as dt
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any, Final

from infra import prefect_database
from infra.settings import Settings, child_environment

POOL: Final = "back-office"
ACTIVE: Final = ("RUNNING", "CANCELLING", "PENDING")
Record = dict[str, Any]  # a JSON object, as the server sent it


class ServerUnreachable(ConnectionError):
    """The Prefect server does not answer, or refuses the request."""


@dataclass(frozen=True)
class PrefectApi:
    """A Prefect server's REST API."""

    url: str
    credentials: str | None = field(default=None, repr=False)

    def call(self, method: str, path: str, body: object = None, *, timeout: float = 10) -> Any:
        """Send one request and read the JSON that comes back.

        Raises:
            ServerUnreachable: No answer in time, or an answer that is an error.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method)  # noqa: S310 - our own address
        request.add_header("Content-Type", "application/json")
        if self.credentials is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(self.credentials.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310 - our own address
                content = answer.read()
        except (OSError, urllib.error.URLError) as error:
            raise ServerUnreachable(f"{method} {path}: {error}") from error
        return json.loads(content) if content else None

    def is_ready(self) -> bool:
        """Whether the server answers and reaches its database."""
        try:
            self.call("GET", "/ready", timeout=2)
        except ServerUnreachable:
            return False
        return True

    def deployments(self) -> list[Record]:
        """The deployments of our work pool."""
        found: list[Record] = self.call("POST", "/deployments/filter", {"work_pools": _named(POOL), "limit": 200})
        return found

    def runs(self, *states: str, deployment: str | None = None, limit: int = 200, newest: bool = False) -> list[Record]:
        """Flow runs in one of the state types, of one deployment or of all."""
        body: Record = {"flow_runs": {"state": {"type": {"any_": list(states)}}}, "limit": limit}
        body["sort"] = "END_TIME_DESC" if newest else "EXPECTED_START_TIME_ASC"
        if deployment is not None:
            body["deployments"] = {"id": {"any_": [deployment]}}
        found: list[Record] = self.call("POST", "/flow_runs/filter", body)
        return found

    def active_runs(self, now: dt.datetime) -> list[Record]:
        """Runs of our pool that a worker is executing or is about to.

        A run that has been pending for minutes was lost by a worker that died: nobody would ever finish it.
        """
        ours = [run for run in self.runs(*ACTIVE) if run["work_pool_name"] == POOL]
        return [
            run for run in ours if run["state_type"] != "PENDING" or now - state_since(run) < dt.timedelta(minutes=2)
        ]

    def has_upcoming_run(self, deployment: str) -> bool:
        """Whether the scheduler has planned a run of this deployment."""
        return bool(self.runs("SCHEDULED", deployment=deployment, limit=1))

    def worker_is_online(self, name: str) -> bool:
        """Whether the worker of this name sent a heartbeat lately."""
        workers: list[Record] = self.call("POST", f"/work_pools/{POOL}/workers/filter", {})
        return any(worker["name"] == name and worker["status"] == "ONLINE" for worker in workers)

    def forget_worker(self, name: str) -> None:
        """Take a worker that has left off the list."""
        self.call("DELETE", f"/work_pools/{POOL}/workers/{name}")

    def has_pool(self) -> bool:
        """Whether the server answers and knows our pool."""
        try:
            self.call("GET", f"/work_pools/{POOL}", timeout=2)
        except ServerUnreachable:
            return False
        return True

    def pause_pool(self, paused: bool) -> bool:
        """Pause or resume our pool; True if that changed anything."""
        pool: Record = self.call("GET", f"/work_pools/{POOL}")
        if pool["is_paused"] == paused:
            return False
        self.call("PATCH", f"/work_pools/{POOL}", {"is_paused": paused})
        return True

    def last_heartbeat(self, run: Record) -> dt.datetime:
        """When this run last showed a sign of life."""
        wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "order": "DESC"}
        wanted |= {"resource": {"id": [f"prefect.flow-run.{run['id']}"]}}
        events = self.call("POST", "/events/filter", {"limit": 1, "filter": wanted})["events"]
        return max([state_since(run), *(instant(event["occurred"]) for event in events)])

    def page(self, run: Record) -> str:
        """The run's page in the UI."""
        return f"{self.url.removesuffix('/api')}/v2/runs/flow-run/{run['id']}"

    def crash(self, run: Record, why: str) -> None:
        """Mark a run as crashed."""
        self.call("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CRASHED", "message": why}})


def instant(text: str) -> dt.datetime:
    """An instant as the server writes it."""
    return dt.datetime.fromisoformat(text)


def state_since(run: Record) -> dt.datetime:
    """When the run entered the state it is in."""
    return instant(run["state"]["timestamp"])


def connect(settings: Settings) -> PrefectApi:
    """The Prefect server of this installation."""
    secret = settings.prefect_api_auth_string
    return PrefectApi(api_url(settings), secret.get_secret_value() if secret else None)


def serves_prefect(settings: Settings) -> bool:
    """Whether the server is ours to run: ``PREFECT_API_URL`` names none, or the very one that we start."""
    return settings.prefect_api_url in (None, f"{_site(settings)}/api")


def api_url(settings: Settings) -> str:
    """The REST API: your server's, or the one ``loyalty up`` starts."""
    return (settings.prefect_api_url or f"{_site(settings)}/api").rstrip("/")


def ui_url(settings: Settings) -> str:
    """The UI to give to people. ``/v2``: links to the old one lack half of the pages."""
    return api_url(settings).removesuffix("/api") + "/v2"


def environment(settings: Settings) -> dict[str, str]:
    """The environment of every Prefect process: server, worker, registration, migration.

    Raises:
        infra.cluster.ClusterFailed: The embedded Postgres does not start.
    """
    prefect = {
        "PREFECT_HOME": str(settings.home / "prefect"),  # nothing of ours in the user's own ~/.prefect
        "PREFECT_API_URL": api_url(settings),
        "PREFECT_UI_URL": ui_url(settings),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the watch calls a run dead after four missed ones
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "points_ledger,infra,tasks",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    secret = settings.prefect_api_auth_string
    if secret is not None:
        prefect["PREFECT_API_AUTH_STRING"] = prefect["PREFECT_SERVER_API_AUTH_STRING"] = secret.get_secret_value()
    if serves_prefect(settings):
        prefect |= {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": prefect_database.url(settings),
            # The embedded database needs the migration's shim, so it is migrated before the server starts.
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": str(settings.prefect_database_url is not None).lower(),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "2",
        }
    return child_environment(settings, prefect)


def _site(settings: Settings) -> str:
    # "Every address" is a place to listen, not a place to call.
    host = "127.0.0.1" if settings.prefect_host in ("0.0.0.0", "::") else settings.prefect_host  # noqa: S104 - compared, not bound
    return f"http://{host}:{settings.prefect_port}"


def _named(name: str) -> Record:
    return {"name": {"any_": [name]}}
