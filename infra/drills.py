"""Restores a backup into a scratch Postgres of its own and holds the copy to the manifest and to itself."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from infra import cluster, database, erasure_list, postgres_tools, restoring
from infra.backup_refusals import BackupDamaged, BackupUnderWay
from infra.backup_run import Vault
from infra.cluster import Cluster
from points_ledger import backups, verification

DATABASE = "loyalty"
MOST_FINDINGS = 20  # as many are named; all are counted


def drill(
    engine: Engine,
    vault: Vault,
    folder: Path,
    *,
    wanted: str | None = None,
    tools_folder: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Restore a backup (the newest) under ``folder``, verify it, record the outcome, and leave nothing behind.

    Returns the evidence; ``passed`` says whether the copy is equal to the moment that was backed up and proves itself.

    Raises:
        BackupRefused: it could not be tried (keys, tools, the bucket); nothing is known then.
        infra.cluster.ClusterFailed: the scratch Postgres does not start.
    """
    manifest = vault.find(wanted)
    backup_id = manifest["backup_id"]
    identities = vault.keys.identities()
    restoring.require_identity(manifest, identities)
    began = time.monotonic()
    evidence: dict[str, Any] = {"backup_id": backup_id, "taken_at": manifest["taken_at"]}
    with _scratch(folder) as server:
        tools = postgres_tools.tools(manifest["tool_major"], tools_folder)
        copy = database.engine(server.url("postgres", DATABASE, driver=database.DRIVER), statement_timeout="0")
        try:
            progress("restoring")
            try:
                restoring.restore(manifest, vault.prefix(backup_id), vault.store, identities, copy, tools)
            except BackupDamaged as error:
                return _record(engine, evidence | {"passed": False, "differences": [str(error)]}, began)
            evidence["restore_seconds"] = round(time.monotonic() - began, 2)
            found = _differences(copy, manifest, progress)
            progress("erasing again who was erased since")
            repeated = erasure_list.repeat(copy, vault)
            evidence["erased_again"] = repeated.erased
            found += [f"{name} cannot be read: who it erases would come back" for name in repeated.damaged]
        finally:
            copy.dispose()
    evidence |= {"passed": not found, "differences": found[:MOST_FINDINGS], "different": len(found)}
    return _record(engine, evidence, began)


def _differences(copy: Engine, manifest: dict[str, Any], progress: Callable[[str], None]) -> list[str]:
    with copy.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as connection:
        progress("comparing rows, totals and seals with the manifest")
        found = restoring.differences(connection, manifest)
        verified = verification.verify(connection, on_check=lambda check, title: progress(f"{check}: {title}"))
        return found + [f"{difference.check}: {difference.row}" for difference in verified]


def _record(engine: Engine, evidence: dict[str, Any], began: float) -> dict[str, Any]:
    evidence["seconds"] = round(time.monotonic() - began, 2)
    what = "proven" if evidence["passed"] else "refuted"
    message = None if evidence["passed"] else str(evidence["differences"][0])
    with engine.begin() as connection:
        backups.record(connection, evidence["backup_id"], what, facts=evidence, message=message)
    return evidence


@contextmanager
def _scratch(folder: Path) -> Iterator[Cluster]:
    """An empty database on a Postgres of its own; what a killed drill left goes first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.drill").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupUnderWay(f"Another drill is at work in {folder}.") from error
        _remove(folder)
        try:
            server = cluster.start(folder)
            with server.maintenance() as cursor:
                # nothing in it has to survive a crash, and a restore writes everything
                for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                    cursor.execute(f"ALTER SYSTEM SET {setting} = off")
                cursor.execute("SELECT pg_reload_conf()")
            server.create_database(DATABASE)
            yield server
        finally:
            _remove(folder)


def _remove(folder: Path) -> None:
    if folder.exists():
        cluster.stop(folder)
        shutil.rmtree(folder)
