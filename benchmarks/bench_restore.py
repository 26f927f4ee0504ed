"""A ledger of a million members with ten million lots, backed up, restored into a scratch Postgres, and proven: how long?

The ledger of ``bench_million.py`` is filled in bulk, its days closed and sealed. A process of its own then takes a backup
into ``rclone serve s3`` on this machine and drills it: an empty Postgres, ``pg_restore``, rows and totals and seals against
the manifest, I1 to I14 and every seal recomputed. Measured: the seconds of each stage, and the largest memory of Python.

    python benchmarks/bench_restore.py
    python benchmarks/bench_restore.py --members 50000
"""

import argparse
import datetime as dt
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kit
import sqlalchemy as sa
from bench_backup import storage

from infra import backup_keys, backup_run, drills, object_store
from infra.backup_run import Vault
from points_ledger import backups

LOTS = 10
DAYS = 20  # the ledger's days before the open lots were earned
LIMIT_SECONDS, LIMIT_MB = 900, 300

CLOSED = """
update points.book_day set status = 'closed', closed_at = clock_timestamp() where book_date <= '{last}' and status = 'open';
insert into points.run (job, business_date, status, finished_at) values ('close-night', '{last}', 'done', clock_timestamp());
update points.wallet as w set active_on = a.active_on
    from points.last_activities('infinity') as a where a.member_id = w.member_id and a.active_on is distinct from w.active_on;
select points.seal_day(book_date) from (select book_date from points.book_day where status = 'closed' order by 1) as d;
analyze
"""


def prove(url: sa.URL, folder: Path) -> None:
    """Back up and drill, in this process; print the seconds of the stages, what was found, and the memory as JSON."""
    batch, reader = (sa.create_engine(url.set(username=f"loyalty_{login}")) for login in ("batch", "backup"))
    with storage(folder / "home") as access:
        time.sleep(1)
        vault = Vault(object_store.connect(access), backup_keys.generate(folder / "keys"), "backups")
        begun = time.perf_counter()
        content = backup_run.take(batch, reader, vault)["content"]
        taken = time.perf_counter() - begun
        evidence = drills.drill(batch, vault, folder / "drill", progress=lambda what: print(what, file=sys.stderr))
        with batch.connect() as connection:
            assert backups.catalogue(connection)[-1].state == ("proven" if evidence["passed"] else "in doubt")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sizes = {"plain_bytes": content["plain_bytes"], "stored_bytes": content["stored_bytes"]}
    print(json.dumps({"taken": taken, "evidence": evidence, "memory": memory, **sizes}, default=str))


def main() -> None:
    """Fill, close and seal; back up and drill in a child process; print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", "--size", dest="members", type=int, default=1_000_000, help="default: 1,000,000")
    parser.add_argument("--directory", type=Path, help="where the server's temporary folder is made (default: TMPDIR)")
    parser.add_argument("--prove", nargs=2, help=argparse.SUPPRESS)
    parser.epilog = "Goal: 15 minutes, and 300 MB of memory. A million members need about 15 GB of disk."
    options = parser.parse_args()
    if options.prove:
        prove(sa.make_url(options.prove[0]), Path(options.prove[1]))
        return
    with kit.server(options.directory) as server, tempfile.TemporaryDirectory(dir=options.directory) as scratch:
        Path(scratch).chmod(0o755)  # the scratch server of the drill runs as another user when we are root
        url = server.ledger("restore")
        admin = server.engine(url)
        with kit.stopwatch() as seconds:
            last = kit.START + dt.timedelta(days=DAYS)
            kit.fill(
                admin, members=options.members, lots=LOTS, history=0, days=DAYS,
                valid_through=f"date '{last}' + (30 * l)::int",
            )  # fmt: skip
            kit.execute(admin, *CLOSED.format(last=last).strip().split(";\n"))
            loading = seconds()
        print(f"filled {options.members:,} members, {LOTS * options.members:,} lots in {loading:,.0f} s", flush=True)
        server.dispose()
        command = [sys.executable, __file__, "--prove", url.render_as_string(), scratch]
        child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        told = json.loads(child.stdout.splitlines()[-1])
        evidence = told["evidence"]
        name = f"restore and all proofs, {options.members:,} members, {LOTS * options.members:,} lots and entries"
        stages = "; ".join(f"{what} {seconds:,.1f}" for what, seconds in evidence["stages"].items())
        kit.report(
            [
                kit.Ratio(name, "s", evidence["seconds"], LIMIT_SECONDS, "the limit", 1.0, "one run", at_most=True),
                kit.Ratio(
                    "its memory, Python", "MB", told["memory"], LIMIT_MB, "the limit", 1.0, "one run", at_most=True
                ),
            ],
            [
                f"passed: {evidence['passed']} {evidence['differences'][:3]}; the backup of {told['plain_bytes'] / 1e6:,.0f} MB of "
                f"rows, {told['stored_bytes'] / 1e6:,.0f} MB stored, took {told['taken']:,.0f} s.",
                f"Seconds: {stages}.",
            ],
        )


if __name__ == "__main__":
    main()
