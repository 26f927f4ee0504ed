"""Clearing lapsed points at the close of a business date: plan, then apply in small commits.

No notice, no expiry (design 2.6): where the version of the day asks for it, a lot without proof of notice gets a later last
day instead (``migrations/sql/0006_expiry_gate.sql``). ``defer`` does that before the plan, so that plan and guard are about
what really lapses; ``expire_chunk`` does it again, under the wallets' locks, so that nothing comes between.
"""

import datetime as dt
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, TextClause, text

from points_ledger import notices
from points_ledger.queries import statement
from points_ledger.slices import CHUNK, array_of, work_off

CLEARED: Final = ("clear", "unannounced")  # the fates of due lots that lapse


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
    """Count what the close of ``closed`` clears; reads due lots only. Not those that would be deferred for want of notice."""
    name = "expiry_plan_gated" if _is_gated(connection, closed) else "expiry_plan"
    row = connection.execute(statement(name), {"closed": closed}).one()
    return ExpiryPlan(row.members, row.lots, row.points)


def classified(connection: Connection, *, closed: dt.date) -> dict[str, dict[str, int]]:
    """The due lots by what the close would do: ``clear``, ``unannounced``, or why it defers them; lots and points."""
    rows = connection.execute(statement("due_lots_by_fate"), {"closed": closed})
    return {row.fate: {"lots": row.lots, "points": row.points} for row in rows}


def defer(
    engine: Engine,
    *,
    closed: dt.date,
    run_id: int | None,
    chunk_size: int = CHUNK,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Move the last day of every due lot without proof of notice, where the version asks for it. As ``apply``."""
    with engine.begin() as connection:
        if not _is_gated(connection, closed):
            return

    def defer_some(connection: Connection, chunk: list[int], wait: bool) -> int:
        locked = _locked(connection, chunk, wait=wait)
        _defer_chunk(connection, locked, closed=closed, run_id=run_id)
        return len(locked)

    found = statement("members_to_defer")
    _in_two_passes(engine, lambda: _members(engine, found, closed), defer_some, size=chunk_size, progress=progress)


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
    with engine.begin() as connection:
        gated, told = _is_gated(connection, closed), notices.tells(connection, closed, "points_expired")

    def expire_some(connection: Connection, chunk: list[int], wait: bool) -> int:
        return expire_chunk(connection, chunk, closed=closed, run_id=run_id, wait=wait, gated=gated, told=told)

    _in_two_passes(engine, lambda: due_members(engine, closed=closed), expire_some, size=chunk_size, progress=progress)


def due_members(engine: Engine, *, closed: dt.date) -> Sequence[int]:
    """The members with a due lot, in order; eight bytes each, however many."""
    return _members(engine, text("SELECT DISTINCT member_id FROM points.due_lots(:closed) ORDER BY member_id"), closed)


def expire_chunk(
    connection: Connection,
    members: Sequence[int],
    *,
    closed: dt.date,
    run_id: int | None,
    wait: bool,
    gated: bool = True,
    told: bool = True,
) -> int:
    """Expire the due lots of some members in the caller's transaction; return how many were not busy, or ``wait`` for all.

    Not ``gated``, not ``told``: the caller knows that the version asks for no proof, or sends no notice of it.
    """
    locked = _locked(connection, members, wait=wait)
    if not locked:
        return 0
    if gated:
        _defer_chunk(connection, locked, closed=closed, run_id=run_id)
    # a bitmap would visit again what earlier nights cleared
    connection.execute(text("SET LOCAL enable_bitmapscan = off"))
    values = {"members": array_of(locked), "closed": closed, "run_id": run_id}
    if connection.execute(statement("expire_lots"), values).rowcount and told:
        notices.tell_expired(connection, locked, closed=closed, run_id=run_id)
    return len(locked)


def _in_two_passes(
    engine: Engine,
    due: Callable[[], Sequence[int]],
    work: Callable[[Connection, list[int], bool], int],
    *,
    size: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Work off who is due: first the members nobody is using, then who is left, waiting for each. A chunk is one commit.

    ``work`` returns how many of its members were not busy.
    """
    for wait in (False, True):
        members = due()

        def some(chunk: list[int], wait: bool = wait) -> int:
            with engine.begin() as connection:
                return work(connection, chunk, wait)

        if sum(work_off(engine, members, some, size=size, progress=progress)) == len(members):
            return


def _members(engine: Engine, found: TextClause, closed: dt.date) -> Sequence[int]:
    with engine.connect() as connection:
        rows = connection.execution_options(stream_results=True, yield_per=10_000).execute(found, {"closed": closed})
        return array("q", (row[0] for row in rows))


def _locked(connection: Connection, members: Sequence[int], *, wait: bool) -> list[int]:
    return (
        connection.execute(
            text("SELECT points.lock_wallets(CAST(:members AS bigint []), :wait)"),
            {"members": array_of(members), "wait": wait},
        ).scalar_one()
        or []
    )


def _defer_chunk(connection: Connection, members: list[int], *, closed: dt.date, run_id: int | None) -> None:
    connection.execute(
        text("SELECT points.defer_unwarned(CAST(:members AS bigint []), :closed, :run_id)"),
        {"members": array_of(members), "closed": closed, "run_id": run_id},
    )


def _is_gated(connection: Connection, closed: dt.date) -> bool:
    return bool(
        connection.execute(
            text("SELECT required FROM points.expiry_gate WHERE version = points.version_on(:closed)"),
            {"closed": closed},
        ).scalar_one_or_none()
    )
