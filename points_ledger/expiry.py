"""Clearing lapsed points at the close of a business date: plan, then apply in small commits."""

import datetime as dt
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

from points_ledger.queries import statement
from points_ledger.slices import CHUNK, work_off


@dataclass(frozen=True)
class ExpiryPlan:
    """What the close of a day would take: members, lots, points."""

    members: int
    lots: int
    points: int

    def as_json(self) -> dict[str, Any]:
        """For the run's row."""
        return asdict(self)


def plan(connection: Connection, *, closed: dt.date) -> ExpiryPlan:
    """Count what is due at the close of ``closed``; reads due lots only."""
    row = connection.execute(
        text(
            "SELECT count(DISTINCT member_id) AS members, count(*) AS lots, coalesce(sum(remaining), 0)::bigint AS points"
            " FROM points.due_lots(:closed)"
        ),
        {"closed": closed},
    ).one()
    return ExpiryPlan(row.members, row.lots, row.points)


def apply(
    engine: Engine,
    *,
    closed: dt.date,
    run_id: int | None,
    chunk_size: int = CHUNK,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Expire every due lot: first the members nobody is using, then the others, waiting for each.

    Each chunk is one commit; killed anywhere, the next call does the rest.
    """
    for wait in (False, True):

        def expire_some(chunk: list[int], wait: bool = wait) -> None:
            with engine.begin() as connection:
                expire_chunk(connection, chunk, closed=closed, run_id=run_id, wait=wait)

        members = due_members(engine, closed=closed)
        work_off(engine, members, expire_some, size=chunk_size, progress=progress)


def due_members(engine: Engine, *, closed: dt.date) -> Sequence[int]:
    """The members with a due lot, in order; eight bytes each, however many."""
    with engine.connect() as connection:
        rows = connection.execution_options(stream_results=True, yield_per=10_000).execute(
            text("SELECT DISTINCT member_id FROM points.due_lots(:closed) ORDER BY member_id"),
            {"closed": closed},
        )
        return array("q", (row[0] for row in rows))


def expire_chunk(
    connection: Connection, members: Sequence[int], *, closed: dt.date, run_id: int | None, wait: bool
) -> int:
    """Expire the due lots of some members in the caller's transaction; return the lots. ``wait`` for busy wallets."""
    locked = connection.execute(
        text("SELECT points.lock_wallets(CAST(:members AS bigint []), :wait)"), {"members": list(members), "wait": wait}
    ).scalar_one()
    if not locked:
        return 0
    values = {"members": locked, "closed": closed, "run_id": run_id}
    return int(connection.execute(statement("expire_lots"), values).one().lots)
