"""docs/howto/point-in-time.md, its commands run as they stand: base backup, log, disaster, and back to the second before it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from sqlalchemy import make_url

from infra import cluster, postgres_tools, schema
from points_ledger import totals

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "howto" / "point-in-time.md"
pytestmark = [pytest.mark.long, pytest.mark.race]


def block(name):
    [found] = re.findall(rf"<!-- {name} -->\n```sh\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return found


class Operator:
    """Runs blocks of the page as the user who runs Postgres, in one folder."""

    def __init__(self, folder, environment):
        self.folder, self.environment = folder, environment
        self.user = cluster.SERVER_USER if os.geteuid() == 0 else None

    def start(self, name, *, user=None, **values):
        script = "set -eu\n" + block("bucket") + block(name)
        return subprocess.Popen(
            ["/bin/sh", "-c", script], cwd=self.folder, env=self.environment | values, user=user, group=user,
            extra_groups=[] if user else None, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, name, **values):
        process = self.start(name, user=None if name == "prove" else self.user, **values)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, f"{name}: {said}"
        return said


@pytest.fixture
def source(ledger, tmp_path_factory):
    """A ledger on a server of its own, which can be lost as a whole."""
    folder = tmp_path_factory.mktemp("source") / "data"
    server = cluster.start(folder)
    server.create_database("loyalty")
    made = type(ledger)(make_url(server.url("postgres", "loyalty")))
    schema.upgrade(made.engine("admin"))
    made.start()
    yield made, server, folder
    made.dispose()
    cluster.stop(folder)


@pytest.fixture
def operator(source, storage, tmp_path):
    _, server, _ = source
    folder = tmp_path / "operator"
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, cluster.SERVER_USER)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o001)
    tools = postgres_tools.tools(18).folder
    programs = tmp_path / "programs"  # this checkout's `loyalty`, whatever else is installed
    programs.mkdir(mode=0o755)
    (programs / "loyalty").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m flows "$@"\n')
    (programs / "loyalty").chmod(0o755)
    path = os.pathsep.join([str(programs), str(tools), sysconfig.get_path("scripts"), os.environ["PATH"]])
    access = storage.access
    made = Operator(
        folder,
        {
            "PATH": path, "HOME": str(folder), "RCLONE_CONFIG": "", "PYTHONPATH": str(ROOT), "LOYALTY_HOME": str(folder / "home"),
            "SERVER": f"host={server.socket_directory} user=loyalty_archiver",
            "PHYSICAL_PASSWORD": "a long password", "PHYSICAL_SALT": "and its salt",
            "LOYALTY_S3_ENDPOINT_URL": str(access.endpoint_url), "LOYALTY_S3_BUCKET": access.bucket,
            "LOYALTY_S3_ACCESS_KEY_ID": access.access_key_id, "LOYALTY_S3_SECRET_ACCESS_KEY": access.secret_access_key,
        },
    )  # fmt: skip
    yield made
    if (folder / "restored" / "postmaster.pid").exists():
        os.kill(int((folder / "restored" / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)


def control(ledger):
    with ledger.engine("admin").connect() as connection:
        return totals.control_totals(connection)


def test_a_lost_server_comes_back_as_it_was_at_the_second_before_the_mistake(source, operator, storage):
    ledger, _, data = source
    ledger.rows("CREATE ROLE loyalty_archiver LOGIN REPLICATION")
    ledger.orders(*(f"A{n},m{n},2026-01-02 10:00,tea,1,{10 + n}" for n in range(20)))
    ledger.close("2026-01-03")
    receiver = operator.start("receive", user=operator.user)
    try:
        deadline = time.monotonic() + 30
        while not ledger.one("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'pg_receivewal'"):
            assert receiver.poll() is None, receiver.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        operator.run("base")
        before = control(ledger)
        ledger.orders(*(f"B{n},m{n},2026-01-05 10:00,tea,1,{10 + n}" for n in range(20)))
        ledger.close("2026-01-06")
        wanted, moment = control(ledger), str(ledger.one("SELECT clock_timestamp()"))
        assert wanted != before  # what only the log has
        time.sleep(1)
        ledger.rows("DROP SCHEMA points CASCADE")  # the mistake
        written = ledger.one("SELECT pg_current_wal_flush_lsn()")
        flushed = "SELECT bool_and(flush_lsn >= CAST(:lsn AS pg_lsn)) FROM pg_stat_replication"
        while not ledger.one(flushed, lsn=written):
            assert time.monotonic() < deadline + 60
            time.sleep(0.1)
        operator.run("ship")
    finally:
        receiver.terminate()
        receiver.wait()
    ledger.dispose()
    cluster.stop(data)
    shutil.rmtree(data)
    shutil.rmtree(operator.folder / "wal")
    kept = b"".join(path.read_bytes() for path in (storage.folder / "physical").rglob("*") if path.is_file())
    assert b"loyalty_owner" not in kept

    [name] = subprocess.run(
        ["/bin/sh", "-c", block("bucket") + "rclone lsf safe:base"], env=operator.environment, capture_output=True, text=True,
        check=True,
    ).stdout.split()  # fmt: skip
    operator.run("restore", NAME=name.rstrip("/"), MOMENT=moment)
    said = operator.run("prove")

    assert "everything agrees" in said
    copy = type(ledger)(make_url(f"postgresql+psycopg2://postgres@/loyalty?host={operator.folder}&port=5433"))
    assert control(copy) == wanted
    copy.dispose()
