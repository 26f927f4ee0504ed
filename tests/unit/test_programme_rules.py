"""The rules as members read them: whole texts in both languages, and a phrase for everything a file can say."""

import datetime as dt
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from infra.programme import read_programme
from infra.programme_earning import Conditions
from infra.programme_keys import Expiry, ProgrammeFile, Refund, Tiers
from notifications.phrases_of import NoWords, phrases
from notifications.programme_rules import Example, rules_in_words

ROOT = Path(__file__).parents[2]
TEXTS = Path(__file__).parent / "programme_rules"
LANGUAGES = ("en", "zh")
EVERYTHING = """
[programme]
name = "Every rule"
time_zone = "Asia/Shanghai"
currency = "CNY"
starts_on = 2026-01-01
notice_days = 45
[earn]
stacking = "multiply"
daily_cap = 12000
usable_after_days = 14
[[earn.rate]]
points_per_unit = "1.5"
skus = ["tea"]
stores = ["north", "south"]
weekdays = ["sat", "sun"]
[[earn.rate]]
points_per_unit = "0"
categories = ["vouchers"]
[[earn.rate]]
points_per_unit = "0.1"
exclude_skus = ["POST", "DOT"]
exclude_categories = ["gifts"]
[[earn.rate]]
points_per_unit = "0.4"
spent_from = "500"
spent_below = "2000"
spent_window = "calendar_year"
[[earn.rate]]
points_per_unit = "0.6"
spent_from = "2000"
spent_window = "calendar_year"
[[earn.rate]]
points_per_unit = "0.7"
spent_below = "50"
spent_window = "lifetime"
[[earn.rate]]
points_per_unit = "0.3"
[[earn.multiplier]]
factor = "1.25"
tiers = ["gold"]
[[earn.multiplier]]
name = "One day"
factor = "3"
from = 2026-11-11
through = 2026-11-11
channels = ["app", "web"]
min_order_amount = "99.50"
[[earn.multiplier]]
factor = "2"
from = 2026-12-01
birthday_month = true
groups = ["staff"]
[[earn.bonus]]
points = 100
first_order = true
through = 2026-12-31
[[earn.bonus]]
name = "Welcome back"
points = 20
channels = ["app"]
[[earn.bonus]]
points = 50
activity = "check_in"
count = 3
per = "week"
stores = ["Leith"]
[[earn.bonus]]
name = "Reviewer"
points = 5
activity = "review"
per = "day"
max_times = 2
[expiry]
basis = "calendar"
month_day = "12-31"
months = 1
[expiry.notice]
ladder_days = [30, 1]
required = true
unreachable = "expire"
[notices]
channels = ["sms", "email"]
site_url = "https://club.example"
postal_address = "1 Quay Street, Leith"
sms_signature = "Club"
win_back_months = 6
[refund]
policy = "within_balance"
[[tier]]
code = "silver"
enter_at = 500
[[tier]]
code = "gold"
enter_at = 2000
keep_at = 1500
[tiers]
metric = "spend"
window = "calendar_year"
downgrade = "to_earned"
grace_days = 1
"""
EXAMPLES = {
    "harbour-gifts": Example(dt.date(2026, 9, 1), dt.date(2026, 10, 1)),
    "online-retail": Example(dt.date(2010, 12, 1), dt.date(2011, 4, 30)),
    "every-rule": Example(dt.date(2026, 1, 1), dt.date(2026, 12, 31)),
}


def document(name):
    if name != "every-rule":
        return read_programme(ROOT / "docs" / "examples" / f"{name}.toml")
    return ProgrammeFile.model_validate(tomllib.loads(EVERYTHING)).plain()  # also what the ledger cannot do yet


def words(plain, lang, example=EXAMPLES["every-rule"]):
    return rules_in_words(plain, lang=lang, since=example.earned_on, example=example)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_whole_text(name, lang):
    assert words(document(name), lang, EXAMPLES[name]) == (TEXTS / f"{name}.{lang}.txt").read_text("utf-8")


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("key", [field.alias or name for name, field in Conditions.model_fields.items()])
def test_every_condition_has_words(lang, key):
    some = {"weekdays": [1], "min_order_amount": "5", "from": "2026-06-01", "through": "2026-06-01"}
    for value in (True, False) if key in ("first_order", "birthday_month") else (some.get(key, ["one", "two"]),):
        plain = document("harbour-gifts")
        without = words(plain, lang)
        plain["earn"]["rate"][0][key] = value
        assert words(plain, lang) != without


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_condition_without_words_is_an_error_and_not_left_out(lang):
    plain = document("harbour-gifts")
    plain["earn"]["rate"][0]["moon"] = "full"
    with pytest.raises(NoWords, match=r"when\.moon"):
        words(plain, lang)


CHOICES = [
    *(("expiry", "basis", basis) for basis in get_args(Expiry.model_fields["basis"].annotation)),
    *(("expiry", "round_up_to", unit) for unit in get_args(Expiry.model_fields["round_up_to"].annotation)),
    *(("refund", "policy", policy) for policy in get_args(Refund.model_fields["policy"].annotation)),
    *(
        ("tiers", key, choice)
        for key in ("metric", "window", "downgrade")
        for choice in get_args(Tiers.model_fields[key].annotation)
    ),
    ("tiers", "grace_days", 0),
    ("programme", "notice_days", 0),
    ("notices", "quiet_hours", ("00:00", "00:00")),
    ("notices", "channels", ("email",)),
    ("notices", "kinds", ("points_expiring",)),
]


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(("table", "key", "choice"), CHOICES)
def test_every_choice_has_words_of_its_own(lang, table, key, choice):
    plain = document("every-rule")
    if table == "expiry":
        plain["expiry"] |= {"basis": "fixed", "months": 12, "cap_months": 36, "month_day": "12-31"}
    said = {}
    other = {"basis": "none", "round_up_to": "day"}.get(key, plain[table][key])
    for value in {choice, tuple(other) if isinstance(other, list) else other}:
        plain[table][key] = value
        said[value] = words(plain, lang)
    assert len(set(said.values())) == len(said)
    assert "{" not in "".join(said.values())


def test_both_languages_have_the_same_phrases():
    def keys(table, prefix=""):
        for key, value in table.items():
            if isinstance(value, dict):
                yield from keys(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}".removesuffix("_one").removesuffix("_other")

    files = [ROOT / "notifications" / "phrases" / f"programme_rules.{lang}.toml" for lang in LANGUAGES]
    english, chinese = (set(keys(tomllib.loads(file.read_text("utf-8")))) for file in files)
    assert english == chinese


def test_a_phrase_that_is_not_there_is_named():
    with pytest.raises(NoWords, match=r'no words for "earn\.moon" in "zh"'):
        phrases("programme_rules", "zh")("earn.moon")


def test_members_are_told_neither_the_guard_nor_what_a_point_is_worth_in_the_books():
    plain = document("harbour-gifts")
    before = [words(plain, lang) for lang in LANGUAGES]
    plain["guard"] = {"max_share_of_outstanding": "0.9", "max_times_median": "off"}
    plain["programme"]["point_value"] = "7"
    assert [words(plain, lang) for lang in LANGUAGES] == before
