"""The block on a member's redemptions: who sets and releases it, and that nothing gets around it (design 2.9, 14)."""

import datetime as dt
import threading

import pytest
import sqlalchemy as sa

from points_ledger import approvals, errors, events, explanation, overview, screens, verification

WHY = "returns after redemptions"
TODAY = dt.date(2026, 1, 2)


@pytest.fixture
def shop(ledger):
    """m1 and m2 have 100 points, m1 held 40 of them before the block; 2 January is open; m1 is blocked."""
    ledger.start(expiry={"basis": "calendar", "months": None, "month_day": "01-10"})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m2,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    ledger.bind("m1", "m2")
    ledger.bind("m2", "m1")
    ledger.rows("SELECT points.spend('m1', 10, '2026-01-02', 'till', 'T0')", login="api")
    ledger.rows("SELECT points.hold('m1', 20, '2026-01-02', '2026-01-03', 'H1')", login="api")
    ledger.rows("SELECT points.hold('m1', 20, '2026-01-02', '2026-01-03', 'H3')", login="api")
    act(ledger, screens.block, member_no="m1", reason=WHY)
    return ledger


def act(ledger, what, login="batch", **values):
    with errors.translated(), ledger.engine(login).begin() as connection:
        return what(connection, **values)


def intact(ledger):
    with ledger.engine().connect() as connection:
        return list(verification.verify(connection)) == []


def agrees(ledger):
    """The wallets' flag is what the two tables say."""
    return not ledger.rows(
        "SELECT FROM points.wallet w WHERE is_blocked <> EXISTS (SELECT FROM points.redemption_block b"
        " WHERE b.member_id = w.member_id AND NOT EXISTS (SELECT FROM points.redemption_release r WHERE r.block_id = b.block_id))"
    )


REFUSED = {
    "spend": "SELECT points.spend('m1', 5, '2026-01-02', 'till', 'T1')",
    "hold": "SELECT points.hold('m1', 5, '2026-01-02', '2026-01-03', 'H2')",
    "capture of a hold from before": "SELECT points.capture('m1', 'H1', 20, '2026-01-02')",
    "transfer": "SELECT points.transfer('m1', 'm2', 5, '2026-01-02', 'X1')",
}
ALLOWED = {  # the nearest that is none
    "spend": "SELECT points.spend('m2', 5, '2026-01-02', 'till', 'T1')",
    "hold": "SELECT points.hold('m2', 5, '2026-01-02', '2026-01-03', 'H2')",
    "capture of a hold from before": "SELECT points.release('m1', 'H1', '2026-01-02')",
    "transfer": "SELECT points.transfer('m2', 'm1', 5, '2026-01-02', 'X1')",
}


@pytest.mark.parametrize("way", REFUSED)
def test_a_blocked_member_gives_no_points_away(shop, way):
    before = shop.rows("SELECT * FROM points.wallet ORDER BY 1"), shop.rows("SELECT * FROM points.lot ORDER BY 1, 2")
    with pytest.raises(errors.RedemptionsBlocked, match="member m1"), errors.translated():
        shop.rows(REFUSED[way], login="api")
    after = shop.rows("SELECT * FROM points.wallet ORDER BY 1"), shop.rows("SELECT * FROM points.lot ORDER BY 1, 2")
    assert after == before
    shop.rows(ALLOWED[way], login="api")

    act(shop, screens.release, "approver", member_no="m1", reason=WHY)
    shop.rows(REFUSED[way].replace("H1", "H3"), login="api")
    assert intact(shop)
    assert agrees(shop)


def test_what_was_posted_before_is_still_answered_and_the_rest_of_the_life_goes_on(shop):
    assert shop.rows("SELECT (points.spend('m1', 10, '2026-01-02', 'till', 'T0')).points", login="api") == [(10,)]
    shop.rows("SELECT points.transfer('m2', 'm1', 30, '2026-01-02', 'X1')", login="api")
    shop.orders("B1,m1,2026-01-02 11:00,tea,1,40", "B2,m1,2026-01-02 12:00,tea,-1,100,A1")
    number = shop.one(
        "SELECT points.propose_adjustment('m1', -5, '2026-01-02', NULL, 'misuse', 'taken while it is looked into')", login="batch"
    )  # fmt: skip
    act(shop, approvals.approve_and_post, "approver", approval_id=number, day=TODAY)
    shop.close("2026-01-10")  # the hold lapses, the rest expires

    kinds = [kind for kind, _ in shop.kinds("m1")]
    assert kinds[:2] == ["earn", "spend"]
    assert {"transfer_in", "adjust_down", "claw_back", "expire"} < set(kinds)
    assert kinds.count("spend") == 1
    assert shop.balance("m1")[0] == 0
    assert intact(shop)


def test_an_undo_takes_back_from_a_blocked_member(shop):
    """The undo of a cancellation spends again: that is a correction of two people, not a redemption."""
    act(shop, screens.release, "approver", member_no="m1", reason=WHY)
    shop.redemptions("R1,m1,2026-01-02 10:00,30")
    shop.close("2026-01-02")
    shop.cancellations("R1,2026-01-03 10:00")
    [night] = shop.close("2026-01-03")
    act(shop, screens.block, member_no="m1", reason=WHY)
    balance = shop.balance("m1")[0]
    number = shop.one(
        "SELECT points.propose_undo(:run, 'debt', '{}', 'the cancellation was a mistake')", login="batch", run=night.run_id
    )  # fmt: skip
    shop.rows("SELECT points.approve(:id)", login="approver", id=number)
    run = shop.one("SELECT (points.begin_undo(:id, '2026-01-04', 'test')).run_id", login="batch", id=number)
    shop.rows(
        "SELECT points.undo_members(:run, ARRAY(SELECT member_id FROM points.wallet), true)", login="batch", run=run
    )
    assert shop.balance("m1")[0] == balance - 30
    assert intact(shop)


def test_a_feed_s_redemption_waits_while_the_day_is_open_and_becomes_a_finding_at_its_close(shop):
    shop.redemptions("R1,m1,2026-01-02 10:00,30", "R2,m2,2026-01-02 10:00,30")
    events.post(shop.engine(), through=TODAY, run_id=None, final=False)
    states = "SELECT redemption_no, state FROM points.redemption ORDER BY 1"
    assert shop.rows(states) == [("R1", "waiting"), ("R2", "posted")]

    shop.close("2026-01-02")

    assert shop.rows(states) == [("R1", "refused"), ("R2", "posted")]
    assert shop.findings() == {"redemptions_blocked": 1}
    assert shop.balance("m1") == (90, 0)


def test_a_feed_s_redemption_is_posted_when_the_block_is_released_in_time(shop):
    shop.redemptions("R1,m1,2026-01-02 10:00,30")
    events.post(shop.engine(), through=TODAY, run_id=None, final=False)
    act(shop, screens.release, "approver", member_no="m1", reason=WHY)
    shop.close("2026-01-02")
    assert shop.balance("m1") == (60, 0)
    assert shop.findings() == {}


# Who decides ----------------------------------------------------------------------------------------------------------


def test_the_database_refuses_the_release_by_whoever_set_the_block(shop):
    with pytest.raises(errors.NotAllowed):
        act(shop, screens.release, member_no="m1", reason=WHY)  # the flows' login cannot release at all
    act(shop, screens.block, "approver", member_no="m2", reason=WHY)
    with pytest.raises(errors.OwnCase):
        act(shop, screens.release, "approver", member_no="m2", reason=WHY)
    number = act(shop, screens.propose_release, member_no="m2", reason=WHY)
    with pytest.raises(errors.OwnCase):
        act(shop, screens.approve_release, "approver", approval_id=number)
    assert shop.one("SELECT count(*) FROM points.approval WHERE approved_by IS NOT NULL") == 0
    assert shop.one("SELECT count(*) FROM points.redemption_release") == 0
    # whatever inserts the row: the copy of who set the block cannot be made up
    for blocked_by in ("loyalty_approver", "somebody else"):
        with pytest.raises(sa.exc.IntegrityError):
            shop.rows(
                "INSERT INTO points.redemption_release (block_id, blocked_by, reason, released_by)"
                " VALUES (2, :by, 'because I say so', 'loyalty_approver')",
                by=blocked_by,
            )


def test_a_proposed_release_is_released_by_its_approval_and_only_that_block(shop):
    first = act(shop, screens.propose_release, member_no="m1", reason=WHY)
    assert act(shop, screens.propose_release, member_no="m1", reason=WHY) == first
    with shop.engine().connect() as connection:
        assert approvals.find(connection, first).subject == "release the redemptions of member m1, block 1"
    second = act(shop, screens.propose_release, member_no="m1", reason="another ten letters")
    assert act(shop, screens.approve_release, "approver", approval_id=first) == 1
    act(shop, screens.block, member_no="m1", reason=WHY)
    with pytest.raises(errors.AlreadyEnded):  # it was about a block that is over
        act(shop, screens.approve_release, "approver", approval_id=second)
    assert shop.rows("SELECT block_id, approval_id, released_by FROM points.redemption_release") == [
        (1, first, "loyalty_approver")
    ]
    assert agrees(shop)


def test_a_block_and_a_release_need_a_member_a_reason_and_each_other(shop):
    with pytest.raises(errors.UnknownMember):
        act(shop, screens.block, member_no="m9", reason=WHY)
    for what, login, member in ((screens.block, "batch", "m2"), (screens.release, "approver", "m1")):
        with pytest.raises(errors.InvalidRequest):
            act(shop, what, login, member_no=member, reason="because")
    for what in (screens.release, screens.propose_release):
        with pytest.raises(errors.AlreadyEnded):
            act(shop, what, "approver", member_no="m2", reason=WHY)
    assert act(shop, screens.block, member_no="m1", reason="blocked once more") == 1
    with shop.engine().connect() as connection:
        [block] = screens.blocks(connection)
    assert (block.member_no, block.reason, block.blocked_by, block.release) == ("m1", WHY, "loyalty_batch", "")


@pytest.mark.parametrize("what", ["release", "block"])
def test_two_at_once_are_one(shop, what):
    member = "m1" if what == "release" else "m2"
    login = "approver" if what == "release" else "batch"
    outcomes = []
    together = threading.Barrier(6)

    def race():
        engine = sa.create_engine(shop.url.set(username=f"loyalty_{login}"))
        together.wait()
        try:
            with errors.translated(), engine.begin() as connection:
                outcomes.append(getattr(screens, what)(connection, member_no=member, reason=WHY))
        except errors.AlreadyEnded:
            outcomes.append("too late")
        engine.dispose()

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(map(str, outcomes)) == (["1"] + ["too late"] * 5 if what == "release" else ["2"] * 6)
    assert shop.one(f"SELECT count(*) FROM points.redemption_{what}") == (1 if what == "release" else 2)
    assert agrees(shop)


def test_it_is_shown_where_people_look(shop):
    with shop.engine().connect() as connection:
        story = explanation.explain(connection, "m1", as_of=None, today=TODAY)
        standing = overview.standing(connection, today=TODAY)
    assert [(block.reason, block.release) for block in story.blocks] == [(WHY, "")]
    assert story.as_json()["blocks"][0]["blocked_by"] == "loyalty_batch"
    assert (standing.blocked, standing.screened) == (1, {})
