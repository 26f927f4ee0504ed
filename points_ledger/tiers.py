"""Tiers at the close of a business date: who rises, who stays, who falls one step, each with its reason.

Looks at the members whose metric moved that day and at those whose validity and grace run out, never at all members.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, Engine, text

from points_ledger import notices
from points_ledger.queries import statement
from points_ledger.slices import array_of, work_off


@dataclass(frozen=True)
class TierReview:
    """Decisions of one review. Counts, for progress; the figures of a run are counted from the ledger."""

    upgrades: int = 0
    renewals: int = 0
    downgrades: int = 0


def has_tiers(connection: Connection, *, day: dt.date) -> bool:
    """Whether the version in force on a day has tiers at all."""
    return bool(
        connection.execute(
            text("SELECT EXISTS (SELECT FROM points.policy_tier WHERE version = points.version_on(:day))"), {"day": day}
        ).scalar_one()
    )


def members_to_review(connection: Connection, *, day: dt.date) -> Sequence[int]:
    """Members with an entry that moves the metric booked on the day, or with a review due by it; in order."""
    return connection.execute(statement("members_to_review"), {"day": day}).scalars().all()


def review(
    engine: Engine,
    *,
    day: dt.date,
    run_id: int | None,
    lower: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> TierReview:
    """Decide the tiers that members hold from the next day on; safe to repeat.

    Without ``lower`` nobody falls, and what is due for a review waits for the next one.

    Lowering comes first: a member who falls and has meanwhile earned a higher tier rises again the same night.
    """
    with engine.begin() as connection:
        members = members_to_review(connection, day=day) if has_tiers(connection, day=day) else ()
        told = bool(members) and notices.tells(connection, day, "tier_upgraded", "tier_downgraded")

    def review_some(chunk: list[int]) -> TierReview:
        values = {"members": array_of(chunk), "day": day, "run_id": run_id}
        with engine.begin() as connection:
            connection.execute(text("SELECT points.lock_wallets(CAST(:members AS bigint []), true)"), values)
            renewals = downgrades = 0
            if lower:
                due = connection.execute(statement("review_due_tiers"), values).one()
                renewals, downgrades = due.renewals, due.downgrades
            upgrades = connection.execute(statement("upgrade_tiers"), values).scalar_one()
            if told and (upgrades or downgrades):
                notices.tell_tiers(connection, chunk, day=day)
        return TierReview(upgrades, renewals, downgrades)

    reviews = work_off(engine, members, review_some, progress=progress)
    return TierReview(*(sum(getattr(r, f.name) for r in reviews) for f in fields(TierReview)))


def at_risk(connection: Connection, *, day: dt.date, within_days: int) -> list[dict[str, Any]]:
    """Who will fall within so many days unless they earn more, and how much keeps them. Soonest first."""
    rows = connection.execute(statement("tiers_at_risk"), {"day": day, "within_days": within_days})
    return [dict(row._mapping) for row in rows]


def holders(connection: Connection, *, through: dt.date) -> dict[str, int]:
    """Members with at least one entry booked by a day, by the tier they hold the day after it."""
    rows = connection.execute(statement("tier_holders"), {"through": through}).tuples()
    return dict(rows.all())
