"""Objects in a bucket of any S3 server, spoken to so that all of them understand (AWS, MinIO, OSS, ``rclone serve s3``).

Whole objects only: no multipart uploads, whose rules differ between servers and whose leftovers nobody sees. Each
carries Content-MD5, which all servers check, and a SHA-256, which AWS checks. Conditions, locks and versions are not
relied upon: some servers answer 200 and ignore them.
"""

import base64
import datetime as dt
import email.utils
import hashlib
import mimetypes
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.backup_refusals import StorageFailed
from infra.embedded import StorageAccess

Answer = TypeVar("Answer")
GIVE_UP_SECONDS = 120.0
MISSING = {"404", "NoSuchKey", "NotFound"}
HOPELESS = {  # the same question gets the same answer a second later
    "400", "401", "403", "404", "AccessDenied", "InvalidAccessKeyId", "NoSuchBucket", "NoSuchKey", "NotFound",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch", "BadDigest", "InvalidBucketName",
}  # fmt: skip
CLOCK_TOLERANCE = dt.timedelta(minutes=5)


@dataclass(frozen=True)
class Stored:
    """An object as the server confirmed it; ``locked_until``: nobody can delete it before, None: no such lock."""

    url: str
    sha256: str
    bytes: int
    locked_until: dt.datetime | None


@dataclass(frozen=True)
class ObjectStore:
    """A bucket; ``client`` is boto3's."""

    client: Any
    bucket: str
    endpoint: str
    give_up_seconds: float = GIVE_UP_SECONDS

    def put(self, key: str, content: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Store an object.

        Raises:
            StorageFailed: it is not stored.
        """
        digests = {
            "ContentMD5": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
            "ChecksumSHA256": base64.b64encode(hashlib.sha256(content).digest()).decode(),
        }
        self._ask(
            lambda: self.client.put_object(
                Bucket=self.bucket, Key=key, Body=content, ContentType=content_type, **digests
            ),
            key,
        )

    def put_file(self, key: str, path: Path, *, locked_until: dt.datetime | None = None) -> Stored:
        """Store a file, up to 5 GB, and lock it where the bucket has Object Lock; say until when the server really holds it.

        Raises:
            StorageFailed: it is not stored.
        """
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").digest()
        extra: dict[str, Any] = {"ContentType": content_type(path.name)}
        if locked_until is not None and self._has_object_lock():
            extra |= {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": locked_until}

        def put() -> None:
            with path.open("rb") as file:
                self.client.put_object(
                    Bucket=self.bucket, Key=key, Body=file, ContentMD5=base64.b64encode(md5).decode(),
                    ChecksumSHA256=base64.b64encode(sha256).decode(), **extra,
                )  # fmt: skip

        self._ask(put, key)
        head = self._ask(lambda: dict(self.client.head_object(Bucket=self.bucket, Key=key)), key) or {}
        if head.get("ContentLength") != path.stat().st_size:
            raise StorageFailed(
                f"{key} was confirmed, and has {head.get('ContentLength')} bytes instead of {path.stat().st_size}."
            )
        held: dt.datetime | None = head.get("ObjectLockRetainUntilDate")
        return Stored(f"s3://{self.bucket}/{key}", sha256.hex(), path.stat().st_size, held)

    def _has_object_lock(self) -> bool:
        try:
            answer = self.client.get_object_lock_configuration(Bucket=self.bucket)
        except (ClientError, BotoCoreError):  # none, or a server that does not know the question
            return False
        return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")

    def get(self, key: str) -> bytes | None:
        """An object's content; None when there is none of that name.

        Raises:
            StorageFailed: the server refused, or does not answer.
        """
        return self._ask(lambda: bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()), key)

    def size(self, key: str) -> int | None:
        """An object's size in bytes; None when there is none of that name.

        Raises:
            StorageFailed: the server refused, or does not answer.
        """
        return self._ask(lambda: int(self.client.head_object(Bucket=self.bucket, Key=key)["ContentLength"]), key)

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens when it is gone already.

        Raises:
            StorageFailed: the server refused, or does not answer.
        """
        self._ask(lambda: self.client.delete_object(Bucket=self.bucket, Key=key), key)

    def keys(self, prefix: str) -> list[str]:
        """The names of the objects that start so, in order.

        Raises:
            StorageFailed: the server refused, or does not answer.
        """

        def listed() -> list[str]:
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            return sorted(item["Key"] for page in pages for item in page.get("Contents", ()))

        return self._ask(listed, "") or []

    def _ask(self, question: Callable[[], Answer], key: str) -> Answer | None:
        waits = _waits(self.give_up_seconds)
        while True:
            try:
                return question()
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if key and code in MISSING:
                    return None
                if code in HOPELESS or (pause := next(waits, None)) is None:
                    raise StorageFailed(self._refusal(error, code)) from error
            except (BotoCoreError, OSError) as error:
                if (pause := next(waits, None)) is None:
                    raise StorageFailed(
                        f"The S3 server at {self.endpoint} does not answer ({type(error).__name__})."
                    ) from error
            time.sleep(pause)

    def _refusal(self, error: ClientError, code: str) -> str:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if code in ("403", "AccessDenied", "RequestTimeTooSkewed") and (away := _clock_difference(headers.get("date"))):
            # some servers call a wrong clock a wrong key
            return f"The S3 server at {self.endpoint} refused: this machine's clock is {away} away from the server's."
        if code == "NoSuchBucket" or (code == "404" and error.operation_name == "ListObjectsV2"):
            return f"The S3 server at {self.endpoint} has no bucket {self.bucket!r}: make it, or set LOYALTY_S3_BUCKET."
        if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            return f"The S3 server at {self.endpoint} refused the keys ({code}): look at LOYALTY_S3_ACCESS_KEY_ID and its secret."
        said = error.response.get("Error", {}).get("Message", "")
        return f"The S3 server at {self.endpoint} refused {error.operation_name} ({code}): {said}"


def connect(access: StorageAccess, *, give_up_seconds: float = GIVE_UP_SECONDS) -> ObjectStore:
    """A bucket by its access; connects when it is first asked."""
    client = boto3.client(
        "s3",
        endpoint_url=access.endpoint_url,
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
        region_name=access.region,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if _is_local(access.endpoint_url) else "auto"},
            retries={"mode": "standard", "max_attempts": 2},
            connect_timeout=5,
            read_timeout=60,
            # boto3's own checksums travel in trailers that several servers refuse; put() sends its own
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    return ObjectStore(client, access.bucket, access.endpoint_url or "AWS", give_up_seconds)


def content_type(name: str) -> str:
    """What a browser should take a file for, by its name."""
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def later(moment: dt.datetime, *, years: int) -> dt.datetime | None:
    """The moment so many years later; None for no years."""
    return moment + dt.timedelta(days=round(365.25 * years)) if years else None


def _is_local(endpoint: str | None) -> bool:
    return endpoint is not None and "://127.0.0.1" in endpoint


def _waits(give_up_seconds: float) -> Iterator[float]:
    deadline, pause = time.monotonic() + give_up_seconds, 0.5
    while time.monotonic() < deadline:
        yield min(pause, max(0.0, deadline - time.monotonic()))
        pause = min(pause * 2, 10)


def _clock_difference(date: str | None) -> dt.timedelta | None:
    if not date:
        return None
    away = _now() - email.utils.parsedate_to_datetime(date)
    return dt.timedelta(seconds=round(abs(away).total_seconds())) if abs(away) > CLOCK_TOLERANCE else None


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
