"""From JSON lines to CSV for COPY. One flat object on each line; a key that is absent is a missing value.

Numbers pass through as the text they were written in, never as a float. The output is the same for the same input.
"""

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn

from infra.feed_bytes import FeedBytes
from infra.feed_layouts import Layout

BATCH: Final = 1000  # lines
_PLAIN: Final = frozenset({str, type(None)})


class _UnusableError(ValueError):
    """A line is JSON but not a row."""


def columns_of_jsonl(layout: Layout) -> tuple[str, ...]:
    """Return our names of the columns that the stream has: all that the layout knows."""
    return tuple(layout.columns)


def csv_from_jsonl(source: FeedBytes, layout: Layout) -> Iterator[bytes]:
    """Yield CSV without header, one record for each line of the file.

    Raises ``FeedRefused`` for a line that is not one flat JSON object, and when no line has a required key.
    """
    numbered = enumerate(source.lines(source.text()), start=1)
    theirs = tuple(layout.columns.values())
    decode, absent, number = _decoder(layout), set(layout.required.values()), 0
    while batch := list(itertools.islice(numbered, BATCH)):
        rows = []
        for number, line in batch:
            if not line.strip():
                source.refuse("is empty: remove the line, every line holds one JSON object", number)
            event = _event(source, decode, number, line)
            if absent:
                absent -= event.keys()
            row = [event.get(key) for key in theirs]
            if not _PLAIN.issuperset(map(type, row)):
                row = [_text(source, number, key, value) for key, value in zip(theirs, row, strict=True)]
            rows.append(row)
        yield _written(source, rows, theirs, number - len(rows) + 1)
    if absent:
        ours, key = next((ours, key) for ours, key in layout.required.items() if key in absent)
        remedy = f'say so with --layout and a TOML file with [columns] {ours} = "<its name in the file>"'
        source.refuse(f"is a key of none of the {number} lines: if the file names it differently, {remedy}", None, key)


def _decoder(layout: Layout) -> json.JSONDecoder:
    def number(text: str) -> str:
        return text.replace(".", layout.decimal)

    def not_a_number(text: str) -> NoReturn:
        raise _UnusableError(f"{text} is not a number that can be booked: write null, or the number")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        event = dict(pairs)
        if len(event) != len(pairs):  # which of the two would count is anybody's guess
            raise _UnusableError("a key occurs twice in the object: keep one")
        return event

    fraction = str if layout.decimal == "." else number
    return json.JSONDecoder(object_pairs_hook=once, parse_float=fraction, parse_int=str, parse_constant=not_a_number)


def _event(source: FeedBytes, decoder: json.JSONDecoder, number: int, line: bytes) -> dict[str, Any]:
    try:
        event = decoder.decode(line.decode())
    except json.JSONDecodeError as error:
        if not line.endswith(b"\n"):
            source.refuse("is cut off, the file ends in the middle of this line: ask for the whole file", number)
        source.refuse(f"is not JSON ({error.msg} at character {error.pos + 1}): correct or remove the line", number)
    except _UnusableError as error:
        source.refuse(str(error), number)
    except RecursionError:
        source.refuse("is nested too deeply: write flat objects", number)
    if not isinstance(event, dict):
        source.refuse('is not an object: write lines such as {"order_no": "A1", "quantity": 2}', number)
    return event


def _text(source: FeedBytes, number: int, key: str, value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | None):
        source.refuse("holds a list or an object: write a plain value, lists joined by |", number, key)
    return value


def _written(source: FeedBytes, rows: Sequence[Sequence[str | None]], theirs: Sequence[str], first: int) -> bytes:
    try:
        written = _csv(rows)
    except (UnicodeEncodeError, csv.Error):
        written = b"\0"
    if b"\0" not in written and not (len(theirs) == 1 and b"\\." in written):
        return written
    for number, row in enumerate(rows, start=first):
        for key, value in zip(theirs, row, strict=True):
            if value == "\\." or not _is_storable(value or ""):
                reason = (
                    r"holds a character that is not text (NUL, half a pair, or \. alone): correct or remove the line"
                )
                source.refuse(reason, number, key)
    return written


def _is_storable(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def _csv(rows: Iterable[Sequence[str | None]]) -> bytes:
    # the writer quotes a carriage return only if line ends hold one, and COPY wants it quoted
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode()
