"""Versions of the programme: what may start when, who has to approve, and that what is in force is what was approved."""

import datetime as dt
import json
import threading
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from flows.__main__ import main
from infra.programme import ProgrammeRefused, read_programme
from points_ledger import errors, events
from points_ledger.policy import store_version
from points_ledger.queries import statement
from tasks import ledger as connected
from tasks import policy

ROOT = Path(__file__).parents[2]
WHY = "points cost more than planned"
HEAD = """
[programme]
name = "Test club"
time_zone = "Europe/London"
currency = "GBP"
starts_on = 2026-01-01
[guard]
max_share_of_outstanding = "off"
max_times_median = "off"
[transfer]
enabled = true
max_per_day = 1000000000
max_per_month = 1000000000
cooling_off_days = 0
"""
BODY = (
    '[[earn.rate]]\npoints_per_unit = "{rate}"\nexclude_skus = ["POST"]\n[expiry]\nbasis = "fixed"\nmonths = {months}\n'
)


@pytest.fixture
def shop(ledger, monkeypatch):
    """A started ledger that the steps reach by their settings: 1 point per 1.00, valid for a month."""
    settings = {"batch": "DATABASE_URL", "approver": "APPROVER_DATABASE_URL", "admin": "ADMIN_DATABASE_URL"}
    for login, setting in settings.items():
        user = ledger.url.username if login == "admin" else f"loyalty_{login}"
        url = ledger.url.set(username=user).render_as_string(hide_password=False)
        monkeypatch.setenv(f"LOYALTY_{setting}", url)
    connected.engine.cache_clear()
    yield ledger.start()
    for login in settings:
        connected.engine(login).dispose()
    connected.engine.cache_clear()


def programme(rate="1", months=1, more=""):
    return HEAD + BODY.format(rate=rate, months=months) + more


def propose(effective_from, content, reason=WHY):
    return policy.propose(dt.date.fromisoformat(effective_from), reason, content=content)


def versions(shop):
    return [
        tuple(map(str, row))
        for row in shop.rows("SELECT version, effective_from FROM points.policy_version ORDER BY 1")
    ]


ONE = [("1", "2026-01-01")]


def refused(shop, kind, call, says=""):
    """The refusal of a call; nothing was proposed, approved or stored by it."""
    tables = ("policy_version", "policy_rule", "policy_proposal", "approval")
    before = [shop.rows(f"SELECT * FROM points.{table} ORDER BY 1, 2, 3") for table in tables]
    with pytest.raises(kind) as caught:
        call()
    assert says in str(caught.value)
    assert [shop.rows(f"SELECT * FROM points.{table} ORDER BY 1, 2, 3") for table in tables] == before
    return caught.value


def test_what_only_gives_more_is_in_force_at_once_and_judges_orders_from_its_day_on(shop):
    proposed = propose("2026-01-02", programme(rate="3"), reason="")

    assert proposed.proposal.state == "in force"
    assert proposed.proposal.approval_id is None
    assert [(c.key, c.effect.value) for c in proposed.proposal.changes] == [
        ("earn.rate[0].points_per_unit", "gives more")
    ]
    assert versions(shop) == [*ONE, ("2", "2026-01-02")]
    shop.orders(
        "A1,m1,2026-01-01 23:59,tea,1,10", "A2,m1,2026-01-02 00:00,tea,1,10", "A3,m1,2026-01-02 10:00,POST,1,10"
    )
    shop.close("2026-01-02")
    assert shop.rows("SELECT order_no, policy_version, points FROM points.order_earning ORDER BY 1") == [
        ("A1", 1, 10), ("A2", 2, 30), ("A3", 2, 0),
    ]  # fmt: skip


def test_what_takes_away_is_not_in_force_until_another_login_approves_it(shop):
    waits = propose("2026-02-10", programme(rate="0.5")).proposal
    assert (waits.state, waits.version, waits.proposed_by) == ("waits", None, "loyalty_batch")
    assert versions(shop) == ONE
    assert shop.one("SELECT points.version_on('2026-02-10')") == 1
    assert shop.one("SELECT count(*) FROM points.policy_rule") == 1
    assert [p.approval_id for p in policy.read_standing().waiting] == [waits.approval_id]

    approved = policy.approve(waits.approval_id)

    assert (approved.state, approved.version, approved.approved_by) == ("in force", 2, "loyalty_approver")
    assert versions(shop) == [*ONE, ("2", "2026-02-10")]
    assert [shop.one(f"SELECT points.version_on('2026-02-{day}')") for day in ("09", "10")] == [1, 2]
    assert shop.rows("SELECT amount, exclude_skus FROM points.policy_rule WHERE version = 2") == [
        (Decimal("0.5"), ["POST"])
    ]
    assert policy.read_standing().waiting == []
    refused(shop, errors.AlreadyEnded, lambda: policy.approve(waits.approval_id))
    refused(shop, errors.UnknownEvent, lambda: policy.approve(4711))


def test_points_that_are_there_keep_their_last_day(shop):
    shop.orders("A1,m1,2026-01-05 10:00,tea,1,10", "A2,m1,2026-02-10 10:00,tea,1,10")
    policy.approve(
        propose(
            "2026-02-05",
            programme(rate="1").replace('basis = "fixed"\nmonths = 1', 'basis = "calendar"\nmonth_day = "02-15"'),
        ).proposal.approval_id
    )
    shop.close("2026-02-10")
    assert shop.lots("m1") == [(10, 0, "2026-02-05"), (10, 10, "2026-02-15")]


@pytest.mark.parametrize(
    ("content", "effect"),
    [(programme(rate="0.9"), "takes away"), (programme(months=1, more="[earn]\ndaily_cap = 5"), "takes away")],
)  # fmt: skip
def test_the_proposer_cannot_approve(shop, content, effect):
    with errors.translated(), shop.engine("approver").begin() as connection:
        mine = connection.execute(
            text(
                "SELECT approval_id FROM points.propose_policy(CAST(:document AS jsonb), '2026-03-01', 1, '[]', true,"
                " 'a reason of ten letters')"
            ),
            {"document": json.dumps({"earn": {"rate": []}})},
        ).scalar_one()
    refused(shop, errors.SamePerson, lambda: policy.approve(mine))
    theirs = propose("2026-03-01", content).proposal
    assert [change.effect.value for change in theirs.changes] == [effect]
    with pytest.raises(errors.NotAllowed), errors.translated():
        shop.rows("SELECT points.approve(:id)", login="batch", id=theirs.approval_id)
    with pytest.raises(errors.WaitsForApproval), errors.translated():
        shop.rows("SELECT points.put_policy_in_force(:id)", login="batch", id=theirs.approval_id)
    assert versions(shop) == ONE


def test_of_two_approvals_at_once_one_wins(shop):
    waits = propose("2026-02-10", programme(rate="0.5")).proposal
    outcomes = []
    barrier = threading.Barrier(4)

    def approve():
        barrier.wait()
        try:
            outcomes.append(policy.approve(waits.approval_id).version)
        except errors.AlreadyEnded:
            outcomes.append(None)

    threads = [threading.Thread(target=approve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [2, None, None, None]
    assert versions(shop) == [*ONE, ("2", "2026-02-10")]


def test_the_same_proposal_again_is_the_first_one_and_in_force_it_changes_nothing(shop):
    first, again = (propose("2026-02-10", programme(rate="0.5")).proposal for _ in range(2))
    assert first == again
    policy.approve(first.approval_id)
    unchanged = propose("2026-02-11", programme(rate="0.5"))
    assert unchanged.proposal is None
    assert policy.what_is_next(policy.as_row(unchanged)) == "Nothing changes: version 2 says the same."
    assert shop.one("SELECT count(*) FROM points.policy_proposal") == 1


def test_a_proposal_that_another_version_overtook_is_refused(shop):
    slow, fast = (propose("2026-02-10", programme(rate=rate)).proposal for rate in ("0.5", "0.7"))
    policy.approve(fast.approval_id)
    refused(shop, errors.Overtaken, lambda: policy.approve(slow.approval_id), "Version 2 was put in force since")
    assert policy.read_proposal(slow.approval_id).state == "overtaken"
    assert policy.read_standing().waiting == []


@pytest.mark.parametrize(
    ("effective_from", "content", "says"),
    [
        ("2026-01-04", programme(rate="2"), "2026-01-04 is closed: choose 2026-01-05"),
        (
            "2026-01-05",
            programme(rate="2"),
            "Orders of 2026-01-05 have earned by the version in force: choose 2026-01-06",
        ),
        ("2026-02-03", programme(rate="0.5"), "members are told 30 days ahead: choose 2026-02-04 or a later day"),
        ("2026-02-03", programme(rate="2", more="[earn]\ndaily_cap = 9"), "choose 2026-02-04"),
    ],
)
def test_a_change_starts_neither_in_the_past_nor_without_notice(shop, effective_from, content, says):
    shop.orders("A1,m1,2026-01-05 10:00,tea,1,10")
    shop.close("2026-01-04")
    events.post(shop.engine(), through=dt.date(2026, 1, 5), run_id=None, final=False)
    refused(shop, errors.TooEarly, lambda: propose(effective_from, content), says)
    later = dt.date.fromisoformat(effective_from) + dt.timedelta(days=2)
    assert propose(later.isoformat(), content).proposal.state in ("in force", "waits")


def test_notice_is_given_from_the_approval_on(shop):
    shop.orders("A1,m1,2026-01-01 10:00,tea,1,10")
    waits = propose("2026-02-01", programme(rate="0.5")).proposal  # 31 days after the open date
    shop.close("2026-01-02")
    refused(shop, errors.TooEarly, lambda: policy.approve(waits.approval_id), "choose 2026-02-02 or a later day")
    assert versions(shop) == ONE


def test_the_notice_period_is_the_one_in_force_and_not_the_proposed_one(shop):
    longer = programme(rate="2").replace("starts_on", "notice_days = 60\nstarts_on")
    propose("2026-01-02", longer)
    shorter = programme(rate="2").replace("starts_on", "notice_days = 1\nstarts_on")
    refused(shop, errors.TooEarly, lambda: propose("2026-03-01", shorter), "told 60 days ahead: choose 2026-03-02")
    assert propose("2026-03-02", shorter).proposal.state == "waits"


def test_effective_dates_ascend_with_the_numbers_whoever_inserts(shop):
    propose("2026-01-20", programme(rate="2"))
    refused(shop, errors.TooEarly, lambda: propose("2026-01-19", programme(rate="3")), "Version 2 starts on 2026-01-20")
    propose("2026-01-20", programme(rate="3"))  # instead of the one that has not begun
    assert versions(shop) == [*ONE, ("2", "2026-01-20"), ("3", "2026-01-20")]
    assert shop.one("SELECT points.version_on('2026-01-20')") == 3
    insert = (
        "INSERT INTO points.policy_version (version, effective_from, document, sha256) VALUES ({}, '{}', '{{}}', 'x')"
    )
    for kind, number, day in (
        (errors.TooEarly, 4, "2026-01-19"),
        (errors.Overtaken, 5, "2026-02-01"),
        (errors.Overtaken, 3, "2026-02-01"),
    ):
        with pytest.raises(kind), errors.translated():
            shop.rows(insert.format(number, day))
    with pytest.raises(errors.NotAllowed), errors.translated():
        shop.rows(insert.format(4, "2026-02-01"), login="batch")
    with pytest.raises(errors.NotAllowed), errors.translated():
        shop.rows("SELECT points.store_policy('{}', '2026-02-01')", login="batch")


def test_a_version_waits_for_the_posting_of_the_day_it_starts_on(shop):
    shop.orders("A1,m1,2026-01-01 10:00,tea,1,10")
    shop.rows("SELECT points.open_day('2026-01-01')")
    outcome = []

    def start_today():
        try:
            outcome.append(propose("2026-01-01", programme(rate="2")).proposal.state)
        except errors.TooEarly:
            outcome.append("too early")

    with shop.engine().begin() as posting:
        members = posting.execute(text("SELECT array_agg(member_id) FROM points.shop_order")).scalar_one()
        posting.execute(text("SELECT points.open_wallets_of(:members)"), {"members": members})
        posting.execute(text("SELECT points.lock_wallets(:members, true)"), {"members": members})
        posting.execute(statement("earn_orders"), {"members": members, "through": dt.date(2026, 1, 1), "run_id": None})
        thread = threading.Thread(target=start_today)
        thread.start()
        thread.join(timeout=1)
        assert outcome == []
    thread.join()
    assert outcome == ["too early"]
    assert versions(shop) == ONE


def test_what_is_stored_is_what_was_approved(shop):
    waits = propose("2026-02-10", programme(rate="0.5")).proposal
    shop.rows(
        "ALTER TABLE points.policy_proposal DISABLE TRIGGER append_only;"
        "UPDATE points.policy_proposal SET document = jsonb_set(document, '{refund,policy}', '\"only_pending\"')"
    )
    refused(shop, errors.OtherContent, lambda: policy.approve(waits.approval_id), "not the one that was approved")


def test_a_proposal_is_never_changed_and_an_approval_of_something_else_is_none(shop):
    waits = propose("2026-02-10", programme(rate="0.5")).proposal
    for change in ("UPDATE points.policy_proposal SET reason = 'x'", "DELETE FROM points.policy_proposal"):
        with pytest.raises(errors.AppendOnly), errors.translated():
            shop.rows(change)
    forged = shop.one("SELECT points.propose('policy', '{}', 'a reason of ten letters')", login="batch")
    refused(shop, errors.UnknownEvent, lambda: policy.approve(forged))
    shop.rows("SELECT points.approve(:id)", login="approver", id=forged)
    with pytest.raises(errors.UnknownEvent), errors.translated():  # the database knows it too, whoever calls
        shop.rows("SELECT points.put_policy_in_force(:id)", login="approver", id=forged)
    assert versions(shop) == ONE
    assert policy.read_proposal(waits.approval_id).state == "waits"


def test_the_second_person_is_told_why(shop):
    refused(
        shop, errors.NeedsReason, lambda: propose("2026-02-10", programme(rate="0.5"), reason="cheaper"), "10 letters"
    )


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ("Europe/London", "Asia/Shanghai", 'programme.time_zone = "Asia/Shanghai": is "Europe/London" for good'),
        ("GBP", "EUR", 'programme.currency = "EUR": is "GBP" for good'),
        ("2026-01-01", "2026-02-01", 'programme.starts_on = "2026-02-01": is "2026-01-01" for good'),
        (
            'points_per_unit = "1"',
            'points_per_unit = "-1"',
            'earn.rate[0].points_per_unit = "-1": must be zero or more',
        ),
        ("months = 1", 'months = 1\non_change = "shorten_existing"', "is not in this version yet"),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_key_value_and_remedy(shop, was, becomes, says):
    assert was in programme()
    refused(shop, ProgrammeRefused, lambda: propose("2026-03-01", programme().replace(was, becomes)), says)


def test_the_rules_in_the_ledger_are_those_of_the_document(ledger):
    document = read_programme(ROOT / "docs" / "examples" / "online-retail.toml")
    document["earn"]["rate"].append(
        {
            "points_per_unit": "0.125", "skus": ["a", "b c"], "categories": ["gifts"], "stores": ["1"], "channels": ["app"],
            "weekdays": [6, 7], "from": "2011-01-01", "through": "2011-02-01", "min_order_amount": "9.99",
        }
    )  # fmt: skip
    with ledger.engine("admin").begin() as connection:
        assert store_version(connection, document, effective_from=dt.date(2010, 12, 1)) == 1
        assert store_version(connection, document, effective_from=dt.date(2010, 12, 1)) == 1
    columns = "kind, position, name, amount, skus, exclude_skus, categories, stores, channels, weekdays"
    rules = [
        tuple(row)
        for row in ledger.rows(
            f"SELECT {columns}, from_on, through_on, min_order_amount FROM points.policy_rule ORDER BY kind DESC, position"
        )
    ]
    day = dt.date.fromisoformat
    nothing = (None,) * 6
    assert rules == [
        ("rate", 1, None, Decimal(1), None, document["earn"]["rate"][0]["exclude_skus"], None, None, None, None, None, None, None),
        ("rate", 2, None, Decimal("0.125"), ["a", "b c"], None, ["gifts"], ["1"], ["app"], [6, 7],
         day("2011-01-01"), day("2011-02-01"), Decimal("9.99")),
        ("multiplier", 1, "June double", Decimal(2), *nothing, day("2011-06-01"), day("2011-06-30"), None),
        ("multiplier", 2, "Summer", Decimal("1.5"), *nothing, day("2011-06-24"), day("2011-07-10"), None),
    ]  # fmt: skip
    stored = ledger.one("SELECT sha256 = points.document_sha256(document) FROM points.policy_version")
    assert stored is True


@pytest.mark.usefixtures("shop")
def test_what_jobs_know_of_the_programme_is_the_version_in_force_and_not_one_of_next_month():
    waits = propose("2026-02-10", programme(rate="0.5").replace("starts_on", "enrol_from_orders = false\nstarts_on"))
    policy.approve(waits.proposal.approval_id)
    assert connected.policy().enrol_from_orders is True
    assert connected.policy(dt.date(2026, 2, 10)).enrol_from_orders is False


def test_init_again_with_a_file_that_was_in_force_replaces_nothing(shop, tmp_path):
    propose("2026-01-02", programme(rate="2"))
    (tmp_path / "first.toml").write_text(programme())
    assert connected.initialise(tmp_path / "first.toml")[0] == 1  # the open business date is still the first
    (tmp_path / "third.toml").write_text(programme(rate="3"))
    refused(
        shop, errors.LedgerError, lambda: connected.initialise(tmp_path / "third.toml"), "loyalty policy propose FILE"
    )


# The command line ------------------------------------------------------------------------------------------------------


@pytest.fixture
def loyalty(shop):
    """Run a command against this test's ledger: (exit code, output, error output)."""
    assert versions(shop) == ONE

    def run(*words):
        done = CliRunner().invoke(main, list(map(str, words)), env={"COLUMNS": "160"})
        return done.exit_code, done.stdout, done.stderr

    return run


def test_a_change_from_the_command_line(loyalty, tmp_path):
    (tmp_path / "less.toml").write_text(programme(rate="0.5", more="[refund]\npolicy = 'within_balance'"))

    code, out, _ = loyalty(
        "policy", "propose", tmp_path / "less.toml", "--effective-from", "2026-02-10", "--reason", WHY
    )
    assert code == 0
    assert "takes away" in out
    assert "gives more" in out
    number = out.split()[-1]
    assert f"loyalty policy approve {number}" in out
    code, out, _ = loyalty("policy", "show", "--json")
    assert [p["approval_id"] for p in json.loads(out)["waiting"]] == [int(number)]
    code, out, error = loyalty("policy", "approve", number)
    assert (code, error) == (0, "")
    assert "Proposed by loyalty_batch, approved by loyalty_approver. Version 2 is in force from 2026-02-10." in out
    code, out, error = loyalty("policy", "approve", number)
    assert (code, out) == (2, "")
    assert "dealt with already" in error
    code, out, _ = loyalty("policy", "diff", "1", "2", "--json")
    assert [(c["key"], c["before"], c["after"], c["effect"]) for c in json.loads(out)["changes"]] == [
        ("earn.rate[0].points_per_unit", "1", "0.5", "takes away"),
        ("refund.policy", "debt", "within_balance", "gives more"),
    ]
    code, out, _ = loyalty("policy", "diff", "2", tmp_path / "less.toml")
    assert (code, out) == (0, f"version 2 and {tmp_path / 'less.toml'} say the same.\n")
    assert json.loads(loyalty("policy", "show", "--on", "2026-02-10", "--json")[1])["version"] == 2
    code, out, _ = loyalty("policy", "show")
    assert "version 1 · 2026-01-01 to 2026-02-09" in out
    assert "earn.rate[0].points_per_unit = 1" in out


def test_a_refused_change_from_the_command_line_says_what_to_do(loyalty, tmp_path):
    (tmp_path / "wrong.toml").write_text(programme().replace("basis", "basiss"))
    code, _, error = loyalty("policy", "propose", tmp_path / "wrong.toml", "--effective-from", "2026-02-10")
    assert code == 2
    assert 'expiry.basiss = "fixed": is no key of a programme file: did you mean "basis"?' in error
    code, _, error = loyalty("policy", "show", "--version", "7")
    assert (code, "no version 7" in error) == (2, True)


@pytest.mark.parametrize(("name", "day"), [("harbour-gifts", "2026-09-01"), ("online-retail", "2010-12-01")])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_rules_are_explained_with_the_example_that_the_ledger_computes(ledger, monkeypatch, name, day, lang):
    monkeypatch.setenv(
        "LOYALTY_DATABASE_URL", ledger.url.set(username="loyalty_batch").render_as_string(hide_password=False)
    )
    connected.engine.cache_clear()
    with ledger.engine("admin").begin() as connection:
        document = read_programme(ROOT / "docs" / "examples" / f"{name}.toml")
        store_version(connection, document, effective_from=dt.date.fromisoformat(day))
    golden = ROOT / "tests" / "unit" / "programme_rules" / f"{name}.{lang}.txt"
    try:
        assert policy.explain(lang) == golden.read_text("utf-8")
    finally:
        connected.engine().dispose()
        connected.engine.cache_clear()
