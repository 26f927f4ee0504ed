"""What the checks found, and what became of it: runs, findings with a life, incidents, waivers, repairs (design 9).

Not the table ``finding``, which holds rows of feeds that were not accepted. The checks themselves are the catalogue of
``expectations``; this module keeps their books (``migrations/sql/0003_findings.sql``) and says what they hold up.
"""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, text

from points_ledger.errors import UnknownEvent
from points_ledger.queries import statement

Severity = Literal["stop", "warn"]
Outcome = Literal["pass", "fail", "error"]
Repair = Literal["expire", "rebuild", "rebuild_tier"]


@dataclass(frozen=True)
class Answer:
    """What one check answered. ``rows``: ``{"key": {...}, "difference": text}``, at most the runner's cap of them.

    ``error``: it could not run, which says nothing about the data. ``is_full``: it looked at everything, not only at what
    a night touched, so that what it did not find is gone.
    """

    check_id: str
    severity: Severity
    owner: str
    is_full: bool
    outcome: Outcome
    offending: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    sql_sha256: str = ""
    milliseconds: int = 0


@dataclass(frozen=True)
class CheckRun:
    """One execution of checks: the day they were bound to, and the snapshot that all of them read."""

    as_of: dt.date
    form: Literal["full", "night"]
    engine: Literal["bare", "great_expectations"]
    snapshot: str
    started_at: dt.datetime
    answers: tuple[Answer, ...]

    @property
    def outcome(self) -> str:
        """``error`` · ``stop`` · ``warn`` · ``pass``: the worst answer."""
        if any(answer.outcome == "error" for answer in self.answers):
            return "error"
        failed = {answer.severity for answer in self.answers if answer.outcome == "fail"}
        return "stop" if "stop" in failed else "warn" if failed else "pass"


@dataclass(frozen=True)
class CheckFinding:
    """A row that a check found, from when to when, and who accepted it."""

    finding_no: int
    check_id: str
    severity: Severity
    key: dict[str, Any]
    difference: str
    first_seen: dt.date
    last_seen: dt.date
    cleared_on: dt.date | None
    waived_by: str | None
    waived_until: dt.date | None
    waived_why: str | None


@dataclass(frozen=True)
class Incident:
    """A check that is not green since a run: how many rows, the most there were, who looks after it."""

    check_id: str
    severity: Severity
    owner: str
    last_outcome: Outcome
    message: str | None
    offending: int
    worst: int
    runs: int
    opened_on: dt.date
    last_on: dt.date
    acknowledged_by: str | None
    muted_until: dt.date | None


@dataclass(frozen=True)
class Trend:
    """What a check answered on a business date."""

    check_id: str
    as_of: dt.date
    outcome: Outcome
    offending: int


def record(
    connection: Connection,
    run: CheckRun,
    *,
    code_version: str,
    run_id: int | None = None,
    flow_run_id: str | None = None,
) -> int:
    """Keep a run's answers; open, see again and clear findings and incidents by them. Return the check run's number."""
    return int(
        connection.execute(
            statement("record_checks"),
            {
                "as_of": run.as_of,
                "form": run.form,
                "engine": run.engine,
                "run_id": run_id,
                "snapshot": run.snapshot,
                "code_version": code_version,
                "flow_run_id": flow_run_id,
                "started_at": run.started_at,
                "answers": json.dumps([asdict(answer) for answer in run.answers]),
            },
        ).scalar_one()
    )


def stopping(connection: Connection, *, day: dt.date) -> dict[str, int]:
    """The checks whose open findings keep the night of a day from taking points away: rows by check id."""
    rows = connection.execute(text("SELECT check_id, findings FROM points.stop_findings(:day)"), {"day": day}).tuples()
    return dict(rows.all())


def findings(
    connection: Connection, *, only_open: bool = False, check_id: str | None = None, limit: int = 1000
) -> list[CheckFinding]:
    """Findings, open ones first, newest first."""
    values = {"only_open": only_open, "check_id": check_id, "limit": limit}
    return [CheckFinding(**row) for row in connection.execute(statement("check_findings"), values).mappings()]


def finding(connection: Connection, finding_no: int) -> CheckFinding:
    """One finding.

    Raises:
        UnknownEvent: there is none of that number.
    """
    row = connection.execute(statement("check_finding"), {"finding_no": finding_no}).mappings().one_or_none()
    if row is None:
        raise UnknownEvent(f"Finding {finding_no} is not known: see loyalty findings.")
    return CheckFinding(**row)


def open_incidents(connection: Connection) -> list[Incident]:
    """Checks that are not green, stop before warn, oldest first."""
    return [Incident(**row) for row in connection.execute(statement("open_incidents")).mappings()]


def trend(connection: Connection, *, through: dt.date, days: int) -> list[Trend]:
    """What every check answered on each of so many business dates, the last of them ``through``."""
    rows = connection.execute(statement("check_trend"), {"through": through, "days": days}).mappings()
    return [Trend(**row) for row in rows]


def excused(connection: Connection, check_id: str, *, day: dt.date, known: bool) -> list[dict[str, Any]]:
    """Keys of a check's open findings that were waived for a day; ``known``: of all its open findings."""
    rows = connection.execute(
        text(
            "SELECT key FROM points.check_finding WHERE check_id = :check_id AND cleared_by IS NULL"
            " AND (:known OR waived_until >= :day)"
        ),
        {"check_id": check_id, "day": day, "known": known},
    )
    return list(rows.scalars())


def waive(connection: Connection, finding_nos: Sequence[int], *, until: dt.date, why: str) -> None:
    """Accept findings until a day, as the connection's login.

    Raises:
        sqlalchemy.exc.DBAPIError: PL005, one is not open; PL009, no reason; 42501, this login may not waive.
    """
    for number in finding_nos:
        connection.execute(
            text("SELECT points.waive_finding(:no, :until, :why)"), {"no": number, "until": until, "why": why}
        )


def acknowledge(connection: Connection, check_id: str) -> None:
    """Say that the connection's login looks after the open incident of a check.

    Raises:
        sqlalchemy.exc.DBAPIError: PL005, it has none.
    """
    connection.execute(text("SELECT points.acknowledge_incident(:check_id)"), {"check_id": check_id})


def mute(connection: Connection, check_id: str, *, until: dt.date, why: str) -> None:
    """No alerts for the open incident of a check until a day; it goes on holding up what it holds up.

    Raises:
        sqlalchemy.exc.DBAPIError: PL005, it has none; PL009, no reason.
    """
    connection.execute(
        text("SELECT points.mute_incident(:check_id, :until, :why)"), {"check_id": check_id, "until": until, "why": why}
    )


def propose_repair(connection: Connection, finding_no: int, repair: Repair, *, reason: str) -> int:
    """Put the repair of a finding before a second person; return the approval's number. Nothing is repaired.

    Raises:
        sqlalchemy.exc.DBAPIError: PL005, the finding is not open; PL007, there is nothing to repair; PL009, no reason.
    """
    return int(
        connection.execute(
            text("SELECT points.propose_repair(:no, :repair, :reason)"),
            {"no": finding_no, "repair": repair, "reason": reason},
        ).scalar_one()
    )


def approve_and_repair(connection: Connection, approval_id: int) -> int:
    """Approve a repair and carry it out, both or neither; return the points it cleared.

    Raises:
        sqlalchemy.exc.DBAPIError: four_eyes, the proposer approved; PL007, PL009, PL010, what the repair refuses.
    """
    return int(connection.execute(text("SELECT points.approve_and_repair(:id)"), {"id": approval_id}).scalar_one())
