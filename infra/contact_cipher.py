"""Seals contacts and proofs: one key per member, wrapped under a master key that is kept outside the database.

AES-256-GCM with random nonces, each value bound to its place, so that none can be put in the place of another. To destroy
a member's wrapped key destroys everything sealed under it. A new master key is added in front of the old ones, ``rewrap``
moves the members' keys over, then the old one can go. Who loses a master key loses what is wrapped under it, and says so by
``NAME:lost``: members' contacts that are imported again then get new keys.
"""

import base64
import binascii
import json
import os
import re
import zlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from points_ledger.contacts import Contact, MemberKey, Sealed, ToSeal

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_KEY: Final = re.compile(r"([A-Za-z0-9._-]{1,32}):([A-Za-z0-9+/_-]+=*)")


class ContactKeysRefused(ValueError):
    """The master keys of contacts cannot be used as they are written."""


class CannotOpen(Exception):
    """What is sealed does not open: its master key is not here, or it is not what was sealed in that place."""


@dataclass(frozen=True)
class MasterKeys:
    """Master keys by name; new members' keys are wrapped under ``newest``."""

    newest: str
    keys: dict[str, bytes] = field(repr=False)
    lost: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, written: str) -> "MasterKeys":
        """Read ``name:base64`` items, separated by commas or line breaks; the first is the newest.

        Raises:
            ContactKeysRefused: which item is no key, never the key.
        """
        keys: dict[str, bytes] = {}
        items = list(filter(None, re.split(r"[,\s]+", written)))
        lost = frozenset(item.removesuffix(":lost") for item in items if item.endswith(":lost"))
        for number, item in enumerate(items, start=1):
            if item.endswith(":lost"):
                continue
            found = _KEY.fullmatch(item)
            try:
                key = base64.b64decode(found[2].replace("-", "+").replace("_", "/"), validate=True) if found else b""
            except binascii.Error:
                key = b""
            if found is None or len(key) != KEY_BYTES or found[1] in {*keys, *lost}:
                raise ContactKeysRefused(
                    f"Master key {number} of contacts is none: write NAME:BASE64 of {KEY_BYTES} random bytes, each name once. "
                    "Make one with: loyalty contacts new-key"
                )
            keys[found[1]] = key
        if not keys:
            raise ContactKeysRefused("There is no master key of contacts.")
        return cls(next(iter(keys)), keys, lost)

    def seal(self, asked: ToSeal) -> Sealed:
        """Seal a contact under the member's key; under a new one where there is none, or it was lost.

        Raises:
            CannotOpen: the member's key is wrapped under a master key that is not here and is not said to be lost.
        """
        if asked.key is None or asked.key.key_id in self.lost:
            secret, key = self._new(asked.member_id)
        else:
            secret, key = self.unwrap(asked.member_id, asked.key), asked.key
        return Sealed(key, seal_contact(secret, asked.member_id, asked.contact))

    def unwrap(self, member_id: int, key: MemberKey) -> bytes:
        """The member's key itself.

        Raises:
            CannotOpen: the master key is not here, or not the one.
        """
        master = self.keys.get(key.key_id)
        if master is None:
            raise CannotOpen(f"The master key {key.key_id!r} of contacts is not among {', '.join(self.keys)}.")
        return _open(master, key.wrapped, f"key:{member_id}")

    def rewrap(self, member_id: int, key: MemberKey) -> MemberKey:
        """The same member's key under the newest master key.

        Raises:
            CannotOpen: its master key is not here.
        """
        return self._wrap(member_id, self.unwrap(member_id, key))

    def _new(self, member_id: int) -> tuple[bytes, MemberKey]:
        secret = os.urandom(KEY_BYTES)
        return secret, self._wrap(member_id, secret)

    def _wrap(self, member_id: int, secret: bytes) -> MemberKey:
        return MemberKey(_seal(self.keys[self.newest], secret, f"key:{member_id}"), self.newest)


def new_key() -> str:
    """The secret half of an item that ``parse`` reads."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def seal_contact(secret: bytes, member_id: int, contact: Contact) -> bytes:
    """A contact under a member's key."""
    content = json.dumps({"name": contact.name, "email": contact.email, "phone": contact.phone}, ensure_ascii=False)
    return _seal(secret, content.encode(), f"contact:{member_id}")


def open_contact(secret: bytes, member_id: int, sealed: bytes) -> Contact:
    """The contact that ``seal_contact`` sealed.

    Raises:
        CannotOpen: another key, or another member's.
    """
    return Contact(**json.loads(_open(secret, sealed, f"contact:{member_id}")))


def seal_proof(secret: bytes, notice_id: int, attempt: int, content: bytes, dictionary: bytes) -> bytes:
    """The bytes that were sent, compressed with what most of them share, under the member's key."""
    # a window for two mails, and little memory: making the packer takes longer than packing what a mail has of its own
    packer = zlib.compressobj(6, zlib.DEFLATED, wbits=14, memLevel=5, zdict=dictionary)
    return _seal(secret, packer.compress(content) + packer.flush(), f"proof:{notice_id}:{attempt}")


def open_proof(secret: bytes, notice_id: int, attempt: int, sealed: bytes, dictionary: bytes) -> bytes:
    """The bytes that ``seal_proof`` sealed.

    Raises:
        CannotOpen: another key, another attempt, or another dictionary.
    """
    packed = _open(secret, sealed, f"proof:{notice_id}:{attempt}")
    try:
        unpacker = zlib.decompressobj(zdict=dictionary)
        return unpacker.decompress(packed) + unpacker.flush()
    except zlib.error as error:
        raise CannotOpen("The proof was compressed with another dictionary.") from error


def _seal(key: bytes, content: bytes, place: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, place.encode())


def _open(key: bytes, sealed: bytes, place: str) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.encode())
    except (InvalidTag, ValueError) as error:
        raise CannotOpen(f"What is sealed as {place} does not open with the key that is here.") from error
