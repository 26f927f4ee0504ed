"""The list of erasures beside the backups: one object each, so that a backup from before an erasure is erased again.

An object is named after the member's id, which is no personal data; its content is signed and encrypted as a backup is.
Objects are only ever added: retention of backups does not touch them.
"""

import base64
import datetime as dt
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import pyrage
from cryptography.exceptions import InvalidSignature
from sqlalchemy import Engine, text

from infra.backup_keys import key_id, public_text
from infra.backup_refusals import StorageFailed
from infra.backup_run import Vault
from points_ledger import contacts
from points_ledger.contacts import Erasure

FOLDER: Final = "erasures"
_NAME: Final = re.compile(rf"/{FOLDER}/(\d+)$")


@dataclass(frozen=True)
class Listed:
    """What the bucket holds: the erasures, and the names of objects that cannot be read or trusted."""

    erasures: list[Erasure]
    damaged: list[str]


@dataclass(frozen=True)
class Repeated:
    """How many members of a copy are erased by the list, and the names of objects that cannot be read or trusted."""

    erased: int
    damaged: list[str]


def store(vault: Vault, erasures: Sequence[Erasure]) -> int:
    """Store the erasures that the bucket does not hold yet; return how many. Safe to repeat.

    Raises:
        KeysMissing: no keys of backups.
        StorageFailed: the server refused, or does not answer.
    """
    if not erasures:
        return 0
    signer, recipients = vault.keys.signer(), vault.keys.recipients()
    there = set(_names(vault))
    missing = [one for one in erasures if _name(vault, one.member_id) not in there]
    for one in missing:
        body = json.dumps({**asdict(one), "moment": one.moment.isoformat()}, sort_keys=True).encode()
        envelope = {
            "erasure": base64.b64encode(body).decode(),
            "signature": base64.b64encode(signer.sign(_signed(one.member_id, body))).decode(),
            "signer": key_id(public_text(signer.public_key())),
        }
        content = pyrage.encrypt(json.dumps(envelope).encode(), recipients)
        vault.store.put(_name(vault, one.member_id), content)
        if vault.store.get(_name(vault, one.member_id)) != content:
            raise StorageFailed(f"{_name(vault, one.member_id)} does not read back as it was written.")
    return len(missing)


def load(vault: Vault) -> Listed:
    """Every erasure in the bucket, oldest first.

    Raises:
        KeysMissing: no keys that read them.
        StorageFailed: the server refused, or does not answer.
    """
    names = _names(vault)
    if not names:
        return Listed([], [])
    identities, signers = vault.keys.identities(), vault.keys.signers()
    erasures, damaged = [], []
    for name in names:
        for content in vault.store.contents(name):
            try:
                envelope = json.loads(pyrage.decrypt(content, identities))
                body = base64.b64decode(envelope["erasure"], validate=True)
                found = json.loads(body)
                signature = base64.b64decode(envelope["signature"])
                signers[envelope["signer"]].verify(signature, _signed(_member_id(name), body))
                erasures.append(Erasure(**{**found, "moment": dt.datetime.fromisoformat(found["moment"])}))
                break
            except (pyrage.DecryptError, InvalidSignature, ValueError, KeyError, TypeError):
                continue  # it was written over, where the bucket keeps what was there before
        else:
            damaged.append(name)
    return Listed(sorted(erasures, key=lambda one: (one.moment, one.member_id)), damaged)


def repeat(engine: Engine, vault: Vault) -> Repeated:
    """Erase in a restored copy who was erased since it was backed up.

    Raises:
        KeysMissing, StorageFailed: as ``load``; nothing was erased.
    """
    listed = load(vault)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL ROLE loyalty_owner"))
        # a backup from before there were contacts has nothing to erase
        has_contacts = connection.execute(text("SELECT to_regclass('points.erasure') IS NOT NULL")).scalar_one()
        erased = contacts.repeat_erasures(connection, listed.erasures) if has_contacts else 0
    return Repeated(erased, listed.damaged)


def _signed(member_id: int, body: bytes) -> bytes:
    # with its place: an object copied under another member's name is not signed
    return f"erasure of {member_id}\n".encode() + body


def _name(vault: Vault, member_id: int) -> str:
    return f"{vault.root}/{FOLDER}/{member_id}"


def _names(vault: Vault) -> list[str]:
    found = {one.key for one in vault.store.versions(f"{vault.root}/{FOLDER}/") if not one.is_marker}
    return sorted(name for name in found if _NAME.search(name))


def _member_id(name: str) -> int:
    found = _NAME.search(name)
    assert found is not None  # noqa: S101 - _names() lists no other
    return int(found[1])
