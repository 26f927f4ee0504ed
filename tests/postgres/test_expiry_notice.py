"""No notice, no expiry: what lapses had its notice accepted in time, and what has none gets a later day and a record of why."""

import datetime as dt
import json
import random
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from sqlalchemy.exc import DBAPIError

from flows.commands.night import close
from infra.contact_cipher import MasterKeys, new_key
from notifications.month_document import blocks
from points_ledger import errors, expiry, month, notices, outbox, simulation_state, undo, verification
from points_ledger.outbox import Finished
from points_ledger.queries import statement

KEYS = MasterKeys.parse(f"k1:{new_key()}")
MARKS = b"m" * 32
DAY = dt.timedelta(days=1)
NOTICES = {"site_url": "https://club.example", "postal_address": "1 Quay Street, Leith"}
FIRST = dt.date(2026, 1, 23)  # of the programme
# what is bought on the first day can be spent through 1 February; its notices are due with the closes of 24 and 28 January
GATED = {
    "basis": "calendar", "months": None, "month_day": "02-01", "notice": {"ladder_days": [7, 3], "required": True},
}  # fmt: skip
LATER = GATED | {"month_day": "02-08"}
# whose lots were moved, from which day to which, and why
DEFERRED = """
SELECT member_no, CAST(from_date AS text), CAST(to_date AS text), why
FROM points.lot_deferral JOIN points.member USING (member_id) ORDER BY business_date, 1, 2
"""
# every expiry, with the notice that makes it lawful
UNPROVED = """
SELECT m.member_no, e.effective_on - 1 FROM points.entry e JOIN points.member m USING (member_id)
LEFT JOIN points.expiry_warning w ON w.member_id = e.member_id AND w.lapses_on = e.effective_on - 1
WHERE e.kind = 'expire' AND coalesce(w.accepted_on > e.effective_on - 1 - :min_days, true)
"""


def day(written):
    return dt.date.fromisoformat(written)


def club(ledger, expiry=GATED, **sections):
    ledger.start(programme={"starts_on": FIRST}, expiry=expiry, notices=NOTICES, **sections)


def enrol(ledger, *numbers, zone=""):
    ledger.take(
        "members", "member_no,email,time_zone", *(f"{no},{no}@b.example,{zone}" for no in numbers), contact_key=MARKS, seal=KEYS.seal,
    )  # fmt: skip


def morning(closed, late=0):
    """09:30 in London on the day after a night."""
    return dt.datetime.combine(closed + (1 + late) * DAY, dt.time(9, 30), ZoneInfo("Europe/London"))


def dispatch(ledger, moment, result="accepted", only=None):
    """Send what is due: everything, or what ``only`` (a function of the claimed notice) lets through; the rest is tried later."""
    sent = []
    for channel in ("email", "sms"):
        with errors.translated(), ledger.engine().begin() as connection:
            claimed = outbox.claim(connection, owner="w", moment=moment, limit=10_000, channel=channel)
        if claimed:
            rows = [
                Finished(n.notice_id, result if only is None or only(n) else "retry", "sink", next=moment + DAY / 2) for n in claimed
            ]  # fmt: skip
            with ledger.engine().begin() as connection:
                outbox.finish(connection, owner="w", token=claimed[0].token, moment=moment, rows=rows)
        sent += [n for n in claimed if only is None or only(n)]
    return sent


def nights(ledger, first, through, *, late=0, **sending):
    """Close nights and send the morning after each, or so many days late."""
    sent = []
    closed = day(first)
    while closed <= day(through):
        ledger.close(closed)
        sent += dispatch(ledger, morning(closed, late), **sending)
        closed += DAY
    return sent


def proved(ledger, min_days=7):
    """Nothing lapsed without its notice, the checks say so too, and the ledger still rebuilds from its entries."""
    assert ledger.rows(UNPROVED, min_days=min_days) == []
    with ledger.engine("auditor").begin() as connection:
        assert [d.row for d in verification.verify(connection)] == []
        found = connection.execute(statement("check_expired_without_notice"), {"since": dt.date(2000, 1, 1)}).all()
    assert found == []


def test_points_lapse_when_the_notice_of_their_day_was_accepted_in_time(ledger):
    club(ledger)
    enrol(ledger, "m1")
    ledger.orders("A1,m1,2026-01-23 10:00,tea,1,100")
    sent = nights(ledger, "2026-01-23", "2026-02-01")
    assert [(n.kind, n.facts.get("stage"), n.business_date.isoformat()) for n in sent] == [
        ("points_expiring", 7, "2026-01-24"),
        ("points_expiring", 3, "2026-01-28"),
        ("monthly_statement", None, "2026-01-31"),
        ("points_expired", None, "2026-02-01"),
    ]
    assert (sent[0].facts["points"], sent[0].facts["expires_on"], sent[0].facts["as_of"]) == (
        100,
        "2026-02-01",
        "2026-01-25",
    )
    assert (sent[0].facts["value"], sent[0].facts["balance"]) == ("1.00", 100)
    assert ledger.lots("m1") == [(100, 0, "2026-02-01")]
    assert ledger.rows(DEFERRED) == []
    proved(ledger)


def test_without_a_notice_the_last_day_moves_and_says_why(ledger):
    club(ledger)
    enrol(ledger, "mute", "late")
    ledger.members("nobody")
    ledger.orders(*(f"A{n},{n},2026-01-23 10:00,tea,1,100" for n in ("mute", "late", "nobody")))
    nights(ledger, "2026-01-23", "2026-01-26", only=lambda _: False)
    nights(ledger, "2026-01-27", "2026-01-31", only=lambda n: n.member_no == "late")
    [result] = ledger.close("2026-02-01")
    assert ledger.rows(DEFERRED) == [
        ("late", "2026-02-01", "2026-02-11", "too_late"),
        ("mute", "2026-02-01", "2026-02-11", "no_notice"),
        ("nobody", "2026-02-01", "2026-02-11", "unreachable"),
    ]
    assert result.totals["without_notice"] == {
        why: {"members": 1, "lots": 1, "points": 100} for why in ("too_late", "no_notice", "unreachable")
    }
    assert [ledger.lots(no) for no in ("mute", "late", "nobody")] == [[(100, 100, "2026-02-11")]] * 3
    # the notice of the new day is due at once, and they lapse with it
    told = dispatch(ledger, morning(day("2026-02-01")))
    assert sorted((n.member_no, n.facts["stage"], n.facts["expires_on"]) for n in told if n.kind == "points_expiring") == [
        ("late", 7, "2026-02-11"), ("mute", 7, "2026-02-11")
    ]  # fmt: skip
    nights(ledger, "2026-02-02", "2026-02-11")
    assert [ledger.lots(no)[0][1] for no in ("mute", "late", "nobody")] == [0, 0, 100]
    assert ledger.rows(DEFERRED)[3:] == [("nobody", "2026-02-11", "2026-02-21", "unreachable")]
    proved(ledger)


def test_the_month_says_what_became_of_its_notices_and_of_the_lots_without_one(ledger):
    # both steps in the first two nights: what no morning accepts is given up within the month
    rule = GATED | {"notice": GATED["notice"] | {"ladder_days": [8, 7], "unreachable": "expire"}}
    club(ledger, rule)
    ledger.change("2026-01-25", expiry=rule | {"month_day": "02-09"}, notices=NOTICES)
    enrol(ledger, "mute", "told", "dead")
    ledger.members("nobody")
    ledger.orders(*(f"A{n},{n},2026-01-23 10:00,tea,1,100" for n in ("mute", "told", "nobody")))
    ledger.orders("B1,dead,2026-01-25 10:00,tea,1,100")
    nights(ledger, "2026-01-23", "2026-01-31", only=lambda n: n.member_no != "mute")
    nights(ledger, "2026-02-01", "2026-02-28", result="refused")

    def told(name):
        with ledger.engine("auditor").connect() as connection:
            report = month.figures(connection, month.month_of(connection, name))
        return report, {row["kind"]: row for row in report["notices"]}

    january, kinds = told("2026-01")
    assert january["lapsed"] == []
    # two of told, one of dead on the morning after the month; those of mute were given up after eight attempts
    assert kinds["points_expiring"] == {
        "kind": "points_expiring", "written": 5, "accepted": 3, "refused": 2, "uncertain": 0, "not_sent": 0, "waiting": 0,
        "repeated": 0, "lost": 0,
    }  # fmt: skip
    february, kinds = told("2026-02")
    assert february["lapsed"] == [
        {"what": "cleared", "why": None, "lots": 2, "points": 200},
        {"what": "cleared", "why": "unreachable", "lots": 1, "points": 100},
        {"what": "deferred", "why": "no_notice", "lots": 3, "points": 300},
    ]
    assert (kinds["points_expired"]["refused"], kinds["points_expired"]["accepted"]) == (2, 0)
    words = [str(block) for block in blocks(february, "0" * 64)]
    assert any("no channel reaches the member, and the programme says expire" in block for block in words)


def test_deferred_points_are_spent_in_the_order_of_their_new_day_and_count_as_available(ledger):
    club(ledger)
    ledger.change("2026-01-25", expiry=LATER, notices=NOTICES)
    enrol(ledger, "m1")
    ledger.orders("A1,m1,2026-01-23 10:00,tea,1,100", "A2,m1,2026-01-25 10:00,tea,1,100")
    nights(ledger, "2026-01-23", "2026-02-01", only=lambda _: False)
    assert ledger.lots("m1") == [(100, 100, "2026-02-11"), (100, 100, "2026-02-08")]
    assert ledger.one("SELECT points.available(1, '2026-02-09')") == 100
    ledger.redemptions("R1,m1,2026-02-02 10:00,150")
    ledger.close("2026-02-02")
    assert ledger.lots("m1") == [(100, 50, "2026-02-11"), (100, 0, "2026-02-08")]
    proved(ledger)


def test_members_whom_nothing_reaches_follow_the_rule_of_the_programme(ledger, reached, tmp_path):
    club(ledger, GATED | {"notice": {**GATED["notice"], "unreachable": "expire"}})
    ledger.members("nobody")
    enrol(ledger, "out", "m1")
    ledger.orders(*(f"A{n},{n},2026-01-23 10:00,tea,1,100" for n in ("nobody", "out", "m1")))
    ledger.rows(
        "INSERT INTO points.consent (member_id, class, channel, granted, source, moment)"
        " SELECT member_id, 'service', 'any', false, 'operator', '2026-01-23' FROM points.member WHERE member_no = 'out'"
    )
    nights(ledger, "2026-01-23", "2026-01-31", only=lambda _: False)
    with ledger.engine().begin() as connection:
        listed = [
            (row["member_no"], row["points"], row["why"])
            for row in notices.unreachable(connection, day=day("2026-01-31"))
        ]
        fates = expiry.classified(connection, closed=day("2026-02-01"))
        plan = expiry.plan(connection, closed=day("2026-02-01"))
    assert listed == [("nobody", 100, "no contact data"), ("out", 100, "opted out")]
    assert fates == {"no_notice": {"lots": 1, "points": 100}, "unannounced": {"lots": 2, "points": 200}}
    assert (plan.members, plan.points) == (2, 200)
    with reached(ledger, tmp_path):
        shown = CliRunner().invoke(close, ["--through", "2026-02-02", "--dry-run"], catch_exceptions=False)
        planned = CliRunner().invoke(close, ["--through", "2026-02-02", "--dry-run", "--json"], catch_exceptions=False)
    assert [(n["lots_lapsing"], n["points_lapsing"], n["deferred"]) for n in json.loads(planned.stdout)] == [
        (2, 200, {"no_notice": {"lots": 1, "points": 100}}), (0, 0, {}),
    ]  # fmt: skip
    deferred = [line for line in shown.stdout.splitlines() if "deferred" in line]
    assert deferred == ["2026-02-01: 100 points of 1 lots would be deferred, not lapse: no notice."]
    [result] = ledger.close("2026-02-01")
    assert result.totals["expired_points"] == 200
    assert result.totals["without_notice"]["unannounced"] == {"members": 2, "lots": 2, "points": 200}
    assert [row[0] for row in ledger.rows(DEFERRED)] == ["m1"]
    assert sorted(row[0] for row in ledger.rows(UNPROVED, min_days=7)) == ["nobody", "out"]
    with ledger.engine("auditor").begin() as connection:
        assert connection.execute(statement("check_expired_without_notice"), {"since": day("2026-01-23")}).all() == []


def test_a_night_killed_between_two_members_goes_on_and_neither_plan_nor_guard_counts_what_is_deferred(
    ledger, monkeypatch
):
    club(ledger, guard={"max_share_of_outstanding": "0.6", "max_times_median": "off"})
    enrol(ledger, *(f"m{n}" for n in range(6)))
    ledger.orders(*(f"A{n},m{n},2026-01-23 10:00,tea,1,100" for n in range(6)))
    nights(ledger, "2026-01-23", "2026-01-31", only=lambda n: n.member_no < "m3")
    tell = expiry.notices.tell_expired
    calls = []

    def dies_on_the_second(*args, **values):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return tell(*args, **values)

    monkeypatch.setattr(expiry.notices, "tell_expired", dies_on_the_second)
    monkeypatch.setattr(expiry, "CHUNK", 1)
    monkeypatch.setattr(expiry.apply, "__kwdefaults__", {**expiry.apply.__kwdefaults__, "chunk_size": 1})
    with pytest.raises(KeyboardInterrupt):
        ledger.close("2026-02-01")
    assert len(ledger.rows(DEFERRED)) == 3
    assert ledger.one("SELECT count(*) FROM points.entry WHERE kind = 'expire'") == 1
    assert ledger.one("SELECT count(*) FROM points.notice WHERE kind = 'points_expired'") == 1
    [result] = ledger.close("2026-02-01")
    assert ledger.one("SELECT plan ->> 'points' FROM points.run WHERE business_date = '2026-02-01'") == "300"
    assert (result.totals["expired_lots"], result.totals["notices"]["points_expired"]) == (3, 3)
    assert result.totals["without_notice"]["no_notice"]["lots"] == 3
    proved(ledger)


@pytest.mark.parametrize("late", [0, 1, 2, 3])
def test_nights_that_are_late_defer_rather_than_clear(ledger, late):
    club(ledger)
    enrol(ledger, "m1")
    ledger.orders("A1,m1,2026-01-23 10:00,tea,1,100")
    nights(ledger, "2026-01-23", "2026-02-11", late=late)
    assert [row[3] for row in ledger.rows(DEFERRED)] == {0: [], 1: ["too_late"], 2: ["too_late"], 3: ["too_late"] * 2}[
        late
    ]
    assert ledger.lots("m1")[0][1] == (100 if late == 3 else 0)
    proved(ledger)


def test_a_hold_over_the_last_day_and_its_release_ask_for_the_notice_too(ledger):
    club(ledger)
    enrol(ledger, "m1", "m2")
    ledger.orders("A1,m1,2026-01-23 10:00,tea,1,100", "A2,m2,2026-01-23 10:00,tea,1,100")
    nights(ledger, "2026-01-23", "2026-01-23", only=lambda n: n.member_no == "m1")
    for no in ("m1", "m2"):
        ledger.rows("SELECT points.hold(:no, 100, '2026-01-24', '2026-02-05', 'H')", login="api", no=no)
    nights(ledger, "2026-01-24", "2026-02-04", only=lambda n: n.member_no == "m1")
    assert [ledger.lots(no) for no in ("m1", "m2")] == [[(100, 100, "2026-02-01")]] * 2
    ledger.close("2026-02-05")
    assert [ledger.lots(no) for no in ("m1", "m2")] == [[(100, 0, "2026-02-01")], [(100, 100, "2026-02-15")]]
    proved(ledger)


def test_points_given_back_by_an_undo_or_a_cancellation_wait_for_a_notice_of_their_own(ledger):
    club(ledger)
    enrol(ledger, "m1")
    ledger.orders("A1,m1,2026-01-23 10:00,tea,1,100")
    ledger.redemptions("R1,m1,2026-01-24 10:00,40")
    nights(ledger, "2026-01-23", "2026-02-01")
    ledger.cancellations("R1,2026-02-02 10:00")
    nights(ledger, "2026-02-02", "2026-02-02")
    assert ledger.lots("m1") == [(100, 0, "2026-02-01"), (40, 40, "2026-03-04")]
    run_id = ledger.one("SELECT run_id FROM points.run WHERE business_date = '2026-02-01'")
    approval = ledger.one(
        "SELECT points.propose_undo(:run, 'debt', '{}', 'lapsed by mistake of ours')", login="batch", run=run_id
    )
    ledger.rows("SELECT points.approve(:id)", login="approver", id=approval)
    undo.execute(ledger.engine(), approval_id=approval, day=day("2026-02-03"), code_version="test")
    assert ledger.lots("m1")[2] == (60, 60, "2026-03-05")
    nights(ledger, "2026-02-03", "2026-03-05", only=lambda n: n.facts.get("expires_on") != "2026-03-05")
    assert ledger.lots("m1")[1:] == [(40, 0, "2026-03-04"), (60, 60, "2026-03-15")]
    proved(ledger)


def test_a_warning_of_points_that_were_gone_when_it_went_out_proves_nothing(ledger):
    """The part of a digest whose points were spent is not in the mail; given back in time, they must be announced anew."""
    club(ledger)
    enrol(ledger, "m1")
    ledger.orders("A1,m1,2026-01-23 10:00,tea,1,100", "A2,m1,2026-01-24 10:00,tea,1,50")
    nights(ledger, "2026-01-23", "2026-01-23")
    ledger.change(
        "2026-01-24",
        expiry=LATER | {"notice": {**GATED["notice"], "ladder_days": [14, 7], "min_days": 7}},
        notices=NOTICES,
    )
    ledger.close("2026-01-24")
    queued = "SELECT kind FROM points.notice_queue JOIN points.notice USING (notice_id) ORDER BY 1"
    assert ledger.rows(queued) == [("digest",), ("policy_change",)]
    ledger.rows("SELECT points.spend('m1', 100, '2026-01-25', 'till', 'T1')", login="api")
    [sent] = [n for n in dispatch(ledger, morning(day("2026-01-24"))) if n.kind == "digest"]
    assert [part["facts"]["expires_on"] for part in sent.facts["parts"]] == ["2026-02-08"]
    ledger.rows("SELECT points.reverse_spend(1, 'till', 'T1', '2026-01-26', 'till', 'T1-back')")
    nights(ledger, "2026-01-25", "2026-02-01", only=lambda _: False)
    assert ledger.rows(DEFERRED) == [("m1", "2026-02-01", "2026-02-11", "no_notice")]
    proved(ledger)


def test_a_repair_clears_nothing_that_has_no_notice(ledger):
    club(ledger)
    enrol(ledger, "m1")
    ledger.orders("A1,m1,2026-01-23 10:00,tea,1,100")
    nights(ledger, "2026-01-23", "2026-02-05", only=lambda _: False)
    ledger.rows("ALTER TABLE points.lot_deferral DISABLE TRIGGER USER")
    ledger.rows("DELETE FROM points.lot_deferral")
    ledger.rows("UPDATE points.lot SET valid_through = '2026-02-01'")
    with pytest.raises(errors.LedgerError, match="no notice"), errors.translated():
        ledger.rows("SELECT points.repair_expire(1, 1, 'left behind by mistake')")
    ledger.rows(
        "INSERT INTO points.expiry_warning SELECT 1, '2026-02-01', min(notice_id), '2026-01-25' FROM points.notice"
    )
    assert ledger.one("SELECT points.repair_expire(1, 1, 'left behind by mistake')") == 100


def test_a_rebuild_from_the_entries_keeps_the_day_a_lot_was_deferred_to(ledger):
    club(ledger)
    enrol(ledger, "m1")
    ledger.orders("A1,m1,2026-01-23 10:00,tea,1,100")
    nights(ledger, "2026-01-23", "2026-02-01", only=lambda _: False)
    ledger.rows("UPDATE points.lot SET valid_through = '2026-02-01'")
    with ledger.engine().begin() as connection:
        assert [d.check for d in verification.verify(connection)] == ["I2", "I7"]
    ledger.rows("SELECT points.repair_rebuild(1)")
    assert ledger.lots("m1") == [(100, 100, "2026-02-11")]
    proved(ledger)


def test_points_that_an_earlier_version_lets_lapse_by_inactivity_get_a_fixed_day(ledger):
    ledger.start(
        programme={"starts_on": day("2026-02-01")}, expiry={"basis": "inactivity", "months": 1, "notice": {"ladder_days": [7, 3]}},
        notices=NOTICES,
    )  # fmt: skip
    enrol(ledger, "told", "mute")
    ledger.orders("A1,told,2026-02-01 10:00,tea,1,100", "A2,mute,2026-02-01 10:00,tea,1,100")
    nights(ledger, "2026-02-01", "2026-02-05")
    ledger.change("2026-02-06", expiry=GATED, notices=NOTICES)
    nights(ledger, "2026-02-06", "2026-03-01", only=lambda n: n.member_no == "told")
    assert [ledger.lots(no) for no in ("told", "mute")] == [[(100, 0, None)], [(100, 100, "2026-03-11")]]
    ledger.redemptions("R1,mute,2026-03-02 10:00,10")
    nights(ledger, "2026-03-02", "2026-03-11")
    assert ledger.lots("mute") == [(100, 0, "2026-03-11")]
    proved(ledger)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 6))])
def test_whatever_happens_no_lot_lapses_without_its_notice(ledger, seed):
    """Random shops: orders, redemptions, cancellations, returns, holds, opt-outs, lost notices, late mornings, nights run twice."""
    chance = random.Random(seed)
    ladder, min_days = chance.choice([([14, 7], 14), ([10], 10), ([20, 5], 5), ([21, 9, 3], 9)])
    rule = {"ladder_days": ladder, "required": True, "min_days": min_days, "unreachable": "defer"}
    basis = chance.choice(
        [{"basis": "fixed", "months": 1}, {"basis": "calendar", "months": None, "month_day": "02-28"}]
    )
    ledger.start(expiry=basis | {"notice": rule}, notices=NOTICES)
    members = [f"m{n}" for n in range(5)]
    enrol(ledger, *members[:4], zone=chance.choice(["", "Asia/Shanghai"]))
    ledger.members(members[4])
    spent: list[str] = []
    closed = day("2026-01-01")
    for n in range(80):
        stamp = f"{closed} 1{chance.randrange(10)}:00"
        if n < 60 and chance.random() < 0.4:
            ledger.orders(f"A{n},{chance.choice(members)},{stamp},tea,{chance.randrange(1, 4)},50")
        if chance.random() < 0.15:
            ledger.redemptions(f"R{n},{chance.choice(members)},{stamp},{chance.randrange(10, 90)}")
            spent.append(f"R{n}")
        if spent and chance.random() < 0.1:
            ledger.cancellations(f"{spent.pop()},{closed} 23:00")
        if n < 60 and chance.random() < 0.05:
            ledger.orders(f"X{n},{chance.choice(members)},{closed} 23:30,tea,-1,50")
        if chance.random() < 0.05:
            ledger.rows(
                "INSERT INTO points.consent (member_id, class, channel, granted, source, moment)"
                " SELECT member_id, 'service', 'any', :said, 'operator', '2026-01-01' FROM points.member WHERE member_no = :no",
                said=chance.random() < 0.5, no=chance.choice(members),
            )  # fmt: skip
        ledger.close(closed)
        with ledger.engine().begin() as connection:
            left = connection.execute(statement("lots_left_behind"), {"closed": closed}).scalar_one()
        assert left == 0
        if chance.random() < 0.1:
            expiry.apply(ledger.engine(), closed=closed, run_id=None)
            assert notices.enqueue(ledger.engine(), day=closed) == 0
        if chance.random() < 0.8:
            dispatch(ledger, morning(closed, chance.choice([0, 0, 0, 1, 2, 3])), only=lambda _: chance.random() < 0.8)
        closed += DAY
    proved(ledger, min_days)
    assert ledger.one("SELECT count(*) FROM points.lot_deferral")
    nights(ledger, closed.isoformat(), (closed + 60 * DAY).isoformat())  # everybody is told from now on
    assert ledger.one("SELECT count(*) FROM points.entry WHERE kind = 'expire'")
    proved(ledger, min_days)


# What the database refuses ---------------------------------------------------------------------------------------------

INSERT = "INSERT INTO points.{table} ({columns}, business_date, points{more}) VALUES (1, 1, {days}, '{closed}', {points}{values})"


def deferral(**changes):
    values = {
        "days": "'2026-02-01', '2026-02-11'",
        "closed": "2026-02-01",
        "points": 100,
        "values": ", 'no_notice'",
    } | changes
    return INSERT.format(table="lot_deferral", columns="member_id, lot_seq, from_date, to_date", more=", why", **values)


def unannounced(**changes):
    values = {"days": "'2026-02-01'", "closed": "2026-02-01", "points": 100, "values": ""} | changes
    return INSERT.format(table="unannounced_expiry", columns="member_id, lot_seq, last_day", more="", **values)


def refused(ledger, statement, login="admin"):
    """SQLSTATE and constraint of the refusal; nothing of it stays."""
    with pytest.raises(DBAPIError) as caught:
        ledger.rows(statement, login=login)
    return caught.value.orig.pgcode, caught.value.orig.diag.constraint_name


def test_a_deferral_is_refused_that_no_close_would_make(ledger):
    club(ledger)
    ledger.members("m1")
    ledger.orders("A1,m1,2026-01-23 10:00,tea,1,100")
    ledger.close("2026-01-31")
    before = ledger.lots("m1")
    checks = {
        "lot_deferral_points_check": deferral(points=0),
        "lot_deferral_why_check": deferral(values=", 'kindness'"),
        "deferred_to_a_later_day": deferral(days="'2026-02-02', '2026-02-11'"),
        "unannounced_expiry_points_check": unannounced(points=0),
    }
    for constraint, change in checks.items():
        assert refused(ledger, change) == ("23514", constraint)
    for change in (
        deferral(),  # the day is not closed
        deferral(days="'2026-01-31', '2026-02-10'", closed="2026-01-31"),  # the lot's last day is another
        deferral(days="'2026-02-01', '2026-02-10'"),  # a day less than the rule gives
        deferral(points=99),
    ):
        assert refused(ledger, change)[0] == "PL011"
    ledger.close("2026-02-01")
    assert refused(ledger, deferral(), login="batch")[0] == "42501"
    assert refused(ledger, unannounced(), login="batch")[0] == "42501"
    assert refused(ledger, "UPDATE points.lot SET valid_through = '2027-01-01'", login="batch")[0] == "42501"
    ledger.rows(unannounced())
    for table in ("lot_deferral", "unannounced_expiry"):
        for change in ("UPDATE points.{} SET points = 1", "DELETE FROM points.{}", "TRUNCATE points.{}"):
            assert refused(ledger, change.format(table))[0] == "PL002"
    assert before == [(100, 100, "2026-02-01")]
    assert ledger.lots("m1") == [(100, 100, "2026-02-11")]
    stored = ledger.rows(
        "SELECT conname FROM pg_constraint WHERE contype = 'c'"
        " AND conrelid IN ('points.lot_deferral'::regclass, 'points.unannounced_expiry'::regclass)"
    )
    assert {row[0] for row in stored} == set(checks)


def test_a_simulation_counts_everybody_as_told(ledger):
    """What the ledger defers for want of a notice lapses in the scratch database, whose view says that none is asked for."""
    club(ledger)
    ledger.members("m1")
    ledger.orders("A1,m1,2026-01-23 10:00,tea,1,100")
    ledger.close("2026-01-31")
    ledger.rows(f"SET LOCAL ROLE loyalty_owner; {simulation_state.EVERYBODY_IS_TOLD}")
    ledger.close("2026-02-01")
    assert ledger.lots("m1") == [(100, 0, "2026-02-01")]
