"""Writing the notices that a close makes due, and telling which due lots have their proof of notice.

1. ``points_ledger.notices.enqueue`` for as many members as ``--size``, each with points whose step of the ladder is that day,
   beside as many lots again that lapse on other days. Seconds, against a limit of 10 for 100,000 members.
2. The same call once more, which finds everything told: what a night pays that is run twice.
3. The plan of the night's expiry (``points_ledger.expiry.classified``): two due lots a member, half of them with an accepted
   notice, half without. Seconds, against a limit of 3 for 200,000 lots.

Every round is a database of its own, cloned from one; medians of the rounds.

    python benchmarks/bench_notices_enqueue.py
    python benchmarks/bench_notices_enqueue.py --size 5000 --rounds 1
"""

import datetime as dt
import statistics

import kit

from points_ledger import expiry, notices

ENQUEUE_SECONDS, CLASSIFY_SECONDS = 10, 3  # for 100,000 members
CLOSED = kit.START + dt.timedelta(days=250)
# lots 1 and 2 are due, 3 is warned of tonight, 4 to 6 lapse later than the ladder reaches
LAST_DAY = f"date '{CLOSED}' + case l when 1 then 0 when 2 then -1 when 3 then 31 else 70 + (m % 300)::int + l end"
TOLD = """
insert into points.contact (member_id, key_wrapped, key_id, sealed, email_mark)
select member_id, '', 'k1', '', sha256(convert_to(member_no, 'UTF8')) from points.member;
insert into points.notice (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before, valid_until)
select member_id, 'points_expiring', 'service', 'email', 'told:' || member_id, '{closed}'::date - 40, '{{}}', now(), now()
from points.member where member_id % 2 = 0;
insert into points.expiry_warning (member_id, lapses_on, notice_id, accepted_on)
select member_id, '{closed}'::date - d, notice_id, '{closed}'::date - 40 from points.notice, generate_series(0, 1) as d;
"""


def main() -> None:
    """Fill one ledger, clone it for each round, print the table."""
    options = kit.arguments(
        __doc__, "members", 100_000, f"Goals: {ENQUEUE_SECONDS} s and {CLASSIFY_SECONDS} s at 100,000 members."
    ).parse_args()
    share = options.size / 100_000
    enqueued: list[float] = []
    again: list[float] = []
    classified: list[float] = []
    with kit.server(options.directory) as server:
        url = server.ledger(
            "origin",
            expiry={"notice": {"ladder_days": [60, 30, 7], "required": True}},
            notices={"site_url": "https://club.example", "postal_address": "1 Quay Street, Leith"},
        )
        admin = server.engine(url)
        kit.fill(admin, members=options.size, lots=6, history=1, valid_through=LAST_DAY, keys=False)
        kit.execute(admin, TOLD.format(closed=CLOSED), "VACUUM (ANALYZE)", "CHECKPOINT")
        server.dispose()
        for n in range(options.rounds):
            engine = server.engine(server.database(f"round_{n}", "origin"), "loyalty_batch")
            with engine.begin() as connection, kit.stopwatch() as seconds:
                fates = expiry.classified(connection, closed=CLOSED)
                classified.append(seconds())
            assert {fate: row["lots"] for fate, row in fates.items()} == {
                "clear": options.size // 2 * 2,
                "no_notice": (options.size - options.size // 2) * 2,
            }
            with kit.stopwatch() as seconds:
                assert notices.enqueue(engine, day=CLOSED) == options.size
                enqueued.append(seconds())
            with kit.stopwatch() as seconds:
                assert notices.enqueue(engine, day=CLOSED) == 0
                again.append(seconds())
            print(
                f"  round {n + 1}: enqueued in {enqueued[-1]:.1f} s, again in {again[-1]:.1f} s,"
                f" classified in {classified[-1]:.1f} s",
                flush=True,
            )
            server.dispose()
        kit.report([
            row(f"enqueue of {options.size:,} expiring notices", enqueued, ENQUEUE_SECONDS * share),
            row("… once more, all told already", again, None),
            row(f"{2 * options.size:,} due lots by their proof of notice", classified, CLASSIFY_SECONDS * share),
        ])  # fmt: skip


def row(what: str, seconds: list[float], limit: float | None) -> kit.Ratio:
    """A row in milliseconds; the other side is the limit."""
    most = limit or statistics.median(seconds)
    spread = f"{min(seconds) / most:.2f} to {max(seconds) / most:.2f}"
    return kit.Ratio(
        what, "ms", statistics.median(seconds) * 1000, most * 1000, "the limit" if limit else "itself",
        1.0 if limit else None, spread, at_most=True,
    )  # fmt: skip


if __name__ == "__main__":
    main()
