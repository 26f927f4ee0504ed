"""What a change of the programme does to members: every key, in both directions, and what nobody knows."""

import copy
import datetime as dt

import pytest

from infra.programme import check_programme
from points_ledger.effects import Change
from points_ledger.policy_changes import compare, needs_approval

FROM = dt.date(2026, 3, 1)
MORE, LESS, SHORTER, SAME = "gives more", "takes away", "shortens validity", "neutral"
JUNE = {"name": "June", "factor": "2", "from": "2026-06-01", "through": "2026-06-30"}
TEA = {"points_per_unit": "3", "skus": ["tea"]}
ALL = {"points_per_unit": "1"}
TIERS = [{"code": "silver", "enter_at": 500}, {"code": "gold", "enter_at": 2000}]


def document(**sections):
    """A document as the ledger keeps it; a section given is laid over the default one."""
    plain = check_programme(
        {
            "programme": {"name": "Club", "time_zone": "Europe/London", "currency": "GBP", "starts_on": "2026-01-01"},
            "earn": {"rate": [{"points_per_unit": "1"}]},
            "expiry": {"basis": "fixed", "months": 12},
        }
    )
    for name, section in sections.items():
        plain[name] = {**plain.get(name, {}), **section} if isinstance(section, dict) else section
    return {name: copy.deepcopy(section) for name, section in plain.items()}


def seen(before, after):
    return {
        change.key: change.effect.value for change in compare(document(**before), document(**after), first_day=FROM)
    }


def earn(**keys):
    return {"earn": keys}


def times(*multipliers):
    return earn(multiplier=list(multipliers))


def june(**keys):
    return times({key: value for key, value in (JUNE | keys).items() if value is not None})


SIMPLE = [  # key, value before, value after, effect
    ("programme.name", "Club", "The Club", SAME),
    ("programme.point_value", "0.01", "0.02", MORE),
    ("programme.point_value", "0.02", "0.01", LESS),
    ("programme.enrol_from_orders", False, True, MORE),
    ("programme.enrol_from_orders", True, False, LESS),
    ("programme.notice_days", 30, 60, MORE),
    ("programme.notice_days", 60, 9, LESS),
    ("programme.currency", "GBP", "EUR", LESS),
    ("programme.motto", None, "x", LESS),  # nobody knows what this does
    ("earn.daily_cap", 0, 100, LESS),
    ("earn.daily_cap", 100, 0, MORE),
    ("earn.daily_cap", 100, 99, LESS),
    ("earn.daily_cap", 99, 100, MORE),
    ("earn.usable_after_days", 0, 14, LESS),
    ("earn.usable_after_days", 14, 0, MORE),
    ("earn.progressive", None, [{"spent": 100}], LESS),
    ("expiry.months", 12, 13, MORE),
    ("expiry.months", 13, 9, SHORTER),
    ("expiry.round_up_to", "day", "month", MORE),
    ("expiry.round_up_to", "quarter", "year", MORE),
    ("expiry.round_up_to", "month", "day", SHORTER),
    ("expiry.cap_months", 24, 36, MORE),
    ("expiry.cap_months", 36, 24, SHORTER),
    ("expiry.on_change", "keep", "shorten_existing", SHORTER),
    ("expiry.on_change", "shorten_existing", "keep", SAME),
    ("expiry.notice.required", False, True, MORE),
    ("expiry.notice.required", True, False, LESS),
    ("expiry.notice.ladder_days", [60, 30, 7], [60, 30, 14, 7], MORE),
    ("expiry.notice.ladder_days", [60, 30, 7], [30], LESS),
    ("expiry.notice.ladder_days", [60, 30, 7], [61, 30, 7], LESS),
    ("expiry.notice.min_days", 7, 30, MORE),
    ("expiry.notice.min_days", 30, 7, LESS),
    ("expiry.notice.unreachable", "defer", "expire", LESS),
    ("expiry.notice.unreachable", "expire", "defer", MORE),
    ("notices", None, {"channels": ["email"]}, MORE),
    ("notices", {"channels": ["email"]}, None, LESS),
    ("notices.channels", ["email"], ["email", "sms"], MORE),
    ("notices.channels", ["email", "sms"], ["sms"], LESS),
    ("notices.channels", ["email", "sms"], ["sms", "email"], SAME),
    ("notices.kinds", ["policy_change"], ["policy_change", "adjustment"], MORE),
    ("notices.kinds", ["policy_change", "adjustment"], ["policy_change", "win_back"], LESS),
    ("notices.kinds", ["policy_change"], ["policy_change", "win_back"], SAME),
    ("notices.statement", True, False, LESS),
    ("notices.statement", False, True, MORE),
    ("notices.quiet_hours", ["20:00", "09:00"], ["19:00", "09:00"], MORE),
    ("notices.quiet_hours", ["20:00", "09:00"], ["20:00", "08:59"], LESS),
    ("notices.quiet_hours", ["20:00", "09:00"], ["09:00", "20:00"], LESS),
    ("notices.marketing_per_30_days", 2, 1, MORE),
    ("notices.marketing_per_30_days", 0, 1, LESS),
    ("notices.win_back_months", 0, 6, SAME),
    ("notices.site_url", "https://a.example", "https://b.example", LESS),
    ("notices.default_locale", "en", "zh_CN", SAME),
    ("notices.postal_address", "here", "there", SAME),
    ("notices.sms_signature", "A", "B", SAME),
    ("refund.policy", "debt", "within_balance", MORE),
    ("refund.policy", "within_balance", "only_pending", MORE),
    ("refund.policy", "only_pending", "debt", LESS),
    ("guard.max_share_of_outstanding", "0.05", "0.1", LESS),
    ("guard.max_share_of_outstanding", "0.05", "off", LESS),
    ("guard.max_share_of_outstanding", "off", "0.05", SAME),
    ("guard.max_times_median", "3", "2", SAME),
    ("guard.max_times_median", "9", "10", LESS),
    ("limits.clerk", None, 500, LESS),
    ("screens.enabled", True, False, LESS),
    ("screens.enabled", False, True, SAME),
    ("screens.history_days", 365, 400, LESS),
    ("screens.deviations", "10", "12", LESS),
    ("screens.deviations", "10", "9.5", SAME),
    ("screens.large_earn", 1000, 1001, LESS),
    ("screens.minutes_after_earn", 15, 30, SAME),
    ("screens.minutes_after_earn", 15, 0, LESS),
    ("screens.refund_days", 90, 89, LESS),
    ("screens.redemptions_per_day", 0, 5, SAME),
    ("screens.redemptions_per_day", 5, 0, LESS),
    ("screens.redemptions_per_day", 5, 6, LESS),
    ("screens.redemptions_per_day", 6, 5, SAME),
    ("screens.near_limit_share", "0.9", "0.95", LESS),
    ("screens.staff.ann", None, "H1", SAME),
    ("screens.staff.ann", "H1", None, LESS),
    ("screens.staff.ann", "H1", "H2", LESS),
]


@pytest.mark.parametrize(("key", "before", "after", "effect"), SIMPLE)
def test_a_single_key(key, before, after, effect):
    documents = []
    for value in (before, after):
        plain = document()
        *tables, last = key.split(".")
        table = plain
        for name in tables:
            table = table.setdefault(name, {})
        if value is None:
            table.pop(last, None)
        else:
            table[last] = value
        documents.append(plain)
    assert [(c.key, c.before, c.after, c.effect.value) for c in compare(*documents)] == [(key, before, after, effect)]
    assert compare(documents[0], documents[0]) == ()


def test_validity_by_another_basis_brings_its_keys_along():
    never, fixed = {"basis": "none"}, {"basis": "fixed", "months": 12}
    calendar = {"basis": "calendar", "month_day": "12-31"}

    def by_basis(old, new):
        documents = [document(), document()]
        documents[0]["expiry"], documents[1]["expiry"] = old, new
        return {change.key: change.effect.value for change in compare(*documents)}

    assert by_basis(fixed, never) == {"expiry.basis": MORE, "expiry.months": MORE}
    assert by_basis(never, fixed) == {"expiry.basis": SHORTER, "expiry.months": SHORTER}
    assert set(by_basis(fixed, calendar).values()) == {SHORTER}
    assert by_basis(calendar, calendar | {"month_day": "06-30"}) == {"expiry.month_day": SHORTER}
    assert by_basis(calendar, calendar | {"months": 3}) == {"expiry.months": MORE}


RULES = [  # what, before, after, the changes
    ("a rate up", earn(rate=[ALL]), earn(rate=[{"points_per_unit": "2"}]), {"earn.rate[0].points_per_unit": MORE}),
    ("a rate down", earn(rate=[ALL]), earn(rate=[{"points_per_unit": "0.5"}]), {"earn.rate[0].points_per_unit": LESS}),
    ("a better rate before another", earn(rate=[ALL]), earn(rate=[TEA, ALL]), {"earn.rate[0]": MORE}),
    (
        "a worse rate before another",
        earn(rate=[ALL]),
        earn(rate=[TEA | {"points_per_unit": "0.5"}, ALL]),
        {"earn.rate[0]": LESS},
    ),
    ("a rate behind the others", earn(rate=[TEA]), earn(rate=[TEA, ALL]), {"earn.rate[1]": MORE}),
    (
        "a rate of nothing behind the others",
        earn(rate=[TEA]),
        earn(rate=[TEA, {"points_per_unit": "0"}]),
        {"earn.rate[1]": SAME},
    ),
    ("a rate gone", earn(rate=[TEA, ALL]), earn(rate=[ALL]), {"earn.rate[0]": LESS}),
    (
        "a rate of nothing gone",
        earn(rate=[TEA | {"points_per_unit": "0"}, ALL]),
        earn(rate=[ALL]),
        {"earn.rate[0]": MORE},
    ),
    ("rates in another order", earn(rate=[TEA, ALL]), earn(rate=[ALL, TEA]), {"earn.rate": LESS}),
    (
        "more excluded",
        earn(rate=[ALL | {"exclude_skus": ["A"]}]),
        earn(rate=[ALL | {"exclude_skus": ["A", "B"]}]),
        {"earn.rate[0].exclude_skus": LESS},
    ),
    (
        "fewer excluded",
        earn(rate=[ALL | {"exclude_skus": ["A", "B"]}]),
        earn(rate=[ALL | {"exclude_skus": ["A"]}]),
        {"earn.rate[0].exclude_skus": MORE},
    ),
    (
        "others excluded",
        earn(rate=[ALL | {"exclude_skus": ["A"]}]),
        earn(rate=[ALL | {"exclude_skus": ["B"]}]),
        {"earn.rate[0].exclude_skus": LESS},
    ),
    (
        "something excluded at all",
        earn(rate=[ALL]),
        earn(rate=[ALL | {"exclude_skus": ["A"]}]),
        {"earn.rate[0].exclude_skus": LESS},
    ),
    (
        "a good rate for more",
        earn(rate=[TEA, ALL]),
        earn(rate=[TEA | {"skus": ["mug", "tea"]}, ALL]),
        {"earn.rate[0].skus": MORE},
    ),
    (
        "a bad rate for more",
        earn(rate=[TEA, ALL | {"points_per_unit": "5"}]),
        earn(rate=[TEA | {"skus": ["mug", "tea"]}, ALL | {"points_per_unit": "5"}]),
        {"earn.rate[0].skus": LESS},
    ),
    (
        "a good rate for fewer",
        earn(rate=[TEA | {"skus": ["mug", "tea"]}, ALL]),
        earn(rate=[TEA, ALL]),
        {"earn.rate[0].skus": LESS},
    ),
    (
        "a rate for others",
        earn(rate=[TEA, ALL]),
        earn(rate=[TEA | {"skus": ["mug"]}, ALL]),
        {"earn.rate[0].skus": LESS},
    ),
    (
        "a rate only on weekends",
        earn(rate=[ALL]),
        earn(rate=[ALL | {"weekdays": [6, 7]}]),
        {"earn.rate[0].weekdays": LESS},
    ),
    (
        "a condition nobody knows",
        earn(rate=[ALL | {"spent_from": 1}]),
        earn(rate=[ALL | {"spent_from": 2}]),
        {"earn.rate[0].spent_from": LESS},
    ),
    (
        "a least amount",
        earn(rate=[ALL]),
        earn(rate=[ALL | {"min_order_amount": "5"}]),
        {"earn.rate[0].min_order_amount": LESS},
    ),
    (
        "a least amount of nothing",
        earn(rate=[ALL]),
        earn(rate=[ALL | {"min_order_amount": "0"}]),
        {"earn.rate[0].min_order_amount": SAME},
    ),
    (
        "a lower least amount",
        earn(rate=[ALL | {"min_order_amount": "10"}]),
        earn(rate=[ALL | {"min_order_amount": "9"}]),
        {"earn.rate[0].min_order_amount": MORE},
    ),
    ("a promotion added", times(), times(JUNE), {'earn.multiplier["June"]': MORE}),
    ("a promotion gone", times(JUNE), times(), {'earn.multiplier["June"]': LESS}),
    ("a promotion shorter", times(JUNE), june(through="2026-06-29"), {'earn.multiplier["June"].through': LESS}),
    ("a promotion longer", times(JUNE), june(through="2026-07-01"), {'earn.multiplier["June"].through': MORE}),
    ("a promotion without an end", times(JUNE), june(through=None), {'earn.multiplier["June"].through': MORE}),
    (
        "a promotion that starts later",
        times(JUNE),
        june(**{"from": "2026-06-02"}),
        {'earn.multiplier["June"].from': LESS},
    ),
    (
        "a promotion that starts sooner",
        times(JUNE),
        june(**{"from": "2026-05-31"}),
        {'earn.multiplier["June"].from': MORE},
    ),
    (
        "a beginning that has passed",
        june(**{"from": "2026-02-01"}),
        june(**{"from": "2026-03-01"}),
        {'earn.multiplier["June"].from': SAME},
    ),
    ("a higher factor", times(JUNE), june(factor="2.5"), {'earn.multiplier["June"].factor': MORE}),
    ("a lower factor", times(JUNE), june(factor="1.5"), {'earn.multiplier["June"].factor': LESS}),
    ("another name", times(JUNE), june(name="Summer"), {'earn.multiplier["Summer"].name': SAME}),
    ("only for gold", times(JUNE), june(tiers=["gold"]), {'earn.multiplier["June"].tiers': LESS}),
    (
        "an ended promotion gone",
        june(through="2026-02-28", **{"from": "2026-02-01"}),
        times(),
        {'earn.multiplier["June"]': SAME},
    ),
    (
        "a promotion that ends on the first day gone",
        june(through="2026-03-01", **{"from": "2026-02-01"}),
        times(),
        {'earn.multiplier["June"]': LESS},
    ),
    (
        "an ended promotion lives again",
        june(through="2026-02-28", **{"from": "2026-02-01"}),
        times(JUNE),
        {'earn.multiplier["June"]': MORE},
    ),
    (
        "a promotion that would have ended",
        times(JUNE),
        june(through="2026-02-28", **{"from": "2026-02-01"}),
        {'earn.multiplier["June"]': LESS},
    ),
    ("a factor below 1 added", times(), june(factor="0.5"), {'earn.multiplier["June"]': LESS}),
    ("a factor below 1 gone", june(factor="0.5"), times(), {'earn.multiplier["June"]': MORE}),
    ("a factor of 1 added", times(), june(factor="1"), {'earn.multiplier["June"]': SAME}),
    (
        "multipliers in another order",
        times(JUNE, {"factor": "3"}),
        times({"factor": "3"}, JUNE),
        {"earn.multiplier": SAME},
    ),
    (
        "one promotion for another",
        times(JUNE),
        june(name="July", **{"from": "2026-07-01", "through": "2026-07-31"}),
        {'earn.multiplier["July"]': MORE, 'earn.multiplier["June"]': LESS},
    ),
    (
        "a bonus added",
        earn(bonus=[]),
        earn(bonus=[{"points": 50, "activity": "check-in"}]),
        {'earn.bonus["check-in"]': MORE},
    ),
    (
        "a bonus down",
        earn(bonus=[{"points": 50, "activity": "check-in"}]),
        earn(bonus=[{"points": 5, "activity": "check-in"}]),
        {'earn.bonus["check-in"].points': LESS},
    ),
    *(
        (
            f"a band of spending: {key} {old} to {new}",
            earn(
                rate=[
                    {"points_per_unit": "2", "spent_window": "lifetime"} | ({key: old} if old else {}),
                    {"points_per_unit": "1"},
                ]
            ),
            earn(rate=[{"points_per_unit": "2", "spent_window": "lifetime"} | {key: new}, {"points_per_unit": "1"}]),
            {f"earn.rate[0].{key}": effect},
        )
        for key, old, new, effect in (
            ("spent_from", "500", "400", MORE),
            ("spent_from", "500", "600", LESS),
            ("spent_from", "500", "0", MORE),
            ("spent_below", "500", "600", MORE),
            ("spent_below", "500", "400", LESS),
            ("spent_below", None, "400", LESS),
            ("spent_window", "lifetime", "calendar_year", LESS),
        )
    ),
    *(
        (
            f"a bonus for an activity: {key} {old} to {new}",
            earn(bonus=[{"points": 5, "activity": "check-in", "per": "week"} | ({key: old} if old else {})]),
            earn(bonus=[{"points": 5, "activity": "check-in", "per": "week"} | {key: new}]),
            {f'earn.bonus["check-in"].{key}': effect},
        )
        for key, old, new, effect in (
            ("count", 3, 4, LESS),
            ("count", 3, 2, MORE),
            ("count", None, 2, LESS),
            ("count", None, 1, SAME),
            ("max_times", None, 2, MORE),
            ("max_times", 3, 2, LESS),
            ("max_times", None, 1, SAME),
            ("per", "week", "day", LESS),
        )
    ),
    (
        "several multiply",
        earn(stacking="best", multiplier=[JUNE]),
        earn(stacking="multiply", multiplier=[JUNE]),
        {"earn.stacking": MORE},
    ),
    (
        "several multiply, one lowers",
        earn(stacking="best", multiplier=[JUNE, {"factor": "0.5"}]),
        earn(stacking="multiply", multiplier=[JUNE, {"factor": "0.5"}]),
        {"earn.stacking": LESS},
    ),
    (
        "one of several counts",
        earn(stacking="multiply", multiplier=[JUNE, {"factor": "3"}]),
        earn(stacking="best", multiplier=[JUNE, {"factor": "3"}]),
        {"earn.stacking": LESS},
    ),
    (
        "one of one counts",
        earn(stacking="multiply", multiplier=[JUNE]),
        earn(stacking="best", multiplier=[JUNE]),
        {"earn.stacking": SAME},
    ),
]


@pytest.mark.parametrize(("before", "after", "changes"), [case[1:] for case in RULES], ids=[case[0] for case in RULES])
def test_a_rule(before, after, changes):
    assert seen(before, after) == changes


def tiers(*entries, **measure):
    return {"tier": list(entries), **({"tiers": measure} if measure else {})}


FOR_SILVER = {"earn": {"multiplier": [{"factor": "2", "tiers": ["silver"]}]}}
TIER_CASES = [
    ("tiers at all", {}, tiers(*TIERS), {'tier["silver"]': MORE, 'tier["gold"]': MORE}),
    (
        "tiers at all, measured their own way",
        {},
        tiers(*TIERS, metric="spend"),
        {'tier["silver"]': MORE, 'tier["gold"]': MORE, "tiers.metric": SAME},
    ),
    ("no tiers any more", tiers(*TIERS), tiers(), {'tier["silver"]': LESS, 'tier["gold"]': LESS}),
    ("entered sooner", tiers(*TIERS), tiers(TIERS[0] | {"enter_at": 400}, TIERS[1]), {'tier["silver"].enter_at': MORE}),
    ("entered later", tiers(*TIERS), tiers(TIERS[0] | {"enter_at": 600}, TIERS[1]), {'tier["silver"].enter_at': LESS}),
    ("kept more easily", tiers(*TIERS), tiers(TIERS[0], TIERS[1] | {"keep_at": 1500}), {'tier["gold"].keep_at': MORE}),
    ("kept less easily", tiers(TIERS[0] | {"keep_at": 300}, TIERS[1]), tiers(*TIERS), {'tier["silver"].keep_at': LESS}),
    ("the same, said", tiers(*TIERS), tiers(TIERS[0] | {"keep_at": 500}, TIERS[1]), {'tier["silver"].keep_at': SAME}),
    ("a new one above", tiers(TIERS[0]), tiers(*TIERS), {'tier["gold"]': MORE}),
    (
        "a new one that loses what is below",
        tiers(TIERS[0]) | FOR_SILVER,
        tiers(*TIERS) | FOR_SILVER,
        {'tier["gold"]': LESS},
    ),
    (
        "entered sooner, but it loses",
        tiers(*TIERS) | FOR_SILVER,
        tiers(TIERS[0], TIERS[1] | {"enter_at": 900}) | FOR_SILVER,
        {'tier["gold"].enter_at': LESS},
    ),
    ("another measure", tiers(*TIERS), tiers(*TIERS, metric="spend"), {"tiers.metric": LESS}),
    ("what counts for ever", tiers(*TIERS), tiers(*TIERS, window="lifetime"), {"tiers.window": MORE}),
    ("another window", tiers(*TIERS), tiers(*TIERS, window="calendar_year"), {"tiers.window": LESS}),
    ("falling further", tiers(*TIERS), tiers(*TIERS, downgrade="to_earned"), {"tiers.downgrade": LESS}),
    ("never falling", tiers(*TIERS), tiers(*TIERS, downgrade="none"), {"tiers.downgrade": MORE}),
    ("more grace", tiers(*TIERS), tiers(*TIERS, grace_days=60), {"tiers.grace_days": MORE}),
    ("less grace", tiers(*TIERS), tiers(*TIERS, grace_days=0), {"tiers.grace_days": LESS}),
    ("the defaults, said", tiers(*TIERS), tiers(*TIERS, grace_days=30, metric="points_earned"), {}),
]


@pytest.mark.parametrize(
    ("before", "after", "changes"), [case[1:] for case in TIER_CASES], ids=[case[0] for case in TIER_CASES]
)
def test_tiers(before, after, changes):
    assert seen(before, after) == changes


def test_a_second_person_is_needed_as_soon_as_one_difference_takes_away():
    giving = compare(document(), document(**earn(rate=[{"points_per_unit": "2"}])))
    taking = compare(document(), document(**earn(rate=[{"points_per_unit": "2"}], daily_cap=5)))
    shorter = compare(document(), document(expiry={"months": 11}))
    assert [needs_approval(changes) for changes in ((), giving, taking, shorter)] == [False, False, True, True]


def test_a_change_is_stored_and_read_back_as_it_was():
    [change] = compare(document(), document(**earn(rate=[{"points_per_unit": "2"}])))
    assert Change.from_json(change.as_json()) == change
    assert change.as_json()["effect"] == "gives more"


def test_every_key_of_the_screens_is_known():
    """Unknown keys take away; these must say so for a reason."""
    known = document()["screens"]
    other = {
        key: (not value if isinstance(value, bool) else {"ann": "H1"} if key == "staff" else 7)
        for key, value in known.items()
    }
    changes = compare(document(), document(screens=other))
    assert {change.key for change in changes} == {f"screens.{key}" for key in known if key != "staff"} | {
        "screens.staff.ann"
    }
    assert [change.key for change in changes if "not known here" in change.why] == []
