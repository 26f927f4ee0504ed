"""``loyalty notices`` and the end of a night: what people see, and the exit codes machines go by."""

import datetime as dt
import json

import pytest
from click.testing import CliRunner

from flows.commands.contacts import contacts
from flows.commands.notices import notices
from tasks import notice_step
from tasks import notices as steps


@pytest.fixture
def world(told, mailbox, in_this_process):
    told.enrol(("A", "Ada Wong", "ada@example.com", "zh_CN"))
    in_this_process(told.environment(mailbox))
    told.moment = dt.datetime.now(dt.UTC)  # the command line goes by the wall's time
    return told


def run(*arguments):
    return CliRunner().invoke(notices, arguments, catch_exceptions=False)


def test_what_waits_is_shown_then_sent_then_proved(world, mailbox):
    world.tell("A")

    waits = json.loads(run("status", "--json").stdout)
    plan = json.loads(run("send", "--dry-run", "--json").stdout)
    assert [(row["kind"], row["notices"]) for row in waits["waiting"]] == [("adjustment", 1)]
    assert (waits["held"], waits["email_sender"]) == (None, "smtp")
    assert [(row["kind"], row["notices"]) for row in plan] == [("adjustment", 1)]
    assert mailbox.accepted.total() == 0

    sent = run("send", "--json")

    assert (sent.exit_code, json.loads(sent.stdout)["accepted"]) == (0, 1)
    [row] = json.loads(run("show", "A", "--json").stdout)
    assert (row["result"], row["has_proof"]) == ("accepted", True)
    shown = run("show", "A")
    assert "accepted" in shown.stdout
    assert "ada@example.com" not in shown.stdout
    proof = run("show", "A", "--proof", str(row["notice_id"]))
    assert proof.stdout_bytes == mailbox.bodies[f"<notice-{row['notice_id']}@club.example>"]


def test_a_proof_opens_only_with_the_keys_and_only_for_its_member(world, monkeypatch):
    world.tell("A")
    steps.send(world.moment)
    [row] = json.loads(run("show", "A", "--json").stdout)

    assert run("show", "A", "--proof", "999").exit_code == 1
    monkeypatch.delenv("LOYALTY_CONTACT_MASTER_KEYS")
    refused = run("show", "A", "--proof", str(row["notice_id"]))
    assert refused.exit_code == 2
    assert "keys of contacts" in refused.stderr
    assert run("show", "nobody").exit_code == 2


def test_what_stands_in_the_way_is_said_and_is_an_exit_code(world, mailbox, in_this_process):
    in_this_process(world.environment(mailbox, LOYALTY_SMTP_URL="smtp://127.0.0.1:9"))
    world.tell("A")

    sent = run("send")

    assert sent.exit_code == 1
    assert "could not be reached" in sent.stderr


@pytest.mark.parametrize(("member", "words"), [((), "Ada"), (("--member", "A"), "member A")])
def test_a_preview_is_a_page_with_the_members_facts(world, tmp_path, member, words):
    world.tell("A", points=4711)
    out = tmp_path / "page.html"

    made = run("preview", "adjustment", *member, "--out", str(out))

    assert made.exit_code == 0
    page = out.read_text("utf-8")
    assert ("4,711" in page) == bool(member)
    assert words in page or not member


def test_a_preview_of_nothing_is_refused(world, tmp_path):
    assert world.waiting() == 0
    assert run("preview", "nonsense", "--out", str(tmp_path / "x.html")).exit_code == 2


def test_the_lint_says_nothing_when_all_is_good(tmp_path):
    assert (run("lint").exit_code, run("lint").stdout) == (0, "")
    assert run("lint", str(tmp_path)).exit_code == 1


def test_an_address_is_suppressed_by_member_and_lifted(world, mailbox):
    assert run("suppress", "A", "--because", "bounced").exit_code == 0
    world.tell("A")
    assert steps.send(world.moment).counts.suppressed == 1
    assert run("suppress", "A", "--lift").exit_code == 0
    world.tell("A")
    assert steps.send(world.moment).counts.accepted == 1
    assert run("suppress", "A", "--channel", "sms").exit_code == 2
    assert mailbox.accepted.total() == 1


def consent(*arguments):
    return CliRunner().invoke(contacts, ("consent", *arguments), catch_exceptions=False)


def test_what_a_member_says_to_a_person_is_recorded_once_and_decides_about_what_waits(world):
    world.moment = dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)  # no quiet hours

    def result():
        world.tell("A", class_="marketing")
        steps.send(world.moment + dt.timedelta(minutes=1))
        return world.results()[-1][1]

    assert result() == "suppressed"
    assert consent("A", "--class", "marketing", "--given").stdout == (
        "Member A agrees to marketing notices by any channel.\n"
    )
    assert result() == "accepted"
    assert (
        consent("A", "--class", "marketing", "--withdrawn", "--channel", "email", "--source", "complaint").exit_code
        == 0
    )
    assert (
        "as recorded before"
        in consent("A", "--class", "marketing", "--withdrawn", "--channel", "email", "--source", "complaint").stdout
    )
    assert result() == "suppressed"
    assert "as recorded before" not in consent("A", "--class", "marketing", "--given").stdout  # it was not the newest
    assert result() == "accepted"
    assert consent("nobody", "--class", "marketing", "--given").exit_code == 2
    assert consent("A", "--class", "marketing").exit_code == 2
    assert consent("A", "--class", "legal", "--withdrawn").exit_code == 2

    said = "SELECT class, channel, granted, source, actor FROM points.consent ORDER BY consent_no"
    assert [tuple(row) for row in world.ledger.rows(said)] == [
        ("marketing", "any", True, "operator", "loyalty_batch"),
        ("marketing", "email", False, "complaint", "loyalty_batch"),
        ("marketing", "any", True, "operator", "loyalty_batch"),
    ]


def test_a_night_closes_though_its_notices_do_not_go_out_and_says_so(world, mailbox, in_this_process):
    world.tell("A")
    in_this_process(world.environment(mailbox, LOYALTY_SMTP_URL="smtp://127.0.0.1:9"))

    problems = notice_step.why_unsent(world.moment.date(), world.moment)

    state = notice_step.not_sent(problems)
    assert (state.name, state.is_failed()) == ("NoticesNotSent", True)
    assert "docs/howto/send-notices.md" in state.message
    in_this_process(world.environment(mailbox))
    assert notice_step.why_unsent(world.moment.date(), world.moment) == []
    assert notice_step.not_sent([]) is None
    assert mailbox.accepted.total() == 1


def test_rounds_add_up():
    one = {"claimed": 2, "accepted": 2, "problems": ["a"]}
    zero = dict.fromkeys(steps.Sent(0, notice_step.Counts(), ()).facts, 0)

    total = notice_step.added([{**zero, **one}, {**zero, **one, "problems": []}])

    assert (total["claimed"], total["accepted"], total["lost"], total["problems"]) == (4, 4, 0, ["a"])
