"""What differs between two versions of the programme, key by key, and what each difference does to members. Pure.

Both documents come from ``infra.programme``, with every default filled in. A key that is not known here takes away:
nobody loses something by a change that nobody understood. Rules are compared in ``rule_changes``, tiers in
``tier_changes``.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from points_ledger.effects import Change, Effect, needs_approval
from points_ledger.rule_changes import changed_rules
from points_ledger.tier_changes import changed_tiers

__all__ = ["UNCHANGEABLE", "Change", "Effect", "compare", "needs_approval"]

Document = Mapping[str, Any]
Seen = tuple[Effect, str]

# What every posted entry was counted in; the ledger of another one is another ledger.
UNCHANGEABLE = {
    "programme.time_zone": "the business dates of all entries are days in this zone",
    "programme.currency": "all amounts are in this currency",
    "programme.starts_on": "it is the first day of the ledger",
}
ROUNDING = ("day", "month", "quarter", "year")
KINDNESS = ("debt", "within_balance", "only_pending")  # what a return takes back, most first
RULES = ("rate", "multiplier", "bonus")
WITH_THE_BASIS = ("expiry.months", "expiry.cap_months", "expiry.month_day", "expiry.round_up_to")


def compare(before: Document, after: Document, *, first_day: dt.date | None = None) -> tuple[Change, ...]:
    """Every difference, in the order of the file; ``first_day`` is the first day of the new version.

    With it, a rule that ended before that day makes no difference to members.
    """
    return tuple(_changes(before, after, first_day))


def _changes(before: Document, after: Document, first_day: dt.date | None) -> Iterator[Change]:
    for section in dict.fromkeys([*before, *after]):
        if section == "earn":
            old, new = before.get("earn", {}), after.get("earn", {})
            yield from _changed_leaves("earn", _without_rules(old), _without_rules(new), before, after)
            for kind in RULES:
                yield from changed_rules(kind, old.get(kind, ()), new.get(kind, ()), first_day=first_day)
        elif section == "tier":
            yield from changed_tiers(before, after)
        elif section != "tiers":  # with the tiers
            yield from _changed_leaves(section, before.get(section), after.get(section), before, after)
    if "tier" not in {*before, *after}:
        yield from changed_tiers(before, after)


def _without_rules(earn: Document) -> dict[str, Any]:
    return {key: value for key, value in earn.items() if key not in RULES}


def _changed_leaves(key: str, old: Any, new: Any, before: Document, after: Document) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for inner in dict.fromkeys([*old, *new]):
            yield from _changed_leaves(f"{key}.{inner}", old.get(inner), new.get(inner), before, after)
        return
    effect, why = _effect(key, old, new, before, after)
    yield Change(key, old, new, effect, why)


def _effect(key: str, old: Any, new: Any, before: Document, after: Document) -> Seen:
    if key in UNCHANGEABLE:
        return Effect.TAKES_AWAY, UNCHANGEABLE[key]
    if key in WITH_THE_BASIS and before["expiry"]["basis"] != after["expiry"]["basis"]:
        return _basis(before["expiry"]["basis"], after["expiry"]["basis"])[0], "it comes with the other basis"
    if key == "earn.stacking":
        return _stacking(before, after)
    if key.startswith("screens.staff."):
        return _staff(old, new)
    if key not in _SEEN:
        return Effect.TAKES_AWAY, "what this does to members is not known here"
    return _SEEN[key](old, new)


def _more(better: str, worse: str, loss: Effect = Effect.TAKES_AWAY) -> Callable[[Any, Any], Seen]:
    """A number of which more is better; None is zero."""

    def seen(old: Any, new: Any) -> Seen:
        up = Decimal(str(new or 0)) > Decimal(str(old or 0))
        return (Effect.GIVES_MORE, better) if up else (loss, worse)

    return seen


def _fewer(better: str, worse: str) -> Callable[[Any, Any], Seen]:
    return lambda old, new: _more(better, worse)(new, old)


def _ladder_of(steps: tuple[str, ...], better: str, worse: str, loss: Effect) -> Callable[[Any, Any], Seen]:
    """One of some words, the best for members last."""
    return lambda old, new: (Effect.GIVES_MORE, better) if steps.index(new) > steps.index(old) else (loss, worse)


def _switch(on: Seen, off: Seen) -> Callable[[Any, Any], Seen]:
    return lambda _old, new: on if new else off


def _daily_cap(old: int, new: int) -> Seen:
    if new == 0 or 0 < old < new:
        return Effect.GIVES_MORE, "members can earn more a day"
    return Effect.TAKES_AWAY, "members can earn less a day"


def _stacking(before: Document, after: Document) -> Seen:
    factors = [Decimal(rule["factor"]) for version in (before, after) for rule in version["earn"]["multiplier"]]
    if after["earn"]["stacking"] == "multiply" and all(factor >= 1 for factor in factors):
        return Effect.GIVES_MORE, "several multipliers multiply each other"
    if len(before["earn"]["multiplier"]) <= 1 and all(factor >= 1 for factor in factors):
        return Effect.NEUTRAL, "there was one multiplier at most"
    return Effect.TAKES_AWAY, "of several multipliers only one counts" if after["earn"]["stacking"] == "best" else (
        "a factor below 1 would count beside a better one"
    )


def _basis(old: str, new: str) -> Seen:
    if new == "none":
        return Effect.GIVES_MORE, "points no longer lapse"
    if old == "none":
        return Effect.SHORTENS, "points did not lapse before"
    return Effect.SHORTENS, "another basis: points of some days may lapse sooner"


def _month_day(_old: Any, _new: Any) -> Seen:
    return Effect.SHORTENS, "points of some days lapse sooner"


def _ladder_days(old: list[int], new: list[int]) -> Seen:
    if set(new) > set(old):
        return Effect.GIVES_MORE, "members are told more often"
    return Effect.TAKES_AWAY, "a notice falls away" if set(new) < set(old) else "members are told at other times"


def _channels(old: list[str], new: list[str]) -> Seen:
    if set(old) - set(new):
        return Effect.TAKES_AWAY, "a way to reach members falls away"
    return (Effect.GIVES_MORE, "members are reached in one more way") if set(new) - set(old) else (
        Effect.NEUTRAL, "another order"
    )  # fmt: skip


def _kinds(old: list[str], new: list[str]) -> Seen:
    gone, more = (set(one) - set(other) - {"win_back"} for one, other in ((old, new), (new, old)))
    if gone:
        return Effect.TAKES_AWAY, "a notice falls away"
    return (Effect.GIVES_MORE, "members are told more") if more else (Effect.NEUTRAL, "advertising, or another order")


def _quiet_hours(old: list[str], new: list[str]) -> Seen:
    before, after = (_minutes(*hours) for hours in (old, new))
    if before <= after:
        return Effect.GIVES_MORE, "members are left alone for longer"
    return Effect.TAKES_AWAY, "members may be disturbed at other hours"


def _minutes(first: str, last: str) -> set[int]:
    """The minutes of a day from one time to before another, over midnight if need be."""
    begin, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in (first, last))
    return {minute % 1440 for minute in range(begin, end if end >= begin else end + 1440)}


def _on_change(_old: str, new: str) -> Seen:
    if new == "keep":
        return Effect.NEUTRAL, "points that are there keep their last day"
    return Effect.SHORTENS, "it would shorten the validity of points that are there"


def _looser(*, up: bool, off: int | None = None) -> Callable[[Any, Any], Seen]:
    """A threshold of a screen that finds less when it goes ``up`` (or down), and nothing when it is ``off``."""

    def seen(old: Any, new: Any) -> Seen:
        before, after = Decimal(str(old)), Decimal(str(new))
        finds_less = after == off if off in (before, after) else (after > before) is up
        return (Effect.TAKES_AWAY, "a screen finds less") if finds_less else (Effect.NEUTRAL, "a screen finds more")

    return seen


def _staff(old: str | None, _new: str | None) -> Seen:
    if old is None:
        return Effect.NEUTRAL, "a screen finds more"
    return Effect.TAKES_AWAY, "a screen finds less: that login is no longer this member"


def _limit(old: str, new: str) -> Seen:
    """A limit of the guard: ``off`` is the widest."""
    wider = new == "off" or (old != "off" and Decimal(new) > Decimal(old))
    if wider:
        return Effect.TAKES_AWAY, "a night may take more before a person looks"
    return Effect.NEUTRAL, "a person looks sooner"


_SEEN: dict[str, Callable[[Any, Any], Seen]] = {
    "programme.name": lambda _old, _new: (Effect.NEUTRAL, "only the name"),
    "programme.point_value": _more("a point is worth more", "a point is worth less"),
    "programme.enrol_from_orders": _switch(
        (Effect.GIVES_MORE, "a first order opens a wallet"), (Effect.TAKES_AWAY, "a first order opens no wallet")
    ),
    "programme.notice_days": _more("members are told earlier", "members are told later"),
    "earn.daily_cap": _daily_cap,
    "earn.usable_after_days": _fewer("points can be spent sooner", "points can be spent later"),
    "expiry.basis": _basis,
    "expiry.months": _more("points last longer", "points lapse sooner", Effect.SHORTENS),
    "expiry.cap_months": _more("points last longer", "points lapse sooner", Effect.SHORTENS),
    "expiry.round_up_to": _ladder_of(ROUNDING, "points last longer", "points lapse sooner", Effect.SHORTENS),
    "expiry.month_day": _month_day,
    "expiry.on_change": _on_change,
    "expiry.notice.ladder_days": _ladder_days,
    "expiry.notice.required": _switch(
        (Effect.GIVES_MORE, "no notice, no expiry"), (Effect.TAKES_AWAY, "points lapse without a notice, too")
    ),
    "expiry.notice.min_days": _more("members are told earlier", "members are told later"),
    "expiry.notice.unreachable": lambda _old, new: (
        (Effect.TAKES_AWAY, "points of members whom nothing reaches lapse without a notice")
        if new == "expire"
        else (Effect.GIVES_MORE, "points of members whom nothing reaches wait")
    ),
    "notices": _switch((Effect.GIVES_MORE, "members are told"), (Effect.TAKES_AWAY, "members are no longer told")),
    "notices.channels": _channels,
    "notices.kinds": _kinds,
    "notices.statement": _switch(
        (Effect.GIVES_MORE, "members get a monthly statement"), (Effect.TAKES_AWAY, "no monthly statement any more")
    ),
    "notices.quiet_hours": _quiet_hours,
    "notices.marketing_per_30_days": _fewer("members get less advertising", "members can get more advertising"),
    "notices.win_back_months": lambda _old, _new: (Effect.NEUTRAL, "advertising, for those who agreed to it"),
    "notices.site_url": lambda _old, _new: (Effect.TAKES_AWAY, "links in notices lead elsewhere"),
    "notices.default_locale": lambda _old, _new: (Effect.NEUTRAL, "the language of those who chose none"),
    "notices.postal_address": lambda _old, _new: (Effect.NEUTRAL, "only the address"),
    "notices.sms_signature": lambda _old, _new: (Effect.NEUTRAL, "only the signature"),
    "refund.policy": _ladder_of(KINDNESS, "a return takes back less", "a return takes back more", Effect.TAKES_AWAY),
    "guard.max_share_of_outstanding": _limit,
    "guard.max_times_median": _limit,
    # whoever is being watched must not be the one who looks away: what finds less needs a second person
    "screens.enabled": _switch((Effect.NEUTRAL, "the screens look"), (Effect.TAKES_AWAY, "no screen finds anything")),
    "screens.history_days": lambda _old, _new: (Effect.TAKES_AWAY, "another past: a screen may find less"),
    "screens.min_history": _looser(up=True),
    "screens.deviations": _looser(up=True),
    "screens.member_earned_min": _looser(up=True),
    "screens.store_earned_min": _looser(up=True),
    "screens.members_per_contact": _looser(up=True, off=0),
    "screens.minutes_after_earn": _looser(up=False),
    "screens.large_earn": _looser(up=True),
    "screens.refund_days": _looser(up=False),
    "screens.refunds_after_spend": _looser(up=True, off=0),
    "screens.refund_share": _looser(up=True),
    "screens.refund_min": _looser(up=True),
    "screens.redemptions_per_day": _looser(up=True, off=0),
    "screens.points_redeemed_per_day": _looser(up=True, off=0),
    "screens.staff_days": _looser(up=False),
    "screens.staff_same_member": _looser(up=True, off=0),
    "screens.near_limit_share": _looser(up=True),
    "screens.near_limit_count": _looser(up=True, off=0),
}
