"""The services of one home as others see them: are they up, where, and how to bring them up or down.

``supervisor`` does the work in a process of its own; this module starts it, asks it to stop, and reads the note it
leaves in ``home/services.json``. The note is believed only while the supervisor holds its lock.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from infra import embedded, prefect_api
from infra.settings import Settings, child_environment


class AlreadyRunning(RuntimeError):
    """Another supervisor looks after this home."""


@dataclass(frozen=True)
class Services:
    """What a supervisor says about itself."""

    pid: int
    time_zone: str
    ui_url: str
    api_url: str
    storage_url: str | None
    mail: str
    home: str
    ready: bool = False
    problems: tuple[str, ...] = ()
    processes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def starting(cls, settings: Settings, time_zone: str) -> "Services":
        """What is known before anything runs."""
        mail = "your SMTP server" if settings.smtp_url else embedded.inbox_url(settings)
        urls = prefect_api.ui_url(settings), prefect_api.api_url(settings)
        storage = embedded.storage_access(settings).endpoint_url
        return cls(os.getpid(), time_zone, *urls, storage, mail, str(settings.home))

    def now_ready(self, problems: list[str], processes: dict[str, int]) -> "Services":
        """The same, up."""
        return dataclasses.replace(self, ready=True, problems=tuple(problems), processes=processes)

    def with_processes(self, processes: dict[str, int]) -> "Services":
        """The same, after a restart of some."""
        return dataclasses.replace(self, processes=processes)

    def with_time_zone(self, time_zone: str) -> "Services":
        """The same, its deployments registered in another zone."""
        return dataclasses.replace(self, time_zone=time_zone)

    def save(self, home: Path) -> None:
        """Write the note, so that a reader never sees half of it."""
        unfinished = home / f"services.json.{os.getpid()}"
        unfinished.write_text(json.dumps(dataclasses.asdict(self), indent=2))
        unfinished.replace(home / "services.json")

    @classmethod
    def load(cls, home: Path) -> "Services | None":
        """Read the note, whoever wrote it."""
        try:
            note = json.loads((home / "services.json").read_text())
        except FileNotFoundError:
            return None
        return cls(**note | {"problems": tuple(note["problems"])})

    @staticmethod
    def forget(home: Path) -> None:
        """Remove the note."""
        (home / "services.json").unlink(missing_ok=True)


def hold_lock(home: Path) -> None:
    """Be the only supervisor of this home until this process ends, however it does: whoever sees the lock free sees it gone.

    Raises:
        AlreadyRunning: Another process is.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = os.open(home / "services.lock", os.O_WRONLY | os.O_CREAT, 0o644)  # the kernel closes it
    for attempt in range(50):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            # Somebody who only looks (below) holds it for a moment.
            if attempt == 49:
                os.close(lock)
                raise AlreadyRunning(f"Another supervisor looks after {home}.") from error
            time.sleep(0.02)


def is_supervised(home: Path) -> bool:
    """Whether a supervisor holds the lock. Shared, so that two who look do not see each other."""
    try:
        with (home / "services.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def running(settings: Settings) -> Services | None:
    """The services of this home, if a supervisor looks after them."""
    # Without a note it is in its first or last moments.
    return Services.load(settings.home) if is_supervised(settings.home) else None


def up(settings: Settings, *, detach: bool, time_zone: str, say: Callable[[str], None] = print) -> int:
    """Bring the services up, in the background or in this process; the exit code for a shell.

    If they are up already, say so and where; if the programme's time zone has changed meanwhile, move the schedules.
    """
    if found := running(settings):
        say(f"Already running (pid {found.pid}).")
        code = _move_schedules(settings, found, time_zone, say)
        say(describe(found))
        return code
    if not detach:
        # The supervisor is imported where it is used: `loyalty --help` should not load it.
        from infra.supervisor import supervise  # noqa: PLC0415 - it imports this module

        return supervise(settings, time_zone, say)
    logs = settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / "supervisor.log"
    with log.open("ab") as output:
        follow_from = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "infra.supervisor", "--time-zone", time_zone],
            env=child_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=logs,
            start_new_session=True,
        )
    return _follow(settings, process, log, follow_from, say)


def down(settings: Settings, *, say: Callable[[str], None] = print) -> int:
    """Drain and stop everything of this home, Postgres too; the exit code for a shell."""
    found = running(settings)
    if found is not None:
        say("Stopping: new runs wait, active ones are waited for.")
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGTERM)
        deadline = time.monotonic() + settings.drain_seconds + 120
        while is_supervised(settings.home):
            if time.monotonic() > deadline:
                say(f"The supervisor (pid {found.pid}) does not stop; see {settings.home / 'logs'}.")
                return 1
            time.sleep(0.1)
    # A command of the ledger may have started Postgres without any supervisor.
    stopped_postgres = embedded.stop_postgres(settings)
    say("Stopped." if found or stopped_postgres else "Nothing was running.")
    return 0


def describe(services: Services) -> str:
    """Where everything is, for people."""
    lines = [("Prefect UI", services.ui_url), ("S3", services.storage_url), ("mail", services.mail)]
    lines.append(("logs", str(Path(services.home) / "logs")))
    return "\n".join(f"  {name:<11}{where}" for name, where in lines if where)


def _follow(
    settings: Settings, process: "subprocess.Popen[bytes]", log: Path, position: int, say: Callable[[str], None]
) -> int:
    """Pass on what the supervisor logs until it is ready or gone."""
    with log.open(errors="replace") as lines:
        lines.seek(position)
        while True:
            gone = process.poll() is not None
            found = running(settings)
            for line in lines:
                say(line.rstrip("\n"))
            if gone:
                say(f"Did not start; see {log.parent}.")
                return 1
            if found and found.pid == process.pid and found.ready:
                say(describe(found))
                return 1 if found.problems else 0
            time.sleep(0.1)


def _move_schedules(settings: Settings, found: Services, time_zone: str, say: Callable[[str], None]) -> int:
    if time_zone == found.time_zone or not found.ready:
        return 0
    command = [sys.executable, "-P", "-m", "infra.registration", "--time-zone", time_zone]
    done = subprocess.run(command, env=prefect_api.environment(settings), capture_output=True, text=True)
    if done.returncode:
        say(f"The schedules could not be moved to {time_zone} time:\n{done.stderr}")
        return 1
    found.with_time_zone(time_zone).save(settings.home)
    say(f"The schedules are in {time_zone} time now (before: {found.time_zone}).")
    return 0
