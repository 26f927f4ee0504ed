"""The catalogue as a Great Expectations suite: one custom expectation, one statement a check, one exported snapshot.

Importing this module imports Great Expectations: seven seconds and 240 MB. Only the job ``check-ledger`` does, and late.
The stock expectations would read each table more than twice as often, each in a moment of its own (measured; design 9).
"""

import datetime as dt
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import great_expectations as gx
import sqlalchemy as sa
from great_expectations.core import ExpectationValidationResult
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metadata_types import FailureSeverity
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.query_metric_provider import QueryMetricProvider

from expectations import runner
from expectations.catalogue import BY_ID, Check
from points_ledger.check_findings import Answer, CheckRun

SAMPLE = 20  # rows that the result itself carries; the others go round it, for it would cap them
_FOUND: ContextVar[dict[str, tuple[int, list[dict[str, Any]], int]]] = ContextVar("found")


class OffendingRows(QueryMetricProvider):
    """The metric: a check's statement, executed once."""

    metric_name = "ledger.offending_rows"
    value_keys = ("check_id", "bound_to")

    @metric_value(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(  # type: ignore[no-untyped-def] # - the decorator decides the signature
        cls,  # noqa: N805 - Great Expectations calls it with the class
        execution_engine: SqlAlchemyExecutionEngine,
        metric_domain_kwargs,  # noqa: ANN001, ARG002 - its signature
        metric_value_kwargs: dict[str, Any],
        metrics,  # noqa: ANN001, ARG002 - its signature
        runtime_configuration,  # noqa: ANN001, ARG002 - its signature
    ) -> dict[str, Any]:
        check = BY_ID[metric_value_kwargs["check_id"]]
        begun = time.perf_counter()
        statement = runner.query(check, "full")
        names = statement.compile().params
        bound = {name: value for name, value in metric_value_kwargs["bound_to"].items() if name in names}
        row = execution_engine.execute_query(statement.bindparams(**bound)).one()
        milliseconds = round((time.perf_counter() - begun) * 1000)
        _FOUND.get()[check.id] = (row.n, row.rows, milliseconds)
        return {"n": row.n, "rows": row.rows[:SAMPLE], "ms": milliseconds}


class ExpectNoOffendingRows(BatchExpectation):
    """The statement of a check returns the rows that are wrong; none is expected."""

    check_id: str
    title: str
    bound_to: dict[str, str]
    metric_dependencies: ClassVar[tuple[str, ...]] = ("ledger.offending_rows",)
    success_keys: ClassVar[tuple[str, ...]] = ("check_id", "title", "bound_to")
    domain_keys: ClassVar[tuple[str, ...]] = ("batch_id",)

    def _validate(  # type: ignore[no-untyped-def] # - the base class has none to keep to
        self,
        metrics: dict[str, Any],
        runtime_configuration=None,  # noqa: ANN001, ARG002 - its signature
        execution_engine=None,  # noqa: ANN001, ARG002 - its signature
    ) -> dict[str, Any]:
        found = metrics["ledger.offending_rows"]
        return {
            "success": found["n"] == 0,
            "result": {"observed_value": found["n"], "details": {"unexpected_rows": found["rows"], "ms": found["ms"]}},
        }


def run_suite(
    reader: sa.Engine,
    checks: Sequence[Check],
    *,
    as_of: dt.date,
    keep: Callable[[dict[str, Any]], None] = lambda _validation: None,
) -> CheckRun:
    """Run checks in their full form, all in one snapshot. A check that cannot run is answered with its error.

    ``keep`` is given what Great Expectations answered, as plain values.

    Raises:
        sqlalchemy.exc.DBAPIError: the ledger cannot be reached.
    """
    found: dict[str, tuple[int, list[dict[str, Any]], int]] = {}
    token = _FOUND.set(found)
    try:
        with runner.snapshot(reader) as (holder, name, started_at):
            exported = holder.execute(sa.text("SELECT pg_export_snapshot()")).scalar_one()
            with _suite(reader, exported, checks, runner.values(as_of, "full")) as validation:
                answered = validation.run(result_format="COMPLETE")
    finally:
        _FOUND.reset(token)
    keep(answered.to_json_dict())  # type: ignore[no-untyped-call] # - it has no annotations
    by_id = {
        result.expectation_config.kwargs["check_id"]: result for result in answered.results if result.expectation_config
    }
    answers = tuple(_answer(check, by_id[check.id], found.get(check.id)) for check in checks)
    return CheckRun(as_of, "full", "great_expectations", name, started_at, answers)


@contextmanager
def _suite(
    reader: sa.Engine, exported: str, checks: Sequence[Check], bound_to: dict[str, str]
) -> Iterator[gx.ValidationDefinition]:
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # it tells of a folder it does not use
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="great_expectations")
        source = context.data_sources.add_postgres(
            "ledger",
            connection_string=_url(reader),
            kwargs={"pool_size": 1, "max_overflow": 0},  # type: ignore[call-arg] # - its stub forgets it
        )
    execution = source.get_execution_engine()
    sa.event.listen(execution.engine, "begin", lambda connection: _pin(connection, exported))
    try:
        batch = source.add_query_asset("ledger", query="SELECT 1 AS one").add_batch_definition_whole_table("all")
        expectations = [
            ExpectNoOffendingRows(
                check_id=check.id,
                title=check.title,
                bound_to=bound_to,
                severity=FailureSeverity.CRITICAL if check.severity == "stop" else FailureSeverity.WARNING,
                meta={"owner": check.owner, "runbook": check.runbook},
            )
            for check in checks
        ]
        suite = context.suites.add(gx.ExpectationSuite(name="ledger", expectations=expectations))
        yield context.validation_definitions.add(gx.ValidationDefinition(name="ledger", data=batch, suite=suite))
    finally:
        # it keeps two engines, and closes neither by itself
        execution.close()
        source.get_engine().dispose()


def _url(reader: sa.Engine) -> str:
    # Great Expectations refuses an address without a host; the one in the query, a socket's folder, is the one that counts.
    url = reader.url if reader.url.host else reader.url.set(host="localhost")
    session = "-c timezone=UTC -c jit=off -c statement_timeout=1h"
    return url.update_query_dict({"options": session}).render_as_string(hide_password=False)


def _pin(connection: sa.Connection, exported: str) -> None:
    cursor = connection.connection.cursor()
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    cursor.execute("SET TRANSACTION SNAPSHOT %s", (exported,))
    cursor.close()


def _answer(
    check: Check, result: ExpectationValidationResult, found: tuple[int, list[dict[str, Any]], int] | None
) -> Answer:
    if found is None:
        # healthy results carry {"raised_exception": False}; broken ones a dict for each metric that raised
        raised = [value for value in (result.exception_info or {}).values() if isinstance(value, dict)]
        message = str(raised[0]["exception_message"]) if raised else "Great Expectations did not run it."
        return runner.answer(check, "full", 0, (), 0, message[: runner.MESSAGE])
    return runner.answer(check, "full", found[0], found[1], found[2])
