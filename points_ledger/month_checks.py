"""What must agree in a closed month: each check has a left and a right side, and every row on which they differ.

Differences are values: a report with deviations is made all the same, and says so in its first line.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection

from points_ledger.queries import statement

SHOWN: Final = 50  # rows of one check that the report shows; counted are all
Keep = Callable[[str, Mapping[str, Any]], None]

INVARIANTS: Final = {
    "I1": "The wallets are the sums of their entries, numbered without gaps",
    "I2": "The lots are what their entries say",
    "I3": "The lots of a member add up to the balance",
    "I4": "Running balances, debts and rests chain from entry to entry",
    "I5": "The postings of every book date balance across accounts",
    "I6": "No spend took a lapsed or pending lot, no expiry a live one",
    "I7": "Nothing due was left behind a close",
    "I8": "Each key maps to one whole journal, each journal has its key",
    "I9": "Nothing was recorded after its day closed",
    "I10": "Every day is closed, and its seal is what its entries give again",
    "I11": "Nothing is negative",
    "I12": "The book dates of a member never go back",
    "I13": "A lot expired at most once",
    "I14": "A debt is what was owed less what was repaid",
    "repayment": "What an order earns repays what is owed, at once",
}


@dataclass
class Agreement:
    """One thing that must agree. Points or counts; ``rows``: the first rows that differ, in words or as a mapping."""

    id: str
    title: str
    left: int = 0
    right: int = 0
    offending: int = 0
    rows: list[Any] = field(default_factory=list)

    def differs(self, row: Any) -> None:
        """One more row on which the two sides differ."""
        self.offending += 1
        if len(self.rows) < SHOWN:
            self.rows.append(row)

    @property
    def deviations(self) -> int:
        """Rows that differ; one when only the sums do."""
        return max(self.offending, int(self.left != self.right))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "difference": self.left - self.right, "deviations": self.deviations}


def stream(connection: Connection, name: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a statement as plain values, without holding all of them."""
    rows = connection.execute(statement(name), values, execution_options={"yield_per": 5000})
    for row in rows.mappings():
        yield {key: plain(value) for key, value in row.items()}


def plain(value: Any) -> Any:
    """Integers and text as they are; dates, decimals and identifiers as text."""
    if isinstance(value, Decimal):
        return format(value, "f")
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def invariants(connection: Connection, through: dt.date, seals: list[dict[str, Any]]) -> list[Agreement]:
    """I1-I14 as of a day, and that what was owed was repaid; left: rows that break it, right: none."""
    found = {name: Agreement(name, title) for name, title in INVARIANTS.items()}
    for row in stream(connection, "month_invariants", {"through": through}):
        broken = found[row["invariant"]]
        broken.differs(row["difference"])
        broken.offending = broken.left = row["n"]
    for seal in seals:
        if not seal["is_whole"]:
            found["I10"].differs(f"{seal['book_date']}: not closed, or not what its entries give")
            found["I10"].left += 1
    return list(found.values())


def orders(connection: Connection, values: Mapping[str, Any], keep: Keep) -> tuple[list[Agreement], dict[str, Any]]:
    """Every order of the month's nights computed again, against the ledger; and the ledger against the orders."""
    agreed = Agreement(
        "orders-in-ledger", "Every order, computed again from its lines and rules, is booked with its points"
    )
    backed = Agreement("ledger-in-orders", "Every earning booked in the month has its order")
    judged = Agreement("orders-judged", "What was recorded of an order is what its lines and rules give")
    month = (str(values["first"]), str(values["through"]))
    figures = dict.fromkeys(("orders", "recomputed", "booked_earlier_nights", "booked_later", "in_ledger"), 0)
    for row in stream(connection, "month_orders", values):
        keep("orders", row)
        booked_here = row["book_date"] is not None and month[0] <= row["book_date"] <= month[1]
        if booked_here:
            figures["in_ledger"] += row["booked"]
        if row["night"] is None:
            backed.differs(row)
            backed.left += row["booked"]
            continue
        if month[0] <= row["night"] <= month[1]:
            figures["orders"] += 1
            figures["recomputed"] += row["recomputed"]
            if not booked_here and row["booked"]:
                figures["booked_later"] += row["booked"]
        elif booked_here:
            figures["booked_earlier_nights"] += row["recomputed"]
        agreed.left, agreed.right = agreed.left + row["recomputed"], agreed.right + row["booked"]
        judged.left, judged.right = judged.left + row["recomputed"], judged.right + (row["judged"] or 0)
        if row["recomputed"] != row["booked"]:
            agreed.differs(row)
        if row["recomputed"] != row["judged"]:
            judged.differs(row)
    return [agreed, backed, judged], figures


def returns(connection: Connection, values: Mapping[str, Any], keep: Keep) -> tuple[list[Agreement], dict[str, Any]]:
    """Returns of the month's nights: quantities, points booked, and points computed again from what came back."""
    booked = Agreement("returns-in-ledger", "Every return is booked with the points it took back")
    matched = Agreement("returns-matched", "What came back stands against purchase lines, or was found to match none")
    again = Agreement("returns-recomputed", "Points taken back of an order follow from what came back")
    for row in stream(connection, "month_returns", values):
        keep("returns", row)
        booked.left, booked.right = booked.left + row["said"], booked.right + row["booked"]
        matched.right += 1
        matched.left += row["is_matched"]
        if row["said"] != row["booked"]:
            booked.differs(row)
        if not row["is_matched"]:
            matched.differs(row)
    at_most = 0
    for row in stream(connection, "month_returned_orders", values):
        keep("returned_orders", row)
        within = row["taken"] < row["expected"] and not row["is_exact"]  # a policy that forgives takes less
        at_most += within
        expected = row["taken"] if within else row["expected"]
        again.left, again.right = again.left + expected, again.right + row["taken"]
        if row["taken"] != expected:
            again.differs(row)
    figures = {"returns": matched.right, "points": booked.right, "orders_that_forgave": at_most}
    return [booked, matched, again], figures


def redemptions(connection: Connection, values: Mapping[str, Any], keep: Keep) -> Agreement:
    """Redemptions of the feed against spends, in both directions."""
    agreed = Agreement(
        "redemptions-in-ledger", "Every redemption is booked with its points, every spend has its redemption"
    )
    for row in stream(connection, "month_redemptions", values):
        keep("redemptions", row)
        agreed.left, agreed.right = agreed.left + row["said"], agreed.right + row["booked"]
        if row["said"] != row["booked"] or row["night"] is None:
            agreed.differs(row)
    return agreed


def adjustments(
    connection: Connection, values: Mapping[str, Any], keep: Keep
) -> tuple[Agreement, list[dict[str, Any]]]:
    """What was posted by power, each with the approval of a second person."""
    agreed = Agreement("adjustments-approved", "What needs two people had them, and was posted as approved")
    rows = list(stream(connection, "month_adjustments", values))
    for row in rows:
        keep("adjustments", row)
        agreed.right += 1
        agreed.left += row["stands"]
        if not row["stands"]:
            agreed.differs(row)
    return agreed, rows
