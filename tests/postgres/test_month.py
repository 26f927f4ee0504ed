"""The report of a month: foots, agrees with the orders, says every deviation in its first line, and never changes."""

import csv
import datetime as dt
import hashlib
import json
import os
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from points_ledger import month, month_sign_off
from points_ledger.errors import (
    AlreadyEnded,
    InvalidRequest,
    NotAllowed,
    OpenFindings,
    OtherContent,
    OwnMonth,
    UnknownEvent,
    translated,
)

ROOT = Path(__file__).parent.parent.parent
ONE_MORE = "B3,m2,2026-01-21 11:00,tea,1,1"


def february(ledger):
    """What comes after January: late orders and returns of it, a tier that reaches back, lapse, a till that is ahead."""
    ledger.orders(
        "L1,m3,2026-01-08 09:00,tea,2,70",
        "L2,m2,2026-01-20 12:00,tea,1,500",
        "L3,m1,2026-01-04 12:00,tea,-1,50",
        "D1,m1,2026-02-01 10:00,tea,1,10",
        "D2,m2,2026-02-09 10:00,cake,-1,60",
    )
    ledger.redemptions("L4,m2,2026-01-25 11:00,20", "L5,nobody,2026-01-25 11:00,20")
    ledger.close("2026-02-10")
    ledger.rows("SELECT points.spend('m2', 5, '2026-02-20', 'till', 'T1')", login="api")
    ledger.orders("D3,m2,2026-02-11 10:00,tea,1,40")
    ledger.close("2026-02-28")
    return ledger


@pytest.fixture(scope="module")
def history(clone, club_january):
    """Two closed months, and the report of the first from before the second began."""
    ledger = club_january(clone(), ONE_MORE)
    before = month.as_bytes(report(ledger))
    return february(ledger), before


@pytest.fixture(scope="module")
def books(history):
    """Two closed months, which the tests of this module only read, or copy to break."""
    return history[0]


@pytest.fixture
def broken(books, copied):
    """A copy in which nothing keeps a superuser from changing what is written."""
    ledger = copied(books)
    tables = ledger.rows("SELECT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal GROUP BY 1")
    for [table] in tables:
        ledger.rows(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    return ledger


def report(ledger, name="2026-01", login="auditor", keep=lambda _name, _row: None):
    engine = ledger.engine(login)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        return month.figures(connection, month.month_of(connection, name), keep=keep)


def deviating(made):
    return {check["id"] for check in made["checks"] if check["deviations"]}


def test_a_clean_month_agrees_and_foots(books):
    for name in ("2026-01", "2026-02"):
        made = report(books, name)
        assert made["headline"] == f"{name}: everything agrees.", [c for c in made["checks"] if c["deviations"]]
        roll = made["roll_forward"]
        assert roll["opening"] + sum(row["moved"] for row in roll["kinds"]) == roll["closing"] != 0
        assert [day["opening"] for day in roll["days"][1:]] == [day["closing"] for day in roll["days"][:-1]]
        assert made["debt"]["opening"] + made["debt"]["owed"] - made["debt"]["repaid"] == made["debt"]["closing"]
        orders = made["orders"]
        booked = orders["recomputed"] + orders["booked_earlier_nights"] - orders["booked_later"]
        assert booked == orders["in_ledger"] > 0
    assert report(books)["roll_forward"]["closing"] == report(books, "2026-02")["roll_forward"]["opening"]


def test_the_figures_are_those_done_by_hand(books):
    made = report(books)

    # A1 100; A2 20; A4 59 and the tier's 7; B1 120; B2 the 30 that are left of the cap; B3 1 and 7 more; C1 50; C3 30
    assert made["orders"] == {
        "orders": 8,
        "recomputed": 424,
        "booked_earlier_nights": 0,
        "booked_later": 0,
        "in_ledger": 424,
    }
    assert [(row["kind"], row["points"]) for row in made["roll_forward"]["kinds"]] == [
        ("adjust_up", 7), ("claw_back", 30), ("earn", 424), ("owe", 40), ("repay", 30), ("spend", 80), ("spend_reversal", 10),
    ]  # fmt: skip
    assert made["debt"] == {"opening": 0, "owed": 40, "repaid": 30, "closing": 10}
    assert made["members"] == {"members": 3, "new": 3, "with_points": 2, "active": 3, "share_active": "1.0000"}
    assert made["redemption_rate"] == {
        "earned": 424,
        "spent": 70,
        "of_the_month": "0.1651",
        "since_the_start": "0.1887",
    }
    assert [row["sku"] for row in made["products"]] == ["tea", "cake"]
    assert [(row["member_no"], row["points"], row["approved_by"]) for row in made["adjustments"]] == [
        ("m1", 7, "loyalty_approver")
    ]
    assert made["open_points"]["value"] == made["liability"]["gross"] == "3.01"


def test_what_is_booked_late_or_after_the_month_is_named_and_stays_out_of_the_sums(books):
    rows = []
    made = report(books, "2026-02", keep=lambda name, row: rows.append(row) if name == "orders" else None)

    late = [row for row in rows if row["order_no"] in ("L1", "L2")]
    assert [row["recomputed"] for row in late] == [140, 0]  # nothing is left of the cap of 20 January
    assert deviating(made) == set()


def test_the_report_says_how_old_the_proof_of_a_backup_was(own):
    def backups_of(name):
        with own.engine("auditor").connect() as connection:
            return month.figures(connection, month.month_of(connection, name))["backups"]

    assert backups_of("2026-01") == {"taken": 0, "proven": 0, "last_proven": None}
    own.rows("ALTER TABLE points.backup_event DISABLE TRIGGER USER")
    for what, moment in (
        ("begun", "01-09"),
        ("complete", "01-10"),
        ("complete", "02-10"),
        ("proven", "01-12"),
        ("proven", "02-11"),
    ):
        own.rows(
            "INSERT INTO points.backup_event (backup_id, what, recorded_at)"
            " VALUES (gen_random_uuid(), :what, CAST(:at AS timestamptz))",
            what=what, at=f"2026-{moment} 02:30+00",
        )  # fmt: skip

    assert backups_of("2026-01") == {"taken": 1, "proven": 1, "last_proven": "2026-01-12"}
    assert backups_of("2026-02") == {"taken": 1, "proven": 1, "last_proven": "2026-02-11"}


def test_the_report_of_a_month_is_the_same_bytes_whatever_comes_after(history):
    ledger, before = history

    assert month.as_bytes(report(ledger)) == before
    assert month.as_bytes(report(ledger, login="batch")) == before


RULES = {
    "conditions of every kind, multiplied": {
        "earn": {
            "stacking": "multiply",
            "rate": [
                {"points_per_unit": "0.5", "exclude_categories": ["food"], "stores": ["london"]},
                {"points_per_unit": "1", "exclude_skus": ["POST"]},
            ],
            "multiplier": [
                {"factor": "2", "categories": ["food"]}, {"factor": "1.5", "weekdays": ["mon", "tue"]},
                {"factor": "1.1", "channels": ["web"], "min_order_amount": "20"}, {"factor": "3", "groups": ["staff"]},
            ],
            "bonus": [{"points": 5, "first_order": True}, {"points": 9, "birthday_month": True}],
        },
    },
    "what was spent before": {
        "earn": {
            "rate": [
                {"points_per_unit": "3", "spent_from": "30", "spent_window": "calendar_year"}, {"points_per_unit": "1"},
            ],
        },
    },
    "refunds within the balance": {"refund": {"policy": "within_balance"}},
    "refunds of pending points only": {"refund": {"policy": "only_pending"}, "earn": {"usable_after_days": 3}},
    "inactivity": {"expiry": {"basis": "inactivity", "months": 1, "round_up_to": "day"}},
    "points that never lapse": {"expiry": {"basis": "none", "months": None}},
    "points that lapse within the month": {"expiry": {"basis": "calendar", "months": None, "month_day": "01-29"}},
}  # fmt: skip


@pytest.mark.parametrize("rules", RULES)
def test_every_kind_of_programme_is_recomputed(ledger, rules):
    ledger.start(programme={"starts_on": dt.date(2026, 1, 19)}, **RULES[rules])  # a Monday
    columns = "order_no,member_no,placed_at,sku,category,store,channel,quantity,unit_price,original_order_no"
    ledger.members("m1", "m2", "m3")
    ledger.rows("UPDATE points.member SET groups = '{staff}', birthday_md = '01-15' WHERE member_no = 'm2'")
    ledger.take(
        "orders", columns,
        "A1,m1,2026-01-19 10:00,tea,food,london,web,3,7.77,", "A1,m1,2026-01-19 10:00,mug,,london,web,1,19.99,",
        "A2,m2,2026-01-20 10:00,tea,food,leeds,shop,1,33.33,", "A3,m2,2026-01-21 10:00,mug,home,leeds,web,2,9.5,",
        "A4,m3,2026-01-19 11:00,POST,,london,web,1,3,", "A5,m3,2026-01-22 11:00,pen,,london,shop,1,0.4,",
        "R1,m1,2026-01-24 10:00,mug,,london,web,-1,19.99,A1", "R2,m2,2026-01-30 10:00,tea,food,leeds,shop,-1,33.33,",
        "R3,m1,2026-01-31 10:00,tea,food,london,web,-2,7.77,",
    )  # fmt: skip
    ledger.redemptions("P1,m1,2026-01-23 11:00,9", "P2,m2,2026-01-23 11:00,12")
    ledger.close("2026-02-28")

    for name in ("2026-01", "2026-02"):
        made = report(ledger, name)
        assert deviating(made) == set(), [check for check in made["checks"] if check["deviations"]]
    ledger.rows("ALTER TABLE points.order_line DISABLE TRIGGER USER")
    ledger.rows("UPDATE points.order_line SET quantity = quantity + 1 WHERE order_no = 'A3'")
    assert "orders-in-ledger" in deviating(report(ledger))


# What somebody with all rights could do in January, and the checks that must name it.
FAULTS = {
    "an entry has one point more": (
        ["UPDATE points.entry SET points = points + 1 WHERE kind = 'earn' AND source_ref = 'A1'"],
        {"roll-forward", "roll-forward-members", "roll-forward-days", "orders-in-ledger", "I4", "I10"},
    ),
    "an entry and its wallet, lot and balances have one point more": (
        ["UPDATE points.entry SET points = points + 1 WHERE kind = 'earn' AND source_ref = 'B3'",
         "UPDATE points.entry SET lot_remaining_after = lot_remaining_after + 1 WHERE member_id = 2 AND lot_seq = 3",
         "UPDATE points.entry SET balance_after = balance_after + 1 WHERE member_id = 2 AND seq >= 3",
         "UPDATE points.lot SET points = points + 1, remaining = remaining + 1 WHERE member_id = 2 AND lot_seq = 3",
         "UPDATE points.wallet SET balance = balance + 1 WHERE member_id = 2"],
        {"orders-in-ledger", "roll-forward-days", "I10"},
    ),
    "an entry is gone": (["DELETE FROM points.entry WHERE kind = 'claw_back'"], {"returns-in-ledger", "entries", "I8", "I10"}),
    "a wallet was changed": (["UPDATE points.wallet SET balance = balance + 1 WHERE member_id = 3"], {"I1"}),
    "a lot's rest was changed": (
        ["UPDATE points.entry SET lot_remaining_after = lot_remaining_after + 1 WHERE source_ref = 'C3' AND kind = 'repay'"],
        {"I3", "I4", "I10"},
    ),
    "a debt was forgiven": (["UPDATE points.wallet SET debt = 0"], {"I14"}),
    "a lot was changed": (["UPDATE points.lot SET valid_through = valid_through + 30 WHERE member_id = 1 AND lot_seq = 1"], {"I2"}),
    "a price was changed after posting": (
        ["UPDATE points.order_line SET unit_price = unit_price + 1 WHERE order_no = 'A1'"], {"orders-in-ledger", "orders-judged"},
    ),
    "a line was deleted": (["DELETE FROM points.order_line WHERE order_no = 'C3'"], {"orders-in-ledger", "orders-judged"}),
    "an order is gone": (
        ["DELETE FROM points.order_earning WHERE order_no = 'C3'", "DELETE FROM points.order_line WHERE order_no = 'C3'",
         "DELETE FROM points.shop_order WHERE order_no = 'C3'"],
        {"ledger-in-orders"},
    ),
    "an order was never judged": (
        ["INSERT INTO points.shop_order SELECT member_id, 'N1', placed_at, effective_on, store, channel, purchase_amount,"
         " purchase_lines, return_lines, fingerprint, file_id, false FROM points.shop_order WHERE order_no = 'A1'",
         "INSERT INTO points.order_line SELECT member_id, 'N1', line_no, sku, category, quantity, unit_price"
         " FROM points.order_line WHERE order_no = 'A1'"],
        {"orders-in-ledger", "orders-judged"},
    ),
    "the judgement was changed": (
        ["UPDATE points.order_earning SET points = points + 1 WHERE order_no = 'C3'"], {"orders-judged"},
    ),
    "a rule was changed": (
        ["UPDATE points.policy_rule SET amount = 3 WHERE kind = 'multiplier' AND position = 1"], {"orders-in-ledger", "orders-judged"},
    ),
    "a return was dropped": (
        ["DELETE FROM points.returned_line WHERE return_order_no = 'A3'"],
        {"returns-in-ledger", "returns-matched"},
    ),
    "a return took back less": (
        ["UPDATE points.returned_line SET points = points - 1 WHERE return_order_no = 'A3'"],
        {"returns-in-ledger", "returns-recomputed"},
    ),
    "a return is of something else": (["UPDATE points.return_line SET sku = 'cake' WHERE order_no = 'A3'"], {"returns-matched"}),
    "a redemption was changed": (["UPDATE points.redemption SET points = 31 WHERE redemption_no = 'R1'"], {"redemptions-in-ledger"}),
    "a redemption is gone": (
        ["DELETE FROM points.cancellation WHERE redemption_no = 'R1'", "DELETE FROM points.redemption WHERE redemption_no = 'R1'"],
        {"redemptions-in-ledger"},
    ),
    "an approval was given by the proposer": (
        ["ALTER TABLE points.approval DROP CONSTRAINT four_eyes", "UPDATE points.approval SET approved_by = proposed_by"],
        {"adjustments-approved"},
    ),
    "another adjustment was approved": (
        ["UPDATE points.approval SET payload = '{\"member_no\": \"m1\", \"points\": 8}'"], {"adjustments-approved"},
    ),
    "a seal was replaced": (["UPDATE points.seal SET root = sha256('forged') WHERE book_date = '2026-01-09'"], {"I10"}),
    "a reason was changed": (["UPDATE points.entry SET reason = 'mended' WHERE kind = 'adjust_up'"], {"I10"}),
    "a key is gone": (["DELETE FROM points.posting_key WHERE source = 'order' AND source_ref = 'A2'"], {"I8"}),
    "an entry came after its day closed": (["UPDATE points.entry SET recorded_at = now() WHERE source_ref = 'A1'"], {"I9", "I10"}),
    "a book date went back": (
        ["UPDATE points.entry SET book_date = '2026-01-31' WHERE source_ref = 'A1'"],
        {"I12", "I10", "roll-forward-days"},
    ),
    "a spend took a lapsed lot": (["UPDATE points.entry SET effective_on = '2026-06-01' WHERE source_ref = 'R1'"], {"I6", "I10"}),
    "a balance is negative": (
        ["ALTER DOMAIN points.not_negative DROP CONSTRAINT not_negative_check",
         "UPDATE points.entry SET debt_after = -1 WHERE source_ref = 'A1'"],
        {"I11", "I4"},
    ),
    "a spend is of no legal kind": (["UPDATE points.entry SET kind = 'gift' WHERE source_ref = 'R1'"], {"I5", "redemptions-in-ledger"}),
    "what was owed was not repaid": (
        ["UPDATE points.entry SET kind = 'spend' WHERE kind = 'repay'"], {"repayment", "I14", "I4", "roll-forward-debt"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_anywhere_stands_in_the_first_line(broken, fault):
    statements, expected = FAULTS[fault]
    for statement in statements:
        broken.rows(statement.replace(":", "\\:"))

    made = report(broken)

    assert deviating(made) >= expected, deviating(made)
    assert next(iter(json.loads(month.as_bytes(made)).items()))[0] == "headline"
    assert made["headline"].startswith("2026-01: ")
    assert "DEVIATION" in made["headline"]
    assert all(check in made["headline"] for check in expected)
    assert made["deviations"] > 0


def test_a_lapsed_lot_that_was_revived_is_found_in_the_month_it_should_have_lapsed_in(broken):
    assert broken.one("SELECT count(*) FROM points.entry WHERE kind = 'expire' AND member_id = 1") > 0
    broken.rows("DELETE FROM points.entry WHERE kind = 'expire' AND member_id = 1")

    assert deviating(report(broken, "2026-02")) >= {"I1", "I2", "I7", "I10", "entries"}


def test_a_lot_that_lapsed_twice_is_found(broken):
    broken.rows(
        "INSERT INTO points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,"
        " balance_after, debt_after, kind, source, source_ref) SELECT member_id, seq + 100, book_date, effective_on, journal_id,"
        " points, lot_seq, 0, 0, 0, kind, source, source_ref FROM points.entry WHERE kind = 'expire' LIMIT 1"
    )

    assert deviating(report(broken, "2026-02")) >= {"I13", "I1", "I4"}


def test_a_later_fault_leaves_a_month_before_it_as_it_was(broken):
    before = month.as_bytes(report(broken))
    broken.rows("UPDATE points.order_line SET unit_price = unit_price + 1 WHERE order_no = 'D1'")

    assert month.as_bytes(report(broken)) == before
    assert deviating(report(broken, "2026-02")) == {"orders-in-ledger", "orders-judged"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("2026-1", "is not a month"),
        ("2025-12", "no days"),
        ("2026-03", "2026-03-01 is not closed"),
        ("x", "is not a month"),
    ],
)
def test_only_a_month_whose_nights_are_closed_has_a_report(books, name, why):
    with pytest.raises(InvalidRequest, match=why):
        report(books, name)


# Closing and signing ------------------------------------------------------------------------------------------------


def close(ledger, login="batch", name="2026-01", made=None):
    content = month.as_bytes(made or report(ledger, name))
    with translated(), ledger.engine(login).begin() as connection:
        asked = month.month_of(connection, name)
        return month_sign_off.close(connection, asked, content, code_version="test")


def sign(ledger, login="auditor", sha256=None, name="2026-01"):
    with translated(), ledger.engine(login).begin() as connection:
        month_sign_off.sign(
            connection, name, sha256 or hashlib.sha256(month.as_bytes(report(ledger, name))).hexdigest()
        )


@pytest.fixture
def own(books, copied):
    """A copy of the two months that a test may close and sign."""
    return copied(books)


def test_a_month_is_closed_once_and_signed_by_an_auditor(own):
    first = close(own)
    assert close(own) == first == hashlib.sha256(month.as_bytes(report(own))).hexdigest()
    sign(own)
    sign(own)

    with own.engine("auditor").connect() as connection:
        found = month_sign_off.recorded(connection, "2026-01")
    assert (found.closed_by, found.signed_by) == ("loyalty_batch", "loyalty_auditor")
    assert found.report == month.as_bytes(report(own)).decode()


def test_another_report_never_replaces_the_recorded_one(own):
    close(own)
    with pytest.raises(OtherContent):
        close(own, made=report(own) | {"programme": "another"})
    with pytest.raises(OtherContent):
        sign(own, sha256="0" * 64)


def beside(ledger, first, second):
    """Begin ``first`` (a statement and its login), then ``second`` while it is not committed; return how that one ended."""
    statement, login = first
    ended = []

    def race():
        try:
            ended.append(second())
        except Exception as error:
            ended.append(error)

    with ledger.engine(login).begin() as connection:
        connection.exec_driver_sql("SET TRANSACTION READ WRITE")
        connection.exec_driver_sql(statement)
        thread = threading.Thread(target=race)
        thread.start()
        while not ledger.rows(
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ):
            assert thread.is_alive(), ended
            time.sleep(0.02)
    thread.join()
    [end] = ended
    return end


def test_of_two_who_sign_at_once_the_second_is_told_that_it_did_not(own):
    sha256 = close(own)
    statement = f"SELECT points.sign_month('2026-01-01', '{sha256}')"

    assert isinstance(beside(own, (statement, "auditor"), lambda: sign(own, "admin", sha256)), AlreadyEnded)
    assert own.one("SELECT signed_by FROM points.month_signature") == "loyalty_auditor"


@pytest.mark.parametrize(("programme", "ends"), [("Test club", str), ("another", OtherContent)])
def test_of_two_who_close_at_once_the_second_answers_as_one_who_came_later(own, programme, ends):
    made = report(own)
    recorded = month.as_bytes(made).decode().replace("'", "''").replace("%", "%%")
    statement = f"SELECT points.close_month('2026-01-01', '{recorded}', 'test')"

    ended = beside(own, (statement, "batch"), lambda: close(own, made=made | {"programme": programme}))

    assert isinstance(ended, ends), ended
    assert own.one("SELECT report FROM points.month_close") == month.as_bytes(made).decode()


@pytest.mark.parametrize("login", ["batch", "approver", "api"])
def test_a_login_that_is_no_auditors_does_not_sign(own, login):
    close(own)
    with pytest.raises(NotAllowed), translated():
        own.rows("SELECT points.sign_month('2026-01-01', 'x')", login=login)


@pytest.mark.parametrize("login", ["auditor", "approver", "api"])
def test_a_login_that_is_not_the_jobs_does_not_close(own, login):
    with pytest.raises(NotAllowed), translated():
        own.rows("SET TRANSACTION READ WRITE; SELECT points.close_month('2026-01-01', '{}', 'x')", login=login)


def test_nobody_signs_what_they_closed_or_what_is_not_closed(own):
    with pytest.raises(UnknownEvent):
        sign(own)
    close(own, "admin")
    with pytest.raises(OwnMonth):
        sign(own, "admin")


def test_the_database_records_no_report_with_deviations_of_another_month_or_of_open_nights(own):
    made = report(own)
    with pytest.raises(DBAPIError) as refused:
        close(own, made=made | {"deviations": 1})
    assert refused.value.orig.diag.constraint_name == "a_closed_month_has_no_deviations"
    with pytest.raises(InvalidRequest):
        close(own, made=made | {"month": "2026-02"})
    with pytest.raises(DBAPIError) as refused, own.engine("batch").begin() as connection:
        march = month.Month("2026-03", made["first"], made["through"])
        month_sign_off.close(connection, march, month.as_bytes(made | {"month": "2026-03"}), code_version="test")
    assert refused.value.orig.pgcode == "PL001"
    with pytest.raises(DBAPIError) as refused:
        own.rows(
            "INSERT INTO points.month_close (month, report, report_sha256, code_version)"
            " VALUES ('2026-02-01', '{\"deviations\"\\: 0}', 'x', 'x')"
        )
    assert refused.value.orig.diag.constraint_name == "the_hash_is_the_reports"


def test_a_month_with_open_stop_findings_is_not_closed(own):
    own.rows(
        "SELECT points.record_checks('2026-01-31', 'full', 'bare', NULL, 's', 'test', NULL, now(), CAST(:answers AS jsonb))",
        answers=json.dumps([{
            "check_id": "I7", "severity": "stop", "owner": "ledger", "is_full": True, "outcome": "fail", "offending": 1, "error": None,
            "sql_sha256": "x", "milliseconds": 1, "rows": [{"key": {"member_id": 1}, "difference": "left behind"}],
        }]),
    )  # fmt: skip
    with pytest.raises(OpenFindings, match="I7"):
        close(own)


@pytest.mark.parametrize("table", ["month_close", "month_signature"])
@pytest.mark.parametrize(
    "change", ["UPDATE points.{} SET report_sha256 = 'x'", "DELETE FROM points.{}", "TRUNCATE points.{} CASCADE"]
)
@pytest.mark.parametrize("role", ["origin", "replica"])
def test_what_was_signed_is_frozen_even_for_a_superuser(own, table, change, role):
    close(own)
    sign(own)
    with pytest.raises(DBAPIError) as refused, own.engine("admin").begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL session_replication_role = {role}")
        connection.exec_driver_sql(change.format(table))
    assert refused.value.orig.pgcode == "PL002"


# The command line -----------------------------------------------------------------------------------------------------


@pytest.fixture
def loyalty(own, tmp_path, commands):
    """Run ``loyalty month``; returns (exit code, output, error output)."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LOYALTY_", "PREFECT_"))}
    environment |= {"LOYALTY_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    for name, login in (("", "batch"), ("AUDITOR_", "auditor")):
        url = own.url.set(username=f"loyalty_{login}").render_as_string(hide_password=False)
        environment[f"LOYALTY_{name}DATABASE_URL"] = url
    environment["LOYALTY_ADMIN_DATABASE_URL"] = own.url.render_as_string(hide_password=False)
    return lambda *words: commands.run(["month", *words], environment)


def test_a_month_is_reported_closed_signed_and_verified_from_the_command_line(loyalty, own, tmp_path):
    code, out, error = loyalty("report", "2026-01", "--out", tmp_path / "one")
    assert (code, out.splitlines()[0]) == (0, "2026-01: everything agrees."), error
    assert loyalty("report", "2026-01", "--out", tmp_path / "two")[0] == 0
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert first == second
    assert set(first) == {
        "report.json", "report.html", "report.pdf", "report.xlsx", "report.csv", "journal.csv", "entries.csv",
        "members.csv", "orders.csv", "returns.csv",
        "returned_orders.csv", "redemptions.csv", "adjustments.csv", "SHA256SUMS",
    }  # fmt: skip
    for line in first["SHA256SUMS"].decode().splitlines():
        sha256, name = line.split("  ")
        assert hashlib.sha256(first[name]).hexdigest() == sha256
    made = json.loads(first["report.json"])
    entries = list(csv.DictReader(first["entries.csv"].decode().splitlines()))
    assert sum(int(row["points"]) for row in entries if row["kind"] == "earn") == made["orders"]["in_ledger"]

    assert loyalty("sign", "2026-01")[0] == 2
    assert loyalty("close", "2026-01")[0] == 0
    assert loyalty("sign", "2026-01")[0] == 0
    code, out, _ = loyalty("verify", "2026-01")
    assert (code, "signed by loyalty_auditor" in out) == (0, True)

    own.rows("ALTER TABLE points.order_line DISABLE TRIGGER USER")
    own.rows("UPDATE points.order_line SET unit_price = unit_price + 1 WHERE order_no IN ('C3', 'D1')")
    code, out, _ = loyalty("verify", "2026-01")
    assert code == 1
    assert "2026-01: 2 DEVIATIONS. orders-in-ledger (1), orders-judged (1)." in out
    assert '+ "deviations": 2,' in out
    code, _, error = loyalty("close", "2026-02")
    assert (code, "2026-02: 2 DEVIATIONS" in error) == (2, True)
    code, out, _ = loyalty("report", "2026-02", "--out", tmp_path / "three")
    assert (code, out.splitlines()[0][:22]) == (1, "2026-02: 2 DEVIATIONS.")
    page = (tmp_path / "three" / "report.html").read_text()
    assert page.index("2026-02: 2 DEVIATIONS.", page.index("<body>")) < page.index("<h1>")
