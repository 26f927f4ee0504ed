"""A backup, from the ledger to a signed manifest in S3, against ``pg_dump | zstd`` to local disk.

Ours compresses, encrypts, hashes and sends over S3 to ``rclone serve s3`` on this machine, and counts rows and control
totals of the same snapshot meanwhile. The other side compresses and writes a file: the same pg_dump, the same zstd
level, fsynced at the end. What restoring and proving one takes is asked by ``bench_restore.py``.

    python benchmarks/bench_backup.py
    python benchmarks/bench_backup.py --size 200000 --rounds 4
"""

import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kit

from infra import backup_keys, backup_run, embedded, object_store, postgres_tools
from infra.backup_run import Vault
from infra.settings import Settings

LOTS, HISTORY = 10, 5  # open lots a member, and lots earned and spent before: 20 entries a member


@contextmanager
def storage(folder: Path) -> Iterator[embedded.StorageAccess]:
    """The S3 server of the embedded default."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        chosen = Settings(home=folder, s3_port=probe.getsockname()[1])
    command, environment = embedded.storage_command(chosen), os.environ | embedded.storage_environment(chosen)
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield embedded.storage_access(chosen)
        finally:
            process.kill()


def piped(url: str, tools: postgres_tools.Tools, target: Path) -> tuple[float, int]:
    """``pg_dump | zstd > file``; seconds and bytes of the file."""
    address, environment = postgres_tools.connection(url)
    pack = ["zstd", "-1", "-q", "-c"] if shutil.which("zstd") else ["gzip", "-1", "-c"]
    begun = time.perf_counter()
    dump = [tools.command("pg_dump"), "--format=custom", "--compress=0", "--schema=points", f"--dbname={address}"]
    with target.open("wb") as file, subprocess.Popen(dump, stdout=subprocess.PIPE, env=environment) as source:
        assert subprocess.run(pack, stdin=source.stdout, stdout=file, check=True).returncode == 0
        os.fsync(file.fileno())
    assert source.returncode == 0
    return time.perf_counter() - begun, target.stat().st_size


def main() -> None:
    """Both sides in turn."""
    parser = kit.arguments(__doc__, "members, 20 entries each", 50_000, "Goal: 0.8, and 300 MB of memory.")
    options = parser.parse_args()
    with kit.server(options.directory) as server, tempfile.TemporaryDirectory(dir=options.directory) as scratch:
        folder = Path(scratch)
        address = server.ledger("backups")
        admin = server.engine(address)
        kit.fill(admin, members=options.size, lots=LOTS, history=HISTORY, valid_through="date '2027-12-31'")
        url = address.render_as_string(hide_password=False)
        tools = postgres_tools.tools(18)
        batch, reader = server.engine(address, "loyalty_batch"), server.engine(address, "loyalty_backup")
        plain = 0
        with storage(folder / "home") as access:
            vault = Vault(object_store.connect(access), backup_keys.generate(folder / "keys"), "backups")

            def ours(_: int) -> float:
                nonlocal plain
                begun = time.perf_counter()
                content = backup_run.take(batch, reader, vault)["content"]
                taken, plain = time.perf_counter() - begun, content["plain_bytes"]
                print(f"    ours: {taken:.2f} s, {content['stored_bytes'] / 1e6:.0f} MB stored", flush=True)
                return float(plain) / 1e6 / taken

            def other(_: int) -> float:
                taken, size = piped(url, tools, folder / "dump")
                print(f"    other: {taken:.2f} s, {size / 1e6:.0f} MB written", flush=True)
                return plain / 1e6 / taken

            ours(0)  # warms the cache, and says how many bytes there are
            sides = kit.alternate(options.rounds, ours, other)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows = [
            kit.compare(
                f"backup stream, {plain / 1e6:,.0f} MB of rows",
                "MB/s",
                f"pg_dump into {'zstd -1' if shutil.which('zstd') else 'gzip -1 (no zstd here)'} to local disk",
                0.8,
                sides,
            ),
            kit.Ratio("its memory, Python", "MB", memory, 300, "the limit", 1, "–", at_most=True),
        ]
        kit.report(rows)


if __name__ == "__main__":
    main()
