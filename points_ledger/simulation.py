"""Simulation: the days of a period closed again in a scratch database, by the ledger's own nights.

Once with the programme that was in force, once with another one, from the same starting state
(``points_ledger.simulation_state``) and with the same events. Nothing here connects to the ledger itself.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

from points_ledger import night, simulation_state
from points_ledger.errors import InsufficientPoints, LedgerError, PeriodNotSimulated, WaitsForPerson, translated
from points_ledger.night import NightResult
from points_ledger.queries import statement
from points_ledger.simulation_state import Period
from points_ledger.totals import FOREVER
from points_ledger.verification import Difference

PROVED = ("i1", "i2", "i3")  # the starting state is what its entries say


@dataclass(frozen=True)
class Side:
    """What one of the two programmes did in the period.

    ``outstanding`` and ``debt`` are points after each night; ``waited`` names the nights at which the guard would have
    stopped for a person; ``refused`` counts what tills asked for and could not have.
    """

    outstanding: dict[dt.date, int]
    waited: tuple[dt.date, ...]
    refused: int


class Stopped(Exception):
    """The other side failed, or the caller gave up."""


def check_period(connection: Connection, period: Period) -> None:
    """Refuse a period that the ledger does not hold whole.

    Raises:
        PeriodNotSimulated: it ends before it begins, begins before the programme, or ends on a day that is not closed.
    """
    known = connection.execute(
        text("SELECT min(effective_from) AS starts_on, points.last_closed() AS closed FROM points.policy_version")
    ).one()
    if period.through < period.first:
        raise PeriodNotSimulated(f"--through {period.through} is before --from {period.first}: choose a later day.")
    if period.first < known.starts_on:
        raise PeriodNotSimulated(
            f"--from {period.first} is before the programme's first day: choose {known.starts_on} or later."
        )
    if known.closed is None:
        raise PeriodNotSimulated(f"--through {period.through}: no day is closed yet: run loyalty close first.")
    if period.through > known.closed:
        raise PeriodNotSimulated(
            f"--through {period.through} is not closed yet: choose {known.closed} or earlier, or run loyalty close first."
        )


def finish_given(engine: Engine, owner: Engine, period: Period, *, code_version: str) -> None:
    """Prove the starting state, and finish the night before the period, which belongs to neither programme.

    Raises:
        LedgerError: a wallet or lot is not what its entries say.
    """
    with engine.begin() as connection:
        wrong = [
            Difference(check, row)
            for check in PROVED
            for row in connection.execute(statement(f"verify_{check}")).scalars().fetchmany(1)
        ]
    if wrong:
        raise LedgerError(f"The state before {period.first} cannot be rebuilt, {wrong[0].check}: {wrong[0].row}")
    with engine.begin() as connection:
        closed = connection.execute(text("SELECT points.last_closed()")).scalar_one()
    if closed is not None:
        _close(engine, owner, closed, code_version)


def run(
    engine: Engine, owner: Engine, period: Period, *, code_version: str, on_night: Callable[[dt.date], None]
) -> Side:
    """Close every night of the period: what arrives that day, what tills did that day, then the night's own steps.

    ``engine`` is the batch login's, ``owner`` may become the schema's owner. ``on_night`` is told of every night that is
    closed; what it raises ends the run.
    """
    outstanding: dict[dt.date, int] = {}
    waited: list[dt.date] = []
    refused = 0
    for day in period.days:
        with engine.begin() as connection:
            simulation_state.arrive(connection, day)
            calls = list(simulation_state.calls_of(connection, day))
        refused += sum(not _repeat(engine, call) for call in calls)
        result, has_waited = _close(engine, owner, day, code_version)
        outstanding[day] = result.totals["outstanding"] - result.totals["expired_points"]
        waited += [day] * has_waited
        on_night(day)
    return Side(outstanding, tuple(waited), refused)


def points_by_kind(connection: Connection, period: Period) -> dict[str, int]:
    """Points that the days of the period posted and their nights cleared; the same of the ledger and of a simulation."""
    rows = connection.execute(statement("simulation_kinds"), vars(period)).tuples()
    return dict(rows.all())


def lapsing(connection: Connection) -> dict[str, int]:
    """Open points after the period by the month of their last day; "never" for points that do not lapse."""
    months: dict[str, int] = {}
    for day, points in connection.execute(statement("open_points_by_valid_through"), {"through": FOREVER}).tuples():
        month = f"{day:%Y-%m}" if day else "never"
        months[month] = months.get(month, 0) + points
    return months


def left_out(connection: Connection, period: Period) -> dict[str, int]:
    """Entries of the ledger in the period that no simulation repeats, by source."""
    return dict(connection.execute(statement("simulation_left_out"), vars(period)).tuples().all())


def earliest_start(connection: Connection, *, needs_approval: bool) -> dt.date:
    """The first day from which a change could be in force if it were proposed now."""
    day: dt.date = connection.execute(
        statement("earliest_policy_date"), {"needs_approval": needs_approval}
    ).scalar_one()
    return day


def _close(engine: Engine, owner: Engine, day: dt.date, code_version: str) -> tuple[NightResult, bool]:
    has_waited = False
    while True:
        try:
            *_, last = night.close_nights(engine, through=day, code_version=code_version)
        except WaitsForPerson as stop:
            # somebody accepted the real night, or would have to; the report says so
            with owner.begin() as connection:
                connection.execute(text("SET LOCAL ROLE loyalty_owner"))
                connection.execute(statement("simulation_accept_plan"), {"run_id": str(stop.run_id)})
            has_waited = True
        else:
            return last, has_waited


def _repeat(engine: Engine, call: Any) -> bool:
    try:
        with translated(), engine.begin() as connection:
            if call.source == "adjustment":
                connection.execute(
                    text("SELECT points.adjust(:approval_id, :day)"),
                    {"approval_id": call.approval_id, "day": call.effective_on},
                )
            else:
                connection.execute(
                    text("SELECT points.spend(:member_no, :points, :day, :source, :source_ref)"),
                    {
                        "member_no": call.member_no,
                        "points": call.points,
                        "day": call.effective_on,
                        "source": "captured" if call.source == "capture" else call.source,
                        "source_ref": call.source_ref,
                    },
                )
    except InsufficientPoints:
        return False
    return True


def standings(connection: Connection, period: Period) -> Iterator[Any]:
    """Every member of a simulation, by member_no: tier, balance, debt and the points used in the period."""
    yield from connection.execution_options(yield_per=10_000).execute(statement("simulation_members"), vars(period))


def standings_of_ledger(connection: Connection, period: Period) -> Iterator[Any]:
    """Balance and debt of every member of the ledger with an entry, by member_no, after the last night of the period."""
    yield from connection.execution_options(yield_per=10_000).execute(
        statement("simulation_standing"), {"through": period.through}
    )
