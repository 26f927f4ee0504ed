"""A process of its own for the race tests: runs the ``job`` it is given with its ``values``, and answers what came of it.

Jobs: ``night`` closes nights, and may be told where to die; ``till``, ``deliverer``, ``sweeper``, ``closer`` and
``holder`` run for some seconds beside each other.
"""

import csv
import datetime as dt
import hashlib
import io
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from points_ledger import events, expiry, feeds, orders, redemptions, runs, slices
from points_ledger import night as nights
from points_ledger.policy import policy_on

DAY = dt.timedelta(days=1)
LOST = "lost"  # the connection went away: the outcome is unknown


def sqlstate(error: BaseException) -> str:
    """What the database said, by code; of a chain of errors, the first that has one."""
    while error is not None:
        known = getattr(getattr(error, "orig", error), "pgcode", None)
        if known:
            return str(known)
        if isinstance(getattr(error, "orig", error), psycopg2.OperationalError | psycopg2.InterfaceError):
            return LOST
        if error.__cause__ is None and error.__context__ is None:
            return type(error).__name__
        error = error.__cause__ or error.__context__
    return "none"


# The night, and how it dies -----------------------------------------------------------------------------------------


class Killer:
    """Ends this process, or the backend that works for it, at the n-th statement or commit.

    ``at once`` strikes before the statement (or the commit) is sent, ``during`` some microseconds after, while the
    server works on it, ``after`` when the commit has been answered.
    """

    def __init__(
        self, engine: sa.Engine, url: str, *, whom: str, what: str, nth: int, when: str, microseconds: int
    ) -> None:
        self.url, self.whom, self.when, self.left, self.delay = url, whom, when, nth, microseconds / 1e6
        commit = engine.dialect.do_commit

        def committing(connection: Any) -> None:
            self.count("commit", what, connection)
            commit(connection)
            if when == "after" and self.left == 0 and what == "commit":
                self.strike(connection.dbapi_connection.info.backend_pid)

        engine.dialect.do_commit = committing  # type: ignore[method-assign]
        sa.event.listen(
            engine, "before_cursor_execute", lambda connection, *_: self.count("statement", what, connection.connection)
        )

    def count(self, happened: str, what: str, connection: Any) -> None:
        if happened != what:
            return
        self.left -= 1
        if self.left == 0 and self.when != "after":
            pid = connection.dbapi_connection.info.backend_pid
            if self.when == "at once":
                self.strike(pid)
            else:
                threading.Thread(target=lambda: (time.sleep(self.delay), self.strike(pid)), daemon=True).start()

    def strike(self, backend: int) -> None:
        if self.whom == "python":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.whom == "backend":
            os.kill(backend, signal.SIGKILL)  # the server goes through crash recovery
        else:
            connection = psycopg2.connect(self.url.replace("+psycopg2", ""))
            connection.autocommit = True
            connection.cursor().execute("SELECT pg_terminate_backend(%s)", (backend,))
            connection.close()


def night(job: dict[str, Any]) -> dict[str, Any]:
    # small commits: more of them to die between
    slices.work_off.__kwdefaults__["size"] = job["chunk"]
    expiry.apply.__kwdefaults__["chunk_size"] = job["chunk"]
    if not job["mutex"]:
        runs.only_one = lambda *_: nullcontext()  # type: ignore[assignment]
    engine = sa.create_engine(job["url"], isolation_level="READ COMMITTED", connect_args={"options": "-c timezone=UTC"})
    counted: Counter[str] = Counter()
    if job.get("kill"):
        Killer(engine, job["admin_url"], **job["kill"])
    else:
        sa.event.listen(engine, "before_cursor_execute", lambda *_: counted.update(["statement"]))
        sa.event.listen(engine, "commit", lambda *_: counted.update(["commit"]))
    closed = 0
    try:
        for _ in nights.close_nights(engine, through=dt.date.fromisoformat(job["through"]), code_version="race"):
            closed += 1
    except Exception as error:
        return {"closed": closed, "state": sqlstate(error), "error": f"{type(error).__name__}: {error}"[:500]}
    return {"closed": closed, "state": "done", **counted}


# Beside each other --------------------------------------------------------------------------------------------------


class Session:
    """A connection that is made again when it is lost."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection: Any = None

    def run(self, *statements: tuple[str, tuple[object, ...]]) -> list[Any]:
        """Run one statement, or several in one transaction; the rows of the first."""
        if self.connection is None or self.connection.closed:
            self.connection = psycopg2.connect(self.url, options="-c timezone=UTC -c lock_timeout=20s")
        self.connection.autocommit = len(statements) == 1
        try:
            with self.connection.cursor() as cursor:
                rows = None
                for statement, values in statements:
                    cursor.execute(statement, values)
                    rows = cursor.fetchall() if rows is None else rows
            if len(statements) > 1:
                self.connection.commit()
        except psycopg2.Error:
            if not self.connection.closed and len(statements) > 1:
                self.connection.rollback()
            raise
        return rows or []


@contextmanager
def counting(states: Counter[str]) -> Iterator[None]:
    try:
        yield
    except (psycopg2.Error, DBAPIError) as error:
        states[sqlstate(error)] += 1


def till(job: dict[str, Any]) -> dict[str, Any]:
    """Spends, holds, captures, releases and transfers; a call whose outcome is unknown is repeated with the same key."""
    choose, api, clock = random.Random(job["seed"]), Session(job["api_url"]), Session(job["batch_url"])
    members, acknowledged, changed = job["members"], [], []
    states: Counter[str] = Counter()
    pending: list[tuple[str, tuple[Any, ...]]] = []
    today, count, until = None, 0, time.monotonic() + job["seconds"]
    while time.monotonic() < until:
        if not pending:
            if today is None or count % 8 == 0:
                with counting(states):
                    today = clock.run(("SELECT points.last_closed() + 1", ()))[0][0]
            count += 1
            day = today + choose.choice([0, 0, 0, 1]) * DAY
            ref, member, points = (
                f"T{job['seed']}-{count}",
                choose.choice(members),
                choose.choice([1, 3, 5, 8, 12, 12, 30, 99999]),
            )
            pending = [("spend", (member, points, day, "till", ref))]
            if choose.random() < 0.25:
                end = (
                    ("capture", (member, ref, max(1, points - 2), day))
                    if choose.random() < 0.7
                    else ("release", (member, ref, day))
                )
                pending = [("hold", (member, points, day, day + choose.randint(0, 2) * DAY, ref)), end]
            elif choose.random() < 0.15:
                pending = [("transfer", (member, choose.choice([m for m in members if m != member]), points, day, ref))]
        verb, values = pending[0]
        call = (f"SELECT * FROM points.{verb}({', '.join(['%s'] * len(values))})", values)
        slow = [("SELECT pg_sleep(%s)", (choose.uniform(0, 0.02),))] if choose.random() < 0.3 else []
        try:
            [answer] = api.run(call, *slow)
        except psycopg2.Error as error:
            state = sqlstate(error)
            states[state] += 1
            if (
                state == "PL006"
                or (verb in ("capture", "release") and state == "PL007")
                or state not in (LOST, "PL001", "57P01", "57P02", "57P03")
            ):  # refused for good
                pending = []
            continue
        pending.pop(0)
        if len(answer) > 1:
            acknowledged.append([values[0], {"spend": "till"}.get(verb, verb), ref, *map(str, answer)])
            if choose.random() < 0.1:  # delivered twice
                with counting(states):
                    if api.run(call) != [answer]:
                        changed.append([verb, list(map(str, values))])
    return {"states": states, "acknowledged": acknowledged, "changed": changed}


class Csv:
    """Rows as a feed stream."""

    copy_format = "FORMAT csv, HEADER true"

    def __init__(self, columns: str, rows: list[tuple[object, ...]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns.split(","), *rows])
        self.columns = tuple(columns.split(","))
        self.bytes = io.BytesIO(text.getvalue().encode())
        self.sha256 = hashlib.sha256(self.bytes.getvalue()).hexdigest()

    def read(self, size: int = -1) -> bytes:
        return self.bytes.read(size)


def deliverer(job: dict[str, Any]) -> dict[str, Any]:
    """Imports the same files as every other deliverer of this seed, at the same time, and posts what waits."""
    engine = sa.create_engine(job["batch_url"], connect_args={"options": "-c timezone=UTC -c lock_timeout=20s"})
    states: Counter[str] = Counter()
    until, n, members = time.monotonic() + job["seconds"], 0, job["members"]
    first = dt.date.fromisoformat(job["first"])
    reading = feeds.Reading("race.csv", "race", {}, ".", None, None, 1)

    def take(feed: str, accept: Callable[..., Any], columns: str, rows: list[tuple[object, ...]]) -> None:
        with engine.begin() as connection:
            policy = policy_on(connection, first)
            feeds.import_file(connection, feeds.FEEDS[feed], Csv(columns, rows), reading, policy, accept)

    while time.monotonic() < until:
        choose = random.Random(f"{job['seed']}/{n}")
        day = first + n // 3 * DAY
        with counting(states):
            bought = [
                (f"D{n}-{i}", choose.choice(members), f"{day - choose.choice([0, 0, 1, 29, 31]) * DAY} 1{i}:00", "tea",
                 choose.choice([30, 60, -1]), "1.50") for i in range(6)
            ]  # fmt: skip
            take("orders", orders.accept, "order_no,member_no,placed_at,sku,quantity,unit_price", bought)
            spent = [(f"E{n}-{i}", choose.choice(members), f"{day} 1{i}:30", choose.randint(1, 30)) for i in range(4)]
            take("redemptions", redemptions.accept, "redemption_no,member_no,redeemed_at,points", spent)
            back = [(f"E{n - 1}-{i}", f"{day} 18:00") for i in range(2)]
            take("cancellations", redemptions.accept_cancellations, "redemption_no,cancelled_at", back)
            with engine.connect() as connection:
                today = connection.execute(sa.text("SELECT points.last_closed() + 1")).scalar_one()
            events.post(engine, through=today, run_id=None, final=False)
            n += 1
    engine.dispose()
    return {"states": states, "files": n}


def sweeper(job: dict[str, Any]) -> dict[str, Any]:
    """Clears what lapsed, beside the night that does the same."""
    engine = sa.create_engine(job["batch_url"], connect_args={"options": "-c timezone=UTC -c lock_timeout=20s"})
    states: Counter[str] = Counter()
    until = time.monotonic() + job["seconds"]
    while time.monotonic() < until:
        with counting(states):
            with engine.connect() as connection:
                closed = connection.execute(sa.text("SELECT points.last_closed()")).scalar_one()
            expiry.apply(engine, closed=closed, run_id=None, chunk_size=7)
    engine.dispose()
    return {"states": states}


def closer(job: dict[str, Any]) -> dict[str, Any]:
    """Closes one night after the other, for real; each goes on where the last one was stopped."""
    engine = sa.create_engine(job["batch_url"], connect_args={"options": "-c timezone=UTC -c lock_timeout=20s"})
    states: Counter[str] = Counter()
    errors: list[str] = []
    until, closed = time.monotonic() + job["seconds"], 0
    while time.monotonic() < until:
        try:
            with engine.connect() as connection:
                today = connection.execute(sa.text("SELECT points.last_closed() + 1")).scalar_one()
            closed += len(list(nights.close_nights(engine, through=today, code_version="race")))
        except Exception as error:
            states[sqlstate(error)] += 1
            errors.append(str(error)[:300])
        time.sleep(0.1)
    engine.dispose()
    return {"states": states, "closed": closed, "errors": errors[:5]}


def holder(job: dict[str, Any]) -> dict[str, Any]:
    """Keeps a wallet locked for a while, as a slow transaction does, and cuts somebody's connection now and then."""
    choose, admin, cutter = random.Random(job["seed"]), Session(job["admin_url"]), Session(job["admin_url"])
    states: Counter[str] = Counter()
    until, ids = time.monotonic() + job["seconds"], range(1, len(job["members"]) + 1)
    while time.monotonic() < until:
        with counting(states):
            admin.run(
                ("SELECT member_id FROM points.wallet WHERE member_id = %s FOR NO KEY UPDATE", (choose.choice(ids),)),
                ("SELECT pg_sleep(%s)", (choose.uniform(0.02, 0.15),)),
            )  # fmt: skip
            if choose.random() < 0.6:
                cutter.run(
                    ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                     " AND usename = ANY(%s) AND state <> 'idle' ORDER BY random() LIMIT 1", (job["cut"],)),
                )  # fmt: skip
    return {"states": states}


JOBS = {f.__name__: f for f in (night, till, deliverer, sweeper, closer, holder)}

if __name__ == "__main__":
    answer(JOBS[job](values))  # noqa: F821 - given
