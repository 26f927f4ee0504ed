"""Parameter types that several commands share."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import click


class Day(click.ParamType[dt.date]):
    """A business date, YYYY-MM-DD."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.date:
        """Read it; anything but a day that exists is refused."""
        if isinstance(value, dt.date):
            return value
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day; write it like 2026-01-31.", param, ctx)


DAY = Day()


def as_json(value: Any) -> str:
    """JSON for machines: dates and decimals as text, keys as they are."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value)} has no JSON form")
