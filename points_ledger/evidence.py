"""What an evidence pack holds of a month: populations and the queries that give them, control totals, the record of its close.

The pack's verifier computes from these what the report says, in code of its own (``infra/verify_pack.py``).
"""

import datetime as dt
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import IO, Any, Final

from sqlalchemy import Connection, text

from points_ledger import month_sign_off
from points_ledger.month import Month
from points_ledger.queries import statement

# Populations by the statement that gives them. The report itself reads KEPT and hands its rows on; the others are copied.
KEPT: Final = {
    name: f"month_{name}" for name in ("members", "orders", "returns", "returned_orders", "adjustments", "redemptions")
}
COPIED: Final = {
    **{name: f"month_{name}" for name in ("wallets", "lots", "entries", "judgements", "order_lines", "rules")},
    "seals": "month_seal_chain",
}


def copy(connection: Connection, query: str, month: Month, file: IO[bytes]) -> None:
    """Write the rows of a statement into ``file`` as CSV, as Postgres sends them; what is null reads ``\\N``."""
    driver: Any = connection.connection.dbapi_connection
    with driver.cursor() as cursor:
        sql = cursor.mogrify(str(statement(query).compile(dialect=connection.dialect)), month.values).decode()
        cursor.copy_expert(f"COPY (\n{sql}\n) TO STDOUT WITH (FORMAT csv, HEADER, NULL '\\N')", file)


def columns(connection: Connection, query: str, month: Month) -> list[str]:
    """The columns of a statement, without its rows."""
    nothing = text(f"SELECT * FROM (\n{statement(query).text}\n) AS q LIMIT 0")  # noqa: S608 - a statement of ours
    return list(connection.execute(nothing, {name: month.values[name] for name in nothing.compile().params}).keys())


def queries() -> dict[str, bytes]:
    """Every statement that a month's report and its populations read the ledger with, by its name."""
    folder = resources.files("points_ledger").joinpath("sql")
    named = sorted(file.name for file in folder.iterdir() if file.name.startswith("month_"))
    return {name.removesuffix(".sql"): folder.joinpath(name).read_bytes() for name in named}


def facts(connection: Connection, month: Month, report: Mapping[str, Any], report_sha256: str) -> dict[str, Any]:
    """What the manifest says of the month: control totals, queries with their hashes, who closed and signed it."""
    found = {name: hashlib.sha256(content).hexdigest() for name, content in queries().items()}
    parameters = {name: str(value) for name, value in month.values.items()}
    record = month_sign_off.recorded(connection, month.name)
    before = month_sign_off.recorded(connection, f"{month.first.replace(day=1) - dt.timedelta(days=1):%Y-%m}")
    return {
        "month": month.name,
        "programme": report["programme"],
        "headline": report["headline"],
        "deviations": report["deviations"],
        "report_sha256": report_sha256,
        "previous_report_sha256": before.report_sha256 if before else None,
        "checkpoint": report["checkpoint"],
        "record": _record(record),
        "control_totals": _control_totals(connection, month, report),
        "populations": {f"{name}.csv": f"queries/{query}.sql" for name, query in sorted({**KEPT, **COPIED}.items())},
        "parameters": parameters,
        "queries": found,
    }


def _record(record: month_sign_off.SignedMonth | None) -> dict[str, str | None] | None:
    if record is None:
        return None
    return {
        "report_sha256": record.report_sha256,
        "closed_by": record.closed_by,
        "closed_at": _moment(record.closed_at),
        "signed_by": record.signed_by,
        "signed_at": _moment(record.signed_at) if record.signed_at else None,
    }


def _moment(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat()


def _control_totals(connection: Connection, month: Month, report: Mapping[str, Any]) -> dict[str, Any]:
    roll, debt = report["roll_forward"], report["debt"]
    seals = connection.execute(
        text("SELECT count(*) FROM points.seal WHERE book_date <= :through"), {"through": month.through}
    ).scalar_one()
    return {
        "entries": sum(row["entries"] for row in roll["kinds"]),
        "points_by_kind": {row["kind"]: row["points"] for row in roll["kinds"]},
        "members": report["members"]["members"],
        "seals": seals,
        "opening": roll["opening"],
        "closing": roll["closing"],
        "opening_debt": debt["opening"],
        "closing_debt": debt["closing"],
    }
