"""Restores a backup into a scratch Postgres of its own and holds the copy to the manifest and to itself."""

import fcntl
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from infra import cluster, database, erasure_list, postgres_tools, restoring
from infra.backup_refusals import BackupDamaged, BackupUnderWay
from infra.backup_run import Vault
from infra.cluster import Cluster
from points_ledger import backups, verification

DATABASE = "loyalty"
MOST_FINDINGS = 20  # as many are named; all are counted
CONNECTIONS = 2  # checks at once: most of them keep one core busy
SETTINGS = {
    # nothing in the scratch Postgres has to survive a crash
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    # rows of a table that was made in the same transaction, as in every restore, need no log then
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",  # the restore ends with ANALYZE, and nothing changes after it
    "maintenance_work_mem": "256MB",
    "work_mem": "64MB",
}


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
    stages = _Stages(progress)
    evidence: dict[str, Any] = {"backup_id": backup_id, "taken_at": manifest["taken_at"]}
    with _scratch(folder) as server:
        tools = postgres_tools.tools(manifest["tool_major"], tools_folder)
        copy = database.engine(server.url("postgres", DATABASE, driver=database.DRIVER), statement_timeout="0")
        try:
            try:
                with stages.timed("restoring"):
                    restoring.restore(manifest, vault.prefix(backup_id), vault.store, identities, copy, tools)
            except BackupDamaged as error:
                return _record(engine, evidence | {"passed": False, "differences": [str(error)]}, stages)
            found, different = _differences(copy, manifest, stages)
            with stages.timed("erasing again who was erased since"):
                repeated = erasure_list.repeat(copy, vault)
            evidence["erased_again"] = repeated.erased
            found += [f"{name} cannot be read: who it erases would come back" for name in repeated.damaged]
            different += len(repeated.damaged)
        finally:
            copy.dispose()
    evidence |= {"passed": not different, "differences": found[:MOST_FINDINGS], "different": different}
    return _record(engine, evidence, stages)


@dataclass(frozen=True)
class _Stages:
    """How long a drill did each thing; it is told what begins."""

    progress: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        self.progress(what)
        since = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] = round(time.monotonic() - since, 2)


def _differences(copy: Engine, manifest: dict[str, Any], stages: _Stages) -> tuple[list[str], int]:
    """The first findings of the manifest and of each check, and how many there are; nobody else is in the scratch Postgres."""

    def compared(connection: Connection) -> Iterator[str]:
        yield from restoring.differences(connection, manifest)

    def verified(check: str) -> Callable[[Connection], Iterator[str]]:
        return lambda connection: (f"{one.check}: {one.row}" for one in verification.differences(connection, check))

    longest_first = sorted(verification.CHECKS.items(), key=lambda check: check[0] != "I10")
    questions: list[tuple[str, Callable[[Connection], Iterator[str]]]] = [
        ("comparing rows, totals and seals with the manifest", compared),
        *((f"{check}: {title}", verified(check)) for check, title in longest_first),
    ]

    def asked(question: tuple[str, Callable[[Connection], Iterator[str]]]) -> tuple[list[str], int]:
        what, differences = question
        with stages.timed(what), copy.connect() as raw:
            connection = raw.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            found = differences(connection)
            first = list(itertools.islice(found, MOST_FINDINGS))
            return first, len(first) + sum(1 for _ in found)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        answers = list(pool.map(asked, questions))
    return [line for first, _ in answers for line in first], sum(count for _, count in answers)


def _record(engine: Engine, evidence: dict[str, Any], stages: _Stages) -> dict[str, Any]:
    evidence |= {
        "restore_seconds": stages.seconds["restoring"],
        "seconds": round(time.monotonic() - stages.began, 2),
        "stages": stages.seconds,
    }
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
                for setting, value in SETTINGS.items():
                    cursor.execute(f"ALTER SYSTEM SET {setting} = '{value}'")
            cluster.stop(folder)
            server = cluster.start(folder)
            server.create_database(DATABASE)
            yield server
        finally:
            _remove(folder)


def _remove(folder: Path) -> None:
    if folder.exists():
        cluster.stop(folder)
        shutil.rmtree(folder)
