"""The evidence of a month as steps: write its pack, and store pack and report in S3, locked where the server can."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prefect import task

from expectations import runner
from infra import embedded, evidence_keys, evidence_pack, object_store
from infra.backup_keys import Keys
from infra.backup_refusals import BackupRefused
from infra.object_store import Lock
from infra.s3_answers import Stored
from infra.settings import settings
from points_ledger import evidence, month
from tasks import ledger
from tasks.month import Made, documents, made_of, reader, recorded

PACK: Final = "evidence.zip"
README: Final = """The evidence of a month of a points ledger.

To verify it, with Python 3.11 or newer and the package "cryptography":
    python verify_pack.py                     in the folder this was unpacked into, or
    python verify_pack.py PACK.zip            on the zip
Compare the key it names with the one that the operator publishes, or give it: --signer KEY_ID

MANIFEST.json   every file's SHA-256, control totals, the queries behind each CSV file; MANIFEST.sig signs it (Ed25519)
report.*        the month's report; report.json is what was recorded and signed off, the others show it
entries.csv     the month's entries, with every column that the seals cover; an absent value reads \\N
members.csv     each member's opening and closing balance; wallets.csv, lots.csv: what stands against it
orders.csv      every order computed again, against what was booked; judgements, order_lines, rules: what it follows from
returns.csv, returned_orders.csv, redemptions.csv, adjustments.csv: the other events against the ledger
seals.csv       the seals since the ledger's first day
queries/        the statements that gave all this
"""


@dataclass(frozen=True)
class Packed:
    """A pack as it was written."""

    path: Path
    sha256: str
    bytes: int
    headline: str
    deviations: int
    signer: str


def keys() -> Keys:
    """The keys that sign packs; they need not exist."""
    return evidence_keys.keys_in(settings().evidence_keys or settings().home / "evidence-keys")


def generate_keys() -> Path:
    """Make a key where there is none; return the folder."""
    return evidence_keys.generate(keys().folder).folder


def rotate_keys() -> Path:
    """A new key for what comes; return the folder."""
    evidence_keys.rotate(keys())
    return keys().folder


def trusted() -> list[str]:
    """The ids of the keys whose packs are trusted, newest first."""
    return list(keys().signers())


def pack(name: str, path: Path) -> Packed:
    """Write the evidence pack of a month whose nights are closed; the same bytes again from the same ledger and key.

    Raises:
        InvalidRequest: it is no month of the ledger, or a night of it is not closed.
        KeysMissing: there is no key to sign it with.
        OSError: the file cannot be written.
    """
    ledger.policy()
    return _pack(name, path)[1]


def _pack(name: str, path: Path) -> tuple[Made, Packed]:
    signer = keys().signer()
    with runner.snapshot(reader()) as (connection, _, _), evidence_pack.written(path) as pack:
        asked = month.month_of(connection, name)
        made = made_of(month.figures(connection, asked, keep=pack.keep))
        for population, query in evidence.KEPT.items():
            if f"{population}.csv" not in pack.closed():
                pack.put(f"{population}.csv", ",".join(evidence.columns(connection, query, asked)).encode() + b"\n")
        for population, query in evidence.COPIED.items():
            with pack.file(f"{population}.csv") as file:
                evidence.copy(connection, query, asked, file)
        for document, content in documents(made).items():
            pack.put(document, content)
        for query, sql in evidence.queries().items():
            pack.put(f"queries/{query}.sql", sql)
        pack.put("README.txt", README.encode())
        facts = evidence.facts(connection, asked, made.report, made.sha256)
        signed_by = pack.finish(facts | {"code_version": ledger.code_version()}, signer)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    report = made.report
    return made, Packed(path, sha256, path.stat().st_size, report["headline"], report["deviations"], signed_by)


def publish(name: str) -> tuple[Packed, list[Stored]]:
    """Write the pack of a closed month and store it beside the report; return where each object is, and until when locked.

    Raises:
        UnknownEvent: the month is not closed.
        KeysMissing: there is no key to sign it with.
        StorageFailed: the S3 server refused, or is gone.
    """
    with ledger.engine().connect() as connection:
        known = recorded(connection, name)
    store = object_store.connect(embedded.storage_access(settings()))
    with tempfile.TemporaryDirectory(prefix="loyalty-evidence-") as folder:
        made, packed = _pack(name, Path(folder) / PACK)
        place = f"{settings().report_prefix}/months/{name}/{made.sha256[:16]}/"
        # a pack of the month before it was signed stays beside the one after
        pack_name = "evidence-signed.zip" if known.signed_by else PACK
        until = object_store.later(known.signed_at or known.closed_at, years=settings().report_lock_years)
        lock = Lock(until, "COMPLIANCE") if until else None
        stored = []
        for document, content in documents(made).items():
            (Path(folder) / document).write_bytes(content)
            stored.append(store.put_file(place + document, Path(folder) / document, lock=lock))
        stored.append(store.put_file(place + pack_name, packed.path, lock=lock))
    return packed, stored


def lock_in_words(one: Stored) -> str:
    """Until when an object is locked, as the server said."""
    return (
        f"locked until {one.locked_until:%Y-%m-%d}"
        if one.locked_until
        else "not locked: this bucket has no Object Lock"
    )


@task(name="publish-month", retries=2, retry_delay_seconds=[5, 30])
def publish_step(name: str) -> dict[str, Any]:
    """``publish`` as a step of a flow, as plain values. A refusal is an answer: the month is closed all the same."""
    try:
        packed, stored = publish(name)
    except BackupRefused as refused:
        return {"refused": str(refused)}
    objects = [{"url": one.url, "bytes": one.bytes, "lock": lock_in_words(one)} for one in stored]
    return {"signer": packed.signer, "pack_sha256": packed.sha256, "stored": objects}
