"""Undoing a run: plan, propose, and after the approval answer every entry of the run, in small commits (design 2.7).

How each kind of entry is answered stands in ``migrations/sql/0002_undo.sql``. The undo is a run of its own; killed
anywhere, the next call does the rest, and a second undo of the same run does nothing.
"""

import datetime as dt
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Engine, Row, text

from points_ledger.errors import LedgerError
from points_ledger.queries import statement
from points_ledger.slices import array_of, chunks

# Members a commit. Fewer than other sweeps: entry by entry a member takes about 2 ms, and a till waits for its chunk.
CHUNK = 50
Spent = Literal["debt", "waive"]
Progress = Callable[[int, int], None]
Counts = dict[tuple[str, str], tuple[int, int]]
K = TypeVar("K")


@dataclass(frozen=True)
class Figures:
    """What an undo does or did: members; the run's entries by kind and outcome; what was posted and waived by kind.

    Outcomes: ``reversed``; ``already_reversed`` before, by a cancellation or an approval; ``cancels_out`` with another
    entry of the run or of an undone one; ``left_alone``, a transfer. Counts are (entries, points).
    """

    members: int = 0
    undone: Counts = field(default_factory=dict)
    posted: dict[str, tuple[int, int]] = field(default_factory=dict)
    waived: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def entries(self) -> int:
        """Entries of the run."""
        return sum(entries for entries, _ in self.undone.values())

    def as_json(self) -> dict[str, Any]:
        """Plain values, for the run's row, the approval and machines."""
        return {
            "members": self.members,
            "entries": self.entries,
            "undone": [
                {"kind": kind, "outcome": outcome, "entries": entries, "points": points}
                for (kind, outcome), (entries, points) in sorted(self.undone.items())
            ],
            "posted": {kind: points for kind, (_, points) in sorted(self.posted.items())},
            "waived": sum(points for _, points in self.waived.values()),
        }


@dataclass(frozen=True)
class Standing:
    """How far the undo of a run is: its newest approval, who decided, the run that undoes it and that run's totals."""

    approval_id: int
    spent: Spent
    approved_by: str | None
    undo_run: int | None
    is_done: bool
    totals: dict[str, Any] | None


def plan(engine: Engine, *, run_id: int, spent: Spent, day: dt.date, progress: Progress | None = None) -> Figures:
    """What undoing a run on a day would do, computed by doing it in chunks that are rolled back.

    Raises:
        sqlalchemy.exc.DBAPIError: PL005, no such run; PL009, the run is not finished.
    """
    with engine.begin() as connection:
        connection.execute(
            statement("preview_undo"), {"run_id": run_id, "members": array_of([]), "spent": spent, "day": day}
        )  # refuses, whoever is left
        members = _left(connection, run_id)
    total, done = Figures(), 0
    for chunk in chunks(members, CHUNK):
        with engine.begin() as connection:
            values = {"run_id": run_id, "members": array_of(chunk), "spent": spent, "day": day}
            total = _sum(total, _figures(connection.execute(statement("preview_undo"), values)))
        done += len(chunk)
        if progress:
            progress(done, len(members))
    return total


def propose(connection: Connection, *, run_id: int, spent: Spent, figures: Figures, reason: str) -> int:
    """Put an undo before a second person, with its plan; return the approval's number.

    The same proposal, while it waits, answers with the same number.

    Raises:
        sqlalchemy.exc.DBAPIError: PL005, no such run; PL007, it is undone already; PL009, it is not finished, or the
            reason says nothing.
    """
    return int(
        connection.execute(
            text("SELECT points.propose_undo(:run_id, :spent, CAST(:plan AS jsonb), :reason)"),
            {"run_id": run_id, "spent": spent, "plan": json.dumps(figures.as_json()), "reason": reason},
        ).scalar_one()
    )


def standing(connection: Connection, run_id: int) -> Standing | None:
    """How far the undo of a run is; None when nobody has proposed it."""
    row = connection.execute(statement("undo_standing"), {"run_id": str(run_id)}).one_or_none()
    return None if row is None else Standing(**row._asdict())


def execute(
    engine: Engine,
    *,
    approval_id: int,
    day: dt.date,
    code_version: str,
    chunk_size: int = CHUNK,
    progress: Progress | None = None,
) -> tuple[int, Figures]:
    """Carry out an approved undo, or the rest of it; return its run and what the ledger says it did.

    First the members nobody is using, then the others, waiting for each; every chunk is one commit.

    Raises:
        sqlalchemy.exc.DBAPIError: PL012, nobody has approved it; PL007, another approval undid the run.
    """
    with engine.begin() as connection:
        run = connection.execute(
            text("SELECT * FROM points.begin_undo(:approval_id, :day, :code_version)"),
            {"approval_id": approval_id, "day": day, "code_version": code_version},
        ).one()
    if run.status != "done":
        try:
            _apply(engine, run, chunk_size, progress)
        except Exception as error:
            _stop(engine, run.run_id, error)
            raise
    with engine.begin() as connection:
        done = _figures(
            connection.execute(text("SELECT * FROM points.undo_figures(:run_id, NULL)"), {"run_id": run.run_id})
        )
        connection.execute(
            text("SELECT points.finish_undo(:run_id, CAST(:totals AS jsonb))"),
            {"run_id": run.run_id, "totals": json.dumps(done.as_json())},
        )
    return int(run.run_id), done


def _apply(engine: Engine, run: Row[Any], chunk_size: int, progress: Progress | None) -> None:
    for wait in (False, True):
        with engine.begin() as connection:
            members = _left(connection, run.undoes)
        done = 0
        for chunk in chunks(members, chunk_size):
            with engine.begin() as connection:
                connection.execute(
                    text("SELECT points.undo_members(:run_id, CAST(:members AS bigint []), :wait)"),
                    {"run_id": run.run_id, "members": array_of(chunk), "wait": wait},
                )
            done += len(chunk)
            if progress:
                progress(done, len(members))


def _stop(engine: Engine, run_id: int, error: Exception) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("SELECT points.stop_undo(:run_id, :why)"),
            {"run_id": run_id, "why": f"{type(error).__name__}: {error}"[:2000]},
        )


def _left(connection: Connection, run_id: int) -> Sequence[int]:
    return connection.execute(text("SELECT points.undo_left(:run_id)"), {"run_id": run_id}).scalars().all()


def _figures(rows: Iterable[Row[Any]]) -> Figures:
    members = 0
    undone: Counts = {}
    parts: dict[str, dict[str, tuple[int, int]]] = {"posted": {}, "waived": {}}
    for row in rows:
        match row.part:
            case "members":
                members += row.entries
            case "undone":
                undone[row.kind, row.outcome] = (row.entries, row.points)
            case "posted" | "waived":
                parts[row.part][row.kind] = (row.entries, row.points)
            case unknown:
                raise LedgerError(f"A figure of an undo is called {unknown}.")
    return Figures(members, undone, parts["posted"], parts["waived"])


def _sum(one: Figures, other: Figures) -> Figures:
    return Figures(
        one.members + other.members,
        _added(one.undone, other.undone),
        _added(one.posted, other.posted),
        _added(one.waived, other.waived),
    )


def _added(one: dict[K, tuple[int, int]], other: dict[K, tuple[int, int]]) -> dict[K, tuple[int, int]]:
    nothing = (0, 0)
    return {
        key: (
            one.get(key, nothing)[0] + other.get(key, nothing)[0],
            one.get(key, nothing)[1] + other.get(key, nothing)[1],
        )
        for key in (*one, *(key for key in other if key not in one))
    }
