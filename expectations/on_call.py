"""The page for whoever is on call: what is open, since when, how many rows, and the trend of the last business dates.

One HTML file that needs no other: no script, no font, no address. Made from the checks' own books.
"""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from expectations import pages
from expectations.catalogue import CATALOGUE, Check
from points_ledger.check_findings import CheckFinding, Incident, Trend

DAYS: Final = 30
SHOWN: Final = 200  # findings on the page
FULL: Final = 24  # height of the highest bar


@dataclass(frozen=True)
class Bar:
    """One date of a check: the mark that colours it, its height, and what it says."""

    mark: str
    height: int
    said: str


@dataclass(frozen=True)
class Row:
    """A check's line of the trend."""

    check: Check
    bars: list[Bar]

    @property
    def _last(self) -> Bar:
        return next((bar for bar in reversed(self.bars) if bar.mark != "none"), Bar("soft", 0, "not run"))

    @property
    def mark(self) -> str:
        """How the newest answer is coloured."""
        return self._last.mark

    @property
    def last(self) -> str:
        """The newest answer."""
        return self._last.said

    @property
    def said(self) -> str:
        """The trend in words, for whoever cannot see it."""
        bad = [bar.said for bar in self.bars if bar.mark not in ("pass", "none")]
        return "; ".join(bad) or "nothing found"


def render(
    day: dt.date,
    incidents: Sequence[Incident],
    findings: Sequence[CheckFinding],
    stopping: Mapping[str, int],
    trend: Sequence[Trend],
) -> str:
    """The page as of a business date; ``trend`` of the ``DAYS`` dates that end with it."""
    days = [day - dt.timedelta(days=n) for n in reversed(range(DAYS))]
    answers = {(answer.check_id, answer.as_of): answer for answer in trend}
    return pages.template("on_call.html").render(
        day=day,
        checks=CATALOGUE,
        titles={check.id: check.title for check in CATALOGUE},
        incidents=incidents,
        findings=findings[:SHOWN],
        more=len(findings) - SHOWN if len(findings) > SHOWN else 0,
        stopping=list(stopping),
        days=days,
        trends=[Row(check, [_bar(check, d, answers.get((check.id, d))) for d in days]) for check in CATALOGUE],
    )


def _bar(check: Check, day: dt.date, answer: Trend | None) -> Bar:
    if answer is None:
        return Bar("none", 2, f"{day}: not run")
    if answer.outcome == "error":
        return Bar("error", FULL, f"{day}: could not run")
    if answer.outcome == "pass":
        return Bar("pass", 4, f"{day}: clean")
    rows = f"{answer.offending:,} row{'s' * (answer.offending != 1)}"
    return Bar(check.severity, min(FULL, 8 + round(4 * math.log10(answer.offending))), f"{day}: {rows}")
