"""The page of a month's report: one HTML file that needs nothing else, for the screen (light and dark) and for paper.

It sets the blocks of ``month_document``, and carries the report itself.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from notifications import month_document

Report = Mapping[str, Any]


def month_page(report: Report, sha256: str) -> str:
    """The report as HTML; ``sha256`` is that of the ``report.json`` it stands for."""
    return _template().render(
        report=report,
        title=month_document.title(report),
        blocks=month_document.blocks(report, sha256),
        data=_embedded(report),
    )


def _embedded(report: Report) -> Markup:
    # in a script element "</" would end it, "<!--" hide it
    return Markup(json.dumps(report, ensure_ascii=False).replace("<", "\\u003c"))  # noqa: S704 - see above


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("notifications"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["drawn"] = Markup  # what the charts draw is escaped there
    return environment.get_template("month/page.html")
