"""The outbox: nobody shares a notice, a lost lease finishes nothing, and what may not go out is not sent but accounted for."""

import datetime as dt
import json
import subprocess
import sys
import time
from subprocess import PIPE

import pytest
from sqlalchemy import text

from infra.contact_cipher import MasterKeys, new_key, open_contact, open_proof, seal_proof
from points_ledger import contacts, dispatch, errors, outbox
from points_ledger.outbox import Finished

MARKS = b"m" * 32
KEYS = MasterKeys.parse(f"k1:{new_key()}")
NOW = dt.datetime(2026, 1, 10, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
FOREVER = {"basis": "none", "months": None}


@pytest.fixture
def club(ledger):
    """Members m1 to m4 with an address and a number, m5 with neither; 100 points each but m5."""
    ledger.start()
    ledger.take(
        "members", "member_no,name,email,phone", *(f"m{n},Name {n},m{n}@b.example,+4989000{n}" for n in range(1, 5)), "m5,,,",
        contact_key=MARKS, seal=KEYS.seal,
    )  # fmt: skip
    ledger.orders(*(f"A{n},m{n},2026-01-01 10:00,tea,1,100" for n in range(1, 5)))
    ledger.close("2026-01-01")
    return ledger


def write(ledger, member="m1", *, kind="redemption_confirmed", class_="transaction", channel="email", key=None, facts="{}",
          not_before=NOW, valid_until=NOW + 9 * DAY, queued=True):  # fmt: skip
    """Write a notice as the night does; return its number."""
    with ledger.engine().begin() as connection:
        notice_id = connection.execute(
            text(
                "INSERT INTO points.notice (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before, valid_until)"
                " SELECT member_id, :kind, :class, :channel, coalesce(:key, gen_random_uuid()::text), '2026-01-09',"
                " CAST(:facts AS jsonb), :not_before, :valid_until FROM points.member WHERE member_no = :member RETURNING notice_id"
            ),
            {"kind": kind, "class": class_, "channel": channel, "key": key, "facts": facts, "not_before": not_before,
             "valid_until": valid_until, "member": member},
        ).scalar_one()  # fmt: skip
        if queued:
            connection.execute(
                text(
                    "INSERT INTO points.notice_queue (notice_id, channel, not_before) VALUES (:id, :channel, :not_before)"
                ),
                {"id": notice_id, "channel": channel, "not_before": not_before},
            )
    return notice_id


def claim(ledger, owner="w1", moment=NOW, limit=100, channel="email", **more):
    with errors.translated(), ledger.engine().begin() as connection:
        return outbox.claim(connection, owner=owner, moment=moment, limit=limit, channel=channel, **more)


def finish(ledger, claimed, result="accepted", owner="w1", moment=NOW, **more):
    with ledger.engine().begin() as connection:
        rows = [Finished(one.notice_id, result, "smtp", **more) for one in claimed]
        return outbox.finish(connection, owner=owner, token=claimed[0].token, moment=moment, rows=rows)


def mark(ledger, claimed, owner="w1"):
    with ledger.engine().begin() as connection:
        ids = [one.notice_id for one in claimed]
        return outbox.mark_sending(connection, owner=owner, token=claimed[0].token, notice_ids=ids)


def lose(ledger):
    """The leases there are run out."""
    ledger.rows(
        "UPDATE points.notice_queue SET lease_until = clock_timestamp() - interval '1 s' WHERE lease_owner IS NOT NULL"
    )


def results(ledger):
    return [
        (row[0], row[1], row[2], row[3])
        for row in ledger.rows("SELECT notice_id, attempt, result, detail FROM points.notice_result ORDER BY 1, 2")
    ]


def queue(ledger):
    return [row[0] for row in ledger.rows("SELECT notice_id FROM points.notice_queue ORDER BY 1")]


# Claims ----------------------------------------------------------------------------------------------------------------


def test_a_claim_hands_out_what_is_due_on_its_channel_in_order_and_leases_it(club):
    late = write(club, not_before=NOW - DAY, facts='{"points": 7}')
    now = write(club, "m2")
    write(club, not_before=NOW + dt.timedelta(seconds=1))
    write(club, channel="sms")

    got = claim(club)
    assert [one.notice_id for one in got] == [late, now]
    assert (got[0].member_no, got[0].facts, got[0].attempt, got[0].class_) == ("m1", {"points": 7}, 1, "transaction")
    secret = KEYS.unwrap(got[0].member_id, got[0].key)
    assert open_contact(secret, got[0].member_id, got[0].sealed).email == "m1@b.example"
    assert claim(club, owner="w2") == []
    assert len(claim(club, channel="sms")) == 1
    assert claim(club, moment=NOW + dt.timedelta(seconds=1))[0].attempt == 1


def test_an_accepted_notice_leaves_the_queue_with_its_result_and_a_readable_proof(club):
    notice = write(club)
    got = claim(club)
    secret = KEYS.unwrap(got[0].member_id, got[0].key)
    sent, shared = b"Dear Name 1, 20 points were redeemed. " * 3, b"points were redeemed. "
    with club.engine().begin() as connection:
        outbox.keep_dictionary(connection, "v1", shared)
    sealed = seal_proof(secret, notice, 1, sent, shared)

    assert finish(club, got, provider_ref="<notice-1@b.example>", proof=sealed, template_version="v1") == {notice}
    assert (results(club), queue(club)) == ([(notice, 1, "accepted", None)], [])
    with club.engine().begin() as connection:
        [proof] = outbox.proofs(connection, notice)
        [told] = outbox.told(connection, "m1")
    assert open_proof(secret, notice, 1, proof.sealed, proof.dictionary) == sent
    assert (told.result, told.provider_ref, told.has_proof, told.moment) == (
        "accepted",
        "<notice-1@b.example>",
        True,
        NOW,
    )
    assert finish(club, got) == set()  # again: it is no longer its own


def test_a_proof_of_an_unknown_template_is_refused_and_nothing_is_finished(club):
    notice = write(club)
    got = claim(club)
    with pytest.raises(Exception, match="proof_dictionary"):
        finish(club, got, proof=b"x", template_version="v9")
    assert (results(club), queue(club)) == ([], [notice])


DISPATCH = """
import datetime as dt, sys
from sqlalchemy import create_engine
from points_ledger import outbox
engine = create_engine(sys.argv[1], isolation_level="READ COMMITTED")
moment = dt.datetime.fromisoformat(sys.argv[2])
engine.connect().close()
print("ready", flush=True)
sys.stdin.readline()
turns = 0
while True:
    with engine.begin() as connection:
        got = outbox.claim(connection, owner="w", moment=moment, limit=7, channel="email")
    if not got:
        break
    print(*(one.notice_id for one in got), flush=True)
    turns += 1
    if turns == 1:
        sys.stdin.readline()  # until the other has its first ones, too
    with engine.begin() as connection:
        rows = [outbox.Finished(one.notice_id, "accepted", "smtp") for one in got]
        outbox.finish(connection, owner="w", token=got[0].token, moment=moment, rows=rows)
"""


def test_two_processes_at_once_never_share_a_notice_and_leave_none(club):
    ids = sorted(
        row[0]
        for row in club.rows(
            "WITH n AS (INSERT INTO points.notice (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before,"
            " valid_until) SELECT 1 + g % 4, 'adjustment', 'transaction', 'email', g::text, '2026-01-09', '{}', :now, :until"
            " FROM generate_series(1, 600) g RETURNING notice_id)"
            " INSERT INTO points.notice_queue (notice_id, channel, not_before) SELECT notice_id, 'email', :now"
            " FROM n RETURNING notice_id",
            login="batch", now=NOW, until=NOW + DAY,
        )
    )  # fmt: skip
    url = club.engine().url.render_as_string(hide_password=False)
    workers = [
        subprocess.Popen([sys.executable, "-c", DISPATCH, url, NOW.isoformat()], stdin=PIPE, stdout=PIPE, text=True)
        for _ in range(2)
    ]
    assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 2
    first = []
    for step in ("go", "on"):
        for worker in workers:
            worker.stdin.write(f"{step}\n")
            worker.stdin.flush()
        first = first or [worker.stdout.readline() for worker in workers]
    assert all(line.strip() for line in first), "both had work, or nothing was tried"
    sent = [
        [int(notice) for notice in (line + worker.communicate(timeout=60)[0]).split()]
        for line, worker in zip(first, workers, strict=True)
    ]
    assert sorted(sent[0] + sent[1]) == ids
    assert [(row[0], row[2]) for row in results(club)] == [(notice, "accepted") for notice in ids]


def test_claim_and_finish_go_by_the_primary_key(club):
    club.rows(
        "WITH n AS (INSERT INTO points.notice (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before,"
        " valid_until) SELECT 1, 'adjustment', 'transaction', 'email', g::text, '2026-01-09', '{}', :now, :until"
        " FROM generate_series(1, 20000) g"
        " RETURNING notice_id) INSERT INTO points.notice_queue (notice_id, channel, not_before) SELECT notice_id, 'email', :now FROM n",
        now=NOW, until=NOW + DAY,
    )  # fmt: skip
    club.rows("ANALYZE")  # the planner learns that nobody ever has a lease
    with club.engine().begin() as connection:
        got = outbox.claim(connection, owner="w1", moment=NOW, limit=500, channel="email")
        ids = [one.notice_id for one in got]
        assert len(outbox.mark_sending(connection, owner="w1", token=got[0].token, notice_ids=ids)) == 500
        rows = [Finished(one, "accepted", "smtp") for one in ids[:400]] + [
            Finished(one, "retry", "smtp", next=NOW) for one in ids[400:]
        ]
        assert len(outbox.finish(connection, owner="w1", token=got[0].token, moment=NOW, rows=rows)) == 500
        scans = connection.execute(
            text(
                "SELECT relname, seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE schemaname = 'points'"
                " AND relname IN ('notice_queue', 'notice', 'notice_result', 'notice_proof') ORDER BY 1"
            )
        ).all()
        connection.execute(text("SET LOCAL search_path = points"))
    assert [(row.relname, row.seq_scan) for row in scans] == [
        (name, 0) for name in ("notice", "notice_proof", "notice_queue", "notice_result")
    ]
    assert max(row.idx_tup_fetch or 0 for row in scans) < 500 * 30

    body = club.one("SELECT prosrc FROM pg_proc WHERE proname = 'leased'")
    asked = (
        body.replace("any(ids)", f"any(ARRAY{ids}::bigint [])")
        .replace("from owner", "from 'w1'")
        .replace("from token", "from 5")
    )
    with club.engine("admin").begin() as connection:
        connection.execute(text("SET LOCAL search_path = points"))
        plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {asked}"))
    assert "Index Scan using notice_queue_pkey" in plan


def test_counting_what_was_recorded_since_a_moment_does_not_read_what_was_recorded_before(club):
    club.rows(
        "WITH n AS (INSERT INTO points.notice (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before,"
        " valid_until, recorded_at) SELECT 1, 'adjustment', 'transaction', 'email', g::text, '2026-01-09', '{}', :now, :now,"
        " CAST(:now AS timestamptz) + g * interval '1 second' FROM generate_series(1, 40000) g RETURNING notice_id, recorded_at)"
        " INSERT INTO points.notice_result (notice_id, attempt, result, moment, recorded_at)"
        " SELECT notice_id, 1, 'accepted', recorded_at, recorded_at FROM n",
        now=NOW,
    )  # fmt: skip
    with club.engine("admin").connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE points.notice, points.notice_result"))
    since = NOW + dt.timedelta(seconds=39_900)
    with club.engine().begin() as connection:
        assert dispatch.counted(connection, since=since).accepted == 101
        read = connection.execute(
            text(
                "SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
                " WHERE schemaname = 'points' AND relname IN ('notice', 'notice_result')"
            )
        )
        assert {name: tuples < 10_000 for name, tuples in read} == {"notice": True, "notice_result": True}


# Leases ----------------------------------------------------------------------------------------------------------------


def test_a_lost_lease_finishes_nothing_and_says_so(club):
    first, second = write(club), write(club, "m2")
    slow = claim(club, owner="slow")
    lose(club)
    quick = claim(club, owner="quick", limit=1)

    assert {one.attempt for one in quick} == {2}
    assert finish(club, slow, "refused", owner="slow") == {second}  # nobody took that one over
    assert finish(club, quick, owner="quick") == {first}
    assert results(club) == [
        (first, 1, "retry", "the lease ran out"), (first, 2, "accepted", None), (second, 1, "refused", None),
    ]  # fmt: skip


def test_a_lease_of_the_same_worker_from_another_claim_finishes_nothing(club):
    write(club)
    old = claim(club)
    lose(club)
    new = claim(club)
    assert finish(club, old) == set()
    assert (mark(club, old), mark(club, new)) == (set(), {new[0].notice_id})
    assert finish(club, new) == {new[0].notice_id}


def test_a_renewed_lease_is_not_taken_over(club):
    notice = write(club)
    got = claim(club, lease=dt.timedelta(milliseconds=300))
    with club.engine().begin() as connection:
        assert outbox.renew(connection, owner="w1", token=got[0].token, notice_ids=[notice]) == {notice}
        assert outbox.renew(connection, owner="w2", token=got[0].token, notice_ids=[notice]) == set()
    time.sleep(0.4)
    assert claim(club, owner="w2") == []


def test_a_lease_runs_out_by_the_clock_whatever_the_moment(club):
    notice = write(club)
    claim(club, lease=dt.timedelta(milliseconds=200))
    assert claim(club, owner="w2", moment=NOW + DAY) == []
    time.sleep(0.3)
    assert [one.notice_id for one in claim(club, owner="w2")] == [notice]


@pytest.mark.parametrize(
    ("class_", "again"), [("transaction", True), ("legal", True), ("service", False), ("marketing", False)]
)
def test_a_worker_lost_while_sending_leaves_an_uncertain_attempt_and_the_class_decides(club, class_, again):
    with club.engine("batch").begin() as connection:
        contacts.agree(
            connection, member_id=1, class_="marketing", channel="any", is_granted=True, source="operator", moment=NOW
        )  # fmt: skip
    notice = write(club, class_=class_)
    assert mark(club, claim(club)) == {notice}
    lose(club)
    got = claim(club, owner="w2")
    assert results(club) == [(notice, 1, "uncertain", "the lease ran out")]
    assert [(one.notice_id, one.attempt) for one in got] == ([(notice, 2)] if again else [])
    assert queue(club) == ([notice] if again else [])


@pytest.mark.parametrize("class_", ["transaction", "legal", "service"])
def test_an_uncertain_answer_is_tried_again_or_given_up_by_class(club, class_):
    notice = write(club, class_=class_)
    got = claim(club)
    assert finish(club, got, "uncertain", next=NOW + dt.timedelta(minutes=1)) == {notice}
    assert results(club) == [(notice, 1, "uncertain", None)]
    assert claim(club) == []
    later = claim(club, moment=NOW + dt.timedelta(minutes=1))
    assert [one.attempt for one in later] == ([] if class_ == "service" else [2])


def test_a_retry_waits_for_its_moment_never_past_the_last_one_and_eight_times_at_most(club):
    notice = write(club, valid_until=NOW + DAY)
    for attempt in range(1, 8):
        got = claim(club)
        assert got[0].attempt == attempt
        finish(club, got, "retry", next=NOW)
    finish(club, claim(club), "retry", detail="451 busy", next=NOW)
    assert queue(club) == []
    assert results(club)[-1] == (notice, 8, "refused", "given up after 8 attempts: 451 busy")

    other = write(club, valid_until=NOW + DAY)
    finish(club, claim(club), "retry", next=NOW + 3 * DAY)
    assert club.one("SELECT not_before FROM points.notice_queue") == NOW + DAY
    assert claim(club, moment=NOW + DAY) == []
    assert results(club)[-1] == (other, 2, "stale", "too late")


def test_a_result_that_only_the_ledger_may_give_is_refused(club):
    notice = write(club)
    got = claim(club)
    with pytest.raises(errors.InvalidRequest), errors.translated():
        finish(club, got, "stale")
    assert (results(club), queue(club)) == ([], [notice])


# What may not go out -----------------------------------------------------------------------------------------------------


def test_what_is_too_late_has_no_address_or_is_suppressed_gets_its_result_and_the_rest_goes_out(club):
    late = write(club, valid_until=NOW)
    nowhere = write(club, "m5")
    bounced = write(club, "m2")
    good = write(club, "m3")
    [row] = club.rows("SELECT email_mark FROM points.contact WHERE member_id = 2")
    with club.engine().begin() as connection:
        contacts.suppress(connection, bytes(row.email_mark), "email", "hard_bounce", moment=NOW)

    assert [one.notice_id for one in claim(club, limit=1)] == [good]  # the others do not fill the batch
    assert results(club) == [
        (late, 1, "stale", "too late"), (nowhere, 1, "unreachable", "no address"), (bounced, 1, "suppressed", "hard_bounce"),
    ]  # fmt: skip
    assert queue(club) == [good]


@pytest.mark.parametrize("class_", ["transaction", "legal", "service", "marketing"])
@pytest.mark.parametrize(
    ("causes", "stopped"),
    [
        (["hard_bounce"], {"transaction", "legal", "service", "marketing"}),
        (["operator"], {"transaction", "legal", "service", "marketing"}),
        (["complaint"], {"transaction", "service", "marketing"}),
        (["hard_bounce", "lifted"], set()),
        (["lifted", "hard_bounce"], {"transaction", "legal", "service", "marketing"}),
        (["complaint", "hard_bounce", "complaint"], {"transaction", "legal", "service", "marketing"}),
    ],
)
def test_a_suppression_stops_the_classes_of_its_cause_at_the_claim(club, class_, causes, stopped):
    [row] = club.rows("SELECT email_mark FROM points.contact WHERE member_id = 1")
    write(club, class_=class_)
    with club.engine().begin() as connection:
        contacts.agree(
            connection, member_id=1, class_="marketing", channel="any", is_granted=True, source="operator", moment=NOW
        )  # fmt: skip
        for cause in causes:  # after the notice was written
            contacts.suppress(connection, bytes(row.email_mark), "email", cause, moment=NOW)
        contacts.suppress(connection, bytes(row.email_mark), "sms", "hard_bounce", moment=NOW)  # another channel
    assert len(claim(club)) == (class_ not in stopped)


@pytest.mark.parametrize(
    ("class_", "said", "goes"),
    [
        ("transaction", [("service", "any", False), ("marketing", "any", False)], True),
        ("legal", [("service", "any", False)], True),
        ("service", [], True),
        ("service", [("service", "any", False)], False),
        ("service", [("service", "sms", False)], True),
        ("service", [("service", "any", False), ("service", "email", True)], True),
        ("service", [("service", "email", True), ("service", "any", False)], False),
        ("marketing", [], False),
        ("marketing", [("marketing", "any", True)], True),
        ("marketing", [("service", "any", True)], False),
        ("marketing", [("marketing", "sms", True)], False),
        ("marketing", [("marketing", "any", True), ("marketing", "email", False)], False),
    ],
)
def test_consent_is_by_class_and_channel_and_the_newest_word_counts(club, class_, said, goes):
    with club.engine().begin() as connection:
        for about, channel, granted in said:
            contacts.agree(
                connection, member_id=1, class_=about, channel=channel, is_granted=granted, source="operator", moment=NOW
            )  # fmt: skip
    notice = write(club, class_=class_)
    assert bool(claim(club)) == goes
    assert results(club) == ([] if goes else [(notice, 1, "suppressed", "no consent")])


def expiring(points=100, lapses="2026-02-01", **more):
    return json.dumps(
        {"points": points, "expires_on": lapses, "dates": [lapses], "lots": [{"points": points, "expires_on": lapses}],
         "balance": points, "value": "1.00", "as_of": "2026-01-01", **more}
    )  # fmt: skip


def test_a_warning_about_points_that_are_gone_is_stale_and_about_fewer_points_says_so(club):
    lot = club.rows("SELECT valid_through FROM points.lot WHERE member_id = 1")[0][0]
    assert lot == dt.date(2026, 2, 1)
    for member in ("m1", "m2", "m3"):
        write(club, member, kind="points_expiring", class_="service", facts=expiring())
    club.rows("SELECT points.spend('m1', 100, '2026-01-02', 'till', 'T1')", login="api")
    club.rows("SELECT points.spend('m2', 60, '2026-01-02', 'till', 'T2')", login="api")

    fewer, same = claim(club)
    assert [(row[1], row[2]) for row in results(club)] == [(1, "stale")]
    assert fewer.facts == {
        "points": 40, "expires_on": "2026-02-01", "dates": ["2026-02-01"], "lots": [{"points": 40, "expires_on": "2026-02-01"}],
        "balance": 40, "value": "0.40", "as_of": "2026-01-10",
    }  # fmt: skip
    assert (same.member_no, same.facts["points"], same.facts["as_of"]) == ("m3", 100, "2026-01-01")
    write(
        club, "m3", kind="points_expiring", class_="service", facts=expiring(lapses="2026-02-02")
    )  # that date is nobody's
    assert claim(club) == []


def test_a_digest_leaves_out_the_parts_that_are_no_longer_so(club):
    digest = '{"parts": [{"kind": "points_expiring", "facts": EXPIRING}, {"kind": "tier_upgraded", "facts": {"to_tier": "gold"}}]}'
    write(club, "m1", kind="digest", class_="service", facts=digest.replace("EXPIRING", expiring()))
    write(
        club,
        "m2",
        kind="digest",
        class_="service",
        facts=f'{{"parts": [{{"kind": "points_expiring", "facts": {expiring()}}}]}}',
    )
    for member in ("m1", "m2"):
        club.rows(f"SELECT points.spend('{member}', 100, '2026-01-02', 'till', 'T')", login="api")
    [left] = claim(club)
    assert left.facts == {"parts": [{"kind": "tier_upgraded", "facts": {"to_tier": "gold"}}]}
    assert [row[2] for row in results(club)] == ["stale"]


# Warnings --------------------------------------------------------------------------------------------------------------


def warnings(ledger):
    return [
        tuple(row)
        for row in ledger.rows(
            "SELECT member_id, lapses_on, notice_id, accepted_on FROM points.expiry_warning ORDER BY 1, 2"
        )
    ]


def test_the_first_accepted_notice_that_names_a_date_is_the_warning_of_it(club):
    facts = expiring(dates=["2026-02-01", "2026-03-01"])
    first = write(club, kind="points_expiring", class_="service", facts=facts)
    # half past midnight in London is the day after in no summer: the day is the programme's
    finish(club, claim(club), moment=dt.datetime(2026, 1, 10, 0, 30, tzinfo=dt.UTC))
    lapses = [dt.date(2026, 2, 1), dt.date(2026, 3, 1)]
    assert warnings(club) == [(1, day, first, dt.date(2026, 1, 10)) for day in lapses]

    write(club, kind="points_expiring", class_="service", facts=expiring())
    finish(club, claim(club, moment=NOW + DAY), moment=NOW + DAY)
    assert warnings(club) == [(1, day, first, dt.date(2026, 1, 10)) for day in lapses]


@pytest.mark.parametrize("result", ["refused", "uncertain", "retry"])
def test_a_notice_that_was_not_accepted_warns_of_nothing(club, result):
    write(club, kind="points_expiring", class_="service", facts=expiring())
    finish(club, claim(club), result, next=NOW)
    assert warnings(club) == []


def test_the_local_day_of_an_acceptance_is_the_programmes(ledger):
    ledger.start(programme={"time_zone": "Asia/Shanghai"})
    ledger.take("members", "member_no,email", "m1,m1@b.example", contact_key=MARKS, seal=KEYS.seal)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    write(ledger, kind="points_expiring", class_="service", facts=expiring())
    finish(ledger, claim(ledger), moment=dt.datetime(2026, 1, 10, 16, tzinfo=dt.UTC))
    assert warnings(ledger)[0][3] == dt.date(2026, 1, 11)


def test_an_accepted_digest_warns_of_what_its_parts_name_and_shows_as_their_result(club):
    part = write(club, kind="points_expiring", class_="service", facts=expiring(), queued=False)
    digest = write(
        club,
        kind="digest",
        class_="service",
        facts=f'{{"parts": [{{"kind": "points_expiring", "facts": {expiring()}}}]}}',
    )
    club.rows("INSERT INTO points.digest_part VALUES (:part, :digest)", login="batch", part=part, digest=digest)
    finish(club, claim(club))
    assert warnings(club) == [(1, dt.date(2026, 2, 1), part, dt.date(2026, 1, 10))]
    with club.engine().begin() as connection:
        assert [(told.kind, told.result, told.digest_id) for told in outbox.told(connection, "m1")] == [
            ("points_expiring", "accepted", digest), ("digest", "accepted", None),
        ]  # fmt: skip


# The guard -------------------------------------------------------------------------------------------------------------


def test_a_copied_database_claims_nothing_until_a_person_says_so(club, copied):
    ids = [write(club), write(club, "m2")]
    copy = copied(club)

    with pytest.raises(errors.NoticesHeld, match="belong to system"):
        claim(copy)
    assert (results(copy), queue(copy)) == ([], ids)
    with copy.engine().begin() as connection:
        assert outbox.why_held(connection) is not None
        assert [(w.kind, w.channel, w.notices) for w in outbox.waiting(connection)] == [
            ("redemption_confirmed", "email", 2)
        ]
    assert len(claim(club)) == 2  # the original goes on

    with pytest.raises(errors.InvalidRequest), errors.translated(), copy.engine().begin() as connection:
        outbox.release(connection, reason="why not", moment=NOW, is_dropping=False)
    with copy.engine().begin() as connection:
        assert outbox.release(connection, reason="this is production now", moment=NOW, is_dropping=False) == 0
    assert len(claim(copy)) == 2
    [row] = copy.rows("SELECT reason, accepted_by FROM points.dispatcher_identity")
    assert tuple(row) == ("this is production now", "loyalty_batch")


def test_a_release_that_drops_sends_nothing_that_was_in_the_copy(club, copied):
    ids = [write(club), write(club, "m2")]
    copy = copied(club)
    with copy.engine().begin() as connection:
        assert outbox.release(connection, reason="a copy for training", moment=NOW, is_dropping=True) == 2
    assert [(row[0], row[2]) for row in results(copy)] == [(one, "held") for one in ids]
    assert claim(copy) == []
    fresh = write(copy)
    assert [one.notice_id for one in claim(copy)] == [fresh]


def test_a_copy_made_before_anything_was_sent_holds_too_and_one_made_before_the_first_notice_does_not(club, copied):
    empty = copied(club)
    assert claim(empty) == []
    write(empty)
    assert len(claim(empty)) == 1
    write(club)
    with pytest.raises(errors.NoticesHeld):
        claim(copied(club))


def test_another_installation_on_the_same_disk_claims_nothing(club):
    write(club)
    write(club, "m2")
    assert len(claim(club, limit=1, installation="production")) == 1
    with pytest.raises(errors.NoticesHeld, match="installation production"):
        claim(club, installation="staging")
    assert len(claim(club, installation="production")) == 1


# Rates -----------------------------------------------------------------------------------------------------------------


def test_a_rate_is_shared_and_never_exceeded(club):
    def ask(messages=5, per_second=10, burst=10):
        with club.engine().begin() as connection:
            return outbox.seconds_to_wait(connection, "ses", messages=messages, per_second=per_second, burst=burst)

    began = time.monotonic()
    granted = 0
    while time.monotonic() < began + 2:
        granted += 5 if ask() == 0 else 0
    assert 20 <= granted <= 2 * 10 + 10 + 5  # the rate, the burst, and the batch that meets an empty bucket
    assert 0 < max(ask(), ask()) <= 1
    with club.engine().begin() as connection:
        outbox.pause(connection, "ses", seconds=30)
    assert 28 < ask() < 31


def test_a_till_and_support_may_not_claim_and_nobody_changes_what_was_told(club):
    notice = write(club)
    for login in ("api", "support", "auditor", "approver", "backup"):
        with pytest.raises(errors.NotAllowed), errors.translated():
            club.rows("SELECT * FROM points.claim_notices('x', now(), 1, interval '1 min', 'email', NULL)", login=login)
    for table in ("contact", "notice_proof", "proof_dictionary", "suppression"):
        with pytest.raises(errors.NotAllowed), errors.translated():
            club.rows(f"SELECT * FROM points.{table}", login="support")
    assert club.one("SELECT notice_id FROM points.notice", login="support") == notice
