"""On-call hears of backups by the catalogue: whatever ran, was never scheduled, or ended well without a good backup."""

import datetime as dt
import uuid

import pytest

from infra.backup_alerts import BackupAlerts
from points_ledger import backups

HOUR = dt.timedelta(hours=1)


@pytest.fixture
def begun(ledger):
    """A ledger with a programme, and the moment it got it."""
    ledger.start()
    return ledger, ledger.one("SELECT min(added_at) FROM points.policy_version")


@pytest.fixture
def alerts(ledger):
    return BackupAlerts(lambda: ledger.url.set(username="loyalty_batch").render_as_string(hide_password=False))


def stored(ledger, taken_at, *events):
    backup_id = str(uuid.uuid4())
    with ledger.engine().begin() as connection:
        backups.record(connection, backup_id, "begun")
        backups.record(connection, backup_id, "complete", facts={"taken_at": taken_at.isoformat()})
        for what in events:
            backups.record(
                connection, backup_id, what, facts={"seconds": 1}, message="a drill" if what == "refuted" else None
            )
    return backup_id


def about_backups(findings):
    return [one for one in findings if "proven" not in one]


def test_a_ledger_that_nothing_ever_backed_up_is_told_after_26_hours(begun, alerts):
    _, since = begun
    assert alerts.findings(since + 26 * HOUR) == []
    [found] = alerts.findings(since + 27 * HOUR)
    assert found == (
        "There is no good backup at all. What was posted since the last good backup is lost if the database is. "
        "Runbook: docs/howto/restore.md."
    )
    assert alerts.findings(since + 28 * HOUR) == [found]  # the same words, so that it is told once


def test_a_run_that_made_no_good_backup_does_not_silence_it(begun, alerts):
    ledger, since = begun
    with ledger.engine().begin() as connection:
        backups.record(connection, failed := str(uuid.uuid4()), "begun")
        backups.record(connection, failed, "failed", message="StorageFailed")
    stored(ledger, since + 24 * HOUR, "refuted")  # restored, and not equal
    [found] = alerts.findings(since + 30 * HOUR)
    assert found.startswith("There is no good backup at all.")

    stored(ledger, since + 24 * HOUR)
    assert alerts.findings(since + 30 * HOUR) == []
    [found] = alerts.findings(since + 51 * HOUR)
    assert found.startswith(f"No good backup since {since + 24 * HOUR:%Y-%m-%d %H:%M} UTC.")


def test_a_proof_older_than_ten_days_and_none_at_all_are_told(begun, alerts):
    ledger, since = begun
    now = since + 11 * 24 * HOUR
    stored(ledger, now - HOUR)
    [found] = alerts.findings(now)
    assert found.startswith("No backup was ever proven. Nobody knows whether the backups can be restored.")

    stored(ledger, now - HOUR, "proven")
    proven = ledger.one("SELECT max(recorded_at) FROM points.backup_event WHERE what = 'proven'")
    assert [one for one in alerts.findings(proven + 239 * HOUR) if "proven" in one] == []
    [found] = [one for one in alerts.findings(proven + 241 * HOUR) if "proven" in one]
    assert found.startswith(f"No backup was proven since {proven:%Y-%m-%d %H:%M} UTC.")


def test_a_backup_from_the_future_does_not_count_as_fresh(begun, alerts):
    ledger, since = begun
    stored(ledger, since + 9000 * HOUR)
    [found] = about_backups(alerts.findings(since + HOUR))
    assert "in the future: a clock is wrong" in found


def test_a_ledger_without_a_programme_has_nothing_to_lose(ledger, alerts):
    assert alerts.findings(dt.datetime(2100, 1, 1, tzinfo=dt.UTC)) == []
    ledger.rows("DROP SCHEMA points CASCADE")
    assert alerts.findings(dt.datetime(2100, 1, 1, tzinfo=dt.UTC)) == []


def test_a_ledger_that_does_not_answer_is_told_once_it_lasts(begun, alerts):
    _, since = begun
    there = alerts.url
    alerts.url = lambda: "postgresql://loyalty_batch@127.0.0.1:1/loyalty"
    assert alerts.findings(since) == []
    [found] = alerts.findings(since + dt.timedelta(minutes=11))
    assert f"the ledger has not answered since {since:%Y-%m-%d %H:%M} UTC" in found
    alerts.url = there
    assert alerts.findings(since + dt.timedelta(minutes=12)) == []
    alerts.url = lambda: "postgresql://loyalty_batch@127.0.0.1:1/loyalty"
    assert alerts.findings(since + dt.timedelta(minutes=13)) == []  # counted anew
