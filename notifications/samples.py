"""Facts to try templates with: the longest there can be, ordinary ones, empty ones, one of everything, a hostile member.

The lint measures with the longest; previews without a member show the typical ones; the tests keep what each becomes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from notifications.brand import Brand
from notifications.kinds import KINDS

MOST = 999_999_999
# the longest day and month there are in English
DAY, MONTH = "2026-09-30", "2026-09"
HOSTILE_NAME = "</p><script>alert(1)</script>'\" {{ brand }} \r\nBcc: everybody"
HOSTILE_TEXT = "<b onclick='x'>&amp;{{ 7 * 7 }}{% raw %}\"</b>"


@dataclass(frozen=True)
class Sample:
    """What ``Notices.render`` takes, without a locale."""

    facts: Mapping[str, Any]
    name: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Said:
    """What of a sample is in the member's language. The longest names are as long as ``addressed`` allows."""

    name: str
    long_name: str
    changes: tuple[str, ...]


SAID: Mapping[str, _Said] = {
    "en": _Said(
        "Ada Wong",
        "Wilhelmina Konstantinopolitanska-Featherstonehaugh von Hohen",
        (
            "For every £1 you spend you earn 2 points instead of 1. ",
            "Points are valid for 18 months from the purchase, until now for 24. ",
        ),
    ),
    "zh": _Said(
        "王小雅",
        ("买买提明·阿卜杜热合曼·" * 5)[:-1],
        ("每消费¥1可得2分，此前为1分。", "积分自消费之日起18个月内有效，此前为24个月。"),
    ),
}
SAMPLE_BRANDS: Mapping[str, Brand] = {
    "en": Brand(
        "Harbour Gifts", "https://www.harbour-gifts.example", "12 Shore Street, Leith EH6 6QW", "Harbour Gifts", "GBP",
        ("www.harbour-gifts.example",),
    ),
    "zh": Brand(
        "海港礼品", "https://www.harbour-gifts.example", "上海市黄浦区中山东一路12号，邮编200002", "海港礼品", "CNY",
        ("www.harbour-gifts.example",),
    ),
}  # fmt: skip


def sample_brand(locale: str) -> Brand:
    """A brand for previews and the lint when there is no programme at hand."""
    return SAMPLE_BRANDS["zh" if locale.startswith("zh") else "en"]


def samples(kind: str, locale: str) -> dict[str, Sample]:
    """``typical``, ``longest``, ``empty``, ``one`` and ``hostile`` facts of a kind, for members of a locale."""
    if kind == "digest":
        return _digests(locale)
    facts, one, empty = FACTS[kind]
    words = SAID["zh" if locale.startswith("zh") else "en"]
    changes = words.changes if kind == "policy_change" else ()
    longest = tuple(change * 4 for change in changes) * 6
    return {
        "typical": Sample(facts, words.name, changes),
        "longest": Sample(_longest(kind, facts), words.long_name, longest),
        "empty": Sample(facts | one | empty, ""),
        "one": Sample(facts | one, words.name, changes[:1]),
        "hostile": Sample(_hostile(kind, facts), HOSTILE_NAME, (HOSTILE_TEXT,) if changes else ()),
    }


def _longest(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    written = {
        "points": MOST, "number": 999, "signed": -MOST, "amount": "999999999.99", "day": DAY, "month": MONTH,
        "text": "W" * 24,
    }  # fmt: skip
    declared = KINDS[kind].facts
    longest = {name: fact.choices[0] if fact.choices else written.get(fact.shape) for name, fact in declared.items()}
    if "lots" in facts:
        longest["lots"] = [{name: written[field.shape] for name, field in declared["lots"].fields.items()}] * 12
    if kind == "tier_at_risk":
        longest["metric"] = "spend"
    return longest


def _hostile(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    declared = KINDS[kind].facts
    return {
        name: HOSTILE_TEXT if declared[name].shape == "text" and not declared[name].choices else value
        for name, value in facts.items()
    }


def _digests(locale: str) -> dict[str, Sample]:
    of = {kind: samples(kind, locale) for kind in KINDS if KINDS[kind].in_digest}
    chosen = {
        "typical": ("points_expiring", "tier_at_risk"),
        "longest": ("points_expiring", "tier_at_risk", "monthly_statement"),
        "empty": ("tier_upgraded", "tier_downgraded"),
        "one": ("points_expiring", "monthly_statement"),
        "hostile": ("tier_upgraded", "tier_at_risk"),
    }
    return {
        name: Sample(
            {"parts": [{"kind": kind, "facts": of[kind][name].facts} for kind in kinds]}, of[kinds[0]][name].name
        )
        for name, kinds in chosen.items()
    }


# kind: typical facts; what differs when there is one of everything; what differs besides when there is nothing
FACTS: Mapping[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "points_expiring": (
        {
            "points": 1250, "expires_on": "2026-06-30", "stage": 30, "balance": 3480, "value": "12.50", "as_of": "2026-05-30",
            "lots": [{"points": 800, "expires_on": "2026-06-28"}, {"points": 450, "expires_on": "2026-06-30"}],
        },
        {"points": 1, "balance": 1, "value": "0.01", "lots": [{"points": 1, "expires_on": "2026-06-30"}]},
        {"points": 0, "balance": 0, "value": None, "lots": []},
    ),
    "points_expired": (
        {
            "points": 1250, "expired_on": "2026-07-01", "balance": 2230, "as_of": "2026-07-01",
            "lots": [{"points": 800, "valid_through": "2026-06-28"}, {"points": 450, "valid_through": "2026-06-30"}],
        },
        {"points": 1, "balance": 1, "lots": [{"points": 1, "valid_through": "2026-06-30"}]},
        {"points": 0, "balance": 0, "lots": []},
    ),
    "tier_upgraded": (
        {"from_tier": "silver", "to_tier": "gold", "held_from": "2026-06-02", "valid_through": "2027-06-01"},
        {"from_tier": None},
        {"to_tier": None, "valid_through": None},
    ),
    "tier_downgraded": (
        {"from_tier": "gold", "to_tier": "silver", "held_from": "2026-06-02", "valid_through": "2027-06-01"},
        {"to_tier": None, "valid_through": None},
        {"from_tier": None},
    ),
    "tier_at_risk": (
        {"tier": "gold", "missing": "240.50", "metric": "spend", "deadline": "2026-07-31"},
        {"missing": 1, "metric": "orders"},
        {"missing": "0", "metric": "points_earned"},
    ),
    "redemption_confirmed": (
        {"redemption_no": "R-20260602-0017", "points": 500, "redeemed_on": "2026-06-02", "balance": 2980},
        {"points": 1, "balance": 1},
        {"balance": 0},
    ),
    "redemption_cancelled": (
        {"redemption_no": "R-20260602-0017", "points": 500, "cancelled_on": "2026-06-04", "balance": 3480},
        {"points": 1, "balance": 1},
        {"balance": 0},
    ),
    "adjustment": (
        {"points": -120, "adjusted_on": "2026-06-05", "balance": 3360},
        {"points": 1, "balance": 1},
        {"points": -1, "balance": 0},
    ),
    "policy_change": ({"version": 3, "effective_from": "2026-08-01"}, {"version": 1}, {}),
    "monthly_statement": (
        {
            "month": "2026-05", "opening": 2900, "earned": 1310, "redeemed": -500, "returned": -80, "expired": -150,
            "adjusted": 25, "other": -25, "closing": 3480, "as_of": "2026-05-31",
        },
        {
            "opening": 0, "earned": 1, "redeemed": 0, "returned": 0, "expired": 0, "adjusted": 0, "other": 0, "closing": 1,
        },
        {"earned": 0, "closing": 0},
    ),
    "win_back": (
        {"points": 640, "expires_on": "2026-06-30", "dormant_months": 6, "balance": 1840},
        {"points": 1, "dormant_months": 1, "balance": 1},
        {"points": 0, "balance": 0},
    ),
}  # fmt: skip
