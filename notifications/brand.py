"""Who a notice comes from: what is the same in every notice of a programme."""

from collections.abc import Collection
from dataclasses import dataclass, field

from notifications.facts import CONTROL, WrongFacts
from notifications.links import checked_link


@dataclass(frozen=True)
class Brand:
    """The sender as members know it.

    ``hosts``: what notices may link to; the host of ``site_url`` must be one. ``sms_signature`` without its brackets.

    Raises:
        WrongFacts: a line break or another control character.
        LinkRefused: ``site_url`` is no https address on one of the hosts.
    """

    name: str
    site_url: str
    postal_address: str
    sms_signature: str
    currency: str
    hosts: Collection[str]
    allowed: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what would break a header or lead members elsewhere."""
        for name in ("name", "site_url", "postal_address", "sms_signature", "currency"):
            if CONTROL.search(getattr(self, name)):
                raise WrongFacts(f"brand.{name}", "text on one line")
        object.__setattr__(self, "allowed", frozenset(host.lower() for host in self.hosts))
        checked_link("site_url", self.site_url, self.allowed)
        object.__setattr__(self, "site_url", self.site_url.rstrip("/"))
        object.__setattr__(self, "sms_signature", self.sms_signature.strip("【】[] "))
