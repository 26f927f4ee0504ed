"""SMTP by ``smtplib``: kept connections, several at once, and an honest answer for every message.

Between the final dot and its reply a message is in both hands (RFC 1047): a connection lost there makes it ``uncertain``,
lost anywhere before it is ``retry``. A refusal counts against the address only when the provider says so of the recipient.
"""

import contextlib
import re
import smtplib
import ssl
import threading
from collections.abc import Iterable
from typing import NoReturn

from infra.senders.fanout import fan_out
from infra.senders.mail_server import MailServer
from infra.senders.mime import MailComposer
from infra.senders.protocol import (
    Answered,
    Channel,
    Composed,
    Message,
    Outcome,
    Parcel,
    Result,
    safe_address,
    without_addresses,
)

LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)
ENHANCED = re.compile(rb"^\s*([245]\.\d{1,3}\.\d{1,3})")
DEAD_CODES = (550, 551, 553)
CONNECT_SECONDS = 10
RATE_WORDS = re.compile(rb"rate|too many|throttl|too fast|limit exceeded", re.IGNORECASE)


class SmtpSender:
    """Mail through one server."""

    channel: Channel = "email"

    def __init__(
        self,
        server: MailServer,
        composer: MailComposer,
        *,
        connections: int = 4,
        timeout: float = 60,
        tls: ssl.SSLContext | None = None,
        name: str = "smtp",
    ) -> None:
        """Connect to nothing yet. ``tls``: the certificates to trust; default: the system's."""
        self.name = name
        self.server = server
        self.composer = composer
        self.connections = connections
        self.timeout = timeout
        self._tls = tls
        self._idle: list[smtplib.SMTP] = []
        self.unreachable = 0  # connections in a row that could not be had
        self._guard = threading.Lock()

    def compose(self, message: Message) -> Composed:
        """See ``Sender.compose``."""
        return self.composer.compose(message)

    def send(self, parcels: Iterable[Parcel], answered: Answered) -> None:
        """See ``Sender.send``."""
        lines: list[_Line] = []
        self.unreachable = 0

        def line() -> "_Line":
            lines.append(_Line(self))
            return lines[-1]

        try:
            fan_out(parcels, answered, at_once=self.connections, deliverer=lambda: line().deliver)
        finally:
            with self._guard:
                self._idle += [one.client for one in lines if one.client is not None]

    def close(self) -> None:
        """Say goodbye on every kept connection."""
        with self._guard:
            idle, self._idle = self._idle, []
        for client in idle:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                client.quit()

    def take_idle(self) -> smtplib.SMTP | None:
        """A kept connection, if there is one."""
        with self._guard:
            return self._idle.pop() if self._idle else None

    def connect(self) -> smtplib.SMTP:
        """A new connection, greeted, secured and logged in.

        Raises:
            OSError, smtplib.SMTPException: it cannot be had.
        """
        if self.unreachable >= 2 * self.connections:
            # Five hundred messages must not wait for five hundred timeouts; the next batch looks again.
            raise smtplib.SMTPServerDisconnected("the server cannot be reached")
        try:
            client = self._connect()
        except (OSError, smtplib.SMTPException):
            self.unreachable += 1
            raise
        self.unreachable = 0
        return client

    def _connect(self) -> smtplib.SMTP:
        server, context = self.server, self._tls or ssl.create_default_context()
        # The sender's own domain: the machine's name would tell strangers about this network.
        greeting = self.composer.from_address.rpartition("@")[2]
        client: smtplib.SMTP
        if server.security == "tls":
            client = smtplib.SMTP_SSL(
                server.host, server.port, local_hostname=greeting, timeout=CONNECT_SECONDS, context=context
            )
        else:
            client = smtplib.SMTP(server.host, server.port, local_hostname=greeting, timeout=CONNECT_SECONDS)
        try:
            if client.sock is not None:
                client.sock.settimeout(self.timeout)
            client.ehlo_or_helo_if_needed()
            if server.security == "starttls":
                client.starttls(context=context)  # raises when the server does not offer it
                client.ehlo()
            if server.user:
                client.login(server.user, server.password)
        except BaseException:
            client.close()
            raise
        return client


class _Line:
    """One thread's connection: opened when first needed, opened again when lost."""

    def __init__(self, sender: SmtpSender) -> None:
        self.sender = sender
        self.client = sender.take_idle()

    def deliver(self, parcel: Parcel) -> Outcome:
        """Send one message."""
        safe_address("to", parcel.to)
        was_kept = self.client is not None
        try:
            return self._attempt(parcel)
        except _NothingSent as lost:
            self._drop()
            if not was_kept:
                return self._answer("retry", lost.code, lost.words, is_untried=lost.is_untried)
        # A kept connection that the server has closed meanwhile: nothing of the message went out, so a new one may try.
        try:
            return self._attempt(parcel)
        except _NothingSent as lost:
            self._drop()
            return self._answer("retry", lost.code, lost.words, is_untried=lost.is_untried)

    def _attempt(self, parcel: Parcel) -> Outcome:
        try:
            client = self.client = self.client or self._connected()
            # not mail() and rcpt(), which parse the addresses again: these are checked, and plainer than what they allow
            code, words = client.docmd("MAIL", f"FROM:<{self.sender.composer.from_address}>")
            if code != 250:
                # They refuse us, not the member: a person can mend that, and the notice should still go out.
                return self._not_now(code, words)
            code, words = client.docmd("RCPT", f"TO:<{parcel.to}>")
            if code not in (250, 251):
                return self._not_now(code, words) if code < 500 else self._refused(code, words, of_recipient=True)
            code, words = client.docmd("DATA")
            if code != 354:
                return self._not_now(code, words) if code < 500 else self._refused(code, words, of_recipient=False)
            client.send(_stuffed(parcel.body) + b".\r\n")  # ends with a line end: the composer's last one
        except smtplib.SMTPResponseException as error:
            _nothing_sent(error, error.smtp_code, error.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            _nothing_sent(error, 0, type(error).__name__)
        try:
            code, words = client.getreply()
        except (OSError, smtplib.SMTPException):
            self._drop()
            return Outcome("uncertain", self.sender.name, detail="the connection was lost after the final dot")
        if code < 300:
            return self._answer("accepted", code, words, ref=_queued_as(words))
        return self._not_now(code, words) if code < 500 else self._refused(code, words, of_recipient=False)

    def _connected(self) -> smtplib.SMTP:
        try:
            return self.sender.connect()
        except smtplib.SMTPResponseException as error:
            raise _NothingSent(error.smtp_code, error.smtp_error, is_untried=True) from error
        except (OSError, smtplib.SMTPException) as error:
            raise _NothingSent(0, type(error).__name__, is_untried=True) from error

    def _not_now(self, code: int, words: bytes) -> Outcome:
        if code == 421:
            self._drop()
        else:
            self._reset()
        return self._answer("retry", code, words)

    def _refused(self, code: int, words: bytes, *, of_recipient: bool) -> Outcome:
        self._reset()
        return self._answer("refused", code, words, is_dead=of_recipient and _says_dead(code, words))

    def _answer(
        self,
        result: Result,
        code: int,
        words: bytes | str,
        *,
        ref: str = "",
        is_dead: bool = False,
        is_untried: bool = False,
    ) -> Outcome:
        raw = words if isinstance(words, bytes) else words.encode()
        slow_down = result == "retry" and (code == 421 or bool(RATE_WORDS.search(raw)))
        detail = "" if result == "accepted" else f"{code or ''} {without_addresses(raw)}".strip()
        return Outcome(
            result, self.sender.name, ref, detail, 60.0 if slow_down else None, slow_down, is_dead, is_untried
        )

    def _reset(self) -> None:
        try:
            if self.client is not None and self.client.rset()[0] != 250:
                self._drop()
        except (OSError, smtplib.SMTPException):
            self._drop()

    def _drop(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None


class _NothingSent(Exception):
    def __init__(self, code: int, words: bytes | str, *, is_untried: bool = False) -> None:
        super().__init__(code, words)
        self.code, self.words, self.is_untried = code, words, is_untried


def _nothing_sent(error: Exception, code: int, words: bytes | str) -> NoReturn:
    raise _NothingSent(code, words) from error


def _stuffed(mail: bytes) -> bytes:
    # base64 has no dots: hardly any mail of ours has a line to change, and looking for one is quick
    return LEADING_DOT.sub(b"..", mail) if b"\n." in mail or mail.startswith(b".") else mail


def _says_dead(code: int, words: bytes) -> bool:
    # 5.1.x is about the address, 5.2.1 a mailbox that is closed, 5.7.x is about us (policy, reputation); without an enhanced
    # code the three classic ones count.
    found = ENHANCED.match(words)
    if found is None:
        return code in DEAD_CODES
    return found[1].startswith(b"5.1.") or found[1] == b"5.2.1"


def _queued_as(words: bytes) -> str:
    found = re.search(rb"(?:queued as|id=|kept as)\s*([\w.@-]{1,80})", words)
    return found[1].decode() if found else ""
