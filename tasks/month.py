"""A month as steps: make its report, close it, sign it, and prove later that it is still what was signed."""

import csv
import datetime as dt
import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prefect import task
from sqlalchemy import Connection, Engine

from expectations import runner
from infra.database import MissingDatabaseUrl
from notifications.month_page import month_page
from notifications.month_print import month_csv, month_pdf, month_workbook
from points_ledger import evidence, month, month_sign_off
from points_ledger.errors import MonthDeviates, UnknownEvent, translated
from points_ledger.month_checks import Keep
from points_ledger.month_liability import journal_row
from points_ledger.month_sign_off import SignedMonth
from tasks import ledger

REPORT: Final = "report.json"
SUMS: Final = "SHA256SUMS"


@dataclass(frozen=True)
class Made:
    """A report as it was made: its values, and the SHA-256 of its JSON."""

    report: dict[str, Any]
    sha256: str


@dataclass(frozen=True)
class Verified:
    """A recorded month held against its recomputation: the lines that differ, none when it is what it was."""

    recorded: SignedMonth
    sha256: str
    headline: str
    differences: list[str]


def make(name: str, folder: Path | None = None) -> Made:
    """Make the report of a month; with ``folder``, write it there in all its forms, with journal and populations.

    Reads as the auditor's login where there is one. Nothing in the ledger is changed.

    Raises:
        InvalidRequest: it is no month of the ledger, or a night of it is not closed.
        OSError: the folder cannot be written.
    """
    ledger.policy()
    with runner.snapshot(reader()) as (connection, _, _):
        asked = month.month_of(connection, name)
        if folder is None:
            return made_of(month.figures(connection, asked))
        folder.mkdir(parents=True, exist_ok=True)
        with _populations(folder) as (keep, written):
            made = made_of(month.figures(connection, asked, keep=keep))
        with (folder / "entries.csv").open("wb") as file:
            evidence.copy(connection, evidence.COPIED["entries"], asked, file)
    forms = documents(made)
    for document, content in forms.items():
        (folder / document).write_bytes(content)
    _write_sums(folder, [*forms, "entries.csv", *written])
    return made


def documents(made: Made) -> dict[str, bytes]:
    """The report in all its forms, by file name: the first is the report, the others show it."""
    return {
        REPORT: month.as_bytes(made.report),
        "report.html": month_page(made.report, made.sha256).encode(),
        "report.pdf": month_pdf(made.report, made.sha256),
        "report.xlsx": month_workbook(made.report),
        "report.csv": month_csv(made.report).encode(),
        "journal.csv": _journal(made.report).encode(),
    }


def close(name: str) -> tuple[Made, SignedMonth]:
    """Record the report of a month, once. The same again changes nothing.

    Raises:
        InvalidRequest: a night of the month is not closed.
        MonthDeviates: something in it does not agree.
        OpenFindings: findings are open that stop.
        OtherContent: another report was recorded before.
    """
    made = make(name)
    if made.report["deviations"]:
        raise MonthDeviates(made.report["headline"])
    with translated(), ledger.engine().begin() as connection:
        asked = month.month_of(connection, name)
        month_sign_off.close(connection, asked, month.as_bytes(made.report), code_version=ledger.code_version())
        return made, recorded(connection, name)


def sign(name: str) -> tuple[Made, SignedMonth]:
    """Recompute the report of a closed month and sign it, as the auditor's login.

    Raises:
        MonthDeviates: something in it does not agree.
        OtherContent: it is not the report that was recorded.
        UnknownEvent: the month is not closed.
        NotAllowed: this login is no auditor.
        MissingDatabaseUrl: the auditor's login has no URL.
    """
    auditor = ledger.engine("auditor")
    made = make(name)
    if made.report["deviations"]:
        raise MonthDeviates(made.report["headline"])
    with translated(), auditor.begin() as connection:
        month_sign_off.sign(connection, name, made.sha256)
        return made, recorded(connection, name)


def verify(name: str) -> Verified:
    """Recompute the report of a closed month, and compare it with what was recorded and signed.

    Raises:
        UnknownEvent: the month is not closed.
    """
    with ledger.engine().connect() as connection:
        known = recorded(connection, name)
    made = make(name)
    same = made.sha256 == known.report_sha256
    lines = [] if same else month_sign_off.differences(known.report, month.as_bytes(made.report))
    return Verified(known, made.sha256, made.report["headline"], lines)


@task(name="close-month", retries=2, retry_delay_seconds=[5, 30])
def close_step(name: str) -> dict[str, Any]:
    """``close`` as a step of a flow: what it came to, as plain values. A refusal is an answer, not a failure to retry."""
    try:
        made, recorded = close(name)
    except month_sign_off.REFUSED as refused:
        return {"month": name, "refused": str(refused)}
    return {"month": name, "headline": made.report["headline"], "report_sha256": recorded.report_sha256}


def month_before(moment: dt.datetime) -> str:
    """The month before a moment's business date, as ``YYYY-MM``."""
    return f"{ledger.business_date(moment).replace(day=1) - dt.timedelta(days=1):%Y-%m}"


def made_of(report: dict[str, Any]) -> Made:
    """A report with the SHA-256 of its bytes."""
    return Made(report, month_sign_off.fingerprint(month.as_bytes(report)))


def recorded(connection: Connection, name: str) -> SignedMonth:
    """What was recorded of a closed month.

    Raises:
        UnknownEvent: it is not closed.
    """
    found = month_sign_off.recorded(connection, name)
    if found is None:
        raise UnknownEvent(f"{name} is not closed: see loyalty month close.")
    return found


def reader() -> Engine:
    """The auditor's login where there is one, else the one that writes."""
    try:
        return ledger.engine("auditor")
    except MissingDatabaseUrl:
        return ledger.engine()


@contextmanager
def _populations(folder: Path) -> Iterator[tuple[Keep, list[str]]]:
    """A sink that writes each population into ``<name>.csv``; rows come in the order of the report's statements."""
    written: list[str] = []
    writers: dict[str, csv.DictWriter[str]] = {}
    with ExitStack() as files:

        def keep(name: str, row: Mapping[str, Any]) -> None:
            if name not in writers:
                written.append(f"{name}.csv")
                file = files.enter_context((folder / written[-1]).open("w", encoding="utf-8", newline=""))
                writers[name] = csv.DictWriter(file, list(row), lineterminator="\n")
                writers[name].writeheader()
            writers[name].writerow(row)

        yield keep, written


def _journal(report: Mapping[str, Any]) -> str:
    columns = ("date", "document", "account", "debit", "credit", "currency", "text")
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    for line in report["liability"]["journal"]:
        writer.writerow(journal_row(line, date=report["through"], currency=report["currency"]))
    return file.getvalue()


def _write_sums(folder: Path, names: list[str]) -> None:
    lines = []
    for name in sorted(names):
        with (folder / name).open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
