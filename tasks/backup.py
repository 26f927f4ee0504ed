"""Steps of backups, drills and restores: settings become a vault and engines, and the catalogue is asked."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from infra import (
    backup_keys,
    backup_run,
    database,
    drills,
    embedded,
    erasure_list,
    object_store,
    postgres_tools,
    restoring,
)
from infra.backup_keys import Keys
from infra.backup_refusals import NoSuchBackup, RestoreFailed
from infra.backup_run import Vault, catalogue_facts
from infra.erasure_list import Repeated
from infra.settings import settings
from points_ledger import backups, contacts, verification
from points_ledger.backups import Backup, Standing
from points_ledger.verification import Difference, Verified
from tasks import ledger


def keys() -> Keys:
    """The folder of keys; it need not exist."""
    return Keys(settings().backup_keys or settings().home / "backup-keys")


def vault() -> Vault:
    """The bucket and the keys."""
    chosen = settings()
    store = object_store.connect(embedded.storage_access(chosen))
    return Vault(store, keys(), chosen.backup_prefix, chosen.backup_lock_days, chosen.backup_lock_mode)


def generate_keys() -> Path:
    """Make keys where there are none; return their folder."""
    return backup_keys.generate(keys().folder).folder


def rotate_keys() -> Path:
    """New keys for what comes; return their folder."""
    backup_keys.rotate(keys())
    return keys().folder


def shown_keys() -> dict[str, list[str]]:
    """The ids of the keys that are here, by what they do; never a secret."""
    ours = keys()
    return {
        "recipients": [backup_keys.key_id(recipient) for recipient in ours.recipients()],
        "signers": list(ours.signers()),
    }


def back_up() -> dict[str, Any]:
    """See ``infra.backup_run.take``; the manifest. What was erased is listed beside the backups before."""
    ledger.policy()
    list_erasures(vault())
    return backup_run.take(ledger.engine(), ledger.engine("backup"), vault(), tools_folder=settings().postgres_tools)


def list_erasures(place: Vault) -> int:
    """Store every erasure that does not stand beside the backups yet; return how many.

    Raises:
        BackupRefused: no keys, or the bucket.
    """
    with ledger.engine().connect() as connection:
        known = contacts.erasures(connection)
    return erasure_list.store(place, known)


def listed() -> list[Backup]:
    """The catalogue, oldest first."""
    ledger.policy()
    with ledger.engine().connect() as connection:
        return backups.catalogue(connection)


def in_bucket() -> list[dict[str, Any]]:
    """Every backup in the bucket with a trusted signature, oldest first; needs no ledger."""
    return sorted(
        ({"backup_id": one["backup_id"], **catalogue_facts(one)} for one in vault().manifests()),
        key=lambda one: str(one["taken_at"]),
    )


def adopt() -> list[str]:
    """Take into the catalogue what the bucket holds and it does not know; return the ids."""
    ledger.policy()
    with backups.only_one(ledger.engine()) as ours, ledger.engine().begin() as connection:
        # while a backup is being taken, "running" means running
        return (
            backups.adopt(connection, ((one["backup_id"], catalogue_facts(one)) for one in vault().manifests()))
            if ours
            else []
        )


def verify(wanted: str | None) -> dict[str, Any]:
    """Read every part of a stored backup (the newest) and compare; see ``infra.backup_run.verify``."""
    backup_id = _stored(wanted)
    sealed = backup_run.verify(ledger.engine(), vault(), backup_id)
    return {"backup_id": backup_id, "parts": len(sealed.parts), "stored_bytes": sealed.stored_bytes}


@dataclass(frozen=True)
class Pruned:
    """What went (or would go), what stays because the bucket has locked it, and why nothing may go if nothing may."""

    gone: list[Backup]
    locked: list[tuple[Backup, str]]
    why: str | None


def prune(now: dt.datetime, *, dry_run: bool) -> Pruned:
    """Remove what retention no longer keeps and no lock holds; with it what dead runs left under a lock that has ended.

    Raises:
        StorageFailed: the server refused, or does not answer.
        LastProvenBackup: the database keeps what the plan would remove.
    """
    chosen = settings()
    known = listed()
    with ledger.engine().connect() as connection:
        signed = backups.of_signed_months(connection)
    going, why = backups.removable(
        known,
        now=now,
        daily=chosen.backup_keep_daily,
        weekly=chosen.backup_keep_weekly,
        monthly=chosen.backup_keep_monthly,
        signed=signed,
    )
    place = vault()
    gone: list[Backup] = []
    locked: list[tuple[Backup, str]] = []
    for one in [*(one for one in known if one.state == "pruning"), *going]:
        if until := backup_run.locked_until(place, one.backup_id, now):
            locked.append((one, backup_run.in_words(until)))
            continue
        if not dry_run:
            backup_run.remove(ledger.engine(), place, one, now)
        gone.append(one)
    if not dry_run:
        backup_run.sweep(ledger.engine(), place)
    return Pruned(gone, locked, why)


def drill(wanted: str | None, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Restore a backup (the newest) into a scratch Postgres and prove it; see ``infra.drills.drill``."""
    adopt()
    return drills.drill(
        ledger.engine(),
        vault(),
        settings().home / "scratch-restore",
        wanted=wanted,
        tools_folder=settings().postgres_tools,
        progress=progress,
    )


def standing() -> Standing:
    """The newest good backup, the newest proof, and how long the last drill took."""
    with ledger.engine().connect() as connection:
        return backups.standing(connection)


def plan_restore(url: str, wanted: str | None) -> tuple[dict[str, Any], Engine, postgres_tools.Tools]:
    """Everything a restore needs, looked at and not touched: the manifest, the empty database, the tools.

    Raises:
        BackupRefused: what is missing, or in the way.
        sqlalchemy.exc.OperationalError: the database does not answer.
    """
    place = vault()
    manifest = place.find(wanted)
    restoring.require_identity(manifest, place.keys.identities())
    tools = postgres_tools.tools(manifest["tool_major"], settings().postgres_tools)
    engine = database.engine(url, statement_timeout="0")
    restoring.require_empty(engine)
    return manifest, engine, tools


def restore(
    manifest: dict[str, Any], engine: Engine, tools: postgres_tools.Tools, progress: Callable[[int], None]
) -> Repeated:
    """Restore, compare with the manifest, tell the copy's catalogue what the bucket holds, and erase again who was erased since.

    Raises:
        RestoreFailed: the copy differs from the manifest; it is there to be looked at.
        BackupRefused: nothing was restored.
    """
    place = vault()
    prefix = place.prefix(manifest["backup_id"])
    restoring.restore(manifest, prefix, place.store, place.keys.identities(), engine, tools, progress)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        found = restoring.differences(connection, manifest)
    if found:
        raise RestoreFailed(f"The copy is not what was backed up, do not use it. {'; '.join(found[:5])}")
    with engine.begin() as connection:
        backups.adopt(connection, ((one["backup_id"], catalogue_facts(one)) for one in place.manifests()))
    return erasure_list.repeat(engine, place)


def verify_copy(engine: Engine, on_check: Callable[[str, str], None]) -> tuple[Verified, list[Difference]]:
    """``loyalty verify`` of another database than the ledger's."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as connection:
        return verification.counts(connection), list(verification.verify(connection, on_check=on_check))


def _stored(wanted: str | None) -> str:
    stored = [one for one in listed() if one.state in backups.STORED]
    fitting = [one for one in stored if one.backup_id.startswith(wanted)] if wanted else stored[-1:]
    if len(fitting) != 1:
        raise NoSuchBackup(
            f"{len(fitting)} stored backups start with {wanted!r}; see loyalty backup list."
            if wanted
            else "There is no stored backup yet: loyalty backup run."
        )
    return fitting[0].backup_id
