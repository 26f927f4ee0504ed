"""The bytes of a backup: plain → zstd → age → parts of 8 MiB, each an object; and back. Memory does not grow with size.

Every layer is a standard format. The parts, one after the other, are a file that ``age -d | zstd -d`` reads without any
of this code.
"""

import hashlib
import io
import queue
import threading
from dataclasses import asdict, dataclass, replace
from typing import IO, Any

import pyrage
import zstandard

from infra.backup_refusals import BackupDamaged, StorageFailed
from infra.object_store import Lock, ObjectStore

PART_BYTES = 8 << 20
READ_BYTES = 1 << 20
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
        return f"part-{self.number:06d}"


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


def seal(
    source: IO[bytes],
    store: ObjectStore,
    prefix: str,
    recipients: list[pyrage.x25519.Recipient],
    *,
    part_bytes: int,
    lock: Lock | None = None,
) -> Sealed:
    """Store everything that can be read from ``source``, each part under ``lock``; returns when every part is confirmed.

    Raises:
        StorageFailed: a part could not be stored. What was stored stays, and means nothing without a manifest.
    """
    reader, uploads = _Compressed(source), _Uploads(store, prefix, lock)
    writer = _Parts(uploads, part_bytes)
    try:
        try:
            pyrage.encrypt_io(reader, writer, recipients)
        except (pyrage.EncryptError, OSError):
            if writer.error is None and reader.error is None:
                raise
        # Asked for, not awaited as an exception: the library drops what its last flush meets.
        if failure := reader.error or writer.error:
            raise failure
        writer.finish()
    finally:
        parts = uploads.finish()
    if uploads.error:
        raise uploads.error
    return Sealed(reader.size, reader.digest.hexdigest(), sum(part.size for part in parts), tuple(parts))


def unseal(
    sealed: Sealed, store: ObjectStore, prefix: str, identities: list[pyrage.x25519.Identity], sink: IO[bytes]
) -> None:
    """Write the plain bytes to ``sink``; no byte of a part is used before the part's SHA-256 agrees with ``sealed``.

    Raises:
        BackupDamaged: a part is missing or differs, or the whole does.
        StorageFailed: the server refused, or does not answer.
        OSError: ``sink`` does not take more.
    """
    reader, writer = _Downloads(sealed, store, prefix), _Expanded(sink)
    try:
        pyrage.decrypt_io(reader, writer, identities)
    except (pyrage.DecryptError, OSError, ValueError) as error:
        if found := reader.error or writer.error:
            raise found from error
        raise BackupDamaged(f"The parts of {prefix} do not decrypt: {error}.") from error
    finally:
        reader.stop()
    if failure := reader.error or writer.error:
        raise failure
    if not writer.is_whole or writer.digest.hexdigest() != sealed.plain_sha256 or writer.size != sealed.plain_bytes:
        raise BackupDamaged(f"What {prefix} holds is not what was backed up: its content has another SHA-256.")


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


class _Compressed(io.RawIOBase):
    """Reads plain bytes, gives compressed ones, and keeps count."""

    def __init__(self, source: IO[bytes]) -> None:
        self.source, self.ended = source, False
        # a thread of its own: compressing costs as much as all the rest
        self.packer = zstandard.ZstdCompressor(level=1, threads=1, write_checksum=True).compressobj()
        self.digest, self.size, self.buffer = hashlib.sha256(), 0, memoryview(b"")
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self.buffer and not self.ended:
            try:
                plain = self.source.read(READ_BYTES)
            except Exception as error:
                self.error = error
                raise
            self.digest.update(plain)
            self.size += len(plain)
            self.ended = not plain
            self.buffer = memoryview(self.packer.compress(plain) if plain else self.packer.flush())
        end = len(self.buffer) if size < 0 else size
        given, self.buffer = bytes(self.buffer[:end]), self.buffer[end:]
        return given


class _Parts(io.RawIOBase):
    """Cuts what is written into parts."""

    def __init__(self, uploads: "_Uploads", part_bytes: int) -> None:
        self.uploads, self.part_bytes = uploads, part_bytes
        self.buffer, self.number = bytearray(), 0
        self.error: Exception | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.error = self.error or self.uploads.error
        if self.error:
            raise self.error
        self.buffer += data
        while len(self.buffer) >= self.part_bytes:
            self._cut(self.part_bytes)
        return len(data)

    def finish(self) -> None:
        if self.buffer:
            self._cut(len(self.buffer))

    def _cut(self, size: int) -> None:
        content = bytes(memoryview(self.buffer)[:size])
        del self.buffer[:size]
        self.number += 1
        self.uploads.add(self.number, content)


class _Uploads:
    """Stores parts beside whoever makes them; blocks the maker when the server is slower."""

    def __init__(self, store: ObjectStore, prefix: str, lock: Lock | None) -> None:
        self.store, self.prefix, self.lock = store, prefix, lock
        self.waiting: queue.Queue[tuple[int, bytes] | None] = queue.Queue(UPLOADS)
        self.done: list[Part] = []
        self.error: Exception | None = None
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(UPLOADS)]
        for thread in self.threads:
            thread.start()

    def add(self, number: int, content: bytes) -> None:
        self.waiting.put((number, content))

    def finish(self) -> list[Part]:
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
            part = Part(number, len(content), hashlib.sha256(content).hexdigest())
            try:
                version = self.store.put(self.prefix + part.name, content, lock=self.lock)
                self.done.append(replace(part, version=version))
            except Exception as error:
                self.error = error


class _Downloads(io.RawIOBase):
    """Reads the parts in order, one ahead, each checked before a byte of it is given."""

    def __init__(self, sealed: Sealed, store: ObjectStore, prefix: str) -> None:
        self.ready: queue.Queue[bytes | Exception] = queue.Queue(2)
        self.buffer, self.ended, self.stopped = memoryview(b""), False, False
        self.error: Exception | None = None
        threading.Thread(target=self._work, args=(sealed, store, prefix), daemon=True).start()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
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


class _Expanded(io.RawIOBase):
    """Takes compressed bytes, writes plain ones, and keeps count."""

    def __init__(self, sink: IO[bytes]) -> None:
        self.sink = sink
        self.unpacker = zstandard.ZstdDecompressor().decompressobj()
        self.digest, self.size = hashlib.sha256(), 0
        self.error: Exception | None = None

    def writable(self) -> bool:
        return True

    @property
    def is_whole(self) -> bool:
        return self.unpacker.eof

    def write(self, data: Any) -> int:
        try:
            plain = self.unpacker.decompress(bytes(data))
            self.digest.update(plain)
            self.size += len(plain)
            self.sink.write(plain)
        except zstandard.ZstdError as error:
            self.error = BackupDamaged(f"The content does not decompress: {error}.")
            raise self.error from error
        except OSError as error:
            self.error = error
            raise
        return len(data)
