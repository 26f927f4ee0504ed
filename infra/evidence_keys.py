"""The keys that sign evidence packs: ``signing.key`` and ``signers.txt``, as backups have them, in a folder of their own.

Apart from those of backups: whoever may sign what auditors rely on need not be able to forge a backup, and the other way round.
"""

import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.backup_keys import SIGNERS, SIGNING, Keys, public_text, write_keys
from infra.backup_refusals import KeysExist


def keys_in(folder: Path) -> Keys:
    """The keys of a folder; it need not exist."""
    return Keys(folder, "loyalty month keys generate")


def generate(folder: Path) -> Keys:
    """Make a signing key.

    Raises:
        KeysExist: there is one; it is never overwritten.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if there := [name for name in (SIGNING, SIGNERS) if (folder / name).exists()]:
        raise KeysExist(f"{folder} has {', '.join(there)} already. To change keys: loyalty month keys rotate")
    _add(folder, [])
    return keys_in(folder)


def rotate(keys: Keys) -> None:
    """Sign what comes with a new key; the old ones stay among the trusted.

    Raises:
        KeysMissing: there is no key to rotate.
    """
    _add(keys.folder, [public_text(signer) for signer in keys.signers().values()])


def _add(folder: Path, signers: list[str]) -> None:
    signer = Ed25519PrivateKey.generate()
    public = public_text(signer.public_key())
    # what trusts before what signs: cut short here, nothing is signed that nobody trusts
    write_keys(folder / SIGNERS, [public, *signers], "public: whose evidence packs are trusted, newest first")
    secret = base64.b64encode(signer.private_bytes_raw()).decode()
    write_keys(folder / SIGNING, [secret], "secret: signs evidence packs")
