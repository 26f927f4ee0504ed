"""The night: order, guard, gates, and what a stop leaves behind."""

import dataclasses
import datetime as dt

import pytest
from sqlalchemy import text

from points_ledger import night, overview
from points_ledger.errors import GateFailed, SamePerson, WaitsForPerson, translated

GUARD = {"max_share_of_outstanding": "0.05", "max_times_median": "3"}


def approve(ledger, run_id, login="approver"):
    [row] = ledger.rows(
        "SELECT approval_id FROM points.approval WHERE approved_by IS NULL AND payload ->> 'run_id' = :run",
        run=str(run_id),
    )
    with translated(), ledger.engine(login).begin() as connection:
        connection.execute(text("SELECT points.approve(:id)"), {"id": row.approval_id})


def waiting_night(ledger):
    """Two orders; one lapses alone on 1 February, far above 5 % of what is outstanding."""
    ledger.start(guard=GUARD)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m2,2026-01-20 10:00,tea,1,100")
    with pytest.raises(WaitsForPerson) as stop:
        ledger.close("2026-02-03")
    return stop.value


def test_a_night_that_takes_too_large_a_share_waits_and_takes_nothing(ledger):
    stop = waiting_night(ledger)

    assert stop.business_date == dt.date(2026, 2, 1)
    assert "100 of 200 outstanding" in str(stop)
    assert f"loyalty close --accept-plan {stop.run_id}" in str(stop)
    assert ledger.balance("m1") == (100, 0)
    assert ledger.rows("SELECT status, message FROM points.run WHERE run_id = :id", id=stop.run_id) == [
        ("waiting", str(stop))
    ]


def test_asking_again_neither_takes_points_nor_asks_twice(ledger):
    stop = waiting_night(ledger)

    with pytest.raises(WaitsForPerson):
        ledger.close("2026-02-03")

    assert ledger.one("SELECT count(*) FROM points.approval") == 1
    assert ledger.balance("m1") == (100, 0)
    assert stop.run_id == ledger.one("SELECT run_id FROM points.run WHERE status = 'waiting'")


def test_a_second_person_accepts_the_plan_and_the_nights_go_on(ledger):
    stop = waiting_night(ledger)

    approve(ledger, stop.run_id)
    done = ledger.close("2026-02-03")

    assert [result.business_date.day for result in done] == [1, 2, 3]
    assert ledger.balance("m1") == (0, 0)


def test_the_login_that_proposed_a_plan_cannot_accept_it(ledger):
    stop = waiting_night(ledger)
    ledger.rows("GRANT EXECUTE ON FUNCTION points.approve(bigint) TO loyalty_batch")

    with pytest.raises(SamePerson):
        approve(ledger, stop.run_id, login="batch")

    assert ledger.one("SELECT count(*) FROM points.approval WHERE approved_by IS NOT NULL") == 0


def test_a_plan_that_has_grown_since_waits_again(ledger):
    stop = waiting_night(ledger)
    approve(ledger, stop.run_id)
    # a hold of the lapsing lot was let go in between: 40 points more are due than were accepted
    ledger.rows("UPDATE points.approval SET approved_by = NULL WHERE false")
    ledger.rows("ALTER TABLE points.approval DISABLE TRIGGER decided_once")
    ledger.rows("UPDATE points.approval SET payload = payload || '{\"points\": 60}'")
    ledger.rows("ALTER TABLE points.approval ENABLE TRIGGER decided_once")

    with pytest.raises(WaitsForPerson):
        ledger.close("2026-02-03")

    assert ledger.balance("m1") == (100, 0)


def test_the_guard_compares_with_the_nights_before(ledger):
    ledger.start(guard={"max_share_of_outstanding": "off", "max_times_median": "3"})
    ledger.orders(
        *(f"A{n},m{n},2026-01-0{n} 10:00,tea,1,10" for n in range(1, 5)),
        "B5,m5,2026-01-05 10:00,tea,1,30",
        "B6,m6,2026-01-06 10:00,tea,1,31",
    )

    with pytest.raises(WaitsForPerson, match="31 points, more than 3 x 10"):
        ledger.close("2026-02-10")

    assert ledger.balance("m5") == (0, 0)  # 30 is not more than three times the median


FAULTS = {  # planted by a superuser between posting and the gates, in books of two days: the gates that must say so
    "UPDATE points.wallet SET balance = balance + 1": {"I1", "I3"},
    "UPDATE points.wallet SET debt = 1": {"I1"},
    "UPDATE points.wallet SET seq = 9": {"I1"},
    "UPDATE points.wallet SET held = 1": {"I3"},
    "UPDATE points.lot SET remaining = remaining - 1 WHERE lot_seq = 3": {"I2", "I3"},
    "UPDATE points.lot SET remaining = remaining - 1 WHERE lot_seq = 2": {"I3"},  # yesterday's, not touched since
    "UPDATE points.entry SET points = 90, lot_remaining_after = 90 WHERE source_ref = 'A2'": {"I2", "I4"},
    "UPDATE points.entry SET points = 90 WHERE source_ref = 'A2'": {"I2", "I4"},
    "UPDATE points.entry SET lot_remaining_after = 90 WHERE source_ref = 'A2'": {"I2"},
    "UPDATE points.entry SET lot_remaining_after = 70 WHERE kind = 'spend'": {"I2"},
    "UPDATE points.entry SET debt_after = 1 WHERE source_ref = 'A2'": {"I4"},
    "UPDATE points.entry SET balance_after = 101 WHERE source_ref = 'B1'": {"I4"},  # yesterday's last
    "DELETE FROM points.entry WHERE source_ref = 'B1'": {"I4"},  # yesterday's last
    "DELETE FROM points.entry WHERE source_ref = 'A3'": {"I1", "I4"},
    "DELETE FROM points.entry WHERE kind = 'spend'": {"I1"},
    "UPDATE points.lot SET valid_through = '2025-12-31' WHERE lot_seq = 1": {"I7"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_gate_leaves_the_day_open_and_says_why(ledger, monkeypatch, fault):
    ledger.start()
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,100",
        "B1,m1,2026-01-01 11:00,tea,1,5",
        "A2,m1,2026-01-02 10:00,tea,1,100",
        "A3,m1,2026-01-02 11:00,tea,1,1",
    )
    ledger.redemptions("R1,m1,2026-01-02 12:00,20")
    ledger.close("2026-01-01")

    def planted(engine, which, progress):
        ledger.rows("ALTER TABLE points.entry DISABLE TRIGGER append_only")
        ledger.rows("ALTER TABLE points.entry_202601 DISABLE TRIGGER append_only")
        ledger.rows(fault)
        night.check_gates(engine, which, progress)

    steps = tuple(dataclasses.replace(s, run=planted) if s.name == "check-gates" else s for s in night.STEPS)
    monkeypatch.setattr(night, "STEPS", steps)
    with pytest.raises(GateFailed) as stop:
        ledger.close("2026-01-02")

    assert set(stop.value.failed) == FAULTS[fault]
    assert ledger.one("SELECT status FROM points.book_day WHERE book_date = '2026-01-02'") == "open"
    assert ledger.one("SELECT message FROM points.run WHERE status = 'failed'").startswith(
        "GateFailed: 2026-01-02 stays open"
    )


@pytest.mark.parametrize("killed_in", [step.name for step in night.STEPS])
def test_a_night_that_dies_in_any_step_goes_on_and_ends_the_same(ledger, monkeypatch, killed_in):
    ledger.start()
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,100", "A2,m2,2026-01-01 10:00,tea,1,50", "A3,m1,2026-02-01 10:00,tea,1,7"
    )
    ledger.redemptions("R1,m2,2026-02-01 11:00,20")
    ledger.close("2026-01-31")

    def dies(engine, which, progress):
        step.run(engine, which, progress)
        raise RuntimeError("killed")

    [step] = [step for step in night.STEPS if step.name == killed_in]
    dying = tuple(dataclasses.replace(s, run=dies) if s.name == killed_in else s for s in night.STEPS)
    monkeypatch.setattr(night, "STEPS", dying)
    with pytest.raises(RuntimeError):
        ledger.close("2026-02-01")
    monkeypatch.undo()

    [result] = ledger.close("2026-02-01")

    assert ledger.kinds("m1") == [("earn", 100), ("earn", 7), ("expire", 100)]
    assert ledger.kinds("m2") == [("earn", 50), ("spend", 20), ("expire", 30)]
    assert (result.totals["expired_lots"], result.totals["expired_points"]) == (2, 130)
    assert result.totals["posted"] == {"earn": 7, "spend": 20}


def test_missed_nights_are_caught_up_in_order(ledger):
    ledger.start()

    done = ledger.close("2026-01-05")

    assert [result.business_date.day for result in done] == [1, 2, 3, 4, 5]
    assert ledger.rows("SELECT status, count(*) FROM points.run GROUP BY 1") == [("done", 5)]


def test_a_preview_says_what_would_happen_and_changes_nothing(ledger):
    ledger.start()
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-02 10:00,tea,1,5", "A3,m1,2026-01-02 10:00,tea,-1,5"
    )
    ledger.close("2026-01-01")
    before = [
        ledger.rows(f"SELECT * FROM points.{t} ORDER BY 1, 2")
        for t in ("entry", "run", "book_day", "wallet", "shop_order")
    ]

    with ledger.engine().connect() as connection:
        dates = night.due_nights(connection, through=dt.date(2026, 2, 1))
        shown = overview.preview(connection, dates)

    assert shown[0] == {
        "business_date": dt.date(2026, 1, 2), "orders": 2, "activities": 0, "returns": 1, "cancellations": 0, "redemptions": 0,
        "lots_lapsing": 0, "points_lapsing": 0, "deferred": {},
    }  # fmt: skip
    assert (shown[-1]["lots_lapsing"], shown[-1]["points_lapsing"]) == (1, 100)
    after = [
        ledger.rows(f"SELECT * FROM points.{t} ORDER BY 1, 2")
        for t in ("entry", "run", "book_day", "wallet", "shop_order")
    ]
    assert after == before


def test_partitions_are_made_ahead_of_need(ledger):
    ledger.start()

    ledger.close("2026-01-01")

    parts = ledger.rows("SELECT relid::regclass::text FROM pg_partition_tree('points.entry') WHERE isleaf ORDER BY 1")
    assert [row[0] for row in parts] == ["points.entry_202601", "points.entry_202602"]


def test_the_books_of_a_night_are_the_ledgers_own(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A1R,m9,2026-01-01 10:00,tea,-1,100")
    ledger.redemptions("R1,m1,2026-01-01 11:00,30", "R2,m1,2026-01-01 12:00,300")

    [result] = ledger.close("2026-01-01")

    assert result.totals == {
        "entries": 2, "posted": {"earn": 100, "spend": 30}, "outstanding": 70, "debt": 0, "expired_lots": 0, "expired_points": 0,
        "findings": {"insufficient_points": 1, "return_without_purchase": 1}, "tiers": {}, "screens": {},
        "notices": {}, "without_notice": {},
    }  # fmt: skip
