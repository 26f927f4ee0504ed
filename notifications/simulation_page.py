"""The page of a simulation: one HTML file that needs nothing else, for the screen (light and dark) and for paper.

Its input is the report of ``docs/reference/simulation.md``, which it also carries, so that every figure can be looked up.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from jinja2 import Template
from markupsafe import Markup

from notifications import charts, pages

Report = Mapping[str, Any]
OUTCOMES = (("gain", "up"), ("lose", "down"), ("unchanged", "same"))


def simulation_page(report: Report) -> str:
    """The report as HTML."""
    return _template().render(report=report, **_charts(report), data=pages.embedded(report), outcomes=OUTCOMES)


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


@cache
def _template() -> Template:
    return pages.template(
        "simulation/page.html", points=lambda value: f"{value:,}", signed=_signed, money=_money, value=_value
    )


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
