"""The parts of a backup, each an object: cut and stored while more comes, fetched one ahead and checked before use."""

import hashlib
import io
import queue
import threading
from dataclasses import asdict, dataclass
from typing import Any

from infra.backup_refusals import BackupDamaged, StorageFailed
from infra.object_store import Lock, ObjectStore

PART_BYTES = 8 << 20
UPLOADS = 2  # at once; so many parts wait, so many are under way, one is being filled


@dataclass(frozen=True)
class Part:
    """One object: its place, its size in bytes, its SHA-256 in hexadecimal digits, its version in a bucket that keeps them."""

    number: int
    size: int
    sha256: str
    version: str | None = None

    @property
    def name(self) -> str:
        """Its key under the backup's prefix."""
        return part_name(self.number)


@dataclass(frozen=True)
class Sealed:
    """What became of a stream."""

    plain_bytes: int
    plain_sha256: str
    stored_bytes: int
    parts: tuple[Part, ...]

    def document(self) -> dict[str, Any]:
        """As the manifest keeps it."""
        return {**asdict(self), "parts": [asdict(part) for part in self.parts]}

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Sealed":
        """From a manifest."""
        parts = tuple(Part(**part) for part in document["parts"])
        return cls(document["plain_bytes"], document["plain_sha256"], document["stored_bytes"], parts)


def part_name(number: int) -> str:
    """The key of a part under its backup's prefix."""
    return f"part-{number:06d}"


def check_part(store: ObjectStore, prefix: str, part: Part) -> bytes:
    """A part's content; by its version, where it has one, whatever was written over it or hides it.

    Raises:
        BackupDamaged: it is missing, or differs from what was stored.
        StorageFailed: the server refused, or does not answer.
    """
    content = store.get(prefix + part.name, part.version)
    if content is None:
        raise BackupDamaged(f"{prefix}{part.name} is missing.")
    if len(content) != part.size or hashlib.sha256(content).hexdigest() != part.sha256:
        raise BackupDamaged(f"{prefix}{part.name} is not what was stored: {len(content)} bytes, another SHA-256.")
    return content


class Cutter(io.RawIOBase):
    """Cuts what is written into parts."""

    def __init__(self, uploads: "Uploads", part_bytes: int) -> None:
        """Hand parts of so many bytes to ``uploads``."""
        self.uploads, self.part_bytes = uploads, part_bytes
        self.buffer, self.number = bytearray(), 0
        self.error: Exception | None = None

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Take bytes; raises what storing an earlier part did."""
        self.error = self.error or self.uploads.error
        if self.error:
            raise self.error
        self.buffer += data
        while len(self.buffer) >= self.part_bytes:
            self._cut(self.part_bytes)
        return len(data)

    def finish(self) -> None:
        """Hand over what is left as the last part."""
        if self.buffer:
            self._cut(len(self.buffer))

    def _cut(self, size: int) -> None:
        content = bytes(memoryview(self.buffer)[:size])
        del self.buffer[:size]
        self.number += 1
        self.uploads.add(self.number, content)


class Uploads:
    """Stores parts beside whoever makes them; blocks the maker when the server is slower."""

    def __init__(self, store: ObjectStore, prefix: str, lock: Lock | None) -> None:
        """Begin to wait for parts."""
        self.store, self.prefix, self.lock = store, prefix, lock
        self.waiting: queue.Queue[tuple[int, bytes] | None] = queue.Queue(UPLOADS)
        self.done: list[Part] = []
        self.error: Exception | None = None
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(UPLOADS)]
        for thread in self.threads:
            thread.start()

    def add(self, number: int, content: bytes) -> None:
        """Store a part soon."""
        self.waiting.put((number, content))

    def finish(self) -> list[Part]:
        """Wait for all of them; return those that are stored. ``error``: what storing another one raised."""
        for _ in self.threads:
            self.waiting.put(None)
        for thread in self.threads:
            thread.join()
        return sorted(self.done, key=lambda part: part.number)

    def _work(self) -> None:
        while (job := self.waiting.get()) is not None:
            if self.error:
                continue  # keeps taking, so that the maker is not blocked for ever
            number, content = job
            try:
                stored = self.store.put(self.prefix + part_name(number), content, lock=self.lock)
                self.done.append(Part(number, len(content), stored.sha256, stored.version))
            except Exception as error:
                self.error = error


class Downloads(io.RawIOBase):
    """Reads the parts in order, one ahead, each checked before a byte of it is given."""

    def __init__(self, sealed: Sealed, store: ObjectStore, prefix: str) -> None:
        """Begin to fetch."""
        self.ready: queue.Queue[bytes | Exception] = queue.Queue(2)
        self.buffer, self.ended, self.stopped = memoryview(b""), False, False
        self.error: Exception | None = None
        threading.Thread(target=self._work, args=(sealed, store, prefix), daemon=True).start()

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, none at the end; raises what fetching a part did."""
        if not self.buffer and not self.ended:
            found = self.ready.get()
            if isinstance(found, Exception):
                self.error = found
                raise found
            self.buffer, self.ended = memoryview(found), not found
        end = len(self.buffer) if size < 0 else size
        given, self.buffer = bytes(self.buffer[:end]), self.buffer[end:]
        return given

    def stop(self) -> None:
        """No more is wanted."""
        self.stopped = True
        while not self.ready.empty():
            self.ready.get_nowait()

    def _work(self, sealed: Sealed, store: ObjectStore, prefix: str) -> None:
        try:
            for part in sealed.parts:
                if self.stopped:
                    return
                self.ready.put(check_part(store, prefix, part))
            self.ready.put(b"")
        except (BackupDamaged, StorageFailed) as error:
            self.ready.put(error)
