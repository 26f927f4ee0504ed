"""Steps around contact data: where its keys are, their rotation, what members consent to, and the erasure of a member."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prefect import task

from infra import contact_cipher, contact_keys
from infra.backup_refusals import BackupRefused
from infra.contact_cipher import ContactKeysRefused, MasterKeys
from infra.contact_keys import ContactKeys
from infra.settings import settings
from points_ledger import contacts, members
from points_ledger.contacts import ConsentChannel, ConsentClass, ErasurePlan, Source
from points_ledger.errors import translated
from tasks import backup, ledger


@dataclass(frozen=True)
class Erased:
    """What an erasure did. ``not_listed``: why it does not stand beside the backups yet; None when it does."""

    plan: ErasurePlan
    is_new: bool
    not_listed: str | None


def keys() -> ContactKeys:
    """The keys of contacts, as far as there are any.

    Raises:
        ContactKeysRefused: what is written there is no key.
    """
    chosen = settings()
    marks, master = (
        None if secret is None else secret.get_secret_value()
        for secret in (chosen.contact_key, chosen.contact_master_keys)
    )
    return contact_keys.read(chosen.home, marks, master)


def master_keys() -> MasterKeys:
    """The master keys.

    Raises:
        ContactKeysRefused: there are none.
    """
    found = keys().master
    if found is None:
        raise ContactKeysRefused(
            "There are no keys of contacts: set LOYALTY_CONTACT_MASTER_KEYS, or run loyalty contacts generate-keys."
        )
    return found


def generate_keys() -> Path:
    """Make keys in a file of this machine; return it.

    Raises:
        ContactKeysRefused: there are keys already.
    """
    if keys().master is not None or keys().marks is not None:
        raise ContactKeysRefused(
            "There are keys of contacts already, and without them no contact could be read any more."
        )
    return contact_keys.generate(settings().home)


def new_key(name: str) -> str:
    """A new master key as the setting writes it."""
    return f"{name}:{contact_cipher.new_key()}"


def key_ids() -> dict[str, int]:
    """How many members' keys are wrapped under each master key."""
    ledger.policy()
    with ledger.engine().connect() as connection:
        return contacts.key_ids(connection)


def rotate(progress: Callable[[int], None] = lambda _: None) -> tuple[str, int]:
    """Wrap every member's key under the newest master key; return its name, and how many there were. Safe to repeat.

    Raises:
        CannotOpen: a member's key needs a master key that is not here; those before it are done.
    """
    ledger.policy()
    master, done = master_keys(), 0
    while True:
        with ledger.engine().begin() as connection:
            count = contacts.rewrap(connection, master.rewrap, master.newest)
        if not count:
            return master.newest, done
        done += count
        progress(count)


def consent(
    member_no: str,
    class_: ConsentClass,
    channel: ConsentChannel,
    *,
    is_granted: bool,
    source: Source,
    moment: dt.datetime,
) -> bool:
    """Record what a member said of a class of notices; return whether it is another word than their newest.

    Raises:
        UnknownMember: nobody has that number.
    """
    ledger.policy()
    with translated(), ledger.engine().begin() as connection:
        return contacts.agree(
            connection, member_id=members.member_id(connection, member_no), class_=class_, channel=channel,
            is_granted=is_granted, source=source, moment=moment,
        )  # fmt: skip


def plan_erasure(member_no: str) -> ErasurePlan:
    """What an erasure would destroy; changes nothing.

    Raises:
        UnknownMember: nobody has that number.
    """
    ledger.policy()
    with ledger.engine().connect() as connection:
        return contacts.erasure_plan(connection, member_no)


def erase(member_no: str, reason: str, moment: dt.datetime) -> Erased:
    """Erase a member, and list it beside the backups. Safe to repeat: what is not listed yet is.

    Raises:
        LedgerError: nobody has that number, or the reason says nothing.
    """
    plan = plan_erasure(member_no)
    with translated(), ledger.engine().begin() as connection:
        is_new = contacts.erase(connection, member_no=member_no, reason=reason, moment=moment)
    try:
        backup.list_erasures(backup.vault())
    except BackupRefused as why:  # done it is; every backup and every erasure tries to list it again
        return Erased(plan, is_new, str(why))
    return Erased(plan, is_new, None)


@task(name="erase-member", task_run_name="erase {member_no}")
def erase_step(member_no: str, reason: str, moment: dt.datetime) -> Erased:
    """``erase`` as a step of a flow; a member is erased once."""
    return erase(member_no, reason, moment)
