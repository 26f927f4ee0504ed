"""When points lapse (design 5.4 and 7, Validity), and what the close of a day does about it."""

import datetime as dt

import pytest

from points_ledger import errors, expiry, night

NEVER = {"basis": "none", "months": None}


@pytest.fixture(scope="module")
def reading(clone):
    return clone()


# the last valid day of points earned on a day, by hand with a calendar
@pytest.mark.parametrize(
    ("earned", "months", "rounded", "last_day"),
    [
        ("2026-01-15", 1, "day", "2026-02-15"),
        ("2026-01-31", 1, "day", "2026-02-28"),
        ("2024-01-31", 1, "day", "2024-02-29"),
        ("2024-02-29", 12, "day", "2025-02-28"),
        ("2024-02-29", 48, "day", "2028-02-29"),
        ("2026-08-31", 3, "day", "2026-11-30"),
        ("2026-12-31", 2, "day", "2027-02-28"),
        ("2026-01-01", 4, "month", "2026-05-31"),
        ("2026-10-31", 4, "month", "2027-02-28"),
        ("2026-01-31", 1, "month", "2026-02-28"),
        ("2026-02-28", 1, "month", "2026-03-31"),
        ("2026-01-15", 1, "quarter", "2026-03-31"),
        ("2026-03-01", 1, "quarter", "2026-06-30"),
        ("2026-09-30", 3, "quarter", "2026-12-31"),
        ("2026-11-30", 1, "quarter", "2026-12-31"),
        ("2026-01-15", 11, "year", "2026-12-31"),
        ("2026-01-15", 12, "year", "2027-12-31"),
        ("2026-12-31", 12, "year", "2027-12-31"),
    ],
)
def test_fixed_months_clamp_and_round_up_to_the_end_of_the_period(reading, earned, months, rounded, last_day):
    assert reading.one(
        "SELECT CAST(points.valid_through(CAST(:earned AS date), 'fixed', :months, :rounded, '12-31') AS text)",
        earned=earned, months=months, rounded=rounded,
    ) == last_day  # fmt: skip


@pytest.mark.parametrize(
    ("earned", "least_age", "month_day", "last_day"),
    [
        ("2026-05-05", 0, "12-31", "2026-12-31"),
        ("2026-12-31", 0, "12-31", "2026-12-31"),
        ("2027-01-01", 0, "12-31", "2027-12-31"),
        ("2026-05-05", 12, "12-31", "2027-12-31"),
        ("2026-12-31", 12, "12-31", "2027-12-31"),
        ("2026-03-31", 0, "03-31", "2026-03-31"),
        ("2026-04-01", 0, "03-31", "2027-03-31"),
        ("2026-11-30", 3, "02-28", "2027-02-28"),
        ("2026-12-01", 3, "02-28", "2028-02-28"),
        ("2026-08-31", 6, "03-01", "2027-03-01"),
    ],
)
def test_calendar_points_lapse_on_the_first_such_day_after_their_least_age(
    reading, earned, least_age, month_day, last_day
):
    assert reading.one(
        "SELECT CAST(points.valid_through(CAST(:earned AS date), 'calendar', :age, 'day', :month_day) AS text)",
        earned=earned, age=least_age, month_day=month_day,
    ) == last_day  # fmt: skip


@pytest.mark.parametrize(
    ("section", "last_day"),
    [
        ({"basis": "fixed", "months": 2, "round_up_to": "quarter"}, "2026-03-31"),
        ({"basis": "none", "months": None}, None),
        ({"basis": "calendar", "months": None, "month_day": "06-30"}, "2026-06-30"),
        ({"basis": "calendar", "months": 6, "month_day": "06-30"}, "2027-06-30"),
    ],
)
def test_a_lot_is_valid_as_long_as_the_programme_says(ledger, section, last_day):
    ledger.start(expiry=section)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,10")
    ledger.close("2026-01-01")
    assert ledger.lots("m1") == [(10, 10, last_day)]


def test_a_night_clears_what_lapsed_that_day_and_books_it_on_the_next(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,10", "A2,m1,2026-01-02 10:00,tea,1,20")
    ledger.redemptions("P1,m1,2026-01-05 10:00,4")
    ledger.close("2026-01-31")
    assert ledger.balance("m1") == (26, 0)

    [result] = ledger.close("2026-02-01")
    assert ledger.rows(
        "SELECT kind, points, lot_seq, book_date, effective_on, run_id FROM points.entry WHERE seq > 3"
    ) == [("expire", 6, 1, dt.date(2026, 2, 2), dt.date(2026, 2, 2), result.run_id)]
    assert (result.totals["expired_lots"], result.totals["expired_points"]) == (1, 6)
    ledger.close("2026-02-02")
    assert ledger.balance("m1") == (0, 0)


def test_a_lot_that_is_used_up_has_nothing_to_expire(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,10")
    ledger.redemptions("P1,m1,2026-02-01 10:00,10")
    ledger.close("2026-02-02")
    assert ledger.kinds("m1") == [("earn", 10), ("spend", 10)]


def test_points_without_a_last_day_never_lapse(ledger):
    ledger.start(expiry=NEVER)
    ledger.change("2026-01-02")
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,10", "A2,m1,2026-01-02 10:00,tea,1,5")
    ledger.close("2026-02-05")
    assert ledger.kinds("m1") == [("earn", 10), ("earn", 5), ("expire", 5)]
    assert ledger.lots("m1")[0] == (10, 10, None)


def test_a_member_s_lots_expire_in_order_and_late_nights_keep_the_day_of_each(ledger):
    ledger.start()
    ledger.change("2026-01-02", expiry={"months": 1, "round_up_to": "day"}, programme={"point_value": "0.02"})
    ledger.orders(*(f"A{n},m1,2026-01-0{n} 1{n}:00,tea,1,{n}0" for n in (1, 2, 3)))
    ledger.close("2026-01-31")
    results = ledger.close("2026-02-05")  # five nights that nobody ran, caught up in one go
    assert [result.totals["expired_points"] for result in results] == [10, 20, 30, 0, 0]
    assert ledger.rows(
        "SELECT points, book_date, effective_on FROM points.entry WHERE kind = 'expire' ORDER BY seq"
    ) == [
        (10, dt.date(2026, 2, 2), dt.date(2026, 2, 2)),
        (20, dt.date(2026, 2, 3), dt.date(2026, 2, 3)),
        (30, dt.date(2026, 2, 4), dt.date(2026, 2, 4)),
    ]


def test_the_plan_says_members_lots_and_points_before_anything_is_taken(ledger):
    ledger.start()
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,10", "A2,m1,2026-01-01 11:00,tea,1,20", "B1,m2,2026-01-01 10:00,tea,1,5"
    )
    ledger.close("2026-01-31")
    with ledger.engine().begin() as connection:
        assert expiry.plan(connection, closed=dt.date(2026, 1, 31)) == expiry.ExpiryPlan(0, 0, 0)
        assert expiry.plan(connection, closed=dt.date(2026, 2, 1)) == expiry.ExpiryPlan(2, 3, 35)
    [result] = ledger.close("2026-02-01")
    assert ledger.one("SELECT plan FROM points.run WHERE run_id = :id", id=result.run_id) == {
        "members": 2, "lots": 3, "points": 35,
    }  # fmt: skip


def test_a_night_that_takes_too_large_a_share_waits_for_a_second_person(ledger):
    ledger.start(guard={"max_share_of_outstanding": "0.5"})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,60", "B1,m2,2026-01-02 10:00,tea,1,40")
    ledger.close("2026-01-31")
    with pytest.raises(errors.WaitsForPerson) as waits:
        ledger.close("2026-02-01")
    with pytest.raises(errors.WaitsForPerson):  # running it again neither continues nor asks twice
        ledger.close("2026-02-01")
    assert (ledger.balance("m1"), ledger.balance("m2")) == ((60, 0), (40, 0))
    assert ledger.rows("SELECT status FROM points.run WHERE run_id = :id", id=waits.value.run_id) == [("waiting",)]
    [approval] = ledger.rows("SELECT approval_id, what, payload, proposed_by FROM points.approval")
    assert approval[1:] == (
        "plan", {"run_id": str(waits.value.run_id), "members": 1, "lots": 1, "points": 60}, "loyalty_batch",
    )  # fmt: skip

    with pytest.raises(errors.NotAllowed), errors.translated():
        ledger.rows("SELECT points.approve(:id)", login="batch", id=approval[0])
    ledger.rows("SELECT points.approve(:id)", login="approver", id=approval[0])
    [result] = ledger.close("2026-02-01")
    assert (result.run_id, result.totals["expired_points"]) == (waits.value.run_id, 60)
    assert (ledger.balance("m1"), ledger.balance("m2")) == ((0, 0), (40, 0))


def test_a_plan_that_grew_after_it_was_accepted_waits_again(ledger):
    ledger.start(guard={"max_share_of_outstanding": "0.5"})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,60", "B1,m2,2026-01-01 10:00,tea,1,40")
    ledger.close("2026-01-31")
    ledger.rows("SELECT points.hold('m2', 40, '2026-02-01', '2026-02-09', 'H1')", login="api")
    with pytest.raises(errors.WaitsForPerson):
        ledger.close("2026-02-01")
    ledger.rows("SELECT points.approve(approval_id) FROM points.approval", login="approver")
    ledger.rows("SELECT points.release('m2', 'H1', '2026-02-02')", login="api")  # 40 more are due now
    with pytest.raises(errors.WaitsForPerson, match="100 of 100"):
        ledger.close("2026-02-01")
    assert ledger.one("SELECT count(*) FROM points.entry WHERE kind = 'expire'") == 0


def test_a_night_far_above_the_median_of_the_nights_before_waits(ledger):
    ledger.start(guard={"max_times_median": "3"})
    ledger.orders(*(f"A{n},m1,2026-01-0{n} 10:00,tea,1,10" for n in (1, 2, 3, 4)))
    ledger.orders("A5,m1,2026-01-05 10:00,tea,1,30", "A6,m1,2026-01-06 10:00,tea,1,31")
    assert len(ledger.close("2026-02-05")) == 36  # 30 is not more than 3 x 10
    with pytest.raises(errors.WaitsForPerson, match=r"31 points, more than 3 x 10"):
        ledger.close("2026-02-06")


def test_a_dry_plan_of_a_day_that_is_not_closed_takes_nothing(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,10")
    ledger.close("2026-01-01")
    with pytest.raises(errors.EntriesDoNotContinue), errors.translated():
        expiry.apply(ledger.engine(), closed=dt.date(2026, 1, 20), run_id=None)
        ledger.rows(  # a sweep that ran ahead of its day is refused by the ledger, not only not planned
            "INSERT INTO points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq,"
            " lot_remaining_after, balance_after, debt_after, kind, source, source_ref)"
            " VALUES (1, 2, '2026-01-02', '2026-01-02', gen_random_uuid(), 10, 1, 0, 0, 0, 'expire', 'expiry', '1')",
            login="batch",
        )
    assert ledger.balance("m1") == (10, 0)
    assert [step.name for step in night.STEPS][-2:] == ["expire-points", "enqueue-notices"]
