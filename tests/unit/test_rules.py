"""The guard of design 2.5: a night that takes more than usual, or too large a share, waits for a person."""

from decimal import Decimal

import pytest

from points_ledger.rules import guard_reason

SHARE = {"max_share": Decimal("0.05"), "max_times_median": None}
MEDIAN = {"max_share": None, "max_times_median": Decimal(3)}
OFF = {"max_share": None, "max_times_median": None}


@pytest.mark.parametrize(
    ("points", "outstanding", "waits"),
    [(5, 100, False), (6, 100, True), (50, 1000, False), (51, 1000, True), (1, 0, True), (1, 20, False), (1, 19, True)],
)
def test_more_than_the_share_of_what_is_outstanding_waits(points, outstanding, waits):
    assert (guard_reason(points, outstanding, [], **SHARE) is not None) == waits


@pytest.mark.parametrize(
    ("points", "recent", "waits"),
    [
        (30, [10] * 8, False),
        (31, [10] * 8, True),
        (31, [10] * 4, True),
        (31, [10] * 3, False),  # a median of fewer than four nights says nothing
        (10**9, [], False),
        (75, [10, 20, 30, 40], False),  # the median of an even number is between the two: 25
        (76, [10, 20, 30, 40], True),
        (46, [10] * 4 + [20] * 4 + [1000] * 20, True),  # the eight newest count: 15, not 20
        (45, [10] * 4 + [20] * 4 + [1] * 20, False),  # 15, not 10
        (31, [10, 1000, 10, 10, 1000, 10, 1, 10], True),  # one large night does not make the next one usual
    ],
)
def test_more_than_three_times_the_median_of_the_last_eight_comparable_nights_waits(points, recent, waits):
    assert (guard_reason(points, 10**12, recent, **MEDIAN) is not None) == waits


def test_a_median_between_two_nights_is_exact():
    limits = {"max_share": None, "max_times_median": Decimal("1.1")}
    assert guard_reason(16, 10**6, [10, 19, 10, 19], **limits) is not None  # 14.5 x 1.1 = 15.95
    assert guard_reason(15, 10**6, [10, 19, 10, 19], **limits) is None


def test_a_night_that_takes_nothing_never_waits():
    assert guard_reason(0, 0, [1] * 8, max_share=Decimal(0), max_times_median=Decimal("0.1")) is None


def test_limits_that_are_off_never_stop_a_night():
    assert guard_reason(10**12, 1, [1] * 8, **OFF) is None


def test_either_limit_is_enough_and_the_reason_names_the_figures():
    both = {"max_share": Decimal("0.05"), "max_times_median": Decimal(3)}
    assert guard_reason(1200, 10_000, [], **both) == (
        "it would take 1,200 of 10,000 outstanding points, more than the limit of 5.0%"
    )
    assert guard_reason(400, 10_000, [100] * 8, **both) == (
        "it would take 400 points, more than 3 x 100, the median of the last 8 comparable nights"
    )
    assert guard_reason(300, 10_000, [100] * 8, **both) is None
