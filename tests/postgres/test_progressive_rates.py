"""Rates by what the member spent before: which orders count, in which window, on which side of a threshold."""

import datetime as dt
import io

import pytest
from rich.console import Console

from flows.commands.explanation import show
from points_ledger import events, explanation


def start(ledger, window, starts_on="2026-01-01", **sections):
    bands = [
        {"points_per_unit": "3", "spent_from": "200", "spent_window": window},
        {"points_per_unit": "2", "spent_from": "100", "spent_below": "200", "spent_window": window},
        {"points_per_unit": "1"},
    ]
    never = {"basis": "none", "months": None}
    ledger.start(
        earn={"rate": bands}, programme={"starts_on": dt.date.fromisoformat(starts_on)}, expiry=never, **sections
    )


def rates(ledger):
    """Points a unit of each order, by number."""
    return dict(
        ledger.rows(
            "SELECT order_no, exact_points / eligible_amount FROM points.order_earning WHERE eligible_amount > 0"
        )
    )


# window: orders (day and time, amount, points a unit that it must get), in the order of the file
CASES = {
    "a threshold exactly met is in, and the order that crosses it is not": (
        "lifetime", [("2026-01-01 10:00", "99.99", 1), ("2026-01-02 10:00", "0.01", 1), ("2026-01-03 10:00", "500", 2),
                     ("2026-01-04 10:00", "1", 3)],
    ),
    "exactly the end of a band is the next one": (
        "lifetime", [("2026-01-01 10:00", "200", 1), ("2026-01-02 10:00", "10", 3)],
    ),
    "orders of one night see each other, in the order of their time": (
        "lifetime", [("2026-01-01 12:00", "10", 3), ("2026-01-01 10:00", "100", 1), ("2026-01-01 11:00", "100", 2)],
    ),
    "at one time, in the order of their numbers": (
        "lifetime", [("2026-01-01 10:00", "100", 1), ("2026-01-01 10:00", "100", 2), ("2026-01-01 10:00", "10", 3)],
    ),
    "the year ends at local midnight, on UTC": (
        "calendar_year", [("2026-12-31 23:59:59", "100", 1), ("2026-12-31 23:59:59.5", "10", 2), ("2027-01-01 00:00", "10", 1)],
    ),
    "twelve months end with the day before": (
        "rolling_12_months", [("2026-06-15 10:00", "100", 1), ("2027-06-14 23:59", "1", 2), ("2027-06-15 00:00", "1", 1)],
    ),
    "29 February counts through 27 February a year later": (
        "rolling_12_months", [("2028-02-29 10:00", "100", 1), ("2029-02-27 10:00", "1", 2), ("2029-02-28 10:00", "1", 1)],
    ),
    "a year of membership": (
        "anniversary", [("2026-06-15 10:00", "100", 1), ("2027-06-14 10:00", "1", 2), ("2027-06-15 10:00", "1", 1)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_order_earns_by_what_was_spent_before_it(ledger, name):
    window, orders = CASES[name]
    start(ledger, window, starts_on=min(time for time, *_ in orders)[:10])
    ledger.orders(*(f"A{n},m1,{time},tea,1,{amount}" for n, (time, amount, _) in enumerate(orders)))
    last = dt.date.fromisoformat(max(time for time, *_ in orders)[:10])

    events.post(ledger.engine(), through=last, run_id=None, final=False)

    assert rates(ledger) == {f"A{n}": rate for n, (*_, rate) in enumerate(orders)}


def test_returns_of_earlier_days_count_less_at_the_price_that_was_paid_and_those_of_the_day_not_yet(ledger):
    start(ledger, "lifetime")
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,2,60",
        "A2,m1,2026-01-02 09:00,mug,1,10",
        "R1,m1,2026-01-02 10:00,tea,-1,1",  # the till wrote another price
    )
    events.post(ledger.engine(), through=dt.date(2026, 1, 2), run_id=None, final=False)
    ledger.orders(
        "A3,m1,2026-01-02 11:00,mug,1,10",
        "A4,m1,2026-01-03 10:00,mug,1,20",  # 120 + 20 - 60 before it
        "A5,m1,2026-01-03 11:00,mug,1,10",  # and with it 100
    )

    ledger.close("2026-01-03")

    assert rates(ledger) == {"A1": 1, "A2": 2, "A3": 2, "A4": 1, "A5": 2}


def test_a_return_of_a_purchase_before_the_window_takes_what_was_spent_to_zero_and_no_further(ledger):
    ledger.start(
        earn={
            "rate": [
                {"points_per_unit": "2", "spent_below": "100", "spent_window": "calendar_year"},
                {"points_per_unit": "1"},
            ]
        },
        programme={"starts_on": dt.date(2026, 12, 31)},
    )
    ledger.orders(
        "A1,m1,2026-12-31 10:00,tea,1,500", "R1,m1,2027-01-01 10:00,tea,-1,500", "A2,m1,2027-01-02 10:00,mug,1,100"
    )

    ledger.close("2027-01-02")

    assert rates(ledger) == {"A1": 2, "A2": 2}


def test_a_late_order_counts_what_came_before_it_and_changes_nothing_that_was_judged(ledger):
    start(ledger, "lifetime")
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,90", "A3,m1,2026-01-03 10:00,tea,1,10")
    ledger.close("2026-01-03")
    ledger.orders("A2,m1,2026-01-02 10:00,tea,1,10", "A4,m1,2026-01-04 10:00,tea,1,1", "B1,m2,2026-01-04 10:00,tea,1,1")

    ledger.close("2026-01-04")

    assert rates(ledger) == {"A1": 1, "A2": 1, "A3": 1, "A4": 2, "B1": 1}


def test_what_earns_nothing_is_spent_all_the_same_and_the_band_explains_itself(ledger):
    ledger.start(
        earn={
            "rate": [
                {
                    "points_per_unit": "2",
                    "exclude_skus": ["tea"],
                    "spent_from": "100",
                    "spent_below": "500",
                    "spent_window": "lifetime",
                },
                {"points_per_unit": "1", "exclude_skus": ["tea"]},
            ]
        }
    )
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-01 11:00,mug,1,10")

    ledger.close("2026-01-01")

    assert rates(ledger) == {"A2": 2}
    with ledger.engine().begin() as connection:
        story = explanation.explain(connection, "m1", as_of=None, today=dt.date(2026, 1, 2))
    console = Console(file=io.StringIO(), width=200)
    show(console, story)
    assert (
        "10.00 GBP at 2 a GBP (spent before, by lifetime: from 100 below 500) → 20 points, 1 line"
        in console.file.getvalue()
    )
