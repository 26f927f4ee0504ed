"""The sheets of a month's workbook, as data: which rows of the report, in which columns, which of them are formulas."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Report = Mapping[str, Any]
POINTS: Final = "points"
MONEY: Final = "money"
SHARE: Final = "share"


@dataclass(frozen=True)
class Column:
    """A column of a sheet. ``form``: of figures. ``formula``: of its row, the other columns in braces by their keys."""

    key: str
    title: str
    form: str = ""
    is_totalled: bool = False
    formula: str = ""
    width: int = 14


@dataclass(frozen=True)
class Sheet:
    """A sheet: its name, and its rows out of a report."""

    name: str
    columns: tuple[Column, ...]
    rows: Callable[[Report], Sequence[Mapping[str, Any]]]


def _points(*named: str, is_totalled: bool = True) -> tuple[Column, ...]:
    return tuple(Column(name, name.replace("_", " "), POINTS, is_totalled) for name in named)


def _roll_forward(report: Report) -> list[dict[str, Any]]:
    roll = report["roll_forward"]
    opening = {"kind": "opening balance", "entries": None, "points": None, "moved": roll["opening"]}
    return [opening, *roll["kinds"]]


def _days(report: Report) -> list[dict[str, Any]]:
    rows = []
    for day in report["roll_forward"]["days"]:
        kinds = ", ".join(f"{kind} {points}" for kind, points in day["kinds"].items())
        rows.append({**day, "kinds": kinds, "moved": day["closing"] - day["opening"]})
    return rows


def _figures(report: Report) -> list[dict[str, Any]]:
    members, debt, orders, returns, lots, liability = (
        report[key] for key in ("members", "debt", "orders", "returns", "open_points", "liability")
    )
    named = {
        "closing balance, points": report["roll_forward"]["closing"],
        **{f"debt: {key}": debt[key] for key in ("opening", "owed", "repaid", "closing")},
        **{f"members: {key}": members[key] for key in ("members", "new", "with_points", "active")},
        **{f"orders: {key}": value for key, value in orders.items()},
        **{f"returns: {key}": value for key, value in returns.items()},
        "open points": lots["points"],
        "open points: pending": lots["pending"],
        **{f"expected use: {key}": liability["expected_use"][key] for key in ("low", "base", "high")},
        "expected breakage": liability["expected_breakage"],
        "without evidence": liability["without_evidence"],
    }
    money = {
        f"liability, {report['currency']}": liability["liability"],
        f"liability before, {report['currency']}": liability["opening_liability"],
        f"all open points, {report['currency']}": liability["gross"],
    }
    proof = {
        "report.json, checkpoint": report["checkpoint"],
        "programme": report["programme"],
        "month": report["month"],
    }
    return [
        *({"what": what, "value": value, "money": None, "text": None} for what, value in named.items()),
        *({"what": what, "value": None, "money": value, "text": None} for what, value in money.items()),
        *({"what": what, "value": None, "money": None, "text": value} for what, value in proof.items()),
    ]


SHEETS: Final = (
    Sheet(
        "Checks",
        (Column("id", "check", width=24), Column("title", "what must agree", width=70), *_points("left", "right", is_totalled=False),
         Column("difference", "difference", POINTS, formula="{left}-{right}"), *_points("offending", "deviations")),
        lambda report: report["checks"],
    ),
    Sheet(
        "Figures",
        (Column("what", "figure", width=36), Column("value", "points or number", POINTS), Column("money", "money", MONEY),
         Column("text", "text", width=70)),
        _figures,
    ),
    Sheet(
        "Roll-forward",
        (Column("kind", "kind", width=20), *_points("entries", "points", is_totalled=False), *_points("moved")),
        _roll_forward,
    ),
    Sheet(
        "Days",
        (Column("date", "day"), *_points("opening", is_totalled=False),
         Column("moved", "moved", POINTS, is_totalled=True, formula="{closing}-{opening}"),
         *_points("closing", "debt", is_totalled=False), Column("kinds", "by kind", width=70)),
        _days,
    ),
    Sheet(
        "Tiers",
        (Column("tier", "tier"), *_points("members", "opening", "changed_tier", "moved"),
         Column("closing", "closing", POINTS, is_totalled=True, formula="{opening}+{changed_tier}+{moved}")),
        lambda report: report["roll_forward"]["tiers"],
    ),
    Sheet(
        "Cohorts",
        (Column("opened", "opened in"), *_points("issued", "used", "lapsed", "returned", "moved"),
         Column("open", "open", POINTS, is_totalled=True, formula="{issued}-{used}-{lapsed}-{returned}-{moved}"),
         *_points("expected_use", "expected_breakage", is_totalled=False), Column("share_used_in_all", "used in all", SHARE),
         Column("liability", "liability", MONEY, is_totalled=True)),
        lambda report: report["liability"]["cohorts"],
    ),
    Sheet(
        "Journal",
        (Column("account", "account", width=44), Column("debit", "debit", MONEY, is_totalled=True),
         Column("credit", "credit", MONEY, is_totalled=True), Column("text", "text", width=60)),
        lambda report: report["liability"]["journal"],
    ),
    Sheet(
        "Open points",
        (Column("month", "month of the last day"), *_points("points"), Column("value", "worth", MONEY, is_totalled=True)),
        lambda report: report["open_points"]["by_month_of_lapse"],
    ),
    Sheet(
        "Rewards",
        (Column("reward", "reward", width=36), *_points("redemptions", "points")),
        lambda report: [{**row, "reward": row["reward"] or "not named"} for row in report["rewards"]],
    ),
    Sheet(
        "Products",
        (Column("sku", "product", width=36), *_points("lines"), Column("quantity", "quantity", MONEY),
         Column("amount", "amount", MONEY, is_totalled=True), Column("points", "points, exact", MONEY, is_totalled=True)),
        lambda report: report["products"],
    ),
    Sheet(
        "Adjustments",
        (Column("book_date", "day"), Column("member_no", "member"), Column("kind", "kind"), *_points("points"),
         Column("approval_id", "approval"), Column("proposed_by", "proposed by", width=20),
         Column("approved_by", "approved by", width=20), Column("reason", "why", width=60)),
        lambda report: report["adjustments"],
    ),
    Sheet(
        "Seals",
        (Column("book_date", "day"), *_points("entries"), *_points("outstanding", "debt", is_totalled=False),
         Column("checkpoint", "checkpoint", width=68)),
        lambda report: report["seals"],
    ),
)  # fmt: skip
