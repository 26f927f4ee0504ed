"""The checks between posting a day and closing it: invariants of design 5.2 on what the day touched."""

import datetime as dt

from sqlalchemy import Connection

from points_ledger.errors import GateFailed
from points_ledger.queries import statement

GATES = ("I1", "I2", "I3", "I4", "I7", "I11")
SHOWN = 5  # rows of a failed check that the alert carries


def check(connection: Connection, *, business_date: dt.date) -> None:
    """Check the members whose entries are booked on ``business_date``.

    Raises:
        GateFailed: with the first rows of every check that found any; the day stays open.
    """
    failed: dict[str, list[str]] = {}
    for gate in GATES:
        rows = connection.execute(statement(f"gate_{gate.lower()}"), {"business_date": business_date}).fetchmany(SHOWN)
        if rows:
            failed[gate] = [row.finding for row in rows]
    if failed:
        raise GateFailed(business_date, failed)
