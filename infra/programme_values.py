"""What a table and a value of the programme file may be: exact decimals, days, zones, lists of names.

A decimal is a TOML string or a whole number, never a TOML float, and stays exact. A list that is a condition is kept
sorted and without doubles, so that two files that mean the same are stored the same. Every refusal says what to write
instead; ``infra.programme`` puts the file, the key and the value in front of it.
"""

import datetime as dt
import re
import zoneinfo
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StrictStr


class Table(BaseModel):
    """A table of the file; a key it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _exact(value: object) -> Decimal:
    if isinstance(value, float):
        raise ValueError('a float is not exact: write it as a string, such as "0.1"')
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError('must be a decimal: write it as a string, such as "1.5"')
    text = str(value)
    if not re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,8})?", text, re.ASCII):
        raise ValueError('must be a decimal with at most 12 digits before the point and 8 after it, such as "1.5"')
    if text.startswith("-") and Decimal(text) != 0:
        raise ValueError("must be zero or more")
    # "1.50" and "1.5" are one value and must be stored as one, or a comparison of versions shows changes that are none
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text).copy_abs()


def _positive(value: object) -> Decimal:
    exact = _exact(value)
    if exact == 0:
        raise ValueError("must be more than zero")
    return exact


def _share(value: object) -> Decimal | str:
    if value == "off":
        return "off"
    exact = _positive(value)
    if exact > 1:
        raise ValueError('is a share and must not be above "1": write "0.05" for 5 %, or "off"')
    return exact


def _fraction(value: object) -> Decimal:
    exact = _positive(value)
    if exact > 1:
        raise ValueError('is a share and must not be above "1": write "0.5" for 50 %')
    return exact


def _off_or_positive(value: object) -> Decimal | str:
    return "off" if value == "off" else _positive(value)


def _date(value: object) -> dt.date:
    if isinstance(value, dt.datetime) or not isinstance(value, dt.date | str):
        raise ValueError("must be a day without a time, such as 2011-06-30")
    if isinstance(value, dt.date):
        return value
    try:  # strings too, so that the dictionary this becomes can be read back
        return dt.datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        raise ValueError("is no day of the calendar: write it as 2011-06-30") from None


def _zone(value: object) -> str:
    if not isinstance(value, str) or value in ("localtime", "Factory") or value not in zoneinfo.available_timezones():
        raise ValueError('is no IANA time zone: write one such as "Europe/London" or "Asia/Shanghai"')
    return value


def _currency(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch("[A-Z]{3}", value):
        raise ValueError('must be three capital letters, such as "GBP"')
    return value


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError('must be a list that is not empty, such as ["POST", "DOT"]: or leave the key out')
    for name in value:
        if not isinstance(name, str) or not name.strip():
            raise ValueError('may hold only strings that are not empty: write numbers in quotes too, such as "22423"')
    return tuple(sorted(set(value)))


def _weekdays(value: object) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError('must be a list that is not empty, such as ["sat", "sun"]: or leave the key out')
    return tuple(sorted({_weekday(day) for day in value}))


def _weekday(day: object) -> int:
    if isinstance(day, str) and day.lower() in WEEKDAYS:
        return WEEKDAYS.index(day.lower()) + 1
    if isinstance(day, int) and not isinstance(day, bool) and 1 <= day <= 7:
        return day
    raise ValueError(f"may hold only {', '.join(WEEKDAYS)}, or 1 (Monday) to 7 (Sunday)")


def _ladder(value: object) -> tuple[int, ...]:
    days = value if isinstance(value, list | tuple) else []
    if not days or not all(isinstance(day, int) and not isinstance(day, bool) and 1 <= day <= 730 for day in days):
        raise ValueError("must be a list of whole days from 1 to 730, such as [60, 30, 7]")
    return tuple(sorted(set(days), reverse=True))


def _month_day(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9]{2}-[0-9]{2}", value, re.ASCII):
        raise ValueError('must be a month and a day, such as "12-31"')
    try:  # 2011 has no 29 February: a day that most years lack cannot end the validity of points
        dt.date.fromisoformat(f"2011-{value}")
    except ValueError:
        raise ValueError('is not a day of every year: use one that is, such as "02-28"') from None
    return value


def _clock(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]", value, re.ASCII):
        raise ValueError('must be a time of day, such as "20:00"')
    return value


def _site(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"https://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?", value):
        raise ValueError('must be the address of a site, such as "https://club.example.com"')
    return value


_plain = PlainSerializer(lambda value: value if value == "off" else format(value, "f"), return_type=str)
NotNegative = Annotated[Decimal, BeforeValidator(_exact), _plain]
Positive = Annotated[Decimal, BeforeValidator(_positive), _plain]
Fraction = Annotated[Decimal, BeforeValidator(_fraction), _plain]
Share = Annotated[Decimal | Literal["off"], BeforeValidator(_share), _plain]
Times = Annotated[Decimal | Literal["off"], BeforeValidator(_off_or_positive), _plain]
Day = Annotated[dt.date, BeforeValidator(_date)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Name = Annotated[StrictStr, Field(min_length=1, max_length=100)]
Zone = Annotated[str, BeforeValidator(_zone)]
Currency = Annotated[str, BeforeValidator(_currency)]
Weekdays = Annotated[tuple[int, ...], BeforeValidator(_weekdays)]
Ladder = Annotated[tuple[int, ...], BeforeValidator(_ladder)]
MonthDay = Annotated[str, BeforeValidator(_month_day)]
Clock = Annotated[str, BeforeValidator(_clock)]
Site = Annotated[str, BeforeValidator(_site)]
