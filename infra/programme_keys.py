"""The keys of the programme file: which there are, what each defaults to, which belong together.

One frozen pydantic model per TOML table, in the order in which the file is usually written; those of ``[earn]`` are in
``infra.programme_earning``. What a single value may be is in ``infra.programme_values``; reading the file and wording
refusals in ``infra.programme``.
"""

import itertools
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    StrictBool,
    StrictInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from infra.programme_earning import Earn
from infra.programme_notices import ExpiryNotice, Notices
from infra.programme_screens import Screens
from infra.programme_values import (
    Currency,
    Day,
    MonthDay,
    Name,
    NotNegative,
    Share,
    Table,
    Times,
    Zone,
)


class Identity(Table):
    """``[programme]``: what the programme is, where its days begin, and from when it counts."""

    name: Name
    time_zone: Zone
    currency: Currency
    starts_on: Day
    point_value: NotNegative = Decimal("0.01")
    enrol_from_orders: StrictBool = True
    notice_days: Annotated[StrictInt, Field(ge=0, le=730)] = 30  # between a change that takes away and its first day


class Expiry(Table):
    """``[expiry]``: how long points can be spent."""

    basis: Literal["none", "fixed", "calendar", "inactivity", "inactivity_with_cap"] = "none"
    months: Annotated[StrictInt, Field(ge=1, le=600)] | None = None  # of inactivity: without a purchase or redemption
    cap_months: Annotated[StrictInt, Field(ge=1, le=600)] | None = None  # of inactivity_with_cap: from the purchase
    round_up_to: Literal["day", "month", "quarter", "year"] = "day"
    month_day: MonthDay | None = None
    on_change: Literal["keep", "shorten_existing"] = "keep"  # what a new version does to points that are there already
    notice: ExpiryNotice = ExpiryNotice()

    @model_validator(mode="after")
    def _keys_of_its_basis(self) -> Self:
        """A key that has no effect would be a promise nobody keeps."""
        by_months = self.basis in ("fixed", "inactivity", "inactivity_with_cap")
        if by_months and self.months is None:
            raise ValueError(f'basis = "{self.basis}" needs months: add months = 12')
        # of a calendar, months is the least age: points lapse on the first month_day that is at least so far away
        used = {
            "none": set(),
            "calendar": {"month_day", "months"},
            "inactivity_with_cap": {"months", "cap_months", "round_up_to"},
        }.get(self.basis, {"months", "round_up_to"})
        if self.basis == "inactivity_with_cap" and (self.cap_months is None or self.cap_months < (self.months or 0)):
            raise ValueError('basis = "inactivity_with_cap" needs cap_months of at least months: add cap_months = 36')
        for key in ("months", "cap_months", "round_up_to", "month_day"):
            if key not in used and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f'{key} has no effect with basis = "{self.basis}": remove it or choose another basis')
        if self.notice.required and self.basis.startswith("inactivity"):
            # every purchase moves the last day, so that the day a member was told of is none any more
            raise ValueError(
                f'basis = "{self.basis}" moves the last day whenever a member is active, so points cannot wait for a notice '
                "that names it: remove notice.required, or choose another basis"
            )
        return self


class Refund(Table):
    """``[refund]``: what a return takes back when the order's own points are gone."""

    policy: Literal["only_pending", "within_balance", "debt"] = "debt"


class Guard(Table):
    """``[guard]``: a night that takes more points than this waits for a person."""

    max_share_of_outstanding: Share = Decimal("0.05")
    max_times_median: Times = Decimal(3)


class Limit(Table):
    """``[[approval.limit]]``: how much a login, or the logins of a role, may propose; instead of the general limits."""

    role: Name
    max_points_per_adjustment: Annotated[StrictInt, Field(ge=1)] | None = None
    max_points_per_day: Annotated[StrictInt, Field(ge=1)] | None = None


class Approval(Table):
    """``[approval]``: what a person may propose that a second one approves."""

    reason_codes: Annotated[tuple[Name, ...], Field(min_length=1)] = (
        "goodwill", "missing_points", "complaint", "correction", "misuse", "other",
    )  # fmt: skip
    max_points_per_adjustment: Annotated[StrictInt, Field(ge=1, le=1_000_000_000)] = 10_000
    max_points_per_day_and_login: Annotated[StrictInt, Field(ge=1, le=1_000_000_000)] = 50_000
    reinstate_days: Annotated[StrictInt, Field(ge=1, le=3650)] = 30
    limit: tuple[Limit, ...] = ()


class Transfer(Table):
    """``[transfer]``: whether members may give points to members they are bound to, and how many."""

    enabled: StrictBool = False
    max_per_day: Annotated[StrictInt, Field(ge=1)] | None = None
    max_per_month: Annotated[StrictInt, Field(ge=1)] | None = None
    cooling_off_days: Annotated[StrictInt, Field(ge=0, le=365)] = 7

    @model_validator(mode="after")
    def _limited(self) -> Self:
        """Points that can be given away without limit come close to money."""
        if self.enabled and (self.max_per_day is None or self.max_per_month is None):
            raise ValueError("enabled = true needs max_per_day and max_per_month: add both")
        return self


class Tier(Table):
    """``[[tier]]``, lowest first."""

    code: Name
    enter_at: Annotated[StrictInt, Field(ge=0)]
    keep_at: Annotated[StrictInt, Field(ge=0)] | None = None

    @field_validator("keep_at")
    @classmethod
    def _not_above_enter_at(cls, keep_at: int, info: ValidationInfo) -> int:
        if keep_at > info.data.get("enter_at", keep_at):
            raise ValueError(f"is above enter_at = {info.data['enter_at']}: lower it")
        return keep_at

    @property
    def kept_at(self) -> int:
        """What keeps it: ``keep_at``, else what it is entered with."""
        return self.enter_at if self.keep_at is None else self.keep_at


class Tiers(Table):
    """``[tiers]``: what a tier is measured by, and how it is lost."""

    metric: Literal["points_earned", "spend", "orders"] = "points_earned"
    window: Literal["rolling_12_months", "calendar_year", "anniversary", "lifetime"] = "rolling_12_months"
    downgrade: Literal["none", "one_down", "to_earned"] = "one_down"
    grace_days: Annotated[StrictInt, Field(ge=0, le=730)] = 30


def _ascending(tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
    for place, tier in enumerate(tiers):
        if tier.code in {other.code for other in tiers[:place]}:
            raise ValueError(f'the code "{tier.code}" occurs twice: give every tier its own')
    for below, above in itertools.pairwise(tiers):
        if above.enter_at <= below.enter_at:
            raise ValueError(
                f'"{above.code}" does not start above "{below.code}" (enter_at = {above.enter_at}, {below.enter_at}): '
                "list the tiers lowest first, each with a higher enter_at"
            )
        if above.kept_at < below.kept_at:
            raise ValueError(
                f'"{above.code}" is kept with less than "{below.code}" (keep_at = {above.kept_at}, {below.kept_at}): '
                f'raise the keep_at of "{above.code}" to {below.kept_at} or more'
            )
    return tiers


class ProgrammeFile(Table):
    """The whole file."""

    programme: Identity
    earn: Earn
    expiry: Expiry = Expiry()
    refund: Refund = Refund()
    guard: Guard = Guard()
    tier: Annotated[tuple[Tier, ...], AfterValidator(_ascending)] = ()
    tiers: Tiers | None = None
    approval: Approval = Approval()
    transfer: Transfer = Transfer()
    screens: Screens = Screens()
    notices: Notices | None = None

    @model_validator(mode="after")
    def _tiers_fit(self) -> Self:
        if self.tiers and not self.tier:
            raise ValueError("[tiers] without a [[tier]]: add one, or remove [tiers]")
        return self

    @model_validator(mode="after")
    def _tiers_of_rules_exist(self) -> Self:
        codes = [tier.code for tier in self.tier]
        for kind in ("rate", "multiplier", "bonus"):
            for place, rule in enumerate(getattr(self.earn, kind)):
                unknown = [code for code in rule.tiers or () if code not in codes]
                if unknown:
                    known = f"use one of {', '.join(codes)}" if codes else f'add [[tier]] with code = "{unknown[0]}"'
                    raise ValueError(f'earn.{kind}[{place}].tiers = "{unknown[0]}" is no tier of this file: {known}')
        return self

    def plain(self) -> dict[str, Any]:
        """Return JSON values with every default filled in; a condition that is not set is absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
