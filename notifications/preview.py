"""A notice to look at before members get it: one HTML page that needs nothing else, with e-mail, text and SMS.

The e-mail stands in frames of their own (no scripts, no forms), as on a desktop and on a phone, light and dark.
"""

from functools import cache

from jinja2 import Template

from notifications import pages
from notifications.kinds import KINDS
from notifications.rendering import Rendered
from notifications.sms_length import sms_length

# title, colour scheme, width and height in pixels
VIEWS = (
    ("Desktop", "light", 720, 760),
    ("Phone", "light", 375, 760),
    ("Desktop, dark", "dark", 720, 760),
    ("Phone, dark", "dark", 375, 760),
)


def preview_page(rendered: Rendered, *, kind: str, locale: str, about: str = "") -> str:
    """A page that shows one rendered notice.

    ``about`` says whose facts these are (``member M000123``, ``sample facts``); it may be on a screen, so no name.
    """
    return _template().render(
        notice=rendered, kind=KINDS[kind], locale=locale, about=about, sms=sms_length(rendered.sms), views=VIEWS
    )


@cache
def _template() -> Template:
    return pages.template("preview/page.html")
