"""Contact data: sealed per member, kept as the newest file says, found again by marks, never stored in the open."""

import hashlib
import hmac

import pytest
from sqlalchemy import text

from infra.contact_cipher import CannotOpen, ContactKeysRefused, MasterKeys, new_key, open_contact
from points_ledger import contacts
from points_ledger.contacts import BATCH, Contact, MemberKey
from points_ledger.errors import InvalidRequest

MARKS = b"m" * 32
OLD, NEW = new_key(), new_key()
KEYS = MasterKeys.parse(f"k1:{OLD}")
COLUMNS = "member_no,name,email,phone,consent_marketing"


def take(ledger, *rows, columns=COLUMNS, keys=KEYS, contact_key=MARKS):
    return ledger.take("members", columns, *rows, contact_key=contact_key, seal=keys.seal if keys else None)


def kept(ledger, member_no, keys=KEYS) -> Contact | None:
    rows = ledger.rows(
        "SELECT c.* FROM points.contact c JOIN points.member USING (member_id) WHERE member_no = :no",
        login="batch", no=member_no,
    )  # fmt: skip
    if not rows:
        return None
    [row] = rows
    secret = keys.unwrap(row.member_id, MemberKey(bytes(row.key_wrapped), row.key_id))
    return open_contact(secret, row.member_id, bytes(row.sealed))


def mark(value: str) -> bytes:
    return hmac.digest(MARKS, value.encode(), hashlib.sha256)


def everything(ledger) -> str:
    """Every row of every table, as text."""
    tables = ledger.rows("SELECT relname FROM pg_class WHERE relnamespace = 'points'::regnamespace AND relkind = 'r'")
    return " ".join(str(row) for table in tables for row in ledger.rows(f"SELECT t::text FROM points.{table[0]} t"))


@pytest.fixture
def club(ledger):
    return ledger.start(expiry={"basis": "none", "months": None})


def test_a_contact_is_kept_sealed_and_opens_with_its_keys_only(club):
    take(club, "m1,Anna Žák,Anna@B.example,+49 (89) 123-456,yes", "m2,,,,")

    assert kept(club, "m1") == Contact("Anna Žák", "Anna@B.example", "+4989123456")
    assert kept(club, "m2") is None
    [row] = club.rows("SELECT email_mark, phone_mark, sealed FROM points.contact")
    assert (bytes(row.email_mark), bytes(row.phone_mark)) == (mark("anna@b.example"), mark("+4989123456"))
    for secret in ("Anna", "b.example", "123456"):
        assert secret not in everything(club)
        assert secret.encode() not in bytes(row.sealed)
    with pytest.raises(CannotOpen):
        kept(club, "m1", MasterKeys.parse(f"k1:{NEW}"))
    with pytest.raises(CannotOpen):
        kept(club, "m1", MasterKeys.parse(f"k2:{OLD}"))


def test_a_contact_put_in_another_members_place_does_not_open(club):
    take(club, "m1,Anna,a@b.example,,", "m2,Bob,b@b.example,,")
    club.rows(
        "UPDATE points.contact c SET key_wrapped = o.key_wrapped, sealed = o.sealed FROM points.contact o"
        " WHERE c.member_id = 1 AND o.member_id = 2"
    )
    with pytest.raises(CannotOpen):
        kept(club, "m1")


def test_the_newest_file_that_has_contacts_says_all_of_them_under_the_same_key(club):
    take(club, "m1,Anna,a@b.example,+4989123456,", "m2,Bob,b@b.example,,")
    [before] = club.rows("SELECT key_wrapped FROM points.contact WHERE member_id = 1")

    take(club, "m1", "m2", columns="member_no")  # says nothing of contacts
    assert kept(club, "m1") == Contact("Anna", "a@b.example", "+4989123456")
    take(club, "m1,new@b.example", columns="member_no,email")
    assert kept(club, "m1") == Contact("", "new@b.example", "")
    take(club, "m1,", columns="member_no,email")
    assert kept(club, "m1") == Contact()
    [row] = club.rows("SELECT key_wrapped, email_mark FROM points.contact WHERE member_id = 1")
    assert (bytes(row.key_wrapped), row.email_mark) == (bytes(before.key_wrapped), None)  # so that proofs stay readable
    assert kept(club, "m2") == Contact("Bob", "b@b.example", "")


def test_more_contacts_than_a_batch_are_all_kept(club):
    take(club, *(f"m{n:06d},Name {n},m{n}@b.example,," for n in range(BATCH + 7)))
    assert club.one("SELECT count(DISTINCT (key_wrapped, email_mark)) FROM points.contact") == BATCH + 7
    assert kept(club, f"m{BATCH + 3:06d}") == Contact(f"Name {BATCH + 3}", f"m{BATCH + 3}@b.example", "")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('m1,"A\nBcc: x",a@b.example,,', "name_too_long_or_with_control_characters"),
        (f"m1,{'A' * 201},a@b.example,,", "name_too_long_or_with_control_characters"),
        ("m1,Anna,nobody,,", "email_not_an_address"),
        ('m1,Anna,"a@b.example\r\nBcc: x@y.example",,', "email_not_an_address"),
        ('m1,Anna,"a@b.example,x@y.example",,', "email_not_an_address"),
        ("m1,Anna,Anna <a@b.example>,,", "email_not_an_address"),
        (f"m1,Anna,{'a' * 65}@b.example,,", "email_not_an_address"),
        ("m1,Anna,,call me,", "phone_not_a_number"),
        ("m1,Anna,,+1234,", "phone_not_a_number"),
        ("m1,Anna,,,maybe", "consent_not_yes_or_no"),
    ],
)
def test_a_contact_that_is_none_rejects_the_row_without_keeping_it(club, row, reason):
    result = take(club, row)
    assert [(t.fate, t.reason) for t in result.totals] == [("rejected", reason)]
    assert club.one("SELECT count(*) FROM points.contact") == 0
    [finding] = club.rows("SELECT detail FROM points.finding")
    assert not {"name", "email", "phone", "contact"} & set(finding.detail)
    assert "b.example" not in everything(club)


@pytest.mark.parametrize(
    ("keys", "contact_key", "setting"),
    [(None, MARKS, "LOYALTY_CONTACT_MASTER_KEYS"), (KEYS, None, "LOYALTY_CONTACT_KEY")],
)
@pytest.mark.parametrize("row", ["m1,,a@b.example,,", "m1,,,+4989123456,"])
def test_a_file_with_contacts_and_without_a_key_is_refused_whole(club, keys, contact_key, setting, row):
    with pytest.raises(InvalidRequest, match=f"set {setting}"):
        take(club, row, keys=keys, contact_key=contact_key)
    assert club.one("SELECT count(*) FROM points.member") == 0
    assert take(club, "m1,,,,no", keys=keys, contact_key=contact_key).rows("accepted") == 1  # nothing to keep


def test_members_who_share_an_address_share_the_mark_of_the_screens(club):
    take(club, "m1,,A@b.example,,", "m2,,a@B.example,,", "m3,,,+49 89 123456,", "m4,,,+4989123456,")
    fingerprints = [
        bytes(row[0]) for row in club.rows("SELECT fingerprint FROM points.member_contact ORDER BY member_id")
    ]
    assert fingerprints == [mark("a@b.example")] * 2 + [mark("+4989123456")] * 2


def test_a_file_that_repeats_itself_does_not_undo_what_a_member_said_since(club):
    def consents():
        return [tuple(row) for row in club.rows("SELECT source, granted FROM points.consent ORDER BY consent_no")]

    take(club, "m1,,a@b.example,,yes", "m2,,b@b.example,,")
    take(club, "m1,,a@b.example,,yes")
    assert consents() == [("import", True)]
    with club.engine("admin").begin() as connection:
        moment = connection.execute(text("SELECT now()")).scalar_one()
        contacts.agree(
            connection, member_id=1, class_="marketing", channel="any", is_granted=False, source="unsubscribe", moment=moment
        )  # fmt: skip
    take(club, "m1,,a@b.example,,yes")
    assert consents() == [("import", True), ("unsubscribe", False)]
    take(club, "m1,,a@b.example,,no")
    take(club, "m1,,a@b.example,,yes")  # the shop changed its mind after the member did: that is news
    assert consents()[2:] == [("import", False), ("import", True)]


def test_a_rotation_wraps_every_key_anew_and_the_old_master_key_can_go(club):
    take(club, "m1,Anna,a@b.example,,", "m2,Bob,b@b.example,,", "m3,Eve,e@b.example,,")
    both, new = MasterKeys.parse(f"k2:{NEW}\nk1:{OLD}"), MasterKeys.parse(f"k2:{NEW}")
    sealed = club.rows("SELECT member_id, sealed FROM points.contact ORDER BY 1")

    with club.engine().begin() as connection:
        assert contacts.key_ids(connection) == {"k1": 3}
        assert contacts.rewrap(connection, both.rewrap, both.newest) == 3
        assert contacts.rewrap(connection, both.rewrap, both.newest) == 0
        assert contacts.key_ids(connection) == {"k2": 3}
    assert [kept(club, no, new).name for no in ("m1", "m2", "m3")] == ["Anna", "Bob", "Eve"]
    assert club.rows("SELECT member_id, sealed FROM points.contact ORDER BY 1") == sealed
    with pytest.raises(CannotOpen):
        kept(club, "m1", KEYS)


def test_a_lost_master_key_stops_imports_until_it_is_said_to_be_lost(club):
    take(club, "m1,Anna,a@b.example,,", "m2,Bob,b@b.example,,")
    with pytest.raises(CannotOpen):
        take(club, "m1,Anna,a@b.example,,", keys=MasterKeys.parse(f"k2:{NEW}"))
    new = MasterKeys.parse(f"k2:{NEW},k1:lost")
    take(club, "m1,Anna,a@b.example,,", keys=new)
    assert kept(club, "m1", new) == Contact("Anna", "a@b.example", "")
    with pytest.raises(CannotOpen):
        kept(club, "m2", new)


@pytest.mark.parametrize(
    "written",
    ["", "k1", f"k1:{OLD[:-8]}", f"k1:{OLD},k1:{NEW}", f"k1:{OLD},k1:lost", "k1:lost", f"k 1:{OLD}", "k1:***"],
    ids=[
        "none",
        "no key",
        "cut",
        "a name twice",
        "a name kept and lost",
        "all lost",
        "a blank in the name",
        "no base64",
    ],
)
def test_master_keys_that_are_none_are_refused_without_showing_them(written):
    with pytest.raises(ContactKeysRefused) as refused:
        MasterKeys.parse(written)
    assert OLD[:-8] not in str(refused.value)


def test_support_sees_whether_a_member_can_be_reached_and_never_where(club):
    take(club, "m1,Anna,a@b.example,,", "m2,,,,")
    rows = club.rows(
        "SELECT member_no, has_email, has_phone, erased_at FROM points.reachability ORDER BY 1", login="support"
    )
    assert [tuple(row) for row in rows] == [("m1", True, False, None), ("m2", False, False, None)]
