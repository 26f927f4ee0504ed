"""Members as a feed: who belongs to the programme, and how they are reached.

The newest file wins for what it says of a member; a member number is for ever. Names, addresses and numbers are kept
sealed (``contacts``); in the open the ledger keeps an HMAC-SHA256 of an address or number under a key of the importing
process, so that a screen sees who shares one. The text stays in the import's temporary table and is gone before a
rejected row is kept.
"""

import hashlib
from typing import Final

from sqlalchemy import Connection, text

from points_ledger import contacts
from points_ledger.errors import InvalidRequest, UnknownMember
from points_ledger.feeds import Reading, Total
from points_ledger.policy import Policy
from points_ledger.queries import statement

SEALED: Final = ("name", "email", "phone")  # a file with one of these columns says all that is known of its members
MARKED: Final = ("contact", "email", "phone")


def member_id(connection: Connection, member_no: str) -> int:
    """The id of a member.

    Raises:
        UnknownMember: nobody has that number.
    """
    found = connection.execute(
        text("SELECT member_id FROM points.member WHERE member_no = :no"), {"no": member_no}
    ).scalar_one_or_none()
    if found is None:
        raise UnknownMember(f"member {member_no} is not known")
    return int(found)


def accept(connection: Connection, reading: Reading, policy: Policy, file_id: int) -> list[Total]:
    """Enrol or update the staged members; return the control total.

    Raises:
        InvalidRequest: there are contacts, and no key to keep them under.
    """
    if reading.seal is None:
        _refuse(connection, SEALED, "LOYALTY_CONTACT_MASTER_KEYS")
    values = {"starts_on": policy.starts_on, "file_id": file_id, "header_lines": reading.header_lines}
    pads = _pads(connection, reading.contact_key)
    connection.execute(statement("type_members"), {**values, **pads})
    connection.execute(text("".join(f"ALTER TABLE staged DROP COLUMN {name};" for name in {*SEALED, *MARKED})))
    connection.execute(statement("insert_members"), values)
    connection.execute(
        text(
            "SELECT points.open_wallets_of((SELECT array_agg(m.member_id) FROM typed_member AS t"
            " INNER JOIN points.member AS m ON m.member_no = t.member_no WHERE t.reason IS NULL))"
        )
    )
    connection.execute(
        text(
            "SELECT points.remember_contacts(array_agg(member_no), array_agg(contact_fingerprint)) FROM typed_member"
            " WHERE reason IS NULL AND contact_fingerprint IS NOT NULL"
        )
    )
    if reading.seal is not None and set(SEALED) & set(reading.columns):
        contacts.keep_staged(connection, reading.seal)
    connection.execute(statement("insert_consents"))
    connection.execute(statement("quarantine_members"), values)
    return [
        Total(row.fate, row.reason, row.rows, None)
        for row in connection.execute(
            text(
                "SELECT CASE WHEN reason IS NULL THEN 'accepted' ELSE 'rejected' END AS fate,"
                " coalesce(reason, 'members') AS reason, count(*) AS rows FROM typed_member GROUP BY 1, 2"
            )
        )
    ]


def _pads(connection: Connection, key: bytes | None) -> dict[str, bytes]:
    """The two padded keys of HMAC (RFC 2104), for Postgres to hash with: the contacts never leave it."""
    if key is None:
        _refuse(connection, MARKED, "LOYALTY_CONTACT_KEY")
        key = b""
    block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    return {"inner_pad": bytes(byte ^ 0x36 for byte in block), "outer_pad": bytes(byte ^ 0x5C for byte in block)}


def _refuse(connection: Connection, columns: tuple[str, ...], setting: str) -> None:
    filled = " OR ".join(f"coalesce({name}, '') <> ''" for name in columns)
    if connection.execute(text(f"SELECT EXISTS (SELECT FROM staged WHERE {filled})")).scalar_one():  # noqa: S608 - constants
        raise InvalidRequest(f"The file has contacts: set {setting}, or leave the columns {', '.join(columns)} out.")
