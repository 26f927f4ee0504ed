"""Senders against real servers that misbehave: what is answered for each message, and how often it was really posted."""

# ruff: noqa: ARG001, ARG002, N802, S106 - servers are called by these names with all of these; the secrets are none

import asyncio
import contextlib
import datetime as dt
import json
import smtplib
import socket
import ssl
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.senders.aliyun import AliyunAccess, AliyunSms, ApprovedTemplate, InvalidTemplates, read_templates, signed
from infra.senders.amazon import AmazonAccess, SesSender, SnsSender
from infra.senders.choice import NoSender, sender_of
from infra.senders.mail_server import InvalidMailServer, MailServer
from infra.senders.mime import MailComposer
from infra.senders.protocol import Message, Parcel, UnsafeField, without_addresses
from infra.senders.smtp import SmtpSender
from infra.settings import Settings

MOMENT = dt.datetime(2026, 3, 29, 8, 30, tzinfo=dt.UTC)
COMPOSER = MailComposer("Club", "notices@club.example", MOMENT)


def mail(number, to=None):
    message = Message(
        number, to or f"m{number}@example.com", "points_expired", "en", subject=f"No {number}", text=".\n..x\n", html="<p>",
        message_id=f"<notice-{number}@club.example>",
    )  # fmt: skip
    return Parcel(number, message.to, COMPOSER.compose(message).wire)


class Moody:
    """An SMTP server that does to each recipient what its name says."""

    def __init__(self):
        self.accepted, self.connections = [], 0

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        self.connections += 1
        return responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        if address.startswith("unwelcome"):
            return "550 5.7.1 <notices@club.example> you are not welcome"
        envelope.mail_from = address
        return "250 ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        answers = {
            "gone": f"550 5.1.1 <{address}> no such user",
            "bare": "550 unknown",
            "policy": "550 5.7.1 listed at +4915112345678",
            "later": "451 4.7.1 try later",
            "busy": "421 4.7.0 too many connections",
            "fast": "450 4.2.1 rate limit exceeded",
        }
        name = address.partition("@")[0]
        if name == "cut":
            server.transport.abort()
        if name not in answers:
            envelope.rcpt_tos.append(address)
        return answers.get(name, "250 ok")

    async def handle_DATA(self, server, session, envelope):
        [to] = envelope.rcpt_tos
        if to.startswith("spam"):
            return "554 5.7.1 looks like spam"
        if to.startswith("full"):
            return "452 4.3.1 no space"
        self.accepted.append((to, envelope.content))
        if to.startswith("lost"):
            server.transport.abort()
        if to.startswith("slow"):
            await asyncio.sleep(2)
        return "250 2.0.0 queued as Q1"


@pytest.fixture
def moody():
    handler = Moody()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    handler.url = f"smtp://127.0.0.1:{controller.port}"
    yield handler
    controller.stop()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def smtp(url, connections=2, timeout=5.0, **more):
    return SmtpSender(MailServer.of(url), COMPOSER, connections=connections, timeout=timeout, **more)


def outcomes(sender, parcels):
    answers = []
    with contextlib.closing(sender):
        sender.send(parcels, lambda *answer: answers.append(answer))
    assert len(answers) == len({number for number, _ in answers})
    return dict(answers)


def test_mails_arrive_byte_for_byte_over_as_many_connections_as_are_kept(moody):
    sender = smtp(moody.url, connections=3)
    sent = [mail(n) for n in range(40)]

    first, second = {}, {}
    sender.send(sent[:20], first.__setitem__)
    sender.send(sent[20:], second.__setitem__)
    sender.close()

    assert {o.result for o in (first | second).values()} == {"accepted"}
    assert first[0].provider_ref == "Q1"
    assert sorted(moody.accepted) == sorted((p.to, p.body) for p in sent)
    assert moody.connections <= 3


@pytest.mark.parametrize(
    ("to", "result", "is_dead", "slow_down"),
    [
        ("gone", "refused", True, False), ("bare", "refused", True, False), ("policy", "refused", False, False),
        ("later", "retry", False, False), ("busy", "retry", False, True), ("fast", "retry", False, True),
        ("spam", "refused", False, False), ("full", "retry", False, False), ("lost", "uncertain", False, False),
        ("cut", "retry", False, False), ("slow", "uncertain", False, False),
    ],
)  # fmt: skip
def test_each_answer_means_what_it_says_and_the_next_message_is_not_hurt(moody, to, result, is_dead, slow_down):
    found = outcomes(
        smtp(moody.url, connections=1, timeout=1), [mail(1), mail(2, f"{to}@example.com"), mail(3), mail(4)]
    )

    assert (found[2].result, found[2].is_dead_address, found[2].slow_down) == (result, is_dead, slow_down)
    assert [found[n].result for n in (1, 3, 4)] == ["accepted"] * 3
    assert "@" not in found[2].detail
    assert "4915112345678" not in found[2].detail


def test_a_server_that_does_not_want_us_keeps_the_notice_and_blames_no_address(moody):
    sender = SmtpSender(MailServer.of(moody.url), MailComposer("", "unwelcome@club.example", MOMENT), connections=1)

    found = outcomes(sender, [mail(1)])

    assert (found[1].result, found[1].is_dead_address) == ("retry", False)


def test_a_kept_connection_that_the_server_closed_costs_nothing(moody):
    sender = smtp(moody.url, connections=1)
    first = {}
    sender.send([mail(1)], first.__setitem__)
    assert first[1].result == "accepted"
    sender._idle[0].sock.shutdown(socket.SHUT_RDWR)

    found = outcomes(sender, [mail(2)])

    assert found[2].result == "accepted"
    assert len(moody.accepted) == 2


def test_a_server_that_is_down_is_not_asked_once_per_message():
    began = time.monotonic()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1)  # accepts, and never says a word
    tried = []
    threading.Thread(target=lambda: [tried.append(listener.accept()) for _ in range(50)], daemon=True).start()
    sender = smtp(f"smtp://127.0.0.1:{listener.getsockname()[1]}")
    sender._connect = lambda: smtplib.SMTP("127.0.0.1", listener.getsockname()[1], timeout=0.2)

    found = outcomes(sender, [mail(n) for n in range(200)])

    assert {(o.result, o.is_untried) for o in found.values()} == {("retry", True)}
    assert len(tried) <= 2 * sender.connections + 1
    assert time.monotonic() - began < 5


def test_what_breaks_while_parcels_are_made_is_told_after_the_answers(moody):
    def parcels():
        yield mail(1)
        raise UnsafeField("subject")

    answers = {}
    with pytest.raises(UnsafeField):
        smtp(moody.url).send(parcels(), answers.__setitem__)

    assert len(moody.accepted) == len(answers) == 1


def own_certificate(folder):
    """A certificate of localhost that nobody signed, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    signed_by_itself = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(signed_by_itself.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder / "cert.pem", folder / "key.pem"


def test_a_password_goes_out_only_after_tls(tmp_path):
    certificate, key = own_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    seen = []

    def authenticate(server, session, envelope, mechanism, data):
        seen.append((session.ssl is not None, data.login, data.password))
        return AuthResult(success=data.password == b"p@ss")

    handler = Moody()
    options = {"tls_context": context, "authenticator": authenticate, "auth_required": True, "require_starttls": True}

    class Controlled(Controller):
        def factory(self):
            return SMTP(self.handler, **options)

    controller = Controlled(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    trust = ssl.create_default_context(cafile=str(certificate))
    try:
        url = f"smtp://club:{{}}@localhost:{controller.port}"
        good = outcomes(smtp(url.format("p%40ss"), connections=1, tls=trust), [mail(1)])
        bad = outcomes(smtp(url.format("wrong"), connections=1, tls=trust), [mail(2)])
        stranger = outcomes(smtp(url.format("p%40ss"), connections=1), [mail(3)])
    finally:
        controller.stop()

    assert (good[1].result, bad[2].result, stranger[3].result) == ("accepted", "retry", "retry")
    assert set(seen) == {(True, b"club", b"p@ss"), (True, b"club", b"wrong")}
    assert len(handler.accepted) == 1


def test_a_server_elsewhere_must_offer_tls(moody):
    server = MailServer("127.0.0.1", MailServer.of(moody.url).port, "starttls")

    found = outcomes(SmtpSender(server, COMPOSER, connections=1), [mail(1)])

    assert found[1].result == "retry"
    assert moody.accepted == []


def test_an_address_of_a_mail_server_says_how_it_is_spoken_to():
    assert MailServer.of("smtp://127.0.0.1:2525").security == "none"
    assert MailServer.of("smtp://mail.example.com").security == "starttls"
    assert MailServer.of("smtp://u:p@127.0.0.1:2525").security == "starttls"
    assert MailServer.of("smtps://u:p%2F@mail.example.com") == MailServer("mail.example.com", 465, "tls", "u", "p/")
    for wrong in ("mail.example.com", "http://mail.example.com", "smtp://", "smtp://h/x", "smtp://h:99999"):
        with pytest.raises(InvalidMailServer):
            MailServer.of(wrong)


class Api(ThreadingHTTPServer):
    """An HTTP server that answers, stalls or drops as told, and remembers what was posted."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), ApiHandler)
        self.posts, self.mode = [], (200, {}, b"{}")
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class ApiHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.posts.append((self.path, dict(self.headers), body))
        if self.server.mode == "stall":
            time.sleep(1.5)
        elif self.server.mode == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            status, headers, content = self.server.mode
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def api():
    server = Api()
    yield server
    server.shutdown()
    server.server_close()


def amazon(url):
    return AmazonAccess("eu-west-1", url, "AKID", "secret")


def ses(url):
    return SesSender(amazon(url), COMPOSER, connections=1, configuration_set="club", read_timeout=0.5)


def sns(url):
    return SnsSender(amazon(url), connections=1, sender_id="CLUB", read_timeout=0.5)


SMS = Parcel(5, "+447700900123", b"1,200 points lapse on 1 May")


def refusal(kind, code, status=400):
    if kind == "ses":
        return status, {"x-amzn-errortype": code}, b'{"message":"about m1@example.com"}'
    text = f"<ErrorResponse><Error><Code>{code}</Code><Message>PhoneNumber +447700900123 is bad</Message></Error></ErrorResponse>"
    return status, {"Content-Type": "text/xml"}, text.encode()


@pytest.mark.parametrize("kind", ["ses", "sns"])
@pytest.mark.parametrize(
    ("code", "status", "result"),
    [
        ("TooManyRequestsException", 429, "retry"), ("Throttling", 400, "retry"), ("InternalFailure", 500, "uncertain"),
        ("ServiceUnavailable", 503, "uncertain"), ("AccessDeniedException", 403, "retry"), ("AccountSuspendedException", 400, "retry"),
        ("InvalidParameter", 400, "refused"), ("MessageRejected", 400, "refused"),
    ],
)  # fmt: skip
def test_amazon_is_asked_once_and_its_refusal_understood(api, kind, code, status, result):
    api.mode = refusal(kind, code, status)

    found = outcomes({"ses": ses, "sns": sns}[kind](api.url), [mail(1) if kind == "ses" else SMS])

    [outcome] = found.values()
    assert outcome.result == result
    assert len(api.posts) == 1
    assert "@" not in outcome.detail
    assert "447700900123" not in outcome.detail
    assert outcome.slow_down == (code in ("TooManyRequestsException", "Throttling"))
    assert outcome.is_dead_address == (kind == "sns" and code == "InvalidParameter")


@pytest.mark.parametrize("kind", ["ses", "sns"])
@pytest.mark.parametrize("mode", ["stall", "drop"])
def test_a_lost_reply_of_amazon_is_uncertain_and_posted_once(api, kind, mode):
    api.mode = mode

    found = outcomes({"ses": ses, "sns": sns}[kind](api.url), [mail(1) if kind == "ses" else SMS])

    assert [o.result for o in found.values()] == ["uncertain"]
    assert len(api.posts) == 1


@pytest.mark.parametrize("make", [ses, sns])
def test_amazon_that_cannot_be_reached_has_certainly_not_taken_it(make):
    found = outcomes(make(f"http://127.0.0.1:{free_port()}"), [mail(1) if make is ses else SMS])

    assert [o.result for o in found.values()] == ["retry"]


def test_ses_takes_the_whole_mail_with_the_notice_as_its_tag(api):
    api.mode = (200, {"Content-Type": "application/json"}, b'{"MessageId": "0102-x"}')

    found = outcomes(ses(api.url), [mail(8)])

    [(path, headers, body)] = api.posts
    asked = json.loads(body)
    assert path == "/v2/email/outbound-emails"
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert asked["EmailTags"] == [{"Name": "notice", "Value": "8"}]
    assert asked["Destination"] == {"ToAddresses": ["m8@example.com"]}
    assert asked["ConfigurationSetName"] == "club"
    assert (found[8].result, found[8].provider_ref) == ("accepted", "0102-x")


def test_sns_sends_one_text_to_one_number(api):
    api.mode = (
        200,
        {},
        b"<PublishResponse><PublishResult><MessageId>9f-1</MessageId></PublishResult></PublishResponse>",
    )
    sender = sns(api.url)
    body = sender.compose(Message(5, SMS.to, "points_expiring", "en", sms="1,200 points lapse on 1 May")).wire

    found = outcomes(sender, [Parcel(5, SMS.to, body)])

    [(_, _, raw)] = api.posts
    asked = {name: values[0] for name, values in parse_qs(raw.decode()).items()}
    assert (asked["Action"], asked["PhoneNumber"], asked["Message"]) == (
        "Publish",
        SMS.to,
        "1,200 points lapse on 1 May",
    )
    assert "CLUB" in asked.values()
    assert (found[5].result, found[5].provider_ref) == ("accepted", "9f-1")


def aliyun(url, **more):
    template = ApprovedTemplate("SMS_1", {"points": "points", "day": "expires_on"})
    templates = {("points_expiring", "zh_CN"): template}
    return AliyunSms(
        AliyunAccess("AKID", "secret", url), "悦客会", templates, now=lambda: MOMENT, connections=1, **more
    )


CHINESE = Message(
    9,
    "+8613800138000",
    "points_expiring",
    "zh_CN",
    parameters={"points": "1,200", "expires_on": "5月1日", "name": "王"},
)


def test_the_signature_is_the_one_that_alibaba_publishes():
    access = AliyunAccess("YourAccessKeyId", "YourAccessKeySecret", "https://ecs.cn-shanghai.aliyuncs.com")
    query = {"ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd", "RegionId": "cn-shanghai"}
    moment = dt.datetime(2023, 10, 26, 10, 22, 32, tzinfo=dt.UTC)

    headers = signed(access, "RunInstances", "2014-05-26", query, now=moment, nonce="3156853299f313e23d1673dc12e1703d")

    assert headers["Authorization"] == (
        "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;"
        "x-acs-signature-nonce;x-acs-version,Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    )


def test_aliyun_gets_the_template_its_parameters_and_nothing_else(api):
    api.mode = (200, {}, b'{"Code":"OK","BizId":"77^0","Message":"OK"}')
    sender = aliyun(api.url)

    found = outcomes(sender, [Parcel(9, CHINESE.to, sender.compose(CHINESE).wire)])

    [(path, headers, body)] = api.posts
    asked = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
    assert json.loads(asked.pop("TemplateParam")) == {"points": "1,200", "day": "5月1日"}
    assert asked == {"PhoneNumbers": CHINESE.to, "SignName": "悦客会", "TemplateCode": "SMS_1", "OutId": "9"}
    assert (headers["x-acs-action"], headers["x-acs-version"], body) == ("SendSms", "2017-05-25", b"")
    assert (found[9].result, found[9].provider_ref) == ("accepted", "77^0")


@pytest.mark.parametrize(
    ("mode", "result", "is_dead"),
    [
        ("stall", "uncertain", False), ("drop", "uncertain", False), ((500, {}, b"oops"), "uncertain", False),
        ((200, {}, b'{"Code":"isp.SYSTEM_ERROR"}'), "uncertain", False),
        ((200, {}, b'{"Code":"isv.MOBILE_NUMBER_ILLEGAL","Message":"13800138000"}'), "refused", True),
        ((200, {}, b'{"Code":"isv.BUSINESS_LIMIT_CONTROL"}'), "retry", False),
        ((400, {}, b'{"Code":"Throttling.User"}'), "retry", False),
        ((200, {}, b'{"Code":"isv.AMOUNT_NOT_ENOUGH"}'), "retry", False),
        ((400, {}, b'{"Code":"SignatureDoesNotMatch"}'), "retry", False),
    ],
)  # fmt: skip
def test_each_answer_of_aliyun_means_what_it_says(api, mode, result, is_dead):
    api.mode = mode
    sender = aliyun(api.url, timeout=0.5)

    found = outcomes(sender, [Parcel(9, CHINESE.to, sender.compose(CHINESE).wire)])

    assert (found[9].result, found[9].is_dead_address) == (result, is_dead)
    assert len(api.posts) == 1
    assert "13800138000" not in found[9].detail


def test_aliyun_that_cannot_be_reached_has_certainly_not_taken_it():
    sender = aliyun(f"http://127.0.0.1:{free_port()}")

    assert outcomes(sender, [Parcel(9, CHINESE.to, sender.compose(CHINESE).wire)])[9].result == "retry"


@pytest.mark.parametrize(
    "wrong",
    [{"to": "12\n34567"}, {"kind": "win_back"}, {"parameters": {"points": "1"}},
     {"parameters": {"points": "1\n2", "expires_on": "x"}}, {"parameters": {"points": "9" * 36, "expires_on": "x"}}],
)  # fmt: skip
def test_aliyun_refuses_what_its_template_cannot_say(wrong):
    fields = {"kind": CHINESE.kind, "to": CHINESE.to, "parameters": CHINESE.parameters, **wrong}

    with pytest.raises(UnsafeField):
        aliyun("http://127.0.0.1:1").compose(
            Message(9, fields["to"], fields["kind"], "zh_CN", parameters=fields["parameters"])
        )


@pytest.mark.parametrize("make", [sns])
@pytest.mark.parametrize("wrong", [{"to": "+44 7700"}, {"to": "+447700900123\n"}, {"sms": "a\nb"}, {"sms": "a\x00b"}])
def test_a_text_message_is_one_line_to_one_number(api, make, wrong):
    fields = {"to": SMS.to, "sms": "x", **wrong}
    with pytest.raises(UnsafeField):
        make(api.url).compose(Message(5, fields["to"], "k", "en", sms=fields["sms"]))


def test_approved_templates_are_read_from_a_file(tmp_path):
    file = tmp_path / "sms.toml"
    file.write_text('[points_expiring.zh_CN]\ncode = "SMS_1"\nparameters = { points = "points" }\n')
    assert read_templates(file) == {("points_expiring", "zh_CN"): ApprovedTemplate("SMS_1", {"points": "points"})}

    for wrong in ("x", "a = 1", "[a.b]\nparameters = {}\n", "[a]\nb = 1\n"):
        file.write_text(wrong)
        with pytest.raises(InvalidTemplates):
            read_templates(file)


def test_settings_choose_the_sender_of_a_channel(tmp_path):
    def chosen(channel, **more):
        made = Settings(home=tmp_path, **more)
        return sender_of(made, channel, moment=MOMENT, now=lambda: MOMENT, from_name="Club")

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    assert chosen("email").name == "smtp"
    assert chosen("email", email_sender="ses", **keys).name == "ses"
    assert chosen("sms", sms_sender="sns", **keys).name == "sns"
    with pytest.raises(NoSender, match="LOYALTY_SMS_SENDER"):
        chosen("sms")
    with pytest.raises(NoSender, match="LOYALTY_ALIYUN_SIGN_NAME, LOYALTY_ALIYUN_TEMPLATES"):
        chosen("sms", sms_sender="aliyun", aliyun_access_key_id="a", aliyun_access_key_secret="b")


def test_a_providers_words_lose_their_addresses():
    assert without_addresses(b"550 <a@b.example> unknown\r\nx: c@d.example +4915112345678") == "550 … unknown x: … …"


def test_many_messages_each_get_one_answer_though_connections_die(moody):
    kinds = ["ok", "gone", "later", "lost", "cut", "busy"]
    parcels = [mail(n, f"{kinds[n % 6]}{'' if n % 6 in (1, 2, 4, 5) else n}@example.com") for n in range(120)]

    found = outcomes(smtp(moody.url, connections=6), parcels)

    assert Counter(o.result for o in found.values()) == {"accepted": 20, "refused": 20, "retry": 60, "uncertain": 20}
    assert len(moody.accepted) == 40
