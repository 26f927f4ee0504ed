"""Tiers: who rises, who stays, who falls, from which day, and the sentence that says why."""

import datetime as dt

import pytest
from sqlalchemy import text

from points_ledger import tiers
from points_ledger.errors import translated

FOUR = [
    {"code": "member", "enter_at": 0},
    {"code": "silver", "enter_at": 100},
    {"code": "gold", "enter_at": 300, "keep_at": 200},
    {"code": "platinum", "enter_at": 1000},
]


def start(ledger, tier=FOUR, **rules):
    rules = {
        "metric": "points_earned",
        "window": "rolling_12_months",
        "downgrade": "one_down",
        "grace_days": 30,
        **rules,
    }
    ledger.start(tier=tier, tiers=rules, expiry={"basis": "none", "months": None, "round_up_to": "day"})
    return ledger


def history(ledger, member_no="m1"):
    """(decided on, held from, tier, what) of every decision."""
    rows = ledger.rows(
        "SELECT decided_on, held_from, tier, what FROM points.tier_decision JOIN points.member USING (member_id)"
        " WHERE member_no = :no ORDER BY decision_no",
        no=member_no,
    )
    return [(str(row[0]), str(row[1]), row[2], row[3]) for row in rows]


def tier_on(ledger, day, member_no="m1"):
    return ledger.one(
        "SELECT points.tier_on(member_id, CAST(:day AS date)) FROM points.member WHERE member_no = :no",
        day=day,
        no=member_no,
    )


def skip_to(ledger, day):
    """Pretend that every date before a day was closed with nothing in it: tiers look at years, nights at days."""
    first, last = ledger.rows(
        "SELECT coalesce(points.last_closed() + 1, '2026-01-01'), CAST(:day AS date) - 1", day=day
    )[0]
    ledger.rows(
        "INSERT INTO points.book_day (book_date, status, closed_at)"
        " SELECT d, 'closed', clock_timestamp() FROM generate_series(CAST(:first AS date), :last, '1 day') d"
        " ON CONFLICT (book_date) DO UPDATE SET status = 'closed', closed_at = excluded.closed_at",
        first=first,
        last=last,
    )
    ledger.rows(
        "INSERT INTO points.run (job, business_date, status) VALUES ('close-night', :last, 'done') ON CONFLICT DO NOTHING",
        last=last,
    )


def test_a_member_rises_at_the_close_of_the_day_and_holds_the_tier_from_the_next(ledger):
    start(ledger)
    ledger.orders("A1,m1,2026-01-03 10:00,tea,1,99", "A2,m1,2026-01-04 10:00,tea,1,1")

    ledger.close("2026-01-04")

    assert history(ledger) == [("2026-01-04", "2026-01-05", "silver", "upgrade")]
    assert [tier_on(ledger, day) for day in ("2026-01-04", "2026-01-05")] == ["member", "silver"]
    sentence = ledger.one("SELECT sentence FROM points.tier_decision")
    assert sentence == (
        "Upgraded from member to silver: points earned from 2025-01-05 through 2026-01-04 is 100, and silver asks for 100."
        " Valid to 2027-01-04."
    )


def test_one_day_can_lift_by_several_tiers_and_records_the_highest(ledger):
    start(ledger)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,350")

    ledger.close("2026-01-01")

    assert history(ledger) == [("2026-01-01", "2026-01-02", "gold", "upgrade")]


def test_redeeming_everything_leaves_the_tier(ledger):
    start(ledger)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,350", "A2,m1,2026-01-03 10:00,tea,1,5")
    ledger.redemptions("R1,m1,2026-01-02 10:00,350")

    ledger.close("2026-01-03")

    assert tier_on(ledger, "2026-01-04") == "gold"


def test_a_refund_lowers_the_metric_but_not_the_tier_it_reached(ledger):
    start(ledger)
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,350", "A2,m1,2026-01-02 10:00,tea,-1,350", "A3,m1,2026-01-03 10:00,tea,1,120"
    )

    ledger.close("2026-01-03")

    assert history(ledger) == [("2026-01-01", "2026-01-02", "gold", "upgrade")]


def test_what_a_return_took_back_does_not_count_whether_covered_or_owed(ledger):
    start(ledger)
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,90", "A2,m1,2026-01-02 10:00,tea,-1,90", "A3,m1,2026-01-03 10:00,tea,1,95"
    )
    ledger.redemptions("R1,m1,2026-01-01 11:00,80")  # so most of the return is owed

    ledger.close("2026-01-03")

    assert history(ledger) == []


def test_a_tier_is_renewed_when_its_keep_at_is_met(ledger):
    start(ledger, window="calendar_year")
    ledger.orders("A1,m1,2026-02-01 10:00,tea,1,300", "A2,m1,2027-05-01 10:00,tea,1,200")
    skip_to(ledger, "2026-02-01")
    ledger.close("2026-02-01")
    assert ledger.one("SELECT valid_to FROM points.member_tier") == dt.date(2027, 12, 31)
    skip_to(ledger, "2027-05-01")
    ledger.close("2027-05-01")
    skip_to(ledger, "2028-01-29")

    ledger.close("2028-01-30")

    assert history(ledger)[-1] == ("2028-01-30", "2028-01-31", "gold", "renewal")
    assert ledger.one("SELECT valid_to FROM points.member_tier") == dt.date(2028, 12, 31)


@pytest.mark.parametrize(("downgrade", "tier"), [("one_down", "gold"), ("to_earned", "silver"), ("none", "platinum")])
def test_a_tier_that_is_not_kept_falls_after_grace_as_the_programme_says(ledger, downgrade, tier):
    start(ledger, window="calendar_year", downgrade=downgrade)
    ledger.orders("A1,m1,2026-02-01 10:00,tea,1,1000", "A2,m1,2027-05-01 10:00,tea,1,150")
    skip_to(ledger, "2026-02-01")
    ledger.close("2026-02-01")
    skip_to(ledger, "2027-05-01")
    ledger.close("2027-05-01")
    skip_to(ledger, "2028-01-29")

    ledger.close("2028-01-29")
    assert tier_on(ledger, "2028-01-30") == "platinum"  # grace
    ledger.close("2028-01-30")

    assert tier_on(ledger, "2028-01-31") == tier
    if tier != "platinum":
        assert "staying asks for 1000; valid to 2027-12-31, and 30 days of grace have passed" in ledger.one(
            "SELECT sentence FROM points.tier_decision WHERE what = 'downgrade'"
        )


def test_points_earned_in_the_days_of_grace_keep_the_tier(ledger):
    start(ledger, window="calendar_year")
    ledger.orders("A1,m1,2026-02-01 10:00,tea,1,300", "A2,m1,2028-01-20 10:00,tea,1,200")
    skip_to(ledger, "2026-02-01")
    ledger.close("2026-02-01")
    skip_to(ledger, "2028-01-20")
    ledger.close("2028-01-20")
    skip_to(ledger, "2028-01-30")

    ledger.close("2028-01-30")

    assert tier_on(ledger, "2028-01-31") == "gold"


def test_a_late_order_of_last_year_lifts_from_then_and_never_lowers(ledger):
    start(ledger, window="calendar_year")
    ledger.orders("A1,m1,2026-06-01 10:00,tea,1,250")
    skip_to(ledger, "2026-06-01")
    ledger.close("2026-06-01")
    skip_to(ledger, "2027-01-10")
    ledger.orders("A2,m1,2026-12-20 10:00,tea,1,60")  # found in January

    ledger.close("2027-01-10")

    assert history(ledger)[-1] == ("2027-01-10", "2026-12-21", "gold", "upgrade")
    assert [tier_on(ledger, day) for day in ("2026-12-20", "2026-12-21", "2027-01-11")] == ["silver", "gold", "gold"]
    assert ledger.one("SELECT valid_to FROM points.member_tier") == dt.date(2027, 12, 31)


def test_a_late_order_lifts_through_each_tier_from_its_own_day(ledger):
    start(ledger)
    ledger.orders("A0,m2,2026-03-01 10:00,tea,1,1")
    skip_to(ledger, "2026-03-01")
    ledger.orders("A1,m1,2026-01-05 10:00,tea,1,120", "A2,m1,2026-02-05 10:00,tea,1,200")

    ledger.close("2026-03-01")

    assert history(ledger) == [
        ("2026-03-01", "2026-01-06", "silver", "upgrade"),
        ("2026-03-01", "2026-02-06", "gold", "upgrade"),
    ]


def test_protection_keeps_a_tier_until_its_day_with_reason_and_approver(ledger):
    start(ledger, window="calendar_year")
    ledger.orders("A1,m1,2026-02-01 10:00,tea,1,300")
    skip_to(ledger, "2026-02-01")
    ledger.close("2026-02-01")
    skip_to(ledger, "2027-06-01")
    asked = ledger.one(
        'SELECT points.propose(\'tier\', \'{"member_no": "m1", "until": "2028-06-30"}\', \'parental leave, letter of May\')',
        "batch",
    )
    with translated(), ledger.engine("approver").begin() as connection:
        connection.execute(text("SELECT points.approve(:id)"), {"id": asked})
    ledger.rows("SELECT points.protect_tier(:id, '2027-06-01')", "batch", id=asked)
    skip_to(ledger, "2028-01-30")
    ledger.close("2028-01-30")
    assert tier_on(ledger, "2028-01-31") == "gold"
    skip_to(ledger, "2028-07-01")

    ledger.close("2028-07-01")

    assert [(what, tier) for _, _, tier, what in history(ledger)] == [
        ("upgrade", "gold"), ("protection", "gold"), ("downgrade", "silver"),
    ]  # fmt: skip


def test_a_year_of_membership_is_counted_from_the_day_of_joining(ledger):
    start(ledger, window="anniversary")
    ledger.take("members", "member_no,joined_on", "m1,2026-03-10")
    ledger.orders(
        "A1,m1,2027-03-09 10:00,tea,1,60", "A2,m1,2027-03-10 10:00,tea,1,60", "A3,m1,2028-03-09 10:00,tea,1,40"
    )
    skip_to(ledger, "2027-03-09")
    ledger.close("2027-03-10")
    assert history(ledger) == []  # 60 in each of two years of membership
    skip_to(ledger, "2028-03-09")

    ledger.close("2028-03-09")

    assert history(ledger) == [("2028-03-09", "2028-03-10", "silver", "upgrade")]
    assert ledger.one("SELECT valid_to FROM points.member_tier") == dt.date(2029, 3, 9)


@pytest.mark.parametrize(
    ("metric", "orders", "risen_on"),
    [
        ("spend", ("A1,m1,2026-01-01 10:00,tea,1,99.99", "A2,m1,2026-01-02 10:00,tea,1,0.01"), "2026-01-02"),
        ("spend", ("A1,m1,2026-01-01 09:00,t,1,9", "A2,m1,2026-01-02 09:00,t,-1,9", "A3,m1,2026-01-03 09:00,tea,1,100"), "2026-01-03"),
        ("orders", tuple(f"A{n},m1,2026-01-0{n} 10:00,tea,1,5" for n in range(1, 4)), "2026-01-03"),
    ],
)  # fmt: skip
def test_a_tier_can_be_measured_by_money_or_by_orders(ledger, metric, orders, risen_on):
    tier = [{"code": "member", "enter_at": 0}, {"code": "silver", "enter_at": 3 if metric == "orders" else 100}]
    start(ledger, tier=tier, metric=metric)
    ledger.orders(*orders)

    ledger.close("2026-01-05")

    assert [decision[0] for decision in history(ledger)] == [risen_on]


def test_a_night_looks_only_at_members_whose_tier_can_have_changed(ledger):
    start(ledger)
    ledger.orders(*(f"A{n},m{n},2026-01-01 10:00,tea,1,10" for n in range(1, 9)), "B1,m3,2026-01-02 10:00,tea,1,10")
    ledger.redemptions("R1,m4,2026-01-02 10:00,5")
    ledger.close("2026-01-02")

    with ledger.engine().connect() as connection:
        looked_at = tiers.members_to_review(connection, day=dt.date(2026, 1, 2))

    assert len(looked_at) == 1


def test_a_second_review_of_the_same_night_decides_nothing(ledger):
    start(ledger)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,350")
    ledger.close("2026-01-01")

    assert tiers.review(ledger.engine(), day=dt.date(2026, 1, 1), run_id=None) == tiers.TierReview(0, 0, 0)
    assert len(history(ledger)) == 1


def test_who_will_fall_is_listed_with_what_keeps_them(ledger):
    start(ledger, window="calendar_year")
    ledger.orders(
        "A1,m1,2026-02-01 10:00,tea,1,300", "A2,m1,2027-05-01 10:00,tea,1,150", "B1,m2,2026-02-01 10:00,tea,1,120"
    )
    skip_to(ledger, "2026-02-01")
    ledger.close("2026-02-01")
    skip_to(ledger, "2027-05-01")
    ledger.close("2027-05-01")

    with ledger.engine().connect() as connection:
        soon = tiers.at_risk(connection, day=dt.date(2027, 12, 15), within_days=60)
        later = tiers.at_risk(connection, day=dt.date(2027, 12, 15), within_days=30)

    assert [(r["member_no"], r["tier"], r["falls_on"], r["days_left"], r["missing"]) for r in soon] == [
        ("m1", "gold", dt.date(2028, 1, 30), 46, 50),
        ("m2", "silver", dt.date(2028, 1, 30), 46, 100),
    ]
    assert later == []


def test_tier_history_cannot_be_changed_or_skipped(ledger):
    start(ledger)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,350")
    ledger.close("2026-01-01")

    for statement, code in (
        ("UPDATE points.tier_decision SET tier = 'platinum'", "PL002"),
        ("DELETE FROM points.tier_decision", "PL002"),
        ("TRUNCATE points.tier_decision", "PL002"),
        (
            "INSERT INTO points.tier_decision SELECT member_id, decision_no + 2, decided_on, held_from, 'platinum', tier, what, metric,"
            " amount, window_from, window_through, threshold, valid_to, review_on, protected_until, policy_version, approval_id,"
            " run_id, sentence FROM points.tier_decision",
            "PL010",
        ),
    ):
        with pytest.raises(Exception) as refusal:
            ledger.rows(statement)
        assert refusal.value.orig.pgcode == code
    assert tier_on(ledger, "2026-01-02") == "gold"
