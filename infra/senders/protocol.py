"""What every sender takes and answers; the refusal of anything that could become a header or a command of its own."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Channel = Literal["email", "sms"]
Result = Literal["accepted", "refused", "uncertain", "retry"]

# Deliberately narrower than RFC 5321: no quoted local parts, no address literals, ASCII only. What does not fit is not sent.
ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
PHONE = re.compile(r"\+?[0-9]{5,15}")
# C0 and C1 controls and the Unicode line breaks: some reader takes each of them for the end of a line.
BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class UnsafeField(ValueError):
    """A field of a message cannot be sent as it is: a line break, a control character, or no address at all."""

    def __init__(self, name: str) -> None:
        """Name the field, never its content, which may be personal."""
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        """One sentence without personal data."""
        return f"The field {self.name!r} of a message holds something that cannot be sent."


@dataclass(frozen=True, slots=True)
class Message:
    """One notice, rendered, for one address. ``kind``, ``locale`` and ``parameters`` serve senders of approved templates."""

    notice_id: int
    to: str = field(repr=False)
    kind: str
    locale: str
    subject: str = field(default="", repr=False)
    text: str = field(default="", repr=False)
    html: str = field(default="", repr=False)
    sms: str = field(default="", repr=False)
    message_id: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Composed:
    """A message as it goes on the wire, and the same in a form that compresses well (``mime.with_base64`` undoes it)."""

    wire: bytes = field(repr=False)
    compact: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A composed message on its way."""

    notice_id: int
    to: str = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt.

    ``accepted``: the provider took it. ``refused``: it will never take it; ``is_dead_address`` says that the address is
    why, so that nothing is sent there again. ``retry``: it certainly did not take it now; ``retry_after`` in seconds when
    it said so, ``slow_down`` when it complained about our speed, ``is_untried`` when there was nobody to give it to.
    ``uncertain``: nobody knows. ``detail`` holds no address.
    """

    result: Result
    provider: str
    provider_ref: str = ""
    detail: str = ""
    retry_after: float | None = None
    slow_down: bool = False
    is_dead_address: bool = False
    is_untried: bool = False


Answered = Callable[[int, Outcome], None]


class Sender(Protocol):
    """One provider. Used by one dispatcher at a time; what it keeps open is reused until ``close``."""

    name: str
    channel: Channel

    def compose(self, message: Message) -> Composed:
        """The bytes that would go out.

        Raises:
            UnsafeField: a field could break out of its place; nothing may be sent.
        """

    def send(self, parcels: Iterable[Parcel], answered: Answered) -> None:
        """Send, several at once; tell ``answered`` of each, exactly once, in the thread and the moment of the answer.

        Parcels are taken one by one when there is a free connection. An exception of ``parcels`` is raised when what was
        taken before is answered.
        """

    def close(self) -> None:
        """Close what is open."""


def safe_line(name: str, value: str) -> str:
    """``value``, which fits on one line.

    Raises:
        UnsafeField: it holds a line break or another control character.
    """
    if BREAKS.search(value):
        raise UnsafeField(name)
    return value


def safe_address(name: str, value: str) -> str:
    """``value``, which is one plain address.

    Raises:
        UnsafeField: it is not.
    """
    if not ADDRESS.fullmatch(value) or ".." in value:
        raise UnsafeField(name)
    return value


def safe_phone(name: str, value: str) -> str:
    """``value``, which is one telephone number.

    Raises:
        UnsafeField: it is not.
    """
    if not PHONE.fullmatch(value):
        raise UnsafeField(name)
    return value


# What a provider answers may quote the address: keep the codes, drop whatever looks like a person.
_QUOTED = re.compile(r"<[^>]*>|\S+@\S+|\+?\d{7,}")


def without_addresses(answer: str | bytes, limit: int = 160) -> str:
    """A provider's words on one line, without what could be an address."""
    words = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return " ".join(_QUOTED.sub("…", BREAKS.sub(" ", words)).split())[:limit]
