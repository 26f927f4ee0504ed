"""Which notices are written, when, to whom, by which channel and for how long: every kind, once."""

import datetime as dt

import pytest
from sqlalchemy import text

from infra.contact_cipher import MasterKeys, new_key
from points_ledger import expiry, notices, outbox, tiers, undo
from points_ledger.outbox import Finished

KEYS = MasterKeys.parse(f"k1:{new_key()}")
MARKS = b"m" * 32
DAY = dt.timedelta(days=1)
FIELDS = {"site_url": "https://club.example", "postal_address": "1 Quay Street, Leith"}
FIXED = {"basis": "fixed", "months": 1, "notice": {"ladder_days": [27, 20]}}  # T-27: three days after the purchase
# for what needs no more than one last day: that of points from the first days of January
SEVENTEENTH = {"basis": "calendar", "months": None, "month_day": "01-17", "notice": {"ladder_days": [14, 7]}}
FIFTH = SEVENTEENTH | {"month_day": "01-05"}
FOREVER = {"basis": "none", "months": None}
TIERS = {"tier": [{"code": "silver", "enter_at": 100}, {"code": "gold", "enter_at": 300}]}


@pytest.fixture(scope="module")
def reading(clone):
    """An empty ledger whose functions are asked."""
    return clone()


def day(written):
    return dt.date.fromisoformat(written)


def enrol(ledger, *rows):
    """``member_no[,phone[,time_zone]]``: an address for everybody."""
    parts = [f"{row},,".split(",")[:3] for row in rows]
    ledger.take(
        "members", "member_no,phone,time_zone,email", *(f"{no},{phone},{zone},{no}@b.example" for no, phone, zone in parts),
        contact_key=MARKS, seal=KEYS.seal,
    )  # fmt: skip


def written(ledger, *columns, kind=None):
    """The notices that were written, in order; without digests."""
    names = ", ".join(columns or ("kind", "member_no"))
    return [
        tuple(row)
        for row in ledger.rows(
            f"SELECT {names} FROM points.notice JOIN points.member USING (member_id)"
            " WHERE kind = coalesce(:kind, kind) AND kind <> 'digest' ORDER BY notice_id", kind=kind,
        )
    ]  # fmt: skip


def facts(ledger, kind):
    [only] = written(ledger, "facts", kind=kind)
    return only[0]


def say(ledger, member, granted, class_="marketing", channel="any"):
    ledger.rows(
        "INSERT INTO points.consent (member_id, class, channel, granted, source, moment)"
        " SELECT member_id, :class, :channel, :granted, 'operator', '2026-01-01' FROM points.member WHERE member_no = :no",
        no=member, granted=granted, **{"class": class_, "channel": channel},
    )  # fmt: skip


def suppress(ledger, member, cause="hard_bounce", channel="email"):
    ledger.rows(
        "INSERT INTO points.suppression (mark, channel, cause, moment) SELECT CASE :channel WHEN 'email' THEN email_mark"
        " ELSE phone_mark END, :channel, :cause, '2026-01-01' FROM points.contact JOIN points.member USING (member_id)"
        " WHERE member_no = :no",
        no=member, cause=cause, channel=channel,
    )  # fmt: skip


# The ladder ------------------------------------------------------------------------------------------------------------


def test_each_step_of_the_ladder_is_told_once_however_often_the_nights_run(ledger):
    ledger.start(expiry=FIXED, notices=FIELDS)
    enrol(ledger, "m1", "m2")
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-01 11:00,tea,1,50", "A3,m2,2026-01-02 10:00,tea,1,10"
    )
    ledger.close("2026-01-13")
    assert written(ledger, "dedupe_key", "business_date::text", kind="points_expiring") == [
        ("points_expiring:m1:2026-02-01:T-27:email", "2026-01-04"),
        ("points_expiring:m2:2026-02-02:T-27:email", "2026-01-05"),
        ("points_expiring:m1:2026-02-01:T-20:email", "2026-01-11"),
        ("points_expiring:m2:2026-02-02:T-20:email", "2026-01-12"),
    ]
    before = written(ledger, "*")
    for back in range(13):
        assert notices.enqueue(ledger.engine(), day=day("2026-01-13") - back * DAY) == 0
    assert written(ledger, "*") == before
    assert ledger.one("SELECT count(*) FROM points.notice_queue") == len(before)
    said = written(ledger, "facts", kind="points_expiring")[0][0]
    assert said == {
        "points": 150, "expires_on": "2026-02-01", "stage": 27, "balance": 150, "value": "1.50", "as_of": "2026-01-05",
        "dates": ["2026-02-01"], "lots": [{"points": 150, "expires_on": "2026-02-01"}],
    }  # fmt: skip
    [(not_before, until)] = written(ledger, "not_before", "valid_until", kind="points_expiring")[:1]
    assert (not_before, until) == (dt.datetime(2026, 1, 5, tzinfo=dt.UTC), dt.datetime(2026, 2, 2, tzinfo=dt.UTC))


def test_a_step_that_was_missed_is_caught_up_until_the_next_is_due(ledger):
    ledger.start(expiry=FIXED, notices=FIELDS)
    ledger.members("m1")
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-05")
    enrol(ledger, "m1")  # an address, two days after the step of twenty-seven days
    ledger.orders("A2,m1,2026-01-06 10:00,tea,1,10", "A9,m1,2025-12-25 10:00,tea,1,1")
    ledger.close("2026-01-06")
    assert written(ledger, "dedupe_key", kind="points_expiring") == []  # what came tonight lapses later than the ladder
    approval = ledger.one(
        "SELECT points.propose_adjustment('m1', 5, '2026-01-07', '2026-01-30', 'goodwill', 'a late apology')",
        login="batch",
    )
    ledger.rows("SELECT points.approve_and_post(:id, '2026-01-07')", login="approver", id=approval)
    ledger.close("2026-01-07")
    assert written(ledger, "dedupe_key", kind="points_expiring") == [
        ("points_expiring:m1:2026-01-30:T-27:email",), ("points_expiring:m1:2026-02-01:T-27:email",),
    ]  # fmt: skip


def test_a_new_rule_tells_at_once_what_lapses_within_its_ladder(ledger):
    ledger.start(expiry=FIXED)
    enrol(ledger, "m1", "m2", "m3")
    ledger.orders(*(f"A{n},m{n},2026-01-0{n} 10:00,tea,1,100" for n in (1, 2, 3)))
    ledger.close("2026-01-05")
    assert written(ledger) == []
    ledger.change("2026-01-06", expiry=FIXED, notices={**FIELDS, "kinds": ["points_expiring"]})
    ledger.close("2026-01-06")
    assert written(ledger, "dedupe_key") == [
        (f"points_expiring:m{n}:2026-02-0{n}:T-27:email",) for n in (1, 2, 3)
    ]  # fmt: skip


def test_points_that_lapse_by_inactivity_are_announced_by_the_last_activity(ledger):
    ledger.start(expiry={"basis": "inactivity", "months": 1, "notice": {"ladder_days": [28, 21]}}, notices=FIELDS)
    enrol(ledger, "m1", "m2")
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,100", "A2,m2,2026-01-01 10:00,tea,1,100", "A3,m2,2026-01-05 10:00,tea,1,1"
    )
    ledger.close("2026-01-10")
    assert written(ledger, "dedupe_key", kind="points_expiring") == [
        ("points_expiring:m1:2026-02-01:T-28:email",), ("points_expiring:m2:2026-02-01:T-28:email",),
        ("points_expiring:m2:2026-02-05:T-28:email",), ("points_expiring:m1:2026-02-01:T-21:email",),
    ]  # fmt: skip


def test_a_leap_day_is_a_last_day_like_any_other(ledger):
    ledger.start(
        programme={"starts_on": day("2028-01-29")}, expiry=FIXED | {"notice": {"ladder_days": [14, 7]}}, notices=FIELDS
    )
    enrol(ledger, "m1", "m2")
    ledger.orders("A1,m1,2028-01-29 10:00,tea,1,100", "A2,m2,2028-01-31 10:00,tea,1,100")
    for closed in range(32):
        ledger.close(day("2028-01-29") + closed * DAY)
    assert written(ledger, "dedupe_key", "business_date::text", kind="points_expiring") == [
        (f"points_expiring:m{n}:2028-02-29:T-{step}:email", closed)
        for step, closed in ((14, "2028-02-14"), (7, "2028-02-21"))
        for n in (1, 2)
    ]
    assert len(written(ledger, kind="points_expired")) == 2


def test_without_notices_nothing_is_written_and_nobody_is_looked_for(ledger, monkeypatch):
    ledger.start(programme={"starts_on": day("2025-12-30")}, expiry=FIFTH, **TIERS)
    enrol(ledger, "m1")
    ledger.orders("A1,m1,2025-12-30 10:00,tea,1,100")
    ledger.redemptions("R1,m1,2025-12-31 10:00,5")
    monkeypatch.setattr(notices, "_write", lambda *_, **__: pytest.fail("looked for notices"))
    ledger.close("2026-01-06")  # past the end of a month and the last day
    assert ledger.one("SELECT count(*) FROM points.notice") == 0


# What a posting causes -------------------------------------------------------------------------------------------------


def test_redemptions_and_their_cancellations_are_confirmed_with_their_posting(ledger):
    ledger.start(expiry=FOREVER, notices=FIELDS)
    enrol(ledger, "m1")
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.redemptions("R1,m1,2026-01-02 10:00,30", "R2,m1,2026-01-02 11:00,90")
    ledger.cancellations("R1,2026-01-04 10:00")
    ledger.close("2026-01-05")
    assert written(ledger, "dedupe_key", "facts", "business_date::text") == [
        ("redemption_confirmed:R1:email",
         {"redemption_no": "R1", "points": 30, "redeemed_on": "2026-01-02", "balance": 70}, "2026-01-02"),
        ("redemption_cancelled:R1:email",
         {"redemption_no": "R1", "points": 30, "cancelled_on": "2026-01-04", "balance": 100}, "2026-01-04"),
    ]  # fmt: skip


def test_a_posting_that_is_rolled_back_takes_its_notice_along(ledger):
    ledger.start(expiry=FOREVER, notices=FIELDS)
    enrol(ledger, "m1")
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    with ledger.engine("approver").connect() as connection:
        approval = ledger.one(
            "SELECT points.propose_adjustment('m1', -5, '2026-01-02', NULL, 'correction', 'counted twice in May')",
            login="batch",
        )
        connection.execute(text("SELECT points.approve_and_post(:id, '2026-01-02')"), {"id": approval})
        connection.rollback()
    assert written(ledger) == []
    for _ in range(2):
        ledger.rows(
            "SELECT points.approve(:id) WHERE (SELECT approved_by IS NULL FROM points.approval WHERE approval_id = :id)",
            login="approver", id=approval,
        )  # fmt: skip
        ledger.rows("SELECT points.adjust(:id, '2026-01-02')", login="batch", id=approval)
    assert written(ledger, "dedupe_key", "facts", "class") == [
        (f"adjustment:{approval}:email", {"points": -5, "adjusted_on": "2026-01-02", "balance": 95}, "transaction")
    ]


def test_points_that_lapsed_are_told_lot_by_lot_and_given_back_as_an_adjustment(ledger):
    ledger.start(expiry=FIFTH, notices=FIELDS)
    ledger.change("2026-01-03", expiry=FIXED, notices=FIELDS)  # what comes now lapses later
    enrol(ledger, "m1")
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-01 11:00,tea,1,20", "A3,m1,2026-01-03 11:00,tea,1,7"
    )
    ledger.close("2026-01-05")
    assert facts(ledger, "points_expired") == {
        "points": 120, "expired_on": "2026-01-06", "balance": 7, "as_of": "2026-01-06",
        "lots": [{"points": 100, "valid_through": "2026-01-05"}, {"points": 20, "valid_through": "2026-01-05"}],
    }  # fmt: skip
    approval = ledger.one(
        "SELECT points.propose_reinstatement('m1', 1, 30, 'complaint', 'ill for a month')", login="batch"
    )
    ledger.rows("SELECT points.approve_and_post(:id, '2026-01-07')", login="approver", id=approval)
    assert facts(ledger, "adjustment") == {"points": 100, "adjusted_on": "2026-01-07", "balance": 107}


def test_what_one_close_clears_in_two_turns_is_told_in_two_notices(ledger):
    ledger.start(expiry=FIFTH, notices=FIELDS)
    enrol(ledger, "m1")
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-01 11:00,tea,1,20")
    ledger.close("2026-01-01")
    ledger.rows("SELECT points.hold('m1', 100, '2026-01-02', '2026-01-20', 'H')", login="api")
    ledger.close("2026-01-05")
    ledger.rows("SELECT points.release('m1', 'H', '2026-01-06')", login="api")
    run_id = ledger.one("SELECT run_id FROM points.run WHERE business_date = '2026-01-05'")
    expiry.apply(ledger.engine(), closed=day("2026-01-05"), run_id=run_id)
    assert [said[0]["points"] for said in written(ledger, "facts", kind="points_expired")] == [20, 100]


# Tiers -----------------------------------------------------------------------------------------------------------------


def test_a_tier_is_told_with_its_decision_and_a_risk_thirty_days_before_it_is_too_late(ledger):
    ledger.start(
        expiry=FOREVER, notices={**FIELDS, "statement": False}, programme={"starts_on": day("2025-12-30")},
        tiers={"window": "calendar_year", "grace_days": 0}, tier=[{"code": "basic", "enter_at": 0}, *TIERS["tier"]],
    )  # fmt: skip
    enrol(ledger, "m1", "m2")
    ledger.orders("A1,m1,2025-12-30 10:00,tea,1,150", "A2,m2,2025-12-30 10:00,tea,1,150")
    ledger.close("2025-12-30")
    assert written(ledger, "dedupe_key", "facts") == [
        (f"tier_upgraded:m{n}:2025-12-30:email",
         {"from_tier": "basic", "to_tier": "silver", "held_from": "2025-12-31", "valid_through": "2026-12-31"})
        for n in (1, 2)
    ]  # fmt: skip
    ledger.orders("A3,m2,2026-01-02 10:00,tea,1,100", "A4,m1,2026-01-02 10:00,tea,1,40")
    ledger.close("2026-01-03")
    for closed in (day("2026-11-29"), day("2026-11-30")):
        written_now = notices.enqueue(ledger.engine(), day=closed)
    assert written_now == 1
    assert written(ledger, "dedupe_key", "facts", kind="tier_at_risk") == [
        ("tier_at_risk:m1:silver:2026-12-31:email",
         {"tier": "silver", "missing": "60", "metric": "points_earned", "deadline": "2026-12-31"})
    ]  # fmt: skip
    evening, morning = (dt.datetime(2026, 12, n, 12, tzinfo=dt.UTC) for n in (1, 2))
    with ledger.engine().connect() as connection:  # rolled back
        assert [n.kind for n in outbox.claim(connection, owner="w", moment=evening, limit=9, channel="email")] == [
            "tier_at_risk"
        ]
    ledger.rows("UPDATE points.member_tier SET review_on = '2027-12-31' WHERE member_id = 1")  # the tier is safe
    assert send(ledger, morning) == []
    assert became(ledger)[-1] == ("stale", "nothing of it is so any more")
    ledger.rows("UPDATE points.member_tier SET review_on = '2026-12-31' WHERE member_id = 1")
    tiers.review(ledger.engine(), day=day("2026-12-31"), run_id=None)
    assert written(ledger, "member_no", "facts ->> 'from_tier'", "facts ->> 'to_tier'", kind="tier_downgraded") == [
        ("m1", "silver", "basic")
    ]


def test_nobody_is_warned_of_a_fall_that_cannot_come(ledger):
    ledger.start(
        expiry=FOREVER, notices={**FIELDS, "kinds": ["tier_at_risk"]}, programme={"starts_on": day("2025-12-05")},
        tiers={"window": "calendar_year", "grace_days": 0}, **TIERS,
    )  # fmt: skip
    enrol(ledger, "m1")
    ledger.orders("A1,m1,2025-12-05 10:00,tea,1,150")
    ledger.close("2025-12-05")  # silver is the lowest there is
    assert notices.enqueue(ledger.engine(), day=day("2026-11-30")) == 0


def test_a_member_who_falls_and_rises_in_one_night_hears_of_the_difference_only(ledger):
    ledger.start(expiry=FOREVER, notices={**FIELDS, "kinds": ["tier_downgraded"]}, **TIERS)
    enrol(ledger, "m1", "m2")
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,350", "A2,m2,2026-01-01 10:00,tea,1,350")
    ledger.close("2026-01-01")
    for member, number, what, tier, before in (
        (1, 2, "downgrade", "silver", "gold"), (1, 3, "upgrade", "gold", "silver"), (2, 2, "downgrade", "silver", "gold"),
    ):  # fmt: skip
        ledger.rows(
            "INSERT INTO points.tier_decision (member_id, decision_no, decided_on, held_from, tier, previous_tier, what, metric,"
            " amount, window_from, window_through, threshold, policy_version, sentence)"
            " VALUES (:member, :number, '2026-01-02', '2026-01-03', :tier, :before, :what, 'orders', 0, '2026-01-01',"
            " '2026-01-02', 0, 1, '')", member=member, number=number, what=what, tier=tier, before=before,
        )  # fmt: skip
    with ledger.engine().begin() as connection:
        assert notices.tell_tiers(connection, [1, 2], day=day("2026-01-02")) == 1
    assert written(ledger, "member_no", "facts ->> 'to_tier'") == [("m2", "silver")]


# To everybody ----------------------------------------------------------------------------------------------------------


def test_a_change_that_members_feel_is_told_once_and_one_of_the_office_is_not(ledger):
    ledger.start(expiry=FOREVER, notices=FIELDS)
    enrol(ledger, "m1", "m2")
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m2,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-02")
    ledger.change("2026-02-20", expiry=FOREVER, notices=FIELDS, guard={"max_share_of_outstanding": "0.5"})
    ledger.close("2026-01-03")
    assert written(ledger) == []
    ledger.change("2026-02-20", expiry=FOREVER, notices=FIELDS, earn={"daily_cap": 50})
    ledger.close("2026-01-05")
    assert written(ledger, "dedupe_key", "class", "facts", "business_date::text") == [
        (f"policy_change:3:m{n}:email", "legal", {"version": 3, "effective_from": "2026-02-20"}, "2026-01-04")
        for n in (1, 2)
    ]


def test_a_statement_refoots_to_the_ledger_with_returns_debts_reversals_and_an_undo(ledger):
    ledger.start(
        programme={"starts_on": day("2026-01-18")}, expiry={"basis": "fixed", "months": 1, "notice": {"ladder_days": [7]}},
        notices=FIELDS,
    )  # fmt: skip
    enrol(ledger, "m1", "m2", "m3", "idle")
    ledger.bind("m2", "m3", day="2026-01-18")
    ledger.orders(
        "A1,m1,2026-01-18 10:00,tea,2,50", "A2,m2,2026-01-19 10:00,tea,1,80", "A3,m1,2026-01-20 10:00,tea,1,60"
    )
    ledger.redemptions("R1,m1,2026-01-21 10:00,130", "R2,m2,2026-01-21 10:00,30")
    ledger.cancellations("R2,2026-01-23 10:00")
    ledger.close("2026-01-23")
    ledger.orders("X1,m1,2026-01-24 10:00,tea,-1,50", "A4,m1,2026-01-26 10:00,tea,1,45")  # a debt, then repaid
    ledger.close("2026-01-29")
    ledger.rows("SELECT points.transfer('m2', 'm3', 20, '2026-01-31', 'T1')", login="api")
    [bad] = ledger.rows("SELECT run_id FROM points.run WHERE business_date = '2026-01-26'")
    approval = ledger.one(
        "SELECT points.propose_undo(:run, 'debt', '{}', 'posted from the wrong file')", login="batch", run=bad[0]
    )
    ledger.rows("SELECT points.approve(:id)", login="approver", id=approval)
    undo.execute(ledger.engine(), approval_id=approval, day=day("2026-01-30"), code_version="test")
    ledger.orders("A5,m1,2026-02-10 10:00,tea,1,33")
    ledger.close("2026-03-31")
    statements = written(ledger, "member_no", "facts", kind="monthly_statement")
    for member_no, said in statements:
        parts = ("earned", "redeemed", "returned", "expired", "adjusted", "other")
        first, last = day(f"{said['month']}-01"), day(said["as_of"])
        assert said["opening"] + sum(said[part] for part in parts) == said["closing"]
        assert [said["opening"], said["closing"]] == [
            ledger.one(
                "SELECT coalesce(sum(sign * points), 0)::bigint FROM points.entry JOIN points.member USING (member_id)"
                " WHERE member_no = :m AND book_date <= :day", m=member_no, day=until,
            )
            for until in (first - DAY, last)
        ]  # fmt: skip
    months = sorted({said["month"] for _, said in statements})
    assert months == ["2026-01", "2026-02", "2026-03"]
    assert "idle" not in {member_no for member_no, _ in statements}  # no points, no movement
    january = {member_no: said for member_no, said in statements if said["month"] == "2026-01"}
    assert january["m1"]["other"] < 0  # what repaid the debt
    assert (january["m2"]["redeemed"], january["m2"]["other"], january["m3"]["other"]) == (0, -20, 20)


# Whom, where, when -----------------------------------------------------------------------------------------------------


def test_the_first_channel_that_reaches_the_member_is_used_and_none_is_none(ledger):
    ledger.start(
        expiry=SEVENTEENTH,
        notices={**FIELDS, "channels": ["sms", "email"], "sms_signature": "Club", "kinds": ["points_expiring"]},
    )
    enrol(
        ledger, "both,+447000000001", "mail", "bounced,+447000000002", "out,+447000000003", "half,+447000000004", "dead"
    )
    ledger.members("none")
    suppress(ledger, "bounced", channel="sms")
    suppress(ledger, "dead")
    say(ledger, "out", False, "service")
    say(ledger, "half", False, "service", "sms")
    members = ("both", "mail", "bounced", "out", "half", "dead", "none")
    ledger.orders(*(f"A{no},{no},2026-01-01 10:00,tea,1,100" for no in members))
    ledger.close("2026-01-02")
    assert written(ledger, "member_no", "channel") == [
        ("both", "sms"), ("bounced", "email"), ("half", "email"), ("mail", "email")
    ]  # fmt: skip
    with ledger.engine().begin() as connection:
        why = {row["member_no"]: row["why"] for row in notices.unreachable(connection, day=day("2026-01-02"))}
    assert why == {"out": "opted out", "dead": "address suppressed", "none": "no contact data"}


def test_another_channel_later_tells_nobody_twice(ledger):
    ledger.start(
        expiry=SEVENTEENTH,
        notices={**FIELDS, "channels": ["sms", "email"], "sms_signature": "Club", "kinds": ["points_expiring"]},
    )
    enrol(ledger, "m1,+447000000001")
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-02")
    suppress(ledger, "m1", channel="sms")
    assert notices.enqueue(ledger.engine(), day=day("2026-01-02")) == 0
    assert written(ledger, "channel") == [("sms",)]


WIN_BACK = FIELDS | {"win_back_months": 1, "kinds": ["win_back"]}
QUARTER = {"basis": "fixed", "months": 3, "notice": {"ladder_days": [30, 7]}}


@pytest.fixture(scope="module")
def before_the_reminder(clone):
    """Who bought on New Year's Day, in February: the reminder is due with the next night, of 1 March; copy it."""
    ledger = clone()
    ledger.start(expiry=QUARTER, notices=WIN_BACK)
    enrol(ledger, "m1", "busy", "unasked")
    for no in ("m1", "busy"):
        say(ledger, no, True)
    ledger.orders(*(f"A{no},{no},2026-01-01 10:00,tea,1,100" for no in ("m1", "busy", "unasked")))
    ledger.redemptions("R1,busy,2026-02-25 10:00,5")
    ledger.close("2026-02-28")
    return ledger


@pytest.fixture
def win_back(before_the_reminder, copied):
    """A copy of it for each test, which may send."""
    ledger = copied(before_the_reminder)
    with ledger.engine("admin").begin() as connection:
        outbox.release(
            connection, reason="a copy for a test", moment=dt.datetime(2026, 3, 1, tzinfo=dt.UTC), is_dropping=False
        )
    return ledger


def test_win_back_reminds_those_who_agreed_and_stayed_away(win_back):
    win_back.close("2026-03-10")
    assert written(win_back, "dedupe_key", "class", "facts") == [
        ("win_back:m1:2026-04-01:email", "marketing", {"points": 100, "expires_on": "2026-04-01", "dormant_months": 2, "balance": 100})
    ]  # fmt: skip


def test_advertising_stays_within_its_cap_of_thirty_days(win_back):
    win_back.change("2026-03-01", expiry=QUARTER, notices=WIN_BACK | {"marketing_per_30_days": 1})
    win_back.orders("B1,m1,2026-01-03 10:00,tea,1,9", "B2,m1,2026-02-01 10:00,tea,1,9")
    win_back.close("2026-04-01")
    assert written(win_back, "facts ->> 'expires_on'", "business_date::text") == [
        ("2026-04-01", "2026-03-01"), ("2026-05-01", "2026-03-31"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "quiet", "not_before"),
    [
        ("", ["20:00", "09:00"], "2026-03-02 09:00"),
        ("Asia/Shanghai", ["20:00", "09:00"], "2026-03-02 01:00"),  # 08:00 there when the day begins in London
        ("America/Los_Angeles", ["20:00", "09:00"], "2026-03-02 00:00"),  # 16:00 there
        ("Asia/Tokyo", ["08:00", "10:00"], "2026-03-02 01:00"),
        ("Asia/Kathmandu", ["05:00", "06:15"], "2026-03-02 00:30"),
        ("", ["00:00", "00:00"], "2026-03-02 00:00"),
        ("Mars/Olympus", ["20:00", "09:00"], "2026-03-02 09:00"),  # nobody knows it: the programme's
    ],
)
def test_quiet_hours_are_the_members(win_back, zone, quiet, not_before):
    win_back.change("2026-03-01", expiry=QUARTER, notices=WIN_BACK | {"quiet_hours": quiet})
    win_back.rows("UPDATE points.member SET time_zone = nullif(:zone, '') WHERE member_no = 'm1'", zone=zone)
    win_back.close("2026-03-01")
    assert written(win_back, "to_char(not_before AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')") == [(not_before,)]


@pytest.mark.parametrize(
    ("moment", "zone", "quiet", "after"),
    [
        # spring: the clock goes from 1 to 2; the end 01:30 is skipped, and nobody is disturbed before it
        ("2026-03-29 00:10+00", "Europe/London", ("20:00", "01:30"), "2026-03-29 01:30+00"),
        ("2026-03-28 21:00+00", "Europe/London", ("20:00", "09:00"), "2026-03-29 08:00+00"),
        # autumn: from 2 to 1; the end 01:30 comes twice, the second counts
        ("2026-10-25 00:10+00", "Europe/London", ("20:00", "01:30"), "2026-10-25 01:30+00"),
        ("2026-10-24 21:00+00", "Europe/London", ("20:00", "09:00"), "2026-10-25 09:00+00"),
        ("2028-02-28 20:30+00", "Europe/London", ("20:00", "09:00"), "2028-02-29 09:00+00"),
        ("2026-01-10 12:00+00", "Europe/London", ("20:00", "09:00"), "2026-01-10 12:00+00"),
        ("2026-01-10 20:00+00", "Europe/London", ("20:00", "09:00"), "2026-01-11 09:00+00"),
        ("2026-01-10 09:00+00", "Europe/London", ("20:00", "09:00"), "2026-01-10 09:00+00"),
        ("2026-01-10 12:00+00", "Europe/London", ("12:00", "13:00"), "2026-01-10 13:00+00"),
    ],
)  # fmt: skip
def test_the_end_of_quiet_hours_over_a_change_of_the_clock(reading, moment, zone, quiet, after):
    found = reading.one(
        "SELECT points.after_quiet(CAST(:moment AS timestamptz), :zone, CAST(:first AS time), CAST(:last AS time))"
        " = CAST(:after AS timestamptz)", moment=moment, zone=zone, first=quiet[0], last=quiet[1], after=after,
    )  # fmt: skip
    assert found is True


# Digests and the stale guard -------------------------------------------------------------------------------------------


def send(ledger, moment, channel="email"):
    with ledger.engine().begin() as connection:
        claimed = outbox.claim(connection, owner="w", moment=moment, limit=1000, channel=channel)
        if claimed:
            rows = [Finished(n.notice_id, "accepted", "sink") for n in claimed]
            outbox.finish(connection, owner="w", token=claimed[0].token, moment=moment, rows=rows)
    return claimed


def became(ledger):
    return [tuple(row) for row in ledger.rows("SELECT result, detail FROM points.notice_result ORDER BY notice_id")]


def test_several_service_notices_of_a_day_go_out_as_one_digest(ledger):
    ledger.start(expiry=SEVENTEENTH, notices=FIELDS, **TIERS)
    enrol(ledger, "m1", "m2")
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,90", "A2,m1,2026-01-02 10:00,tea,1,20", "A3,m2,2026-01-01 10:00,tea,1,9"
    )
    ledger.redemptions("R1,m1,2026-01-02 11:00,10")
    ledger.close("2026-01-02")
    kinds = ledger.rows(
        "SELECT kind, member_no FROM points.notice_queue JOIN points.notice USING (notice_id)"
        " JOIN points.member USING (member_id) ORDER BY 2, 1"
    )
    assert kinds == [("digest", "m1"), ("redemption_confirmed", "m1"), ("points_expiring", "m2")]
    [digest] = ledger.rows("SELECT facts, dedupe_key, class FROM points.notice WHERE kind = 'digest'")
    assert ([part["kind"] for part in digest[0]["parts"]], *digest[1:]) == (
        ["tier_upgraded", "points_expiring"], "digest:m1:2026-01-02:email", "service",
    )  # fmt: skip
    assert ledger.one("SELECT count(*) FROM points.digest_part") == 2
    assert notices.enqueue(ledger.engine(), day=day("2026-01-02")) == 0
    assert ledger.one("SELECT count(*) FROM points.notice WHERE kind = 'digest'") == 1
    send(ledger, dt.datetime(2026, 1, 3, 9, tzinfo=dt.UTC))
    assert ledger.rows("SELECT member_id, lapses_on::text FROM points.expiry_warning ORDER BY 1") == [
        (1, "2026-01-17"),
        (2, "2026-01-17"),
    ]


def test_what_was_spent_since_is_not_announced_and_what_was_spent_in_part_by_what_is_left(ledger):
    ledger.start(expiry=SEVENTEENTH, notices={**FIELDS, "kinds": ["points_expiring"]})
    enrol(ledger, "all", "some", "none")
    ledger.orders(*(f"A{no},{no},2026-01-01 10:00,tea,1,100" for no in ("all", "some", "none")))
    ledger.close("2026-01-02")
    for no, points in (("all", 100), ("some", 60)):
        ledger.rows("SELECT points.spend(:no, :points, '2026-01-03', 'till', :no)", login="api", no=no, points=points)
    moment = dt.datetime(2026, 1, 3, 9, tzinfo=dt.UTC)
    untouched, spent_in_part = send(ledger, moment)
    assert [n.facts["points"] for n in (untouched, spent_in_part)] == [100, 40]
    assert spent_in_part.facts["value"] == "0.40"
    assert spent_in_part.facts["lots"] == [{"points": 40, "expires_on": "2026-01-17"}]
    assert sorted(became(ledger), key=str) == [
        ("accepted", None), ("accepted", None), ("stale", "nothing of it is so any more"),
    ]  # fmt: skip


def test_advertising_waits_when_the_quiet_hours_have_begun_and_is_stale_when_the_member_is_back(win_back):
    win_back.close("2026-03-01")
    assert send(win_back, dt.datetime(2026, 3, 2, 21, tzinfo=dt.UTC)) == []
    [waits] = win_back.rows("SELECT not_before, attempts, lease_owner FROM points.notice_queue")
    assert tuple(waits) == (dt.datetime(2026, 3, 3, 9, tzinfo=dt.UTC), 0, None)
    assert became(win_back) == []
    win_back.orders("B1,m1,2026-03-02 10:00,tea,1,9")
    win_back.close("2026-03-02")
    assert send(win_back, dt.datetime(2026, 3, 3, 12, tzinfo=dt.UTC)) == []
    assert became(win_back) == [("stale", "the member is back")]


def test_advertising_of_a_member_who_stayed_away_goes_out_when_the_quiet_hours_have_ended(win_back):
    win_back.close("2026-03-01")
    assert send(win_back, dt.datetime(2026, 3, 2, 21, tzinfo=dt.UTC)) == []
    assert [n.attempt for n in send(win_back, dt.datetime(2026, 3, 3, 9, tzinfo=dt.UTC))] == [1]


def test_what_is_too_late_does_not_wait_for_the_end_of_the_quiet_hours(win_back):
    win_back.close("2026-03-01")
    assert send(win_back, dt.datetime(2026, 4, 2, 21, tzinfo=dt.UTC)) == []
    assert became(win_back) == [("stale", "too late")]


@pytest.mark.parametrize(("quiet", "goes"), [(("20:00", "12:00"), False), (("20:00", "09:00"), True)])
def test_an_sms_that_was_lost_is_not_sent_again_in_the_quiet_hours(ledger, quiet, goes):
    ledger.start(
        expiry=SEVENTEENTH,
        notices={
            **FIELDS,
            "kinds": ["points_expiring"],
            "channels": ["sms"],
            "sms_signature": "Club",
            "quiet_hours": list(quiet),
        },
    )
    ledger.take("members", "member_no,phone", "m1,+4989123456", contact_key=MARKS, seal=KEYS.seal)
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-02")
    noon = dt.datetime(2026, 1, 3, 12, tzinfo=dt.UTC)
    with ledger.engine().begin() as connection:
        [lost] = outbox.claim(connection, owner="w", moment=noon, limit=9, channel="sms")
    ledger.rows("UPDATE points.notice_queue SET lease_until = now() - interval '1 day'")
    morning = dt.datetime(2026, 1, 4, 10, tzinfo=dt.UTC)
    assert [n.attempt for n in send(ledger, morning, "sms")] == ([2] if goes else [])
    assert became(ledger)[0] == ("retry", "the lease ran out")
    if not goes:
        [waits] = ledger.rows("SELECT not_before, attempts, lease_owner FROM points.notice_queue")
        assert tuple(waits) == (noon + dt.timedelta(days=1), lost.attempt, None)
        assert [n.attempt for n in send(ledger, noon + dt.timedelta(days=1), "sms")] == [2]
