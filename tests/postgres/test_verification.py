"""``loyalty verify`` finds what a superuser changed behind the ledger's back, and is silent on a clean ledger."""

import pytest

from points_ledger import verification

# What somebody with all rights could do, and the check that must name it.
TAMPERED = {
    "I1": ["UPDATE points.wallet SET balance = balance + 1 WHERE member_id = 1"],
    "I2": ["UPDATE points.lot SET valid_through = valid_through + 30 WHERE member_id = 1 AND lot_seq = 1"],
    "I3": ["UPDATE points.lot SET remaining = remaining - 1 WHERE member_id = 2 AND is_open"],
    "I4": ["UPDATE points.entry SET balance_after = balance_after + 5 WHERE member_id = 1 AND seq = 2"],
    "I5": ["UPDATE points.entry SET kind = 'gift' WHERE member_id = 1 AND kind = 'spend'"],
    "I6": ["UPDATE points.entry SET effective_on = '2026-06-01' WHERE member_id = 1 AND kind = 'spend'"],
    "I7": ["UPDATE points.lot SET valid_through = '2026-01-02' WHERE member_id = 2 AND is_open"],
    "I8": [
        "ALTER TABLE points.posting_key DISABLE TRIGGER USER",
        "DELETE FROM points.posting_key WHERE member_id = 1 AND source = 'order'",
    ],
    "I9": ["UPDATE points.entry SET recorded_at = recorded_at + interval '1 day' WHERE member_id = 1 AND seq = 1"],
    "I10": ["UPDATE points.entry SET reason = 'mended' WHERE member_id = 1 AND seq = 1"],
    "I11": [
        "ALTER TABLE points.wallet DROP CONSTRAINT nothing_negative_and_held_within_balance",
        "UPDATE points.wallet SET debt = -1 WHERE member_id = 1",
    ],
    "I12": ["UPDATE points.entry SET book_date = '2026-01-30' WHERE member_id = 1 AND seq = 1"],
    "I13": [
        "INSERT INTO points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,"
        " balance_after, debt_after, kind, source, source_ref) SELECT member_id, seq + 10, book_date, effective_on, journal_id,"
        " points, lot_seq, 0, 0, 0, kind, source, source_ref FROM points.entry WHERE kind = 'expire' LIMIT 1"
    ],
}
BEHIND_THE_GUARDS = (
    "ALTER TABLE points.entry DISABLE TRIGGER USER",
    "ALTER TABLE points.entry_202601 DISABLE TRIGGER USER",
    "ALTER TABLE points.entry_202602 DISABLE TRIGGER USER",
)


@pytest.fixture(scope="module")
def closed_books(clone):
    """A ledger with an earn, a spend, a return and an expiry; copy it."""
    ledger = clone()
    ledger.start()
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,100",
        "A2,m1,2026-01-02 10:00,tea,1,20",
        "A3,m1,2026-01-03 10:00,tea,-1,20",
        "B1,m2,2026-01-20 10:00,tea,1,50",
    )
    ledger.redemptions("R1,m1,2026-01-02 11:00,30")
    ledger.close("2026-02-05")
    return ledger


@pytest.fixture
def books(closed_books, copied):
    """A copy of them for each test to tamper with."""
    return copied(closed_books)


def differences(ledger):
    with ledger.engine().connect() as connection:
        return list(verification.verify(connection))


def test_a_clean_ledger_has_no_difference(books):
    assert differences(books) == []


@pytest.mark.parametrize("check", verification.CHECKS)
def test_what_was_changed_behind_the_ledgers_back_is_found_and_named(books, check):
    for statement in (*BEHIND_THE_GUARDS, *TAMPERED[check]):
        books.rows(statement)

    assert check in {difference.check for difference in differences(books)}


def test_a_replaced_seal_is_found(books):
    books.rows("ALTER TABLE points.seal DISABLE TRIGGER USER")
    books.rows("UPDATE points.seal SET root = sha256('forged') WHERE book_date = '2026-01-03'")

    found = differences(books)

    assert [d.check for d in found] == ["I10"]
    assert "2026-01-03: sealed root" in found[0].row


def test_a_seal_replaced_with_its_checkpoint_breaks_the_chain_of_the_next_day(books):
    books.rows("ALTER TABLE points.seal DISABLE TRIGGER USER")
    books.rows("UPDATE points.seal SET checkpoint = sha256('forged') WHERE book_date = '2026-01-03'")

    assert {d.row[:10] for d in differences(books)} == {"2026-01-03", "2026-01-04"}
