"""Dispatchers that are killed, replies that are lost, addresses that are dead: nothing is lost, and repeats stay in bounds.

The bound that docs/howto/send-notices.md promises: at most one message per connection and kill, and one for each reply that
was lost, of the classes that are sent again.
"""

import datetime as dt
import os
import random
import time
from pathlib import Path

import pytest

CONNECTIONS = 4
UPGRADED = {"from_tier": None, "to_tier": "gold", "held_from": "2026-03-02", "valid_through": "2027-12-31"}


def wait_until(happened, seconds=60):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def start(fork):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LOYALTY_")}
    script = Path(__file__).with_name("dispatch_worker.py")
    return lambda environment, moment: fork(script, environment={**kept, **environment}, moment=moment)


def populate(told, count):
    """Every hundredth address is dead; every fourth notice is one that members may refuse."""
    members = [
        (f"M{n}", f"Name {n}", f"{'gone' if n % 100 == 7 else 'm'}{n}@example.com", "zh_CN" if n % 3 == 0 else "en")
        for n in range(count)
    ]
    told.enrol(*members)
    told.tell(*(m[0] for n, m in enumerate(members) if n % 4))
    told.tell(*(m[0] for n, m in enumerate(members) if n % 4 == 0), kind="tier_upgraded", class_="service", **UPGRADED)


@pytest.mark.race
@pytest.mark.parametrize(
    ("count", "kills"), [(500, 3), pytest.param(4000, 8, marks=pytest.mark.long)], ids=["short", "as the figures ask"]
)
def test_killed_dispatchers_lose_nothing_and_repeat_no_more_than_promised(start, told, mailbox, count, kills):
    mailbox.refuse, mailbox.lose = 0.05, 0.02
    populate(told, count)
    environment = told.environment(mailbox, LOYALTY_SMTP_CONNECTIONS=str(CONNECTIONS))
    chance, moment = random.Random(3), told.moment

    for _ in range(kills):
        worker = start(environment, moment)
        # in the midst of sending, wherever that is
        enough = mailbox.accepted.total() + chance.randint(1, count // (kills + 2))
        wait_until(lambda w=worker, n=enough: mailbox.accepted.total() >= n or not w.is_running())
        worker.kill()
    in_the_air = kills * CONNECTIONS
    for _ in range(40):
        worker = start(environment, moment)
        assert worker.answer() is not None
        if told.waiting() == 0:
            break
        moment += dt.timedelta(hours=5)

    assert told.waiting() == 0
    results = dict(
        told.ledger.rows(
            "SELECT n.notice_id, array_agg(r.result ORDER BY r.attempt) FROM points.notice n"
            " JOIN points.notice_result r USING (notice_id) GROUP BY 1"
        )
    )
    dead = {row[0] for row in told.ledger.rows(
        "SELECT notice_id FROM points.notice JOIN points.member USING (member_id)"
        " WHERE substr(member_no, 2)::int % 100 = 7")}  # fmt: skip
    service = {row[0] for row in told.ledger.rows("SELECT notice_id FROM points.notice WHERE class = 'service'")}
    delivered = {int(key.removeprefix("<notice-").partition("@")[0]): n for key, n in mailbox.accepted.items()}

    assert len(results) == count
    assert {results[number][-1] for number in dead} == {"refused"}
    assert not dead & delivered.keys()
    undelivered = results.keys() - dead - delivered.keys()
    # of what may be refused, an uncertain one is not sent again: it may not have arrived, and says so
    assert {results[number][-1] for number in undelivered} <= {"uncertain"}
    assert undelivered <= service
    assert len(undelivered) <= in_the_air
    assert all("accepted" in results[n] or "uncertain" in results[n] for n in delivered)
    duplicates = sum(n - 1 for n in delivered.values())
    assert duplicates <= in_the_air + mailbox.lost_replies
    told_of = told.ledger.one(
        "SELECT count(*) FROM points.notice_result r WHERE result IN ('accepted', 'uncertain') AND EXISTS ("
        " SELECT FROM points.notice_result e WHERE e.notice_id = r.notice_id AND e.attempt < r.attempt"
        " AND e.result IN ('accepted', 'uncertain'))"
    )
    assert duplicates <= told_of <= in_the_air + mailbox.lost_replies
    assert told.ledger.one("SELECT count(*) FROM points.suppression WHERE cause = 'hard_bounce'") == len(dead)
    proofs = told.ledger.one("SELECT count(*) FROM points.notice_proof")
    assert proofs >= len({n for n in results if "accepted" in results[n]})
    print(
        f"{count} notices, {kills} kills, {mailbox.lost_replies} lost replies: lost 0, duplicates {duplicates} (counted"
        f" {told_of}, bound {in_the_air + mailbox.lost_replies}), undelivered and uncertain {len(undelivered)}"
    )


@pytest.mark.race
def test_two_dispatchers_send_a_message_once(start, told, mailbox):
    told.enrol(*((f"M{n}", "", f"m{n}@example.com", "en") for n in range(1200)))
    told.tell(*(f"M{n}" for n in range(1200)))
    environment = told.environment(mailbox)

    workers = [start(environment, told.moment) for _ in range(3)]
    for worker in workers:
        assert worker.answer() is not None

    assert set(mailbox.accepted.values()) == {1}
    assert len(mailbox.accepted) == 1200
    assert {result for _, result in told.results()} == {"accepted"}
