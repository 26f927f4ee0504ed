"""The report of a month on paper (PDF, by Typst) and for calculating (XLSX, CSV): the same bytes for the same report.

The PDF sets the blocks that the page shows, in fonts of its own (``fonts/``): nothing of the machine is used. Formulas of the
workbook foot the report again; text in it is never one.
"""

import datetime as dt
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib import resources
from typing import Any, Final

import typst
import xlsxwriter

from notifications import month_document
from notifications.month_sheets import MONEY, SHEETS, Sheet

Report = Mapping[str, Any]
# The colours that the page's style has for light paper; a drawing in the PDF has no page around it.
INK: Final = (
    "text{font:12px 'Noto Sans CJK SC';fill:#1f2933}text.axis,text.figure{fill:#52606d}.grid{stroke:#d9dde3}"
    ".line{fill:none;stroke-width:2.25}.old{fill:#98a2b3}.new{fill:#0b5fff}.down{fill:#b42318}"
    ".line.old{fill:none;stroke:#98a2b3;stroke-width:4}.line.new{fill:none;stroke:#0b5fff}"
)


def month_pdf(report: Report, sha256: str) -> bytes:
    """The report as a tagged PDF/A; ``sha256`` is that of the ``report.json`` it stands for."""
    values = {
        "headline": report["headline"],
        "is_bad": bool(report["deviations"]),
        "title": month_document.title(report),
        "sha256": sha256,
        "blocks": [asdict(block) for block in month_document.blocks(report, sha256)],
        "ink": INK,
    }
    day = dt.date.fromisoformat(report["through"])
    made: bytes | list[bytes] | None = _compiler().compile(
        resources.files("notifications").joinpath("templates/month/report.typ").read_bytes(),
        format="pdf",
        sys_inputs={"report": json.dumps(values, ensure_ascii=False)},
        timestamp=dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC),
        pdf_standards=["a-3a", "ua-1"],
    )
    assert isinstance(made, bytes)  # noqa: S101 - a PDF is one file
    return made


@cache
def _compiler() -> typst.Compiler:
    with resources.as_file(resources.files("notifications").joinpath("fonts")) as fonts:
        return typst.Compiler(font_paths=[str(fonts)], ignore_system_fonts=True)


def month_workbook(report: Report) -> bytes:
    """The report as XLSX. Its first line is the verdict; differences and totals are formulas with the report's values."""
    file = io.BytesIO()
    book = xlsxwriter.Workbook(
        file, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    )
    day = dt.datetime.fromisoformat(report["through"])
    book.set_properties({"title": month_document.title(report), "comments": report["headline"], "created": day})
    formats = {
        "head": book.add_format({"bold": True, "bg_color": "#F0F3F7", "text_wrap": True, "valign": "top"}),
        "verdict": book.add_format({"bold": True, "font_size": 13, "font_color": "#B42318" if report["deviations"] else "#16794A"}),
        "points": book.add_format({"num_format": "#,##0;[Red]-#,##0"}),
        "money": book.add_format({"num_format": "#,##0.00##;[Red]-#,##0.00##"}),
        "share": book.add_format({"num_format": "0.00%"}),
        "total": book.add_format({"num_format": "#,##0.00##;[Red]-#,##0.00##", "bold": True, "top": 1}),
        "bold": book.add_format({"bold": True, "top": 1}),
    }  # fmt: skip
    for place, sheet in enumerate(SHEETS):
        page = book.add_worksheet(sheet.name)
        above = 2 if place == 0 else 0
        if place == 0:
            page.write_string(0, 0, report["headline"], formats["verdict"])
        _fill(page, sheet, sheet.rows(report), formats, above)
    book.close()
    return file.getvalue()


def _fill(page: Any, sheet: Sheet, rows: Sequence[Mapping[str, Any]], formats: Mapping[str, Any], above: int) -> None:
    """A heading, the rows, and a line of totals; ``above`` lines are left free."""
    first = above + 2  # as Excel counts
    letters = {column.key: chr(ord("A") + place) for place, column in enumerate(sheet.columns)}
    for place, column in enumerate(sheet.columns):
        page.write_string(above, place, column.title, formats["head"])
        page.set_column(place, place, column.width)
        for line, row in enumerate(rows):
            value, at = row[column.key], above + 1 + line
            if column.formula:
                refers = {key: f"{letter}{at + 1}" for key, letter in letters.items()}
                page.write_formula(at, place, "=" + column.formula.format(**refers), formats[column.form], value)
            elif value is None or value == "":
                continue
            elif column.form:
                page.write_number(at, place, float(value) if isinstance(value, str) else value, formats[column.form])
            else:
                page.write_string(at, place, str(value))
        if column.is_totalled and rows:
            letter, at = letters[column.key], above + 1 + len(rows)
            total = sum(float(row[column.key] or 0) for row in rows)
            whole = formats["total" if column.form == MONEY else "points"]
            page.write_formula(at, place, f"=SUM({letter}{first}:{letter}{at})", whole, total)
    if rows and any(column.is_totalled for column in sheet.columns):
        page.write_string(above + 1 + len(rows), 0, "Total", formats["bold"])
    page.freeze_panes(above + 1, 1)


def month_csv(report: Report) -> str:
    """Every figure of the report as lines of ``path,value``; the first line is the verdict."""
    file = io.StringIO()
    lines = csv_lines(report)
    for path, value in lines:
        file.write(f"{_quoted(path)},{_quoted('' if value is None else str(value))}\n")
    return file.getvalue()


def csv_lines(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of plain values with their places, as ``checks.0.left``."""
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, list):
        inner = {str(place): one for place, one in enumerate(value)}.items()
    else:
        yield path, value
        return
    for key, one in inner:
        yield from csv_lines(one, f"{path}.{key}" if path else str(key))


def _quoted(text: str) -> str:
    # what a spreadsheet would take for a formula stays text
    safe = f"'{text}" if text[:1] in ("=", "+", "@", "\t", "\r") or (text[:1] == "-" and not _is_number(text)) else text
    return '"' + safe.replace('"', '""') + '"' if any(mark in safe for mark in ',"\n\r') else safe


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
