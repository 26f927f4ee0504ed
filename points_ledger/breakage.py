"""What the open points are worth as a liability: expected use and breakage from the programme's own cohorts. Pure.

IFRS 15 B44-B47 and ASC 606-10-55-46 to 49, the proportional method: revenue follows the points used as a share of the
points expected to be used in all. A cohort is the points of the lots opened in one month. What its open points will do is
read off older cohorts: the share of the points open in the n-th month that were used, lapsed or left otherwise in it. Open
points older than any cohort has been seen are counted as used: without evidence there is no breakage. Exact fractions;
money is rounded half up to 0.01 once for each cohort, so that the totals foot.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any, Final

CENT: Final = Decimal("0.01")


@dataclass(frozen=True)
class Moved:
    """What one month moved of the points of one cohort; months as ``YYYY-MM``."""

    opened: str
    month: str
    issued: int
    used: int
    lapsed: int
    returned: int
    moved: int


@dataclass(frozen=True)
class Cohort:
    """A cohort at a month's end. ``expected`` use of its open points, and ``breakage`` of them; points, exact."""

    opened: str
    issued: int
    used: int
    lapsed: int
    returned: int
    moved: int
    open: int
    expected: Fraction
    breakage: Fraction
    without_evidence: Fraction

    @property
    def use_in_all(self) -> Fraction:
        """Points used and expected to be used."""
        return self.used + self.expected

    @property
    def net(self) -> int:
        """Points issued that were not taken back or moved elsewhere."""
        return self.issued - self.returned - self.moved

    def liability(self, point_value: Decimal) -> Fraction:
        """What was deferred for the cohort, less what was recognised by now (proportional method)."""
        deferred = self.use_in_all * Fraction(point_value)
        return deferred - recognised(deferred, used=self.used, expected=self.use_in_all)


def recognised(deferred: Fraction, *, used: Fraction | int, expected: Fraction | int) -> Fraction:
    """What of a deferred amount is revenue by now: used points as a share of those expected to be used in all."""
    return deferred * min(Fraction(1), Fraction(used) / Fraction(expected)) if expected > 0 else Fraction(0)


def money(amount: Fraction) -> Decimal:
    """Rounded half up to 0.01."""
    return _rounded(amount, CENT)


def points(amount: Fraction) -> int:
    """Rounded half up to whole points."""
    return int(_rounded(amount, Decimal(1)))


def share(part: Fraction) -> Decimal:
    """Rounded half up to four places."""
    return _rounded(part, Decimal("0.0001"))


def estimate(rows: Sequence[Moved], *, through: str, without: str | None = None) -> list[Cohort]:
    """Every cohort at a month's end, by what was known then; ``without`` leaves one cohort out of the evidence."""
    known = [row for row in rows if row.month <= through]
    rates = _rates([row for row in known if row.opened != without], through)
    return [_cohort(opened, cohort, rates, through) for opened, cohort in _by_cohort(known).items()]


def estimates_without_one(rows: Sequence[Moved], *, through: str) -> list[list[Cohort]]:
    """The estimate with each cohort left out of the evidence in turn: how much hangs on a single one."""
    return [estimate(rows, through=through, without=opened) for opened in _by_cohort(rows)]


def back_test(rows: Sequence[Moved], *, through: str) -> list[dict[str, Any]]:
    """What earlier month ends would have expected of use until now, and what was used. Points."""
    tested = []
    for month in sorted({row.month for row in rows if row.month < through}):
        known = [row for row in rows if row.month <= month]
        rates, horizon = _rates(known, month), _age(month, through)
        expected = unseen = Fraction(0)
        still_open = 0
        for opened, cohort in _by_cohort(known).items():
            left = _open(cohort)
            still_open += left
            use, _, beyond = _forecast(left, _age(opened, month), rates, horizon)
            expected, unseen = expected + use, unseen + beyond
        actual = sum(row.used for row in rows if row.opened <= month < row.month <= through)
        tested.append(
            {
                "as_of": month,
                "open": still_open,
                "expected": points(expected),
                "used": actual,
                "difference": actual - points(expected),
                "without_evidence": points(unseen),
            }
        )
    return tested


def _cohort(opened: str, rows: Sequence[Moved], rates: Mapping[int, tuple[Fraction, ...]], through: str) -> Cohort:
    left = _open(rows)
    use, lapse, beyond = _forecast(left, _age(opened, through), rates, None)
    sums = {name: sum(getattr(row, name) for row in rows) for name in ("issued", "used", "lapsed", "returned", "moved")}
    return Cohort(opened, **sums, open=left, expected=use + beyond, breakage=lapse, without_evidence=beyond)


def _forecast(
    left: int, age: int, rates: Mapping[int, tuple[Fraction, ...]], months: int | None
) -> tuple[Fraction, Fraction, Fraction]:
    """Of open points: use, lapse, and what is open at an age that no cohort has been seen at; in so many months."""
    remaining, use, lapse = Fraction(left), Fraction(0), Fraction(0)
    while remaining > 0 and (months is None or months > 0):
        age += 1
        if age not in rates:
            return use, lapse, remaining
        used, lapsed, gone = rates[age]
        use, lapse = use + remaining * used, lapse + remaining * lapsed
        remaining *= 1 - used - lapsed - gone
        months = None if months is None else months - 1
    return use, lapse, Fraction(0)


def _rates(rows: Sequence[Moved], through: str) -> dict[int, tuple[Fraction, ...]]:
    """By age in months: shares of the points open in that month that were used, lapsed, and left otherwise in it."""
    seen: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for opened, cohort in _by_cohort(rows).items():
        by_month = {row.month: row for row in cohort}
        left, month = 0, opened
        while month <= through:
            row = by_month.get(month, Moved(opened, month, 0, 0, 0, 0, 0))
            there = left + row.issued
            gone = row.returned + row.moved
            for place, figure in enumerate((there, row.used, row.lapsed, gone)):
                seen[_age(opened, month)][place] += figure
            left = there - row.used - row.lapsed - gone
            month = _next(month)
    return {
        age: tuple(Fraction(figure, there) for figure in figures)
        for age, (there, *figures) in seen.items()
        if there > 0
    }


def _by_cohort(rows: Iterable[Moved]) -> dict[str, list[Moved]]:
    cohorts: dict[str, list[Moved]] = defaultdict(list)
    for row in rows:
        cohorts[row.opened].append(row)
    return dict(sorted(cohorts.items()))


def _open(rows: Iterable[Moved]) -> int:
    return sum(row.issued - row.used - row.lapsed - row.returned - row.moved for row in rows)


def _age(opened: str, month: str) -> int:
    return (int(month[:4]) - int(opened[:4])) * 12 + int(month[5:]) - int(opened[5:])


def _next(month: str) -> str:
    year, number = int(month[:4]), int(month[5:])
    return f"{year + number // 12:04}-{number % 12 + 1:02}"


def _rounded(amount: Fraction, unit: Decimal) -> Decimal:
    # a fraction has no exact decimal, so half a unit is added before the exact floor
    sign, size = (-1 if amount < 0 else 1), abs(amount) / Fraction(unit)
    return (sign * Decimal((2 * size.numerator + size.denominator) // (2 * size.denominator)) * unit).quantize(
        unit, ROUND_HALF_UP
    )
