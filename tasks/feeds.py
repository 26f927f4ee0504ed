"""Steps of an import: take a file in whole, then post what belongs to the open business date."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import task
from sqlalchemy.exc import OperationalError

from infra.feed_files import open_feed
from infra.feed_layouts import FeedRefused, load_layout
from points_ledger import activities, events, feeds, members, orders, redemptions, runs, totals
from points_ledger.errors import ImplausibleValue, translated
from tasks import contacts, ledger

ACCEPT: dict[str, feeds.Accept] = {
    "orders": orders.accept,
    "redemptions": redemptions.accept,
    "cancellations": redemptions.accept_cancellations,
    "activities": activities.accept,
    "members": members.accept,
}


@dataclass(frozen=True)
class Imported:
    """What became of a file, and what of it was posted at once."""

    result: feeds.ImportResult
    posted: events.Posted


def import_feed(
    path: str,
    feed: str,
    layout: str | None,
    *,
    allow_open_end: bool = False,
    on_bytes: Callable[[int], None] | None = None,
    on_members: Callable[[int, int], None] | None = None,
) -> Imported:
    """Take a file in, in one transaction, then post the events of the open day and of days before it.

    Raises:
        FeedRefused: the file cannot be used; names file, line and column. Nothing is stored.
        NoLedger: before ``loyalty init``.
    """
    policy = ledger.policy()
    chosen = load_layout(layout, feed)
    contact_keys = contacts.keys() if feed == "members" else None
    with open_feed(path, feed, chosen, progress=on_bytes, allow_open_end=allow_open_end) as stream:
        reading = feeds.Reading(
            Path(path).name,
            chosen.name,
            chosen.constants,
            chosen.decimal,
            chosen.timestamp_format,
            chosen.time_zone,
            stream.line_of_first_row - 1,
            contact_keys.marks if contact_keys else None,
            contact_keys.master.seal if contact_keys and contact_keys.master else None,
        )
        try:
            with translated(), ledger.engine().begin() as connection:
                result = feeds.import_file(connection, feeds.FEEDS[feed], stream, reading, policy, ACCEPT[feed])
        except ImplausibleValue as found:
            column = chosen.columns.get(found.column, found.column)
            line = stream.line_of_row(found.line - reading.header_lines)  # a quoted field may hold line breaks
            raise FeedRefused(
                path, line, column, f'"{found.value}" {found.why}: correct it, or the layout, and import again'
            ) from found
    if result.is_known:
        return Imported(result, events.Posted())
    return Imported(result, post_open_day(f"import-{feed}-{result.file_id}", on_members))


def post_open_day(job: str, on_members: Callable[[int, int], None] | None = None) -> events.Posted:
    """Post what waits for the open business date or an earlier one; what cannot be posted yet goes on waiting.

    A run of its own, so that ``loyalty undo`` reaches its entries. What a killed one leaves is posted by the night.
    """
    engine = ledger.engine()
    with engine.connect() as connection:
        closed = totals.last_closed(connection)
    day = ledger.policy().starts_on if closed is None else totals.day_after(closed)
    with translated():
        with engine.begin() as connection:
            run_id = runs.claim(connection, job, day, code_version=ledger.code_version(), flow_run_id=None)
        posted = events.post(engine, through=day, run_id=run_id, final=False, progress=on_members)
        if run_id is not None:
            with engine.begin() as connection:
                runs.finish(connection, run_id, asdict(posted))
    return posted


@task(
    name="import-feed",
    task_run_name="import {feed}",
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=lambda _task, _run, state: _may_pass(state),
)
def import_feed_step(path: str, feed: str, layout: str | None) -> dict[str, Any]:
    """``import_feed`` as a step of a flow; safe to repeat, the same file is taken once."""
    return as_row(import_feed(path, feed, layout))


def as_row(imported: Imported) -> dict[str, Any]:
    """An import as plain values, for an artifact or JSON."""
    result = imported.result
    return {
        "feed": result.feed,
        "file": result.file_name,
        "already_imported": result.is_known,
        "rows_read": result.rows_read,
        "accepted": result.rows("accepted"),
        "rejected": result.rows("rejected"),
        "skipped": result.rows("skipped"),
        "money_in": str(result.money()),
        "money_accepted": str(result.money("accepted")),
        "totals": [{"fate": t.fate, "reason": t.reason, "rows": t.rows} for t in result.totals],
        "posted_at_once": {
            "orders": imported.posted.orders,
            "activities": imported.posted.activities,
            "returns": imported.posted.returns,
            "redemptions": imported.posted.redemptions,
            "cancellations": imported.posted.cancellations,
        },
    }


def _may_pass(state: Any) -> bool:
    # A lost connection or a lock can be different the next time; a refused file cannot.
    return isinstance(state.result(raise_on_failure=False), OperationalError)
