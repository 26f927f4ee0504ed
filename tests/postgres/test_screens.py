"""Fraud screens: each fires on its case, is silent on the near miss, and records a finding once (design 2.9)."""

import datetime as dt
import hashlib
import hmac
import json

import pytest
from sqlalchemy import text

from points_ledger import errors, events, screens, verification
from points_ledger.policy import store_version

FOREVER = {"basis": "none", "months": None}
KEY = b"a key of at least thirty-two bytes"
WHY = "looked into it with the shop"
LIMITS = {"max_points_per_adjustment": 100, "max_points_per_day_and_login": 10_000}


def screen(ledger, day):
    """Run the screens of a day once more; how many findings are new."""
    return screens.screen(ledger.engine(), day=dt.date.fromisoformat(day), run_id=None)


def found(ledger, **asked):
    with ledger.engine().connect() as connection:
        return screens.findings(connection, **asked)


def facts(ledger, name):
    """The facts that a screen recorded, by subject; and no other screen recorded anything."""
    assert {finding.screen for finding in found(ledger)} <= {name}
    return {finding.subject: finding.facts for finding in found(ledger)}


def adjust(ledger, points, *, member_no="m1", day, proposer="batch", approver="approver"):
    number = ledger.one(
        "SELECT points.propose_adjustment(:no, :points, CAST(:day AS date), NULL, 'goodwill', :why)",
        login=proposer, no=member_no, points=points, day=day, why=f"{WHY}, on {day}",
    )  # fmt: skip
    ledger.rows("SELECT points.approve_and_post(:id, CAST(:day AS date))", login=approver, id=number, day=day)


# Earning above the own past ---------------------------------------------------------------------------------------

PAST = [90, 100, 100, 110]  # median 100, MAD 5: a deviation is 1.4826 × 5 = 7.4, and at least a tenth of the median, 10
SHARP = {"min_history": 4, "deviations": "10", "member_earned_min": 150, "store_earned_min": 150}


def orders_of_days(ledger, amounts, columns="order_no,member_no,placed_at,sku,quantity,unit_price,store", rest="m1"):
    rows = [f"A{n},{rest},2026-01-0{n} 10:00,tea,1,{amount},high street" for n, amount in enumerate(amounts, start=1)]
    ledger.take("orders", columns, *rows)
    ledger.close(f"2026-01-0{len(amounts)}")


@pytest.mark.parametrize(
    ("today", "changes", "fires"),
    [
        (201, {}, True),
        (200, {}, False),  # 100 + 10 × 10, not above
        (201, {"min_history": 5}, False),
        (201, {"deviations": "10.1"}, False),
        (201, {"member_earned_min": 202}, False),
        (201, {"enabled": False}, False),
    ],
)
def test_a_member_who_earns_far_above_the_own_past(ledger, today, changes, fires):
    ledger.start(expiry=FOREVER, screens=SHARP | {"store_earned_min": 10**6} | changes)
    orders_of_days(ledger, [*PAST, today])

    expected = {"m1": {"points": 201, "median": 100, "deviation": 10.0, "days": 4}} if fires else {}
    assert facts(ledger, "member_earns_above_past") == expected
    assert screen(ledger, "2026-01-05") == 0


@pytest.mark.parametrize(("today", "fires"), [(673, False), (674, True)])
def test_a_past_that_wavers_widens_what_is_usual(ledger, today, fires):
    """Median 80, MAD 40: a deviation is 59.3."""
    ledger.start(expiry=FOREVER, screens=SHARP | {"store_earned_min": 10**6})
    orders_of_days(ledger, [60, 140, 20, 100, today])
    expected = {"m1": {"points": 674, "median": 80, "deviation": 59.3, "days": 4}}
    assert facts(ledger, "member_earns_above_past") == (expected if fires else {})


def test_what_is_older_than_the_history_is_no_past(ledger):
    ledger.start(expiry=FOREVER, screens=SHARP | {"history_days": 30, "store_earned_min": 10**6})
    orders_of_days(ledger, PAST)
    ledger.orders("B1,m1,2026-02-01 10:00,tea,1,500")
    ledger.close("2026-01-31")
    assert screen(ledger, "2026-01-31") == 0
    ledger.close("2026-02-01")  # 1 January has left the window, three days are too few
    assert facts(ledger, "member_earns_above_past") == {}


@pytest.mark.parametrize(
    ("today", "changes", "fires"), [(201, {}, True), (200, {}, False), (201, {"store_earned_min": 202}, False)]
)
def test_a_store_that_earns_far_above_its_own_past(ledger, today, changes, fires):
    ledger.start(expiry=FOREVER, screens=SHARP | {"member_earned_min": 10**6} | changes)
    rows = [
        f"{n}{half},{half}{n},2026-01-0{n} 10:00,tea,1,{amount},{store}"
        for n, amount in enumerate([*PAST, today], start=1)
        for half, amount, store in (("x", amount - 50, "high street"), ("y", 50, "high street"), ("z", 5000, "web"))
    ]
    ledger.take("orders", "order_no,member_no,placed_at,sku,quantity,unit_price,store", *rows)
    ledger.close("2026-01-05")

    expected = {"high street": {"points": 201, "orders": 2, "median": 100, "deviation": 10.0, "days": 4}}
    assert facts(ledger, "store_earns_above_past") == (expected if fires else {})
    assert screen(ledger, "2026-01-05") == 0
    assert ledger.one("SELECT count(*) FROM points.store_day") == 10


# One contact, many members ------------------------------------------------------------------------------------------


def enrol(ledger, *rows, key=KEY):
    return ledger.take("members", "member_no,contact", *rows, contact_key=key)


def test_members_who_share_a_contact_are_found_when_one_of_them_moves_and_again_when_more_join(ledger):
    ledger.start(expiry=FOREVER, screens={"members_per_contact": 3})
    enrol(ledger, "m1,A@b.example", "m2, a@B.example ", "m3,+44 20 7946 0000", "m4,+442079460000", "m5,")
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,10", "A2,m3,2026-01-01 10:00,tea,1,10", "A3,m5,2026-01-01 10:00,tea,1,10"
    )
    ledger.close("2026-01-01")
    assert facts(ledger, "shared_contact") == {}  # two are not three

    enrol(ledger, "m6,a@b.example")
    ledger.close("2026-01-02")
    assert facts(ledger, "shared_contact") == {}  # none of them moved
    ledger.orders("B1,m2,2026-01-03 10:00,tea,1,10", "B2,m6,2026-01-04 10:00,tea,1,10")
    ledger.close("2026-01-04")
    subject = hmac.new(KEY, b"a@b.example", hashlib.sha256).hexdigest()[:16]
    assert facts(ledger, "shared_contact") == {subject: {"members": 3, "member_nos": ["m1", "m2", "m6"]}}

    enrol(ledger, "m7,a@b.example")
    ledger.orders("C1,m1,2026-01-05 10:00,tea,1,10")
    ledger.close("2026-01-05")
    assert [(f.business_date, f.facts["members"]) for f in found(ledger)] == [
        (dt.date(2026, 1, 5), 4),
        (dt.date(2026, 1, 3), 3),
    ]
    assert len(found(ledger, member_no="m7")) == 2
    assert found(ledger, member_no="m3") == []
    assert screen(ledger, "2026-01-05") == 0


def test_a_contact_that_moves_on_leaves_the_others(ledger):
    ledger.start(screens={"members_per_contact": 2})
    enrol(ledger, "m1,a@b.example", "m2,a@b.example")
    enrol(ledger, "m2,own@b.example", key=b"k" * 100)  # longer than a block of SHA-256: the key is hashed first
    enrol(ledger, "m1,")  # says nothing: what is known stays
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,10")
    ledger.close("2026-01-01")
    assert found(ledger) == []
    assert dict(
        row
        for row in ledger.rows(
            "SELECT m.member_no, encode(c.fingerprint, 'hex') FROM points.member_contact c JOIN points.member m USING (member_id)"
        )
    ) == {
        "m1": hmac.new(KEY, b"a@b.example", hashlib.sha256).hexdigest(),
        "m2": hmac.new(b"k" * 100, b"own@b.example", hashlib.sha256).hexdigest(),
    }


def test_a_contact_is_stored_nowhere_also_not_with_a_rejected_row_and_never_without_a_key(ledger):
    ledger.start()
    with pytest.raises(errors.InvalidRequest, match="LOYALTY_CONTACT_KEY"):
        enrol(ledger, "m1,secret@b.example", key=None)
    assert ledger.one("SELECT count(*) FROM points.member") == 0
    enrol(ledger, "m1,", key=None)
    ledger.take("members", "member_no,status,contact", "m2,gone,secret@b.example", contact_key=KEY)
    [row] = ledger.rows("SELECT CAST(detail AS text) FROM points.finding WHERE reason = 'status_unknown'")
    assert json.loads(row[0])["status"] == "gone"
    tables = ledger.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'points'::regnamespace AND relkind = 'r'".replace(
            "::", "\\:\\:"
        )
    )
    for (table,) in tables:
        assert ledger.one(f"SELECT count(*) FROM points.{table} AS t WHERE CAST(t AS text) LIKE '%secret%'") == 0


# Redemptions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redeemed_at", "earned", "changes", "fires"),
    [
        ("10:15:00", 500, {}, True),
        ("10:15:01", 500, {}, False),
        ("09:59:59", 500, {}, False),  # before the order
        ("10:00:00", 499, {}, False),
        ("10:15:00", 500, {"minutes_after_earn": 0}, False),
    ],
)
def test_a_redemption_within_minutes_of_a_large_earn(ledger, redeemed_at, earned, changes, fires):
    ledger.start(expiry=FOREVER, screens={"minutes_after_earn": 15, "large_earn": 500} | changes)
    ledger.orders("A0,m1,2026-01-01 08:00,tea,1,400", f"A1,m1,2026-01-02 10:00,tea,1,{earned}")
    ledger.redemptions("R0,m1,2026-01-01 08:01,100", f"R1,m1,2026-01-02 {redeemed_at},300")
    ledger.close("2026-01-02")

    expected = {"points": 300, "ref": "R1", "earned": 500, "order_no": "A1", "minutes": 15}
    assert facts(ledger, "redemption_after_earn") == ({"m1": expected} if fires else {})
    assert screen(ledger, "2026-01-02") == 0


@pytest.mark.parametrize("way", ["spend", "capture"])
def test_a_till_s_redemption_counts_from_when_it_was_called(ledger, way):
    now = dt.datetime.now(dt.UTC)
    today, yesterday = now.date(), now.date() - dt.timedelta(days=1)
    ledger.start(
        programme={"starts_on": yesterday, "time_zone": "Etc/UTC"}, expiry=FOREVER, screens={"large_earn": 500}
    )
    ledger.orders(
        f"A1,m1,{(now - dt.timedelta(minutes=5)).isoformat()},tea,1,500",
        f"A2,m2,{(now - dt.timedelta(minutes=20)).isoformat()},tea,1,500",
    )
    ledger.close(yesterday)
    events.post(ledger.engine(), through=today, run_id=None, final=False)
    for member in ("m1", "m2"):
        if way == "spend":
            ledger.rows("SELECT points.spend(:no, 300, :day, 'till', 'T1')", login="api", no=member, day=today)
        else:
            ledger.rows("SELECT points.hold(:no, 300, :day, :day, 'H1')", login="api", no=member, day=today)
            ledger.rows("SELECT points.capture(:no, 'H1', 300, :day)", login="api", no=member, day=today)
    ledger.close(today)
    assert list(facts(ledger, "redemption_after_earn")) == ["m1"]


@pytest.mark.parametrize(
    ("caps", "rows", "expected"),
    [
        ({"redemptions_per_day": 2}, ["01,10", "01,10", "01,10"], {"redemptions": 3, "points": 30, "on": "2026-01-01"}),
        ({"redemptions_per_day": 2}, ["01,10", "01,10", "02,10", "02,10"], None),
        ({"points_redeemed_per_day": 50}, ["01,25", "01,26"], {"redemptions": 2, "points": 51, "on": "2026-01-01"}),
        ({"points_redeemed_per_day": 50}, ["01,25", "01,25"], None),
        ({}, ["01,10"] * 9, None),
    ],
)
def test_redemptions_above_the_caps_of_a_day(ledger, caps, rows, expected):
    ledger.start(expiry=FOREVER, screens=caps)
    ledger.orders(
        "A1,m1,2026-01-01 08:00,tea,1,60", "A2,m1,2026-01-01 08:00,tea,1,60"
    )  # a redemption of two lots is one
    asked = [row.split(",") for row in rows]
    ledger.redemptions(*(f"R{n},m1,2026-01-{day} 10:0{n},{points}" for n, (day, points) in enumerate(asked)))
    ledger.close("2026-01-02")
    assert facts(ledger, "redemptions_above_cap") == ({"m1": expected} if expected else {})
    assert screen(ledger, "2026-01-01") == screen(ledger, "2026-01-02") == 0


def test_a_cap_counts_the_day_it_happened_also_when_word_comes_late_in_parts(ledger):
    ledger.start(expiry=FOREVER, screens={"redemptions_per_day": 2})
    ledger.orders("A1,m1,2026-01-01 08:00,tea,1,100")
    ledger.redemptions("R1,m1,2026-01-01 10:00,10", "R2,m1,2026-01-01 11:00,10")
    ledger.close("2026-01-01")
    ledger.redemptions("R3,m1,2026-01-01 12:00,10", "R4,m1,2026-01-02 12:00,10")
    ledger.close("2026-01-02")
    assert facts(ledger, "redemptions_above_cap") == {"m1": {"redemptions": 3, "points": 30, "on": "2026-01-01"}}


# Refund after spend ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spent", "returned", "policy", "fires"),
    [
        (300, "123", "debt", True),
        (300, "123", "within_balance", True),
        (300, "123", "only_pending", True),  # the return takes nothing and leaves no entry
        (300, "12", "debt", False),  # two orders, not three
        (200, "123", "debt", False),  # the third order's points were there
        (3, "123", "debt", False),
    ],
)
def test_points_are_spent_and_then_their_orders_returned(ledger, spent, returned, policy, fires):
    ledger.start(expiry=FOREVER, refund={"policy": policy}, screens={"refunds_after_spend": 3, "refund_days": 10})
    ledger.orders(*(f"A{n},m1,2026-01-01 10:0{n},tea{n},1,100" for n in (1, 2, 3)))
    ledger.redemptions(f"R1,m1,2026-01-02 10:00,{spent}")
    ledger.orders(*(f"B{n},m1,2026-01-0{n + 2} 10:00,tea{n},-1,100,A{n}" for n in map(int, returned)))
    ledger.close("2026-01-06")

    expected = {"orders": 3, "points": 300, "refunded": 300, "order_nos": ["A1", "A2", "A3"]}
    assert facts(ledger, "refund_after_spend") == ({"m1": expected} if fires else {})
    assert screen(ledger, "2026-01-05") == 0


@pytest.mark.parametrize(
    "changes", [{"refund_days": 2}, {"refund_share": "1"}, {"refund_min": 226}, {"refunds_after_spend": 0}]
)
def test_refunds_below_a_threshold_are_usual(ledger, changes):
    """Of 300 refunded points 225 had been spent: three quarters."""
    asked = {"refunds_after_spend": 3, "refund_days": 3, "refund_share": "0.75", "refund_min": 225}
    ledger.start(expiry=FOREVER, screens=asked)
    ledger.orders(*(f"A{n},m1,2026-01-01 10:0{n},tea{n},1,100" for n in (1, 2, 3)))
    ledger.redemptions("R1,m1,2026-01-02 10:00,225")
    ledger.orders(*(f"B{n},m1,2026-01-0{n + 2} 10:00,tea{n},-1,100,A{n}" for n in (1, 2, 3)))
    ledger.close("2026-01-04")
    ledger.change("2026-01-05", expiry=FOREVER, screens=asked | changes)
    ledger.close("2026-01-05")
    assert facts(ledger, "refund_after_spend") == {}
    ledger.change("2026-01-06", expiry=FOREVER, screens=asked | {"refund_days": 4})
    ledger.orders("B4,m1,2026-01-06 10:00,tea3,-1,100")
    ledger.close("2026-01-06")
    assert facts(ledger, "refund_after_spend")["m1"]["points"] == 225


# Staff ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def office(ledger):
    """m1 and m2 have points; 2 January is open."""

    def start(**thresholds):
        limits = [{"role": "loyalty_batch", "max_points_per_adjustment": 50}]
        ledger.start(expiry=FOREVER, approval=LIMITS | {"limit": limits}, screens=thresholds)
        ledger.orders("A1,m1,2026-01-01 10:00,tea,1,1000", "A2,m2,2026-01-01 10:00,tea,1,1000")
        ledger.close("2026-01-01")
        return ledger

    return start


@pytest.mark.parametrize(
    ("staff", "points", "fires"),
    [
        ({"loyalty_batch": "m1"}, 20, True),  # proposed
        ({"loyalty_approver": "m1"}, 20, True),  # approved
        ({"loyalty_batch": "m1"}, -20, False),  # taken, not given
        ({"loyalty_batch": "m2"}, 20, False),
        ({"loyalty_api": "m1"}, 20, False),
    ],
)
def test_a_login_that_gives_points_to_its_own_member_number(office, staff, points, fires):
    ledger = office(staff=staff)
    adjust(ledger, points, day="2026-01-02")
    ledger.close("2026-01-02")

    [login] = staff
    expected = {f"{login} m1": {"login": login, "points": 20, "approvals": [1]}}
    assert facts(ledger, "staff_credits_self") == (expected if fires else {})
    assert screen(ledger, "2026-01-02") == 0


@pytest.mark.parametrize(
    ("days", "members", "fires"),
    [
        (["02", "03", "04"], "m1 m1 m1", True),
        (["02", "03"], "m1 m1", False),
        (["02", "03", "04"], "m1 m2 m1", False),
        (["02", "03", "06"], "m1 m1 m1", False),  # the first is five days ago
    ],
)
def test_a_login_that_gives_points_to_one_member_again_and_again(office, days, members, fires):
    ledger = office(staff_days=4, staff_same_member=3)
    for day, member in zip(days, members.split(), strict=True):
        adjust(ledger, 20, member_no=member, day=f"2026-01-{day}")
    ledger.close(f"2026-01-{days[-1]}")

    shown = {"times": 3, "points": 60, "approvals": [1, 2, 3]}
    expected = {f"{login} m1": {"login": login, **shown} for login in ("loyalty_batch", "loyalty_approver")}
    assert facts(ledger, "staff_favours_member") == (expected if fires else {})
    assert screen(ledger, f"2026-01-{days[-1]}") == 0


@pytest.mark.parametrize(
    ("points", "proposer", "fires"),
    [
        ([45, -45, 50], "batch", 50),  # its role's limit
        ([45, 44, 45], "batch", None),
        ([45, 45], "batch", None),
        ([90, 90, 90], "approver", 100),  # no limit of its own: the general one
        ([89, 90, 90], "approver", None),
    ],
)
def test_a_login_that_stays_just_under_its_limit(office, points, proposer, fires):
    ledger = office(near_limit_share="0.9", near_limit_count=3, staff_same_member=0)
    second = "approver" if proposer == "batch" else "admin"
    for n, amount in enumerate(points, start=2):
        adjust(ledger, amount, day=f"2026-01-0{n}", proposer=proposer, approver=second)
    ledger.close(f"2026-01-0{len(points) + 1}")

    login = f"loyalty_{proposer}"
    expected = {login: {"login": login, "times": 3, "limit": fires, "approvals": [1, 2, 3]}}
    assert facts(ledger, "staff_near_limit") == (expected if fires else {})
    assert screen(ledger, f"2026-01-0{len(points) + 1}") == 0


# What is done with findings ------------------------------------------------------------------------------------------


@pytest.fixture
def capped(ledger):
    """One finding, about m1."""
    ledger.start(expiry=FOREVER, screens={"redemptions_per_day": 1})
    ledger.orders("A1,m1,2026-01-01 08:00,tea,1,100")
    ledger.redemptions("R1,m1,2026-01-01 10:00,10", "R2,m1,2026-01-01 11:00,10")
    ledger.close("2026-01-01")
    return ledger


def act(ledger, what, login="batch", **values):
    with errors.translated(), ledger.engine(login).begin() as connection:
        return what(connection, **values)


def test_a_finding_is_open_until_it_is_cleared_once_with_a_reason(capped):
    [finding] = found(capped, is_open=True)
    assert finding.sentence == "2 redemptions of 20 points on 2026-01-01"
    clear = {"finding_id": finding.finding_id, "reason": WHY}
    with pytest.raises(errors.InvalidRequest):
        act(capped, screens.clear, **clear | {"reason": "fine"})
    act(capped, screens.clear, **clear)
    with pytest.raises(errors.AlreadyEnded):
        act(capped, screens.clear, **clear)
    with pytest.raises(errors.UnknownEvent):
        act(capped, screens.clear, finding_id=4711, reason=WHY)
    assert found(capped, is_open=True) == []
    [finding] = found(capped)
    assert (finding.cleared_by, finding.cleared_because) == ("loyalty_batch", WHY)


def test_a_block_decides_about_what_was_found_before_it(capped):
    act(capped, screens.block, member_no="m1", reason=WHY)
    assert found(capped, is_open=True) == []
    [finding] = found(capped, member_no="m1")
    assert (finding.is_open, finding.is_blocked) == (False, True)
    act(capped, screens.release, "approver", member_no="m1", reason=WHY)
    capped.redemptions("R3,m1,2026-01-02 10:00,10", "R4,m1,2026-01-02 11:00,10")
    capped.close("2026-01-02")
    assert [finding.business_date.day for finding in found(capped, is_open=True)] == [2]


def test_nobody_clears_what_was_found_about_their_own_login(office):
    ledger = office(staff={"loyalty_batch": "m1"})
    adjust(ledger, 20, day="2026-01-02")
    ledger.close("2026-01-02")
    with pytest.raises(errors.OwnCase):
        act(ledger, screens.clear, finding_id=1, reason=WHY)
    act(ledger, screens.clear, "approver", finding_id=1, reason=WHY)


# The night and the programme -------------------------------------------------------------------------------------------


def test_findings_take_nothing_stop_nothing_and_are_counted_by_the_night(capped):
    [row] = capped.rows("SELECT totals -> 'screens', status FROM points.run WHERE job = 'close-night'")
    assert tuple(row) == ({"redemptions_above_cap": 1}, "done")
    assert capped.findings() == {}
    assert capped.balance("m1") == (80, 0)


def test_a_version_without_the_section_is_screened_by_the_documented_defaults(ledger):
    """The defaults stand twice, for documents that were stored before the section was."""
    ledger.start()
    with ledger.engine("admin").begin() as connection:
        [full] = connection.execute(text("SELECT document FROM points.policy_version")).scalars()
        bare = {key: section for key, section in full.items() if key != "screens"} | {
            "refund": {"policy": "only_pending"}
        }
        store_version(connection, bare, effective_from=dt.date(2026, 1, 1))
    first, second = ledger.rows("SELECT * FROM points.screening ORDER BY version")
    assert full["screens"].keys() == first._mapping.keys() - {"version"}
    assert first[1:] == second[1:]
    assert second.enabled is True


def test_the_ledger_is_intact_after_all_that(capped):
    act(capped, screens.block, member_no="m1", reason=WHY)
    with capped.engine().connect() as connection:
        assert list(verification.verify(connection)) == []
