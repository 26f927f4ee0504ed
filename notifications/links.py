"""Which addresses a notice may link to: the programme's own hosts, by https; nothing that could carry a header or script."""

import re
from urllib.parse import urlsplit

# what an address consists of (RFC 3986) and quotes do not: no spaces, no line breaks, no quotes, no angle brackets
WRITTEN = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&()*+,;=%]+")
MAILBOX = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}(\?subject=[A-Za-z0-9%._-]*)?")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class LinkRefused(ValueError):
    """A notice may not link to this address."""

    def __init__(self, name: str, why: str) -> None:
        """Name the link and the reason, never the address: it may hold a token."""
        super().__init__(name, why)
        self.name = name
        self.why = why

    def __str__(self) -> str:
        """Say which link and why."""
        return f"{self.name}: {self.why}"


def checked_link(name: str, url: str, hosts: frozenset[str]) -> str:
    """The address, if a notice may link to it.

    ``https`` to one of the hosts, ``mailto`` to a plain mailbox of one of them, ``http`` to this machine only (a
    mail sink on a laptop).

    Raises:
        LinkRefused: anything else.
    """
    if not WRITTEN.fullmatch(url):
        raise LinkRefused(name, "it holds a character that no address has")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises when it is none
    except ValueError as error:
        raise LinkRefused(name, "it is not an address") from error
    if parts.scheme == "mailto":
        if not MAILBOX.fullmatch(url.removeprefix("mailto:")):
            raise LinkRefused(name, "it is not one plain mailbox")
        host = parts.path.rpartition("@")[2].lower()
    elif parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        raise LinkRefused(name, "it is neither https nor mailto")
    elif "@" in parts.netloc:
        raise LinkRefused(name, "it holds a login")
    if host not in hosts:
        raise LinkRefused(name, "its host is not one of the programme's")
    return url
