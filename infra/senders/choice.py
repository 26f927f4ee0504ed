"""Which sender serves which channel: settings, and nothing else."""

import datetime as dt
from collections.abc import Callable

from infra import embedded
from infra.senders.aliyun import AliyunAccess, AliyunSms, read_templates
from infra.senders.amazon import AmazonAccess, SesSender, SnsSender
from infra.senders.mail_server import MailServer
from infra.senders.mime import MailComposer
from infra.senders.protocol import Channel, Sender
from infra.senders.smtp import SmtpSender
from infra.settings import Settings


class NoSender(LookupError):
    """A channel has no sender, or its sender lacks a setting."""


def sender_of(
    settings: Settings, channel: Channel, *, moment: dt.datetime, now: Callable[[], dt.datetime], from_name: str
) -> Sender:
    """The sender of a channel. ``moment``: the date mails carry; ``now``: the wall's time, for signatures.

    ``from_name`` is used when LOYALTY_SENDER_NAME is not set.

    Raises:
        NoSender: none is chosen, or a setting of the chosen one is missing.
        infra.senders.mail_server.InvalidMailServer, infra.senders.aliyun.InvalidTemplates, UnsafeField: a setting is wrong.
    """
    if channel == "email":
        composer = MailComposer(settings.sender_name or from_name, settings.sender_address, moment)
        if settings.email_sender == "ses":
            return SesSender(
                amazon_access(settings),
                composer,
                connections=settings.smtp_connections,
                configuration_set=settings.ses_configuration_set,
            )
        server = MailServer.of(embedded.smtp_url(settings))
        return SmtpSender(server, composer, connections=settings.smtp_connections)
    if settings.sms_sender == "sns":
        return SnsSender(amazon_access(settings), sender_id=settings.sns_sender_id)
    if settings.sms_sender == "aliyun":
        return _aliyun(settings, now)
    raise NoSender("No SMS can be sent: set LOYALTY_SMS_SENDER, or take sms out of the programme's channels.")


def per_second(settings: Settings, channel: Channel) -> float:
    """How many messages all workers together may send through a channel's provider; 0 = no limit."""
    return settings.email_per_second if channel == "email" else settings.sms_per_second


def goes_to_the_sink(settings: Settings) -> bool:
    """Whether every message stays on this machine."""
    return settings.email_sender == "smtp" and settings.smtp_url is None and settings.sms_sender == "none"


def amazon_access(settings: Settings) -> AmazonAccess:
    """Where Amazon is, and as whom."""
    secret = settings.aws_secret_access_key
    return AmazonAccess(
        settings.aws_region,
        settings.aws_endpoint_url,
        settings.aws_access_key_id,
        secret.get_secret_value() if secret else None,
    )


def _aliyun(settings: Settings, now: Callable[[], dt.datetime]) -> AliyunSms:
    needed = {
        "LOYALTY_ALIYUN_ACCESS_KEY_ID": settings.aliyun_access_key_id,
        "LOYALTY_ALIYUN_ACCESS_KEY_SECRET": settings.aliyun_access_key_secret,
        "LOYALTY_ALIYUN_SIGN_NAME": settings.aliyun_sign_name,
        "LOYALTY_ALIYUN_TEMPLATES": settings.aliyun_templates,
    }
    missing = [name for name, value in needed.items() if value is None]
    key, secret = settings.aliyun_access_key_id, settings.aliyun_access_key_secret
    if key is None or secret is None or settings.aliyun_sign_name is None or settings.aliyun_templates is None:
        raise NoSender(f"LOYALTY_SMS_SENDER is aliyun: set {', '.join(missing)} as well.")
    access = AliyunAccess(key, secret.get_secret_value(), settings.aliyun_endpoint_url)
    return AliyunSms(access, settings.aliyun_sign_name, read_templates(settings.aliyun_templates), now=now)
