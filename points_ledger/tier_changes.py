"""What changed in the tiers of the programme and in how they are measured, and what that does to members. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from points_ledger.effects import Change, Effect

Tier = Mapping[str, Any]
Seen = tuple[Effect, str]

# what a file without [tiers] says
MEASURE: dict[str, Any] = {
    "metric": "points_earned",
    "window": "rolling_12_months",
    "downgrade": "one_down",
    "grace_days": 30,
}
DOWNGRADES = ("to_earned", "one_down", "none")  # kindest last


def changed_tiers(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """The differences between the tiers of two documents, tier by tier, then how they are measured."""
    old = {tier["code"]: tier for tier in before.get("tier", ())}
    new = {tier["code"]: tier for tier in after.get("tier", ())}
    kept = [code for code in old if code in new]
    for code, tier in old.items():
        if code not in new:
            yield Change(f'tier["{code}"]', dict(tier), None, Effect.TAKES_AWAY, "its members lose it")
    for code, tier in new.items():
        if code not in old:
            yield Change(f'tier["{code}"]', None, dict(tier), *_reached_sooner(code, after, "a new tier"))
        else:
            yield from _changed_tier(old[code], tier, after)
    if kept != [code for code in new if code in old]:
        yield Change("tier", list(old), list(new), Effect.TAKES_AWAY, "another order: some tiers change places")
    yield from _changed_measure(before, after, had_tiers=bool(old), has_tiers=bool(new))


def _changed_tier(old: Tier, new: Tier, after: Mapping[str, Any]) -> Iterator[Change]:
    for key in dict.fromkeys([*old, *new]):
        was, becomes = old.get(key), new.get(key)
        if was == becomes:
            continue
        where = f'tier["{new["code"]}"].{key}'
        if key == "enter_at":
            seen = (
                _reached_sooner(new["code"], after, "it is reached sooner")
                if new["enter_at"] < old["enter_at"]
                else (Effect.TAKES_AWAY, "it is reached later")
            )
        elif key == "keep_at":
            keeps = [tier["enter_at"] if tier.get("keep_at") is None else tier["keep_at"] for tier in (old, new)]
            seen = _threshold(*keeps)
        elif key == "name":
            seen = Effect.NEUTRAL, "only the name"
        else:
            seen = Effect.TAKES_AWAY, "what this does to members is not known here"
        yield Change(where, was, becomes, *seen)


def _threshold(old: int, new: int) -> Seen:
    if new == old:
        return Effect.NEUTRAL, "the same threshold"
    return (Effect.GIVES_MORE, "it is kept more easily") if new < old else (Effect.TAKES_AWAY, "it is kept less easily")


def _reached_sooner(code: str, after: Mapping[str, Any], why: str) -> Seen:
    """More members hold a tier: they gain, unless a rule is for the tier below and not for this one."""
    codes = [tier["code"] for tier in after["tier"]]
    below = codes[: codes.index(code)]
    for rule in _rules(after):
        named = rule.get("tiers")
        if named and code not in named and any(lower in named for lower in below):
            return Effect.TAKES_AWAY, f"{why}, but a rule for {', '.join(named)} is not for it"
    return Effect.GIVES_MORE, why


def _rules(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    earn = document["earn"]
    return [rule for kind in ("rate", "multiplier", "bonus") for rule in earn.get(kind, ())]


def _changed_measure(
    before: Mapping[str, Any], after: Mapping[str, Any], *, had_tiers: bool, has_tiers: bool
) -> Iterator[Change]:
    old, new = (MEASURE | dict(document.get("tiers") or {}) for document in (before, after))
    for key in dict.fromkeys([*old, *new]):
        was, becomes = old.get(key), new.get(key)
        if was == becomes:
            continue
        if not (had_tiers and has_tiers):
            yield Change(f"tiers.{key}", was, becomes, Effect.NEUTRAL, "it measures no tier that was there and stays")
        else:
            yield Change(f"tiers.{key}", was, becomes, *_measure(key, was, becomes))


def _measure(key: str, was: Any, becomes: Any) -> Seen:
    match key:
        case "window" if becomes == "lifetime":
            return Effect.GIVES_MORE, "what was earned counts for ever"
        case "downgrade":
            kinder = DOWNGRADES.index(becomes) > DOWNGRADES.index(was)
            return (
                (Effect.GIVES_MORE, "tiers are kept longer") if kinder else (Effect.TAKES_AWAY, "tiers are lost sooner")
            )
        case "grace_days":
            longer = becomes > was
            return (
                (Effect.GIVES_MORE, "tiers are kept longer") if longer else (Effect.TAKES_AWAY, "tiers are lost sooner")
            )
    return Effect.TAKES_AWAY, "members are measured otherwise"
