"""What the checks found and what follows: findings with a life, incidents, points withheld, repairs by two people."""

import datetime as dt

import pytest
from sqlalchemy import text

from expectations import runner
from expectations.catalogue import BY_ID
from points_ledger import approvals, check_findings, errors, night
from points_ledger.errors import GateFailed, translated
from tasks import checks

TIERS = [{"code": "member", "enter_at": 0}, {"code": "silver", "enter_at": 100}]
DAY = dt.date(2026, 1, 10)


@pytest.fixture(scope="module")
def ten_days(clone):
    """Two members with a lot each, ten days closed; copy it."""
    ledger = clone()
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "B1,m2,2026-01-10 10:00,tea,1,50")
    ledger.close(DAY)
    return ledger


@pytest.fixture
def books(ten_days, copied):
    """A copy of them for each test."""
    return copied(ten_days)


def check(ledger, *ids, as_of=DAY, form="full"):
    """Run checks and keep what they answer; return the number of the check run."""
    run = runner.run_bare(ledger.engine("auditor"), [BY_ID[i] for i in ids], as_of=as_of, form=form)
    with ledger.engine().begin() as connection:
        return check_findings.record(connection, run, code_version="test")


def close(ledger, through):
    """Close nights with their checks, as the jobs do."""
    steps = (*night.STEPS, checks.STEP)
    day = dt.date.fromisoformat(through)
    return list(night.close_nights(ledger.engine(), through=day, code_version="test", steps=steps))


def lives(ledger):
    """(check, first seen, last seen, cleared) of every finding, in the order of finding."""
    rows = ledger.rows(
        "SELECT check_id, first_seen, last_seen, cleared_on FROM points.check_finding ORDER BY finding_no"
    )
    return [(row[0], *(value and value.day for value in row[1:])) for row in rows]


def incidents(ledger):
    rows = ledger.rows(
        "SELECT check_id, last_outcome, offending, worst, runs, closed_on IS NULL FROM points.incident ORDER BY 1"
    )
    return [tuple(row) for row in rows]


def stopping(ledger, day=DAY):
    with ledger.engine().connect() as connection:
        return check_findings.stopping(connection, day=day)


def break_wallets(ledger, *members, by=1):
    for member in members:
        ledger.rows("UPDATE points.wallet SET balance = balance + :by WHERE member_id = :id", by=by, id=member)


def waive(ledger, number=1, until="2026-01-20", login="approver"):
    with translated():
        ledger.rows(
            "SELECT points.waive_finding(:no, CAST(:until AS date), 'explained in a ticket')",
            login=login, no=number, until=until,
        )  # fmt: skip


# Life ---------------------------------------------------------------------------------------------------------------


def test_the_same_check_of_the_same_date_finds_a_row_once(books):
    break_wallets(books, 1)

    check(books, "I1")
    check(books, "I1")
    check(books, "I1", as_of=DAY + dt.timedelta(1))

    assert lives(books) == [("I1", 10, 11, None)]
    assert incidents(books) == [("I1", "fail", 1, 1, 3, True)]
    assert books.one("SELECT key FROM points.check_finding") == {"member_id": 1}
    assert books.one("SELECT count(*) FROM points.check_result WHERE outcome = 'fail'") == 3


def test_a_finding_ends_with_the_run_that_does_not_see_it_and_the_same_row_later_has_a_life_of_its_own(books):
    break_wallets(books, 1, 2)
    check(books, "I1")
    break_wallets(books, 1, by=-1)
    check(books, "I1", as_of=DAY + dt.timedelta(1))
    assert lives(books) == [("I1", 10, 10, 11), ("I1", 10, 11, None)]
    assert incidents(books) == [("I1", "fail", 1, 2, 2, True)]

    break_wallets(books, 2, by=-1)
    check(books, "I1", as_of=DAY + dt.timedelta(2))
    assert incidents(books) == [("I1", "fail", 1, 2, 2, False)]
    break_wallets(books, 1)
    check(books, "I1", as_of=DAY + dt.timedelta(3))

    assert lives(books) == [("I1", 10, 10, 11), ("I1", 10, 11, 12), ("I1", 13, 13, None)]
    assert [row[5] for row in incidents(books)] == [False, True]


def test_a_night_that_did_not_look_there_clears_nothing(books):
    break_wallets(books, 1)
    check(books, "I1")
    break_wallets(books, 1, by=-1)

    check(books, "I1", form="night")

    assert lives(books) == [("I1", 10, 10, None)]
    assert incidents(books)[0][5] is True


def test_a_check_that_is_whole_every_night_clears_every_night(books):
    books.rows("UPDATE points.lot SET valid_through = '2026-01-05' WHERE member_id = 1")
    check(books, "I7")
    books.rows("UPDATE points.lot SET valid_through = '2026-02-01' WHERE member_id = 1")

    check(books, "I7", form="night")

    assert lives(books) == [("I7", 10, 10, 10)]


def test_a_run_for_an_earlier_date_clears_nothing_that_was_seen_later(books):
    break_wallets(books, 1)
    check(books, "I1")
    break_wallets(books, 1, by=-1)

    check(books, "I1", as_of=DAY - dt.timedelta(1))

    assert lives(books) == [("I1", 10, 10, None)]


def test_a_check_that_cannot_run_is_no_check_that_fails_and_clears_nothing(books):
    break_wallets(books, 1)
    check(books, "I1")
    books.rows("ALTER TABLE points.wallet RENAME COLUMN seq TO number")

    check(books, "I1", "I11")

    assert lives(books) == [("I1", 10, 10, None)]
    assert incidents(books) == [("I1", "error", 1, 1, 2, True)]
    [row] = books.rows("SELECT outcome, error FROM points.check_result WHERE check_run_id = 2 AND check_id = 'I1'")
    assert row.outcome == "error"
    assert "seq" in row.error
    assert stopping(books) == {"I1": 1}


def test_an_error_alone_holds_nothing_up_and_ends_with_the_next_answer(books):
    books.rows("ALTER TABLE points.wallet RENAME COLUMN seq TO number")
    check(books, "I1")
    assert (incidents(books), stopping(books)) == ([("I1", "error", 0, 0, 1, True)], {})

    books.rows("ALTER TABLE points.wallet RENAME COLUMN number TO seq")
    check(books, "I1", form="night")

    assert incidents(books) == [("I1", "error", 0, 0, 1, False)]


def test_rows_beyond_the_cap_are_counted_not_cleared_and_cannot_be_waived_away(books, monkeypatch):
    break_wallets(books, 1, 2)
    check(books, "I1")
    monkeypatch.setattr(runner, "CAP", 1)
    runner.query.cache_clear()
    check(books, "I1")
    runner.query.cache_clear()
    assert lives(books) == [("I1", 10, 10, None), ("I1", 10, 10, None)]
    assert incidents(books) == [("I1", "fail", 2, 2, 2, True)]

    books.rows("UPDATE points.incident SET offending = 3")
    waive(books, 1)
    waive(books, 2)

    assert stopping(books) == {"I1": 1}


def test_a_warning_holds_nothing_up(books):
    books.rows("UPDATE points.run SET status = 'failed' WHERE business_date = '2026-01-09'")

    check(books, "stale-runs")

    assert (lives(books), stopping(books)) == ([("stale-runs", 10, 10, None)], {})


# People --------------------------------------------------------------------------------------------------------------


def test_a_waiver_counts_through_its_last_day_and_says_who_and_why(books):
    break_wallets(books, 1)
    check(books, "I1")

    waive(books, until="2026-01-12")

    assert stopping(books, dt.date(2026, 1, 12)) == {}
    assert stopping(books, dt.date(2026, 1, 13)) == {"I1": 1}
    with books.engine("auditor").connect() as connection:
        [found] = check_findings.findings(connection, only_open=True)
    assert (found.waived_by, found.waived_why) == ("loyalty_approver", "explained in a ticket")


@pytest.mark.parametrize(
    ("login", "statement", "refused"),
    [
        ("batch", "SELECT points.waive_finding(1, '2026-02-01', 'explained in a ticket')", errors.NotAllowed),
        ("auditor", "SELECT points.waive_finding(1, '2026-02-01', 'explained in a ticket')", errors.NotAllowed),
        ("approver", "SELECT points.waive_finding(1, NULL, 'explained in a ticket')", errors.InvalidRequest),
        ("approver", "SELECT points.waive_finding(1, '2026-02-01', '   because   ')", errors.InvalidRequest),
        ("approver", "SELECT points.waive_finding(77, '2026-02-01', 'explained in a ticket')", errors.UnknownEvent),
        ("batch", "SELECT points.acknowledge_incident('I2')", errors.UnknownEvent),
        ("batch", "SELECT points.mute_incident('I2', '2026-02-01', 'explained in a ticket')", errors.UnknownEvent),
        ("batch", "SELECT points.mute_incident('I1', '2026-02-01', 'because')", errors.InvalidRequest),
        ("batch", "UPDATE points.check_finding SET waived_until = '2026-02-01'", errors.NotAllowed),
        ("batch", "INSERT INTO points.check_run (as_of) VALUES ('2026-01-01')", errors.NotAllowed),
        ("batch", "SELECT points.repair_rebuild(1)", errors.NotAllowed),
        ("approver", "SELECT points.repair_expire(1, 1, 'because I can')", errors.NotAllowed),
        ("approver", "SELECT points.record_checks('2026-01-01', 'full', 'bare', NULL, '', '', NULL, now(), '[]')",
         errors.NotAllowed),
        ("admin", "DELETE FROM points.check_finding", errors.AppendOnly),
        ("admin", "DELETE FROM points.incident", errors.AppendOnly),
        ("admin", "UPDATE points.check_result SET outcome = 'pass', offending = 0", errors.AppendOnly),
        ("admin", "UPDATE points.check_run SET as_of = '2026-01-01'", errors.AppendOnly),
        *(("admin", f"TRUNCATE points.{table} CASCADE", errors.AppendOnly)
          for table in ("check_run", "check_result", "check_finding", "incident")),
    ],
)  # fmt: skip
def test_what_is_refused_changes_nothing(books, login, statement, refused):
    break_wallets(books, 1)
    check(books, "I1")
    before = [
        books.rows(f"SELECT * FROM points.{t}") for t in ("check_run", "check_result", "check_finding", "incident")
    ]

    with pytest.raises(refused), translated():
        books.rows(statement, login=login)

    after = [
        books.rows(f"SELECT * FROM points.{t}") for t in ("check_run", "check_result", "check_finding", "incident")
    ]
    assert after == before


def test_who_acknowledged_first_stays_and_a_mute_holds_up_what_the_finding_holds_up(books):
    break_wallets(books, 1)
    check(books, "I1")
    for login in ("approver", "batch"):
        books.rows("SELECT points.acknowledge_incident('I1')", login=login)
    books.rows("SELECT points.mute_incident('I1', '2026-01-12', 'mended on Monday')", login="batch")

    with books.engine().connect() as connection:
        [incident] = check_findings.open_incidents(connection)

    assert (incident.acknowledged_by, incident.muted_until) == ("loyalty_approver", dt.date(2026, 1, 12))
    assert stopping(books) == {"I1": 1}


# Consequences ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def month_at_stake(clone):
    """Closed through 30 January; the night of the 31st would clear a lot, lower a tier and take a return back. Copy it."""
    ledger = clone()
    tiers = {"metric": "points_earned", "window": "calendar_year", "downgrade": "one_down", "grace_days": 0}
    ledger.start(tier=TIERS, tiers=tiers)
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,2,50",
        "A2,m1,2026-01-02 10:00,tea,-1,50",
        "B1,m2,2026-01-25 10:00,tea,1,50",
        "C1,m3,2026-01-26 10:00,tea,1,70",
    )
    close(ledger, "2026-01-30")
    ledger.rows("UPDATE points.member_tier SET valid_to = '2026-01-30', review_on = '2026-01-31'")
    ledger.rows("UPDATE points.lot SET valid_through = '2026-01-31' WHERE member_id = 1")
    ledger.rows("ALTER TABLE points.entry DISABLE TRIGGER append_only")
    ledger.rows("UPDATE points.entry SET valid_through = '2026-01-31' WHERE member_id = 1 AND seq = 1")
    ledger.rows("ALTER TABLE points.entry ENABLE ALWAYS TRIGGER append_only")
    ledger.orders("B2,m2,2026-01-31 10:00,tea,-1,50", "D1,m4,2026-01-31 10:00,tea,1,30")
    ledger.redemptions("R1,m3,2026-01-31 11:00,20")
    return ledger


@pytest.fixture
def at_stake(month_at_stake, copied):
    """A copy of it for each test."""
    return copied(month_at_stake)


def test_without_a_finding_the_night_takes_what_is_due(at_stake):
    [result] = close(at_stake, "2026-01-31")

    assert [at_stake.balance(m)[0] for m in ("m1", "m2", "m3", "m4")] == [0, 0, 50, 30]
    assert result.totals["tiers"] == {"downgrade": 1}
    assert "withheld" not in result.totals


def test_an_open_stop_finding_withholds_points_and_lets_the_rest_go_on_until_it_is_waived(at_stake):
    at_stake.rows("UPDATE points.run SET status = 'failed' WHERE business_date = '2026-01-29'")  # a warning besides
    plant_reversal(at_stake)
    check(at_stake, "reversals", "stale-runs", as_of=dt.date(2026, 1, 30))

    nights = close(at_stake, "2026-02-01")

    assert [at_stake.balance(m)[0] for m in ("m1", "m2", "m3", "m4")] == [50, 50, 50, 30]
    assert [result.totals["withheld"] for result in nights] == [{"reversals": 1}] * 2
    assert at_stake.one("SELECT count(*) FROM points.seal WHERE book_date = '2026-02-01'") == 1
    assert at_stake.one("SELECT count(*) FROM points.return_line WHERE is_waiting") == 1
    assert at_stake.one("SELECT tier FROM points.member_tier WHERE member_id = 1") == "silver"
    assert lives(at_stake) == [
        ("reversals", 30, 1, None),
        ("stale-runs", 30, 1, None),
    ]  # what is withheld is no finding

    waive(
        at_stake, at_stake.one("SELECT finding_no FROM points.check_finding WHERE check_id = 'reversals'"), "2026-03-01"
    )
    [result] = close(at_stake, "2026-02-02")

    assert [at_stake.balance(m)[0] for m in ("m1", "m2", "m3", "m4")] == [0, 0, 50, 30]
    assert at_stake.kinds("m2") == [("earn", 50), ("claw_back", 50)]
    assert (
        at_stake.one("SELECT what FROM points.tier_decision WHERE member_id = 1 ORDER BY decision_no DESC LIMIT 1")
        == "downgrade"
    )
    assert "withheld" not in result.totals
    assert str(at_stake.one("SELECT points.cleared_through()")) == "2026-02-02"


def plant_reversal(ledger):
    """An answer to an entry that is not there, which no other check minds."""
    ledger.rows("ALTER TABLE points.entry DISABLE TRIGGER append_only")
    ledger.rows("UPDATE points.entry SET reversal_of = 99 WHERE member_id = 3 AND seq = 1")
    ledger.rows("ALTER TABLE points.entry ENABLE ALWAYS TRIGGER append_only")


def test_what_was_mended_is_seen_by_the_next_night_and_the_one_after_catches_up(at_stake):
    at_stake.rows("UPDATE points.wallet SET held = 1 WHERE member_id = 1")
    check(at_stake, "I3", as_of=dt.date(2026, 1, 30))
    at_stake.rows("UPDATE points.wallet SET held = 0 WHERE member_id = 1")

    close(at_stake, "2026-01-31")
    assert at_stake.balance("m1") == (50, 0)
    assert lives(at_stake) == [("I3", 30, 30, 31)]
    close(at_stake, "2026-02-01")

    assert at_stake.balance("m1") == (0, 0)


def test_an_import_of_the_open_day_takes_nothing_back_either(at_stake):
    from points_ledger import events  # noqa: PLC0415 - this test's subject

    plant_reversal(at_stake)
    check(at_stake, "reversals", as_of=dt.date(2026, 1, 30))

    posted = events.post(at_stake.engine(), through=dt.date(2026, 1, 31), run_id=None, final=False)

    assert (posted.orders, posted.returns, posted.redemptions) == (2, 0, 1)


def test_a_night_that_withheld_and_died_takes_points_when_it_goes_on_after_the_waiver(at_stake, monkeypatch):
    plant_reversal(at_stake)
    check(at_stake, "reversals", as_of=dt.date(2026, 1, 30))
    monkeypatch.setattr(night, "finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        close(at_stake, "2026-01-31")
    monkeypatch.undo()
    assert at_stake.one("SELECT withheld FROM points.run WHERE business_date = '2026-01-31'") == {"reversals": 1}
    waive(at_stake, 1, "2026-03-01")

    [result] = close(at_stake, "2026-01-31")

    assert at_stake.balance("m1") == (0, 0)
    assert "withheld" not in result.totals


def test_a_lot_left_behind_stops_the_next_night_until_it_is_known_and_then_withholds(books):
    books.rows("UPDATE points.lot SET valid_through = '2026-01-05' WHERE member_id = 1")
    with pytest.raises(GateFailed, match="I7"):
        close(books, "2026-01-11")

    check(books, "I7")
    [result] = close(books, "2026-01-11")

    assert result.totals["withheld"] == {"I7": 1}
    assert books.balance("m1") == (100, 0)


def test_a_gate_passes_over_what_was_waived_and_nothing_else(books):
    books.orders("A2,m1,2026-01-11 10:00,tea,1,5", "B2,m2,2026-01-11 10:00,tea,1,5")
    books.rows("UPDATE points.wallet SET held = 1 WHERE member_id = 1")
    check(books, "I3")
    with pytest.raises(GateFailed, match="member_id 1"):
        close(books, "2026-01-11")
    waive(books)
    books.rows("UPDATE points.wallet SET held = 2 WHERE member_id = 2")
    with pytest.raises(GateFailed, match="I3: member_id 2"):
        close(books, "2026-01-11")
    books.rows("UPDATE points.wallet SET held = 0 WHERE member_id = 2")

    assert len(close(books, "2026-01-11")) == 1


# Repairs ----------------------------------------------------------------------------------------------------------------


def repair(ledger, check_id, login="batch"):
    """Propose the repair of the check's only open finding; return the approval's number."""
    with translated(), ledger.engine(login).begin() as connection:
        [found] = check_findings.findings(connection, only_open=True, check_id=check_id)
        return check_findings.propose_repair(
            connection, found.finding_no, BY_ID[check_id].repair, reason="as the runbook says"
        )


def approve(ledger, number, login="approver"):
    with translated(), ledger.engine(login).begin() as connection:
        return check_findings.approve_and_repair(connection, number)


def test_a_lot_left_behind_is_cleared_by_two_people_once(books):
    books.rows("UPDATE points.lot SET valid_through = '2026-01-05' WHERE member_id = 1")
    check(books, "I7")

    number = repair(books, "I7")
    assert repair(books, "I7") == number  # asked twice is asked once
    assert books.balance("m1") == (100, 0)
    with books.engine().connect() as connection:
        assert approvals.find(connection, number).subject == "repair finding 1 of I7 (expire): member_id 1"
    assert approve(books, number) == 100

    assert books.kinds("m1") == [("earn", 100), ("expire", 100)]
    [row] = books.rows("SELECT book_date, effective_on, reason FROM points.entry WHERE kind = 'expire'")
    assert (str(row.book_date), str(row.effective_on)) == ("2026-01-11", "2026-01-06")
    assert row.reason == "finding 1: as the runbook says"
    with pytest.raises(errors.AlreadyEnded):
        approve(books, number)
    check(books, "I7", "I1", "I2", "I3", "I4", "I8")
    assert [life for life in lives(books) if life[3] is None] == [
        ("I2", 10, 10, None)
    ]  # its last day was moved by hand


def test_nobody_approves_their_own_repair_and_what_came_meanwhile_is_not_cleared(books):
    books.rows("UPDATE points.lot SET valid_through = '2026-01-05' WHERE member_id = 1")
    check(books, "I7")
    own = repair(books, "I7", login="approver")
    with pytest.raises(errors.SamePerson):
        approve(books, own)

    number = repair(books, "I7")
    books.rows("UPDATE points.lot SET valid_through = '2026-02-01' WHERE member_id = 1")
    with pytest.raises(errors.InvalidRequest):
        approve(books, number)

    assert books.balance("m1") == (100, 0)
    assert books.one("SELECT count(*) FROM points.approval WHERE approved_by IS NOT NULL") == 0


@pytest.mark.parametrize(
    ("check_id", "fault"),
    [
        ("I1", "UPDATE points.wallet SET balance = balance + 7, seq = seq + 1 WHERE member_id = 2"),
        ("I1", "UPDATE points.wallet SET last_book = '2026-03-01' WHERE member_id = 2"),
        ("I2", "UPDATE points.lot SET remaining = remaining - 10, valid_through = '2027-01-01' WHERE member_id = 2"),
        ("I2", "DELETE FROM points.lot WHERE member_id = 2"),
        ("I2", "INSERT INTO points.lot (member_id, lot_seq, points, remaining, effective_on, usable_from, origin)"
               " VALUES (2, 77, 5, 5, '2026-01-01', '2026-01-01', 'forged')"),
        ("I3", "UPDATE points.wallet SET held = 3 WHERE member_id = 2"),
        ("I14", "UPDATE points.wallet SET debt = 3 WHERE member_id = 2"),
    ],
)  # fmt: skip
def test_wallet_and_lots_are_rebuilt_from_the_entries_and_holds(books, check_id, fault):
    books.rows("SELECT points.hold('m1', 20, '2026-01-11', '2026-02-20', 'H1')", login="api")
    everything = "SELECT * FROM points.{} ORDER BY 1, 2"
    before = [books.rows(everything.format(table)) for table in ("wallet", "lot", "entry")]
    books.rows(fault)
    check(books, check_id)

    approve(books, repair(books, check_id))

    assert [books.rows(everything.format(table)) for table in ("wallet", "lot", "entry")] == before
    check(books, *(c for c in BY_ID if c.startswith("I")))
    assert [life for life in lives(books) if life[3] is None] == []


def test_nothing_is_rebuilt_from_entries_that_do_not_chain(books):
    books.rows("UPDATE points.wallet SET balance = 7 WHERE member_id = 2")
    check(books, "I1")
    number = repair(books, "I1")
    books.rows("ALTER TABLE points.entry DISABLE TRIGGER append_only")
    books.rows("UPDATE points.entry SET balance_after = 51 WHERE member_id = 2")

    with pytest.raises(errors.EntriesDoNotContinue):
        approve(books, number)

    assert books.balance("m2") == (7, 0)


def test_a_tier_is_rebuilt_from_its_newest_decision(ledger):
    ledger.start(tier=TIERS)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    before = ledger.rows("SELECT * FROM points.member_tier")
    ledger.rows("UPDATE points.member_tier SET tier = 'member', review_on = NULL")
    check(ledger, "tier-projection")

    approve(ledger, repair(ledger, "tier-projection"))

    assert ledger.rows("SELECT * FROM points.member_tier") == before


def test_what_no_machine_can_repair_is_not_proposed(books):
    books.rows("UPDATE points.run SET status = 'failed' WHERE business_date = '2026-01-09'")
    check(books, "stale-runs")

    with pytest.raises(errors.InvalidRequest), translated():
        books.rows("SELECT points.propose_repair(1, 'rebuild', 'as the runbook says')", login="batch")
    with pytest.raises(errors.UnknownEvent), translated():
        books.rows("SELECT points.propose_repair(9, 'rebuild', 'as the runbook says')", login="batch")


def test_the_checks_of_a_night_that_runs_twice_are_kept_once_each_and_find_once(books):
    books.rows("UPDATE points.run SET status = 'failed' WHERE business_date = '2026-01-09'")
    with books.engine().begin() as connection:
        run_id = connection.execute(
            text("SELECT run_id FROM points.run WHERE business_date = '2026-01-10'")
        ).scalar_one()

    for _ in range(2):
        checks.check_night(books.engine(), night.Night(DAY, run_id))

    assert lives(books) == [("stale-runs", 10, 10, None)]
    assert books.rows("SELECT form, engine, run_id FROM points.check_run") == [("night", "bare", run_id)] * 2
