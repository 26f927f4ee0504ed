"""The night: what closes a business date, step by step, and in which order (design 8).

post feeds → gate checks → close → seal → screens → tiers → expiry → notices → full checks → backup. The backup has no step
here; it gets its line in ``STEPS`` where it is named above. The checks need the catalogue, which is above this package:
``tasks.checks`` adds their step. Notices are written here and sent by a job of their own. Every step may be run again:
killed anywhere, the next call goes on, and the ledger's totals are the same.

An open stop finding of a check keeps a night from taking points away: returns wait, nobody falls a tier, nothing expires.
The rest goes on, and the first night without one catches up.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from points_ledger import check_findings, events, expiry, gates, notices, runs, screens, tiers
from points_ledger.errors import LedgerError, WaitsForPerson
from points_ledger.policy import policy_on
from points_ledger.queries import statement
from points_ledger.rules import COMPARABLE_NIGHTS, guard_reason

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Night:
    """One business date being closed, and its run."""

    business_date: dt.date
    run_id: int


@dataclass(frozen=True)
class Step:
    """A part of the night: its name, and what it does."""

    name: str
    run: Callable[[Engine, Night, Progress | None], None]


@dataclass(frozen=True)
class NightResult:
    """What a night did, counted from the ledger."""

    business_date: dt.date
    run_id: int
    totals: dict[str, Any]


def due_nights(connection: Connection, *, through: dt.date) -> list[dt.date]:
    """The dates to close up to ``through``, in order: first one that is closed but whose night did not finish.

    Raises:
        LedgerError: there is no programme yet.
    """
    row = connection.execute(
        text(
            "SELECT points.last_closed() AS closed, (SELECT min(effective_from) FROM points.policy_version) AS starts_on,"
            " EXISTS (SELECT FROM points.run WHERE job = :job AND business_date = points.last_closed()"
            " AND status = 'done') AS is_done"
        ),
        {"job": runs.NIGHT},
    ).one()
    if row.starts_on is None:
        raise LedgerError("There is no programme yet: run loyalty init --programme FILE.")
    first = row.starts_on if row.closed is None else row.closed + dt.timedelta(days=1) * bool(row.is_done)
    return [first + dt.timedelta(days=n) for n in range((through - first).days + 1)]


def begin(engine: Engine, business_date: dt.date, *, code_version: str, flow_run_id: str | None = None) -> Night | None:
    """Claim the night of a date; None when it is done already."""
    with engine.begin() as connection:
        run_id = runs.claim(connection, runs.NIGHT, business_date, code_version=code_version, flow_run_id=flow_run_id)
    return None if run_id is None else Night(business_date, run_id)


@contextmanager
def recorded(engine: Engine, night: Night) -> Iterator[None]:
    """Record in the run's row why a night stopped, and let the error go on to whoever called."""
    try:
        yield
    except WaitsForPerson as waiting:
        _stop(engine, night, "waiting", str(waiting))
        raise
    except Exception as error:
        _stop(engine, night, "failed", f"{type(error).__name__}: {error}"[:2000])
        raise


def post_feeds(engine: Engine, night: Night, progress: Progress | None = None) -> None:
    """Let lapsed holds go, then post what the feeds say happened up to this day."""
    with engine.begin() as connection:
        connection.execute(text("SELECT points.release_lapsed_holds(:day)"), {"day": night.business_date})
        if _is_closed(connection, night):
            return
    events.post(engine, through=night.business_date, run_id=night.run_id, final=True, progress=progress)


def check_gates(engine: Engine, night: Night, progress: Progress | None = None) -> None:
    """Check what the day touched while it can still be put right."""
    del progress
    with engine.begin() as connection:
        gates.check(connection, business_date=night.business_date)


def close_day(engine: Engine, night: Night, progress: Progress | None = None) -> None:
    """Make the day final."""
    del progress
    with engine.begin() as connection:
        connection.execute(
            text("SELECT points.close_day(:day, :run_id)"), {"day": night.business_date, "run_id": night.run_id}
        )


def seal_day(engine: Engine, night: Night, progress: Progress | None = None) -> None:
    """Fingerprint the closed day."""
    del progress
    with engine.begin() as connection:
        connection.execute(text("SELECT points.seal_day(:day)"), {"day": night.business_date})


def screen_members(engine: Engine, night: Night, progress: Progress | None = None) -> None:
    """Record what looks like fraud, for people to look at; it takes nothing away and stops nothing."""
    screens.screen(engine, day=night.business_date, run_id=night.run_id, progress=progress)


def review_tiers(engine: Engine, night: Night, progress: Progress | None = None) -> None:
    """Decide the tiers held from the next day on; nobody falls while a stop finding is open."""
    with engine.begin() as connection:
        lower = not check_findings.stopping(connection, day=night.business_date)
    tiers.review(engine, day=night.business_date, run_id=night.run_id, lower=lower, progress=progress)


def expire_points(engine: Engine, night: Night, progress: Progress | None = None) -> None:
    """Defer what has no proof of notice, plan what lapses, have the guard look at it, then clear it.

    While a stop finding is open, leave it all.

    Raises:
        WaitsForPerson: the plan is out of line and no second person has accepted it.
    """
    with engine.begin() as connection:
        withheld = check_findings.stopping(connection, day=night.business_date)
        runs.withhold(connection, night.run_id, withheld)
    if withheld:
        return
    expiry.defer(engine, closed=night.business_date, run_id=night.run_id, progress=progress)
    with engine.begin() as connection:
        plan = expiry.plan(connection, closed=night.business_date)
        reason = _guard(connection, night, plan)
        if reason is None or _accepted(connection, night, plan):
            _record(connection, night, plan)
        else:
            _propose(connection, night, plan, reason)
    if reason is not None and not _is_accepted(engine, night, plan):
        raise WaitsForPerson(night.run_id, night.business_date, reason)
    if plan.lots:
        expiry.apply(engine, closed=night.business_date, run_id=night.run_id, progress=progress)
    with engine.begin() as connection:
        runs.cleared(connection, night.run_id)


def enqueue_notices(engine: Engine, night: Night, progress: Progress | None = None) -> None:
    """Write the notices that the close makes due: they are sent later, and by others."""
    notices.enqueue(engine, day=night.business_date, progress=progress)


STEPS = (
    Step("post-feeds", post_feeds),
    Step("check-gates", check_gates),
    Step("close-day", close_day),
    Step("seal-day", seal_day),
    Step("screen-members", screen_members),
    Step("review-tiers", review_tiers),
    Step("expire-points", expire_points),
    Step("enqueue-notices", enqueue_notices),
    # full checks (tasks.checks), backup
)


def finish(engine: Engine, night: Night) -> NightResult:
    """Finish the run when nothing of its plan is left, with totals counted from the ledger.

    Raises:
        LedgerError: lots that were due are still there.
    """
    with engine.begin() as connection:
        withheld = runs.withheld(connection, night.run_id)
        left = connection.execute(statement("lots_left_behind"), {"closed": night.business_date}).scalar_one()
        if left and not withheld:
            raise LedgerError(f"{left} lots that lapsed on {night.business_date} or before are still open.")
        row = connection.execute(
            statement("night_totals"), {"business_date": night.business_date, "run_id": night.run_id}
        ).one()
        totals = dict(row._mapping) | ({"withheld": withheld} if withheld else {})
        runs.finish(connection, night.run_id, totals)
    return NightResult(night.business_date, night.run_id, totals)


def _stop(engine: Engine, night: Night, status: str, message: str) -> None:
    # A server that is down cannot be told why; the error itself must reach whoever called.
    with suppress(OperationalError), engine.begin() as connection:
        runs.stop(connection, night.run_id, status, message)


def _is_closed(connection: Connection, night: Night) -> bool:
    closed = connection.execute(text("SELECT points.last_closed()")).scalar_one()
    return closed is not None and closed >= night.business_date


def _guard(connection: Connection, night: Night, plan: expiry.ExpiryPlan) -> str | None:
    if plan.points == 0 or (policy := policy_on(connection, night.business_date)) is None:
        return None
    outstanding = connection.execute(
        text("SELECT outstanding FROM points.seal WHERE book_date = :day"), {"day": night.business_date}
    ).scalar_one()
    recent = connection.execute(
        text(
            "SELECT CAST(plan ->> 'points' AS bigint) FROM points.run WHERE job = :job AND business_date < :day"
            " AND CAST(plan ->> 'points' AS bigint) > 0 ORDER BY business_date DESC LIMIT :n"
        ),
        {"job": runs.NIGHT, "day": night.business_date, "n": COMPARABLE_NIGHTS},
    )
    return guard_reason(
        plan.points,
        outstanding,
        list(recent.scalars()),
        max_share=policy.guard.max_share_of_outstanding,
        max_times_median=policy.guard.max_times_median,
    )


def _accepted(connection: Connection, night: Night, plan: expiry.ExpiryPlan) -> bool:
    # What was accepted is an upper limit: a plan that has grown since waits for a person again.
    return bool(
        connection.execute(
            text(
                "SELECT EXISTS (SELECT FROM points.approval WHERE what = 'plan' AND approved_by IS NOT NULL"
                " AND payload ->> 'run_id' = :run_id AND CAST(payload ->> 'points' AS bigint) >= :points)"
            ),
            {"run_id": str(night.run_id), "points": plan.points},
        ).scalar_one()
    )


def _is_accepted(engine: Engine, night: Night, plan: expiry.ExpiryPlan) -> bool:
    with engine.begin() as connection:
        return _accepted(connection, night, plan)


def _record(connection: Connection, night: Night, plan: expiry.ExpiryPlan) -> None:
    # A night that was killed while it expired has a smaller plan the second time: keep the first.
    connection.execute(
        text("UPDATE points.run SET plan = coalesce(plan, CAST(:plan AS jsonb)) WHERE run_id = :run_id"),
        {"run_id": night.run_id, "plan": _json(plan)},
    )


def _propose(connection: Connection, night: Night, plan: expiry.ExpiryPlan, reason: str) -> None:
    connection.execute(statement("propose_plan"), {"run_id": night.run_id, "plan": _json(plan), "reason": reason})


def _json(plan: expiry.ExpiryPlan) -> str:
    return f'{{"members": {plan.members}, "lots": {plan.lots}, "points": {plan.points}}}'


def close_nights(
    engine: Engine,
    *,
    through: dt.date,
    code_version: str,
    watch: Callable[[Night, Step], Progress | None] | None = None,
    steps: Sequence[Step] | None = None,
) -> Iterator[NightResult]:
    """Close every due night up to ``through``, one after the other; the same steps as the flow, without Prefect.

    ``watch`` is told of every step before it begins and may return a progress callback. ``steps``: those of the
    installation, ``STEPS`` if none are given.

    Raises:
        GateFailed, WaitsForPerson, LedgerError: the night that stopped; those before it are done.
    """
    with runs.only_one(engine, runs.NIGHT):
        with engine.begin() as connection:
            dates = due_nights(connection, through=through)
        for business_date in dates:
            night = begin(engine, business_date, code_version=code_version)
            if night is None:
                continue
            with recorded(engine, night):
                for step in steps or STEPS:
                    step.run(engine, night, watch(night, step) if watch else None)
                yield finish(engine, night)
