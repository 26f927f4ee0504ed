"""Steps of ``loyalty demo``: a generated shop, imported and closed through Prefect, and what to look at afterwards."""

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path

from infra import prefect_api
from infra.demo_shop import write_shop
from infra.settings import settings
from points_ledger import totals
from points_ledger.queries import statement
from tasks import ledger

DAYS = 60
MEMBERS = 400
SEED = 20260901
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def shop_folder() -> Path:
    """Where the generated files stand, to be looked at."""
    return settings().home / "demo"


def write_files(starts_on: dt.date) -> list[tuple[str, Path]]:
    """Write the shop's feeds; the same bytes every time. Return (feed, file) in the order of import."""
    folder = shop_folder()
    folder.mkdir(parents=True, exist_ok=True)
    files = write_shop(folder, starts_on=starts_on, days=DAYS, members=MEMBERS, seed=SEED)
    return [
        ("members", files.members),
        ("orders", files.orders),
        ("redemptions", files.redemptions),
        ("cancellations", files.cancellations),
    ]


def last_day(starts_on: dt.date) -> dt.date:
    """The last date of the generated shop."""
    return starts_on + dt.timedelta(days=DAYS - 1)


def start_nights(through: dt.date) -> str:
    """Ask the Prefect server for a run of close-night; return its id.

    Raises:
        infra.prefect_api.ServerUnreachable: the server does not answer.
    """
    api = prefect_api.connect(settings())
    deployment = api.call("GET", "/deployments/name/close-night/nightly")
    run = api.call(
        "POST", f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"through": through.isoformat()}}
    )
    return str(run["id"])


def follow(run_id: str) -> Iterator[tuple[str, str, dt.date | None]]:
    """Yield (state type, state message, last closed date) until the run has ended."""
    api = prefect_api.connect(settings())
    while True:
        run = api.call("GET", f"/flow_runs/{run_id}")
        state = run.get("state") or {}
        with ledger.engine().connect() as connection:
            closed = totals.last_closed(connection)
        yield run["state_type"], state.get("message") or "", closed
        if run["state_type"] in ENDED:
            return
        time.sleep(0.5)


def page(run_id: str) -> str:
    """The run's page in the UI."""
    return prefect_api.ui_url(settings()) + f"/runs/flow-run/{run_id}"


def ui() -> str:
    """The UI's address."""
    return prefect_api.ui_url(settings())


def telling_member() -> str | None:
    """A member whose story shows most in fewest lines; None while nothing was posted."""
    with ledger.engine().connect() as connection:
        found: str | None = connection.execute(statement("telling_member")).scalar_one_or_none()
        return found
