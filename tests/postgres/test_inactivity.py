"""Points that lapse by inactivity: computed from the last activity, no lot is rewritten (design 6, basis inactivity)."""

import datetime as dt

import pytest
from sqlalchemy.exc import DBAPIError

from points_ledger import verification
from points_ledger.explanation import explain

IDLE = {"basis": "inactivity", "months": 1, "round_up_to": "day"}
OFF = {"max_share_of_outstanding": "off", "max_times_median": "off"}
FEBRUARY = {"starts_on": dt.date(2026, 2, 1)}  # four weeks to the same day of March


@pytest.fixture(scope="module")
def spring(clone):
    """A ledger closed through 1 April, with a story for each member; only to be read."""
    ledger = clone()
    ledger.start(programme=FEBRUARY, expiry=IDLE, guard=OFF)
    bought = ("idle", "buyer", "spender", "returner", "giver", "canceller", "mover")
    ledger.orders(
        *(f"A-{who},{who},2026-02-01 12:00,tea,100,1" for who in bought),
        "B-buyer,buyer,2026-02-20 12:00,tea,50,1",
        "B-returner,returner,2026-02-12 12:00,tea,-1,1", "C-returner,returner,2026-02-17 12:00,pin,1,0.40",
        "A-late,late,2026-02-10 12:00,tea,100,1", "A-taker,taker,2026-02-02 12:00,pin,1,0.20",
        "B-mover,mover,2026-03-05 12:00,tea,50,1",
    )  # fmt: skip
    ledger.redemptions(
        "R-spender,spender,2026-03-01 23:00,30", "R-canceller,canceller,2026-02-05 12:00,100", "R-mover,mover,2026-03-20 12:00,10"
    )  # fmt: skip
    ledger.cancellations("R-canceller,2026-03-10 12:00")
    ledger.close("2026-02-15")
    ledger.orders("Z-late,late,2026-02-03 12:00,tea,10,1")
    ledger.bind("giver", "taker", day="2026-02-16")
    ledger.rows("SELECT points.transfer('giver', 'taker', 40, '2026-02-20', 'G1')", login="api")
    ledger.close("2026-04-01")
    return ledger


@pytest.fixture(scope="module")
def winter(clone):
    """A ledger of one purchase, on 10 January: its points last through 10 February. Copy it."""
    ledger = clone()
    ledger.start(programme={"starts_on": dt.date(2026, 1, 10)}, expiry=IDLE, guard=OFF)
    ledger.orders("A1,anna,2026-01-10 12:00,tea,100,1")
    ledger.close("2026-01-11")
    return ledger


@pytest.fixture
def begun(winter, copied):
    """A copy of it for each test."""
    return copied(winter)


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


def test_points_lapse_so_many_months_after_the_last_activity_and_not_a_day_before(spring):
    assert spring.kinds("idle") == [("earn", 100), ("expire", 100)]
    assert lapsed(spring, "idle") == [(100, "2026-03-02", "2026-03-02")]


def test_a_purchase_keeps_all_earlier_points_alive_and_no_lot_is_rewritten(spring):
    assert lapsed(spring, "buyer") == [(100, "2026-03-21", "2026-03-21"), (50, "2026-03-21", "2026-03-21")]
    assert spring.balance("buyer")[0] == 0
    lots = (
        "SELECT valid_through, idle_by FROM points.lot JOIN points.member USING (member_id) WHERE member_no = 'buyer'"
    )
    assert spring.rows(lots) == [(None, 1), (None, 1)]


def test_a_redemption_is_an_activity_too(spring):
    assert spring.kinds("spender") == [("earn", 100), ("spend", 30), ("expire", 70)]  # on the last day of the purchase
    assert lapsed(spring, "spender") == [(70, "2026-04-02", "2026-04-02")]


def test_neither_a_return_nor_a_purchase_that_earns_nothing_is_an_activity(spring):
    assert lapsed(spring, "returner") == [(99, "2026-03-02", "2026-03-02")]


def test_a_spend_after_the_last_day_is_refused_whether_or_not_a_night_has_run(begun):
    assert refused(begun, "anna", 1, "2026-02-11") == "PL006"
    spend(begun, "anna", 1, "2026-02-10")
    spend(begun, "anna", 1, "2026-02-11", "T2")  # the day before was an activity
    assert begun.balance("anna")[0] == 98


def test_a_hold_of_idle_points_is_refused_after_their_last_day(begun):
    with pytest.raises(DBAPIError, match=r"fewer than"):
        begun.rows("SELECT points.hold('anna', 1, '2026-02-11', '2026-02-20', 'H')", login="api")
    assert begun.one("SELECT points.available(1, '2026-02-10')") == 100
    assert begun.one("SELECT points.available(1, '2026-02-11')") == 0


def test_a_late_order_counts_on_its_own_day_and_never_moves_the_clock_back(spring):
    active_on = "SELECT active_on FROM points.wallet JOIN points.member USING (member_id) WHERE member_no = 'late'"
    assert spring.one(active_on) == dt.date(2026, 2, 10)
    assert lapsed(spring, "late") == [(100, "2026-03-11", "2026-03-11"), (10, "2026-03-11", "2026-03-11")]


def test_with_a_cap_points_lapse_at_the_earlier_of_both_days(ledger):
    ledger.start(
        programme=FEBRUARY, expiry=IDLE | {"basis": "inactivity_with_cap", "cap_months": 2}, guard=OFF
    ).orders(
        "A1,anna,2026-02-01 12:00,tea,100,1", "A2,anna,2026-02-03 12:00,tea,50,1", "A3,anna,2026-03-02 12:00,tea,3,1",
        "A4,anna,2026-03-05 12:00,tea,7,1", "B1,bob,2026-02-01 12:00,tea,5,1",
    )  # fmt: skip
    ledger.close("2026-04-05")
    assert lapsed(ledger, "bob") == [(5, "2026-03-02", "2026-03-02")]
    assert lapsed(ledger, "anna") == [
        (100, "2026-04-02", "2026-04-02"), (50, "2026-04-04", "2026-04-04"),
        (3, "2026-04-06", "2026-04-06"), (7, "2026-04-06", "2026-04-06"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rounded", "last_day"), [("month", "2026-02-28"), ("quarter", "2026-03-31"), ("year", "2026-12-31")]
)
def test_the_last_day_is_rounded_up(ledger, rounded, last_day):
    ledger.start(expiry=IDLE | {"round_up_to": rounded}, guard=OFF).orders("A1,anna,2026-01-02 12:00,tea,100,1")
    ledger.close("2026-01-02")
    assert str(ledger.one("SELECT points.idle_through(active_on, 1) FROM points.wallet")) == last_day


def test_months_clamp_at_the_end_of_february(ledger):
    ledger.start(programme={"starts_on": dt.date(2026, 1, 31)}, expiry=IDLE, guard=OFF).orders(
        "A1,anna,2026-01-31 12:00,tea,100,1"
    )
    ledger.close("2026-02-28")
    assert lapsed(ledger, "anna") == [(100, "2026-03-01", "2026-03-01")]


def test_points_keep_the_rule_they_were_earned_under(ledger):
    ledger.start(programme=FEBRUARY, expiry={"basis": "fixed", "months": 1, "round_up_to": "day"}, guard=OFF)
    ledger.change("2026-02-03", expiry=IDLE, guard=OFF)
    ledger.orders(
        "A1,anna,2026-02-01 12:00,tea,100,1", "A2,anna,2026-02-05 12:00,tea,50,1", "A3,anna,2026-02-08 12:00,tea,7,1"
    )
    ledger.close("2026-03-08")
    assert lapsed(ledger, "anna") == [
        (100, "2026-03-02", "2026-03-02"), (50, "2026-03-09", "2026-03-09"), (7, "2026-03-09", "2026-03-09"),
    ]  # fmt: skip


def test_a_gift_keeps_the_rule_and_starts_the_clock_of_its_taker(spring):
    assert lapsed(spring, "giver") == [(60, "2026-03-02", "2026-03-02")]
    assert lapsed(spring, "taker") == [(40, "2026-03-21", "2026-03-21")]


def test_a_redemption_cancelled_after_the_lapse_gives_the_points_thirty_days(spring):
    assert spring.lots("canceller") == [(100, 0, None), (100, 100, "2026-04-09")]


def test_the_books_can_be_rebuilt_and_explain_says_when(spring):
    with spring.engine("auditor").connect() as connection:
        assert list(verification.verify(connection)) == []
        lots = explain(connection, "mover", as_of=None, today=dt.date(2026, 4, 1)).lots
    assert [(lot.remaining, str(lot.valid_through), lot.by_inactivity) for lot in lots] == [
        (0, "2026-03-01", True), (40, "2026-04-20", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ("UPDATE points.wallet SET active_on = active_on + 1", "I1"),
        ("UPDATE points.lot SET idle_by = NULL", "I2"),
        ("UPDATE points.wallet SET active_on = active_on - 60", "I7"),
    ],
)
def test_verify_finds_an_activity_or_a_rule_that_was_changed_behind_the_ledgers_back(begun, change, check):
    begun.rows(change)
    with begun.engine("auditor").connect() as connection:
        assert check in {finding.check for finding in verification.verify(connection)}


def test_a_spend_that_the_trigger_was_given_by_hand_is_refused_after_the_last_day(begun):
    begun.rows("SELECT points.open_day('2026-02-11')")
    by_hand = (
        "INSERT INTO points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq,"
        " lot_remaining_after, balance_after, debt_after, kind, source, source_ref) VALUES"
        " (1, 2, '2026-02-11', '{}', gen_random_uuid(), {}, 1, {}, {}, 0, '{}', 'x', 'x')"
    )
    for statement in (
        by_hand.format("2026-02-11", 1, 99, 99, "spend"),
        by_hand.format("2026-02-10", 100, 0, 0, "expire"),
    ):
        with pytest.raises(DBAPIError) as refusal:
            begun.rows(statement, login="batch")
        assert refusal.value.orig.pgcode == "PL011"
    assert begun.balance("anna")[0] == 100
