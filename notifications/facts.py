"""What the ledger hands over for a notice, held to what ``notifications.kinds`` declares."""

import datetime as dt
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from notifications.kinds import Fact, Kind, Shape

CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


class WrongFacts(ValueError):
    """A notice was given facts other than its kind declares."""

    def __init__(self, where: str, expected: str) -> None:
        """Name the fact and what it must be, never its value: it may be personal."""
        super().__init__(where, expected)
        self.where = where
        self.expected = expected

    def __str__(self) -> str:
        """Say which fact is wrong."""
        return f"{self.where} must be {self.expected}"


def checked_facts(kind: Kind, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The declared facts of a notice; what is not declared is left out.

    Raises:
        WrongFacts: one is missing or of another shape.
    """
    return {name: _checked(fact, facts.get(name), name) for name, fact in kind.facts.items()}


def _checked(fact: Fact, value: Any, where: str) -> Any:
    if value is None and fact.optional:
        return None
    if fact.shape == "list":
        if not isinstance(value, list | tuple):
            raise WrongFacts(where, "a list")
        return [_item(fact.fields, item, f"{where}[{index}]") for index, item in enumerate(value)]
    expected, holds = SHAPES[fact.shape]
    if not holds(value) or (fact.choices and value not in fact.choices):
        raise WrongFacts(where, " or ".join(fact.choices) or expected)
    return value


def _item(fields: Mapping[str, Fact], item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise WrongFacts(where, "an object")
    return {name: _checked(fact, item.get(name), f"{where}.{name}") for name, fact in fields.items()}


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _points(value: Any) -> bool:
    return _whole(value) and value >= 0


def _amount(value: Any) -> bool:
    return _whole(value) or (isinstance(value, str) and _decimal(value))


@lru_cache(65536)
def _decimal(value: str) -> bool:
    try:
        return Decimal(value).is_finite()
    except InvalidOperation:
        return False


def _day(value: Any) -> bool:
    return isinstance(value, str) and _iso(value)


def _month(value: Any) -> bool:
    return isinstance(value, str) and _iso(f"{value}-01")


@lru_cache(65536)
def _iso(value: str) -> bool:
    try:
        return dt.date.fromisoformat(value).isoformat() == value  # and not 20260630 or 2026-W27-2
    except ValueError:
        return False


def _text(value: Any) -> bool:
    return isinstance(value, str) and not CONTROL.search(value)


SHAPES: Mapping[Shape, tuple[str, Callable[[Any], bool]]] = {
    "points": ("a whole number, not negative", _points),
    "number": ("a whole number, not negative", _points),
    "signed": ("a whole number", _whole),
    "amount": ("a whole number or a decimal string", _amount),
    "day": ("an ISO date", _day),
    "month": ("a month, YYYY-MM", _month),
    "text": ("text on one line", _text),
    "url": ("an address", _text),
}
