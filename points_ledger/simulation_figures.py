"""What two simulations of the same period differ in: members, tiers, kinds, money. Pure; reads members as a stream.

A member's *points* are what the programme has given them by the end of the period: the balance, less the debt, plus
what they used in the period. So a member who spends a gain at once has gained all the same. Money is points times the
value of a point in the programme, an exact decimal.
"""

import datetime as dt
import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import zip_longest
from typing import Any, Final, Protocol

from points_ledger.simulation import Side

MOST_AFFECTED: Final = 10
OUTCOMES: Final = ("gain", "lose", "unchanged")


class Standing(Protocol):
    """A member at the end of a simulation."""

    member_no: str
    tier: str
    balance: int
    debt: int
    used: int


@dataclass
class Members:
    """So many members, their points and the money these are worth."""

    members: int = 0
    points: int = 0
    money: Decimal = Decimal("0.00")

    def add(self, points: int, money: Decimal) -> None:
        """One more member."""
        self.members += 1
        self.points += points
        self.money += money

    def as_json(self) -> dict[str, Any]:
        """Plain values; money as an exact decimal string."""
        return {"members": self.members, "points": self.points, "money": exact(self.money)}


@dataclass
class Comparison:
    """All members of both sides, counted once; see ``docs/reference/simulation.md`` for the meaning of each figure."""

    outcomes: dict[str, Members] = field(default_factory=lambda: {outcome: Members() for outcome in OUTCOMES})
    baseline_tiers: dict[str, Members] = field(default_factory=lambda: defaultdict(Members))
    proposed_tiers: dict[str, Members] = field(default_factory=lambda: defaultdict(Members))
    moves: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    most_affected: list[dict[str, Any]] = field(default_factory=list)
    liability: dict[str, dict[str, int]] = field(default_factory=dict)


def compare_members(
    baseline: Iterable[Standing], proposed: Iterable[Standing], *, value: Decimal, proposed_value: Decimal
) -> Comparison:
    """Compare member by member; both sides are ordered by member_no and hold the same members.

    Raises:
        AssertionError: they do not.
    """
    found = Comparison(liability={side: {"outstanding": 0, "debt": 0} for side in ("baseline", "proposed")})
    found.most_affected = heapq.nlargest(
        MOST_AFFECTED,
        _differences(found, baseline, proposed, value, proposed_value),
        key=lambda row: abs(Decimal(row["money_difference"])),
    )
    return found


def _differences(
    found: Comparison,
    baseline: Iterable[Standing],
    proposed: Iterable[Standing],
    value: Decimal,
    proposed_value: Decimal,
) -> Iterator[dict[str, Any]]:
    for old, new in zip_longest(baseline, proposed):
        if old is None or new is None or old.member_no != new.member_no:
            raise AssertionError(f"The two simulations hold different members: {old} and {new}")
        points, new_points = given(old), given(new)
        money, new_money = points * value, new_points * proposed_value
        outcome = "gain" if new_money > money else "lose" if new_money < money else "unchanged"
        found.outcomes[outcome].add(new_points - points, new_money - money)
        found.baseline_tiers[old.tier].add(points, money)
        found.proposed_tiers[new.tier].add(new_points, new_money)
        found.moves[old.tier, new.tier] += 1
        for side, standing in (("baseline", old), ("proposed", new)):
            found.liability[side]["outstanding"] += standing.balance
            found.liability[side]["debt"] += standing.debt
        if outcome != "unchanged":
            yield {
                "member_no": old.member_no,
                "baseline_points": points,
                "proposed_points": new_points,
                "difference": new_points - points,
                "money_difference": exact(new_money - money),
                "baseline_tier": old.tier,
                "proposed_tier": new.tier,
            }


def given(member: Standing) -> int:
    """What the programme has given a member: what is there, less what is owed, plus what was used in the period."""
    return member.balance - member.debt + member.used


def exact(money: Decimal) -> str:
    """An exact decimal, never in exponents."""
    return format(money, "f")


def tier_rows(found: Comparison, order: Sequence[str]) -> list[dict[str, Any]]:
    """Members, points and money by the tier held at the end, lowest tier first."""
    rows = []
    for tier in _in_order({*found.baseline_tiers, *found.proposed_tiers}, order):
        old, new = found.baseline_tiers.get(tier, Members()), found.proposed_tiers.get(tier, Members())
        difference = Members(new.members - old.members, new.points - old.points, new.money - old.money)
        sides = {"baseline": old.as_json(), "proposed": new.as_json(), "difference": difference.as_json()}
        rows.append({"tier": tier, **sides})
    return rows


def move_rows(found: Comparison, order: Sequence[str]) -> list[dict[str, Any]]:
    """How many members hold which tier in the baseline and which one in the proposed programme."""
    tiers = _in_order({tier for move in found.moves for tier in move}, order)
    pairs = [(old, new) for old in tiers for new in tiers if found.moves.get((old, new))]
    return [{"baseline": old, "proposed": new, "members": found.moves[old, new]} for old, new in pairs]


def two_sides(label: str, baseline: Mapping[str, int], proposed: Mapping[str, int]) -> list[dict[str, Any]]:
    """Points by a label (a kind of entry, a month) on both sides."""
    return [
        {
            label: key,
            "baseline": baseline.get(key, 0),
            "proposed": proposed.get(key, 0),
            "difference": proposed.get(key, 0) - baseline.get(key, 0),
        }
        for key in sorted({*baseline, *proposed})
    ]


def liability_rows(found: Comparison, value: Decimal, proposed_value: Decimal) -> dict[str, Any]:
    """Points outstanding, points owed by members and the money of the outstanding ones, on both sides."""
    sides: dict[str, dict[str, Any]] = {}
    for side, worth in (("baseline", value), ("proposed", proposed_value)):
        points = found.liability[side]
        sides[side] = {**points, "money": exact(points["outstanding"] * worth)}
    old, new = sides["baseline"], sides["proposed"]
    sides["difference"] = {
        "outstanding": new["outstanding"] - old["outstanding"],
        "debt": new["debt"] - old["debt"],
        "money": exact(Decimal(new["money"]) - Decimal(old["money"])),
    }
    return sides


def night_rows(baseline: Side, proposed: Side) -> list[dict[str, Any]]:
    """Points outstanding after each night on both sides."""

    def row(day: dt.date) -> dict[str, Any]:
        return {"date": day.isoformat(), "baseline": baseline.outstanding[day], "proposed": proposed.outstanding[day]}

    return [row(day) for day in baseline.outstanding]


def members_that_differ(ledger: Iterable[Any], baseline: Iterable[Standing]) -> int:
    """Members whose balance or debt is not the ledger's own; ``ledger`` holds those with entries, by member_no."""
    recorded, differ = iter(ledger), 0
    expected = next(recorded, None)
    for member in baseline:
        if expected is not None and expected.member_no == member.member_no:
            differ += (expected.balance, expected.debt) != (member.balance, member.debt)
            expected = next(recorded, None)
        else:
            differ += (member.balance, member.debt) != (0, 0)
    while expected is not None:
        differ, expected = differ + 1, next(recorded, None)
    return differ


def _in_order(tiers: set[str], order: Sequence[str]) -> list[str]:
    known = {tier: place for place, tier in enumerate(order)}
    return sorted(tiers, key=lambda tier: (known.get(tier, -1), tier))
