"""The verbs a till calls, and the two that need a second person: exactly once, all or nothing (design 5.3)."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter

import pytest
from sqlalchemy import text

from points_ledger import errors

LAPSES_SOON = {"basis": "calendar", "months": None, "month_day": "01-05"}  # points of 1 to 5 January
NEVER = {"basis": "none", "months": None}


def call(ledger, verb, login="api"):
    """One call in a transaction of its own: its row as a tuple; a refusal by its name."""
    with errors.translated():
        [row] = ledger.rows(f"SELECT * FROM points.{verb}".replace(":", "\\:"), login=login)
    return tuple(row)


def refused(ledger, error, verb, login="api"):
    """The call is refused, and the books are as they were."""
    state = "SELECT member_id, balance, held, debt, seq FROM points.wallet ORDER BY 1"
    before = ledger.rows(state), ledger.one("SELECT count(*) FROM points.entry")
    with pytest.raises(error):
        call(ledger, verb, login)
    assert (ledger.rows(state), ledger.one("SELECT count(*) FROM points.entry")) == before


def member_id(ledger, member_no):
    return ledger.one("SELECT member_id FROM points.member WHERE member_no = :no", no=member_no)


@pytest.fixture
def shop(ledger):
    """m1 has 100 points through 3 March, 50 through 1 February and 25 that never lapse; m2 has none. 4 January is open."""
    ledger.start()
    ledger.change("2026-01-02", expiry=NEVER)
    ledger.change("2026-01-03", expiry={"months": 2})
    ledger.members("m2")
    ledger.orders(
        "A1,m1,2026-01-03 10:00,tea,1,100", "A2,m1,2026-01-01 10:00,tea,1,50", "A3,m1,2026-01-02 10:00,tea,1,25"
    )
    ledger.close("2026-01-03")
    assert ledger.lots("m1") == [(50, 50, "2026-02-01"), (25, 25, None), (100, 100, "2026-03-03")]
    ledger.bind("m1", "m2")
    ledger.bind("m2", "m1")
    return ledger


# spend ----------------------------------------------------------------------------------------------------------------


def test_a_spend_called_again_answers_what_it_answered_first(shop):
    first = call(shop, "spend('m1', 60, '2026-01-04', 'till', 'T1')")
    call(shop, "spend('m1', 10, '2026-01-04', 'till', 'T2')")
    shop.close("2026-01-05")
    assert call(shop, "spend('m1', 60, '2026-01-04', 'till', 'T1')") == first
    assert [str(value) for value in first[1:]] == ["2026-01-04", "60", "115", "0"]
    assert shop.kinds("m1")[3:] == [("spend", 50), ("spend", 10), ("spend", 10)]


@pytest.mark.parametrize(
    ("error", "verb"),
    [
        (errors.OtherContent, "spend('m1', 61, '2026-01-04', 'till', 'T1')"),
        (errors.OtherContent, "spend('m1', 60, '2026-01-05', 'till', 'T1')"),
        (errors.InsufficientPoints, "spend('m1', 116, '2026-01-04', 'till', 'T2')"),
        (errors.InsufficientPoints, "spend('m2', 1, '2026-01-04', 'till', 'T2')"),
        (errors.InsufficientPoints, "spend('m1', 9223372036854775807, '2026-01-04', 'till', 'T2')"),
        (errors.UnknownMember, "spend('m3', 1, '2026-01-04', 'till', 'T2')"),
        (errors.UnknownMember, "spend(NULL, 1, '2026-01-04', 'till', 'T2')"),
        (errors.InvalidRequest, "spend('m1', 0, '2026-01-04', 'till', 'T2')"),
        (errors.InvalidRequest, "spend('m1', -5, '2026-01-04', 'till', 'T2')"),
        (errors.InvalidRequest, "spend('m1', NULL, '2026-01-04', 'till', 'T2')"),
        (errors.DayNotOpen, "spend('m1', 1, '2029-01-04', 'till', 'T2')"),
        # transfer
        (errors.InsufficientPoints, "transfer('m1', 'm2', 116, '2026-01-04', 'G1')"),
        (errors.InvalidRequest, "transfer('m1', 'm1', 5, '2026-01-04', 'G1')"),
        (errors.InvalidRequest, "transfer('m1', 'm2', 0, '2026-01-04', 'G1')"),
        (errors.UnknownMember, "transfer('m1', 'm3', 5, '2026-01-04', 'G1')"),
        (errors.UnknownMember, "transfer('m3', 'm1', 5, '2026-01-04', 'G1')"),
        # hold, capture, release
        (errors.InsufficientPoints, "hold('m1', 116, '2026-01-04', '2026-01-09', 'H1')"),
        (errors.InvalidRequest, "hold('m1', 0, '2026-01-04', '2026-01-09', 'H1')"),
        (errors.UnknownMember, "hold('m3', 1, '2026-01-04', '2026-01-09', 'H1')"),
        (errors.UnknownEvent, "capture('m1', 'H1', 5, '2026-01-04')"),
        (errors.UnknownEvent, "release('m1', 'H1', '2026-01-04')"),
    ],
)  # fmt: skip
def test_a_call_that_cannot_be_honoured_is_refused_by_name_and_moves_nothing(spent, error, verb):
    refused(spent, error, verb)


@pytest.fixture(scope="module")
def spent(clone):
    """m1 has 115 of 175 points left; nothing of this ledger moves any more."""
    ledger = clone().start(expiry=NEVER)
    ledger.members("m2")
    ledger.orders("A1,m1,2026-01-03 10:00,tea,1,175")
    ledger.close("2026-01-03")
    ledger.bind("m1", "m2")
    call(ledger, "spend('m1', 60, '2026-01-04', 'till', 'T1')")
    return ledger


def test_a_spend_of_a_closed_day_is_booked_on_the_open_one_with_its_own_day(shop):
    call(shop, "spend('m1', 45, '2026-01-03', 'till', 'T1')")
    assert [tuple(map(str, row)) for row in shop.rows(
        "SELECT points, book_date, effective_on FROM points.entry WHERE kind = 'spend'"
    )] == [("45", "2026-01-04", "2026-01-03")]  # fmt: skip


def test_a_till_cannot_take_the_name_of_an_event_of_a_feed(shop):
    for source in ("order", "return", "redemption", "cancellation", "expiry", "transfer", "capture", "adjustment"):
        refused(shop, errors.InvalidRequest, f"spend('m1', 5, '2026-01-04', '{source}', 'A4')")
    shop.orders("A4,m1,2026-01-04 10:00,tea,1,7")  # or one till would stop the night for everybody
    shop.close("2026-01-04")
    assert shop.kinds("m1")[3:] == [("earn", 7)]


# transfer -------------------------------------------------------------------------------------------------------------


def test_a_gift_keeps_the_validity_of_each_lot_in_one_journal_on_both_sides(shop):
    answer = call(shop, "transfer('m1', 'm2', 160, '2026-01-04', 'G1', 'for you')")
    assert shop.lots("m1") == [(50, 0, "2026-02-01"), (25, 15, None), (100, 0, "2026-03-03")]
    assert shop.lots("m2") == [(50, 50, "2026-02-01"), (100, 100, "2026-03-03"), (10, 10, None)]
    rows = shop.rows("SELECT DISTINCT journal_id, reason FROM points.entry WHERE source = 'transfer'")
    assert [tuple(row) for row in rows] == [(answer[0], "for you")]
    assert (shop.balance("m1"), shop.balance("m2")) == ((15, 0), (160, 0))
    assert shop.one("SELECT sum(sign * points) FROM points.entry WHERE source = 'transfer'") == 0

    assert call(shop, "transfer('m1', 'm2', 160, '2026-01-04', 'G1')") == answer
    refused(shop, errors.OtherContent, "transfer('m1', 'm2', 16, '2026-01-04', 'G1')")
    shop.members("m3")
    refused(shop, errors.OtherContent, "transfer('m1', 'm3', 160, '2026-01-04', 'G1')")
    assert call(shop, "transfer('m2', 'm1', 160, '2026-01-04', 'G1')")[2:] == (
        160,
        0,
        0,
    )  # the same reference of another


def test_a_gift_locks_the_lower_member_first_so_that_opposite_ones_cannot_wait_for_each_other(shop):
    call(shop, "transfer('m1', 'm2', 80, '2026-01-04', 'G1')")
    (low, low_id), (high, high_id) = sorted(
        (("m1", member_id(shop, "m1")), ("m2", member_id(shop, "m2"))), key=itemgetter(1)
    )
    lock = "SELECT FROM points.wallet WHERE member_id = {} FOR NO KEY UPDATE NOWAIT"
    with ThreadPoolExecutor(1) as pool, shop.engine("admin").connect() as other, other.begin():
        other.execute(text(lock.format(low_id)))
        gift = pool.submit(call, shop, f"transfer('{high}', '{low}', 5, '2026-01-04', 'G2')")
        for _ in range(200):
            if shop.one(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ):
                break
            time.sleep(0.05)
        other.execute(text(lock.format(high_id)))  # the gift waits for the lower one and holds nothing yet
        other.rollback()
        assert gift.result(timeout=30)[2] == 5


# hold, capture, release -------------------------------------------------------------------------------------------------


def held_lots(ledger):
    return [tuple(row) for row in ledger.rows("SELECT lot_seq, remaining, held FROM points.lot ORDER BY lot_seq")]


def test_a_hold_pins_lots_in_spending_order_and_a_capture_lets_go_what_it_does_not_take(shop):
    hold = "hold('m1', 120, '2026-01-04', '2026-01-20', 'H1')"
    assert call(shop, hold) == call(shop, hold) == (120,)
    assert held_lots(shop) == [(1, 50, 50), (2, 25, 0), (3, 100, 70)]
    refused(shop, errors.OtherContent, "hold('m1', 121, '2026-01-04', '2026-01-20', 'H1')")
    refused(shop, errors.OtherContent, "hold('m1', 120, '2026-01-04', '2026-01-21', 'H1')")
    refused(shop, errors.InsufficientPoints, "hold('m1', 56, '2026-01-04', '2026-01-20', 'H2')")
    refused(shop, errors.InsufficientPoints, "spend('m1', 56, '2026-01-04', 'till', 'T1')")
    refused(shop, errors.InsufficientPoints, "transfer('m1', 'm2', 56, '2026-01-04', 'G1')")
    assert call(shop, "spend('m1', 55, '2026-01-04', 'till', 'T2')")[3] == 120
    assert held_lots(shop) == [(1, 50, 50), (2, 0, 0), (3, 70, 70)]

    refused(shop, errors.InsufficientPoints, "capture('m1', 'H1', 121, '2026-01-05')")
    refused(shop, errors.InvalidRequest, "capture('m1', 'H1', 0, '2026-01-05')")
    answer = call(shop, "capture('m1', 'H1', 80, '2026-01-05')")
    assert answer[2:] == (80, 40, 0)
    assert held_lots(shop) == [(1, 0, 0), (2, 0, 0), (3, 40, 0)]
    assert shop.one("SELECT held FROM points.wallet WHERE member_id = :id", id=member_id(shop, "m1")) == 0
    assert call(shop, "capture('m1', 'H1', 80, '2026-01-05')") == answer
    refused(shop, errors.OtherContent, "capture('m1', 'H1', 81, '2026-01-05')")
    refused(shop, errors.AlreadyEnded, "release('m1', 'H1', '2026-01-05')")
    assert shop.rows("SELECT outcome, points FROM points.hold_end") == [("captured", 80)]


def test_a_hold_that_was_let_go_can_neither_be_captured_nor_let_go_again(shop):
    call(shop, "hold('m1', 120, '2026-01-04', '2026-01-20', 'H1')")
    call(shop, "release('m1', 'H1', '2026-01-04')")
    assert held_lots(shop) == [(1, 50, 0), (2, 25, 0), (3, 100, 0)]
    refused(shop, errors.AlreadyEnded, "capture('m1', 'H1', 5, '2026-01-04')")
    refused(shop, errors.AlreadyEnded, "release('m1', 'H1', '2026-01-04')")
    assert call(shop, "spend('m1', 175, '2026-01-04', 'till', 'T1')")[3] == 0


def test_a_lapsed_hold_is_let_go_by_the_night_and_its_lapsed_lot_expires_once(ledger):
    ledger.start(expiry=LAPSES_SOON)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    call(ledger, "hold('m1', 60, '2026-01-02', '2026-01-08', 'H1')")
    ledger.close("2026-01-07")
    assert (ledger.lots("m1"), held_lots(ledger)) == ([(100, 100, "2026-01-05")], [(1, 100, 60)])
    ledger.close("2026-01-09")
    assert ledger.kinds("m1") == [("earn", 100), ("expire", 100)]
    assert [tuple(map(str, row)) for row in ledger.rows(
        "SELECT book_date, effective_on FROM points.entry WHERE kind = 'expire'"
    )] == [("2026-01-09", "2026-01-06")]  # fmt: skip
    assert ledger.rows("SELECT outcome FROM points.hold_end") == [("lapsed",)]
    refused(ledger, errors.AlreadyEnded, "capture('m1', 'H1', 60, '2026-01-10')")


@pytest.mark.parametrize("verb", ["release('m1', 'H1', '2026-01-06')", "capture('m1', 'H1', 20, '2026-01-06')"])
def test_a_hold_that_ended_on_a_closed_day_does_not_stop_the_night(ledger, verb):
    ledger.start(expiry=LAPSES_SOON)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    call(ledger, "hold('m1', 60, '2026-01-02', '2026-01-30', 'H1')")
    ledger.close("2026-01-07")
    call(ledger, verb)  # the till was offline for two days
    ledger.close("2026-01-08")
    assert ledger.kinds("m1")[-1] == ("expire", 80 if "capture" in verb else 100)
    assert ledger.balance("m1") == (0, 0)


# reverse_spend ------------------------------------------------------------------------------------------------------------


def test_a_spend_is_reversed_once_by_whatever_name(shop):
    call(shop, "spend('m1', 60, '2026-01-04', 'till', 'T1')")
    m1 = member_id(shop, "m1")
    reversal = f"reverse_spend({m1}, 'till', 'T1', '2026-01-05', 'till-cancel', 'T1')"
    answer = call(shop, reversal, "admin")
    assert answer[2:] == (60, 175, 0)
    assert call(shop, reversal, "admin") == answer
    assert shop.lots("m1") == [(50, 50, "2026-02-01"), (25, 25, None), (100, 100, "2026-03-03")]
    for error, verb in (
        (errors.OtherContent, reversal.replace("01-05", "01-06")),
        (errors.AlreadyEnded, reversal.replace("'till-cancel'", "'app-cancel'")),
        (errors.UnknownEvent, reversal.replace("'T1'", "'T2'")),
        (errors.UnknownEvent, reversal.replace("'till', 'T1'", "'order', 'A1'").replace("cancel'", "cancel2'")),
        (errors.UnknownMember, reversal.replace(f"({m1}", "(4711")),
    ):
        refused(shop, error, verb, "admin")


# adjust, reinstate -----------------------------------------------------------------------------------------------------------


def approved(ledger, what, **payload):
    """Propose by the flows' login, approve by the second person; the approval's number."""
    with errors.translated():
        approval = ledger.one(
            "SELECT points.propose(:what, CAST(:payload AS jsonb), 'a reason of ten letters')",
            login="batch", what=what, payload=json.dumps(payload),
        )  # fmt: skip
        ledger.rows("SELECT points.approve(:id)", login="approver", id=approval)
    return approval


def test_an_adjustment_posts_what_was_approved_to_the_letter(shop):
    up = approved(shop, "adjustment", member_no="m1", points=40, valid_through="2026-01-31")
    down = approved(shop, "adjustment", member_no="m1", points=-60, valid_through=None)
    assert call(shop, f"adjust({up}, '2026-01-04')", "batch")[2:] == (40, 215, 0)
    assert call(shop, f"adjust({down}, '2026-01-04')", "batch")[2:] == (60, 155, 0)
    assert shop.lots("m1")[3] == (40, 0, "2026-01-31")  # the first to lapse, so the first to be taken
    assert shop.kinds("m1")[3:] == [("adjust_up", 40), ("adjust_down", 40), ("adjust_down", 20)]
    for error, payload in (
        (errors.InsufficientPoints, {"member_no": "m1", "points": -156}),
        (errors.InvalidRequest, {"member_no": "m1", "points": 0}),
        (errors.UnknownMember, {"member_no": "m9", "points": 5}),
    ):
        refused(shop, error, f"adjust({approved(shop, 'adjustment', **payload)}, '2026-01-04')", "batch")


def test_lapsed_points_come_back_once_and_only_with_a_second_person(ledger):
    ledger.start(expiry=LAPSES_SOON)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,30")
    ledger.close("2026-01-06")
    payload = {"member_no": "m1", "expired_seq": 3, "valid_through": "2026-02-06"}
    waiting = ledger.one(
        "SELECT points.propose('reinstatement', CAST(:payload AS jsonb), 'a reason of ten letters')",
        login="batch", payload=json.dumps(payload),
    )  # fmt: skip
    refused(ledger, errors.WaitsForApproval, f"reinstate({waiting}, '2026-01-07')", "batch")

    approval = approved(ledger, "reinstatement", **payload)
    answer = call(ledger, f"reinstate({approval}, '2026-01-07')", "batch")
    assert answer[2:] == (70, 70, 0)
    assert call(ledger, f"reinstate({approval}, '2026-01-08')", "batch") == answer
    assert ledger.lots("m1") == [(100, 0, "2026-01-05"), (70, 70, "2026-02-06")]
    [entry] = ledger.rows("SELECT kind, reversal_of, approval_id FROM points.entry WHERE seq = 4")
    assert entry == ("reinstate", 3, approval)

    ledger.rows("SELECT points.approve(:id)", login="approver", id=waiting)
    refused(ledger, errors.AlreadyEnded, f"reinstate({waiting}, '2026-01-07')", "batch")
    not_expired = approved(ledger, "reinstatement", member_no="m1", expired_seq=2, valid_through="2026-02-06")
    refused(ledger, errors.UnknownEvent, f"reinstate({not_expired}, '2026-01-07')", "batch")
