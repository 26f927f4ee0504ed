"""The services around the ledger, for the command line: bring up, bring down, where are they.

Between ``flows`` and ``infra`` because ``flows`` knows no settings and no addresses.
"""

import datetime as dt
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from infra import prefect_api, services
from infra.database import engine, ledger_url
from infra.services import Services, describe
from infra.settings import Settings, settings

__all__ = [
    "Services",
    "bring_down",
    "bring_up",
    "describe",
    "programme_time_zone",
    "running_services",
    "upcoming_night",
]


def bring_up(*, detach: bool, is_replaying: bool = False) -> int:
    """Start everything, or say that it runs; the exit code for a shell.

    ``is_replaying``: notices go out as on the morning after each night, whatever the clock says (LOYALTY_NOTICE_CLOCK).

    Raises:
        One of ``tasks.refusals.SETTINGS_REFUSED``: a setting or the embedded Postgres stands in the way.
    """
    chosen = settings()
    if is_replaying:
        chosen = chosen.model_copy(update={"notice_clock": "business_date"})
    return services.up(chosen, detach=detach, time_zone=programme_time_zone(chosen))


def bring_down() -> int:
    """Drain and stop everything, Postgres too; the exit code for a shell.

    Raises:
        One of ``tasks.refusals.SETTINGS_REFUSED``.
    """
    return services.down(settings())


def running_services() -> Services | None:
    """Where the services are, if they run."""
    return services.running(settings())


def programme_time_zone(settings: Settings) -> str:
    """The zone of the programme in force, in which nights are counted; UTC while there is no ledger yet."""
    newest = text(
        "SELECT p.document->'programme'->>'time_zone' FROM points.policy_version p ORDER BY p.version DESC LIMIT 1"
    )
    database = engine(ledger_url(settings, "admin"))
    try:
        with database.connect() as connection:
            found = connection.execute(newest).scalar_one_or_none()
    except ProgrammingError:  # no such schema or table: not initialised
        return "UTC"
    except OperationalError:
        if settings.database_url is None:
            raise
        return "UTC"  # a server of yours that is down must not keep the UI down, which would show just that
    finally:
        database.dispose()
    return found or "UTC"


def upcoming_night() -> str | None:
    """When the server will start the next night, in words; None when no services run."""
    chosen = settings()
    found = services.running(chosen)
    if found is None:
        return None
    api = prefect_api.connect(chosen)
    try:
        for deployment in api.deployments():
            if deployment["name"] == "nightly" and (
                planned := api.runs("SCHEDULED", deployment=deployment["id"], limit=1)
            ):
                start = dt.datetime.fromisoformat(planned[0]["expected_start_time"])
                return f"{start.astimezone(ZoneInfo(found.time_zone)):%Y-%m-%d %H:%M} {found.time_zone}"
    except prefect_api.ServerUnreachable:
        return "the Prefect server does not answer; see loyalty up"
    return "none is scheduled: the deployment close-night/nightly is paused or missing"
