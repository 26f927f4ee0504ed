"""The manifest of a backup: what it holds, signed, and stored last. A backup without one is none."""

import base64
import hashlib
import json
import re
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.backup_keys import key_id, public_text
from infra.backup_refusals import BackupDamaged, NoSuchBackup, StorageFailed
from infra.backup_stream import Sealed
from infra.object_store import ObjectStore

NAME = "MANIFEST"
FORMAT = 1
_KEY = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/MANIFEST$")


def commit(store: ObjectStore, prefix: str, manifest: dict[str, Any], signer: Ed25519PrivateKey) -> str:
    """Store the manifest after every part was seen in the bucket; return its SHA-256.

    Raises:
        StorageFailed: a part is not there, or the manifest does not read back.
    """
    for part in Sealed.of(manifest["content"]).parts:
        if (size := store.size(prefix + part.name)) != part.size:
            raise StorageFailed(f"{prefix}{part.name} was confirmed with {part.size} bytes, and has {size}.")
    body = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    document = json.dumps(
        {
            "manifest": base64.b64encode(body).decode(),
            "signature": base64.b64encode(signer.sign(body)).decode(),
            "signer": key_id(public_text(signer.public_key())),
        }
    ).encode()
    store.put(prefix + NAME, document)
    if store.get(prefix + NAME) != document:
        raise StorageFailed(f"{prefix}{NAME} does not read back as it was written.")
    return hashlib.sha256(body).hexdigest()


def load(store: ObjectStore, prefix: str, signers: dict[str, Ed25519PublicKey]) -> dict[str, Any]:
    """The manifest under a prefix, its signature verified.

    Raises:
        NoSuchBackup: there is no manifest.
        BackupDamaged: it is not signed by a trusted key, or belongs to another place.
        StorageFailed: the server refused, or does not answer.
    """
    document = store.get(prefix + NAME)
    if document is None:
        raise NoSuchBackup(f"There is no backup at {prefix} in the bucket {store.bucket}.")
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
    """The ids of the backups under a prefix that have a manifest, whoever made them.

    Raises:
        StorageFailed: the server refused, or does not answer.
    """
    return [found[1] for key in store.keys(root) if (found := _KEY.search(key))]
