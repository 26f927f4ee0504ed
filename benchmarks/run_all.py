"""Run every benchmark in turn and print one table: both sides of every ratio, machine, date, goal, verdict.

This is ``make bench``. Each benchmark is a process with a Postgres of its own; one that fails is named at the end, and
the others still run. ``--quick`` makes everything small, to see that it runs; such figures prove nothing.

    python benchmarks/run_all.py
    python benchmarks/run_all.py --quick
"""

import argparse
import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import kit

HERE = Path(__file__).parent
QUICK = {
    "bench_expiry.py": ["--size", "1000", "--rounds", "4"],
    "bench_spend.py": ["--size", "1000", "--rounds", "2", "--seconds", "1"],
    "bench_backup.py": ["--size", "1000", "--rounds", "1"],
    "bench_import.py": ["--size", "20000", "--rounds", "1"],
    "bench_checks.py": ["--size", "300", "--rounds", "1"],
    "bench_million.py": ["--members", "5000"],
    "bench_month.py": ["--members", "500"],
    "bench_notices_enqueue.py": ["--size", "2000", "--rounds", "1"],
    "bench_notices.py": ["--size", "500", "--rounds", "1"],
    "bench_rules.py": ["--size", "20000", "--rounds", "1"],
    "bench_tiers.py": ["--members", "5000", "--rounds", "1"],
}


def main() -> int:
    """Run them; the exit code is 1 when one of them failed, whatever the ratios are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    options = parser.parse_args()
    machine, begun = kit.machine(), dt.datetime.now().astimezone()
    rows: list[kit.Ratio] = []
    notes: list[str] = []
    failed = []
    for script in sorted(HERE.glob("bench_*.py")):
        print(f"== {script.name}", flush=True)
        command = [sys.executable, str(script), *(QUICK.get(script.name, []) if options.quick else [])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            last = ""
            for line in running.stdout or ():
                if not line.startswith("{"):
                    print(line, end="", flush=True)
                last = line
        if running.returncode or not last.startswith("{"):
            failed.append(script.name)
            continue
        told = json.loads(last)
        rows += [kit.Ratio(**row) for row in told["rows"]]
        notes += told["notes"]
    print(f"\n{begun:%Y-%m-%d %H:%M}, {machine}{', quick: these figures prove nothing' if options.quick else ''}\n")
    print(kit.table(rows))
    for note in notes:
        print(f"\n{note}")
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
