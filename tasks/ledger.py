"""The way from a step to the ledger: engines by login, and the questions the command line asks of it.

Settings are read here, when a step runs, and nowhere below; an engine lives as long as its process.
"""

import datetime as dt
import importlib.metadata
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from infra import database, programme, schema
from infra.database import Login
from infra.settings import settings
from points_ledger import explanation, overview, totals, verification
from points_ledger.errors import LedgerError, translated
from points_ledger.policy import Policy, policy_on, store_version

UNDEFINED_TABLE = ("42P01", "3F000", "42883")


class NoLedger(LedgerError):
    """There is no ledger here yet: run loyalty init --programme FILE."""


@cache
def engine(login: Login = "batch") -> Engine:
    """The engine of a login; starts the embedded Postgres when that is where the ledger lives."""
    return database.engine(database.ledger_url(settings(), login))


def code_version() -> str:
    """The version that a run records."""
    return importlib.metadata.version("loyalty-back-office")


def initialise(path: Path) -> tuple[int, Policy]:
    """Bring the schema up to date and store the programme; return its version.

    Raises:
        infra.programme.ProgrammeRefused: the file has errors; nothing was stored.
        LedgerError: the ledger runs on another programme already.
    """
    document = programme.read_programme(path)
    starts_on = dt.date.fromisoformat(document["programme"]["starts_on"])
    schema.upgrade(engine("admin"))
    with translated(), engine("admin").begin() as connection:
        known = policy_on(connection, starts_on)
        version = store_version(connection, document, effective_from=starts_on) if known is None else known.version
        if known is not None and version != store_version(connection, document, effective_from=starts_on):
            raise LedgerError(
                f'This ledger already runs "{known.name}" (version {known.version}); its programme is not replaced by init.'
            )
        connection.execute(text("SELECT points.open_day(:day)"), {"day": starts_on})
        policy = policy_on(connection, starts_on)
    if policy is None:
        raise NoLedger
    return version, policy


def policy(day: dt.date | None = None) -> Policy:
    """The version in force on a day, or the newest.

    Raises:
        NoLedger: before ``loyalty init``.
    """
    try:
        with engine().connect() as connection:
            found = policy_on(connection, day or dt.date.max)
    except ProgrammingError as error:
        if getattr(error.orig, "pgcode", None) in UNDEFINED_TABLE:
            raise NoLedger from error
        raise
    if found is None:
        raise NoLedger
    return found


def business_date(now: dt.datetime) -> dt.date:
    """The business date of a moment, in the programme's zone."""
    return now.astimezone(ZoneInfo(policy().time_zone)).date()


def read_totals(through: dt.date | None) -> dict[str, Any]:
    """See ``points_ledger.totals.totals``; in one snapshot."""
    policy()
    with _snapshot() as connection:
        return totals.totals(connection, through=through)


def read_balances(as_of: dt.date | None) -> Iterator[tuple[str, int, int]]:
    """See ``points_ledger.totals.balances``; in one snapshot."""
    policy()
    with _snapshot() as connection:
        yield from totals.balances(connection, as_of=as_of)


def read_explanation(member_no: str, as_of: dt.date | None, now: dt.datetime) -> explanation.Explanation:
    """See ``points_ledger.explanation.explain``. Without ``as_of``, usable means on the open business date.

    Raises:
        UnknownMember: nobody has that number.
    """
    policy()
    with _snapshot() as connection:
        closed = totals.last_closed(connection)
        today = closed + dt.timedelta(days=1) if closed else business_date(now)
        return explanation.explain(connection, member_no, as_of=as_of, today=today)


def read_standing(now: dt.datetime) -> overview.Standing:
    """See ``points_ledger.overview.standing``."""
    policy()
    with _snapshot() as connection:
        return overview.standing(connection, today=business_date(now))


def verify(on_check: Callable[[str, str], None]) -> tuple[verification.Verified, list[verification.Difference]]:
    """Rebuild and compare everything, in one snapshot; return what was looked at and every difference."""
    policy()
    with _snapshot() as connection:
        return verification.counts(connection), list(verification.verify(connection, on_check=on_check))


def _snapshot() -> Connection:
    # One moment for every statement: figures that are compared must not straddle a posting.
    return engine().connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
