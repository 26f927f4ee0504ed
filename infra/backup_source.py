"""One moment of the ledger: an exported snapshot, the dump of exactly that moment, and the figures that go with it."""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from psycopg2 import sql
from sqlalchemy import Connection, Engine, text

from infra.backup_refusals import BackupFailed
from infra.postgres_tools import Tools, connection
from points_ledger import totals

SET_TO_ZERO = (  # no limit; and no helpers: they would take the cores of the dump that runs beside
    "('idle_in_transaction_session_timeout', 'idle_session_timeout', 'statement_timeout', 'transaction_timeout',"
    " 'max_parallel_workers_per_gather')"
)
PIPE_BYTES = 1 << 20  # what Linux lets anybody ask for; with 64 KiB both sides mostly wait for each other


@dataclass(frozen=True)
class Moment:
    """A snapshot that lasts as long as its session."""

    session: Connection
    snapshot: str
    taken_at: str
    server_version: str

    @property
    def server_major(self) -> int:
        """15, 16, …"""
        return int(self.server_version.split(".")[0])


@contextmanager
def moment(engine: Engine) -> Iterator[Moment]:
    """Export a snapshot; everything that is asked of it, and a dump with its name, sees the same rows."""
    with engine.connect() as raw:
        session = raw.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        session.execute(text(f"SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN {SET_TO_ZERO}"))  # noqa: S608 - a constant
        row = session.execute(
            text(
                "SELECT pg_export_snapshot() AS snapshot, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
                " AS taken_at, current_setting('server_version') AS version"
            )
        ).one()
        yield Moment(session, row.snapshot, row.taken_at, row.version.split()[0])


@contextmanager
def dump(at: Moment, url: str, tools: Tools) -> Iterator[IO[bytes]]:
    """The schema ``points`` as an uncompressed archive of ``pg_dump``, as a stream.

    Raises:
        BackupFailed: ``pg_dump`` did not end well; with its own words. Raised when the block ends.
    """
    address, environment = connection(url)
    command = [
        tools.command("pg_dump"),
        "--format=custom",
        "--compress=0",
        "--schema=points",
        f"--snapshot={at.snapshot}",
    ]
    with tempfile.TemporaryFile() as words:
        with subprocess.Popen(
            [*command, f"--dbname={address}"],
            stdout=subprocess.PIPE,
            stderr=words,
            env=environment,
            pipesize=PIPE_BYTES,
        ) as process:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            try:
                yield process.stdout
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            words.seek(0)
            said = words.read()[-500:].decode(errors="replace").strip()
            raise BackupFailed(f"pg_dump ended with {process.returncode}: {said}")


def facts(session: Connection) -> dict[str, Any]:
    """What must be the same in a copy: the rows of every table, the control totals, the last seal.

    Also the roles that the rights in the dump are given to; roles belong to the server, and are in no dump.
    """
    seal = session.execute(
        text(
            "SELECT count(*) AS seals, max(book_date)::text AS last_day,"
            " (SELECT encode(checkpoint, 'hex') FROM points.seal ORDER BY book_date DESC LIMIT 1) AS checkpoint FROM points.seal"
        )
    ).one()
    control = totals.control_totals(session)
    return {
        "revision": session.execute(text("SELECT version_num FROM points.alembic_version")).scalar_one(),
        "rows": rows(session, {"entry": sum(kind["entries"] for kind in (control["by_kind"] or {}).values())}),
        "totals": control,
        "seals": dict(seal._mapping),
        "roles": roles(session),
    }


def rows(session: Connection, counted: Mapping[str, int]) -> dict[str, int]:
    """How many rows each table has; a partitioned one counts once. What was ``counted`` before is not scanned again."""
    tables = session.execute(
        text(
            "SELECT relname FROM pg_class WHERE relnamespace = 'points'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition ORDER BY relname"
        )
    ).scalars()
    driver: Any = session.connection.dbapi_connection  # quotes the names
    counts = dict(counted)
    for table in (name for name in tables.all() if name not in counted):
        question = sql.SQL("SELECT count(*) FROM points.{}").format(sql.Identifier(table)).as_string(driver)
        counts[table] = int(session.exec_driver_sql(question).scalar_one())
    return counts


def roles(session: Connection) -> list[dict[str, Any]]:
    """The ledger's own roles, their settings, and which of them are members of which."""
    found = session.execute(
        text(
            "SELECT r.rolname AS name, r.rolcanlogin AS login, coalesce(r.rolconfig, '{}') AS settings,"
            " ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
            "       WHERE m.member = r.oid AND g.rolname LIKE 'loyalty\\_%' ORDER BY 1) AS member_of"
            " FROM pg_roles r WHERE r.oid IN (SELECT a.grantee FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a"
            "       WHERE c.relnamespace = 'points'::regnamespace"
            "     UNION SELECT a.grantee FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) a"
            "       WHERE p.pronamespace = 'points'::regnamespace"
            "     UNION SELECT c.relowner FROM pg_class c WHERE c.relnamespace = 'points'::regnamespace) ORDER BY 1"
        )
    )
    return [dict(row._mapping) for row in found]
