"""Points that lapse by inactivity: computed from the last activity, no lot is rewritten (design 6, basis inactivity)."""

import datetime as dt

import pytest
from sqlalchemy.exc import DBAPIError

from points_ledger import verification
from points_ledger.explanation import explain

IDLE = {"basis": "inactivity", "months": 2, "round_up_to": "day"}
OFF = {"max_share_of_outstanding": "off", "max_times_median": "off"}


def spend(ledger, member: str, points: int, day: str, ref: str = "T1") -> None:
    ledger.rows(f"SELECT points.spend('{member}', {points}, '{day}', 'till', '{ref}')", login="api")


def refused(ledger, member: str, points: int, day: str) -> str:
    with pytest.raises(DBAPIError) as refusal:
        spend(ledger, member, points, day, "refused")
    return refusal.value.orig.pgcode


def lapsed(ledger, member: str) -> list[tuple[int, str, str]]:
    return [
        (points, str(effective), str(booked))
        for points, effective, booked in ledger.rows(
            "SELECT points, effective_on, book_date FROM points.entry JOIN points.member USING (member_id)"
            " WHERE kind = 'expire' AND member_no = :member ORDER BY seq",
            member=member,
        )
    ]


def test_points_lapse_so_many_months_after_the_last_activity_and_not_a_day_before(ledger):
    ledger.start(expiry=IDLE, guard=OFF).orders("A1,anna,2026-01-10 12:00,tea,100,1")
    ledger.close("2026-03-09")
    assert ledger.balance("anna")[0] == 100
    ledger.close("2026-03-10")
    assert lapsed(ledger, "anna") == [(100, "2026-03-11", "2026-03-11")]


def test_a_purchase_keeps_all_earlier_points_alive_and_no_lot_is_rewritten(ledger):
    ledger.start(expiry=IDLE, guard=OFF).orders(
        "A1,anna,2026-01-10 12:00,tea,100,1", "A2,anna,2026-03-01 12:00,tea,50,1"
    )
    ledger.close("2026-03-31")
    assert ledger.balance("anna")[0] == 150
    assert ledger.rows("SELECT valid_through, idle_by FROM points.lot ORDER BY lot_seq") == [(None, 1), (None, 1)]
    ledger.close("2026-05-01")
    assert lapsed(ledger, "anna") == [(100, "2026-05-02", "2026-05-02"), (50, "2026-05-02", "2026-05-02")]
    assert ledger.balance("anna")[0] == 0


def test_a_redemption_is_an_activity_too(ledger):
    ledger.start(expiry=IDLE, guard=OFF).orders("A1,anna,2026-01-10 12:00,tea,100,1")
    ledger.redemptions("R1,anna,2026-03-10 23:00,30")
    ledger.close("2026-05-09")
    assert ledger.balance("anna")[0] == 70
    ledger.close("2026-05-10")
    assert lapsed(ledger, "anna") == [(70, "2026-05-11", "2026-05-11")]


def test_neither_a_return_nor_a_purchase_that_earns_nothing_is_an_activity(ledger):
    ledger.start(expiry=IDLE, guard=OFF).orders(
        "A1,anna,2026-01-10 12:00,tea,100,1", "A2,anna,2026-02-20 12:00,tea,-1,1", "A3,anna,2026-02-25 12:00,pin,1,0.40"
    )
    ledger.close("2026-03-10")
    assert lapsed(ledger, "anna") == [(99, "2026-03-11", "2026-03-11")]


def test_a_spend_after_the_last_day_is_refused_whether_or_not_a_night_has_run(ledger):
    ledger.start(expiry=IDLE, guard=OFF).orders("A1,anna,2026-01-10 12:00,tea,100,1")
    ledger.close("2026-02-28")
    assert refused(ledger, "anna", 1, "2026-03-11") == "PL006"
    spend(ledger, "anna", 1, "2026-03-10")
    spend(ledger, "anna", 1, "2026-03-11", "T2")  # the day before was an activity
    assert ledger.balance("anna")[0] == 98


def test_a_hold_of_idle_points_is_refused_after_their_last_day(ledger):
    ledger.start(expiry=IDLE, guard=OFF).orders("A1,anna,2026-01-10 12:00,tea,100,1")
    ledger.close("2026-02-28")
    with pytest.raises(DBAPIError, match=r"fewer than"):
        ledger.rows("SELECT points.hold('anna', 1, '2026-03-11', '2026-03-20', 'H')", login="api")
    assert ledger.one("SELECT points.available(1, '2026-03-10')") == 100
    assert ledger.one("SELECT points.available(1, '2026-03-11')") == 0


def test_a_late_order_counts_on_its_own_day_and_never_moves_the_clock_back(ledger):
    ledger.start(expiry=IDLE, guard=OFF).orders("A1,anna,2026-02-10 12:00,tea,100,1")
    ledger.close("2026-02-15")
    ledger.orders("A0,anna,2026-01-05 12:00,tea,10,1")
    ledger.close("2026-04-09")
    assert ledger.one("SELECT active_on FROM points.wallet") == dt.date(2026, 2, 10)
    assert ledger.balance("anna")[0] == 110
    ledger.close("2026-04-10")
    assert ledger.balance("anna")[0] == 0


def test_with_a_cap_points_lapse_at_the_earlier_of_both_days(ledger):
    ledger.start(expiry=IDLE | {"basis": "inactivity_with_cap", "cap_months": 3}, guard=OFF).orders(
        "A1,anna,2026-01-10 12:00,tea,100,1", "A2,anna,2026-03-01 12:00,tea,50,1", "A3,anna,2026-04-05 12:00,tea,7,1",
        "B1,bob,2026-01-10 12:00,tea,5,1",
    )  # fmt: skip
    ledger.close("2026-06-05")
    assert lapsed(ledger, "bob") == [(5, "2026-03-11", "2026-03-11")]
    assert lapsed(ledger, "anna") == [
        (100, "2026-04-11", "2026-04-11"), (50, "2026-06-02", "2026-06-02"), (7, "2026-06-06", "2026-06-06"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rounded", "last_day"), [("month", "2026-03-31"), ("quarter", "2026-03-31"), ("year", "2026-12-31")]
)
def test_the_last_day_is_rounded_up(ledger, rounded, last_day):
    ledger.start(expiry=IDLE | {"round_up_to": rounded}, guard=OFF).orders("A1,anna,2026-01-31 12:00,tea,100,1")
    ledger.close("2026-02-01")
    assert str(ledger.one("SELECT points.idle_through(active_on, 1) FROM points.wallet")) == last_day


def test_months_clamp_at_the_end_of_february(ledger):
    ledger.start(expiry=IDLE | {"months": 1}, guard=OFF).orders("A1,anna,2026-01-31 12:00,tea,100,1")
    ledger.close("2026-02-28")
    assert lapsed(ledger, "anna") == [(100, "2026-03-01", "2026-03-01")]


def test_points_keep_the_rule_they_were_earned_under(ledger):
    ledger.start(expiry={"basis": "fixed", "months": 3, "round_up_to": "day"}, guard=OFF)
    ledger.change("2026-02-01", expiry=IDLE, guard=OFF)
    ledger.orders("A1,anna,2026-01-10 12:00,tea,100,1", "A2,anna,2026-02-05 12:00,tea,50,1")
    ledger.close("2026-04-20")
    assert lapsed(ledger, "anna") == [(50, "2026-04-06", "2026-04-06"), (100, "2026-04-11", "2026-04-11")]


def test_a_gift_keeps_the_rule_and_starts_the_clock_of_its_taker(ledger):
    ledger.start(
        expiry=IDLE,
        guard=OFF,
        transfer={"enabled": True, "max_per_day": 1000, "max_per_month": 1000, "cooling_off_days": 0},
    )
    ledger.orders("A1,anna,2026-01-10 12:00,tea,100,1", "B1,bob,2026-01-11 12:00,pin,1,0.20")
    ledger.close("2026-02-01")
    ledger.bind("anna", "bob", day="2026-02-02")
    ledger.rows("SELECT points.transfer('anna', 'bob', 40, '2026-02-20', 'G1')", login="api")
    ledger.close("2026-04-20")
    assert lapsed(ledger, "anna") == [(60, "2026-03-11", "2026-03-11")]
    assert lapsed(ledger, "bob") == [(40, "2026-04-21", "2026-04-21")]


def test_a_redemption_cancelled_after_the_lapse_gives_the_points_thirty_days(ledger):
    ledger.start(expiry=IDLE, guard=OFF).orders("A1,anna,2026-01-10 12:00,tea,100,1")
    ledger.redemptions("R1,anna,2026-01-20 12:00,100")
    ledger.cancellations("R1,2026-04-01 12:00")
    ledger.close("2026-04-01")
    assert str(ledger.one("SELECT valid_through FROM points.lot WHERE is_open")) == "2026-05-01"


def test_the_books_can_be_rebuilt_and_explain_says_when(ledger):
    ledger.start(expiry=IDLE, guard=OFF).orders(
        "A1,anna,2026-01-10 12:00,tea,100,1", "A2,anna,2026-03-20 12:00,tea,50,1", "B1,bob,2026-03-01 12:00,tea,5,1"
    )
    ledger.redemptions("R1,anna,2026-03-25 12:00,10")
    ledger.close("2026-04-01")
    with ledger.engine("auditor").connect() as connection:
        assert list(verification.verify(connection)) == []
        lots = explain(connection, "anna", as_of=None, today=dt.date(2026, 4, 1)).lots
    assert [(lot.remaining, str(lot.valid_through), lot.by_inactivity) for lot in lots] == [
        (0, "2026-03-10", True), (40, "2026-05-25", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ("UPDATE points.wallet SET active_on = active_on + 1", "I1"),
        ("UPDATE points.lot SET idle_by = NULL", "I2"),
        ("UPDATE points.wallet SET active_on = active_on - 60", "I7"),
    ],
)
def test_verify_finds_an_activity_or_a_rule_that_was_changed_behind_the_ledgers_back(ledger, change, check):
    ledger.start(expiry=IDLE, guard=OFF).orders("A1,anna,2026-01-10 12:00,tea,100,1")
    ledger.close("2026-02-01")
    ledger.rows(change)
    with ledger.engine("auditor").connect() as connection:
        assert check in {finding.check for finding in verification.verify(connection)}


def test_a_spend_that_the_trigger_was_given_by_hand_is_refused_after_the_last_day(ledger):
    ledger.start(expiry=IDLE, guard=OFF).orders("A1,anna,2026-01-10 12:00,tea,100,1")
    ledger.close("2026-02-01")
    ledger.rows("SELECT points.open_day('2026-03-11')")
    by_hand = (
        "INSERT INTO points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq,"
        " lot_remaining_after, balance_after, debt_after, kind, source, source_ref) VALUES"
        " (1, 2, '2026-03-11', '{}', gen_random_uuid(), {}, 1, {}, {}, 0, '{}', 'x', 'x')"
    )
    for statement in (
        by_hand.format("2026-03-11", 1, 99, 99, "spend"),
        by_hand.format("2026-03-10", 100, 0, 0, "expire"),
    ):
        with pytest.raises(DBAPIError) as refusal:
            ledger.rows(statement, login="batch")
        assert refusal.value.orig.pgcode == "PL011"
    assert ledger.balance("anna")[0] == 100
