"""What can go wrong with backups, by name: what an operator reads, and what the end of a run is named after.

BackupRefused
├── KeysMissing      no keys, or not the one that is needed
├── KeysExist        keys are there already, and are not overwritten
├── StorageFailed    the S3 server refused, or is gone
├── BackupUnderWay   another run has the lock
├── BackupFailed     the dump stopped
├── BackupDamaged    what is stored is not what was backed up
├── NoSuchBackup     nothing of that name
├── BackupLocked     the bucket holds it against deletion
├── ToolMissing      pg_dump or pg_restore of the right version
├── NotEmpty         a restore would write into a database that holds something
└── RestoreFailed    pg_restore stopped, or the copy differs from the manifest
"""

import datetime as dt


class BackupRefused(Exception):
    """A backup, a drill or a restore did not happen; the message says why and what to do."""


class KeysMissing(BackupRefused):
    """The keys for this are not here."""


class KeysExist(BackupRefused):
    """There are keys already."""


class StorageFailed(BackupRefused):
    """The S3 server refused, or does not answer."""


class BackupUnderWay(BackupRefused):
    """Another backup of this ledger is being taken."""


class BackupFailed(BackupRefused):
    """The dump stopped before its end; nothing that looks like a backup was left."""


class BackupDamaged(BackupRefused):
    """What is stored is not what was backed up."""


class NoSuchBackup(BackupRefused):
    """There is no such backup."""


class BackupLocked(BackupRefused):
    """The bucket holds the backup against deletion, until the moment it carries."""

    def __init__(self, until: dt.datetime) -> None:
        """Keep the moment."""
        super().__init__(until)
        self.until = until

    def __str__(self) -> str:
        """One sentence."""
        return f"The bucket holds the backup against deletion until {self.until:%Y-%m-%d %H:%M} UTC."


class ToolMissing(BackupRefused):
    """A program of PostgreSQL is missing or too old."""


class NotEmpty(BackupRefused):
    """The database holds something; a restore writes into an empty one only."""


class RestoreFailed(BackupRefused):
    """The copy could not be made, or is not equal to what was backed up."""
