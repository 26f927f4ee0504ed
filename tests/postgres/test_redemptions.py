"""Redemptions and their cancellations (design 5.4 and 7): which lots pay, and where points come back to."""

import datetime as dt

import pytest

from points_ledger import errors

NEVER = {"basis": "none", "months": None}
FIFTH = {"basis": "calendar", "months": None, "month_day": "01-05"}  # whatever is bought lapses on 5 January
TENTH = FIFTH | {"month_day": "01-10"}


def moves(ledger, member_no="m1"):
    """Spends and their reversals: kind, points, lot."""
    return [
        tuple(row)
        for row in ledger.rows(
            "SELECT kind, points, lot_seq FROM points.entry JOIN points.member USING (member_id)"
            " WHERE member_no = :no AND kind IN ('spend', 'spend_reversal') ORDER BY seq",
            no=member_no,
        )
    ]


def test_a_redemption_on_the_last_valid_day_succeeds_and_on_the_next_day_not(ledger):
    ledger.start(expiry=FIFTH)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m2,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-05 23:59:59.9,60", "P2,m2,2026-01-06 00:00,60")
    ledger.close("2026-01-06")
    assert ledger.kinds("m1") == [("earn", 100), ("spend", 60), ("expire", 40)]
    assert ledger.kinds("m2") == [("earn", 100), ("expire", 100)]
    assert ledger.rows("SELECT ref, reason FROM points.finding") == [("P2", "insufficient_points")]


def test_lapsed_points_cannot_be_spent_although_no_night_has_run(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    spend = "SELECT balance FROM points.spend('m1', 60, CAST(:day AS date), 'till', :ref)"
    with pytest.raises(errors.InsufficientPoints), errors.translated():
        ledger.rows(spend, login="api", day="2026-02-02", ref="late")
    with pytest.raises(errors.InsufficientPoints), errors.translated():
        ledger.rows(spend, login="api", day="2025-12-31", ref="early")
    assert ledger.one(spend, login="api", day="2026-02-01", ref="in time") == 40


def test_lots_pay_in_the_order_of_their_last_day_then_of_their_number(ledger):
    ledger.start(expiry=NEVER)
    ledger.change("2026-01-03", expiry={"months": 2})
    ledger.change("2026-01-05", expiry={"months": 1})
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,10",  # never
        "A2,m1,2026-01-03 10:00,tea,1,20",  # through 3 March
        "A3,m1,2026-01-05 10:00,tea,1,30",  # through 5 February
        "A4,m1,2026-01-05 11:00,tea,1,40",  # through 5 February
    )
    ledger.redemptions("P1,m1,2026-01-06 10:00,50", "P2,m1,2026-01-06 11:00,45")
    ledger.close("2026-01-06")
    assert moves(ledger) == [("spend", 30, 3), ("spend", 20, 4), ("spend", 20, 4), ("spend", 20, 2), ("spend", 5, 1)]


def test_redemptions_of_a_day_go_by_their_time_and_the_one_that_is_too_large_is_a_finding(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 12:00,50", "P3,m1,2026-01-02 10:00,60", "P2,m1,2026-01-02 12:00,40")
    ledger.close("2026-01-02")
    assert moves(ledger) == [("spend", 60, 1), ("spend", 40, 1)]  # P1 is refused whole, P2 of the same minute fits
    [finding] = ledger.rows("SELECT ref, reason, member_no, detail FROM points.finding")
    assert finding == ("P1", "insufficient_points", "m1", {"points": 50, "available": 40})


def test_a_day_posts_purchases_then_returns_then_redemptions(ledger):
    ledger.start()
    ledger.redemptions("P1,m1,2026-01-02 08:00,70", "P2,m2,2026-01-02 08:00,70")
    ledger.orders(
        "A1,m1,2026-01-02 20:00,tea,1,70", "B1,m2,2026-01-02 07:00,tea,1,70", "B2,m2,2026-01-02 21:00,tea,-1,70"
    )
    ledger.close("2026-01-02")
    assert ledger.kinds("m1") == [("earn", 70), ("spend", 70)]
    assert ledger.kinds("m2") == [("earn", 70), ("claw_back", 70)]
    assert ledger.rows("SELECT ref FROM points.finding") == [("P2",)]


def test_points_of_a_cancelled_redemption_can_be_redeemed_on_the_same_day(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,100", "P2,m1,2026-01-03 09:00,100")
    ledger.cancellations("P1,2026-01-03 18:00")
    ledger.close("2026-01-03")
    assert ledger.kinds("m1") == [("earn", 100), ("spend", 100), ("spend_reversal", 100), ("spend", 100)]


def test_cancelled_points_return_to_their_lots_last_taken_first_with_their_own_validity(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-02 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-03 10:00,150")
    ledger.cancellations("P1,2026-01-05 10:00")
    ledger.close("2026-01-05")
    assert moves(ledger) == [
        ("spend", 100, 1), ("spend", 50, 2), ("spend_reversal", 50, 2), ("spend_reversal", 100, 1),
    ]  # fmt: skip
    assert ledger.rows("SELECT reversal_of FROM points.entry WHERE seq > 4 ORDER BY seq") == [(4,), (3,)]
    assert ledger.lots("m1") == [(100, 100, "2026-02-01"), (100, 100, "2026-02-02")]


def test_a_lot_that_has_lapsed_is_not_revived_but_replaced_for_thirty_days(ledger):
    ledger.start(expiry=FIFTH)
    ledger.change("2026-01-02", expiry=TENTH)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-02 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-04 10:00,150")
    ledger.cancellations("P1,2026-01-07 10:00")
    ledger.close("2026-01-07")
    # A2 (through 10 January) gets its 50 back; the 100 of A1 (lapsed on 5 January) get a lot through 7 Jan + 30
    assert moves(ledger)[2:] == [("spend_reversal", 50, 2), ("spend_reversal", 100, 6)]
    assert ledger.lots("m1") == [(100, 0, "2026-01-05"), (100, 100, "2026-01-10"), (100, 100, "2026-02-06")]
    ledger.close("2026-02-06")
    assert ledger.kinds("m1")[-2:] == [("expire", 100), ("expire", 100)]
    assert ledger.rows("SELECT book_date, lot_seq FROM points.entry WHERE kind = 'expire' ORDER BY seq") == [
        (dt.date(2026, 1, 11), 2),
        (dt.date(2026, 2, 7), 6),
    ]


def test_a_lot_is_alive_on_its_last_day_for_a_cancellation_too(ledger):
    ledger.start(expiry=FIFTH)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-04 10:00,60")
    ledger.cancellations("P1,2026-01-05 23:59")
    ledger.close("2026-01-05")
    assert ledger.lots("m1") == [(100, 0, "2026-01-05")]
    assert ledger.kinds("m1") == [("earn", 100), ("spend", 60), ("spend_reversal", 60), ("expire", 100)]


@pytest.mark.parametrize("redeemed", [60, 100])
def test_a_late_cancellation_of_a_lot_that_has_lapsed_meanwhile_opens_a_new_one(ledger, redeemed):
    ledger.start(expiry=FIFTH)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions(f"P1,m1,2026-01-02 10:00,{redeemed}")
    ledger.close("2026-01-08")  # what was left of the lot has expired
    ledger.cancellations("P1,2026-01-04 10:00")
    ledger.close("2026-01-09")
    # cancelled while the lot was alive, heard of when it was not: through 4 January + 30
    assert ledger.lots("m1") == [(100, 0, "2026-01-05"), (redeemed, redeemed, "2026-02-03")]
    ledger.close("2026-02-03")
    assert ledger.balance("m1") == (0, 0)
    assert ledger.one("SELECT count(*) FROM points.entry WHERE kind = 'expire' AND lot_seq = 1") == (redeemed < 100)


def test_a_redemption_is_cancelled_once_however_often_that_is_said(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,60")
    ledger.cancellations("P1,2026-01-03 10:00")
    ledger.cancellations("P1,2026-01-03 10:00")
    ledger.close("2026-01-03")
    again = ledger.cancellations("P1,2026-01-04 10:00")
    assert (again.rows("rejected"), again.rows("accepted")) == (1, 0)
    ledger.close("2026-01-04")
    assert ledger.kinds("m1") == [("earn", 100), ("spend", 60), ("spend_reversal", 60)]
    assert ledger.findings() == {"cancellation_changed": 1}


def test_the_cancellation_of_what_was_never_redeemed_is_a_finding(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,101", "P2,nobody,2026-01-02 10:00,5")
    ledger.cancellations("P1,2026-01-03 10:00", "P2,2026-01-03 10:00", "P3,2026-01-03 10:00")
    ledger.close("2026-01-03")
    assert ledger.rows("SELECT reason, ref FROM points.finding ORDER BY reason, ref") == [
        ("insufficient_points", "P1"),
        ("unknown_member", "P2"),
        ("unknown_redemption", "P1"),
        ("unknown_redemption", "P2"),
        ("unknown_redemption", "P3"),
    ]
    assert ledger.kinds("m1") == [("earn", 100)]
    assert ledger.rows("SELECT state FROM points.redemption") == [("refused",), ("refused",)]


def test_a_redemption_before_the_member_joined_is_of_an_unknown_member(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-05 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-04 10:00,5", "P2,m1,2026-01-05 09:00,5")
    ledger.take("members", "member_no,joined_on", "m2,2026-01-06")  # has a wallet from now on
    ledger.redemptions("P3,m2,2026-01-05 10:00,5", "P4,m2,2026-01-06 10:00,5")
    ledger.close("2026-01-06")
    assert ledger.rows("SELECT reason, ref FROM points.finding ORDER BY ref") == [
        ("unknown_member", "P1"),
        ("unknown_member", "P3"),
        ("insufficient_points", "P4"),
    ]
    assert ledger.balance("m1") == (95, 0)


def test_a_late_redemption_takes_what_was_usable_on_its_day_and_is_still_there(ledger):
    ledger.start(expiry=FIFTH)
    ledger.change("2026-01-02", expiry=TENTH)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-02 10:00,tea,1,50")
    ledger.close("2026-01-07")
    ledger.redemptions("P1,m1,2026-01-04 10:00,60", "P2,m1,2026-01-04 11:00,50")
    ledger.close("2026-01-08")
    assert ledger.rows("SELECT ref, reason FROM points.finding") == [("P1", "insufficient_points")]
    assert ledger.rows("SELECT points, lot_seq, effective_on, book_date FROM points.entry WHERE kind = 'spend'") == [
        (50, 2, dt.date(2026, 1, 4), dt.date(2026, 1, 8))
    ]
