"""The report of a month of five million entries: how long does it take, and in how much memory?

The ledger is filled in bulk: every member has ninety entries that earned and spent again over a month's days and ten open
lots, with the orders and redemptions behind them; its days are closed and sealed. Then processes of their own make the
month's report (``points_ledger.month.figures``, in all its forms), write its evidence pack, and run the pack's verifier.
Measured for each: wall time, and the largest resident memory of that Python process.

    python benchmarks/bench_month.py
    python benchmarks/bench_month.py --members 2000
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kit

HISTORY, LOTS = 45, 10  # orders of a member that were spent again, two entries each; orders that were not
LIMIT_MB, LIMIT_SECONDS = 500, 180
MONTH = f"{kit.START:%Y-%m}"
DAYS = 30  # from the first to the last of January
CHILD = """
import json, resource, sys, time
from pathlib import Path
begun = time.perf_counter()
what, folder = sys.argv[1], Path(sys.argv[2])
if what == "verify":
    from infra import verify_pack
    sys.argv[1:] = [str(folder / "pack.zip")]
    result = verify_pack.main()
else:
    from tasks import evidence, month
    imported = time.perf_counter()
    if what == "report":
        made = month.make(sys.argv[3])
        month.documents(made)
        result = made.report["headline"]
    else:
        evidence.generate_keys()
        result = evidence.pack(sys.argv[3], folder / "pack.zip").bytes
print(json.dumps({"seconds": time.perf_counter() - begun, "result": result,
                  "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def main() -> None:
    """Fill a ledger, then measure each process; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=50_000, help="each with 100 entries (default: 50,000)")
    parser.add_argument("--directory", type=Path, help="where the server's temporary folder is made (default: TMPDIR)")
    options = parser.parse_args()
    with kit.server(options.directory) as server, tempfile.TemporaryDirectory(dir=options.directory) as place:
        url = server.ledger("month", expiry={"round_up_to": "day"})
        admin = server.engine(url)
        begun = time.perf_counter()
        lapses = f"date '{kit.START}' + {DAYS} + 365"
        kit.fill(admin, members=options.members, lots=LOTS, history=HISTORY, valid_through=lapses, days=DAYS)
        kit.fill_events(admin)
        kit.execute(admin, "update points.book_day set status = 'closed', closed_at = now() where status = 'open'")
        entries = kit.seal(admin)
        print(f"{entries:,} entries, filled in {time.perf_counter() - begun:.0f} s", flush=True)
        folder = Path(place)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("LOYALTY_", "PREFECT_"))} | {
            "LOYALTY_HOME": str(folder / "home"),
            "LOYALTY_DATABASE_URL": url.set(username="loyalty_batch").render_as_string(hide_password=False),
            "LOYALTY_AUDITOR_DATABASE_URL": url.set(username="loyalty_auditor").render_as_string(hide_password=False),
        }  # fmt: skip
        told = {what: run(what, folder, environment) for what in ("report", "pack", "verify")}
    assert told["report"]["result"] == f"{MONTH}: everything agrees.", told
    assert told["verify"]["result"] == 0, told
    rows = []
    for what, words in (
        ("report", "report of a month"),
        ("pack", "its evidence pack"),
        ("verify", "the pack verified alone"),
    ):
        goal = 1 if what == "report" else None
        took, memory = told[what]["seconds"], told[what]["rss"]
        name = f"{words}, {entries:,} entries"
        rows.append(kit.Ratio(name, "s", took, LIMIT_SECONDS, "three minutes", goal, "one run", at_most=True))
        rows.append(kit.Ratio(f"{words}: memory", "MB", memory, LIMIT_MB, "the limit", goal, "one run", at_most=True))
    kit.report(rows, [f"The pack of {entries:,} entries: {told['pack']['result'] / 1e6:,.0f} MB."])


def run(what: str, folder: Path, environment: dict[str, str]) -> dict[str, object]:
    """One process: what it said of itself."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, what, str(folder), MONTH], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    print(f"  {what}: {done.stdout.strip()}", flush=True)
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told


if __name__ == "__main__":
    main()
