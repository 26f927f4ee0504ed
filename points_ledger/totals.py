"""Figures of the whole ledger, counted from the entries: what an outside recomputation is held against."""

import datetime as dt
import hashlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, text

from points_ledger.queries import statement
from points_ledger.tiers import holders

FOREVER = dt.date(9999, 12, 31)


def totals(connection: Connection, *, through: dt.date | None = None) -> dict[str, Any]:
    """Points by kind, by book month and kind, open points by last valid day, balance, debt, findings, feed counts.

    ``through`` leaves out what is booked, found or placed after that day. Points are absolute; "never" is the key of
    points that do not lapse.
    """
    values = {"through": through or FOREVER}
    by_month: dict[str, dict[str, int]] = {}
    by_kind: dict[str, int] = {}
    for month, kind, points in connection.execute(statement("points_by_book_month"), values):
        by_month.setdefault(month, {})[kind] = points
        by_kind[kind] = by_kind.get(kind, 0) + points
    figures = dict(connection.execute(statement("totals"), values).one()._mapping)
    lapsing = connection.execute(statement("open_points_by_valid_through"), values)
    return {
        "through": through and through.isoformat(),
        "last_closed": figures["last_closed"] and figures["last_closed"].isoformat(),
        "wallets_with_entries": figures["wallets_with_entries"],
        "balance": figures["balance"],
        "debt": figures["debt"],
        "points_by_kind": dict(sorted(by_kind.items())),
        "points_by_book_month": by_month,
        "open_points_by_valid_through": {day.isoformat() if day else "never": points for day, points in lapsing},
        "findings": figures["findings"],
        "tiers": holders(connection, through=through or FOREVER),
        "orders_with_member": figures["orders_with_member"],
        "feed": {
            "lines": figures["lines"],
            "guest_lines": figures["guest_lines"],
            "no_money_lines": figures["no_money_lines"],
            "rejected_lines": figures["rejected_lines"],
        },
        "wallet_sha256": wallet_sha256(connection, as_of=through),
    }


def control_totals(connection: Connection) -> dict[str, Any]:
    """What a copy of the ledger must have too, in a few scans: points by kind, wallets, every member's balance."""
    figures = dict(connection.execute(statement("control_totals")).one()._mapping)
    return {**figures, "wallet_sha256": wallet_sha256(connection)}


def balances(connection: Connection, *, as_of: dt.date | None = None) -> Iterator[tuple[str, int, int]]:
    """``(member_no, balance, debt)`` of every member with an entry booked by ``as_of``, by member_no as bytes."""
    name = "balances" if as_of is None else "balances_as_of"
    rows = connection.execution_options(yield_per=10_000).execute(statement(name), {"as_of": as_of})
    yield from rows.tuples()


def wallet_sha256(connection: Connection, *, as_of: dt.date | None = None) -> str:
    """SHA-256 over the lines ``member_no,balance,debt`` of ``balances``, each with a line feed, UTF-8."""
    digest = hashlib.sha256()
    for member_no, balance, debt in balances(connection, as_of=as_of):
        digest.update(f"{member_no},{balance},{debt}\n".encode())
    return digest.hexdigest()


def last_closed(connection: Connection) -> dt.date | None:
    """The last business date that is final."""
    day: dt.date | None = connection.execute(text("SELECT points.last_closed()")).scalar_one()
    return day


def day_after(day: dt.date) -> dt.date:
    """The next business date."""
    return day + dt.timedelta(days=1)
