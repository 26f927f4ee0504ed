"""Closing and signing a month: its report is recorded once, and frozen by the signature of an auditor's own login."""

import datetime as dt
import difflib
import hashlib
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from points_ledger.errors import DayNotOpen, InvalidRequest, MonthDeviates, OpenFindings, OtherContent
from points_ledger.month import Month

# What keeps a month from being closed until somebody has put it right.
REFUSED: Final = (DayNotOpen, InvalidRequest, MonthDeviates, OpenFindings, OtherContent)


@dataclass(frozen=True)
class SignedMonth:
    """A month whose report was recorded: by whom, when, and who signed it (None: nobody yet)."""

    report: str
    report_sha256: str
    closed_by: str
    closed_at: dt.datetime
    signed_by: str | None
    signed_at: dt.datetime | None


def fingerprint(report: bytes) -> str:
    """SHA-256 of a report, in hex."""
    return hashlib.sha256(report).hexdigest()


def recorded(connection: Connection, name: str) -> SignedMonth | None:
    """What was recorded of the month ``YYYY-MM``; None when it is not closed."""
    row = (
        connection.execute(
            text(
                "SELECT c.report, c.report_sha256, c.closed_by, c.closed_at, s.signed_by, s.signed_at FROM points.month_close AS c"
                " LEFT JOIN points.month_signature AS s ON s.month = c.month WHERE c.month = CAST(:month AS date)"
            ),
            {"month": f"{name}-01"},
        )
        .mappings()
        .one_or_none()
    )
    return SignedMonth(**row) if row else None


def close(connection: Connection, month: Month, report: bytes, *, code_version: str) -> str:
    """Record the report of a month, once; return its SHA-256. The same report again changes nothing.

    Raises:
        sqlalchemy.exc.DBAPIError: PL001, a night is not closed; PL003, another report was recorded; PL050, findings are open
            that stop; 23514, the report has deviations.
    """
    values = {"month": f"{month.name}-01", "report": report.decode(), "code_version": code_version}
    query = text("SELECT points.close_month(CAST(:month AS date), :report, :code_version)")
    return str(connection.execute(query, values).scalar_one())


def sign(connection: Connection, name: str, sha256: str) -> None:
    """Sign the closed month ``YYYY-MM``, whose report was recomputed as ``sha256``, as the connection's login.

    First thing in its transaction, because an auditor's are read-only and this is the one thing an auditor writes.

    Raises:
        sqlalchemy.exc.DBAPIError: PL003, the recorded report is another one; PL005, the month is not closed; PL007, somebody
            else signed it; PL051, this login closed it; 42501, this login is no auditor.
    """
    query = text("SELECT points.sign_month(CAST(:month AS date), :sha256)")
    connection.execute(text("SET TRANSACTION READ WRITE"))
    connection.execute(query, {"month": f"{name}-01", "sha256": sha256})


def differences(was: str, now: bytes, *, most: int = 50) -> list[str]:
    """The lines of the recorded report (-) and of the recomputed one (+) that differ, with their places (@@)."""
    lines = difflib.unified_diff(
        was.splitlines(), now.decode().splitlines(), "recorded", "recomputed", n=0, lineterm=""
    )
    return [line for line, _ in zip(lines, range(most), strict=False)]
