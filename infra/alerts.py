"""Telling staff that something needs a person: Apprise, to wherever LOYALTY_ALERT_URLS say (mail, chat, pager).

For on-call only; members are written to by ``senders``. What is said holds no personal data: names of jobs, dates, pages.
"""

import logging
from collections.abc import Callable, Sequence

from infra.settings import Settings

logger = logging.getLogger(__name__)

Tell = Callable[[Sequence[str]], bool]


def teller(settings: Settings) -> Tell:
    """What tells staff in this installation; nobody is told when no URLs are set (the log still has it)."""
    urls = settings.alert_urls.get_secret_value() if settings.alert_urls else ""
    return lambda findings: tell(urls, findings)


def tell(urls: str, findings: Sequence[str]) -> bool:
    """Send the findings as one alert. False when nobody was told; that is logged, never raised: the watch goes on."""
    if not urls or not findings:
        return False
    # Imported here: it takes half a second and its plugins 20 MB, which a healthy installation never needs.
    import apprise  # noqa: PLC0415 - see above

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would write the URLs, which hold secrets
    service = apprise.Apprise()
    if not service.add(urls) or not len(service):
        logger.error("LOYALTY_ALERT_URLS holds something Apprise does not know; staff was not told")
    more = f" (+ {len(findings) - 1} more)" if len(findings) > 1 else ""
    title = f"Loyalty back office: {findings[0].partition(':')[0][:80]}{more}"
    told = bool(service.notify(title=title, body="\n\n".join(findings), notify_type=apprise.NotifyType.FAILURE))
    if not told:
        logger.error("Staff could not be told: no service of LOYALTY_ALERT_URLS took the alert")
    return told
