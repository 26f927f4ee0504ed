"""Amazon SES (mail) and SNS (SMS) through boto3, one attempt per call.

Neither has an idempotency key, and boto3 by itself posts a send up to three times when a reply is lost: it may try once, and
the outbox decides about the rest. What certainly did not arrive is ``retry``, what may have is ``uncertain``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
)

from infra.senders.fanout import OneCallEach
from infra.senders.mime import MailComposer
from infra.senders.protocol import (
    Channel,
    Composed,
    Message,
    Outcome,
    Parcel,
    safe_line,
    safe_phone,
    without_addresses,
)

NOT_REACHED: Final = (
    ConnectTimeoutError, EndpointConnectionError, NoCredentialsError, PartialCredentialsError, ProxyConnectionError, SSLError,
)  # fmt: skip
# Complaints about the request itself: it will be refused for ever. All other 4xx are about our account (suspended, paused,
# not permitted, expired key), which a person can mend: the notice waits.
REFUSED: Final = {
    "MessageRejected", "BadRequestException", "InvalidParameter", "InvalidParameterException", "InvalidParameterValue",
    "ParameterValueInvalid", "ValidationError", "ValidationException", "OptedOut", "OptedOutException",
}  # fmt: skip
DEAD_NUMBER: Final = {"OptedOut", "OptedOutException"}
SPEED: Final = {
    "TooManyRequestsException", "LimitExceededException", "Throttling", "ThrottlingException", "Throttled",
    "ThrottledException", "RequestLimitExceeded", "SendingRateExceeded",
}  # fmt: skip
PAUSE: Final = 60.0  # seconds; Amazon sends no Retry-After


@dataclass(frozen=True)
class AmazonAccess:
    """Where and as whom. Without keys boto3 finds them itself (instance role, profile)."""

    region: str
    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)

    def client(self, service: str, *, at_once: int, read_timeout: float) -> Any:
        """A client that posts each request once."""
        return boto3.session.Session().client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(
                retries={"total_max_attempts": 1},
                connect_timeout=10,
                read_timeout=read_timeout,
                max_pool_connections=at_once,
            ),
        )


class _Amazon(OneCallEach):
    _client: Any

    def close(self) -> None:
        """Close the pool."""
        self._client.close()


class SesSender(_Amazon):
    """Mail through SES: whole messages, tagged with the notice, so that bounces can be matched."""

    name = "ses"
    channel: Channel = "email"

    def __init__(
        self,
        access: AmazonAccess,
        composer: MailComposer,
        *,
        connections: int = 8,
        configuration_set: str | None = None,
        read_timeout: float = 30,
    ) -> None:
        """Make the client; nothing is asked yet."""
        self.composer = composer
        self.connections = connections
        self._extra = {"ConfigurationSetName": configuration_set} if configuration_set else {}
        self._client = access.client("sesv2", at_once=connections, read_timeout=read_timeout)

    def compose(self, message: Message) -> Composed:
        """See ``Sender.compose``."""
        return self.composer.compose(message)

    def deliver(self, parcel: Parcel) -> Outcome:
        """Ask once; see ``asked_once``."""
        return asked_once(
            self.name,
            lambda: self._client.send_email(
                FromEmailAddress=self.composer.from_address,
                Destination={"ToAddresses": [parcel.to]},
                Content={"Raw": {"Data": parcel.body}},
                EmailTags=[{"Name": "notice", "Value": str(parcel.notice_id)}],
                **self._extra,
            ),
        )


class SnsSender(_Amazon):
    """SMS through SNS."""

    name = "sns"
    channel: Channel = "sms"

    def __init__(
        self, access: AmazonAccess, *, connections: int = 4, sender_id: str | None = None, read_timeout: float = 30
    ) -> None:
        """Make the client; nothing is asked yet."""
        self.connections = connections
        self._attributes = {"AWS.SNS.SMS.SMSType": {"DataType": "String", "StringValue": "Transactional"}}
        if sender_id:
            self._attributes["AWS.SNS.SMS.SenderID"] = {"DataType": "String", "StringValue": sender_id}
        self._client = access.client("sns", at_once=connections, read_timeout=read_timeout)

    def compose(self, message: Message) -> Composed:
        """The text of the SMS."""
        safe_phone("to", message.to)
        body = safe_line("sms", message.sms).encode()
        return Composed(body, body)

    def deliver(self, parcel: Parcel) -> Outcome:
        """Ask once; see ``asked_once``."""
        return asked_once(
            self.name,
            lambda: self._client.publish(
                PhoneNumber=parcel.to, Message=parcel.body.decode(), MessageAttributes=self._attributes
            ),
        )


def asked_once(provider: str, call: Callable[[], Any]) -> Outcome:
    """Make one call and say what became of it."""
    try:
        return Outcome("accepted", provider, str(call()["MessageId"]))
    except ClientError as error:
        return _of_answer(provider, error)
    except NOT_REACHED as error:
        return Outcome("retry", provider, detail=type(error).__name__, is_untried=True)
    except BotoCoreError as error:  # a read that timed out, a connection that closed: it may have arrived
        return Outcome("uncertain", provider, detail=type(error).__name__)


def _of_answer(provider: str, error: ClientError) -> Outcome:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    words = without_addresses(str(error.response.get("Error", {}).get("Message", "")))
    detail = f"{status} {code} {words}".strip()
    if code in SPEED or status == 429:
        return Outcome("retry", provider, detail=detail, retry_after=PAUSE, slow_down=True)
    if status >= 500:
        return Outcome("uncertain", provider, detail=detail)
    if code in REFUSED:
        is_dead = code in DEAD_NUMBER or (code.startswith("InvalidParameter") and "PhoneNumber" in words)
        return Outcome("refused", provider, detail=detail, is_dead_address=is_dead)
    return Outcome("retry", provider, detail=detail)
