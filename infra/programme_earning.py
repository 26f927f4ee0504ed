"""The keys of ``[earn]`` in the programme file: rates, multipliers, bonuses, and the conditions they share.

The other tables are in ``infra.programme_keys``.
"""

import datetime as dt
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    StrictBool,
    StrictInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from infra.programme_values import Day, Name, Names, NotNegative, Positive, Table, Weekdays


class Conditions(Table):
    """What an order line must be for a rate, a multiplier or a bonus to apply. A condition left out always holds."""

    skus: Names | None = None
    exclude_skus: Names | None = None
    categories: Names | None = None
    exclude_categories: Names | None = None
    stores: Names | None = None
    channels: Names | None = None
    tiers: Names | None = None
    groups: Names | None = None
    weekdays: Weekdays | None = None
    from_: Day | None = Field(default=None, alias="from")
    through: Day | None = None
    min_order_amount: NotNegative | None = None
    first_order: StrictBool | None = None
    birthday_month: StrictBool | None = None

    @field_validator("through")
    @classmethod
    def _not_before_from(cls, through: dt.date, info: ValidationInfo) -> dt.date:
        begin = info.data.get("from_")
        if begin and through < begin:
            raise ValueError(f"is before from = {begin}, so no day lies between: swap them")
        return through


ORDER_CONDITIONS = (
    "skus", "exclude_skus", "categories", "exclude_categories", "min_order_amount", "first_order",
)  # fmt: skip


class Rate(Conditions):
    """``[[earn.rate]]``: points per 1.00 of currency; the first that matches a line is used."""

    points_per_unit: NotNegative
    spent_from: NotNegative | None = None  # by orders placed before this one; reached is in
    spent_below: Positive | None = None  # reached is out
    spent_window: Literal["calendar_year", "rolling_12_months", "anniversary", "lifetime"] | None = None

    @model_validator(mode="after")
    def _a_band_in_a_window(self) -> Self:
        """A threshold needs a window, a window a threshold, a band some room."""
        if self.spent_from is None and self.spent_below is None:
            if self.spent_window is not None:
                raise ValueError('spent_window has no effect alone: add spent_from = "500", or remove it')
        elif self.spent_window is None:
            raise ValueError('spent_from and spent_below need spent_window: add spent_window = "calendar_year"')
        elif self.spent_below is not None and self.spent_below <= (self.spent_from or 0):
            raise ValueError("spent_below is not above spent_from, so no amount lies between: raise it")
        return self


class Multiplier(Conditions):
    """``[[earn.multiplier]]``: the best (or the product) of those that match a line."""

    factor: Positive
    name: Name | None = None


class Bonus(Conditions):
    """``[[earn.bonus]]``: whole points per order, or for an activity."""

    points: Annotated[StrictInt, Field(ge=1, le=1_000_000_000)]
    activity: Name | None = None
    count: Annotated[StrictInt, Field(ge=1, le=1000)] | None = None  # activities for one bonus; not set = 1
    per: Literal["day", "week", "month", "once"] | None = None  # the period in which they are counted
    max_times: Annotated[StrictInt, Field(ge=1, le=1000)] | None = None  # in each period; not set = 1
    name: Name | None = None

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> Self:
        """An activity has no lines and no amount; an order is not counted."""
        if self.activity is None:
            for key in ("count", "per", "max_times"):
                if getattr(self, key) is not None:
                    raise ValueError(f'{key} is for activities: remove it, or add activity = "check_in"')
            return self
        if self.per is None:
            raise ValueError('a bonus for an activity needs per: add per = "day", "week", "month" or "once"')
        for key in ORDER_CONDITIONS:
            if getattr(self, key) is not None:
                raise ValueError(f"{key} asks for an order, and an activity is none: remove it")
        if self.per == "once" and (self.max_times or 1) > 1:
            raise ValueError('max_times has no effect with per = "once": remove it or choose another period')
        return self

    @property
    def label(self) -> str:
        """What the ledger knows an activity's bonus by, over versions; ``earn_activities.sql`` writes the same."""
        return self.name or f"{self.activity} x {self.count or 1} per {self.per}"


class Earn(Table):
    """``[earn]`` with its rates, multipliers and bonuses."""

    stacking: Literal["best", "multiply"] = "best"
    daily_cap: Annotated[StrictInt, Field(ge=0, le=1_000_000_000)] = 0
    usable_after_days: Annotated[StrictInt, Field(ge=0, le=3650)] = 0
    rate: Annotated[tuple[Rate, ...], Field(min_length=1)]
    multiplier: tuple[Multiplier, ...] = ()
    bonus: tuple[Bonus, ...] = ()

    @model_validator(mode="after")
    def _bonuses_apart(self) -> Self:
        """The ledger gives a bonus once by its name: two of one name would give it to the first only."""
        labels = [bonus.label for bonus in self.bonus if bonus.activity]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f'two bonuses for activities are called "{label}": give each a name of its own')
        return self
