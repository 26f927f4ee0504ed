"""Days of a month that stand out: far more points than usual, or none where there usually are some. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from statistics import median
from typing import Any, Final

TIMES: Final = 3  # the median of the month's other days
LEAST: Final = Decimal("0.01")  # of the opening balance: less moves nothing
WATCHED: Final = ("earn", "spend", "expire", "claw_back", "adjust_up", "adjust_down", "transfer_out")


def unusual_days(days: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Days, by date and kind, of which a watched kind moved more than three times the median of the month's other days.

    A day without any is held against the same weekday: a shop that is shut on Saturdays is not unusual on one.
    ``days``: ``{"date": ..., "opening": points, "kinds": {kind: points}}``.
    """
    found = []
    for kind in WATCHED:
        points = {day["date"]: day["kinds"].get(kind, 0) for day in days}
        for day in days:
            date, moved = day["date"], points[day["date"]]
            others = [points[other] for other in points if other != date]
            alike = [points[other] for other in points if other != date and _weekday(other) == _weekday(date)]
            usual = median((others if moved else alike) or [0])
            if usual and ((moved > TIMES * usual and moved > day["opening"] * LEAST) or not moved):
                found.append({"date": date, "kind": kind, "points": moved, "usual": str(usual)})
    return sorted(found, key=lambda row: (row["date"], row["kind"]))


def _weekday(date: str) -> int:
    return dt.date.fromisoformat(date).weekday()
