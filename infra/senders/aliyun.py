"""Alibaba Cloud SMS: approved templates with parameters, never free text.

The signature is the documented ACS3-HMAC-SHA256; its published example is a test. ``SendSms`` is not idempotent: the answer
that was lost is ``uncertain``, and the receipt can be looked up by ``OutId``, which is the notice.
"""

import datetime as dt
import hashlib
import hmac
import http.client
import json
import ssl
import tomllib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from infra.senders.fanout import OneCallEach
from infra.senders.protocol import (
    Channel,
    Composed,
    Message,
    Outcome,
    Parcel,
    UnsafeField,
    safe_line,
    safe_phone,
    without_addresses,
)

ALGORITHM: Final = "ACS3-HMAC-SHA256"
VERSION: Final = "2017-05-25"
DEAD_NUMBER: Final = {"isv.MOBILE_NUMBER_ILLEGAL"}
REFUSED: Final = {*DEAD_NUMBER, "isv.BLACK_KEY_CONTROL_LIMIT", "isv.PARAM_LENGTH_LIMIT", "isv.INVALID_JSON_PARAM"}
SPEED: Final = ("Throttling", "isv.BUSINESS_LIMIT", "BUSINESS_LIMIT")
UNCERTAIN: Final = {"isp.SYSTEM_ERROR", "isp.UNKNOWN", "isp.GATEWAY_ERROR"}
PARAMETER_LIMIT: Final = 35  # characters of one parameter


class InvalidTemplates(ValueError):
    """The file of approved templates cannot be used."""


@dataclass(frozen=True)
class ApprovedTemplate:
    """One approved text: its code, and which of our facts fill its parameters (parameter → fact)."""

    code: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class AliyunAccess:
    """Where and as whom."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    endpoint_url: str = "https://dysmsapi.aliyuncs.com"


def read_templates(path: Path) -> dict[tuple[str, str], ApprovedTemplate]:
    """Read ``[kind.locale]`` tables of ``code`` and ``parameters = { parameter = "fact" }``.

    Raises:
        InvalidTemplates: it cannot be read, or a table lacks its code.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidTemplates(f"{path}: {error}") from error
    found = {}
    for kind, locales in document.items():
        for locale, table in (locales if isinstance(locales, dict) else {"": None}).items():
            parameters = table.get("parameters", {}) if isinstance(table, dict) else None
            if (
                not isinstance(table, dict)
                or not isinstance(table.get("code"), str)
                or not isinstance(parameters, dict)
            ):
                raise InvalidTemplates(f"{path}: [{kind}.{locale}] needs code and parameters.")
            found[kind, locale] = ApprovedTemplate(table["code"], {str(k): str(v) for k, v in parameters.items()})
    return found


class AliyunSms(OneCallEach):
    """SMS in mainland China."""

    name = "aliyun"
    channel: Channel = "sms"

    def __init__(
        self,
        access: AliyunAccess,
        sign_name: str,
        templates: Mapping[tuple[str, str], ApprovedTemplate],
        *,
        now: Callable[[], dt.datetime],
        connections: int = 4,
        timeout: float = 15,
    ) -> None:
        """``now``: the wall's time, which the signature needs (five minutes of tolerance)."""
        self.access = access
        self.sign_name = sign_name
        self.templates = templates
        self.now = now
        self.connections = connections
        self.timeout = timeout

    def compose(self, message: Message) -> Composed:
        """The template's code and its parameters, as JSON.

        Raises:
            UnsafeField: no number, no approved template for this kind and locale, or a parameter is missing or too long.
        """
        safe_phone("to", message.to)
        template = self.templates.get((message.kind, message.locale))
        if template is None:
            raise UnsafeField(f"approved template of {message.kind}.{message.locale}")
        filled = {}
        for name, fact in template.parameters.items():
            value = safe_line(fact, message.parameters.get(fact, ""))
            if not 0 < len(value) <= PARAMETER_LIMIT:
                raise UnsafeField(fact)
            filled[name] = value
        body = json.dumps({"code": template.code, "parameters": filled}, ensure_ascii=False, sort_keys=True).encode()
        return Composed(body, body)

    def close(self) -> None:
        """Nothing is kept open."""

    def deliver(self, parcel: Parcel) -> Outcome:
        """Ask once; only an answer settles whether it arrived."""
        asked = json.loads(parcel.body)
        query = {
            "PhoneNumbers": parcel.to,
            "SignName": self.sign_name,
            "TemplateCode": asked["code"],
            "TemplateParam": json.dumps(asked["parameters"], ensure_ascii=False),
            "OutId": str(parcel.notice_id),
        }
        where = urlsplit(self.access.endpoint_url)
        headers = signed(self.access, "SendSms", VERSION, query, now=self.now(), nonce=uuid.uuid4().hex)
        host, port = where.hostname or "", where.port
        if where.scheme == "https":
            context = ssl.create_default_context()
            line: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=self.timeout, context=context
            )
        else:
            line = http.client.HTTPConnection(host, port, timeout=self.timeout)
        try:
            try:
                line.connect()  # by itself: what fails here has certainly sent nothing
            except OSError as error:
                return Outcome("retry", self.name, detail=type(error).__name__, is_untried=True)
            try:
                line.request("POST", f"/?{canonical_query(query)}", headers=headers)
                reply = line.getresponse()
                status, content = reply.status, reply.read()
            except (OSError, http.client.HTTPException) as error:
                return Outcome("uncertain", self.name, detail=type(error).__name__)
        finally:
            line.close()
        return _of_reply(status, content)


def _of_reply(status: int, content: bytes) -> Outcome:
    name = AliyunSms.name
    try:
        answer: Any = json.loads(content)
        code = str(answer["Code"])
    except (ValueError, KeyError, TypeError):
        answer, code = {}, ""
    detail = f"{status} {code} {without_addresses(str(answer.get('Message', '')))}".strip()
    if status == 200 and code == "OK":
        return Outcome("accepted", name, str(answer.get("BizId", "")))
    if code.startswith(SPEED) or status == 429:
        return Outcome("retry", name, detail=detail, retry_after=3600.0, slow_down=code.startswith("Throttling"))
    if status >= 500 or code in UNCERTAIN or not code:
        return Outcome("uncertain", name, detail=detail)
    if code in REFUSED:
        return Outcome("refused", name, detail=detail, is_dead_address=code in DEAD_NUMBER)
    return Outcome("retry", name, detail=detail)  # about our account or our templates: a person can mend it


def canonical_query(query: Mapping[str, str]) -> str:
    """Sorted, percent-encoded as RFC 3986 says."""
    return "&".join(f"{quote(name, safe='~')}={quote(query[name], safe='~')}" for name in sorted(query))


def signed(
    access: AliyunAccess, action: str, version: str, query: Mapping[str, str], *, now: dt.datetime, nonce: str
) -> dict[str, str]:
    """The headers of one POST without a body, its signature among them (Alibaba Cloud, "V3 request body & signature")."""
    payload = hashlib.sha256(b"").hexdigest()
    headers = {
        "host": urlsplit(access.endpoint_url).netloc,
        "x-acs-action": action,
        "x-acs-content-sha256": payload,
        "x-acs-date": now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": nonce,
        "x-acs-version": version,
    }
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"POST\n/\n{canonical_query(query)}\n{lines}\n{names}\n{payload}"
    text = f"{ALGORITHM}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.new(access.access_key_secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    authorization = f"{ALGORITHM} Credential={access.access_key_id},SignedHeaders={names},Signature={signature}"
    return {**headers, "Authorization": authorization}
