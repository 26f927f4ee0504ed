"""The checks on the ledger: each is silent on a busy, clean shop, and each names the rows of a fault that was planted."""

import datetime as dt

import pytest
from sqlalchemy import text

from expectations import catalogue, runner
from expectations.catalogue import BY_ID, CATALOGUE

TIERS = [{"code": "member", "enter_at": 0}, {"code": "silver", "enter_at": 100}, {"code": "gold", "enter_at": 300}]
LAST = dt.date(2026, 3, 10)


def shop(ledger):
    """Ten weeks with everything in them that a check must not mind: the near misses of each."""
    ledger.start(
        tier=TIERS,
        tiers={"metric": "points_earned", "window": "rolling_12_months", "downgrade": "one_down", "grace_days": 0},
        earn={
            "daily_cap": 400,
            "usable_after_days": 2,
            "multiplier": [{"factor": "2", "skus": ["mug"]}, {"factor": "1.5", "weekdays": ["sat"]}],
            "bonus": [{"points": 5, "skus": ["bonus"]}],
            "stacking": "multiply",
        },
    )
    ledger.change("2026-02-20", expiry={"months": 3}, earn={"usable_after_days": 1})
    ledger.orders(
        "A1,m1,2026-01-03 10:00,mug,2,10.55",  # a Saturday: both multipliers
        "A1,m1,2026-01-03 10:00,POST,1,3",
        "A2,m1,2026-01-05 10:00,tea,1,300",  # tiers; above the cap together with A3
        "A3,m1,2026-01-05 11:00,tea,1,200",
        "A4,m1,2026-01-06 10:00,bonus,1,20.40",
        "B1,m2,2026-01-04 10:00,tea,3,40",
        "B2,m2,2026-01-08 10:00,tea,-2,40",  # returned in parts; spent before, so that some of it is owed
        "B3,m2,2026-01-09 10:00,tea,-1,40,B1",
        "B4,m2,2026-01-20 10:00,tea,1,60",  # pays the debt
        "C1,m3,2026-02-10 10:00,tea,1,100",  # lapses on 11 March: valid through 10 March, the last day closed
        "C2,m3,2026-02-11 10:00,tea,1,100",  # valid through 11 March
        "D1,m4,2026-02-01 10:00,tea,1,80",
        "E1,m5,2026-01-10 10:00,tea,1,50",  # lapsed under a hold
        "F0,m6,2026-01-15 10:00,tea,1,10",
        "F1,m6,2026-03-10 10:00,tea,1,90",  # pending
        "G1,m7,2026-02-25 10:00,tea,1,70",
        "H1,m8,2026-01-10 10:00,POST,1,70",  # earns nothing
        "X1,m9,2026-01-10 10:00,tea,-1,70",  # a return of nothing
    )
    ledger.redemptions(
        "R1,m2,2026-01-07 09:00,100", "R2,m1,2026-01-10 09:00,30", "R3,m1,2026-01-11 09:00,20", "R9,nobody,2026-01-11 09:00,20"
    )  # fmt: skip
    ledger.cancellations("R3,2026-01-12 09:00", "R8,2026-01-12 09:00")
    ledger.close("2026-01-31")
    ledger.rows("SELECT points.hold('m5', 20, '2026-01-20', '2026-04-20', 'H1')", login="api")
    ledger.close("2026-02-03")
    ledger.rows("SELECT points.spend('m4', 10, '2026-02-04', 'till', 'T1')", login="api")
    ledger.bind("m4", "m6", day="2026-02-04")
    ledger.close("2026-02-19")
    ledger.rows("SELECT points.transfer('m4', 'm6', 25, '2026-02-20', 'G1')", login="api")
    approve(ledger, "SELECT points.propose_adjustment('m1', 40, '2026-02-20', NULL, 'goodwill', 'the parcel was late')")
    lapsed = ledger.one(
        "SELECT lot_seq FROM points.entry JOIN points.member USING (member_id) WHERE member_no = 'm1' AND kind = 'expire' LIMIT 1"
    )
    approve(ledger, f"SELECT points.propose_reinstatement('m1', {lapsed}, 30, 'goodwill', 'we did not tell them')")
    ledger.close(LAST)
    return ledger


def approve(ledger, proposal):
    number = ledger.one(proposal)
    ledger.rows("SELECT points.approve_and_post(:id, points.open_business_date())", login="approver", id=number)


def found(ledger, *checks, as_of=LAST, form="full", login="auditor"):
    """Offending keys by check id, of the checks that found any; an error as its text."""
    run = runner.run_bare(ledger.engine(login), checks or CATALOGUE, as_of=as_of, form=form)
    return {a.check_id: a.error or [row["key"] for row in a.rows] for a in run.answers if a.outcome != "pass"}


@pytest.fixture(scope="module")
def clean(clone):
    return shop(clone())


def test_the_shop_is_busy(clean):
    kinds = {row[0] for row in clean.rows("SELECT DISTINCT kind FROM points.entry")}

    assert kinds == {row[0] for row in clean.rows("SELECT kind FROM points.entry_kind WHERE kind <> 'adjust_down'")}
    assert clean.one("SELECT count(*) FROM points.tier_decision") > 2


@pytest.mark.parametrize("login", ["auditor", "batch"])
def test_a_clean_shop_is_clean_for_every_check(clean, login):
    assert found(clean, login=login) == {}
    assert found(clean, *catalogue.nightly(), form="night", login=login) == {}


GIFT = ["UPDATE points.entry SET kind = 'gift' WHERE {expiry}"]
EXPIRY = {"member_id": 3, "seq": 3}  # of the last night, booked on 11 March
EARNED = {"member_id": 6, "seq": 5}  # on 10 March, the last day closed
# check: (what somebody with all rights did, the keys of exactly the rows that are wrong now). What the nights look at is
# planted in what the last one touched, so that the same fault proves both forms.
FAULTS = {
    "I1": (["UPDATE points.wallet SET balance = balance + 1 WHERE member_id = 3"], [{"member_id": 3}]),
    "I2": (
        [
            "UPDATE points.lot SET remaining = 1, expired = 99 WHERE member_id = 3 AND lot_seq = 1"
        ],  # cleared in the last night
        [{"member_id": 3, "lot_seq": 1}],
    ),
    "I3": (["UPDATE points.wallet SET held = 1 WHERE member_id = 3"], [{"member_id": 3}]),
    "I4": (["UPDATE points.entry SET balance_after = balance_after + 5 WHERE {expiry}"], [EXPIRY]),
    "I5": (GIFT, [{"book_date": "2026-03-11", "what": what} for what in ("kind", "wallet")]),
    "I6": (["UPDATE points.entry SET effective_on = '2026-03-10' WHERE {expiry}"], [EXPIRY]),
    "I7": (
        ["UPDATE points.lot SET valid_through = '2026-03-10' WHERE member_id = 7"],
        [{"member_id": 7, "lot_seq": 1}],
    ),
    "I8": (
        ["DELETE FROM points.posting_key WHERE source_ref = 'A1'"],
        [{"member_id": 1, "source": "order", "source_ref": "A1"}],
    ),
    "I9": (["UPDATE points.entry SET recorded_at = recorded_at + interval '1 day' WHERE {earned}"], [EARNED]),
    "I10": (
        ["UPDATE points.entry SET reason = 'mended' WHERE member_id = 1 AND seq = 1"],
        [{"book_date": "2026-01-03"}],
    ),
    "I11": (
        [
            "ALTER TABLE points.wallet DROP CONSTRAINT nothing_negative_and_held_within_balance",
            "UPDATE points.wallet SET debt = -1 WHERE member_id = 3",
        ],
        [{"member_id": 3, "what": "wallet", "seq": 0}],
    ),
    "I12": (
        ["UPDATE points.entry SET book_date = '2026-01-30' WHERE member_id = 1 AND seq = 1"],
        [{"member_id": 1, "seq": 2}],
    ),
    "I13": (
        [
            "INSERT INTO points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,"
            " balance_after, debt_after, kind, source, source_ref) SELECT member_id, 99, book_date, effective_on, journal_id,"
            " points, lot_seq, 0, 0, 0, kind, source, source_ref FROM points.entry WHERE {expiry}"
        ],
        [{"member_id": 3, "lot_seq": 1}],
    ),
    "I14": (["UPDATE points.wallet SET debt = debt + 1 WHERE member_id = 2"], [{"member_id": 2}]),
    "legal-posting": (GIFT, [EXPIRY]),
    "posted-once": (
        ["UPDATE points.entry SET source_ref = 'A1' WHERE member_id = 1 AND seq = 2"],
        [{"source": "order", "source_ref": "A1"}],
    ),
    "reversals": (
        ["UPDATE points.entry SET reversal_of = 5 WHERE member_id = 1 AND seq = 13"],
        [{"member_id": 1, "reversal_of": 5}],
    ),
    "entry-references": (["UPDATE points.entry SET policy_version = 77 WHERE {earned}"], [EARNED]),
    "booked-late": (["UPDATE points.entry SET effective_on = '2026-01-08' WHERE {earned}"], [EARNED]),
    "effective-ahead": (["UPDATE points.entry SET effective_on = '2026-03-11' WHERE {earned}"], [EARNED]),
    "validity": (
        ["UPDATE points.entry SET valid_through = valid_through - 1 WHERE {earned}"],
        [{"member_id": 6, "lot_seq": 5}],
    ),
    "stale-runs": (
        ["UPDATE points.run SET status = 'failed' WHERE business_date = '2026-03-09'"],
        [{"run_id": "SELECT run_id FROM points.run WHERE business_date = '2026-03-09'"}],
    ),
    "left-waiting": (
        ["UPDATE points.return_line SET is_waiting = true WHERE order_no = 'B2'"],
        [{"what": "return", "ref": "B2/1"}],
    ),
    "deferred-expiry": (
        ["UPDATE points.lot SET valid_through = '2026-02-06' WHERE member_id = 5"],
        [{"member_id": 5, "lot_seq": 1}],
    ),
    "expired-without-notice": (
        [
            "UPDATE points.policy_version SET document = jsonb_set(document, '{{expiry,notice,required}}', 'true')",
            "INSERT INTO points.unannounced_expiry (member_id, lot_seq, last_day, business_date, points)"
            " SELECT member_id, lot_seq, effective_on, book_date, points FROM points.entry WHERE kind = 'expire' AND NOT ({expiry})"
            " AND source <> 'undo'",
        ],
        [{"member_id": 3, "lot_seq": "SELECT lot_seq FROM points.entry WHERE member_id = 3 AND seq = 3"}],
    ),
    "expiry-deferred": (
        [
            "INSERT INTO points.lot_deferral (member_id, lot_seq, from_date, to_date, business_date, points, why)"
            " SELECT member_id, lot_seq, '2026-03-01', valid_through, '2026-03-01', remaining, 'no_notice'"
            " FROM points.lot WHERE member_id = 7",
        ],
        [{"member_id": 7, "lot_seq": 1}],
    ),
    "policy-of-the-day": (
        ["UPDATE points.order_earning SET policy_version = 2 WHERE order_no = 'A1'"],
        [{"member_id": 1, "order_no": "A1"}],
    ),
    "tier-projection": (["UPDATE points.member_tier SET tier = 'member' WHERE member_id = 1"], [{"member_id": 1}]),
    "tier-recomputed": (
        ["UPDATE points.tier_decision SET amount = amount - 1 WHERE member_id = 1"],
        [{"member_id": 1, "decision_no": 1}],
    ),
    "daily-cap": (
        ["UPDATE points.order_earning SET points = 101 WHERE order_no = 'A3'"],
        [{"member_id": 1, "effective_on": "2026-01-05"}],
    ),
    "power": (
        ["UPDATE points.approval SET approved_by = NULL, approved_at = NULL WHERE approval_id = 1"],
        [{"member_id": 1, "seq": 12}],
    ),
    "orders-without-earning": (
        ["DELETE FROM points.order_earning WHERE order_no = 'H1'"],
        [{"member_id": 8, "order_no": "H1"}],
    ),
    "earnings-without-order": (
        ["UPDATE points.order_earning SET points = 62 WHERE order_no = 'A1'"],
        [{"member_id": 1, "order_no": "A1"}],
    ),
    "earning-arithmetic": (
        ["DELETE FROM points.order_line WHERE order_no = 'A2'"],
        [{"member_id": 1, "order_no": "A2"}],
    ),
    "order-lines": (
        ["DELETE FROM points.order_line WHERE order_no = 'A1' AND sku = 'POST'"],
        [{"member_id": 1, "order_no": "A1"}],
    ),
    "returns": (
        ["UPDATE points.returned_line SET points = points - 1 WHERE return_order_no = 'B2'"],
        [{"member_id": 2, "ref": "B2/1"}],
    ),
    "over-returned": (
        ["UPDATE points.returned_line SET quantity = 2.5 WHERE return_order_no = 'B2'"],
        [{"member_id": 2, "order_no": "B1"}],
    ),
    "redemptions": (
        ["UPDATE points.redemption SET points = 31 WHERE redemption_no = 'R2'"],
        [{"redemption_no": "R2"}],
    ),
    "cancellations": (
        ["UPDATE points.cancellation SET state = 'refused' WHERE redemption_no = 'R3'"],
        [{"redemption_no": "R3"}],
    ),
    "transfers": (
        ["UPDATE points.entry SET kind = 'spend' WHERE member_id = 4 AND kind = 'transfer_out'"],
        [{"journal_id": "SELECT CAST(journal_id AS text) FROM points.entry WHERE kind = 'transfer_in'"}],
    ),
    "guards-in-place": (
        [
            "ALTER TABLE points.entry_202603 DISABLE TRIGGER through_entry_only",
            "ALTER TABLE points.seal DISABLE TRIGGER append_only",
        ],
        [{"object": "entry_202603.through_entry_only"}, {"object": "seal.append_only"}],
    ),
}
# What else can be wrong for the same check.
MORE_FAULTS = [
    ("legal-posting", "UPDATE points.entry SET approval_id = 1 WHERE {earned}", {"member_id": 6, "seq": 5}),
    (
        "I2",
        "UPDATE points.lot SET remaining = remaining - 1 WHERE member_id = 3 AND lot_seq = 2",
        {"member_id": 3, "lot_seq": 2},
    ),
    (
        "I2",
        "UPDATE points.lot SET valid_through = '2026-03-12' WHERE member_id = 3 AND lot_seq = 2",
        {"member_id": 3, "lot_seq": 2},
    ),
    (
        "I8",
        "UPDATE points.posting_key SET last_seq = 2 WHERE source_ref = 'A1'",
        {"member_id": 1, "source": "order", "source_ref": "A1"},
    ),
    ("I10", "DELETE FROM points.seal WHERE book_date = '2026-03-10'", {"book_date": "2026-03-10"}),
    (
        "I10",
        "UPDATE points.seal SET root = sha256('forged') WHERE book_date = '2026-03-10'",
        {"book_date": "2026-03-10"},
    ),
    ("I10", "DELETE FROM points.book_day WHERE book_date = '2026-02-10'", {"book_date": "2026-02-11"}),
    (
        "reversals",
        "UPDATE points.entry SET reversal_of = 77 WHERE member_id = 1 AND seq = 13",
        {"member_id": 1, "reversal_of": 77},
    ),
    ("entry-references", "UPDATE points.entry SET run_id = 7777 WHERE {earned}", {"member_id": 6, "seq": 5}),
    (
        "left-waiting",
        "UPDATE points.redemption SET state = 'waiting' WHERE redemption_no = 'R2'",
        {"what": "redemption", "ref": "R2"},
    ),
    ("tier-projection", "DELETE FROM points.member_tier WHERE member_id = 1", {"member_id": 1}),
    (
        "power",
        "UPDATE points.approval SET payload = payload || '{{\"points\": 39}}' WHERE approval_id = 1",
        {"member_id": 1, "seq": 12},
    ),
    ("power", "DELETE FROM points.approval WHERE approval_id = 2", {"member_id": 1, "seq": 13}),
    (
        "earnings-without-order",
        "DELETE FROM points.shop_order WHERE order_no = 'A1'",
        {"member_id": 1, "order_no": "A1"},
    ),
    (
        "earning-arithmetic",
        "UPDATE points.order_line SET unit_price = 10.54 WHERE order_no = 'A1' AND sku = 'mug'",
        {"member_id": 1, "order_no": "A1"},
    ),
    (
        "earning-arithmetic",
        "UPDATE points.order_earning SET bonuses = '{{}}' WHERE order_no = 'A4'",
        {"member_id": 1, "order_no": "A4"},
    ),
    (
        "redemptions",
        "UPDATE points.redemption SET state = 'refused' WHERE redemption_no = 'R2'",
        {"redemption_no": "R2"},
    ),
    ("guards-in-place", "ALTER TABLE points.entry ENABLE TRIGGER apply_entries", {"object": "entry.apply_entries"}),
    (
        "guards-in-place",
        "DROP TRIGGER through_entry_only ON points.entry_202602",
        {"object": "entry_202602.through_entry_only"},
    ),
]


def plant(ledger, *statements):
    """Do what somebody with all rights could do, and leave every guard as it was."""
    rows = {"expiry": "member_id = 3 AND seq = 3", "earned": "member_id = 6 AND seq = 5"}
    with ledger.engine("admin").begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        always = connection.execute(
            text(
                "SELECT CAST(CAST(tgrelid AS regclass) AS text), tgname FROM pg_trigger"
                " WHERE tgenabled = 'A' AND tgparentid = 0 AND tgname IN ('append_only', 'apply_entries')"
            )
        ).all()
        for table, trigger in always:
            connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}"))
        for statement in statements:
            if "TRIGGER" not in statement:
                done = connection.execute(text(statement.format(**rows)))
                assert done.rowcount, "a fault that changes nothing proves nothing"
        for table, trigger in always:
            connection.execute(text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"))
        for statement in statements:
            if "TRIGGER" in statement:
                connection.execute(text(statement))


def keys_of(ledger, keys):
    """The expected keys, with what only the database knows looked up."""

    def known(value):
        return ledger.one(value) if isinstance(value, str) and value.startswith("SELECT") else value

    return [{name: known(value) for name, value in key.items()} for key in keys]


def test_every_check_has_its_fault():
    assert list(FAULTS) == list(BY_ID)
    assert len(CATALOGUE) == len(BY_ID) >= 30


@pytest.mark.parametrize("check", FAULTS)
def test_a_planted_fault_is_found_with_its_keys_and_no_others(clean, copied, check):
    ledger = copied(clean)
    statements, keys = FAULTS[check]

    plant(ledger, *statements)

    expected = keys_of(ledger, keys)
    assert found(ledger, BY_ID[check])[check] == expected
    if BY_ID[check].night:
        assert found(ledger, BY_ID[check], form="night")[check] == expected
    assert not any(isinstance(keys, str) for keys in found(ledger).values()), "a fault must not break other checks"


@pytest.mark.parametrize(("check", "statement", "key"), MORE_FAULTS)
def test_another_fault_of_the_same_kind_is_found(clean, copied, check, statement, key):
    ledger = copied(clean)

    plant(ledger, statement)

    assert key in found(ledger, BY_ID[check])[check]


def test_great_expectations_and_bare_sql_give_the_same_answers_also_about_a_check_that_cannot_run(clean, copied):
    from expectations.suite import run_suite  # noqa: PLC0415 - imports Great Expectations

    ledger = copied(clean)
    plant(ledger, *FAULTS["I1"][0], *FAULTS["I10"][0], *FAULTS["posted-once"][0], *FAULTS["booked-late"][0])
    ledger.rows("ALTER TABLE points.return_line RENAME COLUMN order_no TO other_no")

    bare, suite = (run(ledger.engine("auditor"), CATALOGUE, as_of=LAST) for run in (runner.run_bare, run_suite))

    def plain(run):
        return [(a.check_id, a.severity, a.is_full, a.outcome, a.offending, a.rows, a.sql_sha256) for a in run.answers]

    assert plain(suite) == plain(bare)
    errors = {a.check_id: a.error for a in suite.answers if a.outcome == "error"}
    assert errors.keys() == {"left-waiting", "order-lines"}
    assert all("order_no" in message and "does not exist" in message for message in errors.values())
    assert (suite.engine, suite.outcome) == ("great_expectations", "error")


def test_every_check_of_a_suite_reads_the_moment_of_its_snapshot(clean, copied, monkeypatch):
    from expectations import suite  # noqa: PLC0415 - imports Great Expectations

    ledger = copied(clean)
    pin = suite._pin
    planted = []

    def later(connection, exported):
        if not planted:
            planted.append(plant(ledger, *FAULTS["I14"][0]))  # committed after the snapshot was exported
        pin(connection, exported)

    monkeypatch.setattr(suite, "_pin", later)

    assert suite.run_suite(ledger.engine("auditor"), CATALOGUE, as_of=LAST).outcome == "pass"
    assert "I14" in found(ledger)


def test_what_is_due_depends_on_the_business_date():
    def cadences(day):
        return {check.cadence for check in catalogue.due(dt.date.fromisoformat(day))}

    assert cadences("2026-03-10") == {"night"}
    assert cadences("2026-03-15") == {"night", "week"}  # a Sunday
    assert cadences("2026-02-28") == {"night", "week", "month"}
    assert {check.id for check in catalogue.nightly()} == {c.id for c in CATALOGUE if c.cadence == "night"}


def test_the_statements_read_no_clock():
    for check in CATALOGUE:
        for form in ("full", "night"):
            statement = "\n".join(
                line for line in runner.query(check, form).text.splitlines() if not line.startswith("--")
            )
            for word in ("now(", "current_date", "current_timestamp", "clock_timestamp", "localtimestamp"):
                assert word not in statement.lower(), check.id
