"""Slices: every member is worked on once, side by side, and a failure stops the rest."""

import threading

import pytest
import sqlalchemy as sa

from points_ledger.slices import work_off


@pytest.fixture
def two(ledger):
    """The batch login with two connections for a job."""
    return ledger.engine().execution_options(connections=2)


def test_every_member_is_worked_on_once_and_progress_reaches_all(two):
    seen, told = [], []
    results = work_off(
        two,
        range(1, 1001),
        lambda part: seen.extend(part) or len(part),
        size=7,
        progress=lambda *so_far: told.append(so_far),
    )
    assert sorted(seen) == list(range(1, 1001))
    assert sum(results) == 1000
    assert told[-1] == (1000, 1000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_two_slices_are_open_at_the_same_time(two):
    meet = threading.Barrier(2, timeout=10)

    def work(_: list[int]) -> int:
        with two.begin() as connection:
            pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
            meet.wait()  # breaks unless the other slice has a transaction of its own by now
            return pid

    assert len(set(work_off(two, range(4), work, size=2))) == 2


def test_a_failure_is_raised_and_no_further_slice_begins(two):
    worked = []

    def work(part: list[int]) -> None:
        worked.append(part)
        raise LookupError(part[0])

    with pytest.raises(LookupError):
        work_off(two, range(1000), work, size=1)
    assert len(worked) <= 2


def test_two_connections_close_the_same_nights_as_one(clone):
    def entries(connections: int) -> list[tuple[object, ...]]:
        books = clone().start(
            expiry={"basis": "fixed", "months": 1, "round_up_to": "day"}, guard={"max_share_of_outstanding": "off"}
        )
        books.engines["batch"] = books.engine().execution_options(connections=connections)
        books.orders(*(f"O{n},m{n:04},2026-01-01 10:00,tea,{n % 7 + 1},1.50" for n in range(1100)))  # three slices
        books.close("2026-02-01")
        return books.rows(
            "SELECT member_no, seq, kind, points, lot_seq, balance_after FROM points.entry JOIN points.member USING (member_id)"
            " ORDER BY 1, 2"
        )

    posted = entries(2)
    assert len(posted) == 2200
    assert posted == entries(1)
