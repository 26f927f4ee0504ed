"""The full suite of checks through Great Expectations against the same statements bare, and what a night pays for its own.

1. ``expectations.suite.run_suite`` against ``expectations.runner.run_bare``: every check of the catalogue in its full form,
   each side in one snapshot, on a clean ledger with orders, redemptions and seals. CPU seconds of all processes of the
   server, because wall time on a shared machine says little; parallel query and autovacuum off.
2. The gates before a close, and the checks after one, on a day of 5,000 entries of as many members, each with a hundred
   behind it, in the same ledger. Wall time.

    python benchmarks/bench_checks.py
    python benchmarks/bench_checks.py --size 2000 --rounds 2
"""

import dataclasses
import datetime as dt
import os
import time
from collections.abc import Callable
from pathlib import Path

import kit
from sqlalchemy import Engine, text

from expectations import catalogue, runner
from expectations.catalogue import CATALOGUE
from expectations.suite import run_suite
from points_ledger import gates

HISTORY = 45  # orders of a member that were spent again, two entries each
LOTS = 10  # orders that are not
DAY_ENTRIES = 5_000


def main() -> None:
    """Fill a ledger, run both sides in turn, print both tables."""
    options = kit.arguments(
        __doc__, "members, each with 100 entries", 20_000, "Goals: 1.1 of bare; 1 s for a day of 5,000 entries."
    ).parse_args()
    with kit.server(options.directory) as server:
        server.maintain("ALTER SYSTEM SET autovacuum = off")
        server.maintain("ALTER SYSTEM SET max_parallel_workers_per_gather = 0")
        server.maintain("SELECT pg_reload_conf()")
        url = server.ledger("checks", expiry={"round_up_to": "day"})
        admin = server.engine(url)
        lapses = f"date '{kit.START}' + 150 + 365"
        day = kit.fill(admin, members=options.size, lots=LOTS, history=HISTORY, valid_through=lapses)
        kit.fill_events(admin)
        on_the_day = min(DAY_ENTRIES, options.size)
        day += dt.timedelta(days=1)
        spend(admin, day, on_the_day)
        entries = kit.seal(admin)
        print(f"{entries:,} entries, {len(CATALOGUE)} checks", flush=True)
        reader = server.engine(url, "loyalty_auditor")
        last_closed = day - dt.timedelta(days=2)

        def clean(run: Callable[..., runner.CheckRun], _round: int) -> float:
            begun = server_cpu(admin)
            answers = run(reader, CATALOGUE, as_of=last_closed).answers
            spent = server_cpu(admin) - begun
            assert all(a.outcome == "pass" for a in answers), [
                (a.check_id, a.rows[:1], a.error) for a in answers if a.outcome != "pass"
            ]
            return spent

        for run in (run_suite, runner.run_bare):  # the import, and a warm cache for both
            clean(run, 0)
        sides = kit.alternate(options.rounds, lambda n: clean(run_suite, n), lambda n: clean(runner.run_bare, n))
        full = kit.compare(f"full suite, {entries:,} entries", "ms of server CPU", "the same SQL bare", 1.1, sides)
        batch = server.engine(url, "loyalty_batch")
        night = [timed(lambda: gate(batch, day)) for _ in range(5)]
        after = [
            timed(lambda: runner.run_bare(batch, catalogue.nightly(), as_of=day, form="night")) for _ in range(5)
        ]  # fmt: skip
        kit.report(
            [
                dataclasses.replace(full, at_most=True),
                limit(f"gates of a day of {on_the_day:,} entries", night),
                limit("checks after its close", after),
            ]
        )


def spend(engine: Engine, day: dt.date, entries: int) -> None:
    """So many members each spend a point on the open day."""
    with engine.begin() as connection:
        connection.execute(
            text("SELECT points.spend('M' || n, 1, :day, 'till', 'T' || n) FROM generate_series(1, :entries) AS n"),
            {"day": day, "entries": entries},
        )


def gate(engine: Engine, day: dt.date) -> None:
    """What the night does before it closes the day."""
    with engine.begin() as connection:
        gates.check(connection, business_date=day)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of wall time."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def limit(what: str, measured: list[float]) -> kit.Ratio:
    """A row against one second: the median of the rounds."""
    ordered = sorted(measured)
    spread = f"{ordered[0] / 1000:.2f} to {ordered[-1] / 1000:.2f}"
    return kit.Ratio(what, "ms", ordered[len(ordered) // 2], 1000, "a second", 1, spread, at_most=True)


def server_cpu(engine: Engine) -> float:
    """CPU milliseconds of the server's processes so far: the ones that run, and through their parent the ones that ended."""
    time.sleep(0.5)  # a process that has just been told to end is counted by nobody until its parent has seen it
    directory = kit.one(engine, "SELECT current_setting('data_directory')")[0]
    postmaster = int((Path(directory) / "postmaster.pid").read_text().split("\n", 1)[0])
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if pid == postmaster:
            ticks += sum(int(rest[n]) for n in (11, 12, 13, 14))
        elif int(rest[1]) == postmaster:
            ticks += int(rest[11]) + int(rest[12])
    return 1000 * ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
