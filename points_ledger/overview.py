"""Where the ledger stands: the last closed day, what waits, what failed; and what the next nights would do."""

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text

from points_ledger.expiry import CLEARED, classified
from points_ledger.policy import Policy, policy_on
from points_ledger.queries import statement

NONE: Final = {"lots": 0, "points": 0}


@dataclass(frozen=True)
class Standing:
    """What ``loyalty status`` shows of the ledger."""

    policy: Policy | None
    last_closed: dt.date | None
    outstanding: int
    debt: int
    waiting: list[dict[str, Any]]
    stopped: list[dict[str, Any]]
    findings: dict[str, int]
    screened: dict[str, int]
    blocked: int


def standing(connection: Connection, *, today: dt.date) -> Standing:
    """Read it; costs what is waiting and stopped, not what is stored."""
    sealed = connection.execute(
        text("SELECT outstanding, debt FROM points.seal ORDER BY book_date DESC LIMIT 1")
    ).one_or_none()
    stopped = connection.execute(
        text(
            "SELECT run_id, job, business_date, status, message, started_at, finished_at FROM points.run"
            " WHERE status <> 'done' ORDER BY business_date"
        )
    )
    findings = connection.execute(text("SELECT reason, count(*) FROM points.finding GROUP BY reason ORDER BY reason"))
    screened = connection.execute(
        text("SELECT screen, count(*) FROM points.open_screen_finding GROUP BY screen ORDER BY screen")
    )
    return Standing(
        policy_on(connection, today),
        connection.execute(text("SELECT points.last_closed()")).scalar_one(),
        sealed.outstanding if sealed else 0,
        sealed.debt if sealed else 0,
        waiting(connection),
        [dict(row._mapping) for row in stopped],
        dict(findings.tuples().all()),
        dict(screened.tuples().all()),
        connection.execute(statement("members_blocked")).scalar_one(),
    )


def waiting(connection: Connection) -> list[dict[str, Any]]:
    """Events not posted yet, by feed and day."""
    return [dict(row._mapping) for row in connection.execute(statement("waiting"))]


def preview(connection: Connection, dates: list[dt.date]) -> list[dict[str, Any]]:
    """What closing these dates would post, take and defer, from what is known now. ``deferred``: lots and points by why.

    Events of earlier dates in the list change what later ones take, so only the first date's plan is exact in its
    lots; the others are what lapses of the lots that are open today.
    """
    events: dict[dt.date, dict[str, int]] = {}
    for row in waiting(connection):
        day = max(row["effective_on"], dates[0]) if dates else row["effective_on"]
        counts = events.setdefault(day, {})
        counts[row["feed"]] = counts.get(row["feed"], 0) + row["events"]
    nights: list[dict[str, Any]] = []
    before: dict[str, dict[str, int]] = {}
    for date in dates:
        due = classified(connection, closed=date)  # of this date and of those before it
        added = {
            fate: {part: due.get(fate, NONE)[part] - before.get(fate, NONE)[part] for part in NONE}
            for fate in (*due, *(before.keys() - due.keys()))
        }
        lapsing = [added.get(fate, NONE) for fate in CLEARED]
        nights.append(
            {
                "business_date": date,
                **{
                    feed: events.get(date, {}).get(feed, 0)
                    for feed in ("orders", "activities", "returns", "cancellations", "redemptions")
                },
                "lots_lapsing": sum(counts["lots"] for counts in lapsing),
                "points_lapsing": sum(counts["points"] for counts in lapsing),
                "deferred": {why: counts for why, counts in added.items() if why not in CLEARED and counts["lots"] > 0},
            }
        )
        before = due
    return nights
