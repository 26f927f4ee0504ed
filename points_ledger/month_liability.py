"""The liability of a month's end and the journal that brings the books to it; the estimate itself is ``breakage``."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from points_ledger import breakage
from points_ledger.breakage import Cohort, Moved

# Accounts of the journal; a general ledger maps them to numbers of its own.
LIABILITY: Final = "contract liability: loyalty points"
DEFERRED: Final = "revenue: deferred for points granted"
REDEEMED: Final = "revenue: points used"
NOTHING: Final = Decimal("0.00")
TRUE_UP: Final = "revenue: change of estimate and breakage"


def liability(
    rows: Sequence[Moved], *, month: str, before: str, value: Decimal, value_before: Decimal
) -> dict[str, Any]:
    """The liability at the end of ``month``, its range, a back-test, and the journal from the end of ``before``.

    The range spans the estimates that leave out the evidence of one cohort, and the base as far off as the back-test was at
    its worst (of month ends that had evidence for all their open points).

    ``value``: money that one point is worth at the month's end, ``value_before``: at the end of the month before.
    """
    cohorts = breakage.estimate(rows, through=month)
    opening = _total(breakage.estimate(rows, through=before), value_before)
    closing = _total(cohorts, value)
    without = [
        sum((c.expected for c in found), Fraction(0)) for found in breakage.estimates_without_one(rows, through=month)
    ]
    base = sum((cohort.expected for cohort in cohorts), Fraction(0))
    still_open = sum(cohort.open for cohort in cohorts)
    tested = breakage.back_test(rows, through=month)
    missed = [
        base * Fraction(row["used"], row["expected"])
        for row in tested
        if row["expected"] and not row["without_evidence"]
    ]
    bounds = {
        "low": min([base, *without, *missed]),
        "base": base,
        "high": min(max([base, *without, *missed]), Fraction(still_open)),
    }
    return {
        "method": "proportional (IFRS 15 B44-B47, ASC 606-10-55-46), use and breakage from the programme's own cohorts",
        "gross": _text(breakage.money(still_open * Fraction(value))),
        "liability": _text(closing),
        "expected_use": {name: breakage.points(use) for name, use in bounds.items()},
        "expected_use_value": {name: _text(breakage.money(use * Fraction(value))) for name, use in bounds.items()},
        "expected_breakage": breakage.points(sum((cohort.breakage for cohort in cohorts), Fraction(0))),
        "without_evidence": breakage.points(sum((cohort.without_evidence for cohort in cohorts), Fraction(0))),
        "cohorts": [_cohort(cohort, value) for cohort in cohorts],
        "back_test": tested,
        "journal": _journal(rows, cohorts, month=month, value=value, opening=opening, closing=closing),
        "opening_liability": _text(opening),
    }


def _cohort(cohort: Cohort, value: Decimal) -> dict[str, Any]:
    rate = cohort.use_in_all / cohort.net if cohort.net else Fraction(0)
    return {
        "opened": cohort.opened,
        "issued": cohort.issued,
        "used": cohort.used,
        "lapsed": cohort.lapsed,
        "returned": cohort.returned,
        "moved": cohort.moved,
        "open": cohort.open,
        "expected_use": breakage.points(cohort.expected),
        "expected_breakage": breakage.points(cohort.breakage),
        "share_used_in_all": _text(breakage.share(rate)),
        "liability": _text(breakage.money(cohort.liability(value))),
    }


def _journal(
    rows: Sequence[Moved], cohorts: Sequence[Cohort], *, month: str, value: Decimal, opening: Decimal, closing: Decimal
) -> list[dict[str, str]]:
    deferred = released = NOTHING
    for cohort in cohorts:
        of_month = [row for row in rows if (row.opened, row.month) == (cohort.opened, month)]
        net = sum(row.issued - row.returned - row.moved for row in of_month)
        rate = cohort.use_in_all / cohort.net if cohort.net else Fraction(0)
        deferred += breakage.money(net * rate * Fraction(value))
        released += breakage.money(sum(row.used for row in of_month) * Fraction(value))
    change = closing - opening - deferred + released
    lines = []
    for account, amount, words in (
        (DEFERRED, deferred, "points granted, less returns, at the value of those expected to be used"),
        (REDEEMED, -released, "points used"),
        (TRUE_UP, change, "change of the estimate, and of the value of a point"),
    ):
        if amount:
            lines.append(_line(month, LIABILITY, -amount, words))
            lines.append(_line(month, account, amount, words))
    return lines


def _line(month: str, account: str, amount: Decimal, words: str) -> dict[str, str]:
    debit, credit = max(amount, NOTHING), max(-amount, NOTHING)
    return {"month": month, "account": account, "debit": _text(debit), "credit": _text(credit), "text": words}


def _total(cohorts: Sequence[Cohort], value: Decimal) -> Decimal:
    return sum((breakage.money(cohort.liability(value)) for cohort in cohorts), NOTHING)


def _text(amount: Decimal) -> str:
    return format(amount, "f")


def journal_row(line: Mapping[str, str], *, date: str, currency: str) -> dict[str, str]:
    """A line of the journal as a general ledger takes it: date, document, account, debit, credit, currency, text."""
    return {
        "date": date,
        "document": f"LOYALTY-{line['month']}",
        "account": line["account"],
        "debit": line["debit"],
        "credit": line["credit"],
        "currency": currency,
        "text": line["text"],
    }
