"""The dispatcher: what is due goes out once, what became of it is in the ledger, and what cannot go out waits."""

import datetime as dt
import json
import random
import time
from dataclasses import replace

import pytest
from sqlalchemy.exc import DBAPIError

from infra import unsubscribe
from infra.notice_journal import Journal, left_behind
from infra.senders.protocol import Composed, Outcome
from points_ledger import dispatch, outbox
from points_ledger.errors import NoticesHeld, translated
from tasks import notice_questions, notice_step, notices
from tasks.dispatch import Dispatcher, ProviderUnreachable
from tasks.lease import Lease

UPGRADED = {"from_tier": None, "to_tier": "gold", "held_from": "2026-03-02", "valid_through": "2027-12-31"}


@pytest.fixture
def world(told, mailbox, in_this_process):
    """Ada reads English, Wang Chinese; this process is set to their ledger and the mailbox."""
    told.enrol(("A", "Ada Wong", "ada@example.com", "en"), ("B", "王小雅", "wang@example.com", "zh_CN"))
    in_this_process(told.environment(mailbox))
    return told


def test_a_notice_goes_out_once_and_its_exact_bytes_are_kept(world, mailbox):
    world.tell("A", "B")

    sent = notices.send(world.moment)
    again = notices.send(world.moment)

    assert (sent.claimed, sent.counts.accepted, sent.problems) == (2, 2, ())
    assert sent.counts.lost == sent.counts.duplicated == again.claimed == world.waiting() == 0
    assert sorted(mailbox.recipients.values()) == ["ada@example.com", "wang@example.com"]
    assert set(mailbox.accepted.values()) == {1}
    for row in notice_questions.told("A"):
        [(attempt, proof)] = notice_questions.proofs(row["notice_id"])
        assert (attempt, row["result"], row["provider"]) == (1, "accepted", "smtp")
        assert proof == mailbox.bodies[f"<notice-{row['notice_id']}@club.example>"]
    size = world.ledger.one("SELECT max(octet_length(sealed)) FROM points.notice_proof")
    assert size < 1000 < min(len(body) for body in mailbox.bodies.values())


def test_a_service_notice_has_its_one_click_link_and_the_link_stops_it(world, mailbox):
    world.tell("A", kind="tier_upgraded", class_="service", **UPGRADED)
    notices.send(world.moment)

    [body] = mailbox.bodies.values()
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in body
    link = body.split(b"List-Unsubscribe: <")[1].split(b">")[0].decode()
    key = (world.home / "unsubscribe.secret").read_bytes()
    asked = unsubscribe.read_token({unsubscribe.KEY_NUMBER: key}, link.rpartition("/")[2])
    values = {"id": asked.member_id, "class": asked.notice_class, "now": world.moment}
    for _ in range(2):
        world.ledger.rows("SELECT points.unsubscribe(:id, :class, :now)", login="unsubscribe", **values)
    world.tell("A", kind="tier_upgraded", class_="service", **UPGRADED)
    world.tell("A")

    sent = notices.send(world.moment)

    assert (sent.counts.suppressed, sent.counts.accepted) == (1, 1)
    assert world.ledger.one("SELECT count(*) FROM points.consent") == 1


@pytest.mark.parametrize(
    "wrong", ["SELECT 1 FROM points.member", "SELECT 1 FROM points.consent", "SELECT points.last_closed()"]
)
def test_the_login_of_the_page_can_do_nothing_else(world, wrong):
    with pytest.raises(DBAPIError) as refused:
        world.ledger.rows(wrong, login="unsubscribe")

    assert refused.value.orig.pgcode == "42501"


def test_a_dead_address_is_never_written_to_again_by_any_class(world, mailbox):
    world.enrol(("C", "", "gone@example.com", "en"))
    world.tell("C")
    world.tell("C", kind="tier_upgraded", class_="service", **UPGRADED)

    first = notices.send(world.moment)
    world.tell("C")
    second = notices.send(world.moment)

    assert (first.counts.refused, second.counts.suppressed) == (2, 1)
    assert mailbox.accepted.total() == 0
    assert world.ledger.rows("SELECT channel, cause FROM points.suppression") == [("email", "hard_bounce")]
    notice_questions.suppress("C", "email", "lifted", world.moment)
    world.tell("C")
    assert notices.send(world.moment).counts.refused == 1


def test_a_temporary_refusal_is_tried_again_later_and_not_at_once(world, mailbox):
    mailbox.refuse = 1
    world.tell("A")

    first = notices.send(world.moment)
    mailbox.refuse = 0
    later = notices.send(world.moment + dt.timedelta(hours=5))

    assert (first.claimed, first.counts.retried, later.counts.accepted) == (1, 1, 1)
    assert later.counts.duplicated == 0
    assert [result for _, result in world.results()] == ["retry", "accepted"]


def test_a_lost_reply_is_uncertain_and_only_what_must_arrive_is_sent_again(world, mailbox):
    mailbox.lose = 1
    world.tell("A")
    world.tell("A", kind="tier_upgraded", class_="service", **UPGRADED)

    first = notices.send(world.moment)
    mailbox.lose = 0
    later = notices.send(world.moment + dt.timedelta(hours=5))

    assert first.counts.uncertain == 2
    assert (later.claimed, later.counts.accepted, later.counts.duplicated, world.waiting()) == (1, 1, 1, 0)
    assert sorted(mailbox.accepted.values()) == [1, 2]  # twice under one Message-ID


@pytest.mark.parametrize(
    ("kind", "class_", "facts"),
    [
        ("of_a_newer_release", "transaction", {}),
        ("policy_change", "legal", {"version": None}),
        ("digest", "service", {"parts": [{"kind": [], "facts": {}}]}),
        ("monthly_statement", "service", {"month": ["2026-02"]}),
        ("monthly_statement", "transaction", {}),
    ],
)
def test_a_notice_that_cannot_be_written_waits_by_itself_and_the_others_go_out(world, mailbox, kind, class_, facts):
    world.tell("A", kind=kind, class_=class_, **facts)
    world.tell("A")

    sent = notices.send(world.moment)

    assert (sent.counts.retried, sent.counts.accepted, sent.problems) == (1, 1, ())
    assert mailbox.accepted.total() == 1
    [detail] = world.ledger.rows("SELECT detail FROM points.notice_result WHERE result = 'retry'")
    assert detail[0].startswith(f"CannotRender: The notice {kind} in ")


def test_a_server_that_is_down_costs_no_attempt_and_the_run_says_so(world, mailbox, in_this_process):
    in_this_process(world.environment(mailbox, LOYALTY_SMTP_URL="smtp://127.0.0.1:9"))
    world.tell("A", "B")

    sent = notices.send(world.moment)

    assert world.results() == []
    assert world.ledger.rows("SELECT attempts, lease_owner FROM points.notice_queue") == [(0, None)] * 2
    [problem] = sent.problems
    assert "could not be reached; 2 notices wait" in problem
    assert notice_step.not_sent(list(sent.problems)).name == "NoticesNotSent"
    in_this_process(world.environment(mailbox))
    assert notices.send(world.moment).counts.accepted == 2


def test_line_breaks_in_a_contact_reach_no_header(world, mailbox):
    world.enrol(
        ("C", "Eve\r\nBcc: all@example.com", "eve@example.com", "en"), ("D", "Mal", "mal@example.com\r\nBcc: x@y.example", "en")
    )  # fmt: skip
    world.tell("C", "D")

    sent = notices.send(world.moment)

    assert list(mailbox.recipients.values()) == ["eve@example.com"]
    [body] = mailbox.bodies.values()
    assert b"\nBcc" not in body
    assert (sent.counts.accepted, sent.counts.refused) == (1, 1)
    assert "@" not in str(world.ledger.rows("SELECT detail FROM points.notice_result"))


def test_a_copied_database_sends_nothing_until_a_person_says_so(world, mailbox, copied, in_this_process):
    world.tell("A")
    notices.send(world.moment)
    world.tell("B")
    in_this_process(None)
    copy = copied(world.ledger)
    in_this_process(replace(world, ledger=copy).environment(mailbox))
    before = mailbox.accepted.total()

    held = notices.send(world.moment)

    assert mailbox.accepted.total() == before
    assert "notices belong to" in held.problems[0]
    assert notice_questions.status()["held"]
    assert notices.release("moved to a new server", world.moment, is_dropping=False) == 0
    assert notices.send(world.moment).counts.accepted == 1


def test_what_a_killed_dispatcher_was_told_is_not_sent_again(world, mailbox):
    world.tell("A", "B")
    world.tell("A", kind="tier_upgraded", class_="service", **UPGRADED)
    with notices.dispatcher("email", world.moment) as one:
        [first, second, third] = one._claim()
        journal = Journal(one.journals)
        journal.batch(one.owner, first.token, one.moment, [first.notice_id, second.notice_id, third.notice_id])
        with world.ledger.engine().begin() as connection:
            ids = [first.notice_id, second.notice_id]
            outbox.mark_sending(connection, owner=one.owner, token=first.token, notice_ids=ids)
        journal.begin(first.notice_id)
        facts = {"result": "accepted", "provider": "smtp", "ref": "Q1", "detail": None, "next": None, "version": None}
        journal.answer(first.notice_id, {**facts, "is_dead": False}, None)
        journal.begin(second.notice_id)
        assert list(left_behind(one.journals)) == []  # it lives: nobody takes its batch for a dead one's
        journal.__exit__()  # the process is gone, its file stays

    sent = notices.send(world.moment)

    results = dict(
        world.ledger.rows("SELECT notice_id, array_agg(result ORDER BY attempt) FROM points.notice_result GROUP BY 1")
    )
    assert results == {first.notice_id: ["accepted"], second.notice_id: ["uncertain"], third.notice_id: ["accepted"]}
    assert list(mailbox.accepted) == [f"<notice-{third.notice_id}@club.example>"]
    assert (sent.counts.uncertain, world.waiting()) == (1, 1)  # the second is a transaction: it goes out again later
    assert world.ledger.one("SELECT attempts FROM points.notice_queue") == 1
    assert not list(one.journals.glob("*.jsonl"))


def test_a_torn_line_of_a_journal_is_as_if_it_had_not_been_written(tmp_path):
    journal = Journal(tmp_path)
    journal.batch("w", 7, dt.datetime(2026, 3, 2, tzinfo=dt.UTC), [1, 2])
    journal.begin(1)
    journal.__exit__()
    with journal.path.open("ab") as file:
        file.write(b'{"id":1,"result":"acc')

    [left] = left_behind(tmp_path)

    assert (left.owner, left.token, left.notice_ids, left.begun, left.answers) == ("w", 7, [1, 2], {1}, {})
    assert not journal.path.exists()


class Recording:
    """A sender that notes what it is given; ``answers`` in turn, else accepted."""

    name, channel = "recording", "email"

    def __init__(self, *answers, before=lambda: None):
        self.answers, self.given, self.before = list(answers), [], before

    def compose(self, message):
        return Composed(message.text.encode(), message.text.encode())

    def send(self, parcels, answered):
        for parcel in parcels:
            self.before()
            self.given.append(parcel.notice_id)
            answered(parcel.notice_id, self.answers.pop(0) if self.answers else Outcome("accepted", self.name))

    def close(self):
        pass


def by(world, sender, **more):
    """A dispatcher like the installation's, with another sender."""
    with notices.dispatcher("email", world.moment) as usual:
        return replace(usual, sender=sender, **more)


def test_a_lease_that_runs_out_while_the_process_stands_still_sends_nothing_more(world):
    world.tell("A", "B")
    short = dt.timedelta(seconds=2)
    dispatcher = by(world, None, lease=short)
    sender = Recording(before=lambda: time.sleep(0))
    object.__setattr__(dispatcher, "sender", sender)
    rows = dispatcher._claim()
    lease = Lease(
        dispatcher.engine, dispatcher.owner, rows[0].token, [r.notice_id for r in rows],
        claimed_at=time.monotonic() - 60, length=short,
    )  # fmt: skip

    assert not lease.may_begin()
    with lease:
        time.sleep(1.2)
        assert lease.may_begin()  # renewed meanwhile: it was still ours
    world.ledger.rows("UPDATE points.notice_queue SET lease_owner = 'another', lease_token = 1")
    with lease_of(dispatcher, rows, short) as lost:
        time.sleep(2.2)
        assert not lost.may_begin()
        assert lost.mark_sending([r.notice_id for r in rows]) == set()


def lease_of(dispatcher, rows, length):
    return Lease(
        dispatcher.engine, dispatcher.owner, rows[0].token, [r.notice_id for r in rows],
        claimed_at=time.monotonic(), length=length,
    )  # fmt: skip


def test_a_slow_provider_does_not_cost_the_lease(world):
    world.tell("A", "B")
    sender = Recording(before=lambda: time.sleep(1.5))

    claimed = by(world, sender, lease=dt.timedelta(seconds=2)).run()

    assert (claimed, len(sender.given)) == (2, 2)
    assert [result for _, result in world.results()] == ["accepted"] * 2


def test_all_dispatchers_together_keep_to_the_rate(world):
    world.tell("A", "B")
    world.tell("A", "B")
    world.tell("A", "B")
    sender, began = Recording(), time.monotonic()

    by(world, sender, per_second=4).run()
    world.tell("A", "B")
    by(world, sender, per_second=4).run()

    assert len(sender.given) == 8
    assert time.monotonic() - began >= (8 - 4 - 1) / 4


def test_a_provider_that_says_too_fast_is_left_alone_by_everybody(world):
    world.tell("A", "B")
    busy = Outcome("retry", "recording", retry_after=600, slow_down=True)

    by(world, Recording(busy)).run()
    another = Recording()
    by(world, another).run()

    assert another.given == []
    assert world.waiting() == 2


def test_a_pause_grows_with_the_attempts_and_is_never_longer_than_four_hours():
    dispatcher = object.__new__(Dispatcher)
    object.__setattr__(dispatcher, "chance", random.Random(1))

    for attempt in range(1, 12):
        pauses = [dispatcher.pause_after(attempt).total_seconds() for _ in range(300)]
        longest = min(4 * 3600, 30 * 2**attempt)
        assert 0 <= min(pauses) < longest / 10
        assert longest * 0.9 < max(pauses) <= longest


def test_a_notice_that_cannot_be_written_waits_for_a_person_and_says_why(world):
    world.tell("A", kind="tier_upgraded", class_="service", to_tier=7)
    world.tell("B")

    sent = notices.send(world.moment)

    assert (sent.counts.retried, sent.counts.accepted) == (1, 1)
    [detail] = [row[0] for row in world.ledger.rows("SELECT detail FROM points.notice_result WHERE result = 'retry'")]
    assert detail.startswith("CannotRender: The notice tier_upgraded in en")


def test_what_was_untried_is_given_back_only_by_its_owner(world):
    world.tell("A")
    dispatcher = by(world, Recording())
    [row] = dispatcher._claim()

    def give_back(owner):
        with world.ledger.engine().begin() as connection:
            return dispatch.give_back(
                connection, owner=owner, token=row.token, notice_ids=[row.notice_id], next_moment=world.moment
            )  # fmt: skip

    assert give_back("somebody else") == set()
    assert give_back(dispatcher.owner) == {row.notice_id}
    assert give_back(dispatcher.owner) == set()
    [again] = dispatcher._claim()
    assert again.attempt == 1


@pytest.mark.usefixtures("world")
def test_history_is_replayed_only_into_the_sink(monkeypatch):
    wall = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    assert notices.night_moment(dt.date(2026, 6, 1), wall) == wall
    monkeypatch.setenv("LOYALTY_NOTICE_CLOCK", "business_date")
    [why] = notice_step.why_unsent(dt.date(2026, 6, 1), wall)
    assert "only with the local mail sink" in why

    monkeypatch.delenv("LOYALTY_SMTP_URL")
    # 09:30 in London is 08:30 UTC in summer, 09:30 in winter, also across the change of the clocks
    assert notices.night_moment(dt.date(2026, 6, 1), wall) == dt.datetime(2026, 6, 2, 8, 30, tzinfo=dt.UTC)
    assert notices.night_moment(dt.date(2026, 3, 28), wall) == dt.datetime(2026, 3, 29, 8, 30, tzinfo=dt.UTC)
    assert notices.night_moment(dt.date(2026, 1, 31), wall) == dt.datetime(2026, 2, 1, 9, 30, tzinfo=dt.UTC)


def test_nothing_personal_is_in_the_journal_or_in_what_runs_show(world):
    world.tell("A", "B")
    seen = []
    dispatcher = by(world, None)
    object.__setattr__(
        dispatcher,
        "sender",
        Recording(before=lambda: seen.extend(p.read_text() for p in dispatcher.journals.iterdir())),
    )
    dispatcher.run()

    shown = "".join(seen) + json.dumps(notices.send(world.moment).facts) + repr(dispatcher._claim())
    for personal in ("ada", "wang", "Ada", "王", "example.com"):
        assert personal not in shown


def test_the_guard_answers_in_words(world, copied, in_this_process):
    world.tell("A")
    in_this_process(None)
    copy = copied(world.ledger)
    with pytest.raises(NoticesHeld), translated(), copy.engine().begin() as connection:
        outbox.claim(connection, owner="w", moment=world.moment, limit=1, channel="email")


def test_an_unreachable_provider_is_an_error_of_its_own(world):
    world.tell("A", "B")
    down = Outcome("retry", "recording", is_untried=True)

    with pytest.raises(ProviderUnreachable):
        by(world, Recording(down)).run()

    assert world.ledger.one("SELECT count(*) FROM points.notice_queue WHERE attempts = 0 AND lease_owner IS NULL") == 2
