"""Four eyes as Prefect sees them: flows that propose and end, in a state that names the second person's command."""

import pytest
from prefect.artifacts import Artifact

from flows.adjustments import adjust_points
from flows.erasure import erase_member
from flows.redemption_blocks import block_redemptions
from flows.redemption_releases import release_redemptions
from flows.reinstatements import reinstate_points
from flows.undo import undo_run
from tasks import approvals
from tasks import ledger as steps

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def shop(ledger, monkeypatch):
    """m1 earned 100 points in run 1, of which 60 are spent; the flows and the approver have logins of their own."""
    for name, login in (("LOYALTY_DATABASE_URL", "batch"), ("LOYALTY_APPROVER_DATABASE_URL", "approver")):
        url = ledger.url.set(username=f"loyalty_{login}")
        monkeypatch.setenv(name, url.render_as_string(hide_password=False))
    steps.engine.cache_clear()
    ledger.start(expiry={"basis": "none", "months": None})
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    ledger.rows("SELECT points.spend('m1', 60, '2026-01-02', 'till', 'T1')", login="api")
    yield ledger
    for login in ("batch", "approver"):
        steps.engine(login).dispose()
    steps.engine.cache_clear()


@pytest.mark.parametrize(
    "form",
    [adjust_points, reinstate_points, undo_run, block_redemptions, release_redemptions, erase_member],
    ids=lambda form: form.name,
)
def test_a_form_explains_each_of_its_fields(form):
    fields = form.parameters.properties

    assert [name for name, field in fields.items() if len(field.get("description") or "") < 20] == []
    choices = {name: field["enum"] for name, field in fields.items() if "enum" in field}
    assert choices == {"adjust-points": {"direction": ["give", "take"]}, "undo-run": {"spent": ["debt", "waive"]}}.get(
        form.name, {}
    )


def test_an_adjustment_ends_waiting_and_the_approval_posts_it(shop):
    state = adjust_points(
        member_no="m1", direction="give", points=25, reason_code="goodwill", reason="the parcel was late", return_state=True
    )  # fmt: skip

    assert (state.type.value, state.name) == ("COMPLETED", "WaitsForApproval")
    assert "give 25 points: member m1" in state.message
    assert "with: loyalty approve 1" in state.message
    assert "loyalty approve 1" in Artifact.get("approval-1").data
    assert shop.balance("m1") == (40, 0)

    assert approvals.approve(1)["balance"] == 65
    assert approvals.waiting() == []


@pytest.mark.usefixtures("shop")
def test_what_cannot_be_proposed_ends_named_after_the_refusal():
    asked = {"reason_code": "goodwill", "reason": "the parcel was late", "return_state": True}
    above = adjust_points(member_no="m1", direction="give", points=10_001, **asked)
    unknown = reinstate_points(member_no="m9", lot=1, **asked)

    assert (above.type.value, above.name) == ("FAILED", "AboveOwnLimit")
    assert (unknown.type.value, unknown.name) == ("FAILED", "UnknownMember")
    assert undo_run(run=4711, return_state=True).name == "UnknownEvent"


def test_an_undo_is_shown_then_proposed_and_the_approval_carries_it_out(shop):
    assert undo_run(run=1)["posted"] == {"claw_back": 40, "owe": 60}
    assert "Plan: undo run 1" in Artifact.get("undo-1").data
    assert approvals.waiting() == []

    state = undo_run(run=1, propose=True, reason="the night ran on the wrong rates", return_state=True)

    assert (state.type.value, state.name) == ("COMPLETED", "WaitsForApproval")
    assert "undo run 1" in state.message
    assert shop.balance("m1") == (40, 0)
    assert approvals.approve(1)["run_id"] == 2
    assert shop.balance("m1") == (0, 60)
    assert undo_run(run=1)["posted"] == {"claw_back": 40, "owe": 60}  # started again: what it did, and nothing more
    assert shop.balance("m1") == (0, 60)


def test_an_approved_undo_that_was_cut_short_is_finished_by_the_form(shop):
    undo_run(run=1, spent="waive", propose=True, reason="the night ran on the wrong rates")
    shop.rows("SELECT points.approve(1)", login="approver")  # and the approver's machine went down

    assert undo_run(run=1)["waived"] == 60

    assert shop.balance("m1") == (0, 0)


def test_a_block_is_in_force_at_once_and_its_release_waits_for_a_second_person(shop):
    reason = "points were spent before the return"
    blocked = block_redemptions(member_no="m1", reason=reason, return_state=True)
    assert (blocked.type.value, blocked.message) == ("COMPLETED", "Block 1: the redemptions of member m1 are refused.")
    assert block_redemptions(member_no="m9", reason=reason, return_state=True).name == "UnknownMember"

    state = release_redemptions(member_no="m1", reason="the shop confirmed the return", return_state=True)

    assert (state.type.value, state.name) == ("COMPLETED", "WaitsForApproval")
    assert "release the redemptions of member m1, block 1" in state.message
    assert shop.one("SELECT is_blocked FROM points.wallet") is True
    assert approvals.approve(1)["block_id"] == 1
    assert shop.one("SELECT is_blocked FROM points.wallet") is False
    assert release_redemptions(member_no="m1", reason=reason, return_state=True).name == "AlreadyEnded"


def test_an_erasure_is_done_at_once_and_says_when_it_does_not_stand_beside_the_backups_yet(shop, monkeypatch, tmp_path):
    monkeypatch.setenv("LOYALTY_HOME", str(tmp_path))  # no keys of backups there
    reason = "request 4711 of 3 May"
    assert erase_member(member_no="m9", reason=reason, return_state=True).name == "UnknownMember"

    state = erase_member(member_no="m1", reason=reason, return_state=True)

    assert (state.type.value, state.name) == ("COMPLETED", "NotListed")
    assert "Member m1 is erased. Not yet beside the backups" in state.message
    assert [tuple(row) for row in shop.rows("SELECT member_id, reason FROM points.erasure")] == [(1, reason)]
