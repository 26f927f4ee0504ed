"""``[notices]`` and ``[expiry.notice]`` of the programme file: what members are told, how, and what lapses without it."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator

from infra.programme_values import Clock, Ladder, Name, Site, Table

Channel = Literal["email", "sms"]
Kind = Literal[
    "points_expiring", "points_expired", "tier_upgraded", "tier_downgraded", "tier_at_risk", "redemption_confirmed",
    "redemption_cancelled", "adjustment", "policy_change", "monthly_statement", "win_back",
]  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
SWITCHES: Final[Mapping[Kind, str]] = {"monthly_statement": "statement", "win_back": "win_back_months"}


def _kinds(data: Mapping[str, Any]) -> tuple[Kind, ...]:
    """All of them, as far as the other keys do not switch one off."""
    off = {kind for kind, key in SWITCHES.items() if not data.get(key, key == "statement")}
    return tuple(kind for kind in KINDS if kind not in off)


def _min_days(data: Mapping[str, Any]) -> int:
    """The largest step of the ladder that is at most 30 days, else the smallest."""
    ladder: tuple[int, ...] = data.get("ladder_days", (30,))
    return max((days for days in ladder if days <= 30), default=min(ladder))


class Notices(Table):
    """``[notices]``: without this table nobody is written to. Quiet hours are the member's, for advertising and SMS."""

    channels: Annotated[tuple[Channel, ...], Field(min_length=1)] = ("email",)
    default_locale: Annotated[StrictStr, Field(pattern="^[a-z]{2,3}(_[A-Za-z]{2,4})?$")] = "en"
    site_url: Site
    postal_address: Name
    sms_signature: Annotated[StrictStr, Field(max_length=100)] = ""
    quiet_hours: tuple[Clock, Clock] = ("20:00", "09:00")
    marketing_per_30_days: Annotated[StrictInt, Field(ge=0, le=1000)] = 2
    statement: StrictBool = True
    win_back_months: Annotated[StrictInt, Field(ge=0, le=120)] = 0
    kinds: tuple[Kind, ...] = Field(default_factory=_kinds)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Two keys that say the opposite of one kind would leave open which one counts."""
        for kind, key in SWITCHES.items():
            if kind in self.kinds and not getattr(self, key):
                raise ValueError(f'kinds holds "{kind}", which {key} switches off: remove one of them')
        if self.win_back_months and "win_back" not in self.kinds:
            raise ValueError('win_back_months asks for "win_back", which is not in kinds: add it')
        if "sms" in self.channels and not self.sms_signature:
            raise ValueError('channels holds "sms", which needs sms_signature: add it')
        if len(set(self.channels)) < len(self.channels):
            raise ValueError("channels holds one of them twice: remove it")
        return self


class ExpiryNotice(Table):
    """``[expiry.notice]``: when members are told, and whether points may lapse without it."""

    ladder_days: Ladder = (60, 30, 7)
    required: StrictBool = False
    min_days: Annotated[StrictInt, Field(ge=1, le=365)] = Field(default_factory=_min_days)
    unreachable: Literal["defer", "expire"] = "defer"

    @model_validator(mode="after")
    def _can_be_told_in_time(self) -> Self:
        """A notice that no step of the ladder sends would be waited for in vain."""
        if self.min_days > max(self.ladder_days):
            raise ValueError(
                f"min_days = {self.min_days} is above every step of ladder_days: add {self.min_days} to them, or lower it"
            )
        return self
