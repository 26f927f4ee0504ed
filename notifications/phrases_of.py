"""Phrases by language: a TOML file each, and numbers, dates and lists as that language writes them (Babel).

A file holds sentences with {names}; a name without a fact, or a phrase that a language lacks, is an error and never
an empty place in what members read.
"""

import datetime as dt
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any, Literal

from babel import Locale
from babel.dates import format_date, get_day_names
from babel.lists import format_list
from babel.numbers import format_currency, format_decimal

Lang = Literal["en", "zh"]


class NoWords(LookupError):
    """There are no words for something that members must be told."""

    def __init__(self, lang: str, key: str) -> None:
        """Name the language and the phrase that it lacks."""
        super().__init__(lang, key)
        self.lang = lang
        self.key = key

    def __str__(self) -> str:
        """Say where to write it."""
        return f'There are no words for "{self.key}" in "{self.lang}": add them to notifications/phrases.'


class Phrases:
    """The phrases of one file in one language."""

    def __init__(self, name: str, lang: str) -> None:
        """Read ``phrases/<name>.<lang>.toml``."""
        self.lang = lang
        path = resources.files("notifications").joinpath("phrases", f"{name}.{lang}.toml")
        self._table: Mapping[str, Any] = tomllib.loads(path.read_text("utf-8"))
        self._locale = Locale.parse(self._table["locale"])

    def __call__(self, key: str, **facts: str) -> str:
        """The phrase of a dotted key, with its facts."""
        found: Any = self._table
        for part in key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        if not isinstance(found, str):
            raise NoWords(self.lang, key)
        return found.format(**facts)

    def counted(self, unit: str, number: int | Decimal) -> str:
        """``1 point``, ``2 points``: the number with its unit in the form it asks for."""
        return self.plural(unit, number, n=self.number(number))

    def plural(self, key: str, number: int | Decimal, **facts: str) -> str:
        """The phrase of a key in the form that a number asks for."""
        return self(f"{key}_{self._locale.plural_form(number)}", **facts)

    def number(self, number: int | Decimal) -> str:
        """A number, exact."""
        return format_decimal(number, locale=self._locale, decimal_quantization=False)

    def money(self, amount: Decimal, currency: str) -> str:
        """An amount with its currency, without decimals that say nothing."""
        whole = amount == amount.to_integral_value()
        form = "¤#,##0" if whole else None
        return format_currency(amount, currency, format=form, currency_digits=not whole, locale=self._locale)

    def day(self, day: dt.date) -> str:
        """A day of a year."""
        return format_date(day, "long", locale=self._locale)

    def day_of_every_year(self, month_day: str) -> str:
        """``12-31`` as a day without a year."""
        pattern = {"en": "d MMMM"}.get(self._locale.language, "M月d日")
        return format_date(dt.date.fromisoformat(f"2011-{month_day}"), pattern, locale=self._locale)

    def weekdays(self, numbers: Sequence[int]) -> str:
        """ISO numbers of weekdays by name."""
        names = get_day_names("wide", locale=self._locale)
        return self.list([names[number - 1] for number in numbers])

    def list(self, items: Sequence[str]) -> str:
        """``a, b and c``."""
        return format_list(items, locale=self._locale)

    def alternatives(self, items: Sequence[str]) -> str:
        """``a, b or c``."""
        return format_list(items, style="or", locale=self._locale)


@cache
def phrases(name: str, lang: str) -> Phrases:
    """The phrases of a file in a language; read once."""
    return Phrases(name, lang)
