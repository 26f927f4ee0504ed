"""Writes an evidence pack: a zip whose bytes follow from what is in it, with a manifest of every file's hash, signed.

Files go through one at a time and are never held: a pack is as large as its month, the memory it takes is not.
"""

import base64
import csv
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import IO, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.backup_keys import key_id, public_text

FORMAT: Final = 1
MANIFEST: Final = "MANIFEST.json"
SIGNATURE: Final = "MANIFEST.sig"
VERIFIER: Final = "verify_pack.py"
EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # a zip cannot say "no time"; any time at all would make two packs differ


class _Counted(io.RawIOBase):
    """A file of the pack being written, hashed on its way."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self.file, self.sha256, self.bytes = file, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.sha256.update(content)
        self.bytes += len(content)
        return self.file.write(content)


class EvidencePack:
    """A pack being written; see ``written``."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        """Nothing is in it yet."""
        self._zip = archive
        self.files: dict[str, dict[str, Any]] = {}
        self._rows: tuple[str, Any, Any] | None = None  # the population that rows are coming in for

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write into; one at a time, each name once."""
        self._end_rows()
        if name in self.files:
            raise ValueError(f"{name} is in the pack already")
        with self._zip.open(_entry(name), "w", force_zip64=True) as inside:
            counted = _Counted(inside)
            with io.BufferedWriter(counted, 1 << 16) as buffered:
                yield buffered
        self.files[name] = {"sha256": counted.sha256.hexdigest(), "bytes": counted.bytes}

    def put(self, name: str, content: bytes) -> None:
        """A file whose content is at hand."""
        with self.file(name) as file:
            file.write(content)

    def keep(self, name: str, row: Mapping[str, Any]) -> None:
        """A row of the population ``name``; all rows of one come before those of the next."""
        if self._rows is None or self._rows[0] != name:
            self._end_rows()
            held = self.file(f"{name}.csv")
            text = io.TextIOWrapper(held.__enter__(), "utf-8", newline="", write_through=True)
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(row)
            self._rows = name, (held, text), writer
        self._rows[2].writerow(row.values())

    def closed(self) -> set[str]:
        """The files that are whole; rows that were coming in end here."""
        self._end_rows()
        return set(self.files)

    def finish(self, facts: Mapping[str, Any], signer: Ed25519PrivateKey) -> str:
        """Write the manifest: ``facts``, and the hash of every file; sign it. Return the signer's key id."""
        self._end_rows()
        self.put(VERIFIER, resources.files("infra").joinpath(VERIFIER).read_bytes())
        body = (
            json.dumps({"format": FORMAT, **facts, "files": self.files}, indent=1, ensure_ascii=False).encode() + b"\n"
        )
        public = public_text(signer.public_key())
        signature = {"signature": base64.b64encode(signer.sign(body)).decode(), "public_key": public}
        for name, content in ((MANIFEST, body), (SIGNATURE, json.dumps(signature, indent=1).encode() + b"\n")):
            self._zip.writestr(_entry(name), content)
        return key_id(public)

    def _end_rows(self) -> None:
        if self._rows is not None:
            held, text = self._rows[1]
            self._rows = None
            text.detach()
            held.__exit__(None, None, None)


@contextmanager
def written(path: Path) -> Iterator[EvidencePack]:
    """A pack that appears at ``path`` when the block has ended, whole or not at all.

    Raises:
        OSError: it cannot be written there.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")  # two at once write two
    try:
        with zipfile.ZipFile(unfinished, "w") as archive:
            pack = EvidencePack(archive)
            try:
                yield pack
            finally:
                pack.closed()  # a zip with a file still open raises an error of its own over the one that ended the block
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # whatever this machine is
    entry.external_attr = 0o644 << 16
    return entry
