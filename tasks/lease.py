"""The lease on a batch of notices, kept while they are being sent, and how much of it is left (design 11)."""

import datetime as dt
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from points_ledger import outbox

LEAST: Final = 30.0  # seconds of lease that must be left to begin a message


class Lease:
    """Renewed by a thread of its own every quarter of its length, so that a slow provider does not cost it.

    A process that was stopped for a while finds less than ``LEAST`` left when it goes on, and begins no message.
    """

    def __init__(
        self,
        engine: Engine,
        owner: str,
        token: int,
        notice_ids: Sequence[int],
        *,
        claimed_at: float,
        length: dt.timedelta = outbox.LEASE,
    ) -> None:
        """``claimed_at``: ``time.monotonic()`` from before the claim."""
        self.engine, self.owner, self.token, self.length = engine, owner, token, length
        self._ids = list(notice_ids)
        self._until = claimed_at + length.total_seconds()
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        """Keep it from now on."""
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keep it no longer."""
        self._ended.set()
        self._keeper.join()

    def may_begin(self) -> bool:
        """Whether enough is left to begin a message."""
        return self._until - time.monotonic() >= min(LEAST, self.length.total_seconds() / 4)

    def mark_sending(self, notice_ids: Sequence[int]) -> set[int]:
        """Say that these are about to go out; return those that are still ours. The others must not be sent."""
        with self.engine.begin() as connection:
            return outbox.mark_sending(
                connection, owner=self.owner, token=self.token, notice_ids=notice_ids, lease=self.length
            )

    def _keep(self) -> None:
        while not self._ended.wait(self.length.total_seconds() / 4):
            began = time.monotonic()
            try:
                with self.engine.begin() as connection:
                    ours = outbox.renew(
                        connection, owner=self.owner, token=self.token, notice_ids=self._ids, lease=self.length
                    )
            except SQLAlchemyError:
                continue  # a database that is away: what is left runs out, and may_begin says so
            if len(ours) == len(self._ids):
                self._until = began + self.length.total_seconds()
