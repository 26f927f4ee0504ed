"""Runs checks as bare SQL, all of them in one snapshot: what the night does, and what Great Expectations is held against."""

import datetime as dt
import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, Literal

from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.exc import DBAPIError

from expectations.catalogue import Check
from points_ledger.check_findings import Answer, CheckRun
from points_ledger.queries import statement

Form = Literal["full", "night"]
CAP: Final = 10_000  # rows of one check that are kept one by one; counted are all
SHOWN: Final = 20  # of them, that a report shows
MESSAGE: Final = 2000  # letters of a driver's message that are kept


def run_bare(
    reader: Engine, checks: Sequence[Check], *, as_of: dt.date, form: Form = "full", full: Sequence[Check] = ()
) -> CheckRun:
    """Run checks in one REPEATABLE READ, read-only transaction; those in ``full`` in their full form, whatever ``form``.

    A check that cannot run is answered with its error, and the others run all the same.

    Raises:
        sqlalchemy.exc.DBAPIError: the connection was lost.
    """
    with snapshot(reader) as (connection, name, started_at):
        answers = [_answer(connection, check, as_of, form) for check in checks if check not in full]
        answers += [_answer(connection, check, as_of, "full") for check in full]
    return CheckRun(as_of, form, "bare", name, started_at, tuple(answers))


@contextmanager
def snapshot(reader: Engine) -> Iterator[tuple[Connection, str, dt.datetime]]:
    """A transaction that sees one moment and can write nothing; that moment's name (``pg_current_snapshot``) and time."""
    with reader.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as connection:
        row = connection.execute(
            text(
                "SELECT CAST(pg_current_snapshot() AS text) AS name, clock_timestamp() AS at, set_config('jit', 'off', true)"
            )
        ).one()
        yield connection, row.name, row.at


@cache
def query(check: Check, form: Form) -> TextClause:
    """One statement that counts a check's offending rows and returns the first of them, by key: columns ``n``, ``rows``."""
    rows = statement(check.night if form == "night" and check.night else check.sql).text
    order = ", ".join(check.keys)
    return text(
        f"WITH offending AS MATERIALIZED (\n{rows}\n)\n"  # noqa: S608 - both come from the catalogue, none from outside
        "SELECT (SELECT count(*) FROM offending) AS n, (SELECT coalesce(jsonb_agg(to_jsonb(first_rows)), '[]')"
        f" FROM (SELECT * FROM offending ORDER BY {order} LIMIT {CAP}) AS first_rows) AS rows"
    )


@cache
def is_whole(check: Check) -> bool:
    """Whether the incremental form of a check looks at everything too: what it reads is never much."""
    return check.night == check.sql and ":since" not in statement(check.sql).text


def values(as_of: dt.date, form: Form) -> dict[str, str]:
    """What the statements are bound to. ``business_date``: gates look at the day the close's expiry was booked on."""
    return {
        "as_of": as_of.isoformat(),
        "since": as_of.isoformat() if form == "night" else "-infinity",
        "business_date": (as_of + dt.timedelta(days=1)).isoformat(),
    }


def answer(
    check: Check, form: Form, n: int, rows: Iterable[dict[str, Any]], milliseconds: int, error: str | None = None
) -> Answer:
    """The answer of a check, from what its statement returned."""
    return Answer(
        check.id,
        check.severity,
        check.owner,
        form == "full" or is_whole(check),
        "error" if error is not None else "fail" if n else "pass",
        n,
        [{"key": {key: row[key] for key in check.keys}, "difference": row["difference"]} for row in rows],
        error,
        _fingerprint(check, form),
        milliseconds,
    )


@cache
def _fingerprint(check: Check, form: Form) -> str:
    return hashlib.sha256(query(check, form).text.encode()).hexdigest()


def _answer(connection: Connection, check: Check, as_of: dt.date, form: Form) -> Answer:
    begun = time.perf_counter()
    try:
        with connection.begin_nested():  # so that one that fails does not end the snapshot of the others
            row = connection.execute(query(check, form), values(as_of, form)).one()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return answer(check, form, 0, (), _since(begun), str(error.orig).strip()[:MESSAGE])
    return answer(check, form, row.n, row.rows, _since(begun))


def _since(begun: float) -> int:
    return round((time.perf_counter() - begun) * 1000)
