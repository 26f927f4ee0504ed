"""The keys of ``[screens]`` in the programme file: from when on the fraud screens of the night point something out.

The other tables stand in ``infra.programme_keys``. The defaults are also those of a stored version without the section
(view ``screening`` in ``migrations/sql/0002_screens.sql``).
"""

from decimal import Decimal
from typing import Annotated

from pydantic import Field, StrictBool, StrictInt

from infra.programme_values import Fraction, Name, Positive, Table

Count = Annotated[StrictInt, Field(ge=0, le=1_000_000)]


class Screens(Table):
    """``[screens]``: what the nights point out as looking like fraud. They refuse nothing; a count or cap of 0 is off."""

    enabled: StrictBool = True
    history_days: Annotated[StrictInt, Field(ge=30, le=1095)] = 365
    min_history: Annotated[StrictInt, Field(ge=3, le=365)] = 8
    deviations: Positive = Decimal(10)
    member_earned_min: Annotated[StrictInt, Field(ge=1)] = 1000
    store_earned_min: Annotated[StrictInt, Field(ge=1)] = 10_000
    members_per_contact: Count = 4
    minutes_after_earn: Annotated[StrictInt, Field(ge=0, le=1440)] = 15
    large_earn: Annotated[StrictInt, Field(ge=1)] = 1000
    refund_days: Annotated[StrictInt, Field(ge=1, le=1095)] = 90
    refunds_after_spend: Count = 3
    refund_share: Fraction = Decimal("0.5")
    refund_min: Annotated[StrictInt, Field(ge=1)] = 100
    redemptions_per_day: Count = 0
    points_redeemed_per_day: Annotated[StrictInt, Field(ge=0, le=1_000_000_000)] = 0
    staff_days: Annotated[StrictInt, Field(ge=1, le=1095)] = 30
    staff_same_member: Count = 3
    near_limit_share: Fraction = Decimal("0.9")
    near_limit_count: Count = 3
    staff: dict[Name, Name] = Field(default_factory=dict)  # login = member_no
