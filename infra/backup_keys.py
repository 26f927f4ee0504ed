"""The keys of backups: files in one folder, in the formats of ``age``, so that other tools read them too.

``recipients.txt`` public keys that every new backup is encrypted to; ``identities.txt`` the secret ones, needed for a
drill and a restore only; ``signing.key`` signs manifests; ``signers.txt`` the public keys whose signature is trusted.
A rotation adds: old identities and signers stay, so that old backups stay readable.
"""

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pyrage import IdentityError, RecipientError, x25519

from infra.backup_refusals import KeysExist, KeysMissing

Key = TypeVar("Key")
RECIPIENTS, IDENTITIES, SIGNING, SIGNERS = "recipients.txt", "identities.txt", "signing.key", "signers.txt"


@dataclass(frozen=True)
class Keys:
    """A folder of keys; each part is read when it is needed, so that a host may hold only some. ``command`` makes them."""

    folder: Path
    command: str = "loyalty backup keys generate"

    def recipients(self) -> list[x25519.Recipient]:
        """Whom a new backup is encrypted to.

        Raises:
            KeysMissing: no readable ``recipients.txt``.
        """
        return [_read(x25519.Recipient.from_str, line, self.folder / RECIPIENTS) for line in self._lines(RECIPIENTS)]

    def identities(self) -> list[x25519.Identity]:
        """The secret keys that open backups.

        Raises:
            KeysMissing: no readable ``identities.txt``.
        """
        return [_read(x25519.Identity.from_str, line, self.folder / IDENTITIES) for line in self._lines(IDENTITIES)]

    def signer(self) -> Ed25519PrivateKey:
        """The key that signs a new manifest.

        Raises:
            KeysMissing: no readable ``signing.key``.
        """
        [line, *_] = self._lines(SIGNING)
        return _read(
            lambda text: Ed25519PrivateKey.from_private_bytes(base64.b64decode(text)), line, self.folder / SIGNING
        )

    def signers(self) -> dict[str, Ed25519PublicKey]:
        """The trusted signers by key id.

        Raises:
            KeysMissing: no readable ``signers.txt``.
        """
        lines = self._lines(SIGNERS)
        return {
            key_id(line): _read(
                lambda text: Ed25519PublicKey.from_public_bytes(base64.b64decode(text)), line, self.folder / SIGNERS
            )
            for line in lines
        }

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        try:
            lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
        except OSError as error:
            raise KeysMissing(f"There is no {path} that can be read. Make keys with: {self.command}") from error
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise KeysMissing(f"{path} holds no key.")
        return found


def key_id(public: object) -> str:
    """Sixteen hexadecimal digits that name a public key."""
    return hashlib.sha256(str(public).encode()).hexdigest()[:16]


def public_text(key: Ed25519PublicKey) -> str:
    """A signer as ``signers.txt`` writes it."""
    return base64.b64encode(key.public_bytes_raw()).decode()


def generate(folder: Path) -> Keys:
    """Make an identity and a signing key.

    Raises:
        KeysExist: there are some; they are never overwritten.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if there := [name for name in (RECIPIENTS, IDENTITIES, SIGNING, SIGNERS) if (folder / name).exists()]:
        raise KeysExist(f"{folder} has {', '.join(there)} already. To change keys: loyalty backup keys rotate")
    _add(Keys(folder), [], [], [])
    return Keys(folder)


def rotate(keys: Keys) -> None:
    """Encrypt and sign what comes with new keys; what there is stays readable with the old ones.

    Recipients of others (an escrow key, whose identity is not here) stay.

    Raises:
        KeysMissing: there are no keys to rotate here, or not the secret ones.
    """
    identities = keys.identities()
    ours = {str(identity.to_public()) for identity in identities}
    others = [str(recipient) for recipient in keys.recipients() if str(recipient) not in ours]
    signers = [public_text(signer) for signer in keys.signers().values()]
    _add(keys, others, [str(identity) for identity in identities], signers)


def _add(keys: Keys, recipients: list[str], identities: list[str], signers: list[str]) -> None:
    identity, signer = x25519.Identity.generate(), Ed25519PrivateKey.generate()
    secret = base64.b64encode(signer.private_bytes_raw()).decode()
    # What opens and what trusts before what encrypts and signs: cut short here, no backup is made that nobody can read.
    write_keys(
        keys.folder / IDENTITIES, [str(identity), *identities], "secret: opens the backups. Keep a copy elsewhere."
    )
    write_keys(
        keys.folder / SIGNERS, [public_text(signer.public_key()), *signers], "public: whose manifests are trusted"
    )
    write_keys(
        keys.folder / RECIPIENTS, [str(identity.to_public()), *recipients], "public: new backups are encrypted to these"
    )
    write_keys(keys.folder / SIGNING, [secret], "secret: signs the manifests of new backups")


def write_keys(path: Path, lines: list[str], comment: str) -> None:
    """Write a file of keys, whole or not at all, for its owner's eyes."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.touch(mode=0o600)
    unfinished.write_text("\n".join([f"# {comment}", *lines, ""]), "utf-8")
    unfinished.replace(path)


def _read(reader: Callable[[str], Key], line: str, path: Path) -> Key:
    try:
        return reader(line)
    except (IdentityError, RecipientError, ValueError) as error:
        raise KeysMissing(
            f"{path} has a line that is no key of its kind."
        ) from error  # never the line: it may be secret
