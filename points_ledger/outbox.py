"""The outbox: claim notices that are due, say what became of them, keep the proof (design 11).

A notice is sent at least once: a worker that dies between a provider's acceptance and ``finish`` leaves an attempt that
is ``uncertain``, and what that means depends on the class. What is due is written by ``notices``; how a message is made
and sent stands in ``notifications`` and ``infra``. Every moment is given; only leases and rates are counted by the clock.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sqlalchemy import Connection, text

from points_ledger.contacts import Channel, MemberKey
from points_ledger.queries import statement

LEASE: Final = dt.timedelta(minutes=2)  # longer than any provider's time-out: a worker that waits keeps its batch
MOST_ATTEMPTS: Final = 8
RESULTS: Final = ("accepted", "refused", "uncertain", "retry", "stale", "suppressed", "unreachable", "held")
Outcome = Literal["accepted", "refused", "uncertain", "retry"]
Class = Literal["transaction", "legal", "service", "marketing"]


@dataclass(frozen=True)
class Claimed:
    """A notice that is this worker's to send, with the sealed contact. ``facts`` are as of the claim."""

    notice_id: int
    member_id: int
    member_no: str
    kind: str
    class_: Class
    channel: Channel
    facts: Mapping[str, Any]
    dedupe_key: str
    business_date: dt.date
    attempt: int
    token: int
    key: MemberKey
    sealed: bytes = field(repr=False)
    locale: str | None
    time_zone: str | None


@dataclass(frozen=True)
class Finished:
    """What became of one notice. ``next`` is when to try again; ``proof`` what was sent, sealed; neither holds for all."""

    notice_id: int
    result: Outcome
    provider: str
    provider_ref: str | None = None
    detail: str | None = None  # no personal data
    next: dt.datetime | None = None
    proof: bytes | None = field(default=None, repr=False)
    template_version: str | None = None


@dataclass(frozen=True)
class Waiting:
    """How many notices of a kind wait in the queue, and since when the oldest may go."""

    kind: str
    class_: Class
    channel: Channel
    notices: int
    oldest: dt.datetime


@dataclass(frozen=True)
class Told:
    """One attempt at one notice, as support and auditors see it; ``result`` is empty while it waits."""

    notice_id: int
    kind: str
    class_: Class
    channel: Channel
    business_date: dt.date
    facts: Mapping[str, Any]
    attempt: int | None
    result: str | None
    moment: dt.datetime | None
    provider: str | None
    provider_ref: str | None
    detail: str | None
    has_proof: bool
    digest_id: int | None


@dataclass(frozen=True)
class Proof:
    """What was sent in one attempt, still sealed, with what opens it."""

    notice_id: int
    attempt: int
    member_id: int
    sealed: bytes = field(repr=False)
    template_version: str
    dictionary: bytes = field(repr=False)
    key: MemberKey | None  # None: the member was erased, and nobody can read it


def claim(
    connection: Connection,
    *,
    owner: str,
    moment: dt.datetime,
    limit: int,
    channel: Channel,
    installation: str | None = None,
    lease: dt.timedelta = LEASE,
) -> list[Claimed]:
    """Lease due notices to ``owner``; none: nothing is due. Commit before sending.

    What is stale, suppressed or has no address gets its result here; what came into the quiet hours waits for their end. A
    notice of a worker whose lease ran out is taken over.

    Raises:
        sqlalchemy.exc.DBAPIError: PL070 (``NoticesHeld``), the database was restored or copied.
    """
    rows = connection.execute(
        text("SELECT * FROM points.claim_notices(:owner, :moment, :limit, :lease, :channel, :installation)"),
        {
            "owner": owner,
            "moment": moment,
            "limit": limit,
            "lease": lease,
            "channel": channel,
            "installation": installation,
        },
    )
    return [
        Claimed(
            **{name: row[name] for name in row if name not in ("class", "key_wrapped", "key_id", "sealed")},
            class_=row["class"],
            key=MemberKey(bytes(row["key_wrapped"]), row["key_id"]),
            sealed=bytes(row["sealed"]),
        )
        for row in rows.mappings()
    ]


def renew(
    connection: Connection, *, owner: str, token: int, notice_ids: Sequence[int], lease: dt.timedelta = LEASE
) -> set[int]:
    """Keep a lease for longer; return the notices that are still the owner's. The others must not be sent."""
    return _hold(connection, "renew_lease", owner, token, notice_ids, lease)


def mark_sending(
    connection: Connection, *, owner: str, token: int, notice_ids: Sequence[int], lease: dt.timedelta = LEASE
) -> set[int]:
    """Say that sending begins, and renew the lease; return the notices that are still the owner's. Commit before sending.

    A worker that is lost after this leaves ``uncertain`` attempts, one that is lost before leaves ``retry``.
    """
    return _hold(connection, "mark_sending", owner, token, notice_ids, lease)


def finish(
    connection: Connection, *, owner: str, token: int, moment: dt.datetime, rows: Sequence[Finished]
) -> set[int]:
    """Write results and proofs, and end the leases; return the notices that were finished.

    Of a notice whose lease was lost nothing is written: another worker has it. ``retry`` goes back into the queue until
    ``next``, and so does ``uncertain`` of transaction and legal notices; the eighth time a retry is ``refused``. An
    accepted notice that names dates (``facts.dates``) is the members' warning of them.

    Raises:
        sqlalchemy.exc.DBAPIError: 23503, the template version of a proof is not known (``keep_dictionary``).
    """
    return set(
        connection.execute(
            text(
                "SELECT points.finish_notices(:owner, :token, :moment, CAST(:ids AS bigint []), CAST(:results AS text []),"
                " CAST(:providers AS text []), CAST(:refs AS text []), CAST(:details AS text []),"
                " CAST(:nexts AS timestamptz []), CAST(:proofs AS bytea []), CAST(:versions AS text []))"
            ),
            {
                "owner": owner,
                "token": token,
                "moment": moment,
                "ids": [row.notice_id for row in rows],
                "results": [row.result for row in rows],
                "providers": [row.provider for row in rows],
                "refs": [row.provider_ref for row in rows],
                "details": [row.detail for row in rows],
                "nexts": [row.next for row in rows],
                "proofs": [row.proof for row in rows],
                "versions": [row.template_version for row in rows],
            },
        ).scalar_one()
    )


def keep_dictionary(connection: Connection, template_version: str, content: bytes) -> None:
    """Keep what the proofs of a version of the templates are compressed with, once; needed to read them."""
    connection.execute(
        text("INSERT INTO points.proof_dictionary VALUES (:version, :content) ON CONFLICT DO NOTHING"),
        {"version": template_version, "content": content},
    )


def why_held(connection: Connection, installation: str | None = None) -> str | None:
    """Why this database may not send, in a sentence; None when it may."""
    held: str | None = connection.execute(
        text("SELECT points.why_held(:installation)"), {"installation": installation}
    ).scalar_one()
    return held


def waiting(connection: Connection) -> list[Waiting]:
    """What would go out, by kind and channel."""
    return [Waiting(**row._mapping) for row in connection.execute(statement("notices_waiting"))]


def due(connection: Connection, moment: dt.datetime) -> list[dict[str, Any]]:
    """What ``claim`` would look at at a moment: ``kind``, ``channel``, ``notices``, ``oldest``, ``too_late``."""
    return [dict(row._mapping) for row in connection.execute(statement("notices_due"), {"moment": moment})]


def release(
    connection: Connection, *, reason: str, moment: dt.datetime, installation: str | None = None, is_dropping: bool
) -> int:
    """Let this database send from now on; return how many notices were dropped.

    ``is_dropping``: what waits now is not sent, its result is ``held``. After a restore the queue holds what was sent since
    the backup was taken; dropping it tells nobody twice, and nobody of what had not been sent yet.

    Raises:
        sqlalchemy.exc.DBAPIError: PL009, the reason says nothing.
    """
    return int(
        connection.execute(
            text("SELECT points.release_notices(:installation, :reason, :moment, :is_dropping)"),
            {"installation": installation, "reason": reason, "moment": moment, "is_dropping": is_dropping},
        ).scalar_one()
    )


def told(connection: Connection, member_no: str) -> list[Told]:
    """Every attempt at every notice to a member, oldest first; those that wait, and those inside a digest, too."""
    rows = connection.execute(statement("notices_told"), {"member_no": member_no})
    return [Told(**row._mapping) for row in rows]


def proofs(connection: Connection, notice_id: int) -> list[Proof]:
    """What was sent of a notice, oldest first, sealed; of a notice inside a digest, what was sent of the digest."""
    rows = connection.execute(statement("notice_proofs"), {"notice_id": notice_id})
    return [
        Proof(
            row.notice_id,
            row.attempt,
            row.member_id,
            bytes(row.sealed),
            row.template_version,
            bytes(row.content),
            None if row.key_id is None else MemberKey(bytes(row.key_wrapped), row.key_id),
        )
        for row in rows
    ]


def seconds_to_wait(connection: Connection, provider: str, *, messages: int, per_second: float, burst: int) -> float:
    """Ask for messages of a provider's rate, which all workers share: 0 = they may go; else ask again after so long."""
    return float(
        connection.execute(
            text("SELECT points.take_rate(:provider, :messages, CAST(:per_second AS numeric), :burst)"),
            {"provider": provider, "messages": messages, "per_second": per_second, "burst": burst},
        ).scalar_one()
    )


def pause(connection: Connection, provider: str, *, seconds: float) -> None:
    """A provider said "too fast": nobody sends through it for so long."""
    connection.execute(
        text("SELECT points.pause_provider(:provider, make_interval(secs => :seconds))"),
        {"provider": provider, "seconds": seconds},
    )


def _hold(
    connection: Connection, function: str, owner: str, token: int, notice_ids: Sequence[int], lease: dt.timedelta
) -> set[int]:
    return set(
        connection.execute(
            text(f"SELECT points.{function}(:owner, :token, CAST(:ids AS bigint []), :lease)"),
            {"owner": owner, "token": token, "ids": list(notice_ids), "lease": lease},
        ).scalar_one()
    )
