"""Objects in a bucket of any S3 server, spoken to so that all of them understand (AWS, MinIO, OSS, ``rclone serve s3``).

Whole objects only: no multipart uploads, whose rules differ between servers and whose leftovers nobody sees. Each
carries Content-MD5, which all servers check, and a SHA-256, which AWS checks. Conditions are not relied upon, and locks
and versions only as far as the server says afterwards that it holds them: some answer 200 and ignore them.
"""

import base64
import datetime as dt
import hashlib
import mimetypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from infra import s3_answers
from infra.backup_refusals import StorageFailed
from infra.embedded import StorageAccess
from infra.s3_answers import Confirmed, Held, Stored, Version, version_of

Answer = TypeVar("Answer")
GIVE_UP_SECONDS = 120.0
NOT_KNOWN = {"405", "501", "MethodNotAllowed", "NotImplemented"}  # of a server that has no versions at all


@dataclass(frozen=True)
class Lock:
    """Until when nobody may delete an object. GOVERNANCE: but a login with the right to bypass it; COMPLIANCE: nobody."""

    until: dt.datetime
    mode: Literal["GOVERNANCE", "COMPLIANCE"]


@dataclass(frozen=True)
class ObjectStore:
    """A bucket; ``client`` is boto3's."""

    client: Any
    bucket: str
    endpoint: str
    give_up_seconds: float = GIVE_UP_SECONDS

    def put(
        self, key: str, content: bytes, *, content_type: str = "application/octet-stream", lock: Lock | None = None
    ) -> Confirmed:
        """Store an object.

        Raises:
            StorageFailed: it is not stored.
        """
        sha256 = hashlib.sha256(content)
        digests = {
            "ContentMD5": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
            "ChecksumSHA256": base64.b64encode(sha256.digest()).decode(),
        }
        answer = self._ask(
            lambda: dict(
                self.client.put_object(
                    Bucket=self.bucket, Key=key, Body=content, ContentType=content_type, **digests, **_headers(lock)
                )
            ),
            "",
        )
        return Confirmed(sha256.hexdigest(), version_of(answer or {}))

    def put_file(self, key: str, path: Path, *, lock: Lock | None = None) -> Stored:
        """Store a file, up to 5 GB, and lock it where the bucket has Object Lock; say until when the server really holds it.

        Raises:
            StorageFailed: it is not stored.
        """
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").digest()
        extra = {"ContentType": content_type(path.name), **_headers(lock if lock and self.has_object_lock() else None)}

        def put() -> dict[str, Any]:
            with path.open("rb") as file:
                return dict(
                    self.client.put_object(
                        Bucket=self.bucket, Key=key, Body=file, ContentMD5=base64.b64encode(md5).decode(),
                        ChecksumSHA256=base64.b64encode(sha256).decode(), **extra,
                    )
                )  # fmt: skip

        held = self.look(key, version_of(self._ask(put, "") or {}))
        if held is None or held.size != path.stat().st_size:
            raise StorageFailed(f"{key} was confirmed, and is not there with its {path.stat().st_size} bytes: {held}.")
        return Stored(f"s3://{self.bucket}/{key}", sha256.hex(), held.size, held.locked_until)

    def has_object_lock(self) -> bool:
        """Whether objects of this bucket can be locked; a server that refuses the question has none for us.

        Raises:
            StorageFailed: the server does not answer.
        """

        def asked() -> bool:
            try:
                answer = self.client.get_object_lock_configuration(Bucket=self.bucket)
            except ClientError:
                return False
            return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")

        return bool(self._ask(asked, ""))

    def get(self, key: str, version: str | None = None) -> bytes | None:
        """An object's content, of one version or as it is now; None when there is none of that name.

        Raises:
            StorageFailed: the server refused, or does not answer.
        """
        place = self._place(key, version)
        return self._ask(lambda: bytes(self.client.get_object(**place)["Body"].read()), key)

    def contents(self, key: str) -> Iterator[bytes]:
        """What an object holds, and then what it held before it was overwritten or hidden, the newest first.

        Raises:
            StorageFailed: the server refused, or does not answer.
        """
        if (now := self.get(key)) is not None:
            yield now
        for one in self.versions(key):
            if (
                one.key == key
                and one.version
                and not one.is_marker
                and (content := self.get(key, one.version)) is not None
            ):
                yield content

    def look(self, key: str, version: str | None = None) -> Held | None:
        """What the server has of an object; None when there is none of that name.

        Raises:
            StorageFailed: the server refused, or does not answer.
        """
        place = self._place(key, version)
        head = self._ask(lambda: dict(self.client.head_object(**place)), key)
        return Held.of(head) if head is not None else None

    def delete(self, key: str, version: str | None = None) -> None:
        """Delete an object, or one version of it for good; nothing happens when it is gone already.

        Raises:
            StorageFailed: the server refused, or does not answer.
        """
        place = self._place(key, version)
        self._ask(lambda: self.client.delete_object(**place), key)

    def clear(self, prefix: str) -> dt.datetime | None:
        """Delete every version of the objects that start so. What is locked stays: until when, or None when nothing is left.

        Raises:
            StorageFailed: the server refused for another reason, or does not answer.
        """
        locked: list[dt.datetime] = []
        for one in self.versions(prefix):
            try:
                self.delete(one.key, one.version)
            except StorageFailed:
                held = None if one.is_marker else self.look(one.key, one.version)
                if held is None or held.locked_until is None:
                    raise
                locked.append(held.locked_until)
        return max(locked, default=None)

    def locked_until(self, prefix: str) -> dt.datetime | None:
        """The last moment at which anything that starts so is locked, passed or not; None when nothing ever was.

        Raises:
            StorageFailed: the server refused, or does not answer.
        """
        if not self.has_object_lock():
            return None
        held = (self.look(one.key, one.version) for one in self.versions(prefix) if not one.is_marker)
        return max((one.locked_until for one in held if one and one.locked_until), default=None)

    def versions(self, prefix: str) -> list[Version]:
        """Every version of the objects that start so, also hidden ones; by name, the newest first.

        Raises:
            StorageFailed: the server refused, or does not answer.
        """
        if not self._keeps_versions():
            return [Version(key, None) for key in self.keys(prefix)]

        def listed() -> list[Version]:
            found = []
            for page in self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix):
                for kind in ("Versions", "DeleteMarkers"):
                    for item in page.get(kind, ()):
                        one = Version(item["Key"], item["VersionId"], kind == "DeleteMarkers")
                        found.append((item["Key"], -item["LastModified"].timestamp(), one))
            return [one for *_, one in sorted(found, key=lambda row: row[:2])]

        return self._ask(listed, "") or []

    def _keeps_versions(self) -> bool:
        def asked() -> bool:
            try:
                answer = self.client.get_bucket_versioning(Bucket=self.bucket)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code", "") in NOT_KNOWN:
                    return False
                raise
            return answer.get("Status") in ("Enabled", "Suspended")

        return bool(self._ask(asked, ""))

    def _place(self, key: str, version: str | None) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": key, **({"VersionId": version} if version else {})}

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
        """None: ``key`` is not there."""
        return s3_answers.answer(question, self.endpoint, self.bucket, self.give_up_seconds, may_be_missing=bool(key))


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


def _headers(lock: Lock | None) -> dict[str, Any]:
    return {"ObjectLockMode": lock.mode, "ObjectLockRetainUntilDate": lock.until} if lock else {}


def _is_local(endpoint: str | None) -> bool:
    return endpoint is not None and "://127.0.0.1" in endpoint
