"""Notices, from the settings to the ledger: sending what is due, and what the command line asks about them."""

import datetime as dt
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import text

from infra import programme, unsubscribe
from infra.contact_cipher import ContactKeysRefused
from infra.senders import choice
from infra.senders.aliyun import InvalidTemplates
from infra.senders.choice import NoSender
from infra.senders.mail_server import InvalidMailServer
from infra.senders.protocol import Channel, Sender, UnsafeField
from infra.settings import InvalidSettings, Settings, settings
from points_ledger import dispatch, outbox, policy
from points_ledger.dispatch import Counts
from points_ledger.errors import LedgerError, translated
from tasks import contacts, ledger
from tasks.dispatch import Dispatcher, ProviderUnreachable
from tasks.notice_writing import Dictionaries, Writer, sentences_of_change

CHANNELS: Final[tuple[Channel, ...]] = ("email", "sms")
# What keeps notices from going out and a person can put right. The night goes on without them.
CANNOT_SEND: Final = (
    LedgerError, NoSender, ProviderUnreachable, InvalidMailServer, InvalidTemplates, UnsafeField, ContactKeysRefused,
)  # fmt: skip
# by LOYALTY_NOTICE_CLOCK=business_date: the morning after the day, in the programme's zone
SENT_AT: Final = dt.time(9, 30)


@dataclass(frozen=True)
class Sent:
    """What a round came to: notices claimed, attempts by result, and why a channel stands still."""

    claimed: int
    counts: Counts
    problems: tuple[str, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """For machines and artifacts."""
        return {"claimed": self.claimed, **self.counts.facts, "problems": list(self.problems)}


def send(now: dt.datetime, most_batches: int | None = None) -> Sent:
    """Send what is due by every channel, in this process; safe to repeat, to kill, and to run many times at once."""
    ledger.policy()
    engine = ledger.engine()
    with engine.connect() as connection:
        since = dispatch.database_clock(connection)
    claimed, problems = 0, []
    for channel in CHANNELS:
        if not has_due(channel, now):
            continue
        try:
            with translated(), dispatcher(channel, now) as one:
                claimed += one.run(most_batches)
        except CANNOT_SEND as error:
            problems.append(f"{channel}: {error}")
    with engine.connect() as connection:
        return Sent(claimed, dispatch.counted(connection, since=since), tuple(problems))


def has_due(channel: Channel, moment: dt.datetime) -> bool:
    """Whether a notice waits for a channel at a moment, or a dead dispatcher left something to settle."""
    with ledger.engine().connect() as connection:
        found = connection.execute(
            text("SELECT EXISTS (SELECT FROM points.notice_queue WHERE channel = :channel AND not_before <= :moment)"),
            {"channel": channel, "moment": moment},
        ).scalar_one()
    return bool(found) or any(journals(settings(), channel).glob("*.jsonl"))


def night_moment(business_date: dt.date, now: dt.datetime) -> dt.datetime:
    """The moment at which the notices of a night go out: now, or in a replay of history the morning after the date.

    Raises:
        InvalidSettings: a replay whose mail would leave this machine.
    """
    chosen = settings()
    if chosen.notice_clock == "wall":
        return now
    if not choice.goes_to_the_sink(chosen):
        raise InvalidSettings(
            "LOYALTY_NOTICE_CLOCK=business_date replays history and writes to members of the past: only with the local mail "
            "sink, so without LOYALTY_SMTP_URL and other senders."
        )
    zone = ZoneInfo(ledger.policy(business_date).time_zone)
    return dt.datetime.combine(business_date + dt.timedelta(days=1), SENT_AT, zone).astimezone(dt.UTC)


@contextmanager
def dispatcher(channel: Channel, moment: dt.datetime) -> Iterator[Dispatcher]:
    """A dispatcher of one channel, as the settings and the programme in force say.

    Raises:
        One of ``CANNOT_SEND``.
    """
    chosen, engine = settings(), ledger.engine()
    document = document_in_force()
    with writer(chosen, document) as written, _sender(chosen, document, channel, moment) as sender:
        url = unsubscribe.base_url(chosen) + "/sample"
        yield Dispatcher(
            engine, sender, contacts.master_keys(), written, Dictionaries(engine, written, sender, url),
            journals(chosen, channel), f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}", moment,
            chosen.installation, choice.per_second(chosen, channel),
        )  # fmt: skip


@contextmanager
def writer(chosen: Settings, document: Mapping[str, Any]) -> Iterator[Writer]:
    """What writes notices of this programme."""
    yield Writer(
        document,
        key=unsubscribe.signing_key(chosen),
        unsubscribe_url=unsubscribe.base_url(chosen),
        sender_address=chosen.sender_address,
        changes=sentences_of_change(ledger.engine(), programme.filled),
    )


def document_in_force() -> dict[str, Any]:
    """The programme in force on the open business date.

    Raises:
        LedgerError: it has no ``[notices]``.
    """
    version = ledger.policy().version
    with ledger.engine().connect() as connection:
        [document] = [v.document for v in policy.versions(connection) if v.version == version]
    if not document.get("notices"):
        raise LedgerError(
            "The programme in force has no [notices]: nobody is written to. See docs/reference/programme.md."
        )
    return programme.filled(document)


def journals(chosen: Settings, channel: Channel) -> Path:
    """Where dispatchers of a channel keep their journals."""
    return chosen.home / "notices" / channel


@contextmanager
def _sender(chosen: Settings, document: Mapping[str, Any], channel: Channel, moment: dt.datetime) -> Iterator[Sender]:
    clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)  # noqa: E731 - Alibaba signs with the wall's time
    sender = choice.sender_of(chosen, channel, moment=moment, now=clock, from_name=document["programme"]["name"])
    try:
        yield sender
    finally:
        sender.close()


def release(reason: str, now: dt.datetime, *, is_dropping: bool) -> int:
    """Let this database send; return how many notices were dropped.

    Raises:
        LedgerError: the reason says nothing.
    """
    ledger.policy()
    with translated(), ledger.engine().begin() as connection:
        return outbox.release(
            connection, reason=reason, moment=now, installation=settings().installation, is_dropping=is_dropping
        )
