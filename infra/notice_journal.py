"""What a dispatcher did since it last told the ledger: a line before each message and a line after each answer.

A process that is killed leaves its file behind; the next dispatcher on this machine reads it and finishes in the ledger what
the provider had acknowledged, instead of sending it again. The lines outlive the process, not the machine: they are not
synced. They hold numbers, results and sealed proofs, no personal data in the open.
"""

import base64
import datetime as dt
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass
class Left:
    """A batch that a dead dispatcher left: what was leased, what was begun, and what was answered."""

    owner: str
    token: int
    moment: dt.datetime
    notice_ids: list[int]
    begun: set[int] = field(default_factory=set)
    answers: dict[int, Mapping[str, Any]] = field(default_factory=dict)


class Journal:
    """The file of one living dispatcher; held locked, so that nobody else takes it for a dead one's."""

    def __init__(self, folder: Path) -> None:
        """Start a new file."""
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            self.path = folder / f"{secrets.token_hex(8)}.jsonl"
            self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            if os.fstat(self._file).st_nlink:  # else: another one took it for a dead one's before it was locked
                return
            os.close(self._file)

    def __enter__(self) -> Self:
        """Nothing more to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the file when it holds nothing that the ledger does not know."""
        if os.fstat(self._file).st_size == 0:
            self.path.unlink()
        os.close(self._file)

    def batch(self, owner: str, token: int, moment: dt.datetime, notice_ids: Sequence[int]) -> None:
        """A batch was leased."""
        self._write({"owner": owner, "token": token, "moment": moment.isoformat(), "ids": list(notice_ids)})

    def begin(self, notice_id: int) -> None:
        """A message is about to go out."""
        self._write(notice_id)

    def answer(self, notice_id: int, facts: Mapping[str, Any], proof: bytes | None) -> None:
        """A message was answered. Called by the thread that sent it, at once."""
        sealed = base64.b64encode(proof).decode() if proof else None
        self._write({"id": notice_id, **facts, "proof": sealed})

    def done(self) -> None:
        """The ledger knows it all."""
        os.ftruncate(self._file, 0)

    def _write(self, line: Any) -> None:
        # One call to the kernel for a whole line: threads do not mix theirs, and a kill leaves no half of an earlier one.
        os.write(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")


def left_behind(folder: Path) -> Iterator[Left]:
    """What dead dispatchers left in a folder. A file is removed when the caller comes back for the next: it was dealt with."""
    for path in sorted(folder.glob("*.jsonl")):
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file).st_nlink:
                continue  # another one dealt with it meanwhile
            found = _read(path.read_bytes())
            if found is not None:
                yield found
            path.unlink()
        except BlockingIOError:
            continue  # its dispatcher lives
        finally:
            os.close(file)


def _read(content: bytes) -> Left | None:
    found: Left | None = None
    for raw in content.split(b"\n"):
        try:
            line = json.loads(raw)
        except ValueError:
            continue  # the end of the file, or the line that was being written
        if isinstance(line, int):
            assert found is not None  # noqa: S101 - a batch's line comes first
            found.begun.add(line)
        elif "ids" in line:
            found = Left(line["owner"], line["token"], dt.datetime.fromisoformat(line["moment"]), line["ids"])
        else:
            assert found is not None  # noqa: S101 - as above
            sealed = line.pop("proof")
            found.answers[line.pop("id")] = {**line, "proof": base64.b64decode(sealed) if sealed else None}
    return found
