"""The dispatcher: claims notices, writes and sends them, and says what became of each (design 11).

At least once: what a provider acknowledged is in the journal before the next message begins, so a dispatcher that is killed
repeats at most the message that each of its connections had in the air. Everything it works with is given to it.
"""

import datetime as dt
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine

from infra.contact_cipher import CannotOpen, MasterKeys, open_contact, seal_proof
from infra.notice_journal import Journal, Left, left_behind
from infra.senders.protocol import Message, Outcome, Parcel, Sender, UnsafeField
from notifications.rendering import CannotRender
from points_ledger import dispatch, outbox
from points_ledger.contacts import Contact
from points_ledger.outbox import Claimed, Finished
from tasks.lease import Lease

BATCH: Final = 500
CHUNK: Final = 100  # marked as being sent at a time: what a lost machine leaves uncertain
PATIENCE: Final = 60.0  # seconds that a batch waits for the provider's rate before it is given back
FIRST_PAUSE: Final = 30.0
LONGEST_PAUSE: Final = 4 * 3600.0
UNLIMITED: Final = 1e6  # messages a second, where no rate is set: a provider that asked for a pause still gets it


class ProviderUnreachable(Exception):
    """The provider of a channel takes nothing at all just now; its notices wait."""


@dataclass(frozen=True)
class Written:
    """A notice as a message, and what it was written with."""

    message: Message
    template_version: str


@dataclass(frozen=True)
class Dispatcher:
    """One dispatcher of one channel, at a moment. ``write`` raises what cannot be written."""

    engine: Engine
    sender: Sender
    keys: MasterKeys
    write: Callable[[Claimed, Contact], Written]
    dictionary: Callable[[Claimed, str], bytes]
    journals: Path
    owner: str
    moment: dt.datetime
    installation: str | None = None
    per_second: float = 0
    batch: int = BATCH
    lease: dt.timedelta = outbox.LEASE
    chance: random.Random = field(default_factory=random.SystemRandom)

    def run(self, most_batches: int | None = None) -> int:
        """Send what is due, batch after batch, until nothing is; return how many were claimed.

        Raises:
            NoticesHeld (as the ledger says it): the database was restored or copied.
            ProviderUnreachable: nothing could be given to the provider; what was claimed is back in the queue.
        """
        self.recover()
        claimed = 0
        with Journal(self.journals) as journal:
            while most_batches is None or most_batches > 0:
                claimed_at = time.monotonic()
                rows = self._claim()
                claimed += len(rows)
                if not rows or not Batch(self, journal, claimed_at, rows).send():
                    break
                most_batches = most_batches and most_batches - 1
        return claimed

    def recover(self) -> int:
        """Tell the ledger what dead dispatchers of this machine did; return how many notices that settles."""
        settled = 0
        for left in left_behind(self.journals):
            with self.engine.begin() as connection:
                settled += len(self._settle(connection, left))
        return settled

    def pause_after(self, attempt: int) -> dt.timedelta:
        """Full jitter: up to 30 s · 2^attempt, at most four hours."""
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
        return dt.timedelta(seconds=self.chance.uniform(0, longest))

    def _claim(self) -> list[Claimed]:
        with self.engine.begin() as connection:
            return outbox.claim(
                connection, owner=self.owner, moment=self.moment, limit=self.batch, channel=self.sender.channel,
                installation=self.installation, lease=self.lease,
            )  # fmt: skip

    def _settle(self, connection: Connection, left: Left) -> set[int]:
        unsure = [
            Finished(
                number, "uncertain", self.sender.name, detail="its dispatcher was lost",
                next=left.moment + self.pause_after(1),
            )
            for number in left.begun - left.answers.keys()
        ]  # fmt: skip
        answered = [_from_journal(number, facts) for number, facts in left.answers.items()]
        done = finish(
            connection, left.owner, left.token, left.moment, [*answered, *unsure],
            {number for number, facts in left.answers.items() if facts["is_dead"]},
        )  # fmt: skip
        untouched = [number for number in left.notice_ids if number not in left.begun]
        return done | dispatch.give_back(
            connection, owner=left.owner, token=left.token, notice_ids=untouched, next_moment=left.moment
        )


class Batch:
    """One claimed batch on its way out."""

    def __init__(self, by: Dispatcher, journal: Journal, claimed_at: float, rows: list[Claimed]) -> None:
        """Nothing is sent yet."""
        self.by, self.journal, self.moment = by, journal, by.moment
        self.rows = {row.notice_id: row for row in rows}
        self.token = rows[0].token
        self.lease = Lease(
            by.engine, by.owner, self.token, list(self.rows), claimed_at=claimed_at, length=by.lease
        )  # fmt: skip
        self.finished: dict[int, Finished] = {}
        self.dead: set[int] = set()
        self.untried = 0
        self.sent: dict[int, tuple[bytes, str]] = {}  # the proof of what is in the air, and its template's version
        self.is_stopped = False  # nothing more of this batch
        self.goes_on = True  # with another batch

    def send(self) -> bool:
        """Send it and tell the ledger; whether to go on with another.

        Raises:
            ProviderUnreachable: nothing could be given to the provider.
        """
        self.journal.batch(self.by.owner, self.token, self.moment, list(self.rows))
        with self.lease:
            try:
                self.by.sender.send(self._parcels(), self._answered)
            finally:
                self._finish()
        self.journal.done()
        if self.untried:
            raise ProviderUnreachable(
                f"{self.by.sender.name} could not be reached; {len(self.rows) - len(self.finished)} notices wait. Safe to run again."
            )
        return self.goes_on

    def _parcels(self) -> Iterator[Parcel]:
        """What to send, one by one, as long as the lease and the provider's rate allow. Called by one thread at a time."""
        rows = list(self.rows.values())
        size = min(CHUNK, max(1, int(self.by.per_second))) if self.by.per_second else CHUNK
        for at in range(0, len(rows), size):
            chunk = rows[at : at + size]
            if not self._wait_for_rate(len(chunk)):
                return
            ours = self.lease.mark_sending([row.notice_id for row in chunk])
            for row in chunk:
                if not self.is_stopped and not self.lease.may_begin():
                    self._stop()
                if self.is_stopped:
                    return
                if row.notice_id in ours and (parcel := self._parcel(row)) is not None:
                    self.journal.begin(row.notice_id)
                    yield parcel

    def _parcel(self, row: Claimed) -> Parcel | None:
        try:
            secret = self.by.keys.unwrap(row.member_id, row.key)
            written = self.by.write(row, open_contact(secret, row.member_id, row.sealed))
            composed = self.by.sender.compose(written.message)
        except (CannotRender, CannotOpen) as error:  # a person can mend the template or bring the key
            self._settled(row, "retry", f"{type(error).__name__}: {error}")
            return None
        except UnsafeField as error:
            self._settled(row, "refused", str(error))
            return None
        dictionary = self.by.dictionary(row, written.template_version)
        proof = seal_proof(secret, row.notice_id, row.attempt, composed.compact, dictionary)
        self.sent[row.notice_id] = proof, written.template_version
        return Parcel(row.notice_id, written.message.to, composed.wire)

    def _wait_for_rate(self, messages: int) -> bool:
        per_second = self.by.per_second or UNLIMITED
        patience = time.monotonic() + PATIENCE
        while True:
            with self.by.engine.begin() as connection:
                seconds = outbox.seconds_to_wait(
                    connection, self.by.sender.name, messages=messages, per_second=per_second,
                    burst=max(1, int(per_second / 10)),
                )  # fmt: skip
            if seconds <= 0:
                return True
            if time.monotonic() + seconds > patience:
                self._stop()
                return False
            time.sleep(seconds)

    def _answered(self, notice_id: int, outcome: Outcome) -> None:
        """What became of one message; by the thread that sent it."""
        row = self.rows[notice_id]
        proof, version = self.sent.pop(notice_id)
        if outcome.slow_down:
            self.is_stopped = True
            with self.by.engine.begin() as connection:
                outbox.pause(connection, self.by.sender.name, seconds=outcome.retry_after or PATIENCE)
        if outcome.is_untried:
            self.untried += 1
            self._stop()
            return
        pause = max(self.by.pause_after(row.attempt), dt.timedelta(seconds=outcome.retry_after or 0))
        is_kept = outcome.result in ("accepted", "uncertain")
        done = Finished(
            notice_id, outcome.result, outcome.provider, outcome.provider_ref or None, outcome.detail or None,
            next=self.moment + pause if outcome.result in ("retry", "uncertain") else None,
            proof=proof if is_kept else None, template_version=version if is_kept else None,
        )  # fmt: skip
        self.journal.answer(notice_id, _for_journal(done, is_dead=outcome.is_dead_address), done.proof)
        if outcome.is_dead_address:
            self.dead.add(notice_id)
        self.finished[notice_id] = done

    def _stop(self) -> None:
        self.is_stopped, self.goes_on = True, False

    def _settled(self, row: Claimed, result: outbox.Outcome, detail: str) -> None:
        pause = self.by.pause_after(row.attempt)
        self.finished[row.notice_id] = Finished(
            row.notice_id, result, self.by.sender.name, detail=detail[:300], next=self.moment + pause
        )

    def _finish(self) -> None:
        untouched = [number for number in self.rows if number not in self.finished and number not in self.sent]
        with self.by.engine.begin() as connection:
            finish(
                connection, self.by.owner, self.token, self.moment,
                list(self.finished.values()), self.dead,
            )  # fmt: skip
            dispatch.give_back(
                connection, owner=self.by.owner, token=self.token, notice_ids=untouched, next_moment=self.moment
            )


def finish(
    connection: Connection, owner: str, token: int, moment: dt.datetime, rows: Sequence[Finished], dead: set[int]
) -> set[int]:  # fmt: skip
    """Write results, and send nothing more to addresses that are dead; return the notices that were still the owner's."""
    done = outbox.finish(connection, owner=owner, token=token, moment=moment, rows=rows)
    if dead & done:
        dispatch.suppress_dead(connection, notice_ids=sorted(dead & done), moment=moment)
    return done


def _for_journal(done: Finished, *, is_dead: bool) -> dict[str, Any]:
    return {
        "result": done.result, "provider": done.provider, "ref": done.provider_ref, "detail": done.detail,
        "next": done.next.isoformat() if done.next else None, "version": done.template_version, "is_dead": is_dead,
    }  # fmt: skip


def _from_journal(notice_id: int, facts: Mapping[str, Any]) -> Finished:
    return Finished(
        notice_id, facts["result"], facts["provider"], facts["ref"], facts["detail"],
        next=dt.datetime.fromisoformat(facts["next"]) if facts["next"] else None,
        proof=facts["proof"], template_version=facts["version"],
    )  # fmt: skip
