"""Where a mail server is, and how it is spoken to: what LOYALTY_SMTP_URL says."""

from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import unquote, urlsplit


class InvalidMailServer(ValueError):
    """LOYALTY_SMTP_URL cannot be used."""


@dataclass(frozen=True)
class MailServer:
    """Where to connect. ``starttls``: demanded; only a server on this machine is spoken to in the clear."""

    host: str
    port: int
    security: Literal["tls", "starttls", "none"]
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str) -> Self:
        """``smtp://user:password@host:587`` (STARTTLS), ``smtps://…`` (TLS), ``smtp://127.0.0.1:2525`` (in the clear).

        Raises:
            InvalidMailServer: another scheme, or no host.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            raise InvalidMailServer("LOYALTY_SMTP_URL: its port is no port.") from None
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.query or parts.path not in ("", "/"):
            raise InvalidMailServer("LOYALTY_SMTP_URL: write smtp://user:password@host:587 or smtps://…")
        is_local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        security: Literal["tls", "starttls", "none"] = "tls" if parts.scheme == "smtps" else "starttls"
        if security == "starttls" and is_local and not parts.username:
            security = "none"
        standard = 465 if security == "tls" else 587
        return cls(
            parts.hostname, port or standard, security, unquote(parts.username or ""), unquote(parts.password or "")
        )
