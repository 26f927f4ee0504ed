"""The services this machine provides when no setting names another: Postgres, an S3 server, a mail sink.

Each is the real thing (PostgreSQL 18, ``rclone serve s3``, an SMTP server that keeps what it gets), so that the
embedded default and a real deployment differ in addresses only. ``Settings`` says where; this module says how.
"""

import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from infra import cluster
from infra.secret_note import kept_secret
from infra.settings import Settings

LOOPBACK = "127.0.0.1"


class IncompleteStorage(LookupError):
    """An S3 endpoint is set without its keys."""


@dataclass(frozen=True)
class StorageAccess:
    """All that an S3 client needs."""

    endpoint_url: str | None
    access_key_id: str | None
    secret_access_key: str | None = field(repr=False)
    region: str
    bucket: str


def postgres(settings: Settings) -> cluster.Cluster:
    """The embedded Postgres, started if it is not running; it keeps running after this process.

    Raises:
        infra.cluster.ClusterFailed: It does not start.
    """
    return cluster.start(settings.home / "postgres")


def postgres_is_running(settings: Settings) -> bool:
    """Whether the embedded Postgres answers."""
    return cluster.running(settings.home / "postgres") is not None


def stop_postgres(settings: Settings) -> bool:
    """Stop the embedded Postgres; False if it did not run.

    Raises:
        infra.cluster.ClusterFailed: It does not stop.
    """
    return cluster.stop(settings.home / "postgres")


def serves_storage(settings: Settings) -> bool:
    """Whether the S3 server is ours to run: no endpoint and no keys of yours are set."""
    return settings.s3_endpoint_url is None and settings.s3_access_key_id is None


def storage_access(settings: Settings) -> StorageAccess:
    """Where objects go: your S3, or the embedded server.

    Keys without an endpoint mean AWS itself.

    Raises:
        IncompleteStorage: An endpoint is set, and its keys are not.
    """
    secret = settings.s3_secret_access_key
    if not serves_storage(settings):
        if settings.s3_access_key_id is None or secret is None:
            raise IncompleteStorage("Set LOYALTY_S3_ACCESS_KEY_ID and LOYALTY_S3_SECRET_ACCESS_KEY as well.")
        key = settings.s3_access_key_id
        return StorageAccess(
            settings.s3_endpoint_url, key, secret.get_secret_value(), settings.s3_region, settings.s3_bucket
        )
    url = f"http://{LOOPBACK}:{settings.s3_port}"
    # generated, never a default: whoever can reach the port must not know the key from reading this file
    key = kept_secret(settings.home / "s3.secret", size=24)
    return StorageAccess(url, "loyalty-local", key, settings.s3_region, settings.s3_bucket)


def storage_command(settings: Settings) -> list[str]:
    """The command line of the embedded S3 server; its first-level folders are the buckets.

    The keys travel in ``storage_environment``, where the machine's process list does not show them.
    """
    folder = settings.home / "s3"
    (folder / settings.s3_bucket).mkdir(parents=True, exist_ok=True)
    program = Path(sysconfig.get_path("scripts")) / "rclone"
    options = ["--addr", f"{LOOPBACK}:{settings.s3_port}", "--dir-cache-time", "1s"]
    return [str(program), "serve", "s3", *options, str(folder)]


def storage_environment(settings: Settings) -> dict[str, str]:
    """What ``storage_command`` needs in its environment."""
    access = storage_access(settings)
    # Quoted, because in the environment a comma also separates one pair of keys from the next. No configuration file:
    # rclone must not read (or create) one in the user's home.
    return {"RCLONE_AUTH_KEY": f'"{access.access_key_id},{access.secret_access_key}"', "RCLONE_CONFIG": ""}


def smtp_url(settings: Settings) -> str:
    """Where mail goes: your server, or the embedded sink."""
    return settings.smtp_url.get_secret_value() if settings.smtp_url else f"smtp://{LOOPBACK}:{settings.smtp_port}"


def serves_unsubscribe(settings: Settings) -> bool:
    """Whether the page behind unsubscribe links is ours to run: it needs a login of its own."""
    return settings.database_url is None or settings.unsubscribe_database_url is not None


def mail_command(settings: Settings) -> list[str]:
    """The command line of the embedded mail sink, which keeps every message under ``home/mail`` and shows them."""
    where = ["--host", LOOPBACK, "--port", str(settings.smtp_port), "--directory", str(settings.home / "mail")]
    return [sys.executable, "-P", "-m", "infra.smtp_sink", *where, "--inbox-port", str(settings.inbox_port)]


def inbox_url(settings: Settings) -> str:
    """Where the sink shows what it kept."""
    return f"http://{LOOPBACK}:{settings.inbox_port}"
