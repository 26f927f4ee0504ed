"""A notice as a mail: text and HTML, made by the standard library.

``EmailMessage`` parses and folds every header again for every message (1.7 ms); the headers and parts that are the same
for all messages are therefore written by it once, and only what differs is encoded per message, by the standard library
too. ``tests/unit/test_mime.py`` compares the two for messages of every shape.
"""

import binascii
import datetime as dt
import re
from email.charset import BASE64, Charset
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr

from infra.senders.protocol import Composed, Message, UnsafeField, safe_address, safe_line

BOUNDARY = "=_notice_="  # no base64 line and no header value of ours holds an underscore after an equals sign
LINE = 76  # characters that a line of base64 may have
TEXT_HERE, HTML_HERE = "text part", "html part"
IN_BASE64 = Charset("utf-8")
IN_BASE64.header_encoding = (
    BASE64  # else both encodings are tried for every word, which takes longer than the rest of the mail
)
FORBIDDEN = {"to", "cc", "bcc", "from", "sender", "subject", "date", "message-id", "content-type", "mime-version"}


class MailComposer:
    """Writes mails from one sender; the fixed part of each set of extra headers is written once."""

    def __init__(self, from_name: str, from_address: str, moment: dt.datetime) -> None:
        """From whom, and the date that the mails carry; an aware one.

        Raises:
            UnsafeField: the sender cannot stand in a header.
        """
        self.from_address = safe_address("from", from_address)
        self._from = formataddr((safe_line("from", from_name), from_address))
        self._fixed = self._skeleton()
        self._date = format_datetime(moment).encode()

    def compose(self, message: Message) -> Composed:
        """The whole mail, CRLF line ends.

        Raises:
            UnsafeField: a field holds a line break, or an address is none.
        """
        head = [
            b"To: " + safe_address("to", message.to).encode(),
            b"Subject: " + _encoded("Subject", safe_line("subject", message.subject)),
            b"Date: " + self._date,
            b"Message-ID: " + _ascii("message_id", message.message_id),
        ]
        for name, value in message.headers:
            if name.lower() in FORBIDDEN or not name.replace("-", "").isalnum() or not name.isascii():
                raise UnsafeField("header name")
            head.append(name.encode() + b": " + _ascii(name, value))
        before, between, after = self._fixed
        start, text, html = b"\r\n".join([*head, before]), _part("text", message.text), _part("html", message.html)
        return Composed(
            start + _base64(text) + between + _base64(html) + after,
            b"\0".join((start, text, between, html, after)),
        )

    def _skeleton(self) -> tuple[bytes, bytes, bytes]:
        whole = EmailMessage(policy=SMTP)
        whole["From"] = self._from
        whole["Auto-Submitted"] = "auto-generated"
        whole.set_content(TEXT_HERE, cte="base64")
        whole.add_alternative(HTML_HERE, subtype="html", cte="base64")
        whole.set_boundary(BOUNDARY)
        raw = whole.as_bytes()
        text, html = _base64(_part("text", TEXT_HERE)), _base64(_part("html", HTML_HERE))
        before, rest = raw.split(text, 1)
        between, after = rest.split(html, 1)
        return before, between, after


OPENED = re.compile(rb"\0([^\0]*)\0")


def with_base64(compact: bytes) -> bytes:
    """The mail on the wire whose compact form this is; what has no opened part stands for itself."""
    return OPENED.sub(lambda found: _base64(found[1]), compact)


def _ascii(name: str, value: str) -> bytes:
    line = safe_line(name, value)
    # 998 is where RFC 5322 ends a line. These are ours and short; a longer one is a mistake, not something to fold.
    if not line.isascii() or not line or len(name) + 2 + len(line) > 998:
        raise UnsafeField(name)
    return line.encode()


def _encoded(name: str, value: str) -> bytes:
    if value.isascii() and len(value) + len(name) + 2 <= 78 and "=?" not in value:
        return value.encode()
    return Header(value, IN_BASE64, header_name=name).encode(linesep="\r\n").encode()


def _part(name: str, text: str) -> bytes:
    if "\0" in text:
        raise UnsafeField(name)
    return b"\r\n".join([*(text.encode().splitlines() or [b""]), b""])


def _base64(part: bytes) -> bytes:
    # one call and then cut: line by line takes five times as long
    encoded = binascii.b2a_base64(part, newline=False)
    return b"\r\n".join([encoded[at : at + LINE] for at in range(0, len(encoded), LINE)] + [b""])
