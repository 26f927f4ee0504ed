"""The programme file: read once, checked whole, refused with every reason at once.

``read_programme`` turns the TOML file of a programme into plain JSON values with every default filled in: decimals as
strings, days as ``YYYY-MM-DD``, weekdays as ISO numbers. That dictionary is what the ledger stores as a version; a
condition that is not set is absent from it. Which keys there are: ``infra.programme_keys``. What this version of the
ledger cannot do yet is refused from one list, ``NOT_YET``, never ignored.
"""

import datetime as dt
import difflib
import itertools
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from infra.programme_keys import ProgrammeFile

# What the file may say one day and the ledger cannot do today: (key, value, what it is). Shrink it as it can.
NOT_YET: Final[tuple[tuple[str, object, str], ...]] = (
    # lots carry their own last day, so "keep" needs nothing; rewriting them needs a posting of its own
    ("expiry.on_change", "shorten_existing", "shortening the validity of points already earned is"),
)


class ProgrammeRefused(Exception):
    """The programme file cannot be used; ``problems`` holds every reason, one sentence each."""

    def __init__(self, path: str, problems: tuple[str, ...]) -> None:
        """Keep the file's name and what is wrong with it."""
        super().__init__(path, problems)
        self.path = path
        self.problems = problems

    def __str__(self) -> str:
        """Return one line per problem, each beginning with the file's name."""
        return "\n".join(f"{self.path}{problem}" for problem in self.problems)


def read_programme(path: Path | str) -> dict[str, Any]:
    """Read and check a programme file; return it as JSON values with defaults filled in.

    Raises ``ProgrammeRefused`` with everything that is wrong: a file that is missing or is not TOML, an unknown or
    missing key, a value that cannot be, keys that contradict each other, and what is not in this version yet.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ProgrammeRefused(str(path), (": there is no such file: check the name",)) from None
    except OSError as error:
        raise ProgrammeRefused(str(path), (f": cannot be read ({error.strerror}): name a file",)) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ProgrammeRefused(str(path), (f", line {line}: is not UTF-8: save the file as UTF-8",)) from None
    return read_programme_text(text, source=str(path))


def read_programme_text(text: str, *, source: str = "programme") -> dict[str, Any]:
    """Do what ``read_programme`` does with the text of a file.

    Raises ``ProgrammeRefused`` whose sentences begin with ``source``.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProgrammeRefused(source, (_toml_problem(str(error), text),)) from None
    return check_programme(raw, source=source)


def check_programme(raw: Mapping[str, Any], *, source: str = "programme") -> dict[str, Any]:
    """Check the content of a programme file, or a dictionary that ``read_programme`` returned, and return the latter.

    Raises ``ProgrammeRefused`` whose sentences begin with ``source``.
    """
    problems = [f": {sentence}" for sentence in _not_yet(raw)]
    try:
        checked = ProgrammeFile.model_validate(raw)
    except ValidationError as error:
        problems += [f": {_sentence(problem)}" for problem in error.errors(include_url=False) if _is_own(problem)]
    if problems:
        raise ProgrammeRefused(source, tuple(problems))
    return checked.plain()


def filled(document: Mapping[str, Any]) -> dict[str, Any]:
    """A stored document with the defaults of the keys that came after it, so that two of them can be compared."""
    try:
        return check_programme(document)
    except ProgrammeRefused:  # it holds a key that is gone since: it still is what was in force
        return dict(document)


def _toml_problem(message: str, text: str) -> str:
    """Put the place first: tomllib says it last, and says "end of document" instead of a line."""
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    what = message[: place.start()] if place else message
    line = place[1] if place and place[1] else str(text.rstrip().count("\n") + 1)
    column = f", column {place[2]}" if place and place[2] else ""
    return f", line {line}{column}: is not TOML or holds an impossible value ({what}): correct this line"


def _not_yet(raw: Mapping[str, Any]) -> Iterator[str]:
    for pattern, place, value in _nodes(raw):
        for key, refused, what in NOT_YET:
            # an empty list asks for nothing, and is what read_programme itself fills in
            if pattern == key and value != [] and value == refused:
                yield f"{place}{_shown(value)}: {what} not in this version yet: remove it"


def _nodes(value: object, pattern: str = "", place: str = "") -> Iterator[tuple[str, str, object]]:
    """Walk tables and lists of tables: the key without places, the key with places, the value."""
    if pattern:
        yield pattern, place, value
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _nodes(inner, f"{pattern}.{key}".lstrip("."), f"{place}.{key}".lstrip("."))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for number, inner in enumerate(value):
            # the element itself is no second occurrence of the key
            yield from itertools.islice(_nodes(inner, pattern, f"{place}[{number}]"), 1, None)


def _shown(value: object) -> str:
    """Return ``' = value'`` as the file would write it; nothing for tables and very long values."""
    if isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping)):
        return ""
    written = str(value) if isinstance(value, dt.date | dt.time) else json.dumps(value, ensure_ascii=False, default=str)
    return f" = {written}" if len(written) <= 80 else f" = {written[:77]}..."


def _is_own(problem: ErrorDetails) -> bool:
    """Tell whether this says something new: a list whose elements are all refused is not empty as well."""
    return not (problem["type"] == "too_short" and problem["input"])


def _sentence(problem: ErrorDetails) -> str:
    location = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
    kind, value, limits = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "missing":
        way_in = problem["loc"][0] == "tier" and problem["loc"][-1] == "enter_at"
        return f"{location}: is missing{', so nobody could enter it: add enter_at = 1000' if way_in else ': add it'}"
    if kind == "extra_forbidden":
        return f"{location}{_shown(value)}: is no key of a programme file: {_alternative(problem['loc'])}"
    where = f"{location}{_shown(value)}".lstrip() or "the file"
    if kind == "value_error":
        # a rule between keys is reported at their table, whose content would only be noise
        return f"{where}: {limits['error']}"
    return f"{where}: {_reason(location, kind, limits, problem['msg'])}"


def _reason(key: str, kind: str, limits: Mapping[str, Any], otherwise: str) -> str:
    match kind:
        case "literal_error":
            return f"must be {limits['expected']}".replace("'", '"')
        case "int_type":
            return "must be a whole number without quotes"
        case "bool_type":
            return "must be true or false, without quotes"
        case "string_type":
            return "must be a string: put it in quotes"
        case "greater_than_equal":
            return "must be zero or more" if limits["ge"] == 0 else f"must be {limits['ge']} or more"
        case "less_than_equal":
            return f"must be {limits['le']} or less"
        case "string_too_short" | "string_too_long":
            return "must have 1 to 100 characters"
        case "string_pattern_mismatch":
            return 'must be a language, with or without a country, such as "en" or "zh_CN"'
        case "too_short":
            return (
                "must hold at least one: add a table [[earn.rate]]"
                if key.endswith("rate")
                else "must hold at least one"
            )
        case "model_type":
            return "must be a table: write [name] above its keys"
        case "tuple_type":
            return "must be a list of tables: write [[name]] above the keys of each"
    return f"{otherwise[:1].lower()}{otherwise[1:]}"


def _alternative(location: tuple[int | str, ...]) -> str:
    """Name the key that was probably meant, from the keys of the table where the unknown one stands."""
    table: type[BaseModel] = ProgrammeFile
    for part in location[:-1]:
        if isinstance(part, str):
            table = _table_of(table, part)
    keys = [field.alias or name for name, field in table.model_fields.items()]
    near = difflib.get_close_matches(str(location[-1]), keys, n=1, cutoff=0.5)
    return f'did you mean "{near[0]}"?' if near else f"remove it, or use one of {', '.join(keys)}"


def _table_of(table: type[BaseModel], key: str) -> type[BaseModel]:
    annotation = table.model_fields[key].annotation
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
