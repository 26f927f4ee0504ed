"""Where the keys of contacts are kept: in the settings, else in a file of this machine beside the embedded services."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from infra.contact_cipher import ContactKeysRefused, MasterKeys, new_key

FILE: Final = "contact-keys.txt"
MARKS: Final = "marks:"  # the line of the file that holds the key of the marks


@dataclass(frozen=True)
class ContactKeys:
    """The key of the marks, and the master keys; None: contacts cannot be kept."""

    marks: bytes | None = field(repr=False)
    master: MasterKeys | None


def read(folder: Path, marks: str | None, master: str | None) -> ContactKeys:
    """The keys as they are set, and for what is not set, those of the file in ``folder``, if there is one.

    Raises:
        ContactKeysRefused: what is written there is no key.
    """
    path = folder / FILE
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if marks is None:
        marks = next((line.removeprefix(MARKS) for line in lines if line.startswith(MARKS)), None)
    if master is None:
        master = "\n".join(line for line in lines if not line.startswith(MARKS)) or None
    return ContactKeys(marks.encode() if marks else None, MasterKeys.parse(master) if master else None)


def generate(folder: Path) -> Path:
    """Make the file with new keys; return it.

    Raises:
        ContactKeysRefused: there is one; it is never overwritten.
    """
    path = folder / FILE
    if path.exists():
        raise ContactKeysRefused(f"{path} is there already, and without it no contact could be read any more.")
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.touch(mode=0o600)
    lines = [
        "# secret: opens the contacts of members. Keep a copy elsewhere.",
        MARKS + new_key(),
        f"k1:{new_key()}",
        "",
    ]
    unfinished.write_text("\n".join(lines), "utf-8")
    unfinished.replace(path)
    return path
