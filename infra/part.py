"""A part: one long-running process that ``loyalty up`` starts, watches, restarts and stops."""

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG: Final = 1
LONGEST_PAUSE: Final = 30.0


class PortTaken(RuntimeError):
    """Another program listens where a part should."""

    def __init__(self, part: str, host: str, port: int, setting: str) -> None:
        """Say who wanted the port, and which setting moves it."""
        super().__init__(part, host, port, setting)
        self.part, self.host, self.port, self.setting = part, host, port, setting

    def __str__(self) -> str:
        """One sentence with the way out."""
        return f"Port {self.port} on {self.host} is taken; the {self.part} needs it. Set {self.setting} to a free one."


@dataclass
class Part:
    """What to run, and the process that runs it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    pause: float = 0.5  # before the next restart; grows while the part dies young

    def start(self) -> None:
        """Start the process: a session of its own, its output in its log."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                start_new_session=True,  # Ctrl-C in our terminal is for us; parts are stopped in order
                preexec_fn=_live_and_die_with_the_supervisor,  # safe: we have one thread
            )
        self.started = time.monotonic()
        logger.debug("part started", extra={"part": self.name, "pid": self.process.pid})

    @property
    def pid(self) -> int:
        """The process's number; 0 before it was started."""
        return self.process.pid if self.process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def restart_if_dead(self) -> bool:
        """Start it again if it died, after a pause that grows while it keeps dying young."""
        if self.process is None or self.alive:
            return False
        if time.monotonic() - self.started > LONGEST_PAUSE:
            self.pause = 0.5
        logger.error("%s exited with %s; restarting, see %s", self.name, self.process.returncode, self.log)
        time.sleep(self.pause)
        self.pause = min(self.pause * 2, LONGEST_PAUSE)
        self.start()
        return True

    def stop(self, seconds: float = 15) -> None:
        """Ask it to stop, insist after ``seconds``, and leave nothing of its session behind."""
        if self.process is None:
            return
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                logger.warning("%s did not stop in %s s; killing it", self.name, seconds)
        self.kill_session()
        self.process.wait()
        self.process = None

    def kill_session(self) -> None:
        """Kill the process and whatever it started and did not take along."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return


def require_free_port(part: str, host: str, port: int, setting: str) -> None:
    """Refuse early, with the name of the setting, rather than late in a log.

    Raises:
        PortTaken: Something listens there already.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: a connection of the previous run that is still closing does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise PortTaken(part, host, port, setting) from error


def _live_and_die_with_the_supervisor() -> None:
    # Prefect turns SIGTERM into SIGINT, which a shell may have left ignored in us and thus in our children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
