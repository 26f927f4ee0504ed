"""The programme file: what is read, what is refused, and in which words."""

import json
import pickle
from pathlib import Path

import pytest

from infra.programme import NOT_YET, ProgrammeRefused, check_programme, read_programme

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
HEAD = """
[programme]
name = "Club"
time_zone = "Europe/London"
currency = "GBP"
starts_on = 2010-12-01
"""
RATE = """
[[earn.rate]]
points_per_unit = "1"
"""
NOTICES = """
[notices]
site_url = "https://club.example"
postal_address = "1 Quay Street, Leith"
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read_text(text):
        Path("programme.toml").write_text(text, encoding="utf-8")
        return read_programme("programme.toml")

    return read_text


@pytest.fixture
def refusal(read):
    def problems(text):
        with pytest.raises(ProgrammeRefused) as caught:
            read(text)
        return str(caught.value).splitlines()

    return problems


@pytest.mark.parametrize("name", ["harbour-gifts", "online-retail"])
def test_an_example_programme_is_accepted_and_reads_back_unchanged(name):
    programme = read_programme(EXAMPLES / f"{name}.toml")
    assert check_programme(json.loads(json.dumps(programme))) == programme


def test_the_replay_has_the_rules_its_totals_were_computed_with():
    programme = read_programme(EXAMPLES / "online-retail.toml")
    assert len(programme["earn"]["rate"][0]["exclude_skus"]) == 12
    assert [(m["factor"], m["from"], m["through"]) for m in programme["earn"]["multiplier"]] == [
        ("2", "2011-06-01", "2011-06-30"),
        ("1.5", "2011-06-24", "2011-07-10"),
    ]
    assert (programme["expiry"]["months"], programme["expiry"]["round_up_to"]) == (4, "month")
    assert programme["guard"] == {"max_share_of_outstanding": "off", "max_times_median": "off"}


def test_every_default_is_filled_in_and_a_condition_that_is_not_set_is_absent(read):
    assert read(HEAD + RATE) == {
        "programme": {
            "name": "Club",
            "time_zone": "Europe/London",
            "currency": "GBP",
            "starts_on": "2010-12-01",
            "point_value": "0.01",
            "enrol_from_orders": True,
            "notice_days": 30,
        },
        "earn": {
            "stacking": "best",
            "daily_cap": 0,
            "usable_after_days": 0,
            "rate": [{"points_per_unit": "1"}],
            "multiplier": [],
            "bonus": [],
        },
        "expiry": {
            "basis": "none",
            "round_up_to": "day",
            "on_change": "keep",
            "notice": {"ladder_days": [60, 30, 7], "required": False, "min_days": 30, "unreachable": "defer"},
        },
        "refund": {"policy": "debt"},
        "guard": {"max_share_of_outstanding": "0.05", "max_times_median": "3"},
        "tier": [],
        "approval": {
            "reason_codes": ["goodwill", "missing_points", "complaint", "correction", "misuse", "other"],
            "max_points_per_adjustment": 10_000,
            "max_points_per_day_and_login": 50_000,
            "reinstate_days": 30,
            "limit": [],
        },
        "transfer": {"enabled": False, "cooling_off_days": 7},
        "screens": {
            "enabled": True,
            "history_days": 365,
            "min_history": 8,
            "deviations": "10",
            "member_earned_min": 1000,
            "store_earned_min": 10_000,
            "members_per_contact": 4,
            "minutes_after_earn": 15,
            "large_earn": 1000,
            "refund_days": 90,
            "refunds_after_spend": 3,
            "refund_share": "0.5",
            "refund_min": 100,
            "redemptions_per_day": 0,
            "points_redeemed_per_day": 0,
            "staff_days": 30,
            "staff_same_member": 3,
            "near_limit_share": "0.9",
            "near_limit_count": 3,
            "staff": {},
        },
    }


def test_a_screens_threshold_that_cannot_be_is_refused_with_its_remedy(refusal):
    [share] = refusal(HEAD + RATE + '[screens]\nrefund_share = "1.5"\n')
    assert 'screens.refund_share = "1.5": is a share and must not be above "1"' in share
    [typo] = refusal(HEAD + RATE + "[screens]\nredemption_per_day = 5\n")
    assert 'did you mean "redemptions_per_day"?' in typo


def test_staff_are_logins_with_their_member_numbers(read):
    assert read(HEAD + RATE + '[screens.staff]\nann = "H000123"\n')["screens"]["staff"] == {"ann": "H000123"}


@pytest.mark.parametrize(
    ("written", "stored"),
    [('"0.1"', "0.1"), ("2", "2"), ('"1.50"', "1.5"), ('"100"', "100"), ('"0.00000001"', "0.00000001"), ('"-0"', "0")],
)
def test_a_decimal_stays_exact_and_has_one_spelling(read, written, stored):
    rate = read(HEAD + f"[[earn.rate]]\npoints_per_unit = {written}\n")["earn"]["rate"][0]
    assert rate == {"points_per_unit": stored}


def test_two_spellings_of_the_same_conditions_are_stored_alike(read):
    one = read(HEAD + RATE + 'weekdays = ["SUN", "sat", 7]\nskus = ["B", "A", "A"]\n')
    other = read(HEAD + RATE + 'weekdays = [6, 7]\nskus = ["A", "B"]\n')
    assert one == other
    assert one["earn"]["rate"][0]["weekdays"] == [6, 7]


def test_a_calendar_expiry_keeps_its_day_and_its_least_age(read):
    expiry = read(HEAD + RATE + '[expiry]\nbasis = "calendar"\nmonth_day = "12-31"\nmonths = 3\n')["expiry"]
    assert (expiry["month_day"], expiry["months"]) == ("12-31", 3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[[earn.rate]]\npoints_per_unit = "-1"', 'earn.rate[0].points_per_unit = "-1": must be zero or more'),
        ("[[earn.rate]]\npoints_per_unit = 0.1", "earn.rate[0].points_per_unit = 0.1: a float is not exact"),
        ('[[earn.rate]]\npoints_per_unit = "NaN"', 'earn.rate[0].points_per_unit = "NaN": must be a decimal'),
        ("[[earn.rate]]\npoints_per_unit = true", "earn.rate[0].points_per_unit = true: must be a decimal"),
        ('[[earn.rate]]\npoints_per_unit = "1e3"', 'earn.rate[0].points_per_unit = "1e3": must be a decimal'),
        ("[earn]\nrate = []", "earn.rate = []: must hold at least one: add a table [[earn.rate]]"),
        (RATE + "skus = [22423]", "earn.rate[0].skus = [22423]: may hold only strings"),
        (RATE + "skus = []", "earn.rate[0].skus = []: must be a list that is not empty"),
        (RATE + "weekdays = [0]", "earn.rate[0].weekdays = [0]: may hold only mon, tue"),
        (RATE + "from = 2011-07-01T00:00:00", "earn.rate[0].from = 2011-07-01 00:00:00: must be a day without a time"),
        (RATE + 'from = "20110701"', 'earn.rate[0].from = "20110701": is no day of the calendar'),
        (
            RATE + "from = 2011-07-01\nthrough = 2011-06-30",
            "earn.rate[0].through = 2011-06-30: is before from = 2011-07-01",
        ),
        (
            RATE + "min_order_amont = 5",
            'earn.rate[0].min_order_amont = 5: is no key of a programme file: did you mean "m',
        ),
        (RATE + '[[earn.multiplier]]\nfactor = "0"', 'earn.multiplier[0].factor = "0": must be more than zero'),
        (RATE + "[earn]\ndaily_cap = -1", "earn.daily_cap = -1: must be zero or more"),
        (RATE + '[earn]\ndaily_cap = "5"', 'earn.daily_cap = "5": must be a whole number without quotes'),
        (RATE + '[expiry]\nbasis = "fixd"', 'expiry.basis = "fixd": must be "none", "fixed", "calendar"'),
        (RATE + '[expiry]\nbasis = "fixed"', 'expiry: basis = "fixed" needs months: add months = 12'),
        (RATE + "[expiry]\nmonths = 12", 'expiry: months has no effect with basis = "none"'),
        (
            RATE + '[expiry]\nbasis = "calendar"\nmonth_day = "12-31"\nround_up_to = "year"',
            'expiry: round_up_to has no effect with basis = "calendar"',
        ),
        (RATE + '[expiry]\nmonth_day = "02-29"', 'expiry.month_day = "02-29": is not a day of every year'),
        (RATE + "[expiry.notice]\nladder_days = [0]", "expiry.notice.ladder_days = [0]: must be a list of whole days"),
        (
            RATE + '[refund]\npolicy = "none"',
            'refund.policy = "none": must be "only_pending", "within_balance" or "debt"',
        ),
        (
            RATE + '[guard]\nmax_share_of_outstanding = "5"',
            'guard.max_share_of_outstanding = "5": is a share and must not be above "1"',
        ),
        (RATE + "[guard]\nmax_times_median = 0", "guard.max_times_median = 0: must be more than zero"),
        (RATE + "[gaurd]\n", 'gaurd: is no key of a programme file: did you mean "guard"?'),
        (RATE + "[expiry.notice]\nmin_days = 61", "expiry.notice: min_days = 61 is above every step of ladder_days"),
        (RATE + '[expiry.notice]\nunreachable = "wait"', 'expiry.notice.unreachable = "wait": must be "defer" or "exp'),
        (
            RATE + '[expiry]\nbasis = "inactivity"\nmonths = 6\n[expiry.notice]\nrequired = true',
            'expiry: basis = "inactivity" moves the last day whenever a member is active',
        ),
        (RATE + "[notices]\n", "notices.site_url: is missing: add it"),
        (RATE + NOTICES + 'channels = ["post"]', 'notices.channels[0] = "post": must be "email" or "sms"'),
        (RATE + NOTICES + "channels = []", "notices.channels = []: must hold at least one"),
        (RATE + NOTICES + 'channels = ["sms"]', 'notices: channels holds "sms", which needs sms_signature: add it'),
        (RATE + NOTICES + 'channels = ["email", "email"]', "notices: channels holds one of them twice"),
        (
            RATE + NOTICES + 'quiet_hours = ["20:00", "24:00"]',
            'notices.quiet_hours[1] = "24:00": must be a time of day',
        ),
        (RATE + NOTICES + 'quiet_hours = ["20:00"]', "notices.quiet_hours"),
        (RATE + NOTICES.replace("https", "http"), 'notices.site_url = "http://club.example": must be the address'),
        (RATE + NOTICES + 'default_locale = "English"', 'notices.default_locale = "English": must be a language'),
        (RATE + NOTICES + "win_back_months = 6\nkinds = []", 'notices: win_back_months asks for "win_back"'),
        (
            RATE + NOTICES + 'statement = false\nkinds = ["monthly_statement"]',
            'notices: kinds holds "monthly_statement", which statement switches off',
        ),
        (RATE + NOTICES + 'kinds = ["gift"]', 'notices.kinds[0] = "gift": must be "points_expiring"'),
        ("", "earn: is missing: add it"),
        ("earn = 5", "earn = 5: must be a table"),
    ],
)
def test_a_refusal_names_file_key_value_and_remedy(refusal, text, sentence):
    head = text + HEAD if text == "earn = 5" else HEAD + text
    assert [line for line in refusal(head) if line.startswith(f"programme.toml: {sentence}")]


@pytest.mark.parametrize(
    ("line", "instead", "sentence"),
    [
        ('time_zone = "Europe/London"', 'time_zone = "GMT+1"', 'programme.time_zone = "GMT+1": is no IANA time zone'),
        ('time_zone = "Europe/London"', 'time_zone = "localtime"', 'programme.time_zone = "localtime": is no IANA'),
        ('currency = "GBP"', 'currency = "gbp"', 'programme.currency = "gbp": must be three capital letters'),
        ('name = "Club"', 'name = ""', 'programme.name = "": must have 1 to 100 characters'),
        ('name = "Club"', "name = 5", "programme.name = 5: must be a string: put it in quotes"),
        ('name = "Club"', "", "programme.name: is missing: add it"),
        ('name = "Club"', 'name = "Club"\nenrol_from_orders = 1', "programme.enrol_from_orders = 1: must be true or"),
    ],
)
def test_a_refusal_about_the_programme_itself_says_what_to_write(refusal, line, instead, sentence):
    assert refusal(HEAD.replace(line, instead) + RATE)[0].startswith(f"programme.toml: {sentence}")


def test_everything_that_is_wrong_is_said_at_once(refusal):
    wrong = HEAD.replace("GBP", "pounds") + '[[earn.rate]]\npoints_per_unit = "-1"\n[earn]\nstacking = "maximum"\n'
    keys = [line.split(" = ")[0] for line in refusal(wrong)]
    assert sorted(keys) == [
        "programme.toml: earn.rate[0].points_per_unit",
        "programme.toml: earn.stacking",
        "programme.toml: programme.currency",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("starts_on = 2010-02-30\n", "programme.toml, line 1, column 13: is not TOML or holds an impossible value"),
        ("[programme\n", "programme.toml, line 1, column 11: is not TOML"),
        ('\n\nname = "Cl', "programme.toml, line 3: is not TOML"),
        (HEAD + HEAD, "programme.toml, line 8, column 11: is not TOML"),
    ],
)
def test_text_that_is_not_toml_is_refused_with_its_line(refusal, text, sentence):
    assert refusal(text)[0].startswith(sentence)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(ProgrammeRefused, match=r"gone\.toml: there is no such file"):
        read_programme(tmp_path / "gone.toml")
    with pytest.raises(ProgrammeRefused, match="cannot be read"):
        read_programme(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# one\nname = '\xa3'\n")
    with pytest.raises(ProgrammeRefused, match=r"latin\.toml, line 2: is not UTF-8"):
        read_programme(tmp_path / "latin.toml")


def test_a_byte_order_mark_does_no_harm(read):
    assert read("\ufeff" + HEAD + RATE) == read(HEAD + RATE)


BAND = '[[earn.rate]]\npoints_per_unit = "2"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('spent_from = "5"', "earn.rate[1]: spent_from and spent_below need spent_window"),
        ('spent_below = "5"', "earn.rate[1]: spent_from and spent_below need spent_window"),
        ('spent_window = "lifetime"', "earn.rate[1]: spent_window has no effect alone"),
        (
            'spent_from = "5"\nspent_window = "week"',
            'earn.rate[1].spent_window = "week": must be "calendar_year", "rolling',
        ),
        (
            'spent_from = "5"\nspent_below = "5"\nspent_window = "lifetime"',
            "earn.rate[1]: spent_below is not above spent_from",
        ),
        ('spent_from = "-5"\nspent_window = "lifetime"', 'earn.rate[1].spent_from = "-5": must be zero or more'),
    ],
)
def test_a_band_of_spending_that_is_none_is_refused(refusal, text, sentence):
    lines = refusal(HEAD + RATE + BAND + text)
    assert [line for line in lines if line.startswith(f"programme.toml: {sentence}")], lines


VISIT = '[[earn.bonus]]\npoints = 5\nactivity = "visit"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (VISIT, 'earn.bonus[0]: a bonus for an activity needs per: add per = "day"'),
        (VISIT + 'per = "year"', 'earn.bonus[0].per = "year": must be "day", "week", "month" or "once"'),
        (VISIT + 'per = "day"\ncount = 0', "earn.bonus[0].count = 0: must be 1 or more"),
        (VISIT + 'per = "once"\nmax_times = 2', 'earn.bonus[0]: max_times has no effect with per = "once"'),
        (VISIT + 'per = "day"\nskus = ["tea"]', "earn.bonus[0]: skus asks for an order, and an activity is none"),
        (VISIT + 'per = "day"\nmin_order_amount = "5"', "earn.bonus[0]: min_order_amount asks for an order"),
        (VISIT + 'per = "day"\nfirst_order = false', "earn.bonus[0]: first_order asks for an order"),
        ("[[earn.bonus]]\npoints = 5\ncount = 3", "earn.bonus[0]: count is for activities: remove it, or add activity"),
        ('[[earn.bonus]]\npoints = 5\nper = "day"', "earn.bonus[0]: per is for activities"),
        (
            VISIT + 'per = "day"\n' + VISIT + 'per = "day"\nstores = ["Leith"]',
            'earn: two bonuses for activities are called "visit x 1 per day": give each a name of its own',
        ),
    ],
)
def test_a_bonus_for_an_activity_that_says_too_little_or_too_much_is_refused(refusal, text, sentence):
    lines = refusal(HEAD + RATE + text)
    assert [line for line in lines if line.startswith(f"programme.toml: {sentence}")], lines


TIERS = '\n[[tier]]\ncode = "{}"\nenter_at = {}\n[[tier]]\ncode = "{}"\nenter_at = {}\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (TIERS.format("silver", 100, "silver", 500), 'tier: the code "silver" occurs twice'),
        (TIERS.format("gold", 500, "silver", 100), 'tier: "silver" does not start above "gold"'),
        ('[[tier]]\ncode = "a"\nenter_at = 5\nkeep_at = 6', "tier[0].keep_at = 6: is above enter_at = 5: lower it"),
        (
            TIERS.format("silver", 500, "gold", 500),
            'tier: "gold" does not start above "silver" (enter_at = 500, 500): list',
        ),
        (
            TIERS.format("silver", 500, "gold", 2000) + "keep_at = 400",
            'tier: "gold" is kept with less than "silver" (keep_at = 400, 500): raise the keep_at of "gold" to 500',
        ),
        ('[[tier]]\ncode = "silver"', "tier[0].enter_at: is missing, so nobody could enter it: add enter_at = 1000"),
        ('[[tier]]\ncode = "silver"\nenter_at = -5', "tier[0].enter_at = -5: must be zero or more"),
        (
            TIERS.format("silver", 500, "gold", 2000) + '[[earn.multiplier]]\nfactor = 2\ntiers = ["gld"]',
            'the file: earn.multiplier[0].tiers = "gld" is no tier of this file: use one of silver, gold',
        ),
        ("[tiers]\n", "the file: [tiers] without a [[tier]]"),
    ],
)
def test_tiers_that_contradict_each_other_are_refused(refusal, text, sentence):
    assert [line for line in refusal(HEAD + RATE + text) if line.startswith(f"programme.toml: {sentence}")]


ASKED_FOR = {
    "expiry.basis": '[expiry]\nmonths = 1\nbasis = "{}"',
    "expiry.on_change": '[expiry]\non_change = "{}"',
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, value, _ in NOT_YET])
def test_what_this_version_cannot_do_is_refused_not_ignored(refusal, key, value):
    lines = refusal(HEAD + RATE + ASKED_FOR[key].format(value))
    table, _, _ = key.rpartition(".")
    assert [line for line in lines if f": {table}" in line and "not in this version yet: remove it" in line]
    assert len(lines) == 1, "said once"
    # a feature that can be asked for has a shape: nothing but its absence is complained about
    assert all("not in this version yet" in line for line in lines)


def test_notices_have_defaults_that_fit_each_other(read):
    by_default = read(HEAD + RATE + NOTICES)
    assert by_default["notices"] == {
        "channels": ["email"], "default_locale": "en", "site_url": "https://club.example",
        "postal_address": "1 Quay Street, Leith", "sms_signature": "", "quiet_hours": ["20:00", "09:00"],
        "marketing_per_30_days": 2, "statement": True, "win_back_months": 0,
        "kinds": ["points_expiring", "points_expired", "tier_upgraded", "tier_downgraded", "tier_at_risk",
                  "redemption_confirmed", "redemption_cancelled", "adjustment", "policy_change", "monthly_statement"],
    }  # fmt: skip
    assert check_programme(by_default) == by_default
    assert "win_back" in read(HEAD + RATE + NOTICES + "win_back_months = 6")["notices"]["kinds"]
    assert "monthly_statement" not in read(HEAD + RATE + NOTICES + "statement = false")["notices"]["kinds"]
    assert read(HEAD + RATE + NOTICES + 'kinds = ["policy_change"]')["notices"]["kinds"] == ["policy_change"]


@pytest.mark.parametrize(("ladder", "days"), [("[60, 30, 7]", 30), ("[14, 7]", 14), ("[90, 45]", 45), ("[60, 20]", 20)])
def test_how_long_before_a_notice_counts_follows_the_ladder(read, ladder, days):
    notice = read(HEAD + RATE + f"[expiry.notice]\nladder_days = {ladder}\nrequired = true")["expiry"]["notice"]
    assert (notice["required"], notice["min_days"], notice["unreachable"]) == (True, days, "defer")


def test_a_refusal_survives_pickling():
    error = ProgrammeRefused("programme.toml", (": one", ": two"))
    assert str(pickle.loads(pickle.dumps(error))) == "programme.toml: one\nprogramme.toml: two"  # noqa: S301 - our own
