"""What Postgres says when COPY stops at the content of a file, in words for the person who has the file.

COPY counts physical lines, the header being line 1, and names columns by our names. Its messages are read by SQLSTATE
first and by their English text for details; what is not recognised is passed on as it is, with its line.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg2

from infra.feed_bytes import FeedBytes
from infra.feed_layouts import FeedRefused, load_layout

_BAD_COPY_FILE_FORMAT: Final = "22P04"
_ENCODINGS: Final = ("22021", "22P05")  # not in its encoding; no such character in the database's
_TOO_LONG: Final = ("54000", "53200")
_PLACE: Final = re.compile(r"COPY [^,]+, line (\d+)(?:, column ([^:\n]+))?")


def is_about_the_file(error: psycopg2.Error) -> bool:
    """Tell whether COPY refused what the file holds; anything else is the database's trouble."""
    structural = error.pgcode in (_BAD_COPY_FILE_FORMAT, *_ENCODINGS, *_TOO_LONG)
    return structural and _PLACE.search(error.diag.context or "") is not None


def refusal_from_copy(error: psycopg2.Error, path: Path | str) -> FeedRefused:
    """Return the refusal, with line, column and remedy, that an error of ``COPY … FROM STDIN`` stands for."""
    place = _PLACE.search(error.diag.context or "")
    line = int(place[1]) if place else None
    column = place[2] if place else None
    message = error.diag.message_primary or str(error).partition("\n")[0]
    if missing := re.search(r'missing data for column "([^"]+)"', message):
        column = missing[1]
        reason = "the line has too few fields: complete it, or quote fields that hold a line break"
        if _is_blank(path, line):
            reason = "the line is empty: remove it"
    elif "extra data after last expected column" in message:
        reason = 'the line has too many fields: quote fields that hold the delimiter, as in "Mug, blue"'
    elif "unterminated CSV quoted field" in message:
        line = _last_opening(path) or line
        reason = 'a quoted field begins here and never ends: close it, and write a quote inside a field twice, as in ""'
    elif "newline found in data" in message or "carriage return found in data" in message:
        reason = "the line ends differently from those before: save the file with one kind of line end"
    elif error.pgcode in _ENCODINGS:
        reason = f"holds a character that the database cannot store ({message}): correct or remove it"
    elif error.pgcode in _TOO_LONG:
        line = _last_opening(path) or line
        reason = f"a field is too long, perhaps because a quote never ends ({message}): close the quote"
    else:
        reason = f"the database could not read it ({message}): correct the line"
    return FeedRefused(str(path), line, column, f"{reason}; no row of the file was taken")


def _lines(path: Path | str) -> Iterator[bytes]:
    source = FeedBytes(Path(path), load_layout(None, "orders"))  # whose columns do not matter here
    return source.lines(source.plain())


def _is_blank(path: Path | str, wanted: int | None) -> bool:
    return any(number == wanted and not line.strip() for number, line in enumerate(_lines(path), start=1))


def _last_opening(path: Path | str) -> int | None:
    """Return the line of the quote that has no partner; a quote in the middle of a field opens one too."""
    opening = None
    for number, line in enumerate(_lines(path), start=1):
        if line.count(b'"') % 2:
            opening = None if opening else number
    return opening
