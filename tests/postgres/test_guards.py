"""What the database refuses, whatever code asks: each CHECK, trigger and privilege, and that nothing moved.

One ledger with rows in every table serves the whole module: every test asserts that it looks afterwards as before.
"""

import datetime as dt
import re
from dataclasses import dataclass

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from points_ledger import errors

OPEN_DAY = dt.date(2026, 1, 7)  # the days up to 6 January are closed
MEMBER = "(SELECT member_id FROM points.member WHERE member_no = '{}')"


@dataclass
class Wallet:
    """A wallet as an honest writer would read it."""

    member_id: int
    seq: int
    balance: int
    debt: int
    remaining: dict[int, int]


@pytest.fixture(scope="module")
def books(clone):
    """Every table has rows; lots are living, pending, lapsed, held and used up."""
    ledger = clone().start(expiry={"basis": "calendar", "months": None, "month_day": "01-05"})
    never = {"basis": "none", "months": None}
    ledger.change("2026-01-04", expiry=never, earn={"usable_after_days": 10, "multiplier": [{"factor": "1"}]})
    ledger.change("2026-01-06", expiry=never, earn={"bonus": [{"activity": "check_in", "per": "day", "points": 5}]})
    ledger.orders(
        "A1,lapsed,2026-01-01 10:00,tea,1,100",
        "B1,living,2026-01-06 10:00,tea,1,100",
        "C1,pending,2026-01-04 10:00,tea,1,100",
        "D1,held,2026-01-01 10:00,tea,1,100",
        "D2,held,2026-01-06 10:00,tea,1,100",
        "E1,debtor,2026-01-01 10:00,tea,1,100",
        "E2,debtor,2026-01-03 12:00,tea,-3,100",
        "F1,ahead,2026-01-06 10:00,tea,1,100",
        *(f"G{n},other{n},2026-01-06 10:00,tea,1,10" for n in range(6)),
        *(f"I{n},due{n},2026-01-01 10:00,tea,1,10" for n in range(10)),
    )
    ledger.redemptions("P1,lapsed,2026-01-02 10:00,20", "P2,debtor,2026-01-02 09:00,40", "P3,nobody,2026-01-02 10:00,5")
    ledger.redemptions("P4,living,2026-01-06 10:00,10")
    ledger.cancellations("P4,2026-01-06 11:00")
    ledger.take(
        "orders",
        "order_no,member_no,placed_at,sku,quantity,unit_price,store",
        "H1,visitor,2026-01-01 10:00,tea,1,1,web",
    )
    ledger.members("walker")
    ledger.activities("W1,walker,check_in,2026-01-06 10:00")
    ledger.close("2026-01-01")
    ledger.rows("SELECT points.hold('held', 50, '2026-01-02', '2026-01-30', 'H1')", login="api")
    ledger.rows("SELECT points.hold('held', 5, '2026-01-02', '2026-01-30', 'H2')", login="api")
    ledger.rows("SELECT points.release('held', 'H2', '2026-01-02')", login="api")
    for n in range(10):
        ledger.rows(f"SELECT points.hold('due{n}', 10, '2026-01-02', '2026-01-30', 'H')", login="api")
    ledger.close("2026-01-06")
    for n in range(10):  # lapsed by now, and let go too late for the night
        ledger.rows(f"SELECT points.release('due{n}', 'H', '2026-01-06')", login="api")
    ledger.rows("SELECT points.spend('ahead', 1, '2026-02-01', 'till', 'T1')", login="api")
    ledger.rows(
        "SELECT points.propose('adjustment', '{\"member_no\": \"living\", \"points\": 7}', 'a goodwill gesture') AS id"
    )
    ledger.rows("SELECT points.approve(1)", login="approver")
    ledger.rows("SELECT points.adjust(1, '2026-01-07')", login="batch")
    ledger.rows(
        "INSERT INTO points.screen_finding (screen, subject, business_date, facts, policy_version)"
        " VALUES ('staff_near_limit', 'loyalty_approver', '2026-01-06', '{\"login\": \"loyalty_approver\"}', 1)",
        login="batch",
    )
    ledger.rows("SELECT points.clear_finding(1, 'looked into it')", login="batch")
    ledger.rows("SELECT points.block_redemptions('lapsed', 'looked into it')", login="batch")
    ledger.rows("SELECT points.release_redemptions('lapsed', 'looked into it')", login="approver")
    ledger.rows("SELECT points.remember_contacts('{living}', ARRAY[sha256('key and contact')])", login="batch")
    ledger.rows("INSERT INTO points.backup_event (backup_id, what) VALUES (gen_random_uuid(), 'begun')", login="batch")
    tell(ledger)
    return ledger


def tell(ledger):
    """A member with a contact who was told something with proof inside a digest, one who is waiting for it, one who was erased."""
    ledger.rows(
        "SELECT points.keep_contacts(ARRAY[1, 2], ARRAY['k1', 'k2']::bytea [], ARRAY['k', 'k'], ARRAY['s1', 's2']::bytea [],"
        " ARRAY[sha256('1'), sha256('2')], ARRAY[NULL, NULL]::bytea [])",
        login="batch",
    )
    ledger.rows(
        "INSERT INTO points.consent (member_id, class, channel, granted, source, moment)"
        " VALUES (1, 'service', 'any', true, 'operator', '2026-01-05')",
        login="batch",
    )
    ledger.rows(
        "INSERT INTO points.suppression (mark, channel, cause, moment) VALUES (sha256('9'), 'sms', 'operator', '2026-01-05')",
        login="batch",
    )
    ledger.rows("SELECT points.erase_member('held', 'asked for in January', '2026-01-05')", login="batch")
    for n, queued in enumerate((True, False, True), start=1):
        ledger.rows(
            "INSERT INTO points.notice (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before, valid_until)"
            " VALUES (1, 'digest', 'service', 'email', :key, '2026-01-05',"
            " '{\"dates\"\\: [\"2026-02-01\"], \"parts\"\\: [{\"kind\"\\: \"a\", \"facts\"\\: {}}]}', '2026-01-05', '2026-02-05')",
            login="batch", key=f"n{n}",
        )  # fmt: skip
        if queued:
            ledger.rows(
                "INSERT INTO points.notice_queue (notice_id, channel, not_before) VALUES (:n, 'email', '2026-01-05')",
                login="batch", n=n,
            )  # fmt: skip
    ledger.rows("INSERT INTO points.digest_part VALUES (2, 1)", login="batch")
    ledger.rows("INSERT INTO points.proof_dictionary VALUES ('v1', 'dear')", login="batch")
    [row] = ledger.rows(
        "SELECT * FROM points.claim_notices('w', '2026-01-06', 1, interval '1 min', 'email', NULL)", login="batch"
    )
    ledger.rows(
        "SELECT points.finish_notices('w', :token, '2026-01-06', ARRAY[1]::bigint [], ARRAY['accepted'], ARRAY['smtp'], ARRAY['r'],"
        " ARRAY[NULL], ARRAY[NULL]::timestamptz [], ARRAY['p']::bytea [], ARRAY['v1'])",
        login="batch", token=row.token,
    )  # fmt: skip
    ledger.rows("SELECT points.take_rate('smtp', 1, 10, 10)", login="batch")


def everything(ledger) -> dict[str, tuple[int, str]]:
    """For every table: how many rows it has, and a digest of them all."""
    tables = [
        row[0]
        for row in ledger.rows(
            "SELECT relname FROM pg_class WHERE relnamespace = 'points'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition ORDER BY 1"
        )
    ]
    one = "SELECT '{0}', count(*), coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM points.{0} AS t"
    return {row[0]: (row[1], row[2]) for row in ledger.rows(" UNION ALL ".join(one.format(table) for table in tables))}


@pytest.fixture(scope="module")
def before(books):
    return everything(books)


def refusal(ledger, login: str, *statements: str) -> tuple[str | None, str | None]:
    """SQLSTATE and constraint of the error that the last statement meets; (None, None) when it passes."""
    with ledger.engine(login).connect() as connection, connection.begin() as transaction:
        try:
            for statement in statements:
                connection.execute(text(statement.replace(":", "\\:")))
        except DBAPIError as error:
            return error.orig.pgcode, error.orig.diag.constraint_name
        finally:
            transaction.rollback()
    return None, None


# Append-only ------------------------------------------------------------------------------------------------------

APPEND_ONLY = {  # table: a column to change
    "entry": "reason", "policy_version": "sha256", "policy_rule": "name", "posting_key": "source_ref", "one_use": "ref",
    "seal": "entries", "hold": "points", "hold_lot": "points", "hold_end": "points", "order_line": "quantity",
    "order_earning": "points", "returned_line": "points", "finding": "reason", "feed_file": "name",
    "feed_total": "rows", "activity_earning": "points", "approval": "reason", "book_day": "status",
    "screen_finding": "facts", "screen_review": "reason", "store_day": "points", "redemption_block": "reason",
    "redemption_release": "reason",
    "backup_event": "message", "consent": "granted", "suppression": "cause", "erasure": "reason", "notice": "facts",
    "digest_part": "digest_id", "notice_result": "result", "proof_dictionary": "content", "notice_proof": "sealed",
    "expiry_warning": "accepted_on",
}  # fmt: skip
CHANGES = [
    change.format(table, column)
    for table, column in APPEND_ONLY.items()
    for change in ("UPDATE points.{0} SET {1} = {1}", "DELETE FROM points.{0}", "TRUNCATE points.{0} CASCADE")
]
CHANGES += [
    "UPDATE points.entry_202601 SET points = 1",
    "DELETE FROM points.entry_202601",
    "TRUNCATE points.entry_202601",
    "TRUNCATE points.entry_202602",
    "UPDATE points.book_day SET status = 'open', closed_at = NULL WHERE book_date = '2026-01-03'",
    "UPDATE points.book_day SET book_date = '2030-01-01' WHERE book_date = '2026-01-07'",
    "UPDATE points.approval SET payload = '{}'",
    "UPDATE points.approval SET approved_by = NULL, approved_at = NULL",
]


@pytest.mark.parametrize("statement", CHANGES)
def test_nothing_is_changed_or_deleted_even_by_a_superuser(books, before, statement):
    table = re.search(r"points\.(\w+)", statement)[1]
    assert books.one(f"SELECT count(*) FROM points.{table}") > 0 or table == "entry_202602"
    assert refusal(books, "admin", statement)[0] == "PL002"
    assert everything(books) == before


@pytest.mark.parametrize(
    "statement", ["UPDATE points.{} SET points = 1", "DELETE FROM points.{}", "TRUNCATE points.{}"]
)
@pytest.mark.parametrize("table", ["entry", "entry_202601"])
def test_the_ledger_stays_append_only_for_a_replication_session(books, before, statement, table):
    assert (
        refusal(books, "admin", "SET LOCAL session_replication_role = replica", statement.format(table))[0] == "PL002"
    )
    assert everything(books) == before


def test_every_partition_carries_both_guards_always(books):
    guards = books.rows(
        "SELECT c.relname, array_agg(t.tgname::text ORDER BY t.tgname) FROM pg_inherits i"
        " JOIN pg_class c ON c.oid = i.inhrelid LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgenabled = 'A'"
        " WHERE i.inhparent = 'points.entry'::regclass GROUP BY 1 ORDER BY 1"
    )
    assert [row[0] for row in guards] == ["entry_202601", "entry_202602"]
    assert all({"append_only", "append_only_truncate"} <= set(row[1]) for row in guards)


def test_what_is_append_only_is_so_in_every_session(books):
    tables = books.rows(
        "SELECT c.relname, array_agg(CAST(t.tgname AS text) ORDER BY t.tgname) FILTER (WHERE t.tgenabled = 'A')"
        " FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'points'::regnamespace"
        " AND t.tgname IN ('append_only', 'append_only_truncate') GROUP BY 1 HAVING bool_or(t.tgname = 'append_only')"
    )
    assert {row[0] for row in tables} > APPEND_ONLY.keys() - {"approval", "book_day"}  # guards of their own
    assert {tuple(row[1]) for row in tables} == {("append_only", "append_only_truncate")}


# CHECK constraints ------------------------------------------------------------------------------------------------

ENTRY = (
    "INSERT INTO points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,"
    " balance_after, debt_after, kind, source, source_ref, usable_from, reversal_of, approval_id) SELECT member_id, {seq},"
    " '2026-01-07', '2026-01-07', gen_random_uuid(), {points}, {lot}, {left}, {balance}, {debt}, '{kind}', '{source}',"
    " '{ref}', {usable}, {reverses}, {approval} FROM points.member WHERE member_no = 'living'"
)


def entry(**changes: object) -> str:
    """An insert of an entry whose shape is right, apart from the changes."""
    values = {
        "seq": 9, "points": 5, "lot": 1, "left": 5, "balance": 5, "debt": 0, "kind": "spend", "source": "test", "ref": "1",
        "usable": "NULL", "reverses": "NULL", "approval": "NULL",
    }  # fmt: skip
    return ENTRY.format(**values | changes)


def one(table: str, changes: str) -> str:
    return f"UPDATE points.{table} SET {changes} WHERE member_id = {MEMBER.format('living')}"


NEW_LOT = {"kind": "earn", "lot": 9, "usable": "'2026-01-07'"}
WALLET, LOT = "nothing_negative_and_held_within_balance", "parts_within_points"
CHECKS = [  # table, constraint, statement
    ("wallet", WALLET, one("wallet", "balance = -1")),
    ("wallet", WALLET, one("wallet", "held = -1")),
    ("wallet", WALLET, one("wallet", "debt = -1")),
    ("wallet", WALLET, one("wallet", "seq = -1")),
    ("wallet", WALLET, one("wallet", "held = balance + 1")),
    ("lot", LOT, one("lot", "points = 0, remaining = 0")),
    ("lot", LOT, one("lot", "remaining = -1")),
    ("lot", LOT, one("lot", "held = -1")),
    ("lot", LOT, one("lot", "expired = -1")),
    ("lot", LOT, one("lot", "remaining = points + 1")),
    ("lot", LOT, one("lot", "held = remaining + 1")),
    ("lot", LOT, one("lot", "expired = 1, remaining = points")),
    ("entry", "above_zero_check", entry(seq=0)),
    ("entry", "above_zero_check", entry(points=0)),
    ("entry", "above_zero_check", entry(points=-5)),
    ("entry", "not_negative_check", entry(left=-1)),
    ("entry", "not_negative_check", entry(balance=-1)),
    ("entry", "not_negative_check", entry(debt=-1)),
]
RULES = [  # what apply_entries() refuses in a row by itself, in the order it looks
    ("source_and_reference_are_named", entry(source="")),
    ("source_and_reference_are_named", entry(ref="")),
    ("a_legal_kind", entry(kind="gift")),
    ("only_owing_has_no_lot", entry(kind="owe")),
    ("only_owing_has_no_lot", entry(lot="NULL", left="NULL")),
    ("a_lot_has_a_remainder", entry(left="NULL")),
    ("a_lot_has_a_remainder", entry(kind="owe", lot="NULL")),
    ("only_credits_open_lots", entry(**NEW_LOT | {"kind": "spend"})),
    ("an_opened_lot_says_when", entry(**NEW_LOT | {"usable": "NULL"})),
    ("an_opened_lot_says_when", entry(**NEW_LOT, left=4)),
    ("an_opened_lot_says_when", entry(usable="'2026-01-07'")),
    ("a_reversal_names_its_entry", entry(kind="spend_reversal")),
    ("a_reversal_names_its_entry", entry(reverses=1)),
    ("power_needs_an_approval", entry(kind="adjust_down")),
    ("power_needs_an_approval", entry(kind="adjust_up")),
    ("power_needs_an_approval", entry(kind="reinstate", reverses=1)),
    ("power_needs_an_approval", entry(approval=1)),
    ("power_needs_an_approval", entry(source="undo")),
]


@pytest.mark.parametrize(("constraint", "statement"), [case[1:] for case in CHECKS])
def test_a_check_refuses_by_its_own_name(books, before, constraint, statement):
    assert refusal(books, "admin", statement) == ("23514", constraint)
    assert everything(books) == before


@pytest.mark.parametrize("rows", ["one row", "many"])
@pytest.mark.parametrize(("rule", "statement"), RULES)
def test_an_entry_that_is_no_legal_posting_is_refused_by_the_rules_name(books, before, rule, statement, rows):
    if rows == "many":
        statement = statement.replace(" WHERE member_no = 'living'", "")
        assert are_many(books, books.rows("SELECT FROM points.member"))
    assert refusal(books, "admin", statement) == ("23514", rule)
    assert everything(books) == before


def test_a_null_kind_is_refused(books, before):
    assert refusal(books, "admin", entry(kind="spend").replace("'spend'", "NULL"))[0] == "23502"
    assert everything(books) == before


SCREEN_CHECKS = [  # (constraint, statement)
    ("screen_finding_screen_check", "{finding} ('guess', 'm', '2026-01-06', '{{}}', 1)"),
    ("screen_finding_subject_check", "{finding} ('staff_near_limit', '', '2026-01-06', '{{}}', 1)"),
    ("screen_finding_facts_check", "{finding} ('staff_near_limit', 'm', '2026-01-06', '[]', 1)"),
    ("screen_review_reason_check", "INSERT INTO points.screen_review (finding_id, reason) VALUES (1, 'fine     ')"),
    ("store_day_orders_check", "INSERT INTO points.store_day VALUES ('web', '2026-01-07', 0, 1)"),
    ("store_day_points_check", "INSERT INTO points.store_day VALUES ('web', '2026-01-07', 1, -1)"),
    ("member_contact_fingerprint_check", "INSERT INTO points.member_contact VALUES (2, 'somebody@example.com')"),
    ("redemption_block_reason_check", "INSERT INTO points.redemption_block (member_id, reason) VALUES (1, 'because')"),
    ("redemption_release_reason_check", "{release} (1, 'loyalty_batch', 'because', 'me')"),
    ("another_login_releases", "{release} (1, 'loyalty_batch', 'because I say so', 'loyalty_batch')"),
]


@pytest.mark.parametrize(("constraint", "statement"), SCREEN_CHECKS)
def test_a_check_of_the_screens_refuses_by_its_own_name(books, before, constraint, statement):
    finding = "INSERT INTO points.screen_finding (screen, subject, business_date, facts, policy_version) VALUES"
    release = "INSERT INTO points.redemption_release (block_id, blocked_by, reason, released_by) VALUES"
    assert refusal(books, "admin", statement.format(finding=finding, release=release)) == ("23514", constraint)
    assert everything(books) == before


def test_every_check_of_the_screens_has_its_case(books):
    stored = books.rows(
        "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = ANY (CAST(:tables AS regclass []))",
        tables=[
            f"points.{table}"
            for table in (
                "screen_finding",
                "screen_review",
                "store_day",
                "member_contact",
                "redemption_block",
                "redemption_release",
            )
        ],
    )
    assert {row[0] for row in stored} == {constraint for constraint, _ in SCREEN_CHECKS}


INSERTS = {
    "contact": "INSERT INTO points.contact (member_id, key_wrapped, key_id, sealed, email_mark, phone_mark) VALUES",
    "consent": "INSERT INTO points.consent (member_id, class, channel, granted, source, moment) VALUES",
    "suppression": "INSERT INTO points.suppression (mark, channel, cause, moment) VALUES",
    "notice": "INSERT INTO points.notice (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before, valid_until)"
    " VALUES",
    "queue": "INSERT INTO points.notice_queue (notice_id, channel, not_before, attempts, lease_owner, lease_token, lease_until,"
    " is_sending) VALUES",
    "result": "INSERT INTO points.notice_result (notice_id, attempt, result, moment) VALUES",
}
SOON, LATER = "'2026-01-05'", "'2026-02-05'"
TOLD_CHECKS = [  # (constraint, statement)
    ("contact_key_id_check", "{contact} (3, 'k', '', 's', NULL, NULL)"),
    ("contact_email_mark_check", "{contact} (3, 'k', 'k', 's', 'somebody@b.example', NULL)"),
    ("contact_phone_mark_check", "{contact} (3, 'k', 'k', 's', NULL, '+4989123456')"),
    ("consent_class_check", "{consent} (1, 'legal', 'any', false, 'operator', now())"),
    ("consent_channel_check", "{consent} (1, 'service', 'post', false, 'operator', now())"),
    ("consent_source_check", "{consent} (1, 'service', 'any', false, 'guess', now())"),
    ("suppression_mark_check", "{suppression} ('somebody@b.example', 'email', 'operator', now())"),
    ("suppression_channel_check", "{suppression} (sha256('1'), 'any', 'operator', now())"),
    ("suppression_cause_check", "{suppression} (sha256('1'), 'email', 'mood', now())"),
    ("erasure_reason_check", "INSERT INTO points.erasure (member_id, moment, reason) VALUES (1, now(), 'because')"),
    ("notice_kind_check", f"{{notice}} (1, '', 'legal', 'email', 'x', '2026-01-05', '{{{{}}}}', {SOON}, {LATER})"),
    ("notice_class_check", f"{{notice}} (1, 'a', 'spam', 'email', 'x', '2026-01-05', '{{{{}}}}', {SOON}, {LATER})"),
    ("notice_channel_check", f"{{notice}} (1, 'a', 'legal', 'post', 'x', '2026-01-05', '{{{{}}}}', {SOON}, {LATER})"),
    (
        "notice_dedupe_key_check",
        f"{{notice}} (1, 'a', 'legal', 'email', '', '2026-01-05', '{{{{}}}}', {SOON}, {LATER})",
    ),
    ("notice_facts_check", f"{{notice}} (1, 'a', 'legal', 'email', 'x', '2026-01-05', '[]', {SOON}, {LATER})"),
    ("digest_part_check", "INSERT INTO points.digest_part VALUES (3, 3)"),
    ("notice_queue_channel_check", "{queue} (2, 'post', now(), 0, NULL, NULL, NULL, false)"),
    ("notice_queue_attempts_check", "{queue} (2, 'email', now(), -1, NULL, NULL, NULL, false)"),
    ("a_lease_is_whole", "{queue} (2, 'email', now(), 0, 'w', NULL, NULL, false)"),
    ("a_lease_is_whole", "{queue} (2, 'email', now(), 0, 'w', 1, NULL, false)"),
    ("a_lease_is_whole", "{queue} (2, 'email', now(), 0, NULL, 1, now(), false)"),
    ("only_a_lease_sends", "{queue} (2, 'email', now(), 0, NULL, NULL, NULL, true)"),
    ("notice_result_attempt_check", "{result} (3, 0, 'accepted', now())"),
    ("notice_result_result_check", "{result} (3, 1, 'sent', now())"),
    ("proof_dictionary_template_version_check", "INSERT INTO points.proof_dictionary VALUES ('', 'x')"),
    (
        "dispatcher_identity_only_one_check",
        "INSERT INTO points.dispatcher_identity (only_one, fingerprint) VALUES (false, 'x')",
    ),
    ("provider_rate_provider_check", "INSERT INTO points.provider_rate VALUES ('', now())"),
]
TOLD_TABLES = (
    "contact", "consent", "suppression", "erasure", "notice", "digest_part", "notice_queue", "notice_result", "notice_proof",
    "proof_dictionary", "expiry_warning", "dispatcher_identity", "provider_rate",
)  # fmt: skip


@pytest.mark.parametrize(("constraint", "statement"), TOLD_CHECKS)
def test_a_check_of_contacts_and_notices_refuses_by_its_own_name(books, before, constraint, statement):
    assert refusal(books, "admin", statement.format(**INSERTS)) == ("23514", constraint)
    assert everything(books) == before


def test_every_check_of_contacts_and_notices_has_its_case_and_every_table_a_row(books, before):
    stored = books.rows(
        "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = ANY (CAST(:tables AS regclass []))",
        tables=[f"points.{table}" for table in TOLD_TABLES],
    )
    assert {row[0] for row in stored} == {constraint for constraint, _ in TOLD_CHECKS}
    assert [table for table in TOLD_TABLES if before[table][0] == 0] == []


@pytest.mark.parametrize(
    ("statement", "sqlstate"),
    [
        ("INSERT INTO points.notice_queue (notice_id, channel, not_before) VALUES (3, 'email', now())", "23505"),
        ("INSERT INTO points.digest_part VALUES (2, 3)", "23505"),
        (f"{INSERTS['result']} (1, 1, 'refused', now())", "23505"),
        (f"{INSERTS['notice']} (1, 'a', 'legal', 'email', 'n1', '2026-01-05', '{{}}', {SOON}, {LATER})", "23505"),
        (f"{INSERTS['notice']} (99, 'a', 'legal', 'email', 'x', '2026-01-05', '{{}}', {SOON}, {LATER})", "23503"),
        ("INSERT INTO points.notice_proof VALUES (3, 1, 'x', 'v1')", "23503"),
        ("INSERT INTO points.expiry_warning VALUES (1, '2026-02-01', 3, '2026-01-05')", "23505"),
        ("INSERT INTO points.dispatcher_identity (fingerprint) VALUES ('x')", "23505"),
    ],
)
def test_a_notice_is_written_queued_and_answered_once(books, before, statement, sqlstate):
    assert refusal(books, "admin", statement)[0] == sqlstate
    assert everything(books) == before


@pytest.mark.parametrize(
    "table", ["consent", "suppression", "erasure", "notice", "notice_result", "notice_proof", "expiry_warning"]
)
def test_what_members_were_told_stays_for_a_replication_session_too(books, before, table):
    assert (
        refusal(books, "admin", "SET LOCAL session_replication_role = replica", f"DELETE FROM points.{table}")[0]
        == "PL002"
    )
    assert everything(books) == before


def test_every_check_of_wallet_lot_and_entry_has_its_case(books):
    stored = {
        (row[0], row[1])
        for row in books.rows(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c'"
            " AND conrelid IN ('points.wallet'::regclass, 'points.lot'::regclass, 'points.entry'::regclass)"
        )
    }
    domains = {
        row[0]: row[1]
        for row in books.rows(
            "SELECT a.attname::text, k.conname::text FROM pg_attribute a JOIN pg_constraint k ON k.contypid = a.atttypid"
            " WHERE a.attrelid = 'points.entry'::regclass AND a.attnum > 0"
        )
    }
    assert domains == {
        "seq": "above_zero_check", "points": "above_zero_check", "lot_remaining_after": "not_negative_check",
        "balance_after": "not_negative_check", "debt_after": "not_negative_check",
    }  # fmt: skip
    assert {(f"points.{table}", constraint) for table, constraint, _ in CHECKS} == stored | {
        ("points.entry", name) for name in domains.values()
    }


def test_every_rule_of_an_entry_has_its_case(books):
    source = books.one("SELECT prosrc FROM pg_proc WHERE proname = 'broken_rule'")
    assert set(re.findall(r"then '(\w+)'", source)) == {rule for rule, _ in RULES}


# Entries that do not continue the books ---------------------------------------------------------------------------


def wallet_of(ledger, member_no: str) -> Wallet:
    [row] = ledger.rows(
        "SELECT w.* FROM points.wallet w JOIN points.member USING (member_id) WHERE member_no = :no", no=member_no
    )
    lots = ledger.rows("SELECT lot_seq, remaining FROM points.lot WHERE member_id = :id", id=row.member_id)
    return Wallet(row.member_id, row.seq, row.balance, row.debt, {lot[0]: lot[1] for lot in lots})


def honest(wallet: Wallet, kind: str, points: int, lot: int | None, **changes: object) -> dict[str, object]:
    """The next entry of a wallet, computed as the verbs do, then changed; the wallet goes on as if it were posted."""
    sign = {"earn": 1, "spend_reversal": 1, "owe": 0}.get(kind, -1)
    owed = {"owe": 1, "repay": -1}.get(kind, 0)
    lot = wallet.seq if lot == -1 else lot
    wallet.seq += 1
    wallet.balance += sign * points
    wallet.debt += owed * points
    lot = wallet.seq if lot == 0 else lot
    if lot is not None:
        wallet.remaining[lot] = wallet.remaining.get(lot, 0) + sign * points
    row = {
        "member_id": wallet.member_id, "seq": wallet.seq, "book_date": OPEN_DAY, "effective_on": OPEN_DAY, "points": points,
        "lot_seq": lot, "lot_remaining_after": wallet.remaining.get(lot), "balance_after": wallet.balance,
        "debt_after": wallet.debt, "kind": kind, "reversal_of": 1 if kind == "spend_reversal" else None,
        "usable_from": OPEN_DAY if lot == wallet.seq else None,
    }  # fmt: skip
    for name, change in changes.items():
        row[name] = row[name] + change if name.endswith(("seq", "after")) else change
    return row


# name: (SQLSTATE, member, the entries: kind, points, lot (0: a new one, -1: that one), what is wrong)
ENTRIES = {
    "a number too high": ("PL010", "living", [("spend", 10, 1, {"seq": 1})]),
    "a number that was there": ("PL010", "living", [("spend", 10, 1, {"seq": -2})]),
    "a balance too high": ("PL010", "living", [("spend", 10, 1, {"balance_after": 1})]),
    "a balance too low": ("PL010", "living", [("spend", 10, 1, {"balance_after": -1})]),
    "a balance that goes up by a spend": ("PL010", "living", [("spend", 10, 1, {"balance_after": 20})]),
    "a debt that nobody owes": ("PL010", "living", [("spend", 10, 1, {"debt_after": 1})]),
    "a debt that forgets what was owed": ("PL010", "debtor", [("earn", 10, 0, {"debt_after": -1})]),
    "a debt repaid without saying so": ("PL010", "debtor", [("earn", 10, 0, {}), ("repay", 1, -1, {"debt_after": 1})]),
    "a gap between two": ("PL010", "living", [("spend", 1, 1, {}), ("spend", 1, 1, {"seq": 1})]),
    "two that start right and do not chain": (
        "PL010", "living", [("spend", 1, 1, {}), ("spend", 1, 1, {"balance_after": 1})],
    ),
    "two that end right and do not chain": (
        "PL010", "living", [("spend", 1, 1, {"balance_after": 1}), ("spend", 1, 1, {})],
    ),
    "a member's book date that goes back": ("PL010", "ahead", [("spend", 10, 1, {})]),
    "two book dates in one statement": (
        "PL010", "living", [("spend", 1, 1, {"book_date": dt.date(2026, 2, 1)}), ("spend", 1, 1, {})],
    ),
    "a lot's rest too high": ("PL011", "living", [("spend", 10, 1, {"lot_remaining_after": 1})]),
    "a lot's rest too low": ("PL011", "living", [("spend", 10, 1, {"lot_remaining_after": -1})]),
    "two whose lot does not chain": (
        "PL011", "living", [("spend", 1, 1, {"lot_remaining_after": -1}), ("spend", 1, 1, {})],
    ),
    "three whose lot does not chain in the middle": (
        "PL011", "living", [("spend", 1, 1, {}), ("spend", 1, 1, {"lot_remaining_after": 1}), ("spend", 1, 1, {})],
    ),
    "three that do not chain in the middle": (
        "PL010", "living", [("spend", 1, 1, {}), ("spend", 1, 1, {"balance_after": 1}), ("spend", 1, 1, {})],
    ),
    "a lot that is not there": ("PL011", "living", [("spend", 10, 77, {"lot_remaining_after": 10})]),
    "a spend of a pending lot": ("PL011", "pending", [("spend", 10, 1, {})]),
    "a spend of a lapsed lot": ("PL011", "held", [("spend", 10, 1, {})]),
    "a gift of a lapsed lot": ("PL011", "held", [("transfer_out", 10, 1, {})]),
    "a gift of a pending lot": ("PL011", "pending", [("transfer_out", 10, 1, {})]),
    "a spend of held points": ("23514", "held", [("spend", 60, 1, {"effective_on": dt.date(2026, 1, 3)})]),
    "a spend on a day before the lot was usable": (
        "PL011", "living", [("spend", 10, 1, {"effective_on": dt.date(2026, 1, 5)})],
    ),
    "one of two spends of a lapsed lot": (
        "PL011", "held", [("spend", 1, 1, {"effective_on": dt.date(2026, 1, 5)}), ("spend", 1, 1, {})],
    ),
    "an expiry of a living lot": ("PL011", "living", [("expire", 100, 1, {})]),
    "an expiry of a pending lot": ("PL011", "pending", [("expire", 100, 1, {})]),
    "an expiry of a held lot": ("PL011", "held", [("expire", 100, 1, {})]),
    "an expiry on the last valid day": ("PL011", "due0", [("expire", 10, 1, {"effective_on": dt.date(2026, 1, 5)})]),
    "an expiry that leaves a rest": ("PL011", "due0", [("expire", 10, 1, {"lot_remaining_after": 3})]),
    "a second expiry of a lot": (
        "PL011", "lapsed", [("spend_reversal", 20, 1, {}), ("expire", 20, 1, {})],
    ),
    "an expiry of part of a lot": ("PL011", "due0", [("expire", 4, 1, {})]),
    "an expiry of part of a lot that says it was all": ("PL011", "due0", [("expire", 4, 1, {"lot_remaining_after": -6})]),
    "an expiry of more than there is": ("PL010", "due0", [("expire", 14, 1, {"balance_after": 4, "lot_remaining_after": 4})]),
    "two expiries of a lot": ("PL011", "due0", [("expire", 4, 1, {}), ("expire", 6, 1, {})]),
    "a closed day": ("PL001", "other0", [("spend", 10, 1, {"book_date": dt.date(2026, 1, 6)})]),
    "a day that nobody opened": ("PL001", "other0", [("spend", 10, 1, {"book_date": dt.date(2026, 1, 9)})]),
    "a closed day behind an open one": (
        "PL001", "living", [("spend", 1, 1, {}), ("spend", 1, 1, {"book_date": dt.date(2026, 1, 6)})],
    ),
}  # fmt: skip


def insert(rows: list[dict[str, object]]) -> str:
    # the flows may not name these two columns at all, so only what has a value is named
    columns = [name for name in rows[0] if name != "reversal_of" or any(row[name] for row in rows)]

    def literal(value: object) -> str:
        return "NULL" if value is None else str(value) if isinstance(value, int) else f"'{value}'"

    values = ", ".join(
        f"(gen_random_uuid(), 'test', '1', {', '.join(literal(row[column]) for column in columns)})" for row in rows
    )
    return f"INSERT INTO points.entry (journal_id, source, source_ref, {', '.join(columns)}) VALUES {values}"


def fillers(ledger) -> list[dict[str, object]]:
    """Honest entries of six others: the ledger judges few rows and many in different ways."""
    others = [wallet_of(ledger, f"other{n}") for n in range(1, 6)]
    return [honest(other, "spend", 1, 1) for other in others for _ in range(2)] + [
        honest(wallet_of(ledger, "debtor"), "earn", 5, 0)
    ]


def expiries(ledger) -> list[dict[str, object]]:
    """Honest expiries of nine others: the ledger judges many that are nothing else in a way of their own."""
    return [honest(wallet_of(ledger, f"due{n}"), "expire", 10, 1) for n in range(1, 10)]


def are_many(ledger, rows) -> bool:
    """Whether the trigger judges so many rows set by set."""
    source = ledger.one("SELECT prosrc FROM pg_proc WHERE proname = 'apply_entries'")
    return len(rows) > int(re.search(r"few constant int := (\d+);", source)[1])


CROWDS = {"alone": lambda _: [], "among many": fillers, "among expiries": expiries}


@pytest.mark.parametrize(
    ("case", "crowd"),
    [
        (case, crowd)
        for case, (_, _, entries) in ENTRIES.items()
        for crowd in CROWDS
        if crowd != "among expiries" or {kind for kind, *_ in entries} == {"expire"}
    ],
)
def test_an_entry_is_refused_that_does_not_continue_the_books(books, before, case, crowd):
    sqlstate, member, entries = ENTRIES[case]
    wallet = wallet_of(books, member)
    rows = [honest(wallet, kind, points, lot, **wrong) for kind, points, lot, wrong in entries]
    rows += [row for row in CROWDS[crowd](books) if row["member_id"] != wallet.member_id]
    assert are_many(books, rows) == (crowd != "alone")
    login = "admin" if any(row["reversal_of"] for row in rows) else "batch"
    assert refusal(books, login, insert(rows))[0] == sqlstate
    assert everything(books) == before


@pytest.mark.parametrize("crowd", CROWDS)
def test_the_same_entries_without_their_fault_are_accepted(books, before, crowd):
    living, lapsed, debtor = (wallet_of(books, name) for name in ("living", "lapsed", "debtor"))
    groups = [
        [honest(living, "spend", 10, 1), honest(living, "spend", 1, 1), honest(living, "earn", 3, 0)],
        [honest(lapsed, "spend_reversal", 20, 1)],
        [honest(debtor, "earn", 10, 0), honest(debtor, "repay", 1, -1), honest(debtor, "owe", 3, None)],
    ]
    others = [row for row in CROWDS[crowd](books) if row["member_id"] != debtor.member_id]
    for rows in groups if crowd != "among expiries" else [[honest(wallet_of(books, "due0"), "expire", 10, 1)]]:
        login = "admin" if any(row["reversal_of"] for row in rows) else "batch"
        assert are_many(books, rows + others) == (crowd != "alone")
        assert refusal(books, login, insert(rows + others)) == (None, None)
    assert everything(books) == before


@pytest.mark.parametrize("crowd", CROWDS)
def test_points_that_return_to_an_expired_lot_cannot_expire_again(books, before, crowd):
    lapsed = wallet_of(books, "lapsed")
    back = honest(lapsed, "spend_reversal", 20, 1)
    again = [honest(lapsed, "expire", 20, 1), *CROWDS[crowd](books)]
    assert refusal(books, "admin", insert([back]), insert(again))[0] == "PL011"
    assert everything(books) == before


def test_an_entry_of_nobody_is_refused(books, before):
    rows = [honest(Wallet(9999, 0, 0, 0, {}), "earn", 5, 0)]
    assert refusal(books, "admin" if any(row["reversal_of"] for row in rows) else "batch", insert(rows))[0] == "PL010"
    assert refusal(books, "batch", insert(rows + fillers(books)))[0] == "PL010"
    assert everything(books) == before


def test_an_event_of_a_backup_is_of_a_known_kind(books, before):
    statement = "ALTER TABLE points.backup_event DISABLE TRIGGER guard"
    insert_one = "INSERT INTO points.backup_event (backup_id, what) VALUES (gen_random_uuid(), 'lost')"
    assert refusal(books, "admin", statement, insert_one) == ("23514", "backup_event_what_check")
    assert refusal(books, "batch", insert_one)[0] == "PL009"
    assert everything(books) == before


def test_an_entry_that_does_not_continue_is_refused_in_a_replication_session_too(books, before):
    row = honest(wallet_of(books, "living"), "spend", 10, 1, balance_after=1)
    assert refusal(books, "admin", "SET LOCAL session_replication_role = replica", insert([row]))[0] == "PL010"
    assert everything(books) == before


def test_an_entry_cannot_be_slipped_past_the_trigger_into_a_partition(books):
    row = honest(wallet_of(books, "living"), "spend", 10, 1, balance_after=1)
    assert refusal(books, "admin", insert([row]).replace("points.entry ", "points.entry_202601 "))[0] is not None


def test_an_adjustment_cannot_be_inserted_around_its_approval(books):
    row = honest(wallet_of(books, "living"), "adjust_down", 10, 1)
    statement = insert([{**row, "approval_id": 4711}])
    assert refusal(books, "batch", statement)[0] is not None


# Days ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "sqlstate"),
    [
        ("SELECT points.close_day('2026-01-09', NULL)", "PL001"),  # a gap
        ("SELECT points.close_day('2026-01-05', NULL)", "PL001"),  # closed long ago
        ("SELECT points.close_day(NULL, NULL)", "PL001"),
        ("SELECT points.open_day('2025-12-31')", "PL001"),
        ("SELECT points.open_day('2029-01-01')", "PL008"),
        ("SELECT points.seal_day('2026-01-07')", "PL001"),  # not closed yet
    ],
)
def test_days_close_in_order_once_and_only_near_the_programme(books, before, statement, sqlstate):
    assert refusal(books, "batch", statement)[0] == sqlstate
    assert everything(books) == before


def test_a_day_that_is_closed_stays_closed(books, before):
    assert refusal(books, "batch", "SELECT points.close_day('2026-01-06', 99)") == (
        None,
        None,
    )  # again: nothing happens
    assert refusal(books, "batch", "SELECT points.open_day('2026-01-06')") == (None, None)
    assert books.one("SELECT status FROM points.book_day WHERE book_date = '2026-01-06'") == "closed"
    assert everything(books) == before


# Privileges -----------------------------------------------------------------------------------------------------------

LOGINS = ("api", "batch", "support", "auditor", "approver", "backup")
VERBS = {"spend", "transfer", "bind_members", "unbind", "hold", "capture", "release"}
READ_ONLY = "25006"
ONE_ENTRY = entry()
FORBIDDEN = [
    *(("batch", f"{change} points.{table}{rest}", "42501")
      for table, rest in (("entry", " SET reason = 'x'"), ("wallet", " SET balance = 0"), ("lot", " SET remaining = 0"),
                          ("approval", " SET approved_by = 'me'"), ("book_day", " SET status = 'open'"),
                          ("seal", " SET entries = 0"), ("posting_key", " SET source = 'x'"),
                          ("finding", " SET reason = 'x'"), ("policy_version", " SET sha256 = 'x'"))
      for change in ("UPDATE",)),
    ("batch", "INSERT INTO points.wallet (member_id) VALUES (99)", "42501"),
    ("batch", "INSERT INTO points.lot (member_id) VALUES (99)", "42501"),
    ("batch", "INSERT INTO points.approval (what, payload, reason) VALUES ('plan', '{}', 'because I say so')", "42501"),
    ("batch", "INSERT INTO points.one_use VALUES ('approval', 1, 1)", "42501"),
    ("batch", "INSERT INTO points.book_day (book_date) VALUES ('2026-01-09')", "42501"),
    ("batch", "INSERT INTO points.seal (book_date) VALUES ('2026-01-09')", "42501"),
    ("batch", "INSERT INTO points.hold (member_id) VALUES (1)", "42501"),
    ("batch", "INSERT INTO points.entry (actor) VALUES ('somebody else')", "42501"),
    ("batch", "INSERT INTO points.entry (recorded_at) VALUES ('2020-01-01')", "42501"),
    ("batch", "INSERT INTO points.entry_202601 (member_id) VALUES (1)", "42501"),
    ("batch", "SELECT points.approve(1)", "42501"),
    ("batch", "ALTER TABLE points.entry DISABLE TRIGGER ALL", "42501"),
    ("batch", "SET session_replication_role = replica", "42501"),
    ("batch", "SET ROLE loyalty_owner", "42501"),
    ("batch", "CREATE TABLE points.mine (a int)", "42501"),
    ("api", ONE_ENTRY, "42501"),
    ("api", "SELECT points.close_day('2026-01-07', NULL)", "42501"),
    ("api", "SELECT points.open_day('2026-01-08')", "42501"),
    ("api", "SELECT points.seal_day('2026-01-06')", "42501"),
    ("api", "SELECT points.approve(1)", "42501"),
    ("api", "SELECT points.propose('plan', '{}', 'because I say so')", "42501"),
    ("api", "SELECT points.adjust(1, '2026-01-07')", "42501"),
    ("api", "SELECT points.reinstate(1, '2026-01-07')", "42501"),
    ("api", "SELECT points.release_lapsed_holds('2026-12-31')", "42501"),
    ("api", "SELECT points.lock_wallets('{1}', true)", "42501"),
    ("api", "SELECT points.take_points(1, 5, true, 'expire', '2026-01-07', '2026-01-07', gen_random_uuid(), 'a', 'b',"
            " NULL, NULL, NULL, NULL)", "42501"),
    ("api", "SELECT points.open_lot(1, 5, 'earn', '2026-01-07', '2026-01-07', gen_random_uuid(), 'a', 'b', NULL,"
            " '2026-01-07', NULL, NULL, NULL, NULL)", "42501"),
    ("batch", "INSERT INTO points.backup_event (actor) VALUES ('somebody else')", "42501"),
    ("batch", "INSERT INTO points.backup_event (recorded_at) VALUES ('2020-01-01')", "42501"),
    ("auditor", "INSERT INTO points.backup_event (what) VALUES ('begun')", READ_ONLY),
    ("support", "SELECT * FROM points.backup", "42501"),
    ("backup", ONE_ENTRY, READ_ONLY),
    ("backup", "INSERT INTO points.backup_event (what) VALUES ('begun')", READ_ONLY),
    ("backup", "SELECT points.approve(1)", "42501"),
    ("backup", "SELECT points.spend('living', 1, '2026-01-07', 'till', 'X')", "42501"),
    ("auditor", ONE_ENTRY, READ_ONLY),
    ("auditor", "UPDATE points.wallet SET balance = 0", READ_ONLY),
    ("auditor", "DELETE FROM points.finding", READ_ONLY),
    ("auditor", "CREATE TABLE points.mine (a int)", READ_ONLY),
    ("auditor", "SELECT points.spend('living', 1, '2026-01-07', 'till', 'X')", "42501"),
    ("auditor", "SELECT points.approve(1)", "42501"),
    ("support", ONE_ENTRY, "42501"),
    ("support", "UPDATE points.wallet SET balance = 0", "42501"),
    ("support", "SELECT points.spend('living', 1, '2026-01-07', 'till', 'X')", "42501"),
    ("support", "SELECT * FROM points.approval", "42501"),
    ("approver", ONE_ENTRY, "42501"),
    ("approver", "SELECT points.spend('living', 1, '2026-01-07', 'till', 'X')", "42501"),
    ("approver", "SELECT points.transfer('living', 'held', 1, '2026-01-07', 'X')", "42501"),
    ("approver", "SELECT points.adjust(1, '2026-01-07')", "42501"),
    ("approver", "SELECT points.close_day('2026-01-07', NULL)", "42501"),
    ("approver", "UPDATE points.approval SET approved_by = 'me', approved_at = now()", "42501"),
    ("batch", "UPDATE points.wallet SET is_blocked = false", "42501"),
    ("batch", "INSERT INTO points.redemption_block (member_id, reason) VALUES (1, 'because I say so')", "42501"),
    ("batch", "INSERT INTO points.redemption_release (block_id, blocked_by, reason) VALUES (1, 'me', 'because I say so')", "42501"),
    ("batch", "INSERT INTO points.screen_review (finding_id, reason) VALUES (1, 'because I say so')", "42501"),
    ("batch", "INSERT INTO points.member_contact VALUES (1, sha256('x'))", "42501"),
    ("batch", "SELECT points.release_redemptions('living', 'because I say so')", "42501"),
    ("batch", "SELECT points.approve_release(1)", "42501"),
    ("api", "SELECT points.block_redemptions('living', 'because I say so')", "42501"),
    ("support", "SELECT points.block_redemptions('living', 'because I say so')", "42501"),
    ("support", "SELECT * FROM points.member_contact", "42501"),
    ("approver", "SELECT * FROM points.member_contact", "42501"),
    ("approver", "SELECT points.remember_contacts('{living}', ARRAY[sha256('x')])", "42501"),
    ("approver", "SELECT points.end_block('living', 'because I say so', NULL, NULL)", "42501"),
    *(("batch", statement, "42501") for statement in (
        "UPDATE points.notice SET facts = '{}'", "UPDATE points.notice_result SET result = 'accepted'",
        "UPDATE points.notice_proof SET sealed = ''", "UPDATE points.notice_queue SET attempts = 0",
        "UPDATE points.contact SET sealed = ''", "UPDATE points.dispatcher_identity SET fingerprint = 'x'",
        "UPDATE points.provider_rate SET tat = now()",
        "INSERT INTO points.notice_result (notice_id, attempt, result, moment) VALUES (3, 1, 'accepted', now())",
        "INSERT INTO points.notice_proof VALUES (3, 1, 'x', 'v1')", "INSERT INTO points.contact (member_id) VALUES (3)",
        "INSERT INTO points.erasure (member_id, moment, reason) VALUES (1, now(), 'because I say so')",
        "INSERT INTO points.expiry_warning VALUES (1, '2026-03-01', 3, '2026-01-05')",
        "INSERT INTO points.dispatcher_identity (fingerprint) VALUES ('x')", "INSERT INTO points.provider_rate VALUES ('x', now())",
        "INSERT INTO points.notice (recorded_at) VALUES ('2020-01-01')", "INSERT INTO points.notice_queue (attempts) VALUES (1)",
        "INSERT INTO points.consent (actor) VALUES ('somebody else')",
        "INSERT INTO points.suppression (actor) VALUES ('somebody else')",
        "SELECT points.erase(1, 'because I say so', now(), 'me')",
        "SELECT points.repeat_erasures('{}', '{}', '{}', '{}', '{}')", "SELECT points.leased('w', 1, '{1}')",
        "SELECT points.database_fingerprint()")),
    *((login, statement, "42501")
      for login in ("api", "support", "auditor", "approver")
      for statement in ("SELECT * FROM points.claim_notices('x', now(), 1, interval '1 min', 'email', NULL)",
                        "SELECT points.finish_notices('w', 1, now(), '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')",
                        "SELECT points.renew_lease('w', 1, '{1}', interval '1 min')",
                        "SELECT points.mark_sending('w', 1, '{1}', interval '1 min')",
                        "SELECT points.erase_member('living', 'because I say so', now())",
                        "SELECT points.keep_contacts('{}', '{}', '{}', '{}', '{}', '{}')",
                        "SELECT points.rewrap_contacts('{}', '{}', '{}', 'k')", "SELECT * FROM points.contact")),
    *((login, "SELECT points.release_notices(NULL, 'because I say so', now(), false)", "42501")
      for login in ("api", "support", "auditor")),
    *(("support", f"SELECT * FROM points.{table}", "42501")
      for table in ("notice_proof", "proof_dictionary", "suppression", "dispatcher_identity")),
]  # fmt: skip


@pytest.mark.parametrize(("login", "statement", "sqlstate"), FORBIDDEN)
def test_a_login_may_not_do_what_is_not_its_work(books, before, login, statement, sqlstate):
    assert refusal(books, login, statement)[0] == sqlstate
    assert everything(books) == before


def test_an_auditor_who_asks_to_write_may_not(books, before):
    for statement in (ONE_ENTRY, "UPDATE points.wallet SET balance = 0", "DELETE FROM points.finding"):
        assert refusal(books, "auditor", "SET TRANSACTION READ WRITE", statement)[0] == "42501"
    assert everything(books) == before


def relations(ledger, kinds: str) -> list[str]:
    return [
        row[0]
        for row in ledger.rows(
            "SELECT relname FROM pg_class WHERE relnamespace = 'points'::regnamespace AND relkind = ANY (:kinds) ORDER BY 1",
            kinds=list(kinds),
        )
    ]


def test_a_till_reads_and_writes_no_table_and_no_view(books, before):
    tables, views = relations(books, "rp"), relations(books, "v")
    assert {"entry", "entry_202601", "wallet", "member"} < set(tables)
    assert "policy" in views
    allowed = [name for name in tables + views if refusal(books, "api", f"SELECT * FROM points.{name}")[0] != "42501"]
    allowed += [
        name for name in tables if refusal(books, "api", f"INSERT INTO points.{name} DEFAULT VALUES")[0] != "42501"
    ]
    assert allowed == []
    assert everything(books) == before


@pytest.mark.parametrize("login", ["batch", "support", "approver"])
def test_nobody_deletes_or_truncates(books, before, login):
    changes = [f"{verb} points.{name}" for name in relations(books, "rp") for verb in ("DELETE FROM", "TRUNCATE")]
    assert len(changes) > 50
    assert [change for change in changes if refusal(books, login, change)[0] != "42501"] == []
    assert everything(books) == before


def test_no_login_may_delete_or_truncate_and_only_what_waits_may_be_updated(books):
    held = books.rows(
        "SELECT l.login, c.relname, p.privilege FROM unnest(CAST(:logins AS text [])) AS l (login), pg_class c,"
        " unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) AS p (privilege)"
        " WHERE c.relnamespace = 'points'::regnamespace AND c.relkind IN ('r', 'p', 'v')"
        " AND CASE p.privilege WHEN 'UPDATE' THEN has_any_column_privilege(l.login, c.oid, 'UPDATE')"
        " ELSE has_table_privilege(l.login, c.oid, p.privilege) END ORDER BY 1, 2, 3",
        logins=[f"loyalty_{login}" for login in LOGINS],
    )
    assert [tuple(row) for row in held] == [
        ("loyalty_batch", "activity", "UPDATE"),
        ("loyalty_batch", "member", "UPDATE"),
        ("loyalty_batch", "run", "UPDATE"),
        ("loyalty_batch", "shop_order", "UPDATE"),
    ]


def test_a_till_may_call_the_verbs_and_nothing_else(books):
    functions = books.rows(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'points'::regnamespace"
        " AND has_function_privilege('loyalty_api', oid, 'EXECUTE')"
    )
    assert {row[0] for row in functions} == VERBS


def test_no_function_is_for_everybody_and_powerful_ones_pin_their_search_path(books):
    functions = books.rows(
        "SELECT p.proname, p.prosecdef, r.rolname, r.rolcanlogin, p.proconfig,"
        " EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0) AS is_public"
        " FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.pronamespace = 'points'::regnamespace"
    )
    assert len(functions) > 40
    assert [f.proname for f in functions if f.is_public] == []
    powerful = [f for f in functions if f.prosecdef]
    assert {f.proname for f in powerful} > VERBS
    for function in powerful:
        paths = [setting for setting in function.proconfig or () if setting.startswith("search_path=")]
        assert len(paths) == 1, function.proname
        assert paths[0].split("=")[1].replace(" ", "").split(",")[-1] == "pg_temp", function.proname
        assert (function.rolname, function.rolcanlogin) == ("loyalty_owner", False)


def test_the_actor_is_the_login_that_posted(books):
    assert [tuple(row) for row in books.rows("SELECT DISTINCT source, actor FROM points.entry ORDER BY 1")] == [
        ("activity", "loyalty_batch"), ("adjustment", "loyalty_batch"), ("cancellation", "loyalty_batch"),
        ("expiry", "loyalty_batch"), ("order", "loyalty_batch"), ("redemption", "loyalty_batch"),
        ("return", "loyalty_batch"), ("till", "loyalty_api"),
    ]  # fmt: skip


# Four eyes --------------------------------------------------------------------------------------------------------------


def propose(ledger, login: str, what: str = "adjustment", points: int = 5) -> int:
    payload = f'{{"member_no"\\: "living", "points"\\: {points}}}'
    return ledger.one(f"SELECT points.propose('{what}', '{payload}', 'a reason of ten letters')", login=login)


def test_nobody_approves_what_they_proposed(ledger):
    ledger.start(expiry={"basis": "none", "months": None})
    ledger.orders("A1,living,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    mine, theirs, other = (
        propose(ledger, "approver"),
        propose(ledger, "batch"),
        propose(ledger, "batch", "reinstatement"),
    )
    before = ledger.rows("SELECT * FROM points.wallet")

    with pytest.raises(errors.SamePerson), errors.translated():
        ledger.rows("SELECT points.approve(:id)", login="approver", id=mine)
    for refused, approval in (
        (errors.WaitsForApproval, mine),
        (errors.WaitsForApproval, theirs),
        (errors.UnknownEvent, other),  # another kind of approval
        (errors.UnknownEvent, 4711),
    ):
        with pytest.raises(refused), errors.translated():
            ledger.rows("SELECT points.adjust(:id, '2026-01-02')", login="batch", id=approval)
    assert ledger.rows("SELECT * FROM points.wallet") == before

    ledger.rows("SELECT points.approve(:id)", login="approver", id=theirs)
    with pytest.raises(errors.AlreadyEnded), errors.translated():
        ledger.rows("SELECT points.approve(:id)", login="approver", id=theirs)
    with pytest.raises(errors.AlreadyEnded), errors.translated():
        ledger.rows("SELECT points.approve(4711)", login="approver")
    answers = [
        ledger.rows("SELECT * FROM points.adjust(:id, CAST(:day AS date))", login="batch", id=theirs, day=day)
        for day in ("2026-01-02", "2026-01-02", "2026-01-03")
    ]
    assert answers[0] == answers[1] == answers[2]  # an approval is used once: later calls get the first answer
    assert ledger.kinds("living") == [("earn", 100), ("adjust_up", 5)]
    assert ledger.rows("SELECT approval_id, reason FROM points.entry WHERE kind = 'adjust_up'") == [
        (theirs, "a reason of ten letters")
    ]
    assert ledger.rows("SELECT proposed_by, approved_by FROM points.approval WHERE approval_id = :id", id=theirs) == [
        ("loyalty_batch", "loyalty_approver")
    ]


@pytest.mark.parametrize(
    ("what", "reason"),
    [("adjustment", "too short"), ("adjustment", "        x        "), ("gift", "a reason of ten letters")],
)
def test_a_proposal_needs_a_known_kind_and_a_reason(books, before, what, reason):
    assert refusal(books, "batch", f"SELECT points.propose('{what}', '{{}}', '{reason}')")[0] == "23514"
    assert everything(books) == before
