"""Adjustments and reinstatements: proposed by one login, approved and posted by another, once (design 2.10)."""

import datetime as dt
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from points_ledger import adjustments, approvals, errors, reinstatements, verification

NEVER = {"basis": "none", "months": None}
SOON = {"basis": "calendar", "months": None, "month_day": "01-02"}
TODAY = dt.date(2026, 1, 3)
WHY = "the parcel was ten days late"


@pytest.fixture
def shop(ledger):
    """m1 has 100 points; 3 January is open."""
    ledger.start(approval={"max_points_per_adjustment": 60, "max_points_per_day_and_login": 100})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-02")
    return ledger


def propose(ledger, points, *, login="batch", member_no="m1", code="goodwill", reason=WHY, valid_through=None):
    with errors.translated(), ledger.engine(login).begin() as connection:
        return adjustments.propose(
            connection, member_no=member_no, points=points, day=TODAY, valid_through=valid_through, reason_code=code, reason=reason
        )  # fmt: skip


def approve(ledger, approval_id, login="approver"):
    with errors.translated(), ledger.engine(login).begin() as connection:
        return approvals.approve_and_post(connection, approval_id, day=TODAY)


def waiting(ledger):
    with ledger.engine("approver").connect() as connection:
        return approvals.waiting(connection)


def intact(ledger):
    with ledger.engine().connect() as connection:
        return list(verification.verify(connection)) == []


def test_a_proposal_posts_nothing_and_its_approval_posts_it(shop):
    approval_id = propose(shop, 40)
    assert shop.balance("m1") == (100, 0)
    [asked] = waiting(shop)
    assert (asked.approval_id, asked.subject) == (approval_id, "give 40 points: member m1, valid through 2026-02-03")
    assert asked.as_json()["payload"]["reason_code"] == "goodwill"

    posted = approve(shop, approval_id)

    assert (posted.book_date, posted.points, posted.balance, posted.debt) == (TODAY, 40, 140, 0)
    assert shop.lots("m1")[-1] == (40, 40, "2026-02-03")  # as long as points earned that day
    assert waiting(shop) == []
    assert shop.rows("SELECT approval_id, actor, reason FROM points.entry WHERE kind = 'adjust_up'") == [
        (approval_id, "loyalty_approver", WHY)
    ]
    with shop.engine("approver").connect() as connection:
        decided = approvals.find(connection, approval_id)
    assert (decided.proposed_by, decided.approved_by) == ("loyalty_batch", "loyalty_approver")
    assert intact(shop)


def test_points_are_taken_in_spending_order_and_never_more_than_there_are(shop):
    posted = approve(shop, propose(shop, -60))
    assert (posted.balance, shop.kinds("m1")[-1]) == (40, ("adjust_down", 60))
    with pytest.raises(errors.InsufficientPoints):
        propose(shop, -41, login="approver")


def test_what_cannot_be_posted_any_more_is_not_approved_either(shop):
    approval_id = propose(shop, -60)
    shop.rows("SELECT points.spend('m1', 80, '2026-01-03', 'till', 'T1')", login="api")

    with pytest.raises(errors.InsufficientPoints):
        approve(shop, approval_id)

    assert [asked.approval_id for asked in waiting(shop)] == [approval_id]


def test_the_database_refuses_the_proposer_also_in_the_one_call_that_posts(shop):
    approval_id = propose(shop, 40, login="approver")

    with pytest.raises(errors.SamePerson):
        approve(shop, approval_id)

    assert shop.balance("m1") == (100, 0)
    assert len(waiting(shop)) == 1


def test_two_approvals_race_and_one_wins(shop):
    approval_id = propose(shop, 40)
    outcomes = []
    together = threading.Barrier(6)

    def race():
        engine = sa.create_engine(shop.url.set(username="loyalty_approver"))
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("SELECT 1"))
                together.wait(timeout=30)
                approvals.approve_and_post(connection, approval_id, day=TODAY)
            outcomes.append("done")
        except DBAPIError as error:
            outcomes.append(error.orig.pgcode)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["PL007"] * 5 + ["done"]
    assert shop.balance("m1") == (140, 0)


def test_the_same_form_sent_twice_asks_once_and_after_the_approval_anew(shop):
    first = propose(shop, 40)
    assert propose(shop, 40) == first
    assert propose(shop, 40, reason="another late parcel") != first
    approve(shop, first)
    with pytest.raises(errors.AboveOwnLimit):  # so it is a new one, and the day's limit counts it
        propose(shop, 40)


def test_a_reason_code_is_of_the_programme_and_the_reason_says_something(shop):
    with pytest.raises(errors.InvalidRequest, match="use one of goodwill, missing_points"):
        propose(shop, 40, code="because")
    with pytest.raises(errors.InvalidRequest, match="give a reason"):
        propose(shop, 40, reason="  late  ")
    for refusal, named in (
        (errors.InvalidRequest, {"points": 0}),
        (errors.UnknownMember, {"points": 5, "member_no": "m9"}),
        (errors.InvalidRequest, {"points": 5, "valid_through": dt.date(2026, 1, 2)}),
    ):
        with pytest.raises(refusal):
            propose(shop, **named)
    assert waiting(shop) == []


def test_a_login_has_its_limits_at_once_and_a_day(shop):
    with pytest.raises(errors.AboveOwnLimit, match="61 points are more than the 60"):
        propose(shop, 61)
    with pytest.raises(errors.AboveOwnLimit), errors.translated():  # also past the function for it
        shop.rows("""SELECT points.propose('adjustment', '{"member_no"\\: "m1", "points"\\: -61}', 'a reason of ten letters')""",
            login="batch")  # fmt: skip
    propose(shop, 60)
    with pytest.raises(errors.AboveOwnLimit, match="41 points today and 60 before are more than the 100"):
        propose(shop, -41)
    propose(shop, -40)
    propose(shop, 60, login="approver")  # another login has its own day


def test_a_role_can_have_limits_of_its_own(ledger):
    limit = {"role": "loyalty_batch", "max_points_per_adjustment": 500, "max_points_per_day": 600}
    ledger.start(approval={"max_points_per_adjustment": 60, "max_points_per_day_and_login": 100, "limit": [limit]})
    ledger.members("m1")
    ledger.close("2026-01-01")

    propose(ledger, 500)

    with pytest.raises(errors.AboveOwnLimit, match="101 points today and 500 before are more than the 600"):
        propose(ledger, 101)
    with pytest.raises(errors.AboveOwnLimit):
        propose(ledger, 61, login="approver")


def test_a_programme_without_the_section_has_limits_all_the_same(ledger):
    ledger.start()
    ledger.members("m1")
    ledger.close("2026-01-01")
    with pytest.raises(errors.AboveOwnLimit, match="more than the 10000"):
        propose(ledger, 10_001)


@pytest.mark.parametrize("login", ["api", "batch", "support", "auditor"])
def test_only_an_approver_approves_and_an_approver_posts_nothing_else(shop, login):
    approval_id = propose(shop, 40)
    with pytest.raises(errors.NotAllowed):
        approve(shop, approval_id, login)
    for verb in (f"adjust({approval_id}, '2026-01-03')", f"reinstate({approval_id}, '2026-01-03')"):
        with pytest.raises(errors.NotAllowed), errors.translated():
            shop.rows(f"SELECT points.{verb}", login="approver")
    assert shop.balance("m1") == (100, 0)


def test_the_one_call_is_for_adjustments_and_reinstatements_only(shop):
    plan = shop.one("SELECT points.propose('plan', '{}', 'a reason of ten letters')", login="batch")
    with pytest.raises(errors.InvalidRequest):
        approve(shop, plan)
    with pytest.raises(errors.UnknownEvent):
        approve(shop, 4711)
    assert len(waiting(shop)) == 1


def test_lapsed_points_come_back_once_valid_from_the_day_they_are_posted(ledger):
    ledger.start(expiry=SOON, approval={"reinstate_days": 10})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-02")

    def ask(lot=1, valid_days=None, reason=WHY):
        with errors.translated(), ledger.engine().begin() as connection:
            return reinstatements.propose(
                connection, member_no="m1", lot=lot, valid_days=valid_days, reason_code="complaint", reason=reason
            )  # fmt: skip

    with pytest.raises(errors.UnknownEvent):
        ask(lot=2)
    with pytest.raises(errors.InvalidRequest):
        ask(valid_days=0)
    approval_id, rival = ask(), ask(reason="and another late parcel")
    ledger.close("2026-01-07")  # it waited

    with errors.translated(), ledger.engine("approver").begin() as connection:
        posted = approvals.approve_and_post(connection, approval_id, day=dt.date(2026, 1, 8))

    assert (posted.points, posted.balance) == (100, 100)
    assert ledger.lots("m1") == [(100, 0, "2026-01-02"), (100, 100, "2026-01-18")]
    with pytest.raises(errors.AlreadyEnded):
        approve(ledger, rival)
    with pytest.raises(errors.AlreadyEnded):
        ask(reason="a third reason to ask")
    assert ledger.balance("m1") == (100, 0)
    assert intact(ledger)
