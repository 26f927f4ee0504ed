"""Steps around versions of the programme: read, compare, explain, propose, approve. Without Prefect, which is slow to start.

A *source* is how a person names a programme: a version's number, or a file.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from infra import programme
from infra.programme import ProgrammeRefused
from notifications.phrases_of import Lang, NoWords
from notifications.programme_rules import Example, rules_in_words
from points_ledger import policy, proposals
from points_ledger.errors import LedgerError, UnknownEvent, translated
from points_ledger.policy import Version
from points_ledger.policy_changes import UNCHANGEABLE, Change, compare
from points_ledger.proposals import Proposal
from tasks import ledger

Language = Lang


@dataclass(frozen=True)
class Standing:
    """A version, with every other one and the proposals that wait."""

    version: Version
    versions: list[Version]
    waiting: list[Proposal]


@dataclass(frozen=True)
class Difference:
    """What two programmes differ in, and what they are called."""

    before: str
    after: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Proposed:
    """What became of a proposal; without changes there is none, and ``version`` says the same already."""

    version: Version
    proposal: Proposal | None


def read_standing(version: int | None = None, on: dt.date | None = None) -> Standing:
    """A version by its number, by a day it judges, or the one in force on the open business date.

    Raises:
        UnknownEvent: there is no such version.
        NoLedger: before ``loyalty init``.
    """
    ledger.policy()
    with ledger.engine().connect() as connection:
        return Standing(_version(connection, version, on), policy.versions(connection), proposals.waiting(connection))


def read_proposal(approval_id: int) -> Proposal:
    """A proposal by the number of its approval.

    Raises:
        UnknownEvent: there is none.
    """
    ledger.policy()
    with ledger.engine().connect() as connection:
        return proposals.find(connection, approval_id)


def difference(before: str, after: str) -> Difference:
    """What two sources differ in, and what that does to members.

    Raises:
        ProgrammeRefused: a file has errors. UnknownEvent: there is no such version.
    """
    ledger.policy()
    with ledger.engine().connect() as connection:
        open_day = policy.open_business_date(connection)
        (one, old, _), (other, new, first_day) = (_source(connection, source) for source in (before, after))
    return Difference(one, other, compare(old, new, first_day=first_day or open_day))


def explain(
    lang: Lang, *, version: int | None = None, on: dt.date | None = None, approval_id: int | None = None
) -> str:
    """The rules for members, of a version or of a proposal, with an example that the ledger computes.

    Raises:
        UnknownEvent: there is no such version or proposal.
        LedgerError: the programme says something for which there are no words yet.
    """
    ledger.policy()
    with ledger.engine().connect() as connection:
        told: Version | Proposal
        told = _version(connection, version, on) if approval_id is None else proposals.find(connection, approval_id)
        document, since = programme.filled(told.document), told.effective_from
        last_day = policy.valid_through(connection, document["expiry"], earned_on=since)
    try:
        return rules_in_words(document, lang=lang, since=since, example=Example(since, last_day))
    except NoWords as missing:
        raise LedgerError(str(missing)) from missing


def propose(
    effective_from: dt.date, reason: str = "", *, path: Path | str | None = None, content: str | None = None
) -> Proposed:
    """Compare a programme (a file, or the content of one) with the version in force on a day, and propose it from that day.

    What only gives more is in force afterwards; what takes something away waits for ``approve``.

    Raises:
        ProgrammeRefused: the file has errors, or changes what never changes.
        TooEarly, Overtaken, NeedsReason: see ``points_ledger.proposals.propose``.
    """
    if path is not None:
        source, document = str(path), programme.read_programme(path)
    else:
        source, document = "programme", programme.read_programme_text(content or "")
    ledger.policy()
    with translated(), ledger.engine().begin() as connection:
        newest = policy.versions(connection)[-1]
        changes = compare(programme.filled(newest.document), document, first_day=effective_from)
        if not changes:
            return Proposed(newest, None)
        refuse_what_never_changes(source, changes)
        proposal = proposals.propose(
            connection,
            document,
            effective_from=effective_from,
            base_version=newest.version,
            changes=changes,
            reason=reason,
        )
        return Proposed(newest, proposal)


def approve(approval_id: int) -> Proposal:
    """Approve a proposal as the approver's login and put it in force.

    Raises:
        SamePerson: the login that proposed it. AlreadyEnded: it is approved. UnknownEvent: there is none.
        TooEarly, Overtaken: it can no longer be put in force; propose it again.
    """
    with translated(), ledger.engine("approver").begin() as connection:
        return proposals.approve(connection, approval_id)


def as_row(proposed: Proposed) -> dict[str, Any]:
    """A proposal as plain values, for an artifact or JSON."""
    proposal = proposed.proposal
    if proposal is None:
        return {"state": "unchanged", "version": proposed.version.version, "changes": []}
    return {
        "state": proposal.state,
        "version": proposal.version,
        "approval_id": proposal.approval_id,
        "base_version": proposal.base_version,
        "effective_from": proposal.effective_from.isoformat(),
        "proposed_by": proposal.proposed_by,
        "reason": proposal.reason,
        "sha256": proposal.sha256,
        "changes": [change.as_json() for change in proposal.changes],
    }


def what_is_next(row: dict[str, Any]) -> str:
    """One sentence: in force, nothing changed, or who has to do what."""
    if row["state"] == "unchanged":
        return f"Nothing changes: version {row['version']} says the same."
    if row["state"] == "in force":
        return f"Version {row['version']} is in force from {row['effective_from']}."
    if row["state"] == "overtaken":
        return "Another version came in between: propose this again."
    return (
        f"The change from {row['effective_from']} takes something away and waits for a second person, who continues with: "
        f"loyalty policy approve {row['approval_id']}"
    )


def _version(connection: Connection, number: int | None, on: dt.date | None) -> Version:
    day = on or policy.open_business_date(connection)
    asked = policy.version_on(connection, day) if number is None and day else number
    found = [version for version in policy.versions(connection) if version.version == asked]
    if not found:
        raise UnknownEvent(f"There is no version {asked} of the programme: see loyalty policy show.")
    return found[0]


def _source(connection: Connection, source: str) -> tuple[str, dict[str, Any], dt.date | None]:
    if source.isdecimal():
        version = _version(connection, int(source), None)
        return f"version {source}", programme.filled(version.document), version.effective_from
    return source, programme.read_programme(source), None


def refuse_what_never_changes(source: str, changes: tuple[Change, ...]) -> None:
    """Refuse a change of the time zone, the currency or the first day.

    Raises:
        ProgrammeRefused: naming each of them, and why.
    """
    refused = tuple(
        f': {change.key} = "{change.after}": is "{change.before}" for good, because {UNCHANGEABLE[change.key]}: put it back'
        for change in changes
        if change.key in UNCHANGEABLE
    )
    if refused:
        raise ProgrammeRefused(source, refused)
