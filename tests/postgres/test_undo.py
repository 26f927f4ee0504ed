"""Undoing a run: every entry answered once, what is spent owed or waived, and the books whole after each (design 2.7)."""

import datetime as dt
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from points_ledger import approvals, errors, undo, verification

NEVER = {"basis": "none", "months": None}
SOON = {"basis": "calendar", "months": None, "month_day": "01-03"}  # of 1 to 3 January
WHY = "the night ran on the wrong rates"


def day(text_):
    return dt.date.fromisoformat(text_)


def run_of(ledger, business_date):
    return ledger.one(
        "SELECT run_id FROM points.run WHERE job = 'close-night' AND business_date = CAST(:day AS date)",
        day=business_date,
    )


def differences(ledger):
    with ledger.engine().connect() as connection:
        return [f"{found.check}: {found.row}" for found in verification.verify(connection)]


def propose(ledger, run_id, *, spent="debt", on="2026-01-03"):
    figures = undo.plan(ledger.engine(), run_id=run_id, spent=spent, day=day(on))
    with errors.translated(), ledger.engine().begin() as connection:
        return undo.propose(connection, run_id=run_id, spent=spent, figures=figures, reason=WHY), figures


def approve(ledger, approval_id):
    with errors.translated(), ledger.engine("approver").begin() as connection:
        approvals.approve(connection, approval_id)


def carry_out(ledger, approval_id, *, on="2026-01-03", login="approver", **how):
    with errors.translated():
        return undo.execute(
            ledger.engine(login), approval_id=approval_id, day=day(on), code_version="test", **how
        )  # fmt: skip


def undone(ledger, business_date, *, spent="debt", on="2026-01-03"):
    """Plan, propose, approve, carry out; the plan is what then happens, and the books are whole."""
    approval_id, planned = propose(ledger, run_of(ledger, business_date), spent=spent, on=on)
    approve(ledger, approval_id)
    run_id, figures = carry_out(ledger, approval_id, on=on)
    assert figures == planned
    assert differences(ledger) == []
    return run_id, figures


def tail(ledger, member_no, n):
    return ledger.kinds(member_no)[-n:]


# One kind at a time ---------------------------------------------------------------------------------------------------


def test_what_was_earned_is_taken_back_from_its_lot(ledger):
    ledger.start(expiry=NEVER)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,50", "A2,m1,2026-01-02 10:00,tea,1,100")
    ledger.close("2026-01-02")

    run_id, figures = undone(ledger, "2026-01-02")

    assert ledger.balance("m1") == (50, 0)
    assert ledger.lots("m1") == [(50, 50, None), (100, 0, None)]
    assert [tuple(map(str, row)) for row in ledger.rows(
        "SELECT kind, points, reversal_of, run_id, source, source_ref, reason, actor, book_date FROM points.entry"
        " WHERE run_id = :run", run=run_id,
    )] == [("claw_back", "100", "2", str(run_id), "undo", "2", WHY, "loyalty_approver", "2026-01-03")]  # fmt: skip
    assert figures.as_json() == {
        "members": 1, "entries": 1, "posted": {"claw_back": 100}, "waived": 0,
        "undone": [{"kind": "earn", "outcome": "reversed", "entries": 1, "points": 100}],
    }  # fmt: skip
    [row] = ledger.rows(
        "SELECT job, business_date, status, undoes, totals, plan FROM points.run WHERE run_id = :run", run=run_id
    )
    assert (row.job, str(row.business_date), row.status, row.undoes) == ("undo-run", "2026-01-03", "done", 2)
    assert row.totals == row.plan == figures.as_json()


def test_the_bonus_of_activities_is_taken_back_and_not_earned_again(ledger):
    ledger.start(expiry=NEVER, earn={"bonus": [{"activity": "check_in", "count": 2, "per": "week", "points": 50}]})
    ledger.members("m1")
    ledger.activities("C1,m1,check_in,2026-01-01 09:00", "C2,m1,check_in,2026-01-02 09:00")
    ledger.close("2026-01-02")

    undone(ledger, "2026-01-02")
    ledger.activities("C3,m1,check_in,2026-01-02 10:00", "C4,m1,check_in,2026-01-03 10:00")
    ledger.close("2026-01-03")

    assert ledger.kinds("m1") == [("earn", 50), ("claw_back", 50)]
    assert differences(ledger) == []


@pytest.mark.parametrize(
    ("spent", "balance", "posted", "waived"),
    [("debt", (0, 60), {"claw_back": 40, "owe": 60}, 0), ("waive", (0, 0), {"claw_back": 40}, 60)],
)
def test_points_that_are_spent_are_owed_or_waived(ledger, spent, balance, posted, waived):
    ledger.start(expiry=NEVER)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    ledger.rows("SELECT points.spend('m1', 60, '2026-01-02', 'till', 'T1')", login="api")

    _, figures = undone(ledger, "2026-01-01", spent=spent)

    assert ledger.balance("m1") == balance
    assert (figures.as_json()["posted"], figures.as_json()["waived"]) == (posted, waived)


def test_held_points_count_as_spent(ledger):
    ledger.start(expiry=NEVER)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    ledger.rows("SELECT points.hold('m1', 30, '2026-01-02', '2026-01-20', 'H1')", login="api")

    undone(ledger, "2026-01-01")

    assert ledger.balance("m1") == (30, 30)


def test_points_of_a_cancelled_redemption_are_taken_from_a_lot_that_lapsed_while_it_was_held(ledger):
    ledger.start(expiry=SOON)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-01 11:00,60")
    ledger.cancellations("P1,2026-01-02 10:00")
    ledger.close("2026-01-02")
    ledger.rows("SELECT points.hold('m1', 10, '2026-01-03', '2026-01-20', 'H1')", login="api")
    ledger.close("2026-01-04")
    assert ledger.lots("m1") == [(100, 100, "2026-01-03")]

    undone(ledger, "2026-01-02", on="2026-01-05")

    assert tail(ledger, "m1", 1) == [("claw_back", 60)]  # no spend takes a lapsed lot (I6)
    assert ledger.balance("m1") == (40, 0)


def test_points_given_away_stay_with_their_taker_and_are_owed_by_the_giver(ledger):
    ledger.start(expiry=NEVER)
    ledger.members("m2")
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    ledger.bind("m1", "m2")
    ledger.rows("SELECT points.transfer('m1', 'm2', 70, '2026-01-02', 'G1')", login="api")

    undone(ledger, "2026-01-01")

    assert (ledger.balance("m1"), ledger.balance("m2")) == ((0, 70), (70, 0))


def test_lapsed_points_come_back_valid_for_the_programmes_days_from_the_undo(ledger):
    ledger.start(expiry=SOON, approval={"reinstate_days": 4})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-03")
    assert ledger.balance("m1") == (0, 0)

    undone(ledger, "2026-01-03", on="2026-01-05")

    assert ledger.lots("m1") == [(100, 0, "2026-01-03"), (100, 100, "2026-01-09")]
    assert tail(ledger, "m1", 1) == [("reinstate", 100)]
    ledger.close("2026-01-09")  # and they lapse in their turn
    assert ledger.balance("m1") == (0, 0)
    assert differences(ledger) == []


def test_a_redemption_is_given_back_and_its_cancellation_later_is_a_finding(ledger):
    ledger.start(expiry=NEVER)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,60")
    ledger.close("2026-01-02")

    undone(ledger, "2026-01-02")

    assert ledger.lots("m1") == [(100, 100, None)]
    ledger.cancellations("P1,2026-01-03 10:00")
    ledger.close("2026-01-03")
    assert ledger.balance("m1") == (100, 0)
    assert ledger.findings() == {"unknown_redemption": 1}


def test_spent_points_of_a_lot_that_lapsed_since_come_back_as_a_new_lot(ledger):
    ledger.start(expiry={"basis": "calendar", "months": None, "month_day": "01-05"})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,60")
    ledger.close("2026-01-06")

    undone(ledger, "2026-01-02", on="2026-01-07")

    assert ledger.lots("m1") == [(100, 0, "2026-01-05"), (60, 60, "2026-02-06")]


def test_the_points_of_an_undone_spend_are_found_where_they_came_back(ledger):
    ledger.start(expiry={"basis": "calendar", "months": None, "month_day": "01-05"})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,100")
    ledger.close("2026-01-06")
    undone(ledger, "2026-01-02", on="2026-01-07")
    assert ledger.balance("m1") == (100, 0)

    undone(ledger, "2026-01-01", on="2026-01-07")

    assert ledger.balance("m1") == (0, 0)


def test_an_undone_return_gives_the_points_and_the_debt_back(ledger):
    ledger.start(expiry=NEVER)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-01 11:00,70")
    ledger.orders("R1,m1,2026-01-02 10:00,tea,-1,100")
    ledger.close("2026-01-02")
    assert ledger.balance("m1") == (0, 70)

    undone(ledger, "2026-01-02")

    assert ledger.balance("m1") == (30, 0)
    assert tail(ledger, "m1", 3) == [("adjust_up", 70), ("repay", 70), ("adjust_up", 30)]


def test_a_debt_that_later_earnings_repaid_comes_back_as_points(ledger):
    ledger.start(expiry=NEVER)
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,100", "R1,m1,2026-01-02 10:00,tea,-1,100", "A2,m1,2026-01-03 10:00,mug,1,50"
    )
    ledger.redemptions("P1,m1,2026-01-01 11:00,100")
    ledger.close("2026-01-03")
    assert ledger.balance("m1") == (0, 50)

    undone(ledger, "2026-01-02", on="2026-01-04")

    assert ledger.balance("m1") == (50, 0)  # earned 150, spent 100
    undone(
        ledger, "2026-01-03", on="2026-01-04"
    )  # the earning that repaid: its debt is there again, and not met any more
    assert sum((ledger.balance("m1")[0], -ledger.balance("m1")[1])) == 0


def test_an_undone_repayment_is_owed_again_whether_or_not_what_is_spent_is_waived(ledger):
    ledger.start(expiry=NEVER)
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,100", "R1,m1,2026-01-02 10:00,tea,-1,100", "A2,m1,2026-01-03 10:00,mug,1,150"
    )
    ledger.redemptions("P1,m1,2026-01-01 11:00,100")
    ledger.close("2026-01-03")
    assert ledger.balance("m1") == (50, 0)

    undone(ledger, "2026-01-03", spent="waive", on="2026-01-04")

    assert ledger.balance("m1") == (0, 100)


# Reversed already -----------------------------------------------------------------------------------------------------


def test_what_a_return_took_before_is_not_taken_again_neither_now_nor_later(ledger):
    ledger.start(expiry=NEVER)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,4,25", "R1,m1,2026-01-02 10:00,tea,-1,25")
    ledger.redemptions("P1,m1,2026-01-01 11:00,30")
    ledger.close("2026-01-02")
    assert ledger.balance("m1") == (45, 0)

    _, figures = undone(ledger, "2026-01-01")

    assert figures.as_json()["posted"] == {"claw_back": 75, "spend_reversal": 30}
    assert ledger.balance("m1") == (0, 0)
    ledger.orders("R2,m1,2026-01-03 10:00,tea,-3,25")
    ledger.close("2026-01-03")
    assert ledger.balance("m1") == (0, 0)
    assert ledger.one("SELECT sum(points) FROM points.returned_line") == 25
    assert differences(ledger) == []


def test_points_that_lapsed_are_not_taken_and_cannot_be_won_by_undoing_the_expiry_afterwards(ledger):
    ledger.start(expiry=SOON)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,40")
    ledger.close("2026-01-03")

    undone(ledger, "2026-01-01", on="2026-01-04")
    assert ledger.balance("m1") == (0, 40)
    _, figures = undone(ledger, "2026-01-03", on="2026-01-04")

    assert ledger.balance("m1") == (0, 40)
    assert figures.undone == {("expire", "cancels_out"): (1, 60)}


def test_lapsed_points_that_came_back_are_taken_with_the_earning(ledger):
    ledger.start(expiry=SOON)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-03")
    undone(ledger, "2026-01-03", on="2026-01-04")

    undone(ledger, "2026-01-01", on="2026-01-04")

    assert ledger.balance("m1") == (0, 0)


@pytest.mark.parametrize("order", [("2026-01-02", "2026-01-03"), ("2026-01-03", "2026-01-02")])
def test_a_redemption_and_its_cancellation_undone_one_after_the_other_leave_neither(ledger, order):
    ledger.start(expiry=NEVER)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("P1,m1,2026-01-02 10:00,60")
    ledger.cancellations("P1,2026-01-03 10:00")
    ledger.close("2026-01-03")

    outcomes = [undone(ledger, night, on="2026-01-04")[1].undone for night in order]

    assert ledger.balance("m1") == (100, 0)
    if order[0] == "2026-01-02":
        assert outcomes == [{("spend", "already_reversed"): (1, 60)}, {("spend_reversal", "cancels_out"): (1, 60)}]
    else:
        assert ledger.kinds("m1")[3:] == [("spend", 60), ("spend_reversal", 60)]


def test_lapsed_points_that_were_reinstated_by_hand_are_skipped_and_reported(ledger):
    ledger.start(expiry=SOON)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-03")
    approval = ledger.one(
        "SELECT points.propose_reinstatement('m1', 1, 30, 'goodwill', 'was in hospital')", login="batch"
    )
    ledger.rows("SELECT points.approve_and_post(:id, '2026-01-04')", login="approver", id=approval)

    _, figures = undone(ledger, "2026-01-03", on="2026-01-04")

    assert figures.undone == {("expire", "already_reversed"): (1, 100)}
    assert ledger.balance("m1") == (100, 0)


# Whole runs -----------------------------------------------------------------------------------------------------------


def eventful(ledger, members=1, *, close=True):
    """For each member a night with an entry of every kind a run can have, and an earlier one before it."""
    ledger.start(expiry={"basis": "calendar", "months": None, "month_day": "01-10"})
    ledger.change("2026-01-10", expiry=NEVER)
    for n in range(members):
        m = f"m{n:03}"
        ledger.orders(
            f"A{n},{m},2026-01-01 10:00,tea,1,100", f"B{n},{m},2026-01-01 10:30,cup,1,40", f"R{n},{m},2026-01-02 11:00,tea,-1,90",
            f"C{n},{m},2026-01-10 10:00,mug,2,150", f"D{n},{m},2026-01-10 11:00,cup,-1,40",
            f"E{n},{m},2026-01-10 12:00,mug,-1,150",
        )  # fmt: skip
        ledger.redemptions(
            f"P{n},{m},2026-01-01 11:00,120", f"Q{n},{m},2026-01-10 13:00,15", f"S{n},{m},2026-01-10 14:00,20",
        )  # fmt: skip
        ledger.cancellations(f"S{n},2026-01-10 15:00", f"P{n},2026-01-10 16:00")
    ledger.close("2026-01-10" if close else "2026-01-09")
    return ledger


def wallets(ledger):
    return [tuple(row) for row in ledger.rows(
        "SELECT m.member_no, w.balance, w.debt FROM points.wallet w JOIN points.member m USING (member_id) ORDER BY 1"
    )]  # fmt: skip


def test_a_run_undone_at_once_leaves_every_member_as_before_it(ledger):
    eventful(ledger, close=False)
    before = wallets(ledger)
    ledger.close("2026-01-10")
    kinds = {row[0] for row in ledger.rows("SELECT DISTINCT kind FROM points.entry WHERE run_id = 10")}
    assert kinds >= {"earn", "repay", "claw_back", "spend", "spend_reversal", "expire"}

    undone(ledger, "2026-01-10", on="2026-01-11")

    assert wallets(ledger) == before
    assert ledger.one(
        "SELECT count(*) FROM points.entry e WHERE run_id = 10 AND NOT EXISTS ("
        " SELECT FROM points.undone u WHERE u.member_id = e.member_id AND u.seq = e.seq)"
    ) == 0  # fmt: skip


def test_an_undone_undo_leaves_every_member_as_the_run_did(ledger):
    eventful(ledger, members=3)
    ledger.rows("SELECT points.spend('m001', 5, '2026-01-11', 'till', 'T1')", login="api")
    after_the_night = wallets(ledger)
    run_id, _ = undone(ledger, "2026-01-10", on="2026-01-11")
    assert wallets(ledger) != after_the_night

    approval_id, _ = propose(ledger, run_id, on="2026-01-11")
    approve(ledger, approval_id)
    carry_out(ledger, approval_id, on="2026-01-11")

    assert [(no, balance - debt) for no, balance, debt in wallets(ledger)] == [
        (no, balance - debt) for no, balance, debt in after_the_night
    ]
    assert differences(ledger) == []


def test_the_nights_after_an_undo_close_and_everything_agrees(ledger):
    eventful(ledger, members=3)
    undone(ledger, "2026-01-10", on="2026-01-11")
    ledger.orders("Z1,m001,2026-01-11 10:00,tea,1,500")

    ledger.close("2026-02-11")  # what came back lapses on the 10th

    assert differences(ledger) == []


def test_a_plan_changes_nothing(ledger):
    eventful(ledger, members=2)
    state = "SELECT (SELECT count(*) FROM points.{0}), (SELECT md5(string_agg(w::text, ',' ORDER BY w::text)) FROM points.wallet w)"
    tables = ("entry", "undone", "one_use", "posting_key", "run", "approval", "lot", "book_day")
    before = [ledger.rows(state.format(table)) for table in tables]

    figures = undo.plan(ledger.engine(), run_id=10, spent="debt", day=day("2026-01-11"))

    assert figures.entries == ledger.one("SELECT count(*) FROM points.entry WHERE run_id = 10")
    assert [ledger.rows(state.format(table)) for table in tables] == before


# Once, whatever happens -----------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


def test_an_undo_killed_in_the_middle_and_run_again_is_the_undo_of_one_go(ledger):
    eventful(ledger, members=9)
    approval_id, planned = propose(ledger, 10, on="2026-01-11")
    approve(ledger, approval_id)

    def kill(done, _total):
        if done >= 4:
            raise Killed

    with pytest.raises(Killed):
        carry_out(ledger, approval_id, on="2026-01-11", chunk_size=2, progress=kill)
    assert ledger.one("SELECT count(DISTINCT member_id) FROM points.undone") == 4
    assert ledger.rows("SELECT status, message FROM points.run WHERE undoes = 10") == [("failed", "Killed: ")]
    ledger.close("2026-01-12")  # the day on which it began is over meanwhile

    run_id, figures = carry_out(ledger, approval_id, on="2026-01-13", login="batch")

    assert figures == planned
    assert ledger.rows("SELECT run_id, status, CAST(business_date AS text) FROM points.run WHERE undoes = 10") == [
        (run_id, "done", "2026-01-11")
    ]
    assert differences(ledger) == []
    entries = ledger.one("SELECT count(*) FROM points.entry")
    assert carry_out(ledger, approval_id, on="2026-01-13") == (run_id, figures)  # and once more: nothing
    assert ledger.one("SELECT count(*) FROM points.entry") == entries


def test_a_run_that_was_undone_cannot_be_undone_again_by_whatever_approval(ledger):
    eventful(ledger)
    first, _ = propose(ledger, 10, on="2026-01-11")
    assert propose(ledger, 10, on="2026-01-11")[0] == first  # the same proposal, while it waits
    second, _ = propose(ledger, 10, spent="waive", on="2026-01-11")
    assert second != first
    for approval_id in (first, second):
        approve(ledger, approval_id)
    carry_out(ledger, first, on="2026-01-11")
    before = wallets(ledger)

    with pytest.raises(errors.AlreadyEnded, match="undone already, by run"):
        carry_out(ledger, second, on="2026-01-11")
    with pytest.raises(errors.AlreadyEnded):
        propose(ledger, 10, on="2026-01-11")
    assert undo.plan(ledger.engine(), run_id=10, spent="debt", day=day("2026-01-11")) == undo.Figures()
    assert wallets(ledger) == before


def test_two_carry_out_the_same_undo_at_once_while_tills_spend_and_it_happens_once(ledger):
    eventful(ledger, members=12)
    approval_id, planned = propose(ledger, 10, on="2026-01-11")
    approve(ledger, approval_id)
    failures = []

    def work(what):
        try:
            what()
        except Exception as error:  # asserted below, in the test's own thread
            failures.append(error)

    def spend():
        for n in range(12):
            try:
                ledger.rows(f"SELECT points.spend('m{n:03}', 1, '2026-01-11', 'till', 'T1')", login="api")
            except DBAPIError as error:
                if error.orig.pgcode != "PL006":
                    raise

    carry = [lambda login=login: carry_out(ledger, approval_id, on="2026-01-11", login=login, chunk_size=1)
             for login in ("approver", "batch")]  # fmt: skip
    threads = [threading.Thread(target=work, args=(what,)) for what in (*carry, spend)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert ledger.one("SELECT count(*) FROM points.undone") == planned.entries
    assert differences(ledger) == []


# Who may --------------------------------------------------------------------------------------------------------------


def test_nothing_is_undone_before_a_second_person_has_approved_it(ledger):
    eventful(ledger)
    approval_id, _ = propose(ledger, 10, on="2026-01-11")
    before = wallets(ledger)

    with pytest.raises(errors.WaitsForApproval):
        carry_out(ledger, approval_id, on="2026-01-11")
    with ledger.engine("approver").begin() as connection:
        mine = undo.propose(connection, run_id=10, spent="debt", figures=undo.Figures(), reason=WHY)
    with pytest.raises(errors.SamePerson):
        approve(ledger, mine)
    # runs that name an approval which is about something else: an adjustment, another run
    adjustment = ledger.one(
        "SELECT points.propose_adjustment('m000', 5, '2026-01-11', NULL, 'goodwill', 'for the late parcel')",
        login="batch",
    )
    for other in (adjustment, propose(ledger, 9, on="2026-01-11")[0]):
        ledger.rows("SELECT points.approve(:id)", login="approver", id=other)
        with ledger.engine().connect() as connection, connection.begin() as transaction:
            forged = connection.execute(
                text(
                    "INSERT INTO points.run (job, business_date, undoes, approval_id)"
                    " VALUES ('undo-run', '2026-01-11', 10, :id) RETURNING run_id"
                ),
                {"id": other},
            ).scalar_one()
            with pytest.raises(errors.UnknownEvent), errors.translated():
                connection.execute(text("SELECT points.undo_members(:run, ARRAY[1], true)"), {"run": forged})
            transaction.rollback()
    assert wallets(ledger) == before


@pytest.mark.parametrize(
    ("login", "statement"),
    [
        ("api", "SELECT points.undo_members(10, '{1}', true)"),
        ("api", "SELECT points.preview_undo(10, '{1}', 'debt', '2026-01-11')"),
        ("support", "SELECT points.begin_undo(1, '2026-01-11', 'x')"),
        ("approver", "SELECT points.undo_wallet(NULL, NULL, 1)"),
        ("batch", "SELECT points.undo_post(NULL, 1, 1, 5, 'adjust_up', 1)"),
        ("batch", "DELETE FROM points.undone"),
        ("batch", "INSERT INTO points.undone VALUES (1, 1, 1, 'reversed', 0, 1)"),
        ("approver", "INSERT INTO points.run (job, business_date) VALUES ('x', '2026-01-11')"),
    ],
)
def test_a_login_may_not_undo_by_another_way(undone_once, login, statement):
    with pytest.raises(errors.NotAllowed), errors.translated():
        undone_once.rows(statement.replace(":", "\\:"), login=login)


@pytest.fixture(scope="module")
def undone_once(clone):
    """A ledger with an undone run; nothing of it moves any more."""
    ledger = eventful(clone())
    undone(ledger, "2026-01-10", on="2026-01-11")
    return ledger


def test_a_till_cannot_take_the_name_of_an_undo(ledger):
    ledger.start(expiry=NEVER)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,50")
    ledger.close("2026-01-01")
    with pytest.raises(DBAPIError) as refused:
        ledger.rows("SELECT points.spend('m1', 1, '2026-01-02', 'undo', '1')", login="api")
    assert refused.value.orig.diag.constraint_name == "power_needs_an_approval"
    undone(ledger, "2026-01-01", on="2026-01-02")


def test_what_became_of_an_entry_is_never_changed(undone_once):
    for change in ("UPDATE points.undone SET waived = 1", "DELETE FROM points.undone", "TRUNCATE points.undone"):
        with pytest.raises(errors.AppendOnly), errors.translated():
            undone_once.rows(change)


@pytest.mark.parametrize(
    ("refusal", "run_id", "spent"),
    [(errors.UnknownEvent, 4711, "debt"), (errors.InvalidRequest, 10, "forget"), (errors.InvalidRequest, 99, "debt")],
)
def test_only_a_finished_run_is_undone(undone_once, refusal, run_id, spent):
    with undone_once.engine("admin").connect() as connection, connection.begin() as transaction:
        connection.execute(
            text(
                "INSERT INTO points.run (run_id, job, business_date) OVERRIDING SYSTEM VALUE VALUES (99, 'x', '2026-01-11')"
            )
        )
        with pytest.raises(refusal), errors.translated():
            undo.propose(connection, run_id=run_id, spent=spent, figures=undo.Figures(), reason=WHY)
        transaction.rollback()
