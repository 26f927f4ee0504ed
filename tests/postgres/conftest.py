"""A ledger with members who can be written to, and a mail server that misbehaves as told."""

import base64
import datetime as dt
import json
import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import text

from infra.contact_cipher import MasterKeys
from points_ledger.contacts import Contact, ToSeal

MOMENT = dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)
NOTICES = {"site_url": "https://club.example", "postal_address": "1 Shore Street, Leith", "sms_signature": "Club"}
LAPSES = dt.date(2026, 5, 1)


@dataclass
class Mailbox:
    """An SMTP server in this process: what it accepted, by Message-ID, and how it misbehaves."""

    refuse: float = 0  # share of recipients refused for now
    lose: float = 0  # share of accepted messages whose reply is lost
    delay: float = 0  # seconds before a reply
    accepted: Counter[str] = field(default_factory=Counter)
    bodies: dict[str, bytes] = field(default_factory=dict)
    recipients: dict[str, str] = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(5))
    port: int = 0
    lost_replies: int = 0

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: ARG002, N802 - aiosmtpd calls it so
        if address.startswith("gone"):
            return "550 5.1.1 no such user"
        if self.chance.random() < self.refuse:
            return "451 4.3.2 try later"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):  # noqa: ARG002, N802 - as above
        content = envelope.content
        key = content.split(b"Message-ID: ", 1)[1].split(b"\r\n", 1)[0].decode()
        self.accepted[key] += 1
        self.bodies[key] = content
        self.recipients[key] = envelope.rcpt_tos[0]
        if self.chance.random() < self.lose:
            self.lost_replies += 1
            server.transport.abort()
        return "250 2.0.0 queued as Q1"

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        made.port = probe.getsockname()[1]
    controller = Controller(made, hostname="127.0.0.1", port=made.port)
    controller.start()
    yield made
    controller.stop()


@dataclass
class Members:
    """Members of a ledger with sealed contacts, and notices that wait for them."""

    ledger: object
    master: str
    home: Path
    moment: dt.datetime = MOMENT

    def enrol(self, *members: tuple[str, str, str, str]) -> None:
        """``(member_no, name, email, locale)`` each."""
        self.ledger.members(*(m[0] for m in members))
        keys = MasterKeys.parse(self.master)
        ids = dict(self.ledger.rows("SELECT member_no, member_id FROM points.member"))
        rows = []
        for number, name, email, locale in members:
            sealed = keys.seal(ToSeal(ids[number], Contact(name, email, ""), None))
            rows.append(
                {"id": ids[number], "key": sealed.key.wrapped, "key_id": sealed.key.key_id, "sealed": sealed.content,
                 "mark": os.urandom(32), "locale": locale}
            )  # fmt: skip
        with self.ledger.engine("admin").begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO points.contact (member_id, key_wrapped, key_id, sealed, email_mark)"
                    " VALUES (:id, :key, :key_id, :sealed, :mark)"
                ),
                rows,
            )
            connection.execute(text("UPDATE points.member SET locale = :locale WHERE member_id = :id"), rows)

    def tell(self, *numbers: str, kind: str = "adjustment", class_: str = "transaction", **facts: object) -> None:
        """Write a notice for each, due now, good for thirty days."""
        said = {"points": 25, "adjusted_on": "2026-03-01", "balance": 125} | facts
        with self.ledger.engine().begin() as connection:
            connection.execute(
                text(
                    "WITH n AS (INSERT INTO points.notice (member_id, kind, class, channel, dedupe_key, business_date, facts,"
                    " not_before, valid_until) SELECT member_id, :kind, :class, 'email', :kind || ':' || member_no || ':' || :salt,"
                    " DATE '2026-03-01', CAST(:facts AS jsonb), :moment, :moment + interval '30 days' FROM points.member"
                    " WHERE member_no = ANY(:numbers) ORDER BY member_id RETURNING notice_id, channel, not_before)"
                    " INSERT INTO points.notice_queue (notice_id, channel, not_before) SELECT * FROM n"
                ),
                {"kind": kind, "class": class_, "salt": os.urandom(4).hex(), "facts": json.dumps(said),
                 "numbers": list(numbers), "moment": self.moment},
            )  # fmt: skip

    def environment(self, mailbox: Mailbox, **more: str) -> dict[str, str]:
        """What a dispatcher of this ledger finds in its environment."""
        batch = self.ledger.engine().url.render_as_string(hide_password=False)
        return {
            "LOYALTY_HOME": str(self.home), "LOYALTY_DATABASE_URL": batch, "LOYALTY_SMTP_URL": mailbox.url,
            "LOYALTY_CONTACT_MASTER_KEYS": self.master, "LOYALTY_SENDER_ADDRESS": "notices@club.example", **more,
        }  # fmt: skip

    def results(self) -> list[tuple[int, str]]:
        """Results in the order of notices and attempts."""
        return [
            (row[0], row[1])
            for row in self.ledger.rows(
                "SELECT notice_id, result FROM points.notice_result ORDER BY notice_id, attempt"
            )
        ]

    def waiting(self) -> int:
        return self.ledger.one("SELECT count(*) FROM points.notice_queue")


@pytest.fixture
def told(ledger, tmp_path) -> Members:
    """A ledger whose programme writes notices, ready to enrol members."""
    ledger.start(notices=NOTICES, expiry={"notice": {"ladder_days": [30], "required": False}})
    ledger.rows("SELECT points.open_day(DATE '2026-01-01')")
    key = base64.b64encode(os.urandom(32)).decode()
    return Members(ledger, f"k1:{key}", tmp_path / "home")


@pytest.fixture
def in_this_process(monkeypatch):
    """Lets the steps of this process work with the settings of a ledger; call it with None to let go of the database."""
    from tasks import ledger as steps  # noqa: PLC0415 - Prefect takes a second to import

    def use(environment: dict[str, str] | None) -> None:
        if steps.engine.cache_info().currsize:
            steps.engine().dispose()
        steps.engine.cache_clear()
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)

    yield use
    use(None)


@pytest.fixture(scope="session")
def reached() -> Callable[[object, Path], AbstractContextManager[None]]:
    """Lets the steps of this process reach a ledger by their settings, with every login, until the block ends."""
    from tasks import ledger as steps  # noqa: PLC0415 - as above

    @contextmanager
    def reach(ledger, home: Path) -> Iterator[None]:
        logins = {"": "loyalty_batch", "ADMIN_": ledger.url.username, "AUDITOR_": "loyalty_auditor"}
        with pytest.MonkeyPatch.context() as environment:
            for setting, login in logins.items():
                url = ledger.url.set(username=login).render_as_string(hide_password=False)
                environment.setenv(f"LOYALTY_{setting}DATABASE_URL", url)
            environment.setenv("LOYALTY_HOME", str(home))
            steps.engine.cache_clear()
            try:
                yield
            finally:
                for engine in (steps.engine(), steps.engine("auditor")):
                    engine.dispose()  # a database that is copied has no connections
                steps.engine.cache_clear()

    return reach


@pytest.fixture
def bucket(storage, monkeypatch):
    """A real S3 server that the steps of this process find by their settings."""
    for name, value in (
        ("ENDPOINT_URL", storage.access.endpoint_url), ("ACCESS_KEY_ID", storage.access.access_key_id),
        ("SECRET_ACCESS_KEY", storage.access.secret_access_key), ("BUCKET", storage.access.bucket),
    ):  # fmt: skip
        monkeypatch.setenv(f"LOYALTY_S3_{name}", value)
    return storage


@pytest.fixture(scope="session")
def club_january():
    """Fills a ledger with a month: a cap that bites, multipliers, a bonus by tier, spends, returns, debt, lapse, an adjustment."""

    def fill(ledger, *more_orders: str):
        ledger.start(
            earn={
                "daily_cap": 150,
                "multiplier": [{"factor": "2", "skus": ["cake"]}, {"factor": "1.5", "from": "2026-01-10"}],
                "bonus": [{"points": 7, "tiers": ["silver"]}],
            },
            tier=[{"code": "member", "enter_at": 0}, {"code": "silver", "enter_at": 110}],
        )
        ledger.orders(
            "A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-02 10:00,tea,1,20.55", "A2,m1,2026-01-02 10:00,POST,1,5",
            "A3,m1,2026-01-03 10:00,tea,-1,20.55", "A4,m1,2026-01-12 10:00,cake,3,9.99", "B1,m2,2026-01-20 10:00,tea,1,80",
            "B2,m2,2026-01-20 11:00,cake,1,60", "C1,m3,2026-01-05 10:00,tea,1,50", "C2,m3,2026-01-07 10:00,tea,-1,50",
            "C3,m3,2026-01-09 10:00,tea,1,30", *more_orders,
        )  # fmt: skip
        ledger.redemptions("R1,m1,2026-01-02 11:00,30", "R2,m3,2026-01-06 11:00,40", "R3,m2,2026-01-22 11:00,10")
        ledger.cancellations("R3,2026-01-23 11:00")
        ledger.close("2026-01-30")
        ledger.rows(
            "SELECT points.propose('adjustment', '{\"member_no\": \"m1\", \"points\": 7}', 'a goodwill gesture')"
        )
        ledger.rows("SELECT points.approve(1)", login="approver")
        ledger.rows("SELECT points.adjust(1, '2026-01-31')", login="batch")
        ledger.close("2026-01-31")
        return ledger

    return fill
