"""Posting what the feeds brought: purchases, activities, returns, cancellations, redemptions of a date, in that order.

Members are posted in chunks, each one transaction that locks its wallets in member_id order; within a member the
order of design 7 holds. A killed run goes on where it stopped: what is posted no longer waits.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from sqlalchemy import Connection, Engine, text

from points_ledger import check_findings, notices
from points_ledger.queries import statement
from points_ledger.slices import array_of, work_off

# most nights have none, and planning a statement for nothing costs more than looking
ACTIVITIES_WAIT = text(
    "SELECT EXISTS (SELECT FROM points.activity WHERE state = 'waiting' AND effective_on <= :through)"
)


@dataclass(frozen=True)
class Posted:
    """Events posted by one call. Counts, for progress; the figures of a run are counted from the ledger."""

    orders: int = 0
    activities: int = 0
    returns: int = 0
    cancellations: int = 0
    redemptions: int = 0

    def __add__(self, other: "Posted") -> "Posted":
        """Both together."""
        return Posted(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def post(
    engine: Engine,
    *,
    through: dt.date,
    run_id: int | None,
    final: bool,
    progress: Callable[[int, int], None] | None = None,
) -> Posted:
    """Post every waiting event of a day up to ``through``, which must be the open business date.

    With ``final`` (the day is being closed) what cannot be posted becomes a finding; without, it waits. Returns wait while
    a stop finding of a check is open.
    """
    with engine.begin() as connection:
        take_back = not check_findings.stopping(connection, day=through)
        connection.execute(text("SELECT points.open_day(:day)"), {"day": through})
        connection.execute(text("SELECT points.open_wallets(:through)"), {"through": through})
        members = connection.execute(statement("members_to_post"), {"through": through}).scalars().all()
        told = bool(members) and notices.tells(connection, through, "redemption_confirmed", "redemption_cancelled")

    def post_some(chunk: list[int]) -> Posted:
        with engine.begin() as connection:
            return post_chunk(
                connection, chunk, through=through, run_id=run_id, final=final, take_back=take_back, told=told
            )

    total = sum(work_off(engine, members, post_some, progress=progress), Posted())
    if final:
        with engine.begin() as connection:
            connection.execute(text("SELECT points.refuse_leftovers(:through)"), {"through": through})
            connection.execute(statement("refuse_activities"), {"through": through})
    return total


def post_chunk(
    connection: Connection,
    members: Sequence[int],
    *,
    through: dt.date,
    run_id: int | None,
    final: bool,
    take_back: bool = True,
    told: bool = True,
) -> Posted:
    """Post the waiting events of some members, in the caller's transaction; without ``take_back`` returns wait.

    Not ``told``: the caller knows that the version sends no notice of it.
    """
    values = {"members": array_of(members), "through": through, "run_id": run_id, "final": final}
    connection.execute(text("SELECT points.lock_wallets(CAST(:members AS bigint []), true)"), values)
    orders = connection.execute(statement("earn_orders"), values).one().orders
    activities = (
        connection.execute(statement("earn_activities"), values).scalar_one()
        if connection.execute(ACTIVITIES_WAIT, values).scalar_one()
        else 0
    )
    returns = 0
    if take_back:
        returns = _call(connection, "post_returns(CAST(:members AS bigint []), :through, :run_id, :final)", values)
    cancelled = _call(connection, "post_cancellations(CAST(:members AS bigint []), :through, :run_id)", values)
    redeemed = _call(connection, "post_redemptions(CAST(:members AS bigint []), :through, :run_id, :final)", values)
    # a redemption cancelled on its own day is posted first, then returned
    cancelled += _call(connection, "post_cancellations(CAST(:members AS bigint []), :through, :run_id)", values)
    if told and (redeemed or cancelled):
        notices.tell_redemptions(connection, members, through=through)
    return Posted(orders, activities, returns, cancelled, redeemed)


def _call(connection: Connection, function: str, values: dict[str, object]) -> int:
    return int(connection.execute(text(f"SELECT points.{function}"), values).scalar_one())
