"""The programme as the ledger keeps it: immutable numbered versions and their rules, exploded for the statements.

The file itself is read and checked in ``infra.programme``; here is what came out. How a version comes to be in force
is in ``points_ledger.proposals``; what two versions differ in, in ``points_ledger.policy_changes``.
"""

import datetime as dt
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from points_ledger.queries import statement


@dataclass(frozen=True)
class Guard:
    """How far a night may go alone: shares and factors, None = off."""

    max_share_of_outstanding: Decimal | None
    max_times_median: Decimal | None


@dataclass(frozen=True)
class Policy:
    """What jobs need to know of the version in force."""

    version: int
    name: str
    time_zone: str
    currency: str
    starts_on: dt.date
    point_value: Decimal
    enrol_from_orders: bool
    guard: Guard


@dataclass(frozen=True)
class Version:
    """One version as it is stored; ``approval_id`` is None when nobody had to approve it."""

    version: int
    effective_from: dt.date
    effective_through: dt.date | None
    document: dict[str, Any]
    sha256: str
    added_by: str
    added_at: dt.datetime
    approval_id: int | None
    proposed_by: str | None
    approved_by: str | None
    reason: str | None


def store_version(connection: Connection, document: dict[str, Any], *, effective_from: dt.date) -> int:
    """Store a programme as the next version, unless the newest one says the same; return its number.

    For the first version, and for owners of the schema; everybody else proposes (``points_ledger.proposals``).

    Raises:
        sqlalchemy.exc.DBAPIError: PL020, the date is closed, judged, or before the newest version's.
    """
    return int(
        connection.execute(
            text("SELECT points.store_policy(CAST(:document AS jsonb), :effective_from)"),
            {"document": json.dumps(document), "effective_from": effective_from},
        ).scalar_one()
    )


def versions(connection: Connection) -> list[Version]:
    """Every version, oldest first, with who proposed and who approved it."""
    return [Version(**row) for row in connection.execute(statement("policy_versions")).mappings()]


def version_on(connection: Connection, day: dt.date) -> int | None:
    """The number of the version that judges an order of a day; None before ``loyalty init``."""
    number = connection.execute(text("SELECT points.version_on(:day)"), {"day": day}).scalar_one()
    return None if number is None else int(number)


def open_business_date(connection: Connection) -> dt.date | None:
    """The business date that takes entries now; None before ``loyalty init``."""
    day: dt.date | None = connection.execute(text("SELECT points.open_business_date()")).scalar_one()
    return day


def valid_through(connection: Connection, expiry: dict[str, Any], *, earned_on: dt.date) -> dt.date | None:
    """The last valid day of points earned on a day under the ``[expiry]`` of a document; None = for ever.

    Of points that lapse by inactivity: when that day stays the last activity.
    """
    basis = "fixed" if expiry["basis"].startswith("inactivity") else expiry["basis"]
    day: dt.date | None = connection.execute(
        text("SELECT points.valid_through(:earned_on, :basis, :months, :round_up_to, :month_day)"),
        {"earned_on": earned_on, "months": None, "round_up_to": "day", "month_day": "12-31"}
        | {"basis": basis}
        | {key: expiry[key] for key in ("months", "round_up_to", "month_day") if key in expiry},
    ).scalar_one()
    return day


def policy_on(connection: Connection, day: dt.date) -> Policy | None:
    """The version in force on a day; None before ``loyalty init``."""
    row = connection.execute(
        text(
            "SELECT *, (SELECT min(effective_from) FROM points.policy_version) AS starts_on,"
            " (SELECT document #>> '{programme,name}' FROM points.policy_version v WHERE v.version = p.version) AS name"
            " FROM points.policy p WHERE version = points.version_on(:day)"
        ),
        {"day": day},
    ).one_or_none()
    if row is None:
        return None
    return Policy(
        row.version, row.name, row.time_zone, row.currency, row.starts_on, row.point_value, row.enrol_from_orders,
        Guard(row.guard_max_share, row.guard_max_times_median),
    )  # fmt: skip
