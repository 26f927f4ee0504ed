"""Pages for staff and auditors, each one HTML file that needs nothing else: their templates, and the data they carry."""

import json
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup


def template(name: str, **filters: Callable[..., Any]) -> Template:
    """A template of ``templates``; what it is not given is an error, what it is given is escaped."""
    environment = Environment(
        loader=PackageLoader("notifications"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= filters
    return environment.get_template(name)


def embedded(data: Any) -> Markup:
    """Data as JSON, to stand in a script element."""
    # there "</" would end it, "<!--" hide it
    return Markup(json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"))  # noqa: S704 - see above
