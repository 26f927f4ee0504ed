"""A backup in a process of its own, which can be killed: of a ledger, into a storage, sealed with the keys it is given."""

from infra import backup_run, database
from infra.backup_keys import Keys
from infra.backup_run import Vault
from infra.object_store import connect

vault = Vault(connect(access), Keys(keys), "backups")  # noqa: F821 - given, as are the addresses
backup_run.take(database.engine(batch), database.engine(reader), vault, part_bytes=part_bytes)  # noqa: F821
