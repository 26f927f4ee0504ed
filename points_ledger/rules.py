"""Pure arithmetic of the jobs: no I/O, standard library only. What entries cost stands in the statements."""

import statistics
from collections.abc import Sequence
from decimal import Decimal

COMPARABLE_NIGHTS = 8
FEWEST_COMPARABLE_NIGHTS = 4  # a median of fewer says nothing


def guard_reason(
    points: int,
    outstanding: int,
    recent: Sequence[int],
    *,
    max_share: Decimal | None,
    max_times_median: Decimal | None,
) -> str | None:
    """Why a plan that takes ``points`` must wait for a person, or None (design 2.5).

    ``recent`` holds the points taken by earlier comparable nights, newest first: nights that took any. A limit that
    is None is off; the median needs at least four nights.
    """
    if points and max_share is not None and points > max_share * outstanding:
        return f"it would take {points:,} of {outstanding:,} outstanding points, more than the limit of {max_share:.1%}"
    comparable = list(recent)[:COMPARABLE_NIGHTS]
    if points and max_times_median is not None and len(comparable) >= FEWEST_COMPARABLE_NIGHTS:
        median = Decimal(statistics.median(comparable))
        if points > max_times_median * median:
            return (
                f"it would take {points:,} points, more than {max_times_median} x {median:,}, "
                f"the median of the last {len(comparable)} comparable nights"
            )
    return None
