"""The golden cases: failures of real loyalty systems, each told as a story with the ending it must have here.

The numbers are those of ``reference/loyalty.md`` section 8.
"""

import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from points_ledger import expiry, night

NEVER = {"basis": "none", "months": None}
FEBRUARY = dt.date(2026, 2, 1)


def at_once(url: sa.URL, login: str, statements: list[str]) -> list[str]:
    """Run each statement in a session of its own, all at the same moment; 'done', or the SQLSTATE of the refusal."""
    gate = threading.Barrier(len(statements))

    def run(statement: str) -> str:
        engine = sa.create_engine(url.set(username=f"loyalty_{login}"), isolation_level="READ COMMITTED")
        try:
            with engine.connect() as connection:
                gate.wait(timeout=30)
                with connection.begin():
                    connection.execute(sa.text(statement))
                return "done"
        except DBAPIError as error:
            return str(getattr(error.orig, "pgcode", error))
        finally:
            engine.dispose()

    with ThreadPoolExecutor(len(statements)) as pool:
        return list(pool.map(run, statements))


def balance_is_the_sum_of_the_entries(ledger) -> bool:
    """I1 and I3 for every member."""
    return not ledger.rows(
        "SELECT member_id FROM points.wallet w WHERE balance <>"
        " (SELECT coalesce(sum(sign * points), 0) FROM points.entry e WHERE e.member_id = w.member_id)"
        " OR balance <> (SELECT coalesce(sum(remaining), 0) FROM points.lot l WHERE l.member_id = w.member_id)"
    )


# 1 ------------------------------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for kill -9 between two commits."""


def stop_after(calls: int) -> Callable[[int, int], None]:
    """A progress callback that ends the sweep after so many chunks."""
    seen = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == calls:
            raise Killed

    return progress


def due_ledger(clone):
    """Forty members, two lots each, all due at the close of 1 February, which is closed but not yet swept."""
    ledger = clone().start()
    ledger.orders(*(f"A{n},m{n:02},2026-01-01 10:00,tea,1,{n + 10}" for n in range(40)))
    ledger.orders(*(f"B{n},m{n:02},2026-01-01 11:00,tea,1,{n + 50}" for n in range(40)))
    ledger.redemptions(*(f"P{n},m{n:02},2026-01-02 10:00,{n + 1}" for n in range(40)))
    ledger.close("2026-01-31")
    tonight = night.begin(ledger.engine(), FEBRUARY, code_version="test")
    assert tonight is not None
    for step in night.STEPS:
        if step.name != "expire-points":
            step.run(ledger.engine(), tonight, None)
    return ledger


def books(ledger):
    """Everything that an entry says, apart from when and by which run it was written."""
    return ledger.rows(
        "SELECT member_id, seq, book_date, effective_on, journal_id, kind, points, lot_seq, lot_remaining_after,"
        " balance_after, debt_after, source, source_ref FROM points.entry ORDER BY member_id, seq"
    )


def test_case_1_expiry_twice_at_once_and_after_a_kill_between_chunks_has_the_same_totals(clone):
    undisturbed, killed, crowded = due_ledger(clone), due_ledger(clone), due_ledger(clone)
    for _ in range(2):
        expiry.apply(undisturbed.engine(), closed=FEBRUARY, run_id=None)
    expected = books(undisturbed)
    assert sum(row.kind == "expire" for row in expected) == 80

    for chunks in (1, 3):
        with pytest.raises(Killed):
            expiry.apply(killed.engine(), closed=FEBRUARY, run_id=None, chunk_size=7, progress=stop_after(chunks))
    assert killed.one("SELECT count(DISTINCT member_id) FROM points.entry WHERE kind = 'expire'") == 28
    killed.close(FEBRUARY)
    assert books(killed) == expected

    gate = threading.Barrier(4)

    def sweep(size: int) -> None:
        gate.wait(timeout=30)
        expiry.apply(crowded.engine(), closed=FEBRUARY, run_id=None, chunk_size=size)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sweep, (1, 3, 5, 40)))
    assert books(crowded) == expected

    with ThreadPoolExecutor(3) as pool:  # and three whole nights at once
        nights = list(pool.map(crowded.close, [FEBRUARY] * 3))
    assert sorted(map(len, nights)) == [0, 0, 1]
    assert books(crowded) == expected
    assert balance_is_the_sum_of_the_entries(crowded)


# 2, 3, 4 ------------------------------------------------------------------------------------------------------------


def test_case_2_points_spent_a_day_before_they_lapse_and_cancelled_a_day_after_do_lapse(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-31 10:00,100")
    ledger.cancellations("P1,2026-02-02 10:00")
    ledger.close("2026-02-02")
    assert ledger.lots("m1") == [(100, 0, "2026-02-01"), (100, 100, "2026-03-04")]
    ledger.close("2026-03-04")
    assert ledger.kinds("m1") == [("earn", 100), ("spend", 100), ("spend_reversal", 100), ("expire", 100)]


def test_case_3_refunding_an_order_whose_points_expired_debits_them_once(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "R1,m1,2026-02-05 10:00,tea,-1,100")
    ledger.close("2026-02-05")
    assert ledger.kinds("m1") == [("earn", 100), ("expire", 100)]
    assert ledger.balance("m1") == (0, 0)
    assert ledger.rows("SELECT order_no, points FROM points.returned_line") == [("A1", 0)]


def test_case_4_refunding_spent_points_makes_a_debt_that_the_next_order_repays(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "R1,m1,2026-01-03 10:00,tea,-1,100")
    ledger.orders("A2,m1,2026-01-04 10:00,mug,1,50", "A3,m1,2026-01-05 10:00,mug,1,50")
    ledger.redemptions("P1,m1,2026-01-02 10:00,80")
    steps = []
    for day in range(1, 6):
        ledger.close(f"2026-01-0{day}")
        assert balance_is_the_sum_of_the_entries(ledger)
        steps.append(ledger.balance("m1"))
    assert steps == [(100, 0), (20, 0), (0, 80), (0, 30), (20, 0)]
    assert ledger.kinds("m1")[2:] == [
        ("claw_back", 20), ("owe", 80), ("earn", 50), ("repay", 50), ("earn", 50), ("repay", 30),
    ]  # fmt: skip


# 6, 7, 8, 9 ---------------------------------------------------------------------------------------------------------


def test_case_6_points_earned_on_one_channel_are_deducted_when_redeemed_on_another(ledger):
    ledger.start()
    ledger.take(
        "orders", "order_no,member_no,placed_at,sku,quantity,unit_price,store,channel",
        "A1,m1,2026-01-01 10:00,tea,1,60,north,web", "A2,m1,2026-01-01 11:00,tea,1,40,south,app",
    )  # fmt: skip
    ledger.close("2026-01-01")
    ledger.rows("SELECT points.spend('m1', 70, '2026-01-02', 'till-7', 'T1')", login="api")
    ledger.redemptions("P1,m1,2026-01-02 10:00,30")
    ledger.close("2026-01-02")
    assert ledger.balance("m1") == (0, 0)
    assert ledger.kinds("m1")[2:] == [("spend", 60), ("spend", 10), ("spend", 30)]


def test_case_7_of_twenty_gifts_and_of_twenty_spends_of_the_whole_balance_one_succeeds(ledger):
    ledger.start(expiry=NEVER)
    ledger.members("giver", "spender", *(f"friend{n}" for n in range(20)))
    ledger.orders("A1,giver,2026-01-01 10:00,tea,1,100", "B1,spender,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    ledger.bind("giver", *(f"friend{n}" for n in range(20)))
    gifts = [f"SELECT points.transfer('giver', 'friend{n}', 100, '2026-01-02', 'gift{n}')" for n in range(20)]
    spends = [f"SELECT points.spend('spender', 100, '2026-01-02', 'till', 'T{n}')" for n in range(20)]
    for statements in (gifts, spends):
        assert sorted(at_once(ledger.url, "api", statements)) == ["PL006"] * 19 + ["done"]

    assert ledger.balance("giver") == ledger.balance("spender") == (0, 0)
    assert ledger.rows("SELECT kind, count(*), sum(points) FROM points.entry GROUP BY 1 ORDER BY 1") == [
        ("earn", 2, 200), ("spend", 1, 100), ("transfer_in", 1, 100), ("transfer_out", 1, 100),
    ]  # fmt: skip
    assert balance_is_the_sum_of_the_entries(ledger)


def test_case_7_twenty_calls_of_the_same_spend_post_it_once_and_all_get_its_answer(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    assert (
        at_once(ledger.url, "api", ["SELECT points.spend('m1', 60, '2026-01-02', 'till', 'T1')"] * 20) == ["done"] * 20
    )
    assert ledger.kinds("m1") == [("earn", 100), ("spend", 60)]


def test_case_8_an_old_debit_and_an_expired_credit_do_not_pull_later_points_down(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-02-05 10:00,tea,1,50")
    ledger.redemptions("P1,m1,2026-01-05 10:00,90")
    ledger.close("2026-02-05")
    assert ledger.kinds("m1") == [("earn", 100), ("spend", 90), ("expire", 10), ("earn", 50)]
    assert ledger.balance("m1") == (50, 0)
    assert ledger.one("SELECT points.available(member_id, '2026-02-06') FROM points.member") == 50


def test_case_9_a_refund_takes_back_what_was_granted_whatever_the_rules_are_now(ledger):
    ledger.start()
    ledger.change("2026-01-10", earn={"rate": [{"points_per_unit": "3"}]})
    ledger.orders("A1,m1,2026-01-09 10:00,tea,2,10", "A2,m1,2026-01-10 10:00,mug,2,10")
    ledger.orders("R1,m1,2026-01-12 10:00,tea,-1,10", "R2,m1,2026-01-12 11:00,mug,-1,10")
    ledger.close("2026-01-12")
    assert ledger.kinds("m1") == [("earn", 20), ("earn", 60), ("claw_back", 10), ("claw_back", 30)]
    assert ledger.rows("SELECT policy_version FROM points.entry ORDER BY seq") == [(1,), (2,), (1,), (2,)]


# 11 -----------------------------------------------------------------------------------------------------------------


def test_case_11_a_month_after_31_january_and_a_year_after_29_february_are_clamped(ledger):
    ledger.start(programme={"starts_on": dt.date(2024, 1, 31)})
    ledger.change("2024-02-01", programme={"starts_on": dt.date(2024, 1, 31)}, expiry={"months": 12})
    ledger.orders("A1,m1,2024-01-31 10:00,tea,1,10", "B1,m2,2024-02-29 10:00,tea,1,10")
    ledger.close("2024-02-28")
    assert ledger.balance("m1") == (10, 0)
    ledger.close("2024-02-29")
    assert ledger.lots("m1") == [(10, 0, "2024-02-29")]
    assert ledger.lots("m2") == [(10, 10, "2025-02-28")]


@pytest.mark.parametrize(
    ("first_day", "times"),
    [
        (  # the clocks go forward at 01:00: a day of 23 hours
            "2026-03-28",
            {
                "2026-03-28 23:59:59": "2026-03-28",
                "2026-03-29 00:00": "2026-03-29",
                "2026-03-29 00:59:59Z": "2026-03-29",
                "2026-03-29 01:30": "2026-03-29",  # the hour that does not exist
                "2026-03-29 22:59:59Z": "2026-03-29",
                "2026-03-29 23:00Z": "2026-03-30",
            },
        ),
        (  # the clocks go back at 02:00: a day of 25 hours
            "2026-10-24",
            {
                "2026-10-24 22:59:59Z": "2026-10-24",
                "2026-10-24 23:00Z": "2026-10-25",
                "2026-10-25 01:30+01:00": "2026-10-25",
                "2026-10-25 01:30+00:00": "2026-10-25",
                "2026-10-25 23:59:59Z": "2026-10-25",
                "2026-10-26 00:00Z": "2026-10-26",
            },
        ),
    ],
)
def test_case_11_a_night_of_the_summer_time_change_is_one_day_of_the_programme(ledger, first_day, times):
    ledger.start(programme={"starts_on": dt.date.fromisoformat(first_day)})
    ledger.orders(*(f"A{n},m1,{time},tea,1,10" for n, time in enumerate(times)))
    ledger.close(dt.date.fromisoformat(first_day) + dt.timedelta(days=2))
    assert ledger.rows(
        "SELECT source_ref, CAST(effective_on AS text), CAST(book_date AS text) FROM points.entry ORDER BY source_ref"
    ) == [(f"A{n}", day, day) for n, day in enumerate(times.values())]


def test_case_11_the_year_ends_at_midnight_of_the_programme_not_of_utc(ledger):
    starts = {"programme": {"starts_on": dt.date(2026, 12, 31), "time_zone": "Asia/Shanghai"}}
    ledger.start(**starts, expiry={"basis": "calendar", "months": None, "month_day": "12-31"})
    ledger.orders("A1,m1,2026-12-31 15:59:59Z,tea,1,10", "A2,m1,2026-12-31 16:00Z,tea,1,20")
    ledger.close("2026-12-31")
    assert ledger.kinds("m1") == [("earn", 10), ("expire", 10)]
    ledger.close("2027-01-01")
    assert ledger.lots("m1") == [(10, 0, "2026-12-31"), (20, 20, "2027-12-31")]


# 14, 17 -------------------------------------------------------------------------------------------------------------


def test_case_14_held_points_neither_lapse_nor_are_spent_twice(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-01 11:00,tea,1,7")
    ledger.close("2026-01-31")
    ledger.rows("SELECT points.hold('m1', 60, '2026-02-01', '2026-02-10', 'H1')", login="api")
    assert at_once(ledger.url, "api", ["SELECT points.spend('m1', 60, '2026-02-01', 'till', 'T1')"]) == ["PL006"]
    assert at_once(ledger.url, "api", ["SELECT points.hold('m1', 48, '2026-02-01', '2026-02-10', 'H2')"]) == ["PL006"]
    ledger.close("2026-02-03")
    assert ledger.lots("m1") == [(100, 100, "2026-02-01"), (7, 0, "2026-02-01")]
    # what is not held has lapsed all the same: nobody can spend it any more
    assert at_once(ledger.url, "api", ["SELECT points.spend('m1', 1, '2026-02-04', 'till', 'T2')"]) == ["PL006"]

    ledger.rows("SELECT points.capture('m1', 'H1', 60, '2026-02-04')", login="api")
    ledger.close("2026-02-04")
    assert ledger.kinds("m1") == [("earn", 100), ("earn", 7), ("expire", 7), ("spend", 60), ("expire", 40)]
    assert ledger.balance("m1") == (0, 0)


def test_case_17_an_order_that_flaps_between_completed_and_cancelled_earns_once(ledger):
    ledger.start()
    for day in (1, 2, 3):
        ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
        ledger.close(f"2026-01-0{day}")
        ledger.orders("A1-cancelled,m1,2026-01-01 12:00,tea,-1,100,A1")
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-04")
    assert ledger.kinds("m1") == [("earn", 100), ("claw_back", 100)]
    assert ledger.balance("m1") == (0, 0)
    assert ledger.findings() == {}
