"""One night of a programme with a million members and ten million lots: does it run, and in how much memory?

The ledger is filled in bulk. Then a process of its own closes one night with the real verbs (``night.close_nights``):
redemptions of two members in a hundred are posted, the gates check what they touched, the day is closed and sealed, and
one lot of every member lapses. Measured: the largest resident memory of that Python process, and the time of each step.
Afterwards I1 to I4 are checked on every hundredth member.

    python benchmarks/bench_million.py
    python benchmarks/bench_million.py --members 50000
"""

import argparse
import datetime as dt
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import kit
import sqlalchemy as sa

from points_ledger import night

LOTS = 10
LIMIT_MB = 500
DAYS = 20  # the ledger's days before the night

PREPARE = """
update points.book_day set status = 'closed', closed_at = clock_timestamp()
    where book_date <= '{earned}' and status = 'open';
insert into points.run (job, business_date, status, finished_at) values ('close-night', '{earned}', 'done', clock_timestamp());
insert into points.feed_file (feed, name, sha256, layout) values ('redemptions', 'generated', 'none', 'none');
insert into points.redemption (redemption_no, member_no, redeemed_at, effective_on, points, fingerprint, file_id)
    select 'N' || n, 'M' || n, timestamptz '{night} 12:00', '{night}', 150, sha256(n::text::bytea),
        (select max(file_id) from points.feed_file)
    from generate_series(1, {members}, 50) as n;
"""


def run_night(url: str) -> None:
    """Close the night that is due, in this process; print its times, totals and memory as JSON."""
    engine = sa.create_engine(url, isolation_level="READ COMMITTED", execution_options={"connections": 2})
    steps: dict[str, float] = {}
    begun = [("", time.perf_counter())]

    def watch(_: night.Night, step: night.Step) -> None:
        now = time.perf_counter()
        name, since = begun[0]
        steps[name] = now - since
        begun[0] = (step.name, now)

    date = dt.date.fromisoformat(sys.argv[sys.argv.index("--date") + 1])
    [result] = night.close_nights(engine, through=date, code_version="benchmark", watch=watch)
    watch(night.Night(date, 0), night.Step("finish", lambda *_: None))
    steps.pop("", None)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"steps": steps, "totals": result.totals, "rss": usage.ru_maxrss / 1024}, default=str))


def main() -> None:
    """Fill, close one night in a child process, check, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", "--size", dest="members", type=int, default=1_000_000, help="default: 1,000,000")
    parser.add_argument("--directory", type=Path, help="where the server's temporary folder is made (default: TMPDIR)")
    parser.add_argument("--night", help=argparse.SUPPRESS)
    parser.add_argument("--date", help=argparse.SUPPRESS)
    parser.epilog = "Goal: it runs, and the Python side stays below 500 MB. A million members need about 6 GB of disk."
    options = parser.parse_args()
    if options.night:
        run_night(options.night)
        return
    with kit.server(options.directory) as server:
        url = server.ledger("million")
        admin = server.engine(url)
        with kit.stopwatch() as seconds:
            earned = kit.START + dt.timedelta(days=DAYS)
            tonight = earned + dt.timedelta(days=1)
            kit.fill(
                admin,
                members=options.members,
                lots=LOTS,
                history=0,
                days=DAYS,
                keys=False,
                valid_through=f"case l when 1 then date '{tonight}' else date '{tonight}' + (30 * l)::int end",
            )
            kit.execute(
                admin,
                *PREPARE.format(earned=earned, night=tonight, members=options.members).strip().split(";\n"),
                "ANALYZE",
            )
            loading = seconds()
        print(f"filled {options.members:,} members, {LOTS * options.members:,} lots in {loading:,.0f} s", flush=True)
        with kit.stopwatch() as seconds:
            address = url.set(username="loyalty_batch").render_as_string()
            command = [sys.executable, __file__, "--night", address, "--date", str(tonight)]
            child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            taken = seconds()
        told = json.loads(child.stdout.splitlines()[-1])
        lapsed = told["totals"]["expired_lots"]
        # the redemptions of 150 emptied the first lot of their members, and half of the second
        assert lapsed == options.members - len(range(1, options.members + 1, 50)), f"{lapsed} lots have lapsed"
        kit.invariants(admin, sample=100)
        steps = ", ".join(f"{name} {time_:,.1f} s" for name, time_ in told["steps"].items())
        kit.report(
            [
                kit.Ratio(
                    f"one night of {options.members:,} members, {LOTS * options.members:,} lots: memory of the Python side",
                    "MB",
                    told["rss"],
                    LIMIT_MB,
                    "the limit",
                    1.0,
                    "one run",
                    at_most=True,
                )
            ],
            [
                f"The night took {taken:,.0f} s ({steps}); {lapsed:,} lots lapsed, "
                f"{lapsed / told['steps']['expire-points']:,.0f} a second; filling the ledger took {loading:,.0f} s."
            ],
        )


if __name__ == "__main__":
    main()
