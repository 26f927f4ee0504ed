"""The demo's shop: the same every time, and with everything in it that a night must deal with."""

import csv
import datetime as dt
import gzip
from collections import Counter, defaultdict

import pytest

from infra.demo_shop import write_shop
from infra.feed_files import open_feed

START = dt.date(2026, 9, 1)


def write(folder, seed=20260901):
    return write_shop(folder, starts_on=START, days=60, members=400, seed=seed)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def orders(files):
    """Lines by order number, in the order of the file."""
    found = defaultdict(list)
    with gzip.open(files.orders, "rt", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            found[line["order_no"]].append(line)
    return dict(found)


def table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_same_arguments_give_the_same_bytes_and_another_seed_another_shop(files, tmp_path):
    again, other = write(tmp_path / "again"), write(tmp_path / "other", seed=2)
    for name in ("members", "orders", "redemptions", "cancellations"):
        assert getattr(again, name).read_bytes() == getattr(files, name).read_bytes()
        assert getattr(other, name).read_bytes() != getattr(files, name).read_bytes()


def test_the_hour_of_writing_leaves_no_trace(files):
    assert files.orders.read_bytes()[3:8] == bytes(5)  # of the gzip header: no name, no time


@pytest.mark.parametrize("feed", ["members", "orders", "redemptions", "cancellations"])
def test_every_file_is_a_feed_as_it_stands(files, feed):
    with open_feed(getattr(files, feed), feed) as stream:
        assert stream.read()
        assert not [column for column in stream.columns if column.startswith("ignored")]


def test_what_is_counted_is_what_is_written(files, orders):
    assert files.order_lines == sum(map(len, orders.values()))
    assert files.orders_written + files.refunds == len(orders)
    assert files.redemptions_written == len(table(files.redemptions))
    assert files.cancellations_written == len(table(files.cancellations))


def test_days_are_full_but_not_all_alike(orders):
    days = Counter(lines[0]["placed_at"][:10] for number, lines in orders.items() if number.startswith("A"))
    assert len(days) == 60
    assert all(30 <= count <= 60 for count in days.values())
    assert len(set(days.values())) > 10
    sizes = Counter(len([line for line in lines if line["sku"] != "POST"]) for lines in orders.values())
    assert set(sizes) >= {1, 2, 3, 4, 5, 6}
    assert max(sizes) == 6


def test_order_numbers_and_times_run_together(orders):
    bought = [(lines[0]["placed_at"], number) for number, lines in orders.items() if number.startswith("A")]
    assert bought == sorted(bought)
    assert [number for _, number in bought] == sorted(number for _, number in bought)
    assert all(len({(line["placed_at"], line["member_no"]) for line in lines}) == 1 for lines in orders.values())


def test_there_are_guests_postage_and_members_known_only_by_their_orders(files, orders):
    known = {row["member_no"] for row in table(files.members)}
    buyers = {lines[0]["member_no"] for lines in orders.values()}
    assert "" in buyers
    assert buyers - known - {""}
    assert [1 for lines in orders.values() if lines[-1]["sku"] == "POST"]


def test_refunds_name_their_order_or_not_and_follow_it(orders):
    refunds = [lines for number, lines in orders.items() if number.startswith("R")]
    named = [lines for lines in refunds if lines[0]["original_order_no"]]
    assert 0.4 * len(refunds) < len(named) < 0.8 * len(refunds)
    for lines in named:
        original = orders[lines[0]["original_order_no"]]
        assert original[0]["placed_at"][:10] < lines[0]["placed_at"][:10]
        assert {line["sku"] for line in lines} <= {line["sku"] for line in original}
    assert all(int(line["quantity"]) < 0 < float(line["unit_price"]) for lines in refunds for line in lines)
    assert [1 for lines in refunds if lines[0]["sku"] == "GIFT-CARD-900"]  # never bought here


def test_most_redemptions_can_be_honoured_and_some_cannot(files, orders):
    redemptions = table(files.redemptions)
    asked_too_much = [row for row in redemptions if int(row["points"]) >= 500]
    buyers = {lines[0]["member_no"] for lines in orders.values()}
    by_nobody = [row for row in redemptions if row["member_no"] not in buyers]
    assert 2 <= len(asked_too_much) < 0.1 * len(redemptions)
    assert 2 <= len(by_nobody) < 0.1 * len(redemptions)


def test_cancellations_come_the_next_day_or_weeks_later(files):
    redeemed = {row["redemption_no"]: row["redeemed_at"] for row in table(files.redemptions)}
    waits = {
        (
            dt.date.fromisoformat(row["cancelled_at"][:10]) - dt.date.fromisoformat(redeemed[row["redemption_no"]][:10])
        ).days
        for row in table(files.cancellations)
    }
    assert 1 in waits
    assert [wait for wait in waits if wait > 20]


def test_somebody_returns_what_earned_the_points_that_are_spent_already(files, orders):
    spent = {row["member_no"]: row["redeemed_at"] for row in table(files.redemptions)}
    debtors = [
        lines[0]["member_no"]
        for lines in orders.values()
        if lines[0]["original_order_no"] and spent.get(lines[0]["member_no"], "9") < lines[0]["placed_at"]
        if spent[lines[0]["member_no"]] > orders[lines[0]["original_order_no"]][0]["placed_at"]
    ]
    assert debtors
