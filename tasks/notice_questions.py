"""What the command line asks about notices: what waits, what a member was told and what exactly, how one would look."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import text

from infra import unsubscribe
from infra.contact_cipher import open_contact, open_proof
from infra.senders.mime import with_base64
from infra.settings import settings
from notifications import lint
from notifications.kinds import KINDS
from notifications.preview import preview_page
from notifications.rendering import Rendered
from notifications.samples import samples
from points_ledger import contacts as ledger_contacts
from points_ledger import dispatch, members, outbox
from points_ledger import notices as due
from points_ledger.contacts import Cause, Channel, MemberKey
from points_ledger.errors import InvalidRequest, translated
from tasks import contacts, ledger, notices

DAY = dt.timedelta(days=1)


def status() -> dict[str, Any]:
    """Whether notices are held and why, what waits by kind, and what became of the attempts of the last day."""
    ledger.policy()
    chosen = settings()
    with ledger.engine().connect() as connection:
        since = dispatch.database_clock(connection) - DAY
        return {
            "held": outbox.why_held(connection, chosen.installation),
            "email_sender": chosen.email_sender,
            "sms_sender": chosen.sms_sender,
            "waiting": [asdict(row) for row in outbox.waiting(connection)],
            "last_24_hours": dispatch.counted(connection, since=since).facts,
        }


def due_now(now: dt.datetime) -> list[dict[str, Any]]:
    """What a dispatcher would claim at a moment, by kind and channel. Changes nothing."""
    ledger.policy()
    with ledger.engine().connect() as connection:
        return outbox.due(connection, now)


def told(member_no: str) -> list[dict[str, Any]]:
    """Every attempt at every notice to a member; no contact data.

    Raises:
        UnknownMember: nobody has that number.
    """
    ledger.policy()
    with ledger.engine().connect() as connection:
        members.member_id(connection, member_no)
        return [asdict(row) for row in outbox.told(connection, member_no)]


def proofs(notice_id: int) -> list[tuple[int, bytes | None]]:
    """The exact bytes that were sent of a notice, by attempt; None: the member was erased, nobody can read them.

    Raises:
        ContactKeysRefused, CannotOpen: the keys that open them are not here.
    """
    ledger.policy()
    with ledger.engine().connect() as connection:
        found = outbox.proofs(connection, notice_id)
    opened: list[tuple[int, bytes | None]] = []
    for one in found:
        if one.key is None:
            opened.append((one.attempt, None))
            continue
        secret = contacts.master_keys().unwrap(one.member_id, one.key)
        content = open_proof(secret, one.notice_id, one.attempt, one.sealed, one.dictionary)
        opened.append((one.attempt, with_base64(content)))
    return opened


def preview(kind: str, member_no: str | None, locale: str | None) -> str:
    """A notice as a page for the browser, with its text and its text message. Sends nothing.

    With a member: the facts of their newest notice of that kind, else sample facts; their name if the keys are here.

    Raises:
        InvalidRequest: there is no such kind. UnknownMember. CannotRender: the templates are not right.
    """
    if kind not in KINDS:
        raise InvalidRequest(f"There is no notice {kind!r}; there are {', '.join(KINDS)}.")
    document, facts, name, found = notices.document_in_force(), None, "", None
    if member_no is not None:
        facts, name, found = _of_member(kind, member_no)
    language = locale or found or document["notices"]["default_locale"]
    about = f"member {member_no}" if facts else "sample facts"
    rendered = _rendered(
        document, kind, language, facts, name, member_no or "H000123", samples(kind, language)["typical"]
    )
    return preview_page(rendered, kind=kind, locale=language, about=about)


def lint_templates(folder: Path | None) -> list[str]:
    """What is wrong with templates, as ``FILE:LINE: sentence``; measured with the programme's brand when there is one."""
    return lint.problems(folder)


def unreachable() -> list[dict[str, Any]]:
    """Members with points whom no channel reaches, and why."""
    ledger.policy()
    with ledger.engine().connect() as connection:
        return list(due.unreachable(connection, day=ledger.open_date()))


def suppress(member_no: str, channel: Channel, cause: Cause, now: dt.datetime) -> None:
    """Send nothing more to a member's present address, or lift that. By member, so that no address is typed anywhere.

    Raises:
        UnknownMember: nobody has that number. InvalidRequest: the member has no address for the channel.
    """
    ledger.policy()
    with translated(), ledger.engine().begin() as connection:
        member_id = members.member_id(connection, member_no)
        column = "email_mark" if channel == "email" else "phone_mark"
        row = connection.execute(
            text("SELECT email_mark, phone_mark FROM points.contact WHERE member_id = :id"), {"id": member_id}
        ).one_or_none()
        mark = row._mapping[column] if row else None
        if mark is None:
            raise InvalidRequest(f"Member {member_no} has no address for {channel}.")
        ledger_contacts.suppress(connection, bytes(mark), channel, cause, moment=now)


def _rendered(
    document: Mapping[str, Any], kind: str, locale: str, facts: Mapping[str, Any] | None, name: str, member_no: str, sample: Any
) -> Rendered:  # fmt: skip
    url = None
    if KINDS[kind].may_unsubscribe:
        url = f"{unsubscribe.base_url(settings())}/preview"
    with notices.writer(settings(), document) as writer:
        if facts is not None:
            return writer.rendered(kind, locale, facts, name, member_no, "0", url)
        return writer.notices.render(
            kind, locale, sample.facts, name=name or sample.name, member_no=member_no, notice_ref="0", unsubscribe_url=url,
            changes=sample.changes,
        )  # fmt: skip


def _of_member(kind: str, member_no: str) -> tuple[Mapping[str, Any] | None, str, str | None]:
    keys = contacts.keys().master
    with ledger.engine().connect() as connection:
        member_id = members.member_id(connection, member_no)
        row = connection.execute(
            text(
                "SELECT m.locale, c.key_wrapped, c.key_id, c.sealed, (SELECT n.facts FROM points.notice n"
                " WHERE n.member_id = m.member_id AND n.kind = :kind ORDER BY n.notice_id DESC LIMIT 1) AS facts"
                " FROM points.member m LEFT JOIN points.contact c USING (member_id) WHERE m.member_id = :id"
            ),
            {"kind": kind, "id": member_id},
        ).one()
    name = ""
    if keys is not None and row.sealed is not None:
        secret = keys.unwrap(member_id, MemberKey(bytes(row.key_wrapped), row.key_id))
        name = open_contact(secret, member_id, bytes(row.sealed)).name
    return row.facts, name, row.locale
