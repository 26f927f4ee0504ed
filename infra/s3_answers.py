"""What S3 servers answer: what they hold; and when they do not do what was asked, what is asked again and what an operator reads."""

import datetime as dt
import email.utils
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from infra.backup_refusals import StorageFailed

Answer = TypeVar("Answer")
MISSING = {"404", "NoSuchKey", "NoSuchVersion", "NotFound"}
HOPELESS = MISSING | {  # the same question gets the same answer a second later
    "400", "401", "403", "AccessDenied", "InvalidAccessKeyId", "NoSuchBucket", "RequestTimeTooSkewed", "SignatureDoesNotMatch",
    "BadDigest", "InvalidBucketName",
}  # fmt: skip
CLOCK_TOLERANCE = dt.timedelta(minutes=5)
FOR_EVER = dt.datetime.max.replace(tzinfo=dt.UTC)  # under a legal hold, until somebody lifts it


@dataclass(frozen=True)
class Stored:
    """An object as the server confirmed it; ``locked_until``: nobody can delete it before, None: no such lock."""

    url: str
    sha256: str
    bytes: int
    locked_until: dt.datetime | None


@dataclass(frozen=True)
class Confirmed:
    """The SHA-256 of what was sent, in hexadecimal digits, and its version, None in a bucket that keeps none."""

    sha256: str
    version: str | None


@dataclass(frozen=True)
class Held:
    """What the server says it has: bytes, the version in a bucket that keeps versions, and until when that is locked."""

    size: int
    version: str | None
    locked_until: dt.datetime | None

    @classmethod
    def of(cls, head: Mapping[str, Any]) -> "Held":
        """From the answer to HEAD. Without versions there is no lock, whatever headers a server sends back."""
        version = version_of(head)
        until: dt.datetime | None = head.get("ObjectLockRetainUntilDate")
        if head.get("ObjectLockLegalHoldStatus") == "ON":
            until = FOR_EVER
        return cls(int(head["ContentLength"]), version, until.astimezone(dt.UTC) if until and version else None)


@dataclass(frozen=True)
class Version:
    """One version of a name; ``version`` is None in a bucket that keeps none. A marker hides the versions before it."""

    key: str
    version: str | None
    is_marker: bool = False


def version_of(answer: Mapping[str, Any]) -> str | None:
    """The version an answer is about; None in a bucket that keeps none."""
    version = answer.get("VersionId")
    return None if version in (None, "null") else str(version)


def answer(
    question: Callable[[], Answer], endpoint: str, bucket: str, give_up_seconds: float, *, may_be_missing: bool
) -> Answer | None:
    """The answer to a question, asked again while that may help; None when what it is about is not there and may be.

    Raises:
        StorageFailed: refused, or not answered until ``give_up_seconds`` were over.
    """
    waits = _waits(give_up_seconds)
    while True:
        try:
            return question()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if may_be_missing and code in MISSING:
                return None
            if code in HOPELESS or (pause := next(waits, None)) is None:
                raise StorageFailed(_refusal(error, code, endpoint, bucket)) from error
        except (BotoCoreError, OSError) as error:
            if (pause := next(waits, None)) is None:
                raise StorageFailed(f"The S3 server at {endpoint} does not answer ({type(error).__name__}).") from error
        time.sleep(pause)


def _refusal(error: ClientError, code: str, endpoint: str, bucket: str) -> str:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if code in ("403", "AccessDenied", "RequestTimeTooSkewed") and (away := _clock_difference(headers.get("date"))):
        # some servers call a wrong clock a wrong key
        return f"The S3 server at {endpoint} refused: this machine's clock is {away} away from the server's."
    if code == "NoSuchBucket" or (code == "404" and error.operation_name == "ListObjectsV2"):
        return f"The S3 server at {endpoint} has no bucket {bucket!r}: make it, or set LOYALTY_S3_BUCKET."
    if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
        said = error.response.get("Error", {}).get("Message", "")
        return (
            f"The S3 server at {endpoint} refused the keys for {error.operation_name} ({code}: {said}): look at "
            "LOYALTY_S3_ACCESS_KEY_ID, its secret, and what they may do."
        )
    said = error.response.get("Error", {}).get("Message", "")
    return f"The S3 server at {endpoint} refused {error.operation_name} ({code}): {said}"


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
