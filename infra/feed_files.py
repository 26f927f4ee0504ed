"""Feed files as COPY wants them: one pass from any accepted format to a stream of CSV, and clear refusals.

    with open_feed(path, "orders", load_layout("uci-online-retail", "orders")) as stream:
        columns = ", ".join(stream.columns)
        cursor.copy_expert(f"COPY staged ({columns}) FROM STDIN ({stream.copy_format})", stream, size=1 << 18)

A CSV file passes through unchanged, since speed counts; JSON lines and Parquet are rewritten on the way. Whatever
makes the file as a whole unusable raises ``FeedRefused`` and nothing of it is taken; a row that makes no sense is for
the SQL behind, which sets it aside. The file is never moved or changed. Documentation: ``docs/reference/feeds.md``.
"""

import contextlib
import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg2

from infra.feed_bytes import FeedBytes
from infra.feed_jsonl import columns_of_jsonl, csv_from_jsonl
from infra.feed_layouts import FeedRefused, Layout, load_layout, shipped_layouts
from infra.feed_refusals import is_about_the_file, refusal_from_copy

__all__ = [
    "FeedFile",
    "FeedRefused",
    "FeedStream",
    "Layout",
    "describe_file",
    "load_layout",
    "open_feed",
    "refusal_from_copy",
    "shipped_layouts",
]

FORMATS: Final = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
_LONGEST_HEADER: Final = 1 << 20


@dataclass(frozen=True)
class FeedFile:
    """Which file it was, to the byte: the same content has the same ``sha256`` under any name."""

    path: Path
    feed: str
    size: int
    sha256: str


class FeedStream:
    """CSV to be read to its end, once. ``line_of_first_row`` is the physical line on which the first row begins."""

    def __init__(
        self, source: FeedBytes, blocks: Iterator[bytes], columns: tuple[str, ...], copy_format: str, first: int
    ) -> None:
        """Take the pieces that ``open_feed`` has prepared."""
        self.columns = columns
        self.copy_format = copy_format
        self.line_of_first_row = first
        self.refusal: FeedRefused | None = None  # psycopg2 swallows what read() raises; open_feed raises it again
        self._source = source
        self._blocks = blocks
        self._rest = memoryview(b"")
        self._drained = False

    @property
    def sha256(self) -> str:
        """Return the digest of the file's own bytes. Raises ``ValueError`` before the stream is read to its end."""
        if not self._drained:
            raise ValueError("the digest is known only when the stream was read to its end")
        return self._source.sha256

    @property
    def size(self) -> int:
        """Return how many bytes of the file were read."""
        return self._source.size

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes, none at the end. Raises ``FeedRefused``, and keeps it in ``refusal``."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        while not self._rest:
            try:
                self._rest = memoryview(next(self._blocks))
            except StopIteration:
                self._drained = True
                return b""
            except FeedRefused as refusal:
                self.refusal = refusal
                raise
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)

    def line_of_row(self, row: int) -> int:
        """Return the physical line on which a row begins (the first row is 1); reads a CSV file again to find it.

        Rows and lines part where a quoted field holds a line break. Raises ``FeedRefused`` when the file is gone.
        """
        has_header = self.line_of_first_row > 1
        return self._source.line_of_record(row + 1) if has_header else row

    def close(self) -> None:
        """Let go of the file."""
        self._blocks = iter(())
        self._rest = memoryview(b"")


def describe_file(path: Path | str, feed: str) -> FeedFile:
    """Read the file once, for its size and its hash. Raises ``FeedRefused`` when it cannot be read."""
    source = FeedBytes(Path(path), load_layout(None, feed))
    for _ in source.raw():
        pass
    return FeedFile(Path(path), feed, source.size, source.sha256)


@contextlib.contextmanager
def open_feed(
    path: Path | str,
    feed: str,
    layout: Layout | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    allow_open_end: bool = False,
) -> Iterator[FeedStream]:
    """Open a feed file for COPY; ``progress`` is called with the number of bytes read so far.

    Raises ``FeedRefused`` on entry (name, header, columns), from ``read`` (content), and instead of the error of
    psycopg2 when COPY inside the block stops at the file's content. ``allow_open_end`` accepts a CSV file whose last
    line has no line end.
    """
    layout = layout or load_layout(None, feed)
    source = FeedBytes(Path(path), layout, progress)
    name = source.path.name.lower()
    if name.endswith(".parquet"):
        stream = _parquet(FeedBytes(Path(path), layout), layout, progress)
    elif name.endswith((".jsonl", ".jsonl.gz")):
        stream = _jsonl(source, layout)
    elif name.endswith((".csv", ".csv.gz")):
        stream = _csv(source, layout, allow_open_end)
    else:
        source.refuse(f"is of no known format: its name must end in {', '.join(FORMATS)}")
    try:
        yield stream
    except psycopg2.Error as error:
        if stream.refusal:
            raise stream.refusal from error
        if is_about_the_file(error):
            raise refusal_from_copy(error, path) from error
        raise
    finally:
        stream.close()


def _csv(source: FeedBytes, layout: Layout, allow_open_end: bool) -> FeedStream:
    blocks, head = source.text(), b""
    while (lines := _header_lines(head)) == 0:
        block = next(blocks, b"")
        head += block
        if not block:
            lines = head.count(b"\n") + 1  # the end check below has the last word
            break
        if len(head) > _LONGEST_HEADER:
            source.refuse("the first line is longer than 1 MB: is this a CSV file with a header?", 1)
    text = b"".join(head.splitlines(keepends=True)[:lines]).decode()
    try:
        names = [name.strip() for name in next(csv.reader(text.splitlines(), delimiter=layout.delimiter), [])]
    except csv.Error as error:
        source.refuse(f"the header cannot be read ({error}): correct the first line", 1)
    columns = _columns(source, names, layout, 1)
    delimiter = r"E'\t'" if layout.delimiter == "\t" else f"'{layout.delimiter}'"
    facts = f"HEADER true, DELIMITER {delimiter}, {_options(layout, columns)}"
    stream = itertools.chain((head,), blocks)
    return FeedStream(source, stream if allow_open_end else _closed(source, stream), columns, facts, lines + 1)


def _header_lines(head: bytes) -> int:
    """Return how many physical lines the header takes, 0 while its end is not in sight."""
    quotes = 0
    for number, line in enumerate(head.splitlines(keepends=True), start=1):
        quotes += line.count(b'"')
        if quotes % 2 == 0 and line.endswith((b"\n", b"\r")):
            return number
    return 0


def _closed(source: FeedBytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass everything on, and refuse a last line that has no end: half a line may look like a whole one."""
    last = b"\n"
    for block in blocks:
        last = block[-1:] or last
        yield block
    if last not in b"\r\n":
        line = source.last_line()
        reason = "ends in the middle of this line, it may have been cut: ask for the whole file"
        source.refuse(f"{reason}; if it is whole, end it with a line break or pass --allow-open-end", line)


def _jsonl(source: FeedBytes, layout: Layout) -> FeedStream:
    columns = columns_of_jsonl(layout)
    rows = csv_from_jsonl(source, layout)
    return FeedStream(source, itertools.chain((next(rows, b""),), rows), columns, _options(layout, columns), 1)


def _parquet(source: FeedBytes, layout: Layout, progress: Callable[[int], None] | None) -> FeedStream:
    from infra.feed_parquet import csv_from_parquet, open_parquet  # noqa: PLC0415 - pyarrow takes 0.3 s to load

    file = open_parquet(source)
    names = file.schema_arrow.names
    columns = tuple(name for name in _columns(source, names, layout, None) if not name.startswith("ignored_"))
    return FeedStream(source, csv_from_parquet(source, file, layout, progress), columns, _options(layout, columns), 1)


def _options(layout: Layout, columns: tuple[str, ...]) -> str:
    """Return the options of COPY that every format shares."""
    # A quoted empty field is as empty as a bare one: exporters that quote everything write their guests so.
    options = (
        f"FORMAT csv, ENCODING 'UTF8', FORCE_NULL ({', '.join(name for name in columns if name in layout.columns)})"
    )
    # With a word for "nothing" the empty field is an empty string, which the ledger takes for missing too.
    word = layout.null_value
    return f"{options}, NULL '{word.replace(chr(39), chr(39) * 2)}'" if word else options


def _columns(source: FeedBytes, names: Sequence[str], layout: Layout, line: int | None) -> tuple[str, ...]:
    """Return our name of each column of the file. Raises ``FeedRefused`` for one that is missing or there twice."""
    for name in names:
        if name and names.count(name) > 1:
            source.refuse("the header has this name twice: give every column a name of its own", line, name)
    ours = {theirs: own for own, theirs in layout.columns.items()}
    absent = [theirs for theirs in layout.required.values() if theirs not in names]
    if absent:
        source.refuse(_remedy(absent[0], names, layout), line, ", ".join(absent))
    ignored = itertools.count(1)
    return tuple(ours.get(name) or f"ignored_{next(ignored)}" for name in names)


def _remedy(absent: str, names: Sequence[str], layout: Layout) -> str:
    found = ", ".join(names) or "nothing"
    reason = f"is missing from the header (found: {found if len(found) <= 300 else found[:297] + '...'})"
    others = [mark for mark in ",;\t|" if len(names) == 1 and mark != layout.delimiter and mark in names[0]]
    if others:
        return f'{reason}: the fields seem to be separated by {others[0]!r}, set delimiter = "{others[0]}" in a layout'
    if layout.name == "canonical":
        ours = f"one that ships ({', '.join(shipped_layouts())}) or a TOML file with [columns]"
        return (
            f'{reason}: if the file names it differently, use --layout with {ours} {absent} = "<its name in the file>"'
        )
    return f"{reason}: correct [columns] of the layout {layout.name}"
