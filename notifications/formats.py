"""Numbers, days and money as a language writes them (Babel); the filters of templates. Cached: a night repeats them a lot.

``WRITERS`` says which shapes of facts a filter takes, and what comes out; the lint reads it.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from babel import Locale
from babel.dates import format_date, format_skeleton
from babel.numbers import format_currency, format_decimal

from notifications.kinds import Shape

Number = int | str
# "en" of this programme writes the day before the month, as the rules for members do
BABEL = {"en": "en_GB"}
NUMBERS: tuple[Shape, ...] = ("points", "signed", "amount", "number")
# filter: the shapes it takes, the shape it gives
WRITERS: Mapping[str, tuple[Sequence[Shape], Shape]] = {
    "num": (NUMBERS, "text"),
    "signed": (NUMBERS, "text"),
    "money": (("amount",), "text"),
    "plural": (NUMBERS, "text"),
    "date": (("day",), "text"),
    "month": (("month",), "text"),
    "abs": (("signed", "points"), "points"),
    "count": (("list",), "number"),
}
DATE_STYLES = ("long", "medium", "short")


@lru_cache(128)
def babel_locale(locale: str) -> Locale:
    """Babel's locale for the name of a folder of templates."""
    return Locale.parse(BABEL.get(locale, locale))


@lru_cache(65536)
def number(value: Number, locale: str) -> str:
    """``1,200``; decimal strings exactly, without zeros at the end."""
    return format_decimal(Decimal(value), locale=babel_locale(locale), decimal_quantization=False)


@lru_cache(65536)
def signed(value: Number, locale: str) -> str:
    """``+120``, ``-50``, ``0``."""
    written = number(value, locale)
    return f"+{written}" if Decimal(value) > 0 else written


@lru_cache(65536)
def money(value: Number, currency: str, locale: str) -> str:
    """An amount with its currency."""
    return format_currency(Decimal(value), currency, locale=babel_locale(locale))


@lru_cache(65536)
def day(value: str, style: str, locale: str) -> str:
    """An ISO date: ``30 June 2026``."""
    if style not in DATE_STYLES:
        raise ValueError(style)
    return format_date(dt.date.fromisoformat(value), style, locale=babel_locale(locale))


@lru_cache(4096)
def month(value: str, locale: str) -> str:
    """``2026-06``: ``June 2026``."""
    return format_skeleton("yMMMM", dt.date.fromisoformat(f"{value}-01"), locale=babel_locale(locale))


@lru_cache(4096)
def plural(value: Number, one: str, other: str, locale: str) -> str:
    """The one of two phrases that a number asks for."""
    return one if babel_locale(locale).plural_form(Decimal(value)) == "one" else other


def filters(locale: str, currency: str) -> dict[str, Callable[..., Any]]:
    """The filters of the templates of a language."""
    return {
        "num": lambda value: number(value, locale),
        "signed": lambda value: signed(value, locale),
        "money": lambda value: money(value, currency, locale),
        "date": lambda value, style="long": day(value, style, locale),
        "month": lambda value: month(value, locale),
        "plural": lambda value, one, other: plural(value, one, other, locale),
        "abs": abs,
        "count": len,
    }
