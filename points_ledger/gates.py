"""The checks between posting a day and closing it: invariants of design 5.2 on what the day touched.

A row that a person waived stops nothing. Nor does a lot that is known to be left behind (I7): its finding keeps points
from being taken away, and the day can close.
"""

import datetime as dt
from typing import Final

from sqlalchemy import Connection

from points_ledger import check_findings
from points_ledger.errors import GateFailed
from points_ledger.queries import statement

GATES: Final = {
    "I1": "gate_i1", "I2": "gate_i2", "I3": "gate_i3", "I4": "gate_i4", "I7": "verify_i7", "I11": "gate_i11",
}  # fmt: skip
SHOWN = 5  # rows of a failed check that the alert carries


def check(connection: Connection, *, business_date: dt.date) -> None:
    """Check the members whose entries are booked on ``business_date``.

    Raises:
        GateFailed: with the first rows of every check that found any; the day stays open.
    """
    failed: dict[str, list[str]] = {}
    for gate, sql in GATES.items():
        rows = connection.execute(statement(sql), {"business_date": business_date}).mappings().all()
        if rows:
            excused = check_findings.excused(connection, gate, day=business_date, known=gate == "I7")
            new = [row["difference"] for row in rows if not any(key.items() <= row.items() for key in excused)]
            if new:
                failed[gate] = new[:SHOWN]
    if failed:
        raise GateFailed(business_date, failed)
