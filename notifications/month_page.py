"""The page of a month's report: one HTML file that needs nothing else, for the screen (light and dark) and for paper.

It sets the blocks of ``month_document``, and carries the report itself.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Template
from markupsafe import Markup

from notifications import month_document, pages

Report = Mapping[str, Any]


def month_page(report: Report, sha256: str) -> str:
    """The report as HTML; ``sha256`` is that of the ``report.json`` it stands for."""
    return _template().render(
        report=report,
        title=month_document.title(report),
        blocks=month_document.blocks(report, sha256),
        data=pages.embedded(report),
    )


@cache
def _template() -> Template:
    return pages.template("month/page.html", drawn=Markup)  # what the charts draw is escaped there
