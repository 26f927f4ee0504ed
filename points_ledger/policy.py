"""The programme as the ledger keeps it: immutable numbered versions and their rules, exploded for the statements.

The file itself is read and checked in ``infra.programme``; this module stores what came out.
"""

import datetime as dt
import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from points_ledger.queries import statement

CONDITIONS = (
    "skus", "exclude_skus", "categories", "stores", "channels", "weekdays", "from_on", "through_on", "min_order_amount",
)  # fmt: skip


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


def store_version(connection: Connection, document: dict[str, Any], *, effective_from: dt.date) -> int:
    """Store a programme as the next version, unless the newest one says the same; return its number."""
    fingerprint = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    connection.execute(text("LOCK TABLE points.policy_version IN SHARE ROW EXCLUSIVE MODE"))
    newest = connection.execute(
        text("SELECT version, sha256 FROM points.policy_version ORDER BY version DESC LIMIT 1")
    ).one_or_none()
    if newest is not None and newest.sha256 == fingerprint:
        return int(newest.version)
    version = newest.version + 1 if newest else 1
    connection.execute(
        text(
            "INSERT INTO points.policy_version (version, effective_from, document, sha256)"
            " VALUES (:version, :effective_from, CAST(:document AS jsonb), :sha256)"
        ),
        {"version": version, "effective_from": effective_from, "document": json.dumps(document), "sha256": fingerprint},
    )
    for kind, amount in (("rate", "points_per_unit"), ("multiplier", "factor")):
        for position, rule in enumerate(document["earn"].get(kind, ()), start=1):
            known = {**rule, "from_on": rule.get("from"), "through_on": rule.get("through")}
            connection.execute(
                statement("insert_policy_rule"),
                {
                    "version": version,
                    "kind": kind,
                    "position": position,
                    "name": rule.get("name"),
                    "amount": rule[amount],
                }
                | {condition: known.get(condition) for condition in CONDITIONS},
            )
    return version


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
