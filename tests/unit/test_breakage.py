"""The estimate of breakage: published figures, triangles small enough to do by hand, and money that is rounded once."""

from decimal import Decimal
from fractions import Fraction

import pytest

from points_ledger import breakage
from points_ledger.breakage import Moved
from points_ledger.month_liability import liability


def test_points_are_recognised_as_in_example_52_of_ifrs_15():
    deferred = Fraction(100_000 * 9_500, 100_000 + 9_500)  # of a price of 100,000, by stand-alone selling prices
    first = breakage.recognised(deferred, used=4_500, expected=9_500)
    second = breakage.recognised(deferred, used=8_500, expected=9_700)

    assert [breakage.points(f) for f in (deferred, first, second - first)] == [8_676, 4_110, 3_493]
    assert breakage.points(deferred) - 4_110 - 3_493 == 1_073


@pytest.mark.parametrize(("estimate", "third_year"), [(9_900, 3_552), (9_200, 4_140)])
def test_the_estimate_changes_as_in_kpmgs_examples_10a_and_10b(estimate, third_year):
    second = breakage.recognised(Fraction(9_000), used=4_500, expected=9_700)
    both = breakage.recognised(Fraction(9_000), used=8_500, expected=estimate)

    assert (breakage.points(second), breakage.points(both) - breakage.points(second)) == (4_175, third_year)


def test_nothing_expected_and_more_used_than_expected_recognise_nothing_and_all():
    assert breakage.recognised(Fraction(100), used=0, expected=0) == 0
    assert breakage.recognised(Fraction(100), used=12, expected=10) == 100


# January's 1,000: 400 used in the first month, then of 600 open 300 used and 300 lapsed. February's 500: 200 used so far.
TRIANGLE = [
    Moved("2026-01", "2026-01", 1_000, 400, 0, 0, 0),
    Moved("2026-01", "2026-02", 0, 300, 300, 0, 0),
    Moved("2026-02", "2026-02", 500, 200, 0, 0, 0),
]


def test_open_points_do_what_those_of_older_cohorts_did_at_that_age():
    january, february = breakage.estimate(TRIANGLE, through="2026-02")

    assert (january.open, january.expected, january.breakage) == (0, 0, 0)
    assert (february.open, february.expected, february.breakage, february.without_evidence) == (300, 150, 150, 0)
    assert february.liability(Decimal("0.01")) == Fraction(150, 100)


def test_without_evidence_there_is_no_breakage():
    [january] = breakage.estimate(TRIANGLE, through="2026-01")

    assert (january.expected, january.breakage, january.without_evidence) == (600, 0, 600)


def test_a_month_in_which_nothing_moved_counts_as_seen():
    rows = [Moved("2026-01", "2026-01", 100, 0, 0, 0, 0), Moved("2026-01", "2026-03", 0, 50, 50, 0, 0),
            Moved("2026-03", "2026-03", 10, 0, 0, 0, 0)]  # fmt: skip

    march = breakage.estimate(rows, through="2026-03")[-1]

    assert (march.expected, march.breakage) == (5, 5)


def test_the_back_test_uses_only_what_was_known_then():
    rows = [*TRIANGLE, Moved("2026-02", "2026-03", 0, 30, 270, 0, 0)]

    first, second = breakage.back_test(rows, through="2026-03")

    assert first == {
        "as_of": "2026-01",
        "open": 600,
        "expected": 0,
        "used": 300,
        "difference": 300,
        "without_evidence": 600,
    }
    assert second == {
        "as_of": "2026-02",
        "open": 300,
        "expected": 150,
        "used": 30,
        "difference": -120,
        "without_evidence": 0,
    }


def test_the_range_shows_how_much_hangs_on_one_cohort():
    rows = [*TRIANGLE, Moved("2026-02", "2026-03", 0, 30, 270, 0, 0), Moved("2026-03", "2026-03", 100, 0, 0, 0, 0)]
    found = liability(rows, month="2026-03", before="2026-02", value=Decimal("0.01"), value_before=Decimal("0.01"))

    # of 900 points open in their second month 330 were used; without January 30 of 300, without February 300 of 600;
    # in February 150 were expected and 30 came
    assert found["expected_use"] == {"low": 7, "base": 37, "high": 50}


def test_the_range_covers_what_the_back_test_missed_and_never_more_than_is_open():
    rows = [*TRIANGLE, Moved("2026-02", "2026-03", 0, 300, 0, 0, 0), Moved("2026-03", "2026-03", 100, 0, 0, 0, 0)]
    found = liability(rows, month="2026-03", before="2026-02", value=Decimal("0.01"), value_before=Decimal("0.01"))

    # 150 were expected and 300 came: twice the base of 67 is more than the 100 that are open
    assert found["expected_use"] == {"low": 50, "base": 67, "high": 100}


def test_the_journal_takes_the_liability_from_month_end_to_month_end_and_balances():
    found = liability(TRIANGLE, month="2026-02", before="2026-01", value=Decimal("0.01"), value_before=Decimal("0.01"))
    lines = found["journal"]
    of_liability = [line for line in lines if line["account"].startswith("contract")]

    assert (found["opening_liability"], found["liability"]) == ("6.00", "1.50")
    assert sum(Decimal(line["debit"]) - Decimal(line["credit"]) for line in lines) == 0
    moved = sum(Decimal(line["credit"]) - Decimal(line["debit"]) for line in of_liability)
    assert Decimal(found["opening_liability"]) + moved == Decimal(found["liability"])
    assert [(line["debit"], line["credit"]) for line in of_liability] == [
        ("0.00", "3.50"),
        ("5.00", "0.00"),
        ("3.00", "0.00"),
    ]


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [
        (Fraction(1, 200), "0.01"),
        (Fraction(-1, 200), "-0.01"),
        (Fraction(1, 201), "0.00"),
        (Fraction(2, 3), "0.67"),
        (7, "7.00"),
    ],
)
def test_money_is_rounded_half_up(amount, rounded):
    assert str(breakage.money(Fraction(amount))) == rounded
