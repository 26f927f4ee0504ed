"""What on-call has to know of backups, by the ledger's catalogue: a job that was never scheduled, and one that ended well
without a good backup, are silent in Prefect.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError, ProgrammingError

from infra import database
from infra.cluster import ClusterFailed
from infra.database import MissingDatabaseUrl
from infra.deployments import DEPLOYMENTS, Deployment
from points_ledger import backups
from points_ledger.backups import Standing

PATIENCE = dt.timedelta(minutes=10)  # a server that restarts is no alert
TAKES, PROVES = "flows.backup.back_up_ledger", "flows.drill.drill_restore"


@dataclass
class BackupAlerts:
    """Asks the catalogue; remembers since when it does not answer. ``url`` gives the ledger's address of a login that may read it."""

    url: Callable[[], str]
    unanswered_since: dt.datetime | None = None

    def findings(self, now: dt.datetime) -> list[str]:
        """The sentences that are true now; the same ones until something changes."""
        try:
            known = self._standing()
        except (OperationalError, ClusterFailed, MissingDatabaseUrl):
            since = self.unanswered_since = self.unanswered_since or now
            if now - since < PATIENCE:
                return []
            return [
                f"Nobody knows how old the newest backup is: the ledger has not answered since {since:%Y-%m-%d %H:%M} UTC."
                f" Runbook: {_deployment(TAKES).runbook}."
            ]
        self.unanswered_since = None
        return sentences(known, now) if known else []

    def _standing(self) -> Standing | None:
        engine = database.engine(self.url(), statement_timeout="10s")
        try:
            with engine.connect() as connection:
                return backups.standing(connection)
        except ProgrammingError:  # no such schema or table: not initialised
            return None
        finally:
            engine.dispose()


def sentences(known: Standing, now: dt.datetime) -> list[str]:
    """What is wrong, each with its consequence and runbook; nothing while there is nothing to lose."""
    found = []
    if known.is_late(now):
        taken = known.newest.taken_at if known.newest else None
        if taken and taken > now:
            what = f"The newest backup is dated {taken:%Y-%m-%d %H:%M} UTC, in the future: a clock is wrong."
        else:
            what = f"No good backup since {taken:%Y-%m-%d %H:%M} UTC." if taken else "There is no good backup at all."
        found.append(f"{what} {_deployment(TAKES).consequence} Runbook: {_deployment(TAKES).runbook}.")
    if known.is_unproven(now):
        proven = known.proven.proven_at if known.proven else None
        what = f"No backup was proven since {proven:%Y-%m-%d %H:%M} UTC." if proven else "No backup was ever proven."
        found.append(f"{what} {_deployment(PROVES).consequence} Runbook: {_deployment(PROVES).runbook}.")
    return found


def _deployment(entrypoint: str) -> Deployment:
    return next(one for one in DEPLOYMENTS if one.entrypoint == entrypoint)
