"""The catalogue of backups: what is known of each, which may go, and how old the newest proof is.

Knows no bucket and no key. What a backup holds stands in its manifest; here stand the events since (design 12).
"""

import datetime as dt
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

LOCK = (20266, 0)  # one backup of a ledger at a time
BACKUP_EVERY = dt.timedelta(hours=26)  # the newest good backup may be so old; the job runs every night
DRILL_EVERY = dt.timedelta(days=10)  # the last proof may be so old; the drill runs every week
CLOCKS_APART = dt.timedelta(minutes=5)  # a backup from further in the future has a wrong clock behind it
STORED = ("complete", "in doubt", "proven")


@dataclass(frozen=True)
class Backup:
    """One backup: ``taken_at`` is the moment of its snapshot, ``facts`` is what ``complete`` was recorded with."""

    backup_id: str
    state: str
    begun_at: dt.datetime
    taken_at: dt.datetime | None
    verified_at: dt.datetime | None
    proven_at: dt.datetime | None
    message: str | None
    facts: dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """The newest good backup, the newest proof, and what both mean: losses (RPO) and time (RTO), measured.

    ``since``: from when on there is something to lose, the first version of the programme; None before it.
    """

    newest: Backup | None
    proven: Backup | None
    drill_seconds: float | None
    since: dt.datetime | None

    def is_late(self, now: dt.datetime) -> bool:
        """No good backup for 26 hours, or one of a moment that has not come yet."""
        taken = self.newest.taken_at if self.newest else None
        if taken and taken > now + CLOCKS_APART:
            return True
        return _is_older(taken or self.since, now, BACKUP_EVERY)

    def is_unproven(self, now: dt.datetime) -> bool:
        """No backup proven for ten days."""
        return _is_older((self.proven.proven_at if self.proven else None) or self.since, now, DRILL_EVERY)


def record(
    connection: Connection,
    backup_id: str,
    what: str,
    *,
    facts: dict[str, Any] | None = None,
    message: str | None = None,
) -> None:
    """Add an event.

    Raises:
        InvalidRequest: it cannot follow what is known (``errors.translated``).
        LastProvenBackup: ``pruning`` the newest proven backup, one that nothing proven outlives, or the last one of a
            signed month.
    """
    connection.execute(
        text(
            "INSERT INTO points.backup_event (backup_id, what, facts, message)"
            " VALUES (CAST(:backup_id AS uuid), :what, CAST(:facts AS jsonb), :message)"
        ),
        {"backup_id": backup_id, "what": what, "facts": json.dumps(facts or {}), "message": message},
    )


def catalogue(connection: Connection) -> list[Backup]:
    """Every backup that was ever begun, oldest first."""
    found = connection.execute(
        text(
            "SELECT CAST(backup_id AS text) AS backup_id, state, begun_at, taken_at, verified_at, proven_at, message,"
            " coalesce(facts, '{}') AS facts FROM points.backup ORDER BY begun_at, backup_id"
        )
    )
    return [Backup(**row._mapping) for row in found]


def standing(connection: Connection) -> Standing:
    """What ``loyalty status`` shows, and what the watch goes by: good is what the catalogue calls so, not a run that ended."""
    good = [backup for backup in catalogue(connection) if backup.taken_at and backup.state in ("complete", "proven")]
    newest = max(good, key=_taken_at, default=None)
    proven = max((backup for backup in good if backup.proven_at), key=_proven_at, default=None)
    seconds = connection.execute(
        text(
            "SELECT CAST(facts ->> 'seconds' AS float) FROM points.backup_event WHERE what = 'proven'"
            " ORDER BY event_no DESC LIMIT 1"
        )
    ).scalar_one_or_none()
    since = connection.execute(text("SELECT min(added_at) FROM points.policy_version")).scalar_one()
    return Standing(newest, proven, seconds, since)


def adopt(connection: Connection, manifests: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
    """Take into the catalogue what a bucket holds and it does not know as whole; return the ids.

    After a restore that is every backup since the one that was restored, and that one itself.
    """
    known = {backup.backup_id: backup for backup in catalogue(connection)}
    taken = []
    for backup_id, facts in sorted(manifests, key=lambda one: str(one[1]["taken_at"])):
        if backup_id not in known:
            record(connection, backup_id, "begun", message="found in the bucket")
        elif known[backup_id].state != "running":
            continue
        record(connection, backup_id, "complete", facts=facts)
        taken.append(backup_id)
    return taken


def of_signed_months(connection: Connection) -> set[str]:
    """The backups that signed months are shown from, by id: the last one of each, and the first with its signature."""
    found = connection.execute(text("SELECT DISTINCT CAST(backup_id AS text) FROM points.signed_month_backup"))
    return set(found.scalars())


def removable(
    backups: Iterable[Backup], *, now: dt.datetime, daily: int, weekly: int, monthly: int, signed: Collection[str] = ()
) -> tuple[list[Backup], str | None]:
    """Which stored backups may be removed, oldest first; or none, and why.

    Kept are the newest of each of the last ``daily`` days, ``weekly`` ISO weeks and ``monthly`` months that have a
    backup (UTC), whatever is newer than the newest proven one, that one itself, and those of signed months (``signed``).
    """
    stored = sorted((one for one in backups if one.taken_at and one.state in STORED), key=_taken_at)
    proven = [one for one in stored if one.state == "proven"]
    if not stored:
        return [], None
    if not proven:
        return [], "no backup is proven: run loyalty backup drill"
    if _taken_at(stored[-1]) > now:
        return [], f"a backup is dated {_taken_at(stored[-1]):%Y-%m-%d %H:%M} UTC, in the future: is the clock right?"
    if now - max(map(_proven_at, proven)) > DRILL_EVERY:
        return [], f"the last drill was on {max(map(_proven_at, proven)):%Y-%m-%d}: run loyalty backup drill"
    kept = {one.backup_id for one in stored if _taken_at(one) >= _taken_at(proven[-1])} | set(signed)
    good = [one for one in stored if one.state != "in doubt"]
    for count, bucket in ((daily, "%Y-%m-%d"), (weekly, "%G-%V"), (monthly, "%Y-%m")):
        last = {_taken_at(one).astimezone(dt.UTC).strftime(bucket): one.backup_id for one in good}
        kept |= {last[name] for name in sorted(last)[len(last) - count if count < len(last) else 0 :]}
    return [one for one in stored if one.backup_id not in kept], None


@contextmanager
def only_one(engine: Engine) -> Iterator[bool]:
    """Hold the lock of this ledger's backups; False when another process does. A killed one lets go with its connection."""
    with engine.connect() as connection:
        session = connection.execution_options(isolation_level="AUTOCOMMIT")
        session.execute(text("SET idle_session_timeout = 0"))
        values = {"class": LOCK[0], "key": LOCK[1]}
        held = bool(session.execute(text("SELECT pg_try_advisory_lock(:class, :key)"), values).scalar_one())
        try:
            yield held
        finally:
            if held:
                session.execute(text("SELECT pg_advisory_unlock(:class, :key)"), values)


def _is_older(moment: dt.datetime | None, now: dt.datetime, limit: dt.timedelta) -> bool:
    return moment is not None and now - moment > limit


def _taken_at(backup: Backup) -> dt.datetime:
    assert backup.taken_at is not None  # noqa: S101 - asked of stored backups only
    return backup.taken_at


def _proven_at(backup: Backup) -> dt.datetime:
    assert backup.proven_at is not None  # noqa: S101 - asked of proven backups only
    return backup.proven_at
