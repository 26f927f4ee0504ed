"""What a return takes back (design 7, Returns); each figure by hand."""

import datetime as dt

import pytest

from points_ledger import events

NEVER = {"basis": "none", "months": None}


def taken(ledger, member_no="m1"):
    """What was taken back, entry by entry: kind, points, lot."""
    return [
        tuple(row)
        for row in ledger.rows(
            "SELECT kind, points, lot_seq FROM points.entry JOIN points.member USING (member_id)"
            " WHERE member_no = :no AND kind IN ('claw_back', 'owe') ORDER BY seq",
            no=member_no,
        )
    ]


def test_a_partial_return_takes_the_floor_of_its_share(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,3,10", "A1,m1,2026-01-01 10:00,mug,1,0.50")
    ledger.orders("R1,m1,2026-01-02 10:00,tea,-1,10")
    ledger.close("2026-01-02")
    assert ledger.kinds("m1") == [("earn", 30), ("claw_back", 9)]  # floor(30 x 10 / 30.50) = 9
    assert ledger.balance("m1") == (21, 0)


def test_returns_in_steps_add_up_to_the_grant_whatever_the_rounding(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,3,10", "A1,m1,2026-01-01 10:00,mug,1,0.50")
    ledger.orders("B1,m2,2026-01-01 10:00,pin,7,0.49")  # 3.43: 3 points for seven pins
    for n in (1, 2, 3):
        ledger.orders(f"R{n},m1,2026-01-0{n + 1} 10:00,tea,-1,10")
    ledger.orders("R4,m1,2026-01-05 10:00,mug,-1,0.50")
    ledger.orders(*(f"S{n},m2,2026-01-0{n + 1} 10:00,pin,-1,0.49" for n in range(1, 8)))
    ledger.close("2026-01-08")
    # floor(300 / 30.5) = 9, floor(600 / 30.5) = 19, floor(900 / 30.5) = 29, all = 30
    assert [points for _, points, _ in taken(ledger)] == [9, 10, 10, 1]
    # floor(3 k / 7) for k = 1..7: 0 0 1 1 2 2 3
    assert [points for _, points, _ in taken(ledger, "m2")] == [1, 1, 1]
    assert (ledger.balance("m1"), ledger.balance("m2")) == ((0, 0), (0, 0))


def test_the_refund_counts_at_the_original_price_and_the_recorded_grant(ledger):
    ledger.start(earn={"rate": [{"points_per_unit": "2"}]})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,2,10.25", "R1,m1,2026-01-02 10:00,tea,-1,99")
    ledger.close("2026-01-02")
    assert ledger.kinds("m1") == [("earn", 41), ("claw_back", 20)]  # floor(41 x 10.25 / 20.50)
    assert ledger.rows("SELECT amount, points FROM points.returned_line") == [(10.25, 20)]


def test_a_capped_grant_is_taken_back_in_proportion(ledger):
    ledger.start(earn={"daily_cap": 50})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,3,33", "R1,m1,2026-01-02 10:00,tea,-1,33")
    ledger.orders("R2,m1,2026-01-03 10:00,tea,-2,33")
    ledger.close("2026-01-03")
    assert ledger.kinds("m1") == [("earn", 50), ("claw_back", 16), ("claw_back", 34)]  # floor(50 x 33 / 99) = 16


def test_an_unnamed_return_takes_the_latest_purchase_first(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,10", "A2,m1,2026-01-02 10:00,tea,1,20")
    ledger.orders("B1,m2,2026-01-01 10:00,tea,1,20", "B2,m2,2026-01-01 10:00,tea,1,10")  # the same time: order_no
    ledger.orders("C1,m3,2026-01-01 10:00,tea,1,10", "C1,m3,2026-01-01 10:00,tea,1,20")  # the same order: line_no
    ledger.orders("D1,m4,2026-01-03 09:00,tea,1,10", "D2,m4,2026-01-03 11:00,tea,1,20")  # D2 is after the return
    ledger.orders(*(f"R{m},m{m},2026-01-03 10:00,tea,-1,10" for m in (1, 2, 3, 4)))
    ledger.close("2026-01-03")
    assert taken(ledger, "m1") == [("claw_back", 20, 2)]
    assert taken(ledger, "m2") == [("claw_back", 10, 2)]
    assert taken(ledger, "m3") == [("claw_back", 20, 1)]
    assert taken(ledger, "m4") == [("claw_back", 10, 1)]


def test_an_unnamed_return_goes_on_to_earlier_purchases(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,5,10", "A2,m1,2026-01-02 10:00,tea,1,20")
    ledger.orders("R1,m1,2026-01-03 10:00,tea,-3,10")
    ledger.close("2026-01-03")
    assert taken(ledger) == [("claw_back", 20, 2), ("claw_back", 20, 1)]
    assert ledger.rows("SELECT order_no, line_no, quantity, amount, points FROM points.returned_line ORDER BY 1") == [
        ("A1", 1, 2, 20, 20),
        ("A2", 1, 1, 20, 20),
    ]


def test_a_named_return_takes_its_original_order_and_no_other(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,10", "A2,m1,2026-01-02 10:00,tea,1,20")
    ledger.orders("R1,m1,2026-01-03 10:00,tea,-1,20,A1", "R2,m1,2026-01-03 11:00,tea,-1,20,A1")
    ledger.orders("R3,m1,2026-01-03 12:00,mug,-1,20,A2", "R4,m1,2026-01-03 13:00,tea,-1,20,A7")
    ledger.close("2026-01-03")
    assert taken(ledger) == [("claw_back", 10, 1)]
    assert ledger.rows("SELECT reason, ref FROM points.finding ORDER BY ref") == [
        ("return_without_purchase", "R2/1"),
        ("return_without_purchase", "R3/1"),
        ("return_without_purchase", "R4/1"),
    ]


def test_a_return_never_takes_the_purchase_of_another_member(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,10", "B1,m2,2026-01-01 10:00,mug,1,5")
    ledger.orders("R1,m2,2026-01-02 10:00,tea,-1,10", "R2,m2,2026-01-02 10:00,tea,-1,10,A1")
    ledger.close("2026-01-02")
    assert (ledger.balance("m1"), ledger.balance("m2")) == ((10, 0), (5, 0))
    assert ledger.findings() == {"return_without_purchase": 2}


def test_the_same_sku_twice_in_one_order_is_returned_from_its_last_line(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,2,10", "A1,m1,2026-01-01 10:00,tea,2,20")
    ledger.orders("R1,m1,2026-01-02 10:00,tea,-3,20,A1")
    ledger.close("2026-01-02")
    assert taken(ledger) == [("claw_back", 40, 1), ("claw_back", 10, 1)]
    assert ledger.balance("m1") == (10, 0)
    [key] = ledger.rows("SELECT first_seq, last_seq FROM points.posting_key WHERE source = 'return'")
    assert key == (2, 3)  # one event, one key, one journal
    assert ledger.one("SELECT count(DISTINCT journal_id) FROM points.entry WHERE source = 'return'") == 1


def test_what_matches_no_purchase_is_a_finding_and_the_rest_is_taken(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,10", "R1,m1,2026-01-02 10:00,tea,-3,10")
    ledger.close("2026-01-02")
    assert ledger.kinds("m1") == [("earn", 10), ("claw_back", 10)]
    [finding] = ledger.rows("SELECT reason, ref, member_no, detail FROM points.finding")
    assert finding == (
        "return_without_purchase", "R1/1", "m1", {"sku": "tea", "quantity": 3, "unmatched": 2},
    )  # fmt: skip


def test_the_return_of_an_excluded_sku_takes_nothing(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,2,10", "A1,m1,2026-01-01 10:00,POST,1,5")
    ledger.orders("R1,m1,2026-01-02 10:00,POST,-1,5", "R2,m1,2026-01-03 10:00,tea,-1,10")
    ledger.close("2026-01-03")
    assert ledger.kinds("m1") == [("earn", 20), ("claw_back", 10)]  # of 20 eligible, not of 25
    assert ledger.findings() == {}


def test_an_exchange_in_one_order_is_a_purchase_and_a_return(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,10")
    ledger.orders("X1,m1,2026-01-02 10:00,tea,-1,10", "X1,m1,2026-01-02 10:00,mug,1,8")
    ledger.close("2026-01-02")
    assert ledger.kinds("m1") == [("earn", 10), ("earn", 8), ("claw_back", 10)]


def test_after_the_lot_expired_only_what_was_spent_of_it_is_taken_back(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,2,50")
    ledger.redemptions("P1,m1,2026-01-10 10:00,30")
    ledger.orders("R1,m1,2026-02-03 10:00,tea,-1,50", "R2,m1,2026-02-04 10:00,tea,-1,50")
    ledger.close("2026-02-04")
    # 50 is asked for, but only 100 - 70 expired = 30 are not lost already; the second return finds nothing more
    assert ledger.kinds("m1") == [("earn", 100), ("spend", 30), ("expire", 70), ("owe", 30)]
    assert ledger.balance("m1") == (0, 30)


def test_points_come_from_the_own_lot_then_from_others_in_spending_order_then_are_owed(ledger):
    ledger.start()
    ledger.orders(*(f"A{n},m1,2026-01-0{n} 10:00,sku{n},1,{points}" for n, points in ((1, 100), (2, 40), (3, 30))))
    ledger.redemptions("P1,m1,2026-01-04 10:00,110")  # all 100 of A1, 10 of A2
    ledger.orders("R2,m1,2026-01-05 10:00,sku2,-1,40", "R1,m1,2026-01-06 10:00,sku1,-1,100")
    ledger.close("2026-01-06")
    assert taken(ledger) == [("claw_back", 30, 2), ("claw_back", 10, 3), ("claw_back", 20, 3), ("owe", 80, None)]
    assert ledger.balance("m1") == (0, 80)


def test_other_lots_are_taken_only_while_they_are_usable_that_day(ledger):
    ledger.start(expiry=NEVER)
    ledger.change("2026-01-03", earn={"usable_after_days": 10}, expiry=NEVER)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,50", "A2,m1,2026-01-03 10:00,mug,1,40")
    ledger.redemptions("P1,m1,2026-01-02 10:00,50")
    ledger.orders("R1,m1,2026-01-04 10:00,tea,-1,50")
    ledger.close("2026-01-04")
    assert taken(ledger) == [("owe", 50, None)]  # the 40 of A2 are pending
    assert ledger.balance("m1") == (40, 50)


def test_the_policy_only_pending_takes_points_while_they_are_pending_and_nothing_else(ledger):
    ledger.start(earn={"usable_after_days": 10}, expiry=NEVER, refund={"policy": "only_pending"})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,2,50", "A2,m1,2026-01-02 10:00,mug,1,7")
    ledger.orders("R1,m1,2026-01-10 10:00,tea,-1,50", "R2,m1,2026-01-11 10:00,tea,-1,50")
    ledger.close("2026-01-11")
    assert ledger.kinds("m1") == [("earn", 100), ("earn", 7), ("claw_back", 50)]
    assert ledger.balance("m1") == (57, 0)
    assert ledger.rows("SELECT return_order_no, points FROM points.returned_line ORDER BY 1") == [("R1", 50), ("R2", 0)]


def test_the_policy_within_balance_takes_what_is_there_and_forgives_the_rest(ledger):
    ledger.start(refund={"policy": "within_balance"})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-02 10:00,mug,1,15")
    ledger.redemptions("P1,m1,2026-01-03 10:00,90")
    ledger.orders("R1,m1,2026-01-04 10:00,tea,-1,100", "A3,m1,2026-01-05 10:00,mug,1,5")
    ledger.close("2026-01-05")
    assert taken(ledger) == [("claw_back", 10, 1), ("claw_back", 15, 2)]
    assert ledger.balance("m1") == (5, 0)


@pytest.mark.parametrize("policy", ["only_pending", "within_balance", "debt"])
def test_the_policy_of_a_refund_is_the_one_its_order_was_judged_by(ledger, policy):
    others = {"only_pending": "debt", "within_balance": "debt", "debt": "within_balance"}
    ledger.start(refund={"policy": policy})
    ledger.change("2026-01-03", refund={"policy": others[policy]})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,60")
    ledger.orders("R1,m1,2026-01-04 10:00,tea,-1,100")
    ledger.close("2026-01-04")
    expected = {"only_pending": (40, 0), "within_balance": (0, 0), "debt": (0, 60)}
    assert ledger.balance("m1") == expected[policy]


def test_debt_is_repaid_at_once_from_the_next_lots_which_are_opened_whole(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,80")
    ledger.orders("R1,m1,2026-01-03 10:00,tea,-1,100")
    ledger.orders(
        "A2,m1,2026-01-04 10:00,mug,1,30",
        "A3,m1,2026-01-04 11:00,mug,1,70",
        "A4,m1,2026-01-04 12:00,mug,1,5",
    )
    ledger.close("2026-01-04")
    assert ledger.rows(
        "SELECT kind, points, lot_seq, lot_remaining_after, balance_after, debt_after FROM points.entry WHERE seq > 2 ORDER BY seq"
    ) == [
        ("claw_back", 20, 1, 0, 0, 0),
        ("owe", 80, None, None, 0, 80),
        ("earn", 30, 5, 30, 30, 80),
        ("repay", 30, 5, 0, 0, 50),
        ("earn", 70, 7, 70, 70, 50),
        ("repay", 50, 7, 20, 20, 0),
        ("earn", 5, 9, 5, 25, 0),
    ]
    assert ledger.lots("m1")[1:] == [(30, 0, "2026-02-04"), (70, 20, "2026-02-04"), (5, 5, "2026-02-04")]


def test_returning_an_order_that_repaid_debt_brings_the_debt_back(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,100")
    ledger.orders("R1,m1,2026-01-03 10:00,tea,-1,100", "A2,m1,2026-01-04 10:00,mug,1,30")
    ledger.orders("R2,m1,2026-01-05 10:00,mug,-1,30")
    ledger.close("2026-01-05")
    assert ledger.kinds("m1")[2:] == [("owe", 100), ("earn", 30), ("repay", 30), ("owe", 30)]
    assert ledger.balance("m1") == (0, 100)


def test_points_of_a_cancelled_redemption_do_not_repay_debt(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,80")
    ledger.orders("R1,m1,2026-01-03 10:00,tea,-1,100")
    ledger.cancellations("P1,2026-01-04 10:00")
    ledger.close("2026-01-04")
    assert ledger.kinds("m1") == [("earn", 100), ("spend", 80), ("claw_back", 20), ("owe", 80), ("spend_reversal", 80)]
    assert ledger.balance("m1") == (80, 80)


def test_held_points_of_the_own_lot_are_not_taken_back(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    ledger.rows("SELECT points.hold('m1', 70, '2026-01-02', '2026-01-20', 'H1')", login="api")
    ledger.orders("R1,m1,2026-01-02 10:00,tea,-1,100")
    ledger.close("2026-01-02")
    assert taken(ledger) == [("claw_back", 30, 1), ("owe", 70, None)]
    assert ledger.balance("m1") == (70, 70)


def test_a_late_return_is_booked_on_the_open_day_and_leaves_what_expired(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-20 10:00,mug,1,60")
    ledger.redemptions("P1,m1,2026-01-21 10:00,40")
    ledger.close("2026-02-09")
    ledger.orders("R1,m1,2026-01-25 10:00,tea,-1,100")
    ledger.close("2026-02-10")
    assert ledger.rows("SELECT kind, points, lot_seq, effective_on, book_date FROM points.entry WHERE seq > 3") == [
        ("expire", 60, 1, dt.date(2026, 2, 2), dt.date(2026, 2, 2)),
        ("claw_back", 40, 2, dt.date(2026, 1, 25), dt.date(2026, 2, 10)),
    ]


def test_a_return_that_comes_before_its_purchase_waits_for_the_close(ledger):
    ledger.start()
    ledger.orders("B1,m1,2026-01-01 08:00,pen,1,3", "R1,m1,2026-01-01 12:00,tea,-1,10")
    events.post(ledger.engine(), through=dt.date(2026, 1, 1), run_id=None, final=False)
    assert ledger.kinds("m1") == [("earn", 3)]
    assert ledger.findings() == {}

    ledger.orders("A1,m1,2026-01-01 09:00,tea,1,10")
    ledger.close("2026-01-01")
    assert ledger.kinds("m1") == [("earn", 3), ("earn", 10), ("claw_back", 10)]
    assert ledger.findings() == {}
