"""Which backups may go: never the newest that was proven, and nothing when something is odd."""

import datetime as dt
import random

import pytest

from infra.deployments import DEPLOYMENTS
from points_ledger.backups import BACKUP_EVERY, DRILL_EVERY, Backup, removable

NOW = dt.datetime(2026, 9, 30, 12, tzinfo=dt.UTC)
KEEP = {"daily": 7, "weekly": 5, "monthly": 13}


def backup(days_ago: float, state: str = "complete", proven_ago: float | None = None) -> Backup:
    taken = NOW - dt.timedelta(days=days_ago)
    proven = NOW - dt.timedelta(days=days_ago if proven_ago is None else proven_ago) if state == "proven" else None
    return Backup(f"{taken:%Y%m%d%H%M}-{state}", state, taken, taken, None, proven, None, {"taken_at": "x"})


def going(*backups: Backup, now: dt.datetime = NOW, **keep: int) -> tuple[list[str], str | None]:
    gone, why = removable(backups, now=now, **(KEEP | keep))
    return [one.backup_id for one in gone], why


def test_a_year_of_nights_keeps_seven_days_five_weeks_and_thirteen_months():
    nights = [backup(days, "proven" if days == 1 else "complete") for days in range(400)]
    gone, why = removable(nights, now=NOW, **KEEP)
    kept = sorted((one.taken_at for one in nights if one not in gone), reverse=True)
    assert why is None
    assert [(NOW - taken).days for taken in kept[:7]] == list(range(7))
    months = {f"{taken:%Y-%m}": taken for taken in reversed(kept)}
    assert len(months) == 13
    assert all((taken + dt.timedelta(days=1)).day == 1 for month, taken in months.items())  # the last of each month
    assert 7 + 4 + 11 <= len(kept) <= 7 + 5 + 13


@pytest.mark.parametrize(
    ("history", "why"),
    [
        ([backup(d) for d in range(100)], "no backup is proven"),
        ([backup(d, "in doubt") for d in range(100)], "no backup is proven"),
        ([*(backup(d) for d in range(60)), backup(60, "proven", 11)], "the last drill was on"),
        ([*(backup(d, "proven") for d in range(100)), backup(-1)], "in the future"),
    ],
)
def test_nothing_goes_when_something_is_odd(history, why):
    gone, said = going(*history)
    assert gone == []
    assert why in said


def test_what_is_newer_than_the_newest_proven_stays_and_what_is_in_doubt_holds_no_place():
    history = [backup(d, "proven" if d == 9 else "complete", 1) for d in range(60)]
    gone, _ = going(*history, daily=1, weekly=0, monthly=0)
    assert sorted(gone) == sorted(one.backup_id for one in history[10:])
    doubted = [backup(0, "proven"), backup(1, "in doubt"), backup(1.1)]
    assert going(*doubted, daily=2, weekly=0, monthly=0)[0] == [doubted[1].backup_id]


def test_the_backups_of_signed_months_stay_whatever_their_age():
    nights = [backup(days, "proven" if days == 1 else "complete") for days in range(900)]
    old = nights[850].backup_id

    gone, _ = removable(nights, now=NOW, **KEEP)
    assert old in [one.backup_id for one in gone]
    left, _ = removable(nights, now=NOW, **KEEP, signed={old})

    assert [one for one in gone if one not in left] == [nights[850]]


def test_whatever_the_history_the_newest_proven_survives_and_a_second_plan_removes_nothing():
    dice = random.Random(20260930)
    for _ in range(2000):
        history = [
            backup(
                dice.uniform(0, 500),
                dice.choice(["complete", "proven", "in doubt", "failed", "pruned"]),
                dice.uniform(0, 12),
            )
            for _ in range(dice.randrange(40))
        ]
        keep = {"daily": dice.randrange(1, 9), "weekly": dice.randrange(6), "monthly": dice.randrange(14)}
        gone, why = removable(history, now=NOW, **keep)
        proven = [one for one in history if one.state == "proven"]
        if not proven:
            assert gone == []
            continue
        newest = max(proven, key=lambda one: one.taken_at)
        assert newest not in gone
        assert all(one.taken_at < newest.taken_at for one in gone)
        assert {one.state for one in gone} <= {"complete", "proven", "in doubt"}
        left = [one for one in history if one not in gone]
        again, _ = removable(left, now=NOW, **keep)
        assert again == [], why


def test_the_catalogue_and_the_schedule_call_the_same_age_too_old():
    hours = {one.entrypoint: one.overdue_after_hours for one in DEPLOYMENTS}
    assert dt.timedelta(hours=hours["flows.backup.back_up_ledger"]) == BACKUP_EVERY
    assert dt.timedelta(hours=hours["flows.drill.drill_restore"]) == DRILL_EVERY
