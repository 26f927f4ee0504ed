"""Steps of a simulation: read the file, make the two scratch databases, close their nights, compare, report.

The ledger is read by the auditor's login, which can write nowhere, in one read-only snapshot. The admin's login makes,
fills and drops the scratch databases, because no other may make one. The nights run under the batch login, as every night.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any

from sqlalchemy import Connection, Engine, text

from infra import database, programme
from infra.scratch import Scratch, scratch
from infra.settings import settings
from notifications.simulation_page import simulation_page
from points_ledger import policy, simulation, simulation_figures, simulation_state
from points_ledger.errors import InvalidRequest, LedgerError, translated
from points_ledger.policy import Version
from points_ledger.policy_changes import Change, Effect, compare, needs_approval
from points_ledger.simulation import Side, Stopped
from points_ledger.simulation_state import Period
from tasks import ledger
from tasks.policy import refuse_what_never_changes

PURPOSE = "simulation"
SEVERITY = (Effect.SHORTENS, Effect.TAKES_AWAY, Effect.GIVES_MORE, Effect.NEUTRAL)
OnStep = Callable[[str], None]
OnNight = Callable[[str, dt.date], None]


@dataclass(frozen=True)
class Asked:
    """What is simulated: a checked document, what it is called, and what it changes of the newest version."""

    name: str
    document: dict[str, Any]
    period: Period
    versions: list[Version]
    changes: tuple[Change, ...]

    def in_force(self) -> list[Version]:
        """The versions whose first day lies in the period: the baseline's."""
        first, through = self.period.first, self.period.through
        return [version for version in self.versions if first <= version.effective_from <= through]


def simulate(
    first: dt.date,
    through: dt.date,
    *,
    path: Path | str | None = None,
    content: str | None = None,
    on_step: OnStep = lambda _step: None,
    on_night: OnNight = lambda _side, _day: None,
) -> dict[str, Any]:
    """Close the days ``first`` to ``through`` again, with the programme in force and with the one asked for; compare.

    The ledger is not touched. ``on_step`` is told what is being done, ``on_night`` of every night a side has closed.
    Return the report of ``docs/reference/simulation.md``: plain values, money as exact decimal strings.

    Raises:
        ProgrammeRefused: the file has errors, or changes what never changes.
        PeriodNotSimulated: the ledger does not hold these days whole.
        NotAllowed: the admin login may not create databases.
        MissingDatabaseUrl: the auditor's login has no URL.
    """
    if (path is None) == (content is None):
        raise InvalidRequest("Give a programme file or its text, one of the two.")
    name = Path(path).name if path is not None else "programme"
    document = programme.read_programme(path) if path is not None else programme.read_programme_text(content or "")
    ledger.policy()
    with translated():
        with _snapshot() as books:
            asked = _asked(books, name, document, Period(first, through))
        with scratch(_url("admin"), PURPOSE) as place:
            databases = _prepare(place, asked, on_step)
            on_step("closing nights")
            sides = _run_both(place, databases, asked, on_night)
            on_step("comparing")
            # the days are closed, so this snapshot says of them what the first one said; one held all the time would
            # keep the ledger's old rows from being cleaned up
            with _snapshot() as books:
                return _report(place, books, databases, asked, sides)


def _asked(books: Connection, name: str, document: dict[str, Any], period: Period) -> Asked:
    simulation.check_period(books, period)
    versions = policy.versions(books)
    changes = compare(programme.filled(versions[-1].document), document, first_day=period.first)
    refuse_what_never_changes(name, changes)
    return Asked(name, document, period, versions, changes)


def _prepare(place: Scratch, asked: Asked, on_step: OnStep) -> dict[str, str]:
    baseline = place.create("baseline")
    owner, batch = place.engine(_url("admin"), baseline), place.engine(_url("batch"), baseline)
    try:
        with _snapshot() as books, owner.begin() as connection:
            _refuse_another_schema(books, connection)
            simulation_state.fill(
                books, connection, asked.period, asked.versions, on_table=lambda table: on_step(f"copying {table}")
            )
        with owner.begin() as connection:
            connection.execute(text("SET LOCAL ROLE loyalty_owner"))
            connection.execute(text("ANALYZE"))
        on_step("finishing the night before")
        simulation.finish_given(batch, owner, asked.period, code_version=ledger.code_version())
    finally:
        owner.dispose()
        batch.dispose()
    proposed = place.clone(baseline, "proposed")
    for name, versions in ((baseline, asked.in_force()), (proposed, [_as_version(asked)])):
        engine = place.engine(_url("admin"), name)
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL ROLE loyalty_owner"))
            simulation_state.store_versions(connection, versions)
        engine.dispose()
    return {"baseline": baseline, "proposed": proposed}


def _run_both(place: Scratch, databases: dict[str, str], asked: Asked, on_night: OnNight) -> dict[str, Side]:
    # two threads that wait for two databases; one that fails ends the other at its next night
    stop = Event()

    def run(side: str) -> Side:
        def closed(day: dt.date) -> None:
            on_night(side, day)
            if stop.is_set():
                raise Stopped

        batch, owner = (place.engine(_url(login), databases[side]) for login in ("batch", "admin"))
        try:
            return simulation.run(batch, owner, asked.period, code_version=ledger.code_version(), on_night=closed)
        except BaseException:
            stop.set()
            raise
        finally:
            batch.dispose()
            owner.dispose()

    with ThreadPoolExecutor(len(databases)) as pool:
        running = {side: pool.submit(run, side) for side in databases}
        try:
            failed = [error for future in running.values() if (error := future.exception()) is not None]
        except BaseException:
            stop.set()
            raise
    for error in failed:
        if not isinstance(error, Stopped):
            raise error
    return {side: future.result() for side, future in running.items()}


def _report(
    place: Scratch, books: Connection, databases: dict[str, str], asked: Asked, sides: dict[str, Side]
) -> dict[str, Any]:
    period, document = asked.period, asked.document
    before = policy.policy_on(books, period.through)
    newest = programme.filled(next(v.document for v in asked.versions if before and v.version == before.version))
    value, proposed_value = (Decimal(d["programme"]["point_value"]) for d in (newest, document))
    order = [tier["code"] for tier in [*document.get("tier", ()), *newest.get("tier", ())]]
    with _scratch_snapshot(place, databases["baseline"]) as old, _scratch_snapshot(place, databases["proposed"]) as new:
        found = simulation_figures.compare_members(
            simulation.standings(old, period),
            simulation.standings(new, period),
            value=value,
            proposed_value=proposed_value,
        )
        kinds = [simulation.points_by_kind(connection, period) for connection in (old, new)]
        months = [simulation.lapsing(connection) for connection in (old, new)]
        differ = simulation_figures.members_that_differ(
            simulation.standings_of_ledger(books, period), simulation.standings(old, period)
        )
    posted = simulation.points_by_kind(books, period)
    return {
        "programme": document["programme"]["name"],
        "file": asked.name,
        "from": period.first.isoformat(),
        "through": period.through.isoformat(),
        "currency": document["programme"]["currency"],
        "point_value": {"baseline": str(value), "proposed": str(proposed_value)},
        "change": _change(books, asked),
        "members": {outcome: members.as_json() for outcome, members in found.outcomes.items()},
        "tiers": simulation_figures.tier_rows(found, order),
        "moves": simulation_figures.move_rows(found, order),
        "kinds": simulation_figures.two_sides("kind", *kinds),
        "lapsing": simulation_figures.two_sides("month", *months),
        "liability": simulation_figures.liability_rows(found, value, proposed_value),
        "most_affected": found.most_affected,
        "nights": simulation_figures.night_rows(sides["baseline"], sides["proposed"]),
        "would_wait": {side: [day.isoformat() for day in ran.waited] for side, ran in sides.items()},
        "refused_at_tills": {side: ran.refused for side, ran in sides.items()},
        "against_the_ledger": {
            "kinds": [
                {"kind": row["kind"], "difference": row["difference"]}
                for row in simulation_figures.two_sides("kind", posted, kinds[0])
                if row["difference"]
            ],
            "members": differ,
            "left_out": simulation.left_out(books, period),
        },
    }


def _change(books: Connection, asked: Asked) -> dict[str, Any]:
    effects = {change.effect for change in asked.changes}
    waits = needs_approval(asked.changes)
    return {
        "compared_with_version": asked.versions[-1].version,
        "effect": next((effect.value for effect in SEVERITY if effect in effects), Effect.NEUTRAL.value),
        "needs_approval": waits,
        "effective_from_earliest": simulation.earliest_start(books, needs_approval=waits).isoformat(),
        "changes": [change.as_json() for change in asked.changes],
    }


def _as_version(asked: Asked) -> Version:
    newest = asked.versions[-1]
    return Version(**{**vars(newest), "document": asked.document, "effective_from": asked.period.first})


def _refuse_another_schema(books: Connection, scratch_side: Connection) -> None:
    revision = text("SELECT version_num FROM points.alembic_version")
    if books.execute(revision).scalar_one() != scratch_side.execute(revision).scalar_one():
        raise LedgerError("The ledger's schema is not this program's: bring it up to date with loyalty init first.")


def _url(login: database.Login) -> str:
    return database.ledger_url(settings(), login)


@contextmanager
def _snapshot() -> Iterator[Connection]:
    engine = database.engine(_url("auditor"))
    with _reading(engine) as connection:
        yield connection


@contextmanager
def _scratch_snapshot(place: Scratch, name: str) -> Iterator[Connection]:
    with _reading(place.engine(_url("batch"), name)) as connection:
        yield connection


@contextmanager
def _reading(engine: Engine) -> Iterator[Connection]:
    try:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with engine.connect().execution_options(**options) as connection:
            yield connection
    finally:
        engine.dispose()


def as_page(report: dict[str, Any]) -> str:
    """The report as one HTML file that needs nothing else."""
    return simulation_page(report)
