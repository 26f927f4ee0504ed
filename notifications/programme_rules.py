"""The rules of the programme as members read them, written from the document of a version.

Everything a member can rely on is said; the guard and the value of a point in the books are not for members. The
words are in ``phrases/programme_rules.<lang>.toml``; a rule for which there are none is an error.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from notifications.phrases_of import Lang, NoWords, Phrases, phrases
from points_ledger.tier_changes import MEASURE

Rule = Mapping[str, Any]
# in the order in which a sentence names them
CONDITIONS = (
    "weekdays", "tiers", "groups", "stores", "channels", "skus", "categories", "min_order_amount", "first_order",
    "birthday_month", "exclude_skus", "exclude_categories",
)  # fmt: skip
AMOUNTS = ("points_per_unit", "factor", "points")
LABELS = ("name", "activity", "count", "per", "max_times", "from", "through")
SPENT = ("spent_from", "spent_below", "spent_window")


@dataclass(frozen=True)
class Example:
    """Points earned on a day, and the last day on which they can be used, as the ledger computes it."""

    earned_on: dt.date
    valid_through: dt.date | None


def rules_in_words(document: Mapping[str, Any], *, lang: Lang, since: dt.date, example: Example) -> str:
    """The rules for members, section by section; ends with a line end.

    Raises:
        NoWords: the document says something for which the language has no phrase.
    """
    say = phrases("programme_rules", lang)
    sections = {
        "earning": list(_earning(say, document)),
        "promotions": list(_promotions(say, document)),
        "spending": list(_spending(say, document)),
        "validity": list(_validity(say, document, example)),
        "returns": list(_returns(say, document)),
        "tiers": list(_tiers(say, document)),
        "notices": list(_notices(say, document)),
        "changes": list(_changes(say, document)),
    }
    lines = [say("title.name", name=document["programme"]["name"]), say("title.since", day=say.day(since))]
    for heading, sentences in sections.items():
        if sentences:
            lines += ["", say(f"heading.{heading}"), *sentences]
    return "\n".join(lines) + "\n"


def _earning(say: Phrases, document: Mapping[str, Any]) -> Iterator[str]:
    earn, currency = document["earn"], document["programme"]["currency"]
    rates = [say("sentence", text=_rate(say, rate, currency)) for rate in earn["rate"]]
    if len(rates) == 1:
        yield rates[0]
    else:
        yield say("earn.first_counts")
        yield from (say("bullet", text=rate) for rate in rates)
    yield say("earn.whole_points")
    for bonus in earn["bonus"]:
        facts = {"points": say.counted("points", bonus["points"]), "conditions": _conditions(say, bonus, currency)}
        yield say("sentence", text=_activity(say, bonus, facts) if bonus.get("activity") else _bonus(say, bonus, facts))
    if earn["daily_cap"]:
        yield say("earn.daily_cap", points=say.counted("points", earn["daily_cap"]))


def _bonus(say: Phrases, rule: Rule, facts: Mapping[str, str]) -> str:
    return say("earn.bonus_named", name=rule["name"], **facts) if rule.get("name") else say("earn.bonus", **facts)


def _activity(say: Phrases, rule: Rule, facts: Mapping[str, str]) -> str:
    count = rule.get("count", 1)
    times = say.plural("activities", count, n=say.number(count), activity=rule["activity"])
    limit = say(f"limit.{rule['per']}", times=say.counted("times", rule.get("max_times", 1)))
    text = say(f"earn.activity_{rule['per']}", times=times, limit=limit, **facts)
    return say("earn.activity_named", name=rule["name"], text=text) if rule.get("name") else text


def _rate(say: Phrases, rule: Rule, currency: str) -> str:
    conditions = _conditions(say, rule, currency)
    rate = Decimal(rule["points_per_unit"])
    if rate == 0:
        return say("earn.nothing", conditions=conditions)
    spent = (1 / rate).normalize() if rate < 1 else Decimal(1)
    if spent * rate == 1 and spent == spent.to_integral_value():
        return say("earn.one_for_several", amount=say.money(spent, currency), conditions=conditions)
    points, unit = say.counted("points", rate), say.money(Decimal(1), currency)
    return say("earn.several_for_one", points=points, amount=unit, conditions=conditions)


def _promotions(say: Phrases, document: Mapping[str, Any]) -> Iterator[str]:
    earn, currency = document["earn"], document["programme"]["currency"]
    for rule in earn["multiplier"]:
        facts = {"factor": say.number(Decimal(rule["factor"])), "conditions": _conditions(say, rule, currency)}
        key = "promotion.named" if rule.get("name") else "promotion.unnamed"
        yield say("bullet", text=say("sentence", text=say(key, name=rule.get("name", ""), **facts)))
    if len(earn["multiplier"]) > 1:
        yield say(f"promotion.{earn['stacking']}")


def _conditions(say: Phrases, rule: Rule, currency: str) -> str:
    for key in rule:
        if key not in (*CONDITIONS, *AMOUNTS, *LABELS, *SPENT):
            raise NoWords(say.lang, f"when.{key}")
    named = [
        *_period(say, rule),
        *_spent(say, rule, currency),
        *(_condition(say, key, rule[key], currency) for key in CONDITIONS if key in rule),
    ]
    return "".join(say("condition", text=text) for text in named)


def _period(say: Phrases, rule: Rule) -> Iterator[str]:
    days = {key: say.day(dt.date.fromisoformat(rule[key])) for key in ("from", "through") if key in rule}
    if len(days) == 2:
        yield say("when.day" if days["from"] == days["through"] else "when.period", **days)
    elif days:
        yield say(f"when.{next(iter(days))}", **days)


def _spent(say: Phrases, rule: Rule, currency: str) -> Iterator[str]:
    limits = {
        key: say.money(Decimal(rule[f"spent_{key}"]), currency) for key in ("from", "below") if f"spent_{key}" in rule
    }
    if limits:
        window = say(f"spent.{rule['spent_window']}")
        yield say(f"spent.{'band' if len(limits) == 2 else next(iter(limits))}", window=window, **limits)


def _condition(say: Phrases, key: str, value: Any, currency: str) -> str:
    if isinstance(value, bool):
        return say(f"when.{key}" if value else f"when.not_{key}")
    if key == "min_order_amount":
        return say("when.min_order_amount", amount=say.money(Decimal(value), currency))
    if key == "weekdays":
        return say("when.weekdays", list=say.weekdays(value))
    if key.startswith("exclude_"):
        return say.plural(f"when.{key}", len(value), list=say.list(value))
    return say(f"when.{key}", list=say.alternatives(value))


def _spending(say: Phrases, document: Mapping[str, Any]) -> Iterator[str]:
    days = document["earn"]["usable_after_days"]
    yield say("spending.after_days", days=say.counted("days", days)) if days else say("spending.at_once")
    if document["expiry"]["basis"] != "none":
        yield say("spending.oldest_first")


def _validity(say: Phrases, document: Mapping[str, Any], example: Example) -> Iterator[str]:
    expiry = document["expiry"]
    basis = expiry["basis"]
    facts = {key: say.counted("months", expiry[key]) for key in ("months", "cap_months") if expiry.get(key)}
    match basis:
        case "fixed":
            yield say(f"validity.fixed_{expiry['round_up_to']}", **facts)
        case "calendar":
            day = say.day_of_every_year(expiry["month_day"])
            yield say("validity.calendar_min_age" if facts else "validity.calendar", day=day, **facts)
        case _:
            yield say(f"validity.{basis}", **facts)
    if example.valid_through is not None:
        key = "validity.example_inactivity" if basis.startswith("inactivity") else "validity.example"
        yield say(key, earned_on=say.day(example.earned_on), valid_through=say.day(example.valid_through))
    if basis != "none" and "points_expiring" in (document.get("notices") or {}).get("kinds", ()):
        yield say(
            "validity.reminder", list=say.list([say.counted("days", day) for day in expiry["notice"]["ladder_days"]])
        )
    if basis != "none" and expiry["notice"]["required"]:
        yield say("validity.required", days=say.counted("days", expiry["notice"].get("min_days", 30)))
        if expiry["notice"].get("unreachable") == "expire":
            yield say("validity.unreachable")


def _returns(say: Phrases, document: Mapping[str, Any]) -> Iterator[str]:
    yield say(f"returns.{document['refund']['policy']}")
    yield say("returns.cancelled" if document["expiry"]["basis"] == "none" else "returns.cancelled_lapsed")


def _tiers(say: Phrases, document: Mapping[str, Any]) -> Iterator[str]:
    if not document.get("tier"):
        return
    measured: dict[str, Any] = MEASURE | (document.get("tiers") or {})
    window, downgrade, grace = measured["window"], measured["downgrade"], measured["grace_days"]
    yield say(f"metric.{measured['metric']}", window=say(f"window.{window}"))
    for tier in document["tier"]:
        entered, kept = (
            _threshold(say, document, measured["metric"], tier.get(key)) for key in ("enter_at", "keep_at")
        )
        key = "tier.kept" if tier.get("keep_at") not in (None, tier["enter_at"]) else "tier.entered"
        yield say("bullet", text=say("sentence", text=say(key, code=tier["code"], threshold=entered, kept=kept)))
    yield say(f"kept.{window}")
    if window != "lifetime":
        at_once = "" if grace or downgrade == "none" else "_at_once"
        yield say(f"downgrade.{downgrade}{at_once}", days=say.counted("days", grace))


def _threshold(say: Phrases, document: Mapping[str, Any], metric: Any, amount: int | None) -> str:
    if amount is None:
        return ""
    if metric == "spend":
        return say.money(Decimal(amount), document["programme"]["currency"])
    return say.counted({"points_earned": "points", "orders": "orders"}[metric], amount)


def _notices(say: Phrases, document: Mapping[str, Any]) -> Iterator[str]:
    notices = document.get("notices")
    if not notices:
        return
    yield say("notices.channels", list=say.alternatives([say(f"channel.{channel}") for channel in notices["channels"]]))
    if "monthly_statement" in notices["kinds"]:
        yield say("notices.statement")
    first, last = notices["quiet_hours"]
    if first != last:
        yield say(
            "notices.quiet_hours_sms" if "sms" in notices["channels"] else "notices.quiet_hours", first=first, last=last
        )
    if "win_back" in notices["kinds"]:
        yield say("notices.marketing", messages=say.counted("messages", notices["marketing_per_30_days"]))


def _changes(say: Phrases, document: Mapping[str, Any]) -> Iterator[str]:
    days = document["programme"].get("notice_days", 30)
    if days:
        yield say("changes.notice", days=say.counted("days", days))
    basis, on_change = document["expiry"]["basis"], document["expiry"].get("on_change", "keep")
    if basis != "none" and on_change == "keep":
        yield say("changes.kept")
