"""Notices that are due: which a night or a posting writes into the outbox, by kind. Sending them is not here.

Each kind is a statement ``sql/notice_*.sql`` that finds what is due; ``points.enqueue_notices`` gives it a channel and an
hour and writes it once (``migrations/sql/0006_enqueue.sql``). What a posting causes is written in its transaction, by the
job that posts; the rest by ``enqueue``. A version without ``[notices]`` writes nothing.
"""

import datetime as dt
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

from points_ledger.policy_changes import compare
from points_ledger.queries import statement
from points_ledger.slices import array_of, work_off

CHUNK = 5000  # members a commit; no wallet is locked
AT_RISK_DAYS = 30  # before the last day on which a tier can be saved
STILL_NEWS_DAYS = 31  # how long after its first day a version is told that nobody was told of before
# what members can rely on; the rest of a version is about the office
OF_MEMBERS = ("earn", "expiry", "refund", "tier", "tiers", "transfer")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Rule:
    """What a version says of notices: kinds, the ladder in days (ascending), what counts as in time."""

    kinds: tuple[str, ...]
    ladder: tuple[int, ...]
    min_days: int
    is_new: bool

    def last_days(self, day: dt.date) -> list[dt.date]:
        """The last days on which a step of the ladder falls on the morning after ``day``; all up to it when it is new."""
        steps = range(self.ladder[-1] + 1) if self.is_new else self.ladder
        return [day + dt.timedelta(days=1 + step) for step in steps]

    def horizon(self, day: dt.date) -> dt.date:
        """The last day that is told at all: also one that this close deferred to."""
        return day + dt.timedelta(days=1 + max(self.ladder[-1], self.min_days + 2))


def rule_on(connection: Connection, day: dt.date) -> Rule | None:
    """The rule of the version in force on a day, new when that is its first day; None: it sends no notice."""
    row = connection.execute(
        text(
            "SELECT p.kinds, p.ladder, p.min_days, v.effective_from = :day AS is_new FROM points.notice_policy AS p"
            " JOIN points.policy_version AS v USING (version) WHERE version = points.version_on(:day)"
        ),
        {"day": day},
    ).one_or_none()
    if row is None or not row.kinds:
        return None
    return Rule(tuple(row.kinds), tuple(row.ladder), row.min_days, row.is_new)


def tells(connection: Connection, day: dt.date, *kinds: str) -> bool:
    """Whether the version in force on a day sends any of some kinds."""
    rule = rule_on(connection, day)
    return rule is not None and not set(kinds).isdisjoint(rule.kinds)


def enqueue(engine: Engine, *, day: dt.date, progress: Progress | None = None) -> int:
    """Write what the close of a day makes due and no posting caused; return the notices. Safe to repeat.

    The ladder and win-back, tiers at risk, a version that was stored since, the statement of a month that ended with
    the day; then several of one member become a digest.
    """
    with engine.begin() as connection:
        rule = rule_on(connection, day)
        if rule is None:
            return 0
        risky = [day + dt.timedelta(days=n + 1) for n in range(0 if rule.is_new else AT_RISK_DAYS, AT_RISK_DAYS + 1)]
        written = (
            _write(connection, "notice_tiers_at_risk", day=day, dates=risky) if "tier_at_risk" in rule.kinds else 0
        )
    written += _ladder(engine, rule, day, progress)
    for version in _untold(engine, rule, day):
        written += _to_all(engine, "notice_policy_change", day=day, version=version, progress=progress)
    if "monthly_statement" in rule.kinds and (day + dt.timedelta(days=1)).day == 1:
        written += _to_all(engine, "notice_monthly_statement", day=day, progress=progress)
    with engine.begin() as connection:
        connection.execute(text("SELECT points.gather_digests(:day)"), {"day": day})
    return written


def tell_expired(connection: Connection, members: Sequence[int], *, closed: dt.date, run_id: int | None) -> int:
    """Write what the caller's transaction has just cleared."""
    return _write(connection, "notice_points_expired", members=array_of(members), closed=closed, run_id=run_id)


def tell_tiers(connection: Connection, members: Sequence[int], *, day: dt.date) -> int:
    """Write the tiers that the caller's transaction has just decided."""
    return _write(connection, "notice_tier_changes", members=array_of(members), day=day)


def tell_redemptions(connection: Connection, members: Sequence[int], *, through: dt.date) -> int:
    """Write the redemptions and cancellations that the caller's transaction has just posted."""
    return _write(connection, "notice_redemptions", members=array_of(members), through=through)


def unreachable(connection: Connection, *, day: dt.date) -> Iterator[dict[str, Any]]:
    """Members with points whom no channel reaches: member_no, points, lapses_on (None: never), why; soonest first."""
    rows = connection.execution_options(yield_per=10_000).execute(statement("members_unreachable"), {"day": day})
    yield from (dict(row._mapping) for row in rows)


def _ladder(engine: Engine, rule: Rule, day: dt.date, progress: Progress | None) -> int:
    names = [f"notice_{kind}" for kind in ("points_expiring", "win_back") if kind in rule.kinds]
    if not names:
        return 0
    values = {"day": day, "horizon": rule.horizon(day)}
    with engine.connect() as connection:
        rows = connection.execution_options(stream_results=True, yield_per=10_000).execute(
            statement("members_to_warn"), {**values, "dates": rule.last_days(day)}
        )
        members = array("q", (row[0] for row in rows))

    def warn_some(chunk: list[int]) -> int:
        with engine.begin() as connection:
            return sum(_write(connection, name, members=array_of(chunk), **values) for name in names)

    return sum(work_off(engine, members, warn_some, size=CHUNK, progress=progress))


def _to_all(engine: Engine, name: str, *, progress: Progress | None, **values: object) -> int:
    with engine.connect() as connection:
        rows = connection.execution_options(stream_results=True, yield_per=10_000).execute(
            text("SELECT member_id FROM points.wallet ORDER BY member_id")
        )
        members = array("q", (row[0] for row in rows))

    def tell_some(chunk: list[int]) -> int:
        with engine.begin() as connection:
            return _write(connection, name, members=array_of(chunk), **values)

    return sum(work_off(engine, members, tell_some, size=CHUNK, progress=progress))


def _untold(engine: Engine, rule: Rule, day: dt.date) -> list[int]:
    """Versions that are to come or have just come, change what members rely on, and were told by no earlier night."""
    if "policy_change" not in rule.kinds:
        return []
    with engine.begin() as connection:
        since = day - dt.timedelta(days=STILL_NEWS_DAYS)
        rows = connection.execute(statement("policy_changes_to_tell"), {"day": day, "since": since})
        return [
            row.version
            for row in rows
            if any(
                change.key.partition(".")[0].partition("[")[0] in OF_MEMBERS
                for change in compare(row.before, row.document, first_day=row.effective_from)
            )
        ]


def _write(connection: Connection, name: str, **values: object) -> int:
    return int(connection.execute(statement(name), values).scalar_one() or 0)
