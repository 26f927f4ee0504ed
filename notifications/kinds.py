"""What each notice is about: its class, and the facts its templates may use. Data only.

A fact has a type; from it follow the filters that may write it, the check of what the ledger hands over, and what
``notifications.lint`` accepts. Facts are JSON: ISO dates, whole points, decimal strings. Examples of them are in
``notifications.samples``; what members read is in ``notifications/templates``. Every kind has an e-mail and an SMS.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Class = Literal["transaction", "legal", "service", "marketing"]
Shape = Literal["points", "signed", "amount", "day", "month", "text", "url", "list", "item", "number"]

MAY_UNSUBSCRIBE: frozenset[Class] = frozenset({"service", "marketing"})
# what every e-mail has, and what only the folder of a kind that can be part of a digest has
FILES = ("subject.txt", "body.txt", "body.html", "sms.txt")
DIGEST_FILE = "in_digest.txt"


@dataclass(frozen=True)
class Fact:
    """One fact: its shape, whether it may be missing (null), the values it can take, the fields of a list's items."""

    shape: Shape
    optional: bool = False
    choices: tuple[str, ...] = ()
    fields: Mapping[str, "Fact"] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A kind of notice. ``sms_parts`` is the most that its SMS may cost, with the longest facts."""

    name: str
    belongs_to: Class
    facts: Mapping[str, Fact]
    sms_parts: int = 2

    @property
    def may_unsubscribe(self) -> bool:
        """Whether a member can say no to it, and its e-mail therefore says how."""
        return self.belongs_to in MAY_UNSUBSCRIBE

    @property
    def in_digest(self) -> bool:
        """Whether it can go out inside a digest (service notices; a digest is none itself)."""
        return self.belongs_to == "service" and self.name != "digest"

    @property
    def files(self) -> tuple[str, ...]:
        """The template files of each locale."""
        return (*FILES, DIGEST_FILE) if self.in_digest else FILES


POINTS, SIGNED, AMOUNT = Fact("points"), Fact("signed"), Fact("amount")
DAY, MONTH, TEXT = Fact("day"), Fact("month"), Fact("text")
TIER = Fact("text", optional=True)
TIER_CHANGE = {"from_tier": TIER, "to_tier": TIER, "held_from": DAY, "valid_through": Fact("day", optional=True)}

# what rendering adds to the facts of every kind
ADDED: Mapping[str, Fact] = {
    "name": TEXT, "member_no": TEXT, "brand": TEXT, "site_url": Fact("url"),
    "unsubscribe_url": Fact("url", optional=True), "postal_address": TEXT, "notice_ref": TEXT, "sms_signature": TEXT,
}  # fmt: skip

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "points_expiring",
            "service",
            {
                "points": POINTS, "expires_on": DAY, "stage": Fact("number"), "balance": POINTS,
                "value": Fact("amount", optional=True),
                "as_of": DAY, "lots": Fact("list", fields={"points": POINTS, "expires_on": DAY}),
            },
        ),
        Kind(
            "points_expired",
            "legal",
            {
                "points": POINTS, "expired_on": DAY, "balance": POINTS, "as_of": DAY,
                "lots": Fact("list", fields={"points": POINTS, "valid_through": DAY}),
            },
        ),
        Kind("tier_upgraded", "service", TIER_CHANGE),
        Kind("tier_downgraded", "service", TIER_CHANGE),
        Kind(
            "tier_at_risk",
            "service",
            {
                "tier": TEXT, "missing": AMOUNT, "deadline": DAY,
                "metric": Fact("text", choices=("points_earned", "spend", "orders")),
            },
        ),
        Kind(
            "redemption_confirmed",
            "transaction",
            {"redemption_no": TEXT, "points": POINTS, "redeemed_on": DAY, "balance": POINTS},
        ),
        Kind(
            "redemption_cancelled",
            "transaction",
            {"redemption_no": TEXT, "points": POINTS, "cancelled_on": DAY, "balance": POINTS},
        ),
        Kind("adjustment", "transaction", {"points": SIGNED, "adjusted_on": DAY, "balance": POINTS}),
        Kind(
            "policy_change",
            "legal",
            {"version": Fact("number"), "effective_from": DAY, "changes": Fact("list", fields={"text": TEXT})},
        ),
        Kind(
            "monthly_statement",
            "service",
            {
                "month": MONTH, "opening": POINTS, "earned": SIGNED, "redeemed": SIGNED, "returned": SIGNED,
                "expired": SIGNED, "adjusted": SIGNED, "other": SIGNED, "closing": POINTS, "as_of": DAY,
            },
            sms_parts=3,
        ),
        Kind("win_back", "marketing", {"points": POINTS, "expires_on": DAY, "dormant_months": Fact("number"), "balance": POINTS}),
        Kind("digest", "service", {"parts": Fact("list", fields={"heading": TEXT, "body": TEXT})}, sms_parts=8),
    )
}  # fmt: skip
