"""The report of a closed month (design 10): roll-forwards that foot, ledger against orders, liability, statistics.

Everything is read from entries and other rows that never change, up to the month's last day, so the report of a month is
the same bytes whenever it is made again; run it in one REPEATABLE READ transaction. ``docs/reference/month-report.md``
gives every key.
"""

import calendar
import datetime as dt
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import Connection, text

from points_ledger import breakage, month_checks
from points_ledger.breakage import Cohort, Moved
from points_ledger.errors import InvalidRequest
from points_ledger.month_checks import Agreement, Keep, stream
from points_ledger.month_liability import liability
from points_ledger.policy import policy_on
from points_ledger.unusual_days import unusual_days

FORMAT: Final = 1
PRODUCTS: Final = 20


@dataclass(frozen=True)
class Month:
    """A month of the ledger: its first and last day; the first one may be the programme's."""

    name: str
    first: dt.date
    through: dt.date

    @property
    def values(self) -> dict[str, Any]:
        """What the statements are bound to."""
        return {"first": self.first, "through": self.through}


def month_of(connection: Connection, name: str) -> Month:
    """The month ``YYYY-MM``, all of whose days must be closed.

    Raises:
        InvalidRequest: it is no month, is before the ledger's first day, or has a night that is not closed.
    """
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", name):
        raise InvalidRequest(f"{name!r} is not a month; write it like 2026-01.")
    year, number = int(name[:4]), int(name[5:])
    first, through = dt.date(year, number, 1), dt.date(year, number, calendar.monthrange(year, number)[1])
    begun, missing = connection.execute(
        text(
            "SELECT b.first, (SELECT min(d) FROM generate_series(greatest(b.first, :first), CAST(:through AS date), '1 day') AS d"
            " WHERE NOT EXISTS (SELECT FROM points.book_day WHERE book_date = d AND status = 'closed'))"
            " FROM (SELECT min(book_date) AS first FROM points.book_day) AS b"
        ),
        {"first": first, "through": through},
    ).one()
    if begun is None or begun > through:
        raise InvalidRequest(f"The ledger has no days in {name}.")
    if missing is not None:
        raise InvalidRequest(f"The night of {missing:%Y-%m-%d} is not closed: close the month's nights first.")
    return Month(name, max(first, begun), through)


def figures(connection: Connection, month: Month, *, keep: Keep = lambda _name, _row: None) -> dict[str, Any]:
    """The report of a month as plain values: points as integers, money and shares as exact decimal strings.

    ``keep`` is given every row of the populations (members, orders, returns, ...), which the report itself only sums up.
    """
    policy = policy_on(connection, month.through)
    if policy is None:
        raise InvalidRequest("No programme is in force in that month.")
    value, before = policy.point_value, month.first.replace(day=1) - dt.timedelta(days=1)
    earlier = policy_on(connection, before)
    days = list(stream(connection, "month_days", month.values))
    seals = list(stream(connection, "month_seals", {"through": month.through}))
    members, tiers, by_member = _members(connection, month, keep)
    lots = list(stream(connection, "month_open_points", {"through": month.through}))
    cohort_rows = [Moved(**row) for row in stream(connection, "month_cohorts", {"through": month.through})]
    by_order, order_figures = month_checks.orders(connection, month.values, keep)
    by_return, return_figures = month_checks.returns(connection, month.values, keep)
    by_power, adjusted = month_checks.adjustments(connection, month.values, keep)
    day_rows, by_day = _days(month, days, seals, members)
    cohorts = breakage.estimate(cohort_rows, through=month.name)
    checks = [
        _foots("roll-forward", "Opening balance and the month's movements give the closing balance",
               members["opening"] + sum(row["moved"] for row in days), members["closing"]),
        _foots("roll-forward-debt", "Opening debt, what was owed and repaid give the closing debt",
               members["opening_debt"] + sum(row["owed"] for row in days), members["closing_debt"]),
        by_member, *by_day, _tiers_foot(tiers, members["closing"]),
        _foots("open-points", "The points left in lots are the closing balance",
               sum(row["points"] for row in lots), members["closing"]),
        _foots("cohorts", "The open points of all cohorts are the closing balance",
               sum(cohort.open for cohort in cohorts), members["closing"]),
        *by_order, *by_return, month_checks.redemptions(connection, month.values, keep), by_power,
        *month_checks.invariants(connection, month.through, seals),
    ]  # fmt: skip
    deviations = sum(check.deviations for check in checks)
    of_month = [seal for seal in seals if str(month.first) <= seal["book_date"]]
    return {
        "headline": headline(month.name, deviations, checks),
        "deviations": deviations,
        "format": FORMAT,
        "programme": policy.name,
        "currency": policy.currency,
        "point_value": format(value, "f"),
        "month": month.name,
        "first": str(month.first),
        "through": str(month.through),
        "checkpoint": of_month[-1]["checkpoint"],
        "checks": [check.as_json() for check in checks],
        "roll_forward": {
            "opening": members["opening"],
            "kinds": _kinds(days),
            "closing": members["closing"],
            "days": day_rows,
            "tiers": tiers,
        },
        "debt": _debt(days, members),
        "members": {key: members[key] for key in ("members", "new", "with_points", "active")}
        | {"share_active": share(members["active"], members["members"])},
        "redemption_rate": _redemption_rate(days, cohorts),
        "rewards": list(stream(connection, "month_rewards", month.values)),
        "products": list(stream(connection, "month_products", month.values | {"most": PRODUCTS})),
        "open_points": _open_points(lots, value),
        "liability": liability(
            cohort_rows,
            month=month.name,
            before=f"{before:%Y-%m}",
            value=value,
            value_before=earlier.point_value if earlier else value,
        ),
        "orders": order_figures,
        "returns": return_figures,
        "adjustments": adjusted,
        "unusual_days": unusual_days(day_rows),
        "not_accepted": list(stream(connection, "month_findings", month.values)),
        "notices": list(stream(connection, "month_notices", month.values)),
        "lapsed": list(stream(connection, "month_expiries", month.values)),
        "backups": next(iter(stream(connection, "month_backups", month.values))),
        "seals": of_month,
    }


def headline(name: str, deviations: int, checks: Iterable[Agreement]) -> str:
    """The report's first line."""
    if not deviations:
        return f"{name}: everything agrees."
    named = ", ".join(f"{check.id} ({check.deviations:,})" for check in checks if check.deviations)
    many = "1 DEVIATION" if deviations == 1 else f"{deviations:,} DEVIATIONS"
    return f"{name}: {many}. {named}."


def as_bytes(report: Mapping[str, Any]) -> bytes:
    """``report.json``: what is hashed and signed."""
    return (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode()


def share(part: int, whole: int) -> str:
    """A share with four places, rounded half up."""
    return format(breakage.share(Fraction(part, whole)), "f") if whole else "0.0000"


def _foots(name: str, title: str, left: int, right: int) -> Agreement:
    return Agreement(name, title, left, right)


def _members(
    connection: Connection, month: Month, keep: Keep
) -> tuple[dict[str, int], list[dict[str, Any]], Agreement]:
    sums: dict[str, int] = defaultdict(int)
    tiers: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    foots = Agreement("roll-forward-members", "Each member's opening balance and movements give the closing balance")
    for row in stream(connection, "month_members", month.values):
        keep("members", row)
        for key in ("opening", "closing", "opening_debt", "closing_debt"):
            sums[key] += row[key]
        sums["members"] += 1
        sums["new"] += row["is_new"]
        sums["active"] += row["is_active"]
        sums["with_points"] += row["closing"] > 0
        foots.left += row["opening"] + row["moved"]
        foots.right += row["closing"]
        if (row["opening"] + row["moved"], row["opening_debt"] + row["owed"]) != (row["closing"], row["closing_debt"]):
            foots.differs(row)
        before, after = tiers[row["opening_tier"]], tiers[row["closing_tier"]]
        before["opening"] += row["opening"]
        if row["opening_tier"] != row["closing_tier"]:
            before["changed_tier"] -= row["opening"]
            after["changed_tier"] += row["opening"]
        for key in ("moved", "closing"):
            after[key] += row[key]
        after["members"] += 1
    columns = ("members", "opening", "changed_tier", "moved", "closing")
    rows = [{"tier": tier, **{key: tiers[tier][key] for key in columns}} for tier in sorted(tiers)]
    keys = ("members", "new", "active", "with_points", "opening", "closing", "opening_debt", "closing_debt")
    return {key: sums[key] for key in keys}, rows, foots


def _tiers_foot(tiers: Sequence[Mapping[str, Any]], closing: int) -> Agreement:
    foots = Agreement("roll-forward-tiers", "Each tier's opening balance and movements give its closing balance")
    foots.left, foots.right = sum(row["opening"] + row["changed_tier"] + row["moved"] for row in tiers), closing
    for row in tiers:
        if row["opening"] + row["changed_tier"] + row["moved"] != row["closing"]:
            foots.differs(row)
    return foots


def _days(
    month: Month, moves: Sequence[Mapping[str, Any]], seals: Sequence[Mapping[str, Any]], members: Mapping[str, int]
) -> tuple[list[dict[str, Any]], list[Agreement]]:
    sealed = Agreement("roll-forward-days", "The balance and debt carried from day to day are the sealed ones")
    counted = Agreement("entries", "The entries of the month are those of its seals")
    by_day: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for move in moves:
        by_day[move["book_date"]].append(move)
        counted.left += move["entries"]
    rows, balance, debt = [], members["opening"], members["opening_debt"]
    for seal in seals:
        if seal["book_date"] < str(month.first):
            continue
        counted.right += seal["entries"]
        opening = balance
        balance += sum(move["moved"] for move in by_day[seal["book_date"]])
        debt += sum(move["owed"] for move in by_day[seal["book_date"]])
        kinds = {move["kind"]: move["points"] for move in by_day[seal["book_date"]]}
        row = {"date": seal["book_date"], "opening": opening, "kinds": kinds, "closing": balance, "debt": debt}
        rows.append(row)
        if (balance, debt) != (seal["outstanding"], seal["debt"]):
            sealed.differs({**row, "sealed": seal["outstanding"], "sealed_debt": seal["debt"]})
        sealed.left, sealed.right = balance, seal["outstanding"]
    return rows, [sealed, counted]


def _kinds(days: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    kinds: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in days:
        for place, key in enumerate(("entries", "points", "moved")):
            kinds[row["kind"]][place] += row[key]
    return [
        {"kind": kind, "entries": n, "points": points, "moved": moved}
        for kind, (n, points, moved) in sorted(kinds.items())
    ]


def _debt(days: Sequence[Mapping[str, Any]], members: Mapping[str, int]) -> dict[str, int]:
    owed, repaid = (sum(row["points"] for row in days if row["kind"] == kind) for kind in ("owe", "repay"))
    return {"opening": members["opening_debt"], "owed": owed, "repaid": repaid, "closing": members["closing_debt"]}


def _redemption_rate(days: Sequence[Mapping[str, Any]], cohorts: Sequence[Cohort]) -> dict[str, Any]:
    signs = {"earn": ("earned", 1), "spend": ("spent", 1), "spend_reversal": ("spent", -1)}
    sums = {"earned": 0, "spent": 0}
    for row in days:
        if row["kind"] in signs:
            name, sign = signs[row["kind"]]
            sums[name] += sign * row["points"]
    used, issued = sum(cohort.used for cohort in cohorts), sum(cohort.net for cohort in cohorts)
    return sums | {"of_the_month": share(sums["spent"], sums["earned"]), "since_the_start": share(used, issued)}


def _open_points(lots: Sequence[Mapping[str, Any]], value: Decimal) -> dict[str, Any]:
    def sums(key: str) -> list[dict[str, Any]]:
        found: dict[str, int] = defaultdict(int)
        for row in lots:
            found[row[key] or "never"] += row["points"]
        return [
            {"month": month, "points": points, "value": format(points * value, "f")}
            for month, points in sorted(found.items())
        ]

    total = sum(row["points"] for row in lots)
    pending = sum(row["points"] for row in lots if row["is_pending"])
    return {"points": total, "pending": pending, "value": format(total * value, "f"), "by_month_opened": sums("opened"),
            "by_month_of_lapse": sums("lapses")}  # fmt: skip
