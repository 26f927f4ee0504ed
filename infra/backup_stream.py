"""The bytes of a backup: plain → zstd → age → parts of 8 MiB, each an object; and back. Memory does not grow with size.

Every layer is a standard format. The parts, one after the other, are a file that ``age -d | zstd -d`` reads without any
of this code.
"""

import hashlib
import io
import queue
import threading
from typing import IO, Any

import pyrage
import zstandard

from infra.backup_parts import Cutter, Downloads, Sealed, Uploads
from infra.backup_refusals import BackupDamaged
from infra.object_store import Lock, ObjectStore

READ_BYTES = 1 << 20
READS_AHEAD = 4


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
    reader, uploads = _Compressed(source), Uploads(store, prefix, lock)
    writer = Cutter(uploads, part_bytes)
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
        reader.stop()
        parts = uploads.finish()
    if uploads.error:
        raise uploads.error
    return Sealed(reader.plain.size, reader.plain.digest.hexdigest(), sum(part.size for part in parts), tuple(parts))


def unseal(
    sealed: Sealed, store: ObjectStore, prefix: str, identities: list[pyrage.x25519.Identity], sink: IO[bytes]
) -> None:
    """Write the plain bytes to ``sink``; no byte of a part is used before the part's SHA-256 agrees with ``sealed``.

    The last bytes are held back until the whole agrees: a reader that commits at the end has not seen it before.

    Raises:
        BackupDamaged: a part is missing or differs, or the whole does.
        StorageFailed: the server refused, or does not answer.
        OSError: ``sink`` does not take more.
    """
    reader, writer = Downloads(sealed, store, prefix), _Expanded(sink)
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
    sink.write(writer.last)


class _Plain:
    """Reads and hashes plain bytes beside whoever compresses them, a few chunks ahead."""

    def __init__(self, source: IO[bytes]) -> None:
        self.source = source
        self.digest, self.size = hashlib.sha256(), 0
        self.ready: queue.Queue[bytes | Exception] = queue.Queue(READS_AHEAD)
        self.stopped = False
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def read(self) -> bytes:
        found = self.ready.get()
        if isinstance(found, Exception):
            raise found
        return found

    def stop(self) -> None:
        """No more is wanted. A read that is under way ends with its source."""
        self.stopped = True
        while not self.ready.empty():
            self.ready.get_nowait()

    def _work(self) -> None:
        try:
            while not self.stopped:
                chunk = self.source.read(READ_BYTES)
                self.digest.update(chunk)
                self.size += len(chunk)
                self.ready.put(chunk)
                if not chunk:
                    return
        except Exception as error:
            self.ready.put(error)


class _Compressed(io.RawIOBase):
    """Gives the compressed bytes of what it reads."""

    def __init__(self, source: IO[bytes]) -> None:
        self.plain, self.ended = _Plain(source), False
        # no threads of its own: they cost a third more, and what is read is hashed by another thread anyway
        self.packer = zstandard.ZstdCompressor(level=1, write_checksum=True).compressobj()
        self.buffer = memoryview(b"")
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self.buffer and not self.ended:
            try:
                chunk = self.plain.read()
            except Exception as error:
                self.error = error
                raise
            self.ended = not chunk
            self.buffer = memoryview(self.packer.compress(chunk) if chunk else self.packer.flush())
        end = len(self.buffer) if size < 0 else size
        given, self.buffer = bytes(self.buffer[:end]), self.buffer[end:]
        return given

    def stop(self) -> None:
        self.plain.stop()


class _Expanded(io.RawIOBase):
    """Takes compressed bytes, writes plain ones but for the ``last``, and keeps count."""

    def __init__(self, sink: IO[bytes]) -> None:
        self.sink = sink
        self.unpacker = zstandard.ZstdDecompressor().decompressobj()
        self.digest, self.size, self.last = hashlib.sha256(), 0, b""
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
            if plain:
                self.sink.write(self.last)
                self.last = plain
        except zstandard.ZstdError as error:
            self.error = BackupDamaged(f"The content does not decompress: {error}.")
            raise self.error from error
        except OSError as error:
            self.error = error
            raise
        return len(data)
