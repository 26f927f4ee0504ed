"""A backup becomes a database again: roles first, then one transaction of ``pg_restore``, then the comparison.

Into an empty database only. Nothing is written to disk on the way, and a restore that stops leaves the database empty.
"""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from psycopg2 import sql
from pyrage import x25519
from sqlalchemy import Connection, Engine, text

from infra import backup_source, postgres_tools
from infra.backup_keys import key_id
from infra.backup_parts import Sealed
from infra.backup_refusals import KeysMissing, NotEmpty, RestoreFailed
from infra.backup_stream import unseal
from infra.object_store import ObjectStore


def require_identity(manifest: dict[str, Any], identities: list[x25519.Identity]) -> None:
    """Refuse before anything is downloaded when no key here opens the backup.

    Raises:
        KeysMissing: with the names of the keys that would.
    """
    ours = {key_id(identity.to_public()) for identity in identities}
    if not ours & set(manifest["recipients"]):
        raise KeysMissing(
            f"None of the {len(ours)} identities here opens this backup: it needs the identity of the recipient "
            f"{' or '.join(manifest['recipients'])}."
        )


def require_empty(engine: Engine) -> None:
    """Refuse a database that holds anything of anybody.

    Raises:
        NotEmpty: with what was found.
    """
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
                " UNION ALL SELECT 'the schema points' FROM pg_namespace WHERE nspname = 'points' LIMIT 1"
            )
        ).scalar_one_or_none()
    if found is not None:
        raise NotEmpty(
            f"The database {engine.url.database!r} is not empty: it has {found}. A restore writes into an empty one only; "
            "make one with CREATE DATABASE."
        )


def restore(
    manifest: dict[str, Any],
    prefix: str,
    store: ObjectStore,
    identities: list[x25519.Identity],
    engine: Engine,
    tools: postgres_tools.Tools,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a backup into the empty database of ``engine``, whose login may create roles.

    ``progress`` is told the plain bytes as they are written.

    Raises:
        BackupDamaged, StorageFailed: from the bucket. The database is empty then, as before.
        RestoreFailed: ``pg_restore`` stopped; with its own words. The database is empty then, as before.
    """
    with engine.begin() as connection:
        _make_roles(connection, manifest["facts"]["roles"])
    url = engine.url.render_as_string(hide_password=False)
    with _may_create(engine), _pg_restore(url, tools, progress) as sink:
        unseal(Sealed.of(manifest["content"]), store, prefix, identities, sink)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL ROLE loyalty_owner"))
        connection.execute(text("ANALYZE"))


def differences(connection: Connection, manifest: dict[str, Any]) -> list[str]:
    """What a copy has otherwise than the moment that was backed up: rows, totals, seals. Nothing means equal."""
    then, now = manifest["facts"], backup_source.facts(connection)
    found = []
    for subject in ("revision", "rows", "totals", "seals"):
        was, is_ = _flat(then[subject], subject), _flat(now[subject], subject)
        found += [
            f"{name}: {was.get(name)} was backed up, {is_.get(name)} was restored"
            for name in sorted(was.keys() | is_.keys())
            if was.get(name) != is_.get(name)
        ]
    return found


def _flat(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return {key: leaf for k, v in value.items() for key, leaf in _flat(v, f"{name} {k}").items()}
    return {name: value}


class _Counted:
    """A sink that says how much went in."""

    def __init__(self, sink: IO[bytes], progress: Callable[[int], None]) -> None:
        self.sink, self.progress = sink, progress

    def write(self, data: bytes) -> int:
        self.sink.write(data)
        self.progress(len(data))
        return len(data)


@contextlib.contextmanager
def _pg_restore(url: str, tools: postgres_tools.Tools, progress: Callable[[int], None]) -> Iterator[Any]:
    address, environment = postgres_tools.connection(url)
    command = [
        tools.command("pg_restore"),
        "--single-transaction",
        "--no-owner",
        "--role=loyalty_owner",
        f"--dbname={address}",
    ]
    with tempfile.TemporaryFile() as words:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=words, env=environment) as process:
            assert process.stdin is not None  # noqa: S101 - a pipe was asked for
            try:
                yield _Counted(process.stdin, progress)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it has stopped, and has said why
            except BaseException:
                process.kill()  # before its input ends, so that it cannot take what it has for all there is
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
                raise
        if process.returncode:
            words.seek(0)
            said = words.read()[-800:].decode(errors="replace").strip()
            raise RestoreFailed(f"pg_restore ended with {process.returncode}, and nothing was restored: {said}")


def _make_roles(connection: Connection, roles: list[dict[str, Any]]) -> None:
    there = set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())
    for role in roles:
        if role["name"] in there:
            continue
        name = sql.Identifier(role["name"])
        _run(connection, sql.SQL("CREATE ROLE {} {}").format(name, sql.SQL("LOGIN" if role["login"] else "NOLOGIN")))
        for setting in role["settings"]:
            parameter, _, value = setting.partition("=")
            _run(
                connection,
                sql.SQL("ALTER ROLE {} SET {} = {}").format(name, sql.Identifier(parameter), sql.Literal(value)),
            )
    for role in roles:
        for group in role["member_of"] if role["name"] not in there else ():
            _run(connection, sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(role["name"])))
    if not connection.execute(text("SELECT pg_has_role('loyalty_owner', 'MEMBER')")).scalar_one():
        _run(connection, sql.SQL("GRANT loyalty_owner TO CURRENT_USER"))


@contextlib.contextmanager
def _may_create(engine: Engine) -> Iterator[None]:
    """Lets the owner make its schema, for as long as the restore takes."""
    name = sql.Identifier(str(engine.url.database))
    with engine.begin() as connection:
        could = connection.execute(
            text("SELECT has_database_privilege('loyalty_owner', current_database(), 'CREATE')")
        ).scalar_one()
        if not could:
            _run(connection, sql.SQL("GRANT CREATE ON DATABASE {} TO loyalty_owner").format(name))
    try:
        yield
    finally:
        if not could:
            with engine.begin() as connection:
                _run(connection, sql.SQL("REVOKE CREATE ON DATABASE {} FROM loyalty_owner").format(name))


def _run(connection: Connection, statement: sql.Composable) -> None:
    driver: Any = connection.connection.dbapi_connection  # quotes the names
    connection.exec_driver_sql(statement.as_string(driver))
