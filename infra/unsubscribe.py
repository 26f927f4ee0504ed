"""Links with which a member stops a class of notices: who and what, signed, and nothing personal in it.

A token is the number of the key, the member and the class, and the first 16 bytes of their HMAC-SHA256. RFC 8058: the
link acts on POST only; ``unsubscribe_page`` serves it.
"""

import base64
import binascii
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from infra.secret_note import kept_secret
from infra.settings import Settings

CLASSES: Final = ("service", "marketing")  # transaction and legal notices cannot be stopped
KEY_NUMBER: Final = 1
_HEAD: Final = struct.Struct(">BQB")
_SIGNATURE: Final = 16


@dataclass(frozen=True)
class Asked:
    """What a valid link asks for."""

    member_id: int
    notice_class: str


def token(key: bytes, member_id: int, notice_class: str) -> str:
    """The token of a member and a class, for a link: 35 characters."""
    content = _HEAD.pack(KEY_NUMBER, member_id, CLASSES.index(notice_class))
    return base64.urlsafe_b64encode(content + _signature(key, content)).rstrip(b"=").decode()


def read_token(keys: Mapping[int, bytes], text: str) -> Asked | None:
    """What a token asks for; None when it is not one of ours."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        number, member_id, place = _HEAD.unpack(raw[:-_SIGNATURE])
        expected = _signature(keys[number], raw[:-_SIGNATURE])
    except (binascii.Error, ValueError, struct.error, KeyError):
        return None
    if not hmac.compare_digest(expected, raw[-_SIGNATURE:]) or place >= len(CLASSES):
        return None
    return Asked(member_id, CLASSES[place])


def headers(url: str) -> tuple[tuple[str, str], ...]:
    """The headers of RFC 8058: one click in the mail program."""
    return ("List-Unsubscribe", f"<{url}>"), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")


def base_url(settings: Settings) -> str:
    """Where members' browsers reach the page."""
    return settings.unsubscribe_url or f"http://{settings.unsubscribe_host}:{settings.unsubscribe_port}/u"


def signing_key(settings: Settings) -> bytes:
    """The key of the setting; else one that is made once and kept in the home folder."""
    if settings.unsubscribe_key is not None:
        return settings.unsubscribe_key.get_secret_value().encode()
    return kept_secret(settings.home / "unsubscribe.secret", size=48).encode()


def _signature(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, b"unsubscribe" + content, "sha256")[:_SIGNATURE]
