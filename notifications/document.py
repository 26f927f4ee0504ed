"""The blocks that a report is set from, whatever it is set in: text and figures as a reader sees them, ready formatted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Style = Literal["", "bold", "soft", "code", "good", "bad"]


@dataclass(frozen=True)
class Words:
    """A run of text in one style."""

    text: str
    style: Style = ""


@dataclass(frozen=True)
class Heading:
    """A heading; level 2 opens a section."""

    level: int
    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Paragraph:
    """Runs of text; ``is_soft``: a remark."""

    runs: tuple[Words, ...]
    is_soft: bool = False
    kind: str = "paragraph"


@dataclass(frozen=True)
class Box:
    """A figure that stands out."""

    label: str
    figure: str
    note: str
    mark: str


@dataclass(frozen=True)
class Boxes:
    """Boxes side by side."""

    boxes: tuple[Box, ...]
    kind: str = "boxes"


@dataclass(frozen=True)
class Column:
    """A column's name, and whether figures stand in it."""

    name: str
    is_number: bool


@dataclass(frozen=True)
class Table:
    """Rows of cells, a cell being runs of text; a row of one cell spans all columns."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[tuple[Words, ...], ...], ...]
    kind: str = "table"


@dataclass(frozen=True)
class Chart:
    """A drawing, as SVG."""

    caption: str
    svg: str
    kind: str = "chart"


Block = Heading | Paragraph | Boxes | Table | Chart


def table(columns: str, rows: Iterable[Sequence[Any]]) -> Table:
    """``columns``: their names between bars, ``#`` behind those of figures; a cell is text, a run or runs of it."""
    return Table(
        tuple(Column(name.removesuffix("#"), name.endswith("#")) for name in columns.split("|")),
        tuple(tuple(_runs(cell) for cell in row) for row in rows),
    )


def _runs(cell: Any) -> tuple[Words, ...]:
    if isinstance(cell, str):
        return (Words(cell),)
    return (cell,) if isinstance(cell, Words) else tuple(cell)
