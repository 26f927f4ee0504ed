"""Contact data: names, addresses and numbers of members, apart from the ledger, and their erasure (design 14).

Here they are only ever seen sealed: whoever imports or sends hands in the functions that seal and open them
(``infra.contact_cipher``). What is kept in the open are marks, HMACs of an address or number, by which one is found
again without being known.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from sqlalchemy import Connection, text

from points_ledger.errors import UnknownMember
from points_ledger.queries import statement

BATCH: Final = 5000  # contacts that are sealed and stored in one statement
Channel = Literal["email", "sms"]
Cause = Literal["hard_bounce", "complaint", "operator", "lifted"]
Source = Literal["unsubscribe", "operator", "complaint"]
ConsentClass = Literal["service", "marketing"]  # the others need none
ConsentChannel = Literal["email", "sms", "any"]


@dataclass(frozen=True)
class Contact:
    """What is known of a member; empty: not known. Never logged."""

    name: str = field(default="", repr=False)
    email: str = field(default="", repr=False)
    phone: str = field(default="", repr=False)


@dataclass(frozen=True)
class MemberKey:
    """A member's key, wrapped under the master key ``key_id``."""

    wrapped: bytes = field(repr=False)
    key_id: str


@dataclass(frozen=True)
class ToSeal:
    """A contact to be sealed: under the member's key, or a new one where there is none yet."""

    member_id: int
    contact: Contact
    key: MemberKey | None


@dataclass(frozen=True)
class Sealed:
    """A contact as it is stored."""

    key: MemberKey
    content: bytes = field(repr=False)


Seal = Callable[[ToSeal], Sealed]
Rewrap = Callable[[int, MemberKey], MemberKey]


@dataclass(frozen=True)
class ErasurePlan:
    """What an erasure destroys, and what of it was done before."""

    member_no: str
    member_id: int
    has_contact: bool
    has_mark: bool
    proofs: int
    waiting: int
    erased_at: dt.datetime | None


@dataclass(frozen=True)
class Erasure:
    """An erasure as it is repeated in the copy of an older moment. The number is hashed: it names nobody by itself."""

    member_id: int
    number_sha256: str
    moment: dt.datetime
    actor: str
    reason: str


def keep_staged(connection: Connection, seal: Seal) -> int:
    """Keep the contacts of an import's temporary table ``typed_member``; return how many. Not those of the erased."""
    kept = 0
    rows = connection.execute(statement("contacts_to_seal").execution_options(yield_per=BATCH))
    for batch in rows.partitions():
        sealed = [
            seal(
                ToSeal(
                    row.member_id,
                    Contact(row.name or "", row.email or "", row.phone or ""),
                    None if row.key_id is None else MemberKey(bytes(row.key_wrapped), row.key_id),
                )
            )
            for row in batch
        ]
        kept += connection.execute(
            text(
                "SELECT points.keep_contacts(:members, CAST(:keys AS bytea []), :key_ids, CAST(:sealed AS bytea []),"
                " CAST(:emails AS bytea []), CAST(:phones AS bytea []))"
            ),
            {
                "members": [row.member_id for row in batch],
                "keys": [one.key.wrapped for one in sealed],
                "key_ids": [one.key.key_id for one in sealed],
                "sealed": [one.content for one in sealed],
                "emails": [row.email_mark for row in batch],
                "phones": [row.phone_mark for row in batch],
            },
        ).scalar_one()
    return kept


def key_ids(connection: Connection) -> dict[str, int]:
    """How many members' keys are wrapped under each master key."""
    rows = connection.execute(text("SELECT key_id, count(*) FROM points.contact GROUP BY key_id ORDER BY key_id"))
    return {row[0]: row[1] for row in rows}


def rewrap(connection: Connection, rewrapped: Rewrap, to_key_id: str) -> int:
    """Wrap up to ``BATCH`` members' keys under another master key; return how many were looked at, 0 = none is left."""
    rows = connection.execute(
        text(
            "SELECT member_id, key_wrapped, key_id FROM points.contact WHERE key_id <> :key_id ORDER BY key_id LIMIT :n"
        ),
        {"key_id": to_key_id, "n": BATCH},
    ).all()
    connection.execute(
        text(
            "SELECT points.rewrap_contacts(CAST(:members AS bigint []), CAST(:known AS bytea []), CAST(:keys AS bytea []), :key_id)"
        ),
        {
            "members": [row.member_id for row in rows],
            "known": [bytes(row.key_wrapped) for row in rows],
            "keys": [rewrapped(row.member_id, MemberKey(bytes(row.key_wrapped), row.key_id)).wrapped for row in rows],
            "key_id": to_key_id,
        },
    )
    return len(rows)


def agree(
    connection: Connection,
    *,
    member_id: int,
    class_: ConsentClass,
    channel: ConsentChannel,
    is_granted: bool,
    source: Source,
    moment: dt.datetime,
) -> bool:
    """Record what a member agreed to, or no longer agrees to; the newest word counts. Return whether it is another one.

    Safe to repeat: a member's newest word on a class is not recorded twice in a row.
    """
    recorded = connection.execute(
        text(
            "INSERT INTO points.consent (member_id, class, channel, granted, source, moment)"
            " SELECT :member_id, :class, :channel, :granted, :source, :moment WHERE NOT EXISTS (SELECT FROM ("
            " SELECT c.channel, c.granted, c.source FROM points.consent c WHERE c.member_id = :member_id AND c.class = :class"
            " ORDER BY c.consent_no DESC LIMIT 1) AS newest WHERE newest.channel = :channel AND newest.granted = :granted"
            " AND newest.source = :source) RETURNING consent_no"
        ),
        {
            "member_id": member_id,
            "class": class_,
            "channel": channel,
            "granted": is_granted,
            "source": source,
            "moment": moment,
        },
    )
    return recorded.one_or_none() is not None


def suppress(connection: Connection, mark: bytes, channel: Channel, cause: Cause, *, moment: dt.datetime) -> None:
    """Send nothing to an address any more, by its mark; ``lifted`` ends it. A complaint leaves legal notices."""
    connection.execute(
        text("INSERT INTO points.suppression (mark, channel, cause, moment) VALUES (:mark, :channel, :cause, :moment)"),
        {"mark": mark, "channel": channel, "cause": cause, "moment": moment},
    )


def erasure_plan(connection: Connection, member_no: str) -> ErasurePlan:
    """What an erasure of a member would destroy. Changes nothing.

    Raises:
        UnknownMember: nobody has that number.
    """
    row = connection.execute(statement("erasure_plan"), {"member_no": member_no}).one_or_none()
    if row is None:
        raise UnknownMember(f"member {member_no} is not known")
    return ErasurePlan(**row._mapping)


def erase(connection: Connection, *, member_no: str, reason: str, moment: dt.datetime) -> bool:
    """Destroy a member's contact and its key; the ledger stays. Return whether it was done now, or before.

    Raises:
        sqlalchemy.exc.DBAPIError: PL004, nobody has that number; PL009, the reason says nothing.
    """
    return bool(
        connection.execute(
            text("SELECT points.erase_member(:member_no, :reason, :moment)"),
            {"member_no": member_no, "reason": reason, "moment": moment},
        ).scalar_one()
    )


def erasures(connection: Connection) -> list[Erasure]:
    """Every erasure, oldest first, in the shape in which a copy repeats it."""
    rows = connection.execute(
        text(
            "SELECT e.member_id, encode(sha256(convert_to(m.member_no, 'UTF8')), 'hex') AS number_sha256, e.moment, e.actor,"
            " e.reason FROM points.erasure e JOIN points.member m USING (member_id) ORDER BY e.recorded_at, e.member_id"
        )
    )
    return [Erasure(**row._mapping) for row in rows]


def repeat_erasures(connection: Connection, known: Sequence[Erasure]) -> int:
    """Erase again in a restored copy, as its owner; return how many members of it are erased by these.

    A member who came after the copy's moment is passed by, also when another one has the id.
    """
    return int(
        connection.execute(
            text(
                "SELECT points.repeat_erasures(CAST(:members AS bigint []), CAST(:numbers AS bytea []),"
                " CAST(:moments AS timestamptz []), CAST(:actors AS text []), CAST(:reasons AS text []))"
            ),
            {
                "members": [one.member_id for one in known],
                "numbers": [bytes.fromhex(one.number_sha256) for one in known],
                "moments": [one.moment for one in known],
                "actors": [one.actor for one in known],
                "reasons": [one.reason for one in known],
            },
        ).scalar_one()
    )
