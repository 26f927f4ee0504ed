"""The page of a simulation: one HTML file that needs nothing else, for the screen (light and dark) and for paper.

Its input is the report of ``docs/reference/simulation.md``, which it also carries, so that every figure can be looked up.
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
OUTCOMES = (("gain", "up"), ("lose", "down"), ("unchanged", "same"))


def simulation_page(report: Report) -> str:
    """The report as HTML."""
    return _template().render(report=report, **_charts(report), data=_embedded(report), outcomes=OUTCOMES)


def _charts(report: Report) -> dict[str, Markup]:
    nights = report["nights"]
    drawn = {
        "outstanding_chart": charts.line_chart(
            "Points outstanding after each night",
            [night["date"] for night in nights],
            [
                ("in force", "old", [n["baseline"] for n in nights]),
                ("proposed", "new", [n["proposed"] for n in nights]),
            ],
        ),
        "members_chart": charts.share_chart(
            "Members", [(name, css, report["members"][name]["members"]) for name, css in OUTCOMES]
        ),
        "kinds_chart": _bars("Points by kind", report["kinds"], "kind"),
        "lapsing_chart": _bars("Open points by the month in which they lapse", report["lapsing"], "month"),
        "tiers_chart": charts.bar_chart(
            "Members by tier",
            ("in force", "proposed"),
            [(row["tier"], row["baseline"]["members"], row["proposed"]["members"]) for row in report["tiers"]],
        ),
    }
    # what the charts draw is escaped there
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704 - see above


def _bars(title: str, rows: list[Any], label: str) -> str:
    return charts.bar_chart(
        title, ("in force", "proposed"), [(row[label], row["baseline"], row["proposed"]) for row in rows]
    )


def _embedded(report: Report) -> Markup:
    # in a script element "</" would end it, "<!--" hide it
    return Markup(json.dumps(report, ensure_ascii=False).replace("<", "\\u003c"))  # noqa: S704 - see above


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("notifications"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"points": lambda value: f"{value:,}", "signed": _signed, "money": _money, "value": _value}
    return environment.get_template("simulation/page.html")


def _signed(value: int) -> str:
    return f"{value:+,}" if value else "0"


def _money(value: str, *, signed: bool = False) -> str:
    amount = Decimal(value)
    return f"{amount:+,f}" if signed and amount else f"{amount:,f}"


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return "\n".join(f"{key} = {_value(inner)}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
