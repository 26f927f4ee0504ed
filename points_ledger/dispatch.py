"""Beside claim and finish: notices given back untried, addresses that are dead, and the count of a dispatcher's work."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, text

from points_ledger.outbox import keep_dictionary
from points_ledger.queries import statement


@dataclass(frozen=True)
class Counts:
    """Attempts by result. ``duplicated``: a member may have the same notice twice; ``lost``: it is nowhere (always 0)."""

    accepted: int = 0
    refused: int = 0
    uncertain: int = 0
    retried: int = 0
    stale: int = 0
    suppressed: int = 0
    unreachable: int = 0
    held: int = 0
    duplicated: int = 0
    lost: int = 0

    @property
    def facts(self) -> dict[str, int]:
        """By name."""
        return asdict(self)


def give_back(
    connection: Connection, *, owner: str, token: int, notice_ids: Sequence[int], next_moment: dt.datetime
) -> set[int]:
    """Put leased notices that were not tried back into the queue, as if they had not been claimed.

    Return those that were still the owner's.
    """
    return set(
        connection.execute(
            text("SELECT points.give_back_notices(:owner, :token, CAST(:ids AS bigint []), :next)"),
            {"owner": owner, "token": token, "ids": list(notice_ids), "next": next_moment},
        ).scalar_one()
    )


def suppress_dead(connection: Connection, *, notice_ids: Sequence[int], moment: dt.datetime) -> None:
    """Send nothing more to the addresses of notices that a provider refused because of the address."""
    connection.execute(statement("suppress_dead"), {"ids": list(notice_ids), "moment": moment})


def counted(connection: Connection, *, since: dt.datetime) -> Counts:
    """What was recorded from a moment on, by the database's clock (``database_clock``)."""
    return Counts(**connection.execute(statement("notices_counted"), {"since": since}).one()._mapping)


def database_clock(connection: Connection) -> dt.datetime:
    """What the database's clock says: leases, rates and ``recorded_at`` go by it."""
    now: dt.datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def kept_dictionary(connection: Connection, template_version: str, content: bytes) -> bytes:
    """What the proofs of a version of the templates are compressed with: what the ledger has, else ``content`` from now on."""
    keep_dictionary(connection, template_version, content)
    return bytes(
        connection.execute(
            text("SELECT content FROM points.proof_dictionary WHERE template_version = :version"),
            {"version": template_version},
        ).scalar_one()
    )
