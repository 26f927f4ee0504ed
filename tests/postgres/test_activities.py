"""Bonuses for activities: what counts, which period, once; and the feed that brings them."""

import datetime as dt
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console
from sqlalchemy import text

from flows.commands.explanation import show
from points_ledger import events, explanation

THREE = {"activity": "check_in", "count": 3, "per": "week", "points": 50}
RATE = {"points_per_unit": "1"}


def start(ledger, *bonuses, **sections):
    ledger.start(earn={"rate": [RATE], "bonus": list(bonuses)}, **sections)
    ledger.members("m1", "m2")
    return ledger


def check_ins(ledger, *times, member="m1", first=1):
    return ledger.activities(*(f"C{n},{member},check_in,{time}" for n, time in enumerate(times, first)))


def earned(ledger, member="m1"):
    """Effective day, points and reference of what activities earned."""
    return [
        (str(row[0]), row[1], row[2])
        for row in ledger.rows(
            "SELECT effective_on, points, source_ref FROM points.entry JOIN points.member USING (member_id)"
            " WHERE member_no = :no AND source = 'activity' AND kind = 'earn' ORDER BY seq",
            no=member,
        )
    ]


# A week of 2026: Monday 5 January to Sunday 11 January; London is on UTC, and an hour ahead from 29 March on.
BOUNDARIES = {
    "the count exactly met": (THREE, ["2026-01-05 09:00", "2026-01-06 09:00", "2026-01-07 09:00"], ["2026-01-07"]),
    "one short": (THREE, ["2026-01-05 09:00", "2026-01-06 09:00"], []),
    "once a week, however many": (THREE, [f"2026-01-0{n} 09:00" for n in (5, 5, 6, 6, 7, 8, 9)], ["2026-01-06"]),
    "twice a week when it may": (
        {**THREE, "max_times": 2}, [f"2026-01-0{n} 09:00" for n in (5, 5, 5, 6, 6, 6, 7, 7, 7)], ["2026-01-05", "2026-01-06"],
    ),
    "the week begins on Monday at midnight": (
        THREE, ["2026-01-10 09:00", "2026-01-11 23:59:59", "2026-01-12 00:00"], [],
    ),
    "its last second counts": (THREE, ["2026-01-10 09:00", "2026-01-11 12:00", "2026-01-11 23:59:59"], ["2026-01-11"]),
    "local midnight on the night the clocks change, still the week before": (
        THREE, ["2026-03-28 09:00", "2026-03-29 00:30", "2026-03-29 22:59:59+00:00"], ["2026-03-29"],
    ),
    "local midnight after the clocks changed, already the next week": (
        THREE, ["2026-03-28 09:00", "2026-03-29 00:30", "2026-03-29 23:00:00+00:00"], [],
    ),
    "a week across the end of the year is one week": (
        THREE, ["2026-12-30 09:00", "2026-12-31 23:59:59", "2027-01-01 00:00"], ["2027-01-01"],
    ),
    "a month ends at local midnight": (
        {**THREE, "per": "month"}, ["2026-06-30 09:00", "2026-06-30 22:59:59+00:00", "2026-06-30 23:00:00+00:00"], [],
    ),
    "29 February belongs to February": (
        {**THREE, "per": "month"}, ["2028-02-28 09:00", "2028-02-29 00:00", "2028-02-29 23:59:59"], ["2028-02-29"],
    ),
    "a day": ({**THREE, "per": "day"}, ["2026-01-05 00:00", "2026-01-05 09:00", "2026-01-05 23:59:59"], ["2026-01-05"]),
    "once and for all": (
        {**THREE, "per": "once"}, [f"2026-01-{n} 09:00" for n in (11, 12, 19, 20, 21, 22)], ["2026-01-19"],
    ),
    "a rule that ended by itself": (
        {**THREE, "through": dt.date(2026, 1, 6)}, ["2026-01-05 09:00", "2026-01-06 09:00", "2026-01-07 09:00"], [],
    ),
    "a rule that had not begun": (
        {**THREE, "from": dt.date(2026, 1, 6)}, ["2026-01-05 09:00", "2026-01-06 09:00", "2026-01-07 09:00"], [],
    ),
    "one is enough when no count is given": (
        {"activity": "check_in", "per": "day", "points": 5}, ["2026-01-05 09:00", "2026-01-05 10:00", "2026-01-06 09:00"],
        ["2026-01-05", "2026-01-06"],
    ),
    "another activity": ({**THREE, "activity": "review"}, ["2026-01-05 09:00", "2026-01-06 09:00", "2026-01-07 09:00"], []),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDARIES)
def test_the_activity_that_completes_the_count_earns_on_its_own_day(ledger, name):
    rule, times, days = BOUNDARIES[name]
    first, last = (dt.date.fromisoformat(times[n][:10]) for n in (0, -1))
    start(ledger, rule, expiry={"basis": "none", "months": None}, programme={"starts_on": first})
    check_ins(ledger, *times)

    ledger.close(last + dt.timedelta(days=1))

    assert [day for day, *_ in earned(ledger)] == days


@pytest.mark.parametrize(
    ("condition", "rows", "fits"),
    [
        ({"stores": ["Leith"]}, ["Leith,", "Leith,app", "Leith,"], True),
        ({"stores": ["Leith"]}, ["Leith,", "York,", "Leith,"], False),
        ({"channels": ["app"]}, [",app", ",app", ",till"], False),
        ({"groups": ["club"]}, [",", ",", ","], True),
        ({"birthday_month": True}, [",", ",", ","], False),
        ({"weekdays": ["mon", "tue", "wed"]}, [",", ",", ","], True),
        ({"weekdays": ["mon", "tue"]}, [",", ",", ","], False),
    ],
)
def test_an_activity_counts_when_the_rules_conditions_fit_it(ledger, condition, rows, fits):
    ledger.start(earn={"rate": [RATE], "bonus": [{**THREE, **condition}]})
    ledger.take("members", "member_no,groups,birthday", "m1,club|north,06-15")
    ledger.activities(*(f"C{n},m1,check_in,2026-01-0{n} 10:00,{row}" for n, row in enumerate(rows, 5)))

    ledger.close("2026-01-11")

    assert bool(earned(ledger)) is fits


def test_a_bonus_is_a_lot_with_the_programmes_validity_and_repays_debt(ledger):
    start(ledger, THREE)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "R1,m1,2026-01-03 10:00,tea,-1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,80")
    check_ins(ledger, "2026-01-05 09:00", "2026-01-06 09:00", "2026-01-07 09:00")

    ledger.close("2026-01-07")

    assert ledger.kinds("m1") == [
        ("earn", 100),
        ("spend", 80),
        ("claw_back", 20),
        ("owe", 80),
        ("earn", 50),
        ("repay", 50),
    ]
    assert ledger.lots("m1")[-1] == (50, 0, "2026-02-07")
    assert ledger.balance("m1") == (0, 30)


def test_the_daily_cap_is_for_orders_and_leaves_an_activitys_bonus_alone(ledger):
    ledger.start(earn={"rate": [RATE], "daily_cap": 60, "bonus": [THREE]})
    ledger.orders("A1,m1,2026-01-07 10:00,tea,1,100")
    ledger.close("2026-01-07")
    check_ins(ledger, "2026-01-05 09:00", "2026-01-06 09:00", "2026-01-07 09:00")

    ledger.close("2026-01-08")

    assert ledger.kinds("m1") == [("earn", 60)]  # enrolled by the order of the 7th: two of the three came before
    assert ledger.findings() == {"unknown_member": 2}


def test_the_daily_cap_does_not_count_what_activities_earned(ledger):
    ledger.start(
        earn={"rate": [RATE], "daily_cap": 60, "bonus": [{"activity": "check_in", "per": "day", "points": 50}]}
    )
    ledger.members("m1")
    check_ins(ledger, "2026-01-05 09:00")
    ledger.orders("A1,m1,2026-01-05 10:00,tea,1,100")

    ledger.close("2026-01-05")

    assert ledger.kinds("m1") == [("earn", 60), ("earn", 50)]


def test_a_late_activity_completes_the_count_of_its_own_week_once(ledger):
    start(ledger, THREE)
    check_ins(ledger, "2026-01-05 09:00", "2026-01-09 09:00")
    ledger.close("2026-01-12")
    assert earned(ledger) == []

    check_ins(ledger, "2026-01-07 09:00", first=30)  # found later; in the order of time the third is that of the 9th
    ledger.close("2026-01-13")
    assert earned(ledger) == [("2026-01-09", 50, "check_in x 3 per week/2026-W02/1")]

    check_ins(ledger, "2026-01-05 08:00", "2026-01-06 08:00", first=40)
    ledger.close("2026-01-14")
    assert len(earned(ledger)) == 1


def test_activities_of_a_night_and_of_the_nights_before_count_together_and_members_apart(ledger):
    start(ledger, THREE)
    check_ins(ledger, "2026-01-05 09:00", "2026-01-06 09:00")
    check_ins(ledger, "2026-01-05 09:00", "2026-01-06 09:00", "2026-01-08 09:00", member="m2", first=5)
    for day in range(5, 9):
        ledger.close(f"2026-01-0{day}")
    check_ins(ledger, "2026-01-09 09:00", first=3)
    ledger.close("2026-01-09")

    assert [day for day, *_ in earned(ledger)] == ["2026-01-09"]
    assert [day for day, *_ in earned(ledger, "m2")] == ["2026-01-08"]


def test_a_rule_keeps_its_name_over_versions_and_each_activity_counts_by_its_own(ledger):
    start(ledger, {**THREE, "name": "Regular"})
    ledger.change("2026-01-07", earn={"rate": [RATE], "bonus": [{**THREE, "name": "Regular", "points": 70}]})
    check_ins(ledger, *(f"2026-01-0{n} 09:00" for n in (5, 6, 7, 8, 9)))

    ledger.close("2026-01-11")

    assert earned(ledger) == [("2026-01-07", 70, "Regular/2026-W02/1")]
    assert ledger.one("SELECT policy_version FROM points.activity_earning") == 2


def test_the_same_number_again_does_nothing_and_other_content_is_a_finding(ledger):
    start(ledger, THREE)
    first = check_ins(ledger, "2026-01-05 09:00", "2026-01-06 09:00")
    again = ledger.activities(
        "C1,m1,check_in,2026-01-05 09:00", "C2,m1,review,2026-01-06 09:00", "C9,,check_in,2026-01-05 09:00",
        ",m1,check_in,2026-01-05 09:00", "C8,m1,,2026-01-05 09:00", "C7,m1,check_in,soon", "C6,m1,check_in,2025-12-31 09:00",
        "C5,m1,check_in,2026-01-07 09:00", "C5,m1,check_in,2026-01-07 09:00",
    )  # fmt: skip

    assert (first.rows("accepted"), again.rows("accepted"), again.rows("skipped"), again.rows("rejected")) == (
        2,
        1,
        2,
        6,
    )
    assert ledger.findings() == {
        "activity_changed": 1, "activity_no_missing": 1, "member_no_missing": 1, "activity_missing": 1,
        "happened_at_not_a_time": 1, "before_the_programme": 1,
    }  # fmt: skip
    ledger.close("2026-01-11")
    assert len(earned(ledger)) == 1


def test_an_activity_waits_for_its_day_and_for_its_member_until_the_day_is_closed(ledger):
    start(ledger, {"activity": "check_in", "per": "day", "points": 5})
    check_ins(ledger, "2026-01-03 09:00")
    check_ins(ledger, "2026-01-02 09:00", "2026-01-03 09:00", member="stranger", first=5)
    with ledger.engine().begin() as connection:
        connection.execute(text("SELECT points.open_day('2026-01-01')"))
        members = connection.execute(text("SELECT array_agg(member_id) FROM points.member")).scalar_one()
        posted = events.post_chunk(connection, members, through=dt.date(2026, 1, 1), run_id=None, final=False)
    assert posted.activities == 0
    assert earned(ledger) == []
    ledger.close("2026-01-02")
    assert ledger.rows("SELECT reason, ref FROM points.finding") == [("unknown_member", "C5")]

    ledger.members("stranger")
    ledger.close("2026-01-03")

    assert [day for day, *_ in earned(ledger)] == [day for day, *_ in earned(ledger, "stranger")] == ["2026-01-03"]
    assert ledger.rows("SELECT state, count(*) FROM points.activity GROUP BY 1 ORDER BY 1") == [
        ("posted", 2),
        ("refused", 1),
    ]


def test_points_of_activities_lift_a_tier(ledger):
    start(
        ledger, {**THREE, "points": 500}, tier=[{"code": "member", "enter_at": 0}, {"code": "silver", "enter_at": 500}]
    )
    check_ins(ledger, "2026-01-05 09:00", "2026-01-06 09:00", "2026-01-07 09:00")

    ledger.close("2026-01-07")

    assert ledger.rows("SELECT tier, held_from FROM points.tier_decision") == [("silver", dt.date(2026, 1, 8))]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({**THREE, "name": "Regular"}, "3 × check_in in the week of 2026-01-05 (Regular)"),
        ({**THREE, "per": "month"}, "3 × check_in in 2026-01"),
        ({**THREE, "per": "once"}, "3 × check_in"),
        (
            {"activity": "check_in", "per": "day", "points": 50, "from": dt.date(2026, 1, 7)},
            "1 × check_in on 2026-01-07",
        ),
    ],
)
def test_a_bonus_explains_itself(ledger, rule, sentence):
    start(ledger, rule, programme={"starts_on": dt.date(2026, 1, 5)})
    check_ins(ledger, "2026-01-05 09:00", "2026-01-06 09:00", "2026-01-07 09:00")
    ledger.close("2026-01-07")
    check_ins(ledger, "2026-01-08 09:00", first=9)

    with ledger.engine().begin() as connection:
        story = explanation.explain(connection, "m1", as_of=None, today=dt.date(2026, 1, 8))
    console = Console(file=io.StringIO(), width=200)
    show(console, story)

    assert f"    {sentence} → 50 points   (programme version 1)\n" in console.file.getvalue()
    assert ", earned by activity " in console.file.getvalue()
    assert story.waiting == 1


def test_of_two_posting_the_same_activities_at_once_one_does(ledger):
    start(ledger, {"activity": "check_in", "per": "day", "points": 5})
    check_ins(ledger, "2026-01-01 09:00")
    gate = threading.Barrier(4)

    def run(_: int) -> events.Posted:
        gate.wait(timeout=30)
        return events.post(ledger.engine(), through=dt.date(2026, 1, 1), run_id=None, final=False)

    with ThreadPoolExecutor(4) as pool:
        posted = list(pool.map(run, range(4)))

    assert sorted(each.activities for each in posted) == [0, 0, 0, 1]
    assert ledger.kinds("m1") == [("earn", 5)]
