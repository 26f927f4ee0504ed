"""Scratch databases beside the ledger's, on the same server: made for one purpose, dropped with it.

Whoever makes them holds an advisory lock as long as they live. What a killed process left behind is known by its lock
being free, and is dropped by the next one. Other ledgers on the same server have names of their own.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg2 import errorcodes, sql
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from infra import database, schema
from points_ledger.errors import NotAllowed

LOCKS = 20265  # class of the advisory locks; the second key is the number in the names
ATTEMPTS = 5


@dataclass
class Scratch:
    """The databases of one purpose; ``session`` is the admin's on the ledger's database, and holds the lock."""

    session: Connection
    admin_url: str
    prefix: str
    names: list[str] = field(default_factory=list)

    def create(self, side: str) -> str:
        """An empty database with the newest schema; return its name.

        Raises:
            NotAllowed: the admin login may not create databases.
        """
        name = self._make(side, sql.SQL("ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0"))
        engine = self.engine(self.admin_url, name)
        # roles belong to the server: migrations of two databases at once would collide there
        self.session.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": schema.LOCK})
        try:
            _upgrade(engine)
        finally:
            self.session.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": schema.LOCK})
            engine.dispose()
        return name

    def clone(self, name: str, side: str) -> str:
        """A copy of a database that nobody is connected to; return its name."""
        return self._make(side, sql.SQL("TEMPLATE {}").format(sql.Identifier(name)))

    def engine(self, url: str, name: str) -> Engine:
        """An engine on one of the databases, with the login of a ledger's URL."""
        address = database.with_our_driver(url).set(database=name)
        return database.engine(address.render_as_string(hide_password=False))

    def _make(self, side: str, options: sql.Composable) -> str:
        name = f"{self.prefix}_{side}"
        self.names.append(name)
        try:
            _run(self.session, sql.SQL("CREATE DATABASE {} {}"), sql.Identifier(name), options)
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) != errorcodes.INSUFFICIENT_PRIVILEGE:
                raise
            raise NotAllowed(
                "A simulation needs a scratch database: give the login of LOYALTY_ADMIN_DATABASE_URL the right CREATEDB."
            ) from error
        for setting in (
            "ALTER DATABASE {} SET synchronous_commit = off",  # nothing in it has to survive a crash
            "REVOKE CONNECT ON DATABASE {} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {} TO loyalty_batch",
            "GRANT CREATE ON DATABASE {} TO loyalty_owner",
        ):
            _run(self.session, sql.SQL(setting), sql.Identifier(name))
        return name


@contextmanager
def scratch(admin_url: str, purpose: str) -> Iterator[Scratch]:
    """Scratch databases for a purpose (a word) until the block ends; those of dead processes are dropped first."""
    engine = database.engine(admin_url)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
            session.execute(text("SET idle_session_timeout = 0"))  # the lock lasts as long as the session
            family = f"loyalty_{purpose}_{_ledger_oid(session)}"
            remove_dead(session, family)
            made = Scratch(session, admin_url, f"{family}_{_claim(session)}")
            try:
                yield made
            finally:
                for name in made.names:
                    _drop(session, name)
    finally:
        engine.dispose()


def remove_dead(session: Connection, family: str) -> None:
    """Drop the databases of a family whose maker is gone."""
    found = session.execute(
        text("SELECT datname FROM pg_database WHERE starts_with(datname, :start) ORDER BY 1"), {"start": f"{family}_"}
    )
    for name in found.scalars().all():
        number = name.removeprefix(f"{family}_").partition("_")[0]
        if number.isdecimal() and _lock(session, int(number)):
            _drop(session, name)
            session.execute(text("SELECT pg_advisory_unlock(:class, :number)"), {"class": LOCKS, "number": int(number)})


def _claim(session: Connection) -> int:
    while not _lock(session, number := secrets.randbelow(2**31)):
        pass
    return number


def _lock(session: Connection, number: int) -> bool:
    return bool(
        session.execute(
            text("SELECT pg_try_advisory_lock(:class, :number)"), {"class": LOCKS, "number": number}
        ).scalar_one()
    )


def _ledger_oid(session: Connection) -> int:
    return int(session.execute(text("SELECT oid FROM pg_database WHERE datname = current_database()")).scalar_one())


def _drop(session: Connection, name: str) -> None:
    _run(session, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)"), sql.Identifier(name))


def _run(session: Connection, command: sql.SQL, *parts: sql.Composable) -> None:
    driver: Any = session.connection.dbapi_connection  # quotes the names
    session.exec_driver_sql(command.format(*parts).as_string(driver))


def _upgrade(engine: Engine) -> None:
    for attempt in range(ATTEMPTS):
        try:
            schema.upgrade(engine)
        except DBAPIError as error:
            # another ledger on this server migrates, too
            if attempt + 1 == ATTEMPTS or "concurrently updated" not in str(error.orig):
                raise
        else:
            return
