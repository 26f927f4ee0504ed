"""What changed in the rates, multipliers and bonuses of the programme, and what that does to members. Pure.

Rules are paired by name, then by what they say; a rule that ended before the first day of the new version counts as
not there. Whatever cannot be told for certain takes away.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from typing import Any

from points_ledger.effects import Change, Effect

Rule = dict[str, Any]
AMOUNTS = {"rate": "points_per_unit", "multiplier": "factor", "bonus": "points"}
INCLUDED = ("skus", "categories", "stores", "channels", "tiers", "groups", "weekdays")
LABELS = ("name", "activity")  # what tells a rule from its neighbours


class Reach(Enum):
    """For which orders a changed condition lets the rule apply, compared with before."""

    SAME = auto()
    WIDER = auto()
    NARROWER = auto()
    OTHER = auto()


@dataclass(frozen=True)
class _Pair:
    """A rule before and after, each with its place; None: it is new, or gone."""

    old: int | None
    new: int | None


@dataclass(frozen=True)
class _Rules:
    """The rules of one kind in both versions, and the first day of the new one."""

    kind: str
    before: Sequence[Rule]
    after: Sequence[Rule]
    first_day: dt.date | None

    def amount(self, rule: Rule) -> Decimal:
        return Decimal(str(rule[AMOUNTS[self.kind]]))

    def has_ended(self, rule: Rule | None) -> bool:
        """Tell whether a rule says nothing about any day of the new version."""
        if rule is None:
            return True
        return bool(self.first_day and rule.get("through") and dt.date.fromisoformat(rule["through"]) < self.first_day)

    def most_of_later(self, place: int, pairs: Sequence[_Pair]) -> Decimal:
        """The most that a line could get from the rates behind a place: there, and from the same ones before."""
        later = [self.amount(rule) for rule in self.after[place + 1 :]]
        later += [
            self.amount(self.before[pair.old])
            for pair in pairs
            if pair.old is not None and (pair.new is None or pair.new > place)
        ]
        return max(later, default=Decimal(0))

    def lowers(self) -> bool:
        """Tell whether a multiplier of either version makes less of a line."""
        return any(self.amount(rule) < 1 for rule in (*self.before, *self.after))


def changed_rules(
    kind: str, before: Sequence[Rule], after: Sequence[Rule], *, first_day: dt.date | None
) -> Iterator[Change]:
    """The differences between the rules of one kind (``rate``, ``multiplier``, ``bonus``), key by key."""
    rules = _Rules(kind, before, after, first_day)
    pairs = list(_pairs(rules))
    for pair in pairs:
        yield from _changed(rules, pair, pairs)
    both = [(pair.old, pair.new) for pair in pairs if pair.old is not None and pair.new is not None]
    if [new for _, new in sorted(both)] != sorted(new for _, new in both):
        old, new = ([_label(place, rule) for place, rule in enumerate(side)] for side in (before, after))
        if kind == "rate":
            yield Change("earn.rate", old, new, Effect.TAKES_AWAY, "another order: the first rate that matches is used")
        else:
            yield Change(f"earn.{kind}", old, new, Effect.NEUTRAL, "another order, which has no effect")


def widens(key: str, before: Any, after: Any, first_day: dt.date | None = None) -> Reach:
    """Tell for more, fewer or other orders a condition holds after a change; None: it is not set, so it always holds."""
    before, after = _in_effect(key, before, first_day), _in_effect(key, after, first_day)
    if before == after:
        return Reach.SAME
    if before is None or after is None:
        return Reach.WIDER if after is None else Reach.NARROWER
    if key in INCLUDED or key.startswith("exclude_"):
        more, fewer = set(before) < set(after), set(after) < set(before)
        if not more and not fewer:
            return Reach.OTHER
        return Reach.WIDER if more is not key.startswith("exclude_") else Reach.NARROWER
    compared: dict[str, Callable[[Any], Any]] = {
        "from": dt.date.fromisoformat, "through": dt.date.fromisoformat, "min_order_amount": Decimal, "count": int,
        "max_times": int, "spent_from": Decimal, "spent_below": Decimal,
    }  # fmt: skip
    if key not in compared:
        return Reach.OTHER
    is_more = compared[key](after) > compared[key](before)
    return Reach.WIDER if is_more is (key in ("through", "max_times", "spent_below")) else Reach.NARROWER


def _in_effect(key: str, value: Any, first_day: dt.date | None) -> Any:
    """None for a value that has no effect: a beginning that has passed by then, an order of any amount."""
    if key in ("count", "max_times"):
        return value or 1
    if key == "from" and value and first_day and dt.date.fromisoformat(value) <= first_day:
        return None
    if key in ("min_order_amount", "spent_from") and value is not None and Decimal(value) == 0:
        return None
    return value


def _changed(rules: _Rules, pair: _Pair, pairs: Sequence[_Pair]) -> Iterator[Change]:
    old = rules.before[pair.old] if pair.old is not None else None
    new = rules.after[pair.new] if pair.new is not None else None
    place = pair.new if pair.new is not None else pair.old
    where = f"earn.{rules.kind}{_label(place or 0, new or old or {})}"
    if old == new:
        return
    if rules.has_ended(old) and rules.has_ended(new):
        yield Change(where, old, new, Effect.NEUTRAL, "it has ended before this version starts")
    elif new is not None and rules.has_ended(old):
        yield Change(where, old, new, *_joining(rules, new, pair.new or 0, pairs))
    elif old is not None and rules.has_ended(new):
        yield Change(where, old, new, *_leaving(rules, old))
    elif old is not None and new is not None:
        for key in sorted(old.keys() | new.keys(), key=[*old, *new].index):
            was, becomes = old.get(key), new.get(key)
            if was != becomes:
                effect, why = _changed_key(rules, key, old, new, pair.new or 0, pairs)
                yield Change(f"{where}.{key}", was, becomes, effect, why)


def _changed_key(
    rules: _Rules, key: str, old: Rule, new: Rule, place: int, pairs: Sequence[_Pair]
) -> tuple[Effect, str]:
    if key == "name":
        return Effect.NEUTRAL, "only the name"
    if key == AMOUNTS[rules.kind]:
        up = rules.amount(new) > rules.amount(old)
        return (Effect.GIVES_MORE, "it gives more") if up else (Effect.TAKES_AWAY, "it gives less")
    match widens(key, old.get(key), new.get(key), rules.first_day):
        case Reach.SAME:
            return Effect.NEUTRAL, "the same days and orders from then on"
        case Reach.WIDER:
            effect, why = _joining(rules, new, place, pairs)
            return effect, f"it holds for more: {why}"
        case Reach.NARROWER:
            effect, why = _leaving(rules, old)
            return effect, f"it holds for less: {why}"
    return Effect.TAKES_AWAY, "it holds for others, and no longer for some"


def _joining(rules: _Rules, rule: Rule, place: int, pairs: Sequence[_Pair]) -> tuple[Effect, str]:
    """What a rule does to the lines it begins to hold for."""
    amount = rules.amount(rule)
    if rules.kind == "rate":
        later = rules.most_of_later(place, pairs)
        if amount < later:
            return Effect.TAKES_AWAY, "lines could have had more from a later rate"
        return (
            (Effect.GIVES_MORE, "these lines earn")
            if amount
            else (Effect.NEUTRAL, "these lines earn nothing, as before")
        )
    if rules.kind == "multiplier" and amount <= 1:
        lowers = (Effect.TAKES_AWAY, "the factor is below 1")
        return lowers if amount < 1 else (Effect.NEUTRAL, "a factor of 1")
    return Effect.GIVES_MORE, "these earn more"


def _leaving(rules: _Rules, rule: Rule) -> tuple[Effect, str]:
    """What becomes of the lines that a rule no longer holds for."""
    amount = rules.amount(rule)
    if rules.kind == "rate" and amount == 0:
        return Effect.GIVES_MORE, "it gave nothing, a later rate may"
    if rules.kind == "multiplier" and amount < 1:
        return Effect.GIVES_MORE, "the factor was below 1"
    if rules.kind == "multiplier" and amount == 1 and not rules.lowers():
        return Effect.NEUTRAL, "a factor of 1"
    return Effect.TAKES_AWAY, "others lose what it gave"


def _pairs(rules: _Rules) -> Iterator[_Pair]:
    """Which rule before is which rule after: by name, equal, alike, then by place."""
    old, new = dict(enumerate(rules.before)), dict(enumerate(rules.after))
    found: list[_Pair] = []
    for alike in (_same_name, _equal, lambda a, b: _alike(rules.kind, a, b)):
        for i, before in list(old.items()):
            j = next((j for j, after in new.items() if alike(before, after)), None)
            if j is not None:
                found.append(_Pair(i, j))
                del old[i], new[j]
    for place in sorted(old.keys() & new.keys()):
        if not any(rule.get(label) for rule in (old[place], new[place]) for label in LABELS):
            found.append(_Pair(place, place))
            del old[place], new[place]
    found += [*(_Pair(i, None) for i in old), *(_Pair(None, j) for j in new)]
    yield from sorted(found, key=lambda pair: (pair.new if pair.new is not None else pair.old or 0, pair.new is None))


def _same_name(before: Rule, after: Rule) -> bool:
    return any(before.get(label) and before.get(label) == after.get(label) for label in LABELS)


def _equal(before: Rule, after: Rule) -> bool:
    return before == after


def _alike(kind: str, before: Rule, after: Rule) -> bool:
    """Tell whether two rules are probably one: the same conditions, or, without names, the same amount."""
    amount = AMOUNTS[kind]
    conditions = [
        {key: value for key, value in rule.items() if key not in (amount, "name")} for rule in (before, after)
    ]
    if before.get("name") and after.get("name"):
        return conditions[0] == conditions[1] and before[amount] == after[amount]
    return conditions[0] == conditions[1] or before[amount] == after[amount]


def _label(place: int, rule: Rule) -> str:
    name = next((rule[label] for label in LABELS if rule.get(label)), None)
    return f'["{name}"]' if name else f"[{place}]"
