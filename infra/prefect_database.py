"""Prefect's own data: a Postgres database ``prefect`` beside the ledger's, migrated before the server starts.

Not SQLite: a small flow beside a busy one stalled for up to a minute on it. A database of its own, because its
backups and its retention are not the ledger's. Run as ``python -m infra.prefect_database`` it migrates.
"""

import asyncio
import importlib.metadata
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from psycopg2 import sql
from sqlalchemy import event
from sqlalchemy.engine import Engine

from infra import embedded
from infra.settings import Settings

NAME = "prefect"


class MigrationFailed(RuntimeError):
    """Prefect's database could not be migrated."""


def url(settings: Settings) -> str:
    """Prefect's database URL (asyncpg): your own, or a database in the embedded Postgres, made when absent.

    Raises:
        infra.cluster.ClusterFailed: The embedded Postgres does not start.
    """
    if settings.prefect_database_url is not None:
        return settings.prefect_database_url.get_secret_value()
    cluster = embedded.postgres(settings)
    cluster.create_database(NAME, owner=NAME)
    return cluster.url(NAME, NAME, driver="postgresql+asyncpg")


def migrate(settings: Settings, environment: Mapping[str, str]) -> bool:
    """Bring the embedded database to the schema of the installed Prefect; False if it was already there.

    A database of yours is left to Prefect itself, which migrates it when the server starts.

    Raises:
        MigrationFailed: The migration stopped; the message ends with its last words.
    """
    if settings.prefect_database_url is not None:
        return False
    installed = f"prefect {importlib.metadata.version('prefect')}"
    with embedded.postgres(settings).maintenance() as cursor:
        # Importing Prefect's server to find nothing to do costs seconds of every start, so the database remembers.
        cursor.execute("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", (NAME,))
        if cursor.fetchone() == (installed,):
            return False
        command = [sys.executable, "-P", "-m", "infra.prefect_database"]
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True)
        if done.returncode:
            raise MigrationFailed(f"Prefect's database could not be migrated.\n{done.stderr[-2000:]}")
        comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
        cursor.execute(comment.format(sql.Identifier(NAME), sql.Literal(installed)))
    return True


def leave_out_trigram_search(statement: str) -> str:
    """The statement, or a harmless one where it needs ``pg_trgm``, which the embedded Postgres does not carry.

    Only indexes that speed up the search box of the UI are left out; on one machine it is fast without them.
    """
    asked = statement.lower()
    return "SELECT 1" if "pg_trgm" in asked or "gin_trgm_ops" in asked else statement


def main() -> None:
    """Migrate the database that the environment names."""
    # Prefect takes seconds to import; the supervisor, which imports this module, must not pay for it.
    from prefect.server.database.dependencies import provide_database_interface  # noqa: PLC0415 - see above

    def before(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> tuple[str, Any]:
        return leave_out_trigram_search(statement), parameters

    event.listen(Engine, "before_cursor_execute", before, retval=True)
    asyncio.run(provide_database_interface().create_db())


if __name__ == "__main__":
    main()
