"""Runs: one execution of a job for one business date, claimed in Postgres and taken up again after a kill."""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, text

NIGHT = "close-night"


def claim(
    connection: Connection, job: str, business_date: dt.date, *, code_version: str, flow_run_id: str | None
) -> int | None:
    """Start, or take up again, the run of a job for a date; None when it is done."""
    run = connection.execute(
        text(
            "INSERT INTO points.run (job, business_date, code_version, flow_run_id)"
            " VALUES (:job, :business_date, :code_version, :flow_run_id)"
            " ON CONFLICT (job, business_date) WHERE undoes IS NULL"
            " DO UPDATE SET status = 'running', message = NULL, finished_at = NULL,"
            " code_version = excluded.code_version, flow_run_id = excluded.flow_run_id"
            " WHERE points.run.status <> 'done' RETURNING run_id"
        ),
        {"job": job, "business_date": business_date, "code_version": code_version, "flow_run_id": flow_run_id},
    ).scalar_one_or_none()
    return None if run is None else int(run)


def finish(connection: Connection, run_id: int, totals: dict[str, Any]) -> None:
    """Mark a run done, with totals counted from the ledger."""
    connection.execute(
        text(
            "UPDATE points.run SET status = 'done', totals = CAST(:totals AS jsonb), finished_at = clock_timestamp()"
            " WHERE run_id = :run_id"
        ),
        {"run_id": run_id, "totals": json.dumps(totals)},
    )


def stop(connection: Connection, run_id: int, status: str, message: str) -> None:
    """Mark a run ``failed`` or ``waiting``, with the reason on-call will read; never one that another call finished."""
    connection.execute(
        text(
            "UPDATE points.run SET status = :status, message = :message, finished_at = clock_timestamp()"
            " WHERE run_id = :run_id AND status <> 'done'"
        ),
        {"run_id": run_id, "status": status, "message": message},
    )


def withhold(connection: Connection, run_id: int, checks: dict[str, int]) -> None:
    """Say which checks' findings keep a run from taking points away (rows by check id); none: nothing does."""
    connection.execute(
        text("UPDATE points.run SET withheld = CAST(:checks AS jsonb) WHERE run_id = :run_id"),
        {"run_id": run_id, "checks": json.dumps(checks) if checks else None},
    )


def withheld(connection: Connection, run_id: int) -> dict[str, int]:
    """The checks that kept a run from taking points away."""
    found: dict[str, int] | None = connection.execute(
        text("SELECT withheld FROM points.run WHERE run_id = :run_id"), {"run_id": run_id}
    ).scalar_one()
    return found or {}


def cleared(connection: Connection, run_id: int) -> None:
    """Say that the lots due at a run's close are cleared."""
    connection.execute(
        text("UPDATE points.run SET cleared_at = clock_timestamp() WHERE run_id = :run_id"), {"run_id": run_id}
    )


@contextmanager
def only_one(engine: Engine, job: str) -> Iterator[None]:
    """Hold the job's mutex; a second call waits for the first, and a killed one lets go with its connection."""
    with engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(20264, hashtext(:job))"), {"job": job})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(20264, hashtext(:job))"), {"job": job})
            connection.execute(text("RESET lock_timeout"))
