"""What can be wrong with what a person gave us: files, programmes, settings."""

from infra.backup_refusals import BackupRefused
from infra.cluster import ClusterFailed
from infra.contact_cipher import CannotOpen, ContactKeysRefused
from infra.database import MissingDatabaseUrl
from infra.embedded import IncompleteStorage
from infra.feed_layouts import FeedRefused
from infra.programme import ProgrammeRefused
from infra.settings import InvalidSettings

INPUT_REFUSED = (FeedRefused, ProgrammeRefused)
SETTINGS_REFUSED = (
    CannotOpen,
    ClusterFailed,
    ContactKeysRefused,
    IncompleteStorage,
    InvalidSettings,
    MissingDatabaseUrl,
)
BACKUP_REFUSED = (BackupRefused,)
