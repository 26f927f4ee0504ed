"""The manifest of a backup: what it holds, signed, and stored last. A backup without one is none."""

import base64
import datetime as dt
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.backup_keys import key_id, public_text
from infra.backup_parts import Sealed
from infra.backup_refusals import BackupDamaged, NoSuchBackup, StorageFailed
from infra.object_store import Lock, ObjectStore

NAME = "MANIFEST"
FORMAT = 1
_KEY = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/MANIFEST$")


@dataclass(frozen=True)
class Committed:
    """A manifest as it was stored, its SHA-256, and until when the server holds all of the backup (None: it does not)."""

    manifest: dict[str, Any]
    sha256: str
    locked_until: dt.datetime | None


def commit(
    store: ObjectStore, prefix: str, facts: dict[str, Any], signer: Ed25519PrivateKey, lock: Lock | None = None
) -> Committed:
    """Sign and store the manifest after every part was seen in the bucket; it says until when the parts are locked.

    Raises:
        StorageFailed: a part is not there, or the manifest does not read back.
    """
    locks = []
    for part in Sealed.of(facts["content"]).parts:
        held = store.look(prefix + part.name, part.version)
        if held is None or held.size != part.size:
            raise StorageFailed(
                f"{prefix}{part.name} was confirmed with {part.size} bytes, and is not there so: {held}."
            )
        locks.append(held.locked_until)
    until = _earliest(locks)
    manifest = {**facts, "locked_until": until and until.isoformat()}
    body = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    document = json.dumps(
        {
            "manifest": base64.b64encode(body).decode(),
            "signature": base64.b64encode(signer.sign(body)).decode(),
            "signer": key_id(public_text(signer.public_key())),
        }
    ).encode()
    version = store.put(prefix + NAME, document, lock=lock).version
    if store.get(prefix + NAME, version) != document:
        raise StorageFailed(f"{prefix}{NAME} does not read back as it was written.")
    held = store.look(prefix + NAME, version)
    return Committed(
        manifest, hashlib.sha256(body).hexdigest(), _earliest([until, held.locked_until if held else None])
    )


def load(store: ObjectStore, prefix: str, signers: dict[str, Ed25519PublicKey]) -> dict[str, Any]:
    """The manifest under a prefix, its signature verified; one that was written over or hidden counts, where it is kept.

    Raises:
        NoSuchBackup: there is no manifest.
        BackupDamaged: it is not signed by a trusted key, or belongs to another place.
        StorageFailed: the server refused, or does not answer.
    """
    damaged: BackupDamaged | None = None
    for document in store.contents(prefix + NAME):
        try:
            return _trusted(document, prefix, signers)
        except BackupDamaged as error:
            damaged = damaged or error
    raise damaged or NoSuchBackup(f"There is no backup at {prefix} in the bucket {store.bucket}.")


def _trusted(document: bytes, prefix: str, signers: dict[str, Ed25519PublicKey]) -> dict[str, Any]:
    try:
        envelope = json.loads(document)
        body = base64.b64decode(envelope["manifest"], validate=True)
        signature = base64.b64decode(envelope["signature"], validate=True)
        signer = signers.get(envelope["signer"])
    except (ValueError, KeyError, TypeError) as error:
        raise BackupDamaged(f"{prefix}{NAME} cannot be read.") from error
    if signer is None:
        raise BackupDamaged(f"{prefix}{NAME} is signed by the key {envelope['signer']!r}, which is not in signers.txt.")
    try:
        signer.verify(signature, body)
    except InvalidSignature as error:
        raise BackupDamaged(f"{prefix}{NAME} was changed after it was signed.") from error
    manifest: dict[str, Any] = json.loads(body)
    if manifest["format"] != FORMAT or not prefix.endswith(f"{manifest['backup_id']}/"):
        # a manifest put under another backup's name would be validly signed
        raise BackupDamaged(
            f"{prefix}{NAME} belongs to the backup {manifest['backup_id']}, format {manifest['format']}."
        )
    return manifest


def stored(store: ObjectStore, root: str) -> list[str]:
    """The ids of the backups under a prefix that have a manifest, whoever made them, and also when somebody hid it.

    Raises:
        StorageFailed: the server refused, or does not answer.
    """
    names = {one.key for one in store.versions(root) if not one.is_marker}
    return [found[1] for key in sorted(names) if (found := _KEY.search(key))]


def _earliest(locks: list[dt.datetime | None]) -> dt.datetime | None:
    known = [until for until in locks if until]
    return min(known) if known and len(known) == len(locks) else None
