"""Which columns a feed has, and how the file of a foreign shop spells them.

A *feed* is a kind of file: orders, redemptions, cancellations, members (``points_ledger.feeds.FEEDS``). A *layout* is
a small TOML file that maps the columns of a foreign file to ours, gives constants for those it lacks, and says how it
writes decimals, times and missing values. Nothing here opens a feed file: see ``infra.feed_files``. Documentation:
``docs/reference/feeds.md``.
"""

import codecs
import difflib
import importlib.resources
import re
import tomllib
import zoneinfo
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from points_ledger.feeds import FEEDS, Feed


class FeedRefused(Exception):
    """A feed file, or the layout to read it with, cannot be used as it is."""

    def __init__(self, path: str, line: int | None, column: str | None, reason: str) -> None:
        """Keep the place and the reason, which includes the remedy."""
        super().__init__(path, line, column, reason)
        self.path = path
        self.line = line
        self.column = column
        self.reason = reason

    def __str__(self) -> str:
        """Return one sentence: file, line, column, what is wrong and what to do."""
        line = "" if self.line is None else f", line {self.line}"
        column = "" if self.column is None else f", column {self.column}"
        return f"{self.path}{line}{column}: {self.reason}"


@dataclass(frozen=True)
class Layout:
    """How a file spells the columns of one feed. ``columns`` and ``constants`` are keyed by our names."""

    name: str
    feed: str
    columns: Mapping[str, str]
    constants: Mapping[str, str] = field(default_factory=dict)
    timestamp_format: str | None = None  # a template of Postgres' to_timestamp; None: ISO 8601
    decimal: Literal[".", ","] = "."
    delimiter: str = ","
    encoding: str = "utf-8"
    time_zone: str | None = None  # of times without an offset; None: the programme's zone
    null_value: str | None = None  # the spelling of "nothing", besides the empty field

    @property
    def required(self) -> Mapping[str, str]:
        """Return the foreign name of each column that the file itself must have."""
        return {ours: self.columns[ours] for ours in FEEDS[self.feed].required if ours in self.columns}


_TIME_PARTS: Final = ("YYYY", "MM", "DD", "HH24", "HH12", "MI", "SS", "MS", "US", "AM", "Mon", "TZH", "TZM")
KEYS: Final = ("feed", "encoding", "delimiter", "decimal", "timestamp_format", "time_zone", "null_value", "columns")


def load_layout(name_or_path: str | None, feed: str) -> Layout:
    """Return the layout of that name, or from that TOML file; without one, a file uses our own column names.

    Raises ``FeedRefused`` that names the layout, the key and the remedy.
    """
    ours = FEEDS.get(feed)
    if ours is None:
        raise FeedRefused(feed, None, None, f"is no feed: choose {', '.join(FEEDS)}")
    if name_or_path is None:
        return Layout("canonical", feed, {column: column for column in ours.columns})
    label, text = _layout_text(name_or_path)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        reason = f"is not TOML ({error}): correct this line"
        raise FeedRefused(label, int(line[1]) if line else None, None, reason) from None
    return _Checked(label, raw, ours).layout()


def shipped_layouts() -> list[str]:
    """Return the names of the layouts that come with the application."""
    folder = importlib.resources.files("infra") / "layouts"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def _layout_text(name_or_path: str) -> tuple[str, str]:
    if name_or_path in shipped_layouts():
        shipped = importlib.resources.files("infra") / "layouts" / f"{name_or_path}.toml"
        return name_or_path, shipped.read_text("utf-8")
    try:
        return name_or_path, Path(name_or_path).read_text("utf-8-sig")
    except OSError:
        reason = f"there is no such layout: name a TOML file, or one that ships: {', '.join(shipped_layouts())}"
    except UnicodeDecodeError:
        reason = "is not UTF-8: save the layout as UTF-8"
    raise FeedRefused(name_or_path, None, None, reason)


@dataclass(frozen=True)
class _Checked:
    """The content of a layout file while it is being checked."""

    label: str
    raw: Mapping[str, Any]
    feed: Feed

    def layout(self) -> Layout:
        for key in self.raw:
            if key not in (*KEYS, "constants"):
                self._refuse(key, f"is no key of a layout: {_alternative(key, (*KEYS, 'constants'))}")
        if self.raw.get("feed", self.feed.name) != self.feed.name:
            self._refuse("feed", f"this layout is not for {self.feed.name}: choose another one with --layout")
        columns = self._table("columns") or {name: name for name in self.feed.columns}
        constants = self._table("constants")
        if "columns" not in self.raw:  # a constant is for what the file lacks
            columns = {ours: theirs for ours, theirs in columns.items() if ours not in constants}
        self._check_columns(columns, constants)
        return Layout(
            name=self.label,
            feed=self.feed.name,
            columns=columns,
            constants=constants,
            timestamp_format=self._timestamp_format(),
            decimal="," if self._one_of("decimal", (".", ",")) == "," else ".",
            delimiter=self._one_of("delimiter", (",", ";", "\t", "|")),
            encoding=self._encoding(),
            time_zone=self._time_zone(),
            null_value=self._null_value(),
        )

    def _refuse(self, key: str, reason: str) -> NoReturn:
        table, _, inner = key.partition(".")
        value = self.raw.get(table)
        value = value.get(inner) if inner and isinstance(value, Mapping) else value
        shown = f" = {value!r}" if isinstance(value, str | int | float | list) else ""
        raise FeedRefused(self.label, None, None, f"{key}{shown}: {reason}")

    def _text(self, key: str, default: str) -> str:
        value = self.raw.get(key, default)
        if not isinstance(value, str):
            self._refuse(key, "must be a string: put it in quotes")
        return str(value)

    def _table(self, key: str) -> dict[str, str]:
        value = self.raw.get(key, {})
        if not isinstance(value, Mapping):
            self._refuse(key, f"must be a table: write [{key}] above its lines")
        for ours, theirs in value.items():
            if ours not in self.feed.columns:
                reason = f"{self.feed.name} have no such column: {_alternative(ours, self.feed.columns)}"
                self._refuse(f"{key}.{ours}", reason)
            if not isinstance(theirs, str) or not theirs:
                self._refuse(f"{key}.{ours}", "must be a string that is not empty: put it in quotes")
        return dict(value)

    def _check_columns(self, columns: Mapping[str, str], constants: Mapping[str, str]) -> None:
        for ours in self.feed.required:
            if ours not in columns and ours not in constants:
                remedy = f'add {ours} = "<its name in the file>" to [columns], or a value to [constants]'
                self._refuse(f"columns.{ours}", f"is missing and every file of {self.feed.name} needs it: {remedy}")
        for ours, theirs in columns.items():
            if ours in constants:
                self._refuse(f"constants.{ours}", "is in [columns] too: keep one of them")
            if list(columns.values()).count(theirs) > 1:
                self._refuse(
                    f"columns.{ours}", "another column has this name too: a column of the file has one meaning"
                )

    def _one_of(self, key: str, choices: tuple[str, ...]) -> str:
        value = self._text(key, choices[0])
        if value not in choices:
            self._refuse(key, f"must be one of {', '.join(repr(choice) for choice in choices)}")
        return value

    def _timestamp_format(self) -> str | None:
        template = self._text("timestamp_format", "")
        if not template:
            return None
        if self.feed.name == "members":
            self._refuse("timestamp_format", "members hold no times, joined_on is always YYYY-MM-DD: remove the key")
        split = re.split(f"({'|'.join(_TIME_PARTS)})", template)
        parts, between = split[1::2], "".join(split[::2])
        if re.search(r"[^-/.: T,]", between) or not {"YYYY", "DD"} <= set(parts):
            self._refuse("timestamp_format", f'write it like "DD/MM/YYYY HH24:MI", with {" ".join(_TIME_PARTS)}')
        if not {"MM", "Mon"} & set(parts):
            self._refuse("timestamp_format", "has no month: add MM, or Mon for English names")
        if "HH12" in parts and "AM" not in parts:
            self._refuse("timestamp_format", "HH12 needs AM, or write HH24")
        if split[0] or parts[0] in ("Mon", "AM", "TZH"):
            self._refuse("timestamp_format", "must begin with a number: ask the shop for another format of its times")
        return template

    def _encoding(self) -> str:
        name = self._text("encoding", "utf-8")
        try:
            b"aa".decode(name, "replace")  # raises for codecs that are not of text
            codecs.getincrementaldecoder(name)
        except LookupError:
            self._refuse("encoding", 'is no encoding: write one such as "utf-8", "cp1252", "gb18030" or "utf-16"')
        return codecs.lookup(name).name.removesuffix("-sig")

    def _time_zone(self) -> str | None:
        zone = self._text("time_zone", "")
        if zone and zone not in zoneinfo.available_timezones():
            self._refuse("time_zone", 'is no IANA time zone: write one such as "Europe/Berlin"')
        return zone or None

    def _null_value(self) -> str | None:
        value = self._text("null_value", "")
        if re.search(r"[\r\n\"]", value) or self._text("delimiter", ",") in value:
            self._refuse("null_value", 'must not hold quotes, line breaks or the delimiter: write one such as "NULL"')
        return value or None


def _alternative(key: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"use one of {', '.join(known)}"
