"""Settings: the only reader of the environment.

One frozen class; every field is ``LOYALTY_`` plus its name in capitals, and has its heading in
``docs/reference/settings.md``. Read it at the edge (``tasks``, ``flows.__main__``) with ``settings()`` and pass
plain values down. What is not set is served by this machine: an embedded Postgres, S3 server and mail sink.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "LOYALTY_"
# Read by the test suite and the benchmarks only, so they are no settings of the product.
FOREIGN_PREFIXES = ("LOYALTY_TEST_", "LOYALTY_BENCH_")
Port = Annotated[int, Field(ge=1, le=65535)]


class InvalidSettings(ValueError):
    """A setting cannot be used as it is written in the environment."""


class Settings(BaseSettings):
    """Everything that may differ between two installations."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    home: Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())] = Field(
        default=Path(".loyalty"), validate_default=True
    )
    database_url: SecretStr | None = None
    admin_database_url: SecretStr | None = None
    api_database_url: SecretStr | None = None
    auditor_database_url: SecretStr | None = None
    approver_database_url: SecretStr | None = None
    backup_database_url: SecretStr | None = None
    connections: Annotated[int, Field(ge=1, le=64)] = 2

    prefect_host: str = "127.0.0.1"
    prefect_port: Port = 4200
    # Prefect's own names count as well. An alias is taken as it stands, so ours is written out beside them.
    prefect_api_url: str | None = Field(
        default=None, validation_alias=AliasChoices("LOYALTY_PREFECT_API_URL", "PREFECT_API_URL", "prefect_api_url")
    )
    prefect_api_auth_string: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "LOYALTY_PREFECT_API_AUTH_STRING", "PREFECT_API_AUTH_STRING", "prefect_api_auth_string"
        ),
    )
    prefect_database_url: SecretStr | None = None
    task_runner: Annotated[str, Field(pattern=r"^(threads|dask):[\w.:/-]+$")] = "threads:4"
    night_checks: bool = True
    drain_seconds: Annotated[int, Field(ge=0)] = 300

    s3_endpoint_url: str | None = None
    s3_access_key_id: str | None = None
    s3_secret_access_key: SecretStr | None = None
    s3_bucket: Annotated[str, Field(min_length=3, max_length=63)] = "loyalty"
    s3_region: str = "us-east-1"
    s3_port: Port = 9000

    contact_key: Annotated[SecretStr, Field(min_length=32)] | None = None
    contact_master_keys: SecretStr | None = None
    installation: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None

    backup_keys: Annotated[Path | None, AfterValidator(lambda path: path and path.expanduser().absolute())] = None
    backup_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")] = "backups"
    backup_keep_daily: Annotated[int, Field(ge=1)] = 7
    backup_keep_weekly: Annotated[int, Field(ge=0)] = 5
    backup_keep_monthly: Annotated[int, Field(ge=0)] = 13
    backup_lock_days: Annotated[int, Field(ge=0, le=3650)] = 14
    backup_lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] = "GOVERNANCE"
    postgres_tools: Path | None = None

    evidence_keys: Annotated[Path | None, AfterValidator(lambda path: path and path.expanduser().absolute())] = None
    report_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")] = "reports"
    report_lock_years: Annotated[int, Field(ge=0, le=100)] = 10

    smtp_url: SecretStr | None = None
    smtp_port: Port = 2525
    smtp_connections: Annotated[int, Field(ge=1, le=64)] = 4
    inbox_port: Port = 2580

    notice_clock: Literal["wall", "business_date"] = "wall"
    email_sender: Literal["smtp", "ses"] = "smtp"
    sms_sender: Literal["none", "sns", "aliyun"] = "none"
    email_per_second: Annotated[float, Field(ge=0)] = 0
    sms_per_second: Annotated[float, Field(ge=0)] = 0
    sender_name: str = ""
    sender_address: str = "notices@loyalty.localhost"
    aws_region: str = "us-east-1"
    aws_endpoint_url: str | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    ses_configuration_set: str | None = None
    sns_sender_id: str | None = None
    aliyun_access_key_id: str | None = None
    aliyun_access_key_secret: SecretStr | None = None
    aliyun_endpoint_url: str = "https://dysmsapi.aliyuncs.com"
    aliyun_sign_name: str | None = None
    aliyun_templates: Path | None = None

    unsubscribe_url: Annotated[str, Field(pattern=r"^https?://[^\s?#]+[^\s?#/]$")] | None = None
    unsubscribe_host: str = "127.0.0.1"
    unsubscribe_port: Port = 2590
    unsubscribe_key: Annotated[SecretStr, Field(min_length=32)] | None = None
    unsubscribe_database_url: SecretStr | None = None

    alert_urls: SecretStr | None = None


def settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        InvalidSettings: A value cannot be read, or a ``LOYALTY_`` variable is none of ours (a mistyped
            ``LOYALTY_DATABSE_URL`` must not silently mean the embedded database).
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known and not name.startswith(FOREIGN_PREFIXES):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise InvalidSettings(f"{name} is not a setting{hint}; see docs/reference/settings.md.")
    try:
        return Settings()
    except ValidationError as error:
        # Pydantic's own text repeats the rejected input, which may be a password.
        lines = (f"{PREFIX}{str(e['loc'][0]).removeprefix(PREFIX).upper()}: {e['msg']}" for e in error.errors())
        raise InvalidSettings("; ".join(lines)) from None


def inherited(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment for a program that is none of ours: what this process has, and ``extra``."""
    return dict(os.environ) | dict(extra)


def child_environment(settings: Settings, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a process we start: ours, with ``settings`` written out so that it reads the same."""
    environment = dict(os.environ)
    for name in Settings.model_fields:
        value = getattr(settings, name)
        environment.pop(PREFIX + name.upper(), None)
        if value is not None:
            environment[PREFIX + name.upper()] = (
                value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            )
    return environment | dict(extra or {})
