"""The page of a month's report: one HTML file that needs nothing else, for the screen (light and dark) and for paper.

Its input is the report of ``docs/reference/month-report.md``, which it also carries; no figure is computed here.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from notifications import charts

Report = Mapping[str, Any]


def month_page(report: Report, sha256: str) -> str:
    """The report as HTML; ``sha256`` is that of the ``report.json`` it stands for."""
    return _template().render(report=report, sha256=sha256, data=_embedded(report), **_charts(report))


def _charts(report: Report) -> dict[str, Markup]:
    days, lots = report["roll_forward"]["days"], report["open_points"]
    dates = [day["date"] for day in days]
    drawn = {
        "balance_chart": charts.line_chart(
            "Points outstanding at the end of each day", dates, [("outstanding", "new", [day["closing"] for day in days])]
        ),
        "flow_chart": charts.line_chart(
            "Points earned and spent, day by day",
            dates,
            [(words, css, [day["kinds"].get(kind, 0) for day in days])
             for words, css, kind in (("earned", "new", "earn"), ("spent", "old", "spend"))],
        ),
        "kinds_chart": charts.value_chart(
            "What moved the balance", [(row["kind"], row["moved"]) for row in report["roll_forward"]["kinds"] if row["moved"]]
        ),
        "age_chart": charts.value_chart(
            "Open points by the month they were opened in", [(row["month"], row["points"]) for row in lots["by_month_opened"]]
        ),
        "lapse_chart": charts.value_chart(
            "Open points by the month of their last day", [(row["month"], row["points"]) for row in lots["by_month_of_lapse"]]
        ),
    }  # fmt: skip
    # what the charts draw is escaped there
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704 - see above


def _embedded(report: Report) -> Markup:
    # in a script element "</" would end it, "<!--" hide it
    return Markup(json.dumps(report, ensure_ascii=False).replace("<", "\\u003c"))  # noqa: S704 - see above


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("notifications"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "points": lambda value: f"{value:,}",
        "signed": _signed,
        "money": _money,
        "percent": _percent,
        "row": _row,
    }
    return environment.get_template("month/page.html")


def _signed(value: int) -> str:
    return f"{value:+,}" if value else "0"


def _money(value: str) -> str:
    return f"{Decimal(value):,f}"


def _percent(value: str) -> str:
    return f"{Decimal(value) * 100:.2f} %"  # shares have four places: nothing is rounded here


def _row(value: Any) -> str:
    """A row of a check in words: what has a value, in its order."""
    if not isinstance(value, Mapping):
        return str(value)
    return ", ".join(f"{key} {inner}" for key, inner in value.items() if inner is not None)
