"""Checks as steps: the night's own, in bare SQL; and the job that runs them whole, through Great Expectations."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import prefect.runtime
from prefect import task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from expectations import catalogue, on_call, run_page, runner
from expectations.catalogue import BY_ID, CATALOGUE, Check
from infra.database import MissingDatabaseUrl
from points_ledger import check_findings, runs, totals
from points_ledger.check_findings import CheckFinding, CheckRun, Incident
from points_ledger.errors import InvalidRequest, UnknownEvent, translated
from points_ledger.night import Night, Progress, Step
from tasks import ledger

JOB = "check-ledger"
PAGE = "docs/howto/handle-a-finding.md"


@dataclass(frozen=True)
class Report:
    """What a run of checks came to: its number and day, the worst answer, each answer with its first rows, what it holds up.

    ``documents``: its page for auditors, and what Great Expectations answered, by file name.
    """

    check_run_id: int
    as_of: dt.date
    engine: str
    outcome: str
    answers: list[dict[str, Any]]
    stopping: dict[str, int]
    documents: dict[str, str] = field(default_factory=dict)


def check_night(engine: Engine, night: Night, progress: Progress | None = None) -> None:
    """Check what the night touched; and whole, what an open stop finding is about, so that what is mended is cleared."""
    del progress
    with runs.only_one(engine, JOB):
        with engine.connect() as connection:
            stopping = check_findings.stopping(connection, day=night.business_date)
        again = [BY_ID[check_id] for check_id in stopping if check_id in BY_ID]
        run = runner.run_bare(engine, catalogue.nightly(), as_of=night.business_date, form="night", full=again)
        with engine.begin() as connection:
            check_findings.record(connection, run, code_version=ledger.code_version(), run_id=night.run_id)


STEP = Step(JOB, check_night)


def check(
    as_of: dt.date | None = None, check_ids: Sequence[str] = (), *, bare: bool = False, only_due: bool = False
) -> Report:
    """Run checks whole, in one snapshot, and keep what they answered; all of them, or those named, or those due.

    Reads as the auditor's login where there is one, else as the one that writes.

    Raises:
        InvalidRequest: there is no such check; or nothing is closed yet, and no day was given.
    """
    ledger.policy()
    chosen = _chosen(check_ids)
    writer = ledger.engine()
    with runs.only_one(writer, JOB):
        with writer.connect() as connection:
            day = as_of or totals.last_closed(connection)
        if day is None:
            raise InvalidRequest("No day is closed yet: name one with --as-of.")
        run, validation = _run(day, chosen or (catalogue.due(day) if only_due else CATALOGUE), bare=bare)
        with writer.begin() as connection:
            number = check_findings.record(
                connection, run, code_version=ledger.code_version(), flow_run_id=prefect.runtime.flow_run.id
            )
            stopping = check_findings.stopping(connection, day=day)
    answers = [{**asdict(answer), "rows": answer.rows[: runner.SHOWN]} for answer in run.answers]
    documents = run_page.documents(run, number, validation)
    return Report(number, day, run.engine, run.outcome, answers, stopping, documents)


@task(
    name="run-checks",
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=lambda _task, _run, state: isinstance(state.result(raise_on_failure=False), OperationalError),
)
def check_step(as_of: dt.date | None, everything: bool) -> Report:
    """``check`` as a step of a flow: what is due on the day, or everything."""
    return check(as_of, only_due=not everything)


def not_green(withheld: dict[str, int] | None = None) -> State[Any] | None:
    """The final state of a flow when checks are not green; None when they are. ``withheld``: what held up this run.

    Failed by type, which is what alerts match, unless everything open is muted.
    """
    with ledger.engine().connect() as connection:
        day = totals.last_closed(connection)
        if day is None:
            return None
        stopping = check_findings.stopping(connection, day=day)
        incidents = [i for i in check_findings.open_incidents(connection)
                     if i.check_id in stopping or i.last_outcome == "error"]  # fmt: skip
    if not incidents:
        if not withheld:
            return None
        message = f"Points were withheld: {_named(withheld)}. That is mended: the next night catches up."
        return Completed(name="PointsWithheld", message=message)
    loud = [i for i in incidents if i.muted_until is None or i.muted_until < day]
    said = [f"{i.check_id}: {_what(i, stopping)}" for i in incidents]
    if stopping:
        said.append("No night takes points away before they are cleared or waived")
    message = f"{'; '.join(said)}. See loyalty findings --open and {PAGE}"
    name = "StopFindings" if stopping else "CheckErrors"
    return Failed(name=name, message=message) if loud else Completed(name=name, message=message)


def list_findings(*, only_open: bool, check_id: str | None) -> tuple[list[Incident], list[CheckFinding]]:
    """Open incidents, and findings; of one check, if it is named."""
    ledger.policy()
    with ledger.engine().connect() as connection:
        incidents = check_findings.open_incidents(connection)
        found = check_findings.findings(connection, only_open=only_open, check_id=check_id)
    return [i for i in incidents if check_id in (None, i.check_id)], found


def on_call_page() -> str:
    """What is open, and the trend of the last dates, as one HTML file.

    Raises:
        InvalidRequest: nothing is closed yet.
    """
    ledger.policy()
    with runner.snapshot(ledger.engine()) as (connection, _, _):
        day = totals.last_closed(connection)
        if day is None:
            raise InvalidRequest("No day is closed yet: there is nothing to show.")
        return on_call.render(
            day,
            check_findings.open_incidents(connection),
            check_findings.findings(connection, only_open=True, limit=runner.CAP),
            check_findings.stopping(connection, day=day),
            check_findings.trend(connection, through=day, days=on_call.DAYS),
        )


def waive(numbers: Sequence[int], check_id: str | None, until: dt.date, why: str) -> list[int]:
    """Accept findings, or all open ones of a check, until a day, as the approver's login; return their numbers.

    Raises:
        UnknownEvent: one is not open, or the check has none.
        InvalidRequest: the reason says nothing.
    """
    with translated(), ledger.engine("approver").begin() as connection:
        asked = list(numbers)
        if check_id is not None:
            open_ones = check_findings.findings(connection, only_open=True, check_id=check_id, limit=runner.CAP)
            asked += [found.finding_no for found in open_ones]
        if not asked:
            raise UnknownEvent("No such finding is open: see loyalty findings --open.")
        check_findings.waive(connection, asked, until=until, why=why)
        return asked


def acknowledge(check_id: str) -> None:
    """Say that the jobs' login looks after a check's open incident.

    Raises:
        UnknownEvent: it has none.
    """
    with translated(), ledger.engine().begin() as connection:
        check_findings.acknowledge(connection, check_id)


def mute(check_id: str, until: dt.date, why: str) -> None:
    """No alerts for a check's open incident until a day.

    Raises:
        UnknownEvent: it has none.
        InvalidRequest: the reason says nothing.
    """
    with translated(), ledger.engine().begin() as connection:
        check_findings.mute(connection, check_id, until=until, why=why)


def propose_repair(finding_no: int, reason: str) -> tuple[int | None, Check]:
    """Put the repair of a finding before a second person; the approval's number is None where a person has to think.

    Raises:
        UnknownEvent: the finding is not known or not open.
        InvalidRequest: the reason says nothing.
    """
    with translated(), ledger.engine().begin() as connection:
        found = check_findings.finding(connection, finding_no)
        about = _chosen([found.check_id])[0]
        if about.repair is None:
            return None, about
        return check_findings.propose_repair(connection, finding_no, about.repair, reason=reason), about


def _run(day: dt.date, checks: Sequence[Check], *, bare: bool) -> tuple[CheckRun, dict[str, Any] | None]:
    if bare:
        return runner.run_bare(_reader(), checks, as_of=day), None
    from expectations.suite import run_suite  # noqa: PLC0415 - imports Great Expectations: seven seconds

    kept: list[dict[str, Any]] = []
    run = run_suite(_reader(), checks, as_of=day, keep=kept.append)
    return run, kept[0]


def _reader() -> Engine:
    try:
        return ledger.engine("auditor")
    except MissingDatabaseUrl:
        return ledger.engine()


def _chosen(check_ids: Sequence[str]) -> tuple[Check, ...]:
    known = {check_id.lower(): check for check_id, check in BY_ID.items()}
    unknown = [check_id for check_id in check_ids if check_id.lower() not in known]
    if unknown:
        raise InvalidRequest(f"There is no check {', '.join(unknown)}; see docs/reference/checks.md.")
    return tuple(known[check_id.lower()] for check_id in check_ids)


def _what(incident: Incident, stopping: dict[str, int]) -> str:
    if incident.check_id in stopping:
        return f"{_rows(stopping[incident.check_id])} since {incident.opened_on}"
    return f"could not run ({(incident.message or '').splitlines()[0][:200]})"


def _rows(n: int) -> str:
    return f"{n:,} row{'s' * (n != 1)}"


def _named(checks: dict[str, int]) -> str:
    return ", ".join(f"{check_id} ({_rows(n)})" for check_id, n in checks.items())
