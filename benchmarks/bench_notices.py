"""Notices, from the outbox to the local mail sink, against smtplib on kept connections sending fixed bytes.

Ours claims warnings of expiring points in batches, looks again at what the member still has, opens the contact, writes subject,
text and HTML in the member's language (half zh_CN, half en), signs the unsubscribe link, seals the proof, journals, sends and
finishes: one process. The other side sends one of those mails again and again. Same sink (a process of its own, which writes
every mail to disk), same number of kept connections.

    python benchmarks/bench_notices.py
    python benchmarks/bench_notices.py --size 2000 --rounds 2
"""

import base64
import contextlib
import datetime as dt
import os
import resource
import secrets
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import kit
from sqlalchemy import Engine, text

from infra.contact_cipher import MasterKeys
from infra.programme import check_programme
from infra.senders.mail_server import MailServer
from infra.senders.mime import MailComposer
from infra.senders.smtp import SmtpSender
from points_ledger.contacts import Contact, ToSeal
from tasks.dispatch import Dispatcher
from tasks.notice_writing import Dictionaries, Writer

CONNECTIONS = 4
LAPSES = dt.date(2026, 7, 31)
MOMENT = dt.datetime(2026, 7, 1, 9, 30, tzinfo=dt.UTC)
NOTICES = {
    "site_url": "https://club.example",
    "postal_address": "1 Shore Street, Leith EH6 6QW",
    "sms_signature": "Club",
}
ADDRESS, URL = "notices@club.example", "https://club.example/u"
TELL = """
with n as (
    insert into points.notice (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before, valid_until)
    select member_id, 'points_expiring', 'service', 'email', 'r' || :round || ':' || member_no, date '2026-06-30',
        jsonb_build_object('points', 100, 'expires_on', date '2026-07-31', 'stage', 30, 'balance', 100, 'value', '1.00',
            'as_of', date '2026-07-01', 'dates', jsonb_build_array(date '2026-07-31'),
            'lots', jsonb_build_array(jsonb_build_object('points', 100, 'expires_on', date '2026-07-31'))),
        :moment, :moment + interval '30 days'
    from points.member
    returning notice_id, channel, not_before)
insert into points.notice_queue (notice_id, channel, not_before) select * from n
"""


@contextlib.contextmanager
def sink(folder: Path) -> Iterator[int]:
    """The product's own mail sink; its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-P", "-m", "infra.smtp_sink", "--port", str(port), "--directory", str(folder)]
    with subprocess.Popen(command) as process:
        try:
            while True:
                try:
                    smtplib.SMTP("127.0.0.1", port).quit()
                    break
                except OSError:
                    time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def emptied(folder: Path) -> int:
    """How many mails the sink has kept; it keeps none of them any longer."""
    names = list(folder.glob("*.eml"))
    for name in names:
        name.unlink()
    return len(names)


def contacts(admin: Engine, keys: MasterKeys) -> None:
    """A sealed contact for every member."""
    with admin.begin() as connection:
        rows = []
        for member_id, number in connection.execute(text("SELECT member_id, member_no FROM points.member")).all():
            sealed = keys.seal(ToSeal(member_id, Contact(f"Ada {number}", f"{number.lower()}@example.com", ""), None))
            rows.append(
                {"id": member_id, "key": sealed.key.wrapped, "key_id": sealed.key.key_id, "sealed": sealed.content,
                 "mark": os.urandom(32)}
            )  # fmt: skip
        connection.execute(
            text(
                "INSERT INTO points.contact (member_id, key_wrapped, key_id, sealed, email_mark)"
                " SELECT * FROM unnest(CAST(:ids AS bigint []), CAST(:keys AS bytea []), CAST(:key_ids AS text []),"
                " CAST(:sealed AS bytea []), CAST(:marks AS bytea []))"
            ),
            {"ids": [row["id"] for row in rows], "keys": [row["key"] for row in rows],
             "key_ids": [row["key_id"] for row in rows], "sealed": [row["sealed"] for row in rows],
             "marks": [row["mark"] for row in rows]},
        )  # fmt: skip
        connection.execute(
            text("UPDATE points.member SET locale = CASE WHEN member_id % 2 = 0 THEN 'zh_CN' ELSE 'en' END")
        )
    kit.execute(admin, "VACUUM (ANALYZE)", "CHECKPOINT")


def fixed(port: int, count: int, mail: bytes) -> float:
    """Messages a second of smtplib over kept connections."""
    share = count // CONNECTIONS

    def work() -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            for _ in range(share):
                client.sendmail(ADDRESS, ["ada@example.com"], mail)

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return share * CONNECTIONS / (time.perf_counter() - begun)


def main() -> None:
    """Both sides in turn."""
    options = kit.arguments(__doc__, "notices a round", 10_000, "Goal: 0.7 of the other side.").parse_args()
    with kit.server(options.directory) as server, tempfile.TemporaryDirectory(dir=options.directory) as scratch:
        folder = Path(scratch)
        address = server.ledger("notices", notices=NOTICES)
        admin, batch = server.engine(address), server.engine(address, "loyalty_batch", connections=CONNECTIONS)
        kit.fill(admin, members=options.size, lots=1, history=1, valid_through="date '2026-07-31'")
        keys = MasterKeys.parse(f"k1:{base64.b64encode(os.urandom(32)).decode()}")
        contacts(admin, keys)
        document = check_programme(
            {
                "programme": {"name": "Benchmark club", "time_zone": "Europe/London", "currency": "GBP", "starts_on": kit.START,
                              "point_value": "0.01"},
                "earn": {"rate": [{"points_per_unit": "1"}]}, "expiry": {"basis": "fixed", "months": 12},
                "notices": NOTICES,
            }
        )  # fmt: skip
        writer = Writer(
            document,
            key=secrets.token_bytes(32),
            unsubscribe_url=URL,
            sender_address=ADDRESS,
            changes=lambda _v, _l: [],
        )
        kept = folder / "mail"
        cpu: list[float] = []
        with sink(kept) as port:
            composer = MailComposer("Benchmark club", ADDRESS, MOMENT)
            sender = SmtpSender(MailServer.of(f"smtp://127.0.0.1:{port}"), composer, connections=CONNECTIONS)
            dictionaries = Dictionaries(batch, writer, sender, URL)
            sample: list[bytes] = []

            def ours(number: int) -> float:
                with batch.begin() as connection:
                    connection.execute(text(TELL), {"round": number, "moment": MOMENT})
                kit.execute(admin, "VACUUM (ANALYZE) points.notice_queue", "ANALYZE points.notice", "CHECKPOINT")
                one = Dispatcher(batch, sender, keys, writer, dictionaries, folder / "journal", "bench", MOMENT)
                used = resource.getrusage(resource.RUSAGE_SELF)
                begun = time.perf_counter()
                claimed = one.run()
                speed = claimed / (time.perf_counter() - begun)
                now = resource.getrusage(resource.RUSAGE_SELF)
                cpu.append((now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / claimed * 1e6)
                sample[:] = [next(kept.glob("*.eml")).read_bytes()]
                assert claimed == emptied(kept) == options.size, "every notice must have arrived"
                return speed

            def other(_: int) -> float:
                speed = fixed(port, options.size, sample[0])
                emptied(kept)
                return speed

            ours(-1)  # compiles the templates, fills the caches
            sides = kit.alternate(options.rounds, ours, other)
            sender.close()
        row = kit.one(
            admin,
            "select count(*) as accepted, (select round(avg(octet_length(sealed))) from points.notice_proof) as proof"
            " from points.notice_result where result = 'accepted'",
        )
        assert row.accepted == options.size * (options.rounds + 1)
    kit.report(
        [
            kit.compare(
                f"{options.size:,} notices, from the outbox to the local sink, {CONNECTIONS} connections", "notices/s",
                "smtplib, kept connections, fixed bytes", 0.7, sides,
            )
        ],
        [f"CPU of the dispatcher: {sorted(cpu)[len(cpu) // 2]:,.0f} µs a notice; a mail of {len(sample[0]):,} bytes is kept as a"
         f" proof of {row.proof:,.0f}"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
