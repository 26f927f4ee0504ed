"""Takes, checks and removes backups: the ledger's catalogue on one side, the bucket on the other.

The manifest in the bucket decides. A run that dies leaves parts without one; the next run removes them. A run that dies
after it has stored one has made a backup; the next run takes it into the catalogue. Where the bucket has Object Lock,
parts and manifest are locked as they are stored; what is locked stays, and nothing fails by it.
"""

import datetime as dt
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine

from infra import backup_manifest, backup_source, postgres_tools
from infra.backup_keys import Keys, key_id
from infra.backup_parts import PART_BYTES, Sealed, check_part
from infra.backup_refusals import BackupDamaged, BackupLocked, BackupUnderWay, NoSuchBackup, StorageFailed
from infra.backup_stream import seal
from infra.object_store import Lock, ObjectStore
from infra.s3_answers import FOR_EVER
from points_ledger import backups
from points_ledger.backups import Backup
from points_ledger.errors import translated

FACTS = ("taken_at", "previous", "recipients", "server_version", "tool_version", "seconds")


@dataclass(frozen=True)
class Vault:
    """Where backups are, and the keys to them; ``root`` is a prefix without its slash.

    ``lock_days``: how long a new backup is locked, counted from its moment, where the bucket has Object Lock; 0: not.
    """

    store: ObjectStore
    keys: Keys
    root: str
    lock_days: int = 0
    lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] = "GOVERNANCE"

    def lock(self, taken_at: str) -> Lock | None:
        """The lock of a backup of that moment; None where there is none to be had."""
        if not self.lock_days or not self.store.has_object_lock():
            return None
        return Lock(dt.datetime.fromisoformat(taken_at) + dt.timedelta(days=self.lock_days), self.lock_mode)

    def prefix(self, backup_id: str) -> str:
        """The start of the names of a backup's objects."""
        return f"{self.root}/{backup_id}/"

    def manifest(self, backup_id: str) -> dict[str, Any]:
        """A backup's manifest, its signature verified; raises what ``backup_manifest.load`` does."""
        return backup_manifest.load(self.store, self.prefix(backup_id), self.keys.signers())

    def manifests(self) -> Iterator[dict[str, Any]]:
        """Every backup in the bucket that a trusted key has signed."""
        for backup_id in backup_manifest.stored(self.store, f"{self.root}/"):
            try:
                yield self.manifest(backup_id)
            except (BackupDamaged, NoSuchBackup):
                continue  # of somebody else, or damaged: asked for by name, it says so

    def find(self, wanted: str | None) -> dict[str, Any]:
        """A backup by its id or the start of it; without one, the newest.

        Raises:
            NoSuchBackup: there is none, or more than one starts so.
            BackupDamaged: its manifest is not trusted.
        """
        if wanted is None:
            newest = max(self.manifests(), key=lambda one: str(one["taken_at"]), default=None)
            if newest is None:
                raise NoSuchBackup(
                    f"The bucket {self.store.bucket} holds no backup under {self.root}/ that is signed by a key of "
                    f"{self.keys.folder}."
                )
            return newest
        fitting = [one for one in backup_manifest.stored(self.store, f"{self.root}/") if one.startswith(wanted)]
        if len(fitting) != 1:
            raise NoSuchBackup(f"{len(fitting)} backups start with {wanted!r}; see loyalty backup list --bucket.")
        return self.manifest(fitting[0])


def take(
    engine: Engine, reader: Engine, vault: Vault, *, tools_folder: Path | None = None, part_bytes: int = PART_BYTES
) -> dict[str, Any]:
    """Back the ledger up; return the manifest. ``engine`` keeps the catalogue, ``reader`` only reads.

    Raises:
        BackupUnderWay: another process is at it.
        BackupRefused: keys, tools, the dump or the bucket; nothing that looks like a backup is left.
    """
    signer, recipients = vault.keys.signer(), vault.keys.recipients()
    with backups.only_one(engine) as ours:
        if not ours:
            raise BackupUnderWay("Another process takes a backup of this ledger now.")
        clear(engine, vault)
        backup_id = str(uuid.uuid4())
        with engine.begin() as connection:
            known = backups.catalogue(connection)
            backups.record(connection, backup_id, "begun")
        before = [one for one in known if one.facts]
        began = time.monotonic()
        try:
            facts = {
                "format": backup_manifest.FORMAT,
                "backup_id": backup_id,
                "recipients": sorted(key_id(recipient) for recipient in recipients),
                "previous": before[-1].facts.get("manifest_sha256") if before else None,
                **_capture(reader, vault, backup_id, recipients, tools_folder, part_bytes),
            }
            facts["seconds"] = round(time.monotonic() - began, 2)
            lock = vault.lock(facts["taken_at"])
            made = backup_manifest.commit(vault.store, vault.prefix(backup_id), facts, signer, lock)
        except BaseException as error:
            _give_up(engine, vault, backup_id, error)
            raise
        with engine.begin() as connection:
            backups.record(connection, backup_id, "complete", facts=_facts(made))
        return made.manifest


def _capture(
    reader: Engine, vault: Vault, backup_id: str, recipients: list[Any], tools_folder: Path | None, part_bytes: int
) -> dict[str, Any]:
    with backup_source.moment(reader) as at:
        tools = postgres_tools.tools(at.server_major, tools_folder)
        figures = _Figures(at)
        figures.start()  # while the dump streams: the same snapshot, another core
        try:
            url = reader.url.render_as_string(hide_password=False)
            with backup_source.dump(at, url, tools) as stream:
                prefix, lock = vault.prefix(backup_id), vault.lock(at.taken_at)
                sealed = seal(stream, vault.store, prefix, recipients, part_bytes=part_bytes, lock=lock)
        finally:
            figures.join()
        if figures.error:
            raise figures.error
        return {
            "taken_at": at.taken_at,
            "server_version": at.server_version,
            "tool_version": tools.version,
            "tool_major": tools.major,
            "content": sealed.document(),
            "facts": figures.found,
        }


class _Figures(threading.Thread):
    """Counts the snapshot's rows and totals beside the dump."""

    def __init__(self, at: backup_source.Moment) -> None:
        super().__init__(daemon=True)
        self.at = at
        self.found: dict[str, Any] = {}
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.found = backup_source.facts(self.at.session)
        except Exception as error:
            self.error = error


def catalogue_facts(manifest: dict[str, Any], manifest_sha256: str | None = None) -> dict[str, Any]:
    """What the catalogue keeps of a manifest."""
    content = manifest["content"]
    return {
        **{name: manifest[name] for name in FACTS},
        "manifest_sha256": manifest_sha256,
        "locked_until": manifest.get("locked_until"),
        "plain_bytes": content["plain_bytes"],
        "stored_bytes": content["stored_bytes"],
        "parts": len(content["parts"]),
        "last_closed": manifest["facts"]["totals"]["last_closed"],
    }


def _facts(made: backup_manifest.Committed) -> dict[str, Any]:
    until = made.locked_until
    return catalogue_facts(made.manifest, made.sha256) | {"locked_until": until and until.isoformat()}


def clear(engine: Engine, vault: Vault) -> list[str]:
    """End what dead runs began: whole backups are kept, parts without a manifest are removed unless locked. Return the ids.

    Call it while holding ``backups.only_one``: what is running then runs no more.
    """
    with engine.connect() as connection:
        dead = [one.backup_id for one in backups.catalogue(connection) if one.state == "running"]
    for backup_id in dead:
        try:
            manifest = vault.manifest(backup_id)
        except (NoSuchBackup, BackupDamaged):
            _give_up(engine, vault, backup_id, None)
            continue
        with engine.begin() as connection:
            backups.record(connection, backup_id, "complete", facts=catalogue_facts(manifest))
    return dead


def _give_up(engine: Engine, vault: Vault, backup_id: str, error: BaseException | None) -> None:
    try:
        until = _remove_objects(vault, backup_id)
    except StorageFailed:
        if error is None:
            raise
        return  # it stays "running" in the catalogue, and the next run begins with this
    message = "the process died" if error is None else f"{type(error).__name__}: {error}"
    if until:
        message += f" (what it stored is locked until {in_words(until)}, and goes with a prune after that)"
    with engine.begin() as connection:
        backups.record(connection, backup_id, "failed", message=message)


def verify(engine: Engine, vault: Vault, backup_id: str) -> Sealed:
    """Read every part of a stored backup and compare; needs no secret key. The catalogue keeps the outcome.

    Raises:
        BackupDamaged: the manifest is not trusted, or a part is missing or differs.
        StorageFailed: the server refused, or does not answer: nothing is known then.
    """
    try:
        sealed = Sealed.of(vault.manifest(backup_id)["content"])
        for part in sealed.parts:
            check_part(vault.store, vault.prefix(backup_id), part)
    except (BackupDamaged, NoSuchBackup) as error:
        with engine.begin() as connection:
            backups.record(connection, backup_id, "damaged", message=str(error))
        raise
    with engine.begin() as connection:
        backups.record(connection, backup_id, "verified")
    return sealed


def locked_until(vault: Vault, backup_id: str, now: dt.datetime) -> dt.datetime | None:
    """Until when the server holds a backup against deletion; None when it does not, or no longer.

    Raises:
        StorageFailed: the server refused, or does not answer.
    """
    until = vault.store.locked_until(vault.prefix(backup_id))
    return until if until and until > now else None


def remove(engine: Engine, vault: Vault, backup: Backup, now: dt.datetime) -> None:
    """Remove a stored backup: first its manifest, so that what is half removed is no backup. Safe to run again.

    Raises:
        LastProvenBackup: the catalogue refuses; nothing was removed.
        BackupLocked: the bucket would refuse; nothing was tried.
        StorageFailed: it is half removed; run again.
    """
    if until := locked_until(vault, backup.backup_id, now):
        raise BackupLocked(until)
    if backup.state != "pruning":
        with translated(), engine.begin() as connection:
            backups.record(connection, backup.backup_id, "pruning")
    if until := _remove_objects(vault, backup.backup_id):
        raise BackupLocked(until)  # by the server's clock, which ours is ahead of
    with engine.begin() as connection:
        backups.record(connection, backup.backup_id, "pruned")


def sweep(engine: Engine, vault: Vault) -> list[str]:
    """Remove what ended backups have left because it was locked, as far as it no longer is. Return the ids.

    Raises:
        StorageFailed: the server refused, or does not answer.
    """
    with engine.connect() as connection:
        ended = {one.backup_id for one in backups.catalogue(connection) if one.state in ("failed", "pruned")}
    start = f"{vault.root}/"
    there = {one.key.removeprefix(start).partition("/")[0] for one in vault.store.versions(start)}
    return [backup_id for backup_id in sorted(there & ended) if _remove_objects(vault, backup_id) is None]


def in_words(until: dt.datetime) -> str:
    """A lock's end, as people read it."""
    return "its legal hold is lifted" if until == FOR_EVER else f"{until:%Y-%m-%d %H:%M} UTC"


def _remove_objects(vault: Vault, backup_id: str) -> dt.datetime | None:
    """Until when something of it is locked and stays; None: it is gone."""
    prefix = vault.prefix(backup_id)
    if until := vault.store.clear(prefix + backup_manifest.NAME):
        return until
    return vault.store.clear(prefix)
