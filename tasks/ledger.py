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
from points_ledger import explanation, overview, tiers, totals, verification
from points_ledger.errors import LedgerError, translated
from points_ledger.policy import Policy, open_business_date, policy_on, store_version, versions

UNDEFINED_TABLE = ("42P01", "3F000", "42883")


class NoLedger(LedgerError):
    """There is no ledger here yet: run loyalty init --programme FILE."""


@cache
def engine(login: Login = "batch") -> Engine:
    """The engine of a login; starts the embedded Postgres when that is where the ledger lives."""
    return database.engine(database.ledger_url(settings(), login), connections=settings().connections)


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
        connection.execute(text("LOCK TABLE points.policy_version IN SHARE ROW EXCLUSIVE MODE"))
        known = versions(connection)
        if not known:
            store_version(connection, document, effective_from=starts_on)
            connection.execute(text("SELECT points.open_day(:day)"), {"day": starts_on})
        elif document not in [programme.filled(version.document) for version in known]:
            raise LedgerError(
                f'This ledger already runs "{known[-1].document["programme"]["name"]}" (version {known[-1].version}); its '
                "programme is not replaced by init. A change is proposed: loyalty policy propose FILE --effective-from DATE"
            )
        policy = policy_on(connection, open_business_date(connection) or starts_on)
    if policy is None:
        raise NoLedger
    return policy.version, policy


def policy(day: dt.date | None = None) -> Policy:
    """The version in force on a day, or on the open business date.

    Raises:
        NoLedger: before ``loyalty init``.
    """
    try:
        with engine().connect() as connection:
            # never the newest: a version may be approved weeks before its first day
            asked = day or open_business_date(connection)
            found = policy_on(connection, asked) if asked else None
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


def open_date(login: Login = "batch") -> dt.date:
    """The business date that takes entries now, as a login sees it."""
    with engine(login).connect() as connection:
        day = open_business_date(connection)
    if day is None:
        raise NoLedger
    return day


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


def read_tiers(now: dt.datetime, within_days: int) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """How many members hold each tier, and who falls within so many days unless they earn more."""
    policy()
    with _snapshot() as connection:
        day = totals.last_closed(connection) or business_date(now)
        return tiers.holders(connection, through=day), tiers.at_risk(connection, day=day, within_days=within_days)


def verify(on_check: Callable[[str, str], None]) -> tuple[verification.Verified, list[verification.Difference]]:
    """Rebuild and compare everything, in one snapshot; return what was looked at and every difference."""
    policy()
    with _snapshot() as connection:
        return verification.counts(connection), list(verification.verify(connection, on_check=on_check))


def _snapshot() -> Connection:
    # One moment for every statement: figures that are compared must not straddle a posting.
    return engine().connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
