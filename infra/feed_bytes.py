"""From a file on disk to blocks of clean UTF-8: hashed, decompressed, transcoded, checked.

Every check here is a scan of a whole block in C, because a feed of gigabytes passes through. A block that fails is
looked for again, slowly, to name the line and the column. What the text means is not known here: ``infra.feed_files``.
"""

import codecs
import csv
import hashlib
import itertools
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NoReturn

from infra.feed_layouts import FeedRefused, Layout

BLOCK: Final = 1 << 18  # larger ones fall out of the processor's cache between the scans
LONGEST_LINE: Final = 1 << 26
_PIECE: Final = 1 << 15
_GZIP: Final = b"\x1f\x8b"
_FOREIGN: Final = (  # how files begin that are sometimes sent instead of text
    (b"PAR1", "is a Parquet file: name it .parquet"),
    (b"PK\x03\x04", "is an Excel workbook or a zip archive: save it as CSV (UTF-8), or unpack it"),
    (b"\xd0\xcf\x11\xe0", "is an Excel workbook: save it as CSV (UTF-8)"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd: compress it by gzip instead, or not at all"),
)
# Servers before 18 take this line for the end of the data and drop what follows without a word.
_END_MARK: Final = re.compile(rb"(?<=[\r\n])\\\.(?=[\r\n])")
_CUT: Final = "ask for the whole file and import that; no row of this one was taken"


class FeedBytes:
    """One pass over a file. ``sha256`` and ``size`` describe what was read of it so far."""

    def __init__(self, path: Path, layout: Layout, progress: Callable[[int], None] | None = None) -> None:
        """Open nothing yet."""
        self.path = path
        self.layout = layout
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._progress = progress

    @property
    def sha256(self) -> str:
        """Return the digest of the raw bytes read so far, in hexadecimal."""
        return self._sha256.hexdigest()

    def refuse(self, reason: str, line: int | None = None, column: str | None = None) -> NoReturn:
        """Raise ``FeedRefused`` for this file."""
        raise FeedRefused(str(self.path), line, column, reason)

    def raw(self) -> Iterator[bytes]:
        """Yield the file as it is, hashing and counting. Raises ``FeedRefused`` when it cannot be read or changes."""
        try:
            with self.path.open("rb", buffering=0) as file:
                before = os.fstat(file.fileno())
                while block := file.read(BLOCK):
                    self._sha256.update(block)
                    self.size += len(block)
                    if self._progress:
                        self._progress(self.size)
                    yield block
                after = os.fstat(file.fileno())
        except FileNotFoundError:
            self.refuse("there is no such file: check its name and folder")
        except OSError as error:
            self.refuse(f"cannot be read ({error.strerror}): name a file that this login may read")
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or self.size != after.st_size:
            self.refuse("changed while it was being read: import it again when whoever writes it has finished")

    def text(self) -> Iterator[bytes]:
        """Yield the content as UTF-8 without byte order mark.

        Raises ``FeedRefused`` for what cannot be read, decompressed or decoded, for NUL, and for a line ``\\.``.
        """
        return self._without_traps(self._utf8())

    def lines(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield physical lines with their ends. Raises ``FeedRefused`` for one that is absurdly long."""
        begun: list[bytes] = []
        for block in blocks:
            first, *rest = block.split(b"\n")
            begun.append(first)
            if rest:
                yield b"".join(begun) + b"\n"
                for line in rest[:-1]:
                    yield line + b"\n"
                begun = [rest[-1]]
            elif sum(map(len, begun)) > LONGEST_LINE:
                self.refuse("holds a line of more than 64 MB: write one event on each line")
        if last := b"".join(begun):
            yield last

    def last_line(self) -> int:
        """Count the physical lines, reading the file again."""
        return sum(1 for _ in self.lines(self._again()._utf8()))

    def line_of_record(self, wanted: int) -> int:
        """Return the physical line on which a CSV record begins, the header being record 1; reads the file again."""
        record, quotes = 0, 0
        for number, line in enumerate(self.lines(self._again()._utf8()), start=1):
            record += quotes % 2 == 0
            if record == wanted:
                return number
            quotes += line.count(b'"')
        raise IndexError(f"{self.path} has {record} records, not {wanted}")

    def _again(self) -> "FeedBytes":
        return FeedBytes(self.path, self.layout)

    def plain(self) -> Iterator[bytes]:
        """Yield the decompressed bytes, as yet in the file's own encoding. Raises ``FeedRefused`` when it cannot."""
        raw = self.raw()
        first = next(raw, b"")
        if not first:
            self.refuse("is empty: ask for the file again, or leave it out if nothing happened")
        chained = itertools.chain((first,), raw)
        if self.path.suffix.lower() != ".gz":
            if first.startswith(_GZIP):
                self.refuse("is compressed by gzip but its name does not say so: let it end in .gz")
            return chained
        if not first.startswith(_GZIP):
            self.refuse("is not compressed by gzip although its name ends in .gz: rename or compress it")
        return self._gunzip(chained)

    def _gunzip(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        inflate, lines = zlib.decompressobj(wbits=31), 0
        try:
            # small pieces, so that a megabyte that inflates to a gigabyte does not need one of memory
            for pending in (block[at : at + _PIECE] for block in blocks for at in range(0, len(block), _PIECE)):
                while pending:
                    if inflate.eof:  # a gzip file may be several, one after the other, and padded with zeros
                        if not (pending := pending.lstrip(b"\0")):
                            break
                        inflate = zlib.decompressobj(wbits=31)
                    content = inflate.decompress(pending)
                    lines += content.count(b"\n")
                    pending = inflate.unused_data if inflate.eof else b""
                    if content:
                        yield content
        except zlib.error as error:
            self.refuse(f"is damaged at or after this line (gzip: {error}): {_CUT}", lines + 1)
        if not inflate.eof:
            self.refuse(f"is cut off in this line, its gzip stream has no end: {_CUT}", lines + 1)

    def _utf8(self) -> Iterator[bytes]:
        plain = self.plain()
        first = next(plain, b"")
        if not first:
            self.refuse("is empty: ask for the file again, or leave it out if nothing happened")
        mark = self._mark(first)
        encoding = self.layout.encoding
        decoder, done, untouched = codecs.getincrementaldecoder(encoding)(), mark, encoding == "utf-8"
        for block in itertools.chain((first[mark:],), plain):
            behind = len(decoder.getstate()[0])
            text = ""
            if not (untouched and not behind and block.isascii()):  # ASCII, the usual case, needs no decoding
                try:
                    text = decoder.decode(block)
                except UnicodeDecodeError as error:
                    self._refuse_encoding(done - behind + error.start, error.object[error.start])
            done += len(block)
            yield block if untouched else text.encode()
        if decoder.getstate()[0]:
            self.refuse(f"ends in the middle of a character: {_CUT}")

    def _mark(self, first: bytes) -> int:
        """Return the length of the byte order mark, and refuse what is not text in the encoding that was named."""
        for begin, reason in _FOREIGN:
            if first.startswith(begin):
                self.refuse(reason)
        encoding = self.layout.encoding
        if first.startswith(codecs.BOM_UTF8):
            if encoding != "utf-8":
                reason = f'begins with the mark of UTF-8 but the layout says encoding = "{encoding}"'
                self.refuse(f"{reason}: remove that from the layout", 1)
            return len(codecs.BOM_UTF8)
        if encoding == "utf-8":
            halves = {"utf-16-be": first[0:8:2], "utf-16-le": first[1:8:2]}
            found = [name for name, zeros in halves.items() if zeros == b"\0\0\0\0"]
            if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                found = ["utf-16"]
            for name in found:
                self.refuse(f'is UTF-16: save it as UTF-8, or set encoding = "{name}" in the layout', 1)
        return 0

    def _without_traps(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        done, tail = 0, b"\n"
        for block in blocks:
            if b"\0" in block:
                place = self._place(self._again()._utf8(), done + block.index(b"\0"))
                self.refuse("holds a NUL character, which is never text: ask for a clean file", *place)
            across = tail + block[:4]
            for begin, piece in ((done - len(tail), across), (done, block)):
                if b"\\" in piece and b"\\." in piece and (found := _END_MARK.search(piece)):
                    line, _ = self._place(self._again()._utf8(), begin + found.start())
                    self.refuse(r"holds \. and nothing else, which would end the reading: remove the line", line)
            done += len(block)
            tail = across[-4:] if len(block) < 4 else block[-4:]
            yield block

    def _refuse_encoding(self, offset: int, byte: int) -> NoReturn:
        encoding = self.layout.encoding
        reason = f'byte 0x{byte:02x} is not UTF-8: save the file as UTF-8, or set encoding = "cp1252" in the layout'
        if encoding != "utf-8":
            reason = f"byte 0x{byte:02x} is not {encoding}: correct encoding in the layout, or save the file as UTF-8"
        if encoding.startswith(("utf-16", "utf-32")):  # whose line ends cannot be found without decoding
            self.refuse(f"the {offset + 1:,}th {reason}")
        self.refuse(reason, *self._place(self._again().plain(), offset, encoding))

    def _place(self, blocks: Iterable[bytes], offset: int, encoding: str = "utf-8") -> tuple[int, str | None]:
        """Return the physical line of a byte, and the name of its column in a CSV file."""
        header, record, quotes, number = b"", list[bytes](), 0, 0
        for number, line in enumerate(self.lines(blocks), start=1):
            if offset < len(line):
                begun = b"".join([*record, line[:offset]])
                return number, self._column(header.decode(encoding, "replace"), begun.decode("latin-1"))
            offset -= len(line)
            record.append(line)
            quotes += line.count(b'"')
            if quotes % 2 == 0:  # the record is complete
                header, record = header or b"".join(record), []
        return number, None

    def _column(self, header: str, begun: str) -> str | None:
        if ".csv" not in self.path.name.lower() or not header:
            return None
        try:
            names = next(csv.reader([header.strip("\ufeff\r\n")], delimiter=self.layout.delimiter))
            fields = next(csv.reader([begun], delimiter=self.layout.delimiter), []) or [""]
        except csv.Error:  # a field of absurd length: the line must do
            return None
        return names[len(fields) - 1].strip() if len(fields) <= len(names) else None
