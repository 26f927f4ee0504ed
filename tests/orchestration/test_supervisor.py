"""``loyalty up`` as an operator meets it: real processes, killed for real, in a home with a very long path."""

import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from infra import services
from infra.backup_alerts import BackupAlerts
from infra.prefect_api import POOL, PrefectApi, connect
from infra.settings import Settings
from infra.watch import Watch, self_check

pytestmark = pytest.mark.server

LOYALTY = "from flows.commands.services import {0}; {0}()"
PROBE = """
import pathlib, time
from prefect import flow

@flow(name="probe")
def probe(note: str, seconds: float = 0) -> None:
    pathlib.Path(note).write_text("started")
    time.sleep(seconds)
    pathlib.Path(note).write_text("finished")
"""


class Installation:
    """A home of its own, the commands of an operator, and a job that leaves a note."""

    def __init__(self, folder: Path) -> None:
        # Longer than a socket's path may be: the home of a real user can be anywhere.
        self.home = folder / ("h" * 60) / ("o" * 60) / "loyalty"
        self.notes = folder / "notes"
        code = folder / "code"
        self.notes.mkdir()
        code.mkdir()
        (code / "probe_job.py").write_text(PROBE)
        ports = free_ports(5)
        self.settings = Settings(
            home=self.home, prefect_port=ports[0], s3_port=ports[1], smtp_port=ports[2], inbox_port=ports[3],
            unsubscribe_port=ports[4],
        )  # fmt: skip
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("LOYALTY_")}
        self.environment |= {
            "LOYALTY_HOME": str(self.home),
            "LOYALTY_PREFECT_PORT": str(ports[0]),
            "LOYALTY_S3_PORT": str(ports[1]),
            "LOYALTY_SMTP_PORT": str(ports[2]),
            "LOYALTY_INBOX_PORT": str(ports[3]),
            "LOYALTY_UNSUBSCRIBE_PORT": str(ports[4]),
            "LOYALTY_DRAIN_SECONDS": "60",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH", "")])),
        }

    @property
    def api(self) -> PrefectApi:
        return connect(self.settings)

    @property
    def running(self) -> services.Services:
        found = services.running(self.settings)
        assert found is not None
        return found

    def loyalty(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-P", "-c", LOYALTY.format(command), *arguments],
            env=self.environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=150,
        )

    def start_probe(self, seconds: float = 0) -> tuple[str, Path]:
        note = self.notes / uuid.uuid4().hex
        flow = self.api.call("POST", "/flows/", {"name": "probe"})["id"]
        deployment = {"name": "probe", "flow_id": flow, "entrypoint": "probe_job.probe", "work_pool_name": POOL}
        identity = self.api.call("POST", "/deployments/", deployment)["id"]
        parameters = {"parameters": {"note": str(note), "seconds": seconds}}
        run = self.api.call("POST", f"/deployments/{identity}/create_flow_run", parameters)
        return run["id"], note

    def start_lost_run(self, state: str) -> str:
        """A run of which the server believes that it is in this state, and that no process executes."""
        self.api.pause_pool(paused=True)
        try:
            run, _ = self.start_probe()
            self.api.call("POST", f"/flow_runs/{run}/set_state", {"state": {"type": state}, "force": True})
        finally:
            self.api.pause_pool(paused=False)
        return run

    def state_of(self, run: str) -> str:
        return str(self.api.call("GET", f"/flow_runs/{run}")["state_type"])

    def processes(self) -> list[str]:
        """What still runs out of this home, ours or not."""
        mark = os.fsencode(self.home)
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def wait_until(happened, seconds=40):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    made = Installation(tmp_path_factory.mktemp("installation"))
    try:
        first = made.loyalty("up", "--detach")
        assert first.returncode == 0, first.stdout + first.stderr
        assert "READY" in first.stdout
        yield made
    finally:
        made.loyalty("down")


@pytest.fixture
def up(installation):
    """The installation, up whatever the previous test did to it."""
    if services.running(installation.settings) is None:
        again = installation.loyalty("up", "--detach")
        assert again.returncode == 0, again.stdout + again.stderr
    return installation


def test_the_note_of_the_services_is_plain_json(up):
    note = json.loads((up.home / "services.json").read_text())

    assert note["ui_url"].endswith("/v2")
    assert note["problems"] == []


def test_a_second_up_says_that_it_runs_and_where(up):
    before = up.running

    second = up.loyalty("up", "--detach")

    assert second.returncode == 0
    assert "Already running" in second.stdout
    assert up.running.ui_url in second.stdout
    assert up.running == before


def test_every_active_schedule_has_an_upcoming_run(up):
    nightly = [item for item in up.api.deployments() if item["name"] == "nightly"]

    assert [item["entrypoint"] for item in nightly] == ["flows.night.close_night"]
    assert all(up.api.has_upcoming_run(item["id"]) for item in nightly)
    assert self_check(up.api, "nobody") == ["worker nobody is not online"]


def test_killed_parts_come_back_and_jobs_run(up):
    before = up.running.processes

    for part in ("worker", "storage", "mail", "unsubscribe"):
        os.kill(before[part], signal.SIGKILL)
    wait_until(lambda: not set(before.values()) - {before["server"]} & set(up.running.processes.values()))
    run, note = up.start_probe()

    wait_until(lambda: up.state_of(run) == "COMPLETED")
    assert note.read_text() == "finished"
    assert up.running.processes["server"] == before["server"]


def test_a_silent_run_becomes_crashed_and_one_that_waits_for_a_person_does_not(up):
    silent, waiting = up.start_lost_run("RUNNING"), up.start_lost_run("PAUSED")
    told = []
    watch = Watch(up.api, told.append)
    now = dt.datetime.now(dt.UTC)

    assert watch.sweep(now) == []
    [finding] = watch.sweep(now + dt.timedelta(minutes=5))

    assert "was silent" in finding
    assert told == [[finding]]
    assert (up.state_of(silent), up.state_of(waiting)) == ("CRASHED", "PAUSED")


def test_an_overdue_night_is_told_once_with_its_consequence_and_runbook(up):
    told = []
    watch = Watch(up.api, told.append)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=27)

    findings = [finding for finding in watch.sweep(later) if "close_night has not succeeded" in finding]

    assert len(findings) == 1
    assert "flows.night.close_night" in findings[0]
    assert "docs/howto/rerun-a-night.md" in findings[0]
    assert [finding for finding in watch.sweep(later) if "close_night has not succeeded" in finding] == []


def test_a_backup_job_that_completed_without_a_good_backup_is_told_by_the_catalogue(up, ledger):
    ledger.start()
    ledger.rows("ALTER TABLE points.policy_version DISABLE TRIGGER USER")
    ledger.rows("UPDATE points.policy_version SET added_at = added_at - interval '27 hours'")
    [job] = [item for item in up.api.deployments() if item["entrypoint"] == "flows.backup.back_up_ledger"]
    up.api.call("POST", f"/deployments/{job['id']}/create_flow_run", {"state": {"type": "COMPLETED"}})
    catalogue = BackupAlerts(lambda: ledger.url.set(username="loyalty_batch").render_as_string(hide_password=False))
    told = []
    watch = Watch(up.api, told.append, catalogue.findings)

    found = [finding for finding in watch.sweep(dt.datetime.now(dt.UTC)) if "backup" in finding]

    assert [finding.partition(".")[0] for finding in found] == ["There is no good backup at all"]
    assert found[0] in told[0]
    assert [finding for finding in watch.sweep(dt.datetime.now(dt.UTC)) if "backup" in finding] == []


def test_what_an_operator_paused_stays_paused_through_down_and_up(up):
    [nightly] = [item for item in up.api.deployments() if item["name"] == "nightly"]
    up.api.call("PATCH", f"/deployments/{nightly['id']}", {"paused": True})
    run, note = up.start_probe(seconds=4)
    wait_until(lambda: up.state_of(run) == "RUNNING" and note.exists())

    stopped = up.loyalty("down")

    # The drain: `down` waited for the run, and then left nothing behind, Postgres included.
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert note.read_text() == "finished"
    assert up.processes() == []

    again = up.loyalty("up", "--detach")
    assert again.returncode == 0, again.stdout + again.stderr
    [nightly] = [item for item in up.api.deployments() if item["name"] == "nightly"]
    assert nightly["paused"]
    assert not up.api.call("GET", f"/work_pools/{POOL}")["is_paused"]  # that pause was ours
    assert up.state_of(run) == "COMPLETED"
    up.api.call("PATCH", f"/deployments/{nightly['id']}", {"paused": False})


def test_a_taken_port_is_refused_with_the_name_of_its_setting(up, tmp_path):
    taken = up.environment | {"LOYALTY_HOME": str(tmp_path / "other")}

    refused = subprocess.run(
        [sys.executable, "-P", "-c", LOYALTY.format("up"), "--detach"],
        env=taken,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert refused.returncode == 1
    assert f"Port {up.settings.prefect_port} on 127.0.0.1 is taken" in refused.stdout
    assert "LOYALTY_PREFECT_PORT" in refused.stdout


def test_a_supervisor_killed_hard_takes_its_parts_along(up):
    # Last in this file: whatever came after it would pay for another start.
    parts = up.running.processes

    os.kill(up.running.pid, signal.SIGKILL)

    wait_until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() and alive(pid) for pid in parts.values()))
    assert services.running(up.settings) is None
    stopped = up.loyalty("down")
    assert stopped.returncode == 0
    assert up.processes() == []


def alive(pid: int) -> bool:
    # A zombie has no command line any more; in a container nobody may collect it.
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False
