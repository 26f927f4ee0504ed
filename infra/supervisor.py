"""``loyalty up``: start the parts, wait until jobs will really run, keep them running, and stop in the right order.

Parts: the embedded Postgres, S3 server and mail sink (each only if no setting names another), the Prefect server
and a process worker. One supervisor per home, guarded by a lock that its death releases. Killed hard, it takes its
parts along; the next ``up`` starts over. Stopping drains first: a worker that is terminated kills its runs.
"""

import argparse
import contextlib
import datetime as dt
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from infra import alerts, cluster, database, deployments, embedded, prefect_api, prefect_database
from infra.backup_alerts import BackupAlerts
from infra.logs import configure
from infra.part import Part, PortTaken, require_free_port
from infra.prefect_api import PrefectApi, ServerUnreachable
from infra.services import Services, describe, hold_lock
from infra.settings import InvalidSettings, Settings, settings
from infra.watch import Watch, self_check

logger = logging.getLogger(__name__)

READY_SECONDS = 180
SWEEP_SECONDS = 30
POSTGRES_SECONDS = 5


class StartFailed(RuntimeError):
    """A part did not come up."""


class Supervisor:
    """The life of the parts of one home, from ``run`` to SIGTERM."""

    def __init__(self, settings: Settings, time_zone: str, say: Callable[[str], None]) -> None:
        """Decide nothing yet; ``run`` does."""
        self.settings = settings
        self.say = say
        self.time_zone = time_zone
        self.api: PrefectApi = prefect_api.connect(settings)
        self.parts: dict[str, Part] = {}
        self.asked_to_stop = 0
        self.began = time.monotonic()
        # A name of its own for every start: the server calls a worker online for half a minute after its death, and
        # the one of the previous start must not vouch for ours.
        self.worker = f"{socket.gethostname()}-{os.getpid()}"
        self.state = Services.starting(settings, time_zone)

    def run(self) -> int:
        """Start, watch until asked to stop, stop. The exit code says whether all of it went well."""
        self.state.save(self.settings.home)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_asked)
        try:
            self._start()
            self._watch()
        except (StartFailed, PortTaken, cluster.ClusterFailed, prefect_database.MigrationFailed) as error:
            if not self.asked_to_stop:
                logger.error("%s", error)
                return 1
        except ServerUnreachable as error:
            logger.error("The Prefect server stopped answering: %s", error)
            return 1
        finally:
            self._stop()
        return 0

    # Starting

    def _start(self) -> None:
        home = self.settings.home
        (home / "logs").mkdir(parents=True, exist_ok=True)
        self._require_free_ports()
        environment = prefect_api.environment(self.settings)
        if self._uses_embedded_postgres:
            embedded.postgres(self.settings)
            self._progress("Postgres is running")
        if embedded.serves_storage(self.settings):
            keys = embedded.storage_environment(self.settings)
            self._spawn("storage", embedded.storage_command(self.settings), environment | keys)
        if self.settings.smtp_url is None:
            self._spawn("mail", embedded.mail_command(self.settings), environment)
        if embedded.serves_unsubscribe(self.settings):
            self._spawn("unsubscribe", _python("infra.unsubscribe_page"), environment)
        if prefect_api.serves_prefect(self.settings):
            if prefect_database.migrate(self.settings, environment):
                self._progress("Prefect's database is made")
            address = ["--host", self.settings.prefect_host, "--port", str(self.settings.prefect_port)]
            self._spawn("server", _python("prefect", "server", "start", *address), environment)
        # Both import what they need while the server does, and wait for it: a third of the whole start.
        self._spawn("registration", _python("infra.registration", "--time-zone", self.time_zone), environment)
        self._spawn("worker", _python("infra.worker", "--name", self.worker), environment)
        self._wait_for("the Prefect server", self.api.is_ready)
        self._progress("The Prefect server answers")
        problems = self._await_registration()
        self._resume_pool()
        problems += self._await_self_check()
        self._announce(problems)

    def _require_free_ports(self) -> None:
        wanted = [("Prefect server", self.settings.prefect_host, self.settings.prefect_port, "LOYALTY_PREFECT_PORT")]
        if not prefect_api.serves_prefect(self.settings):
            wanted.clear()
        if embedded.serves_storage(self.settings):
            wanted.append(("S3 server", embedded.LOOPBACK, self.settings.s3_port, "LOYALTY_S3_PORT"))
        if self.settings.smtp_url is None:
            wanted.append(("mail sink", embedded.LOOPBACK, self.settings.smtp_port, "LOYALTY_SMTP_PORT"))
            wanted.append(("inbox page", embedded.LOOPBACK, self.settings.inbox_port, "LOYALTY_INBOX_PORT"))
        if embedded.serves_unsubscribe(self.settings):
            where = self.settings.unsubscribe_host, self.settings.unsubscribe_port
            wanted.append(("unsubscribe page", *where, "LOYALTY_UNSUBSCRIBE_PORT"))
        for part, host, port, setting in wanted:
            require_free_port(part, host, port, setting)

    def _spawn(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.parts[name] = Part(name, command, environment, self._log_of(name))
        self.parts[name].start()

    def _wait_for(self, what: str, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not happened():
            for part in self.parts.values():
                if not part.alive and part.name != "registration":
                    raise StartFailed(f"{part.name} stopped while starting:\n{_last_lines(part.log)}")
            if self.asked_to_stop or time.monotonic() > deadline:
                raise StartFailed(f"{what} did not become ready; see {self._log_of('')}.")
            time.sleep(0.1)

    def _await_registration(self) -> list[str]:
        part = self.parts["registration"]
        self._wait_for("registration", lambda: not part.alive)
        failed = part.process is not None and part.process.returncode != 0
        del self.parts["registration"]
        if not failed:
            self._progress(f"{len(deployments.DEPLOYMENTS)} deployments are registered, in {self.time_zone} time")
            return []
        return [f"some deployments could not be registered:\n{_last_lines(part.log)}"]

    def _await_self_check(self) -> list[str]:
        deadline = time.monotonic() + READY_SECONDS
        while problems := self_check(self.api, self.worker):
            self._restart_dead()
            if self.asked_to_stop or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return problems

    def _announce(self, problems: list[str]) -> None:
        self.state = self.state.now_ready(problems, {name: part.pid for name, part in self.parts.items()})
        self.state.save(self.settings.home)
        for problem in problems:
            logger.error("Not all is well: %s", problem)
        self._progress("READY" if not problems else "RUNNING, with the problems above")
        self.say(describe(self.state))

    # Running

    def _watch(self) -> None:
        ledger = BackupAlerts(lambda: database.ledger_url(self.settings, "batch"))
        watch = Watch(self.api, alerts.teller(self.settings), ledger.findings)
        last_sweep = last_look = time.monotonic()
        while not self.asked_to_stop:
            time.sleep(0.5)
            now = time.monotonic()
            try:
                self._restart_dead()
                if now - last_look > POSTGRES_SECONDS:
                    last_look = now
                    self._restart_dead_postgres()
                if now - last_sweep > SWEEP_SECONDS:
                    last_sweep = now
                    watch.sweep(dt.datetime.now(dt.UTC))
            except (ServerUnreachable, cluster.ClusterFailed) as error:
                # It may be restarting. What stays broken is said again in half a minute.
                logger.warning("The watch could not look: %s", error)

    def _restart_dead(self) -> None:
        restarted = [part.restart_if_dead() for part in self.parts.values()]
        if any(restarted):
            pids = {name: part.pid for name, part in self.parts.items()}
            # From the note, not from memory: a second `up` may have moved the schedules to another time zone.
            self.state = (Services.load(self.settings.home) or self.state).with_processes(pids)
            self.state.save(self.settings.home)

    def _restart_dead_postgres(self) -> None:
        if self._uses_embedded_postgres and not embedded.postgres_is_running(self.settings):
            logger.error("Postgres does not answer; starting it, see %s", self.settings.home / "postgres" / "log")
            embedded.postgres(self.settings)

    # Stopping

    def _stop(self) -> None:
        if "worker" in self.parts and self.parts["worker"].alive:
            self._drain()
        # The worker before the server, which it says goodbye to; the database of them all last.
        for name in ("registration", "worker", "server", "storage", "mail", "unsubscribe"):
            if name in self.parts:
                self.parts[name].stop()
            if name == "worker":
                with contextlib.suppress(ServerUnreachable):
                    self.api.forget_worker(self.worker)
                    # At once: the pool may have workers on other machines.
                    self._resume_pool()
        if self._uses_embedded_postgres:
            embedded.stop_postgres(self.settings)
        Services.forget(self.settings.home)
        logger.info("Stopped")

    def _drain(self) -> None:
        try:
            if self.api.pause_pool(paused=True):
                # Ours to undo, if need be at the next start; a pause by an operator is not.
                self._pause_note.touch()
            deadline = time.monotonic() + self.settings.drain_seconds
            told = -1
            while (active := len(self.api.active_runs(dt.datetime.now(dt.UTC)))) and self.asked_to_stop < 2:
                if active != told:
                    logger.info("Waiting for %s active runs to end", active)
                    told = active
                if time.monotonic() > deadline:
                    logger.error(
                        "%s runs are still active after %s s and will be Crashed", active, self.settings.drain_seconds
                    )
                    break
                time.sleep(1)
        except ServerUnreachable as error:
            logger.warning("Could not drain: %s", error)

    def _resume_pool(self) -> None:
        if self._pause_note.exists():
            self.api.pause_pool(paused=False)
            self._pause_note.unlink()

    # Small things

    @property
    def _uses_embedded_postgres(self) -> bool:
        ours = self.settings.prefect_database_url is None and prefect_api.serves_prefect(self.settings)
        return self.settings.database_url is None or ours

    @property
    def _pause_note(self) -> Path:
        return self.settings.home / "paused-by-drain"

    def _log_of(self, part: str) -> Path:
        return self.settings.home / "logs" / (f"{part}.log" if part else "")

    def _progress(self, what: str) -> None:
        logger.info("%4.1f s  %s", time.monotonic() - self.began, what)

    def _stop_asked(self, *_: object) -> None:
        self.asked_to_stop += 1


def supervise(settings: Settings, time_zone: str, say: Callable[[str], None] = lambda _: None) -> int:
    """Run a supervisor in this process until it is asked to stop; ``say`` gets the addresses once they answer.

    Raises:
        infra.services.AlreadyRunning: Another one looks after this home.
    """
    configure()
    hold_lock(settings.home)
    return Supervisor(settings, time_zone, say).run()


def _python(module: str, *arguments: str) -> list[str]:
    # -P: a folder that happens to be the current one must not shadow what is installed.
    return [sys.executable, "-P", "-m", module, *arguments]


def _last_lines(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def main() -> int:
    """Supervise what the environment describes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time-zone", required=True)
    asked = parser.parse_args()
    configure()
    try:
        return supervise(settings(), asked.time_zone)
    except InvalidSettings as error:
        logger.error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
