"""Tier review of a night that touches the same number of members, in a small ledger and in one ten times as large.

One member in a hundred of the large ledger earns on the day, and as many in the small one; each of them rises a tier.
``tiers.review`` in commits of 500 members; milliseconds, so less is better. Every round is a further day, on which other
members earn.

    python benchmarks/bench_tiers.py
    python benchmarks/bench_tiers.py --members 100000 --rounds 3
"""

import argparse
import dataclasses
import datetime as dt
from pathlib import Path

import kit
from sqlalchemy import Engine

from points_ledger import tiers

TIERS = [{"code": "member", "enter_at": 0}, {"code": "silver", "enter_at": 150}, {"code": "gold", "enter_at": 1000}]
EARNED = """
update points.book_day set status = 'closed', closed_at = clock_timestamp() where book_date < '{day}' and status = 'open';
select points.open_day('{day}');
insert into points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,
        balance_after, debt_after, usable_from, valid_through, policy_version, kind, source, source_ref)
    select member_id, seq + 1, '{day}', '{day}', points.journal_of(member_id, 'order', 'N{round}-' || member_id), 60, seq + 1, 60,
        balance + 60, 0, '{day}', date '{day}' + 365, 1, 'earn', 'order', 'N{round}-' || member_id
    from points.wallet where member_id % {one_in} = {round} order by member_id;
"""


def night(engine: Engine, admin: Engine, day: dt.date, *, round_: int, one_in: int, touched: int) -> float:
    """Let one member in so many earn on a day, then review; milliseconds of the review."""
    # before, not between: a night's posting has written to these members' pages when their review comes
    kit.execute(admin, "CHECKPOINT")
    with admin.begin() as connection:
        connection.execution_options(no_parameters=True).exec_driver_sql(
            EARNED.format(day=day, round=round_, one_in=one_in)
        )
    with kit.stopwatch() as seconds:
        reviewed = tiers.review(engine, day=day, run_id=None)
        taken = seconds()
    assert reviewed.upgrades == touched, f"{reviewed.upgrades} of {touched} members rose"
    return 1000 * taken


def main() -> None:
    """Fill both ledgers, then one night after the other in turn; the share of time the larger one took more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = "Goal: at most 1.3 times the time."
    parser.add_argument("--members", type=int, default=1_000_000, help="of the large ledger (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=6, help="nights of each side, at most 9 (default: 6)")
    parser.add_argument("--directory", type=Path, help="where the server's temporary folder is made (default: TMPDIR)")
    options = parser.parse_args()
    touched = options.members // 100
    with kit.server(options.directory) as server:
        sides = []
        for name, members in (("large", options.members), ("small", options.members // 10)):
            url = server.ledger(name, tier=TIERS)
            admin = server.engine(url)
            earned = kit.fill(
                admin, members=members, lots=1, history=0, valid_through="date '2027-12-31'", days=10, keys=False
            )
            sides.append((server.engine(url, "loyalty_batch"), admin, members // touched))
            print(f"{name}: {members:,} members", flush=True)

        def side(which: int, round_: int) -> float:
            engine, admin, one_in = sides[which]
            day = earned + dt.timedelta(days=round_ + 1)
            return night(engine, admin, day, round_=round_, one_in=one_in, touched=touched)

        measured = kit.alternate(options.rounds, lambda n: side(0, n), lambda n: side(1, n))
        small = f"{options.members // 10:,} members"
        row = kit.compare(f"tier review of {touched:,} members, of {options.members:,}", "ms", small, 1.3, measured)
        kit.report([dataclasses.replace(row, at_most=True)])


if __name__ == "__main__":
    main()
