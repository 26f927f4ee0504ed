"""What an order earns (design 7, Earning): rates, multipliers, the floor, the cap, the days; each figure by hand."""

import datetime as dt
from decimal import Decimal

import pytest

from points_ledger import events

RATES = [
    {"skus": ["gold"], "points_per_unit": "0.5"},
    {"categories": ["wine"], "points_per_unit": "100"},
    {"points_per_unit": "1", "exclude_skus": ["DOT", "POST"]},
]
MULTIPLIERS = [
    {"factor": "1.5", "from": dt.date(2026, 1, 12), "through": dt.date(2026, 1, 14)},
    {"factor": "2", "from": dt.date(2026, 1, 10), "through": dt.date(2026, 1, 12)},
    {"factor": "4", "skus": ["deal"], "stores": ["north"]},
    {"factor": "5", "min_order_amount": "200"},
    {"factor": "7", "weekdays": ["mon"], "channels": ["app"]},
]

# name: (placed_at, the lines as "sku quantity price [category store channel]", the points). The zone is New York's.
ORDERS = {
    "the first matching rate counts, not the best": ("2026-01-02 10:00", ["gold 1 10"], 5),
    "a rate of a category comes before the rate of all": ("2026-01-02 10:00", ["port 1 10 wine"], 1000),
    "a first match by sku wins over a better match by category": ("2026-01-02 10:00", ["gold 1 10 wine"], 5),
    "excluded skus earn nothing beside one that does": ("2026-01-02 10:00", ["tea 2 5.50", "POST 1 4", "DOT 1 9"], 11),
    "only excluded skus earn nothing": ("2026-01-02 10:00", ["POST 1 4", "DOT 1 9"], 0),
    "the floor is of the sum of the lines": ("2026-01-02 10:00", ["a 1 0.40", "b 1 0.40", "c 1 0.40"], 1),
    "less than one point is none": ("2026-01-02 10:00", ["a 1 0.99"], 0),
    "seven, one and two tenths are exactly one": ("2026-01-02 10:00", ["a 1 0.7", "b 1 0.1", "c 1 0.2"], 1),
    "three times a tenth at a hundred per unit is exactly thirty": ("2026-01-02 10:00", ["port 3 0.1 wine"], 30),
    "0.29 at a hundred per unit is exactly 29": ("2026-01-02 10:00", ["port 1 0.29 wine"], 29),  # 28.999… in floats
    "a hundred times 0.29 is exactly 29": ("2026-01-02 10:00", ["a 100 0.29"], 29),
    "half a kilogram is a quantity": ("2026-01-02 10:00", ["a 0.5 9.99", "b 0.25 20.02"], 10),  # 4.995 + 5.005
    "of two multipliers the best applies, not both": ("2026-01-12 10:00", ["a 1 10"], 20),
    "a multiplier is of each line that it matches": ("2026-01-02 10:00", ["deal 1 10 - north", "a 1 10 - north"], 50),
    "a multiplier of a store is of that store only": ("2026-01-02 10:00", ["deal 1 10 - south"], 10),
    "a multiplier of a weekday and a channel needs both": ("2026-01-05 10:00", ["a 1 10 - - app"], 70),
    "the same channel on another weekday": ("2026-01-06 10:00", ["a 1 10 - - app"], 10),
    "the same weekday on another channel": ("2026-01-05 10:00", ["a 1 10 - - web"], 10),
    "an order of the least amount is enough": ("2026-01-02 10:00", ["a 2 100"], 1000),
    "an order below the least amount is not": ("2026-01-02 10:00", ["a 2 99.99"], 199),
    "the multiplier and the rate are multiplied before the floor": ("2026-01-13 10:00", ["gold 1 4.50"], 3),  # 3.375
    "the first day of a promotion begins at midnight there": ("2026-01-10 05:00Z", ["a 1 10"], 20),
    "a minute before is the day before": ("2026-01-10 04:59Z", ["a 1 10"], 10),
    "the last day of a promotion ends at midnight there": ("2026-01-15 04:59Z", ["a 1 10"], 15),
    "the minute after is the day after": ("2026-01-15 05:00Z", ["a 1 10"], 10),
    "free and cancelled lines earn nothing": ("2026-01-02 10:00", ["a 1 0", "a 0 5", "a 1 -5", "a 1 10"], 10),
}


@pytest.fixture(scope="module")
def shop(clone):
    ledger = clone().start(
        programme={"time_zone": "America/New_York"},
        earn={"rate": RATES, "multiplier": MULTIPLIERS},
        expiry={"basis": "none", "months": None},
    )
    rows = []
    for number, (placed_at, lines, _) in enumerate(ORDERS.values()):
        for line in lines:
            sku, quantity, price, category, store, channel = (*line.split(), *"---")[:6]
            rest = ",".join("" if value == "-" else value for value in (category, store, channel))
            rows.append(f"O{number},m{number},{placed_at},{sku},{quantity},{price},{rest}")
    ledger.take("orders", "order_no,member_no,placed_at,sku,quantity,unit_price,category,store,channel", *rows)
    ledger.close("2026-01-15")
    return ledger


@pytest.mark.parametrize("case", ORDERS)
def test_an_order_earns_what_its_lines_say(shop, case):
    number, points = list(ORDERS).index(case), ORDERS[case][2]
    member = f"m{number}"
    assert shop.balance(member) == (points, 0)
    assert shop.kinds(member) == ([("earn", points)] if points else [])


def test_an_order_without_points_is_stored_with_its_reasons(shop):
    number = list(ORDERS).index("only excluded skus earn nothing")
    [order] = shop.rows("SELECT * FROM points.shop_order WHERE order_no = :no", no=f"O{number}")
    [earning] = shop.rows("SELECT * FROM points.order_earning WHERE order_no = :no", no=f"O{number}")
    assert (order.purchase_lines, order.purchase_amount, order.is_waiting) == (2, Decimal(13), False)
    assert (earning.points, earning.lot_seq, earning.eligible_amount, list(earning.lines)) == (0, None, 0, [])
    assert shop.one("SELECT count(*) FROM points.posting_key WHERE source_ref = :no", no=f"O{number}") == 0


def test_an_order_records_which_rule_judged_each_line(shop):
    number = list(ORDERS).index("a multiplier is of each line that it matches")
    [earning] = shop.rows("SELECT * FROM points.order_earning WHERE order_no = :no", no=f"O{number}")
    assert (list(earning.lines), list(earning.rates), list(earning.multipliers)) == ([1, 2], [3, 3], ["3", "0"])
    assert (earning.eligible_amount, earning.exact_points, earning.points) == (20, 50, 50)


def test_a_line_without_money_is_skipped_but_counts_in_the_line_numbers(ledger):
    ledger.start()
    taken = ledger.orders(
        "A1,m1,2026-01-01 10:00,bag,1,0",
        "A1,m1,2026-01-01 10:00,tea,1,10",
        "B1,m2,2026-01-01 10:00,tea,1,7",
        "A1,m1,2026-01-01 10:00,void,0,10",
        "A1,m1,2026-01-01 10:00,fee,1,-3",
        "A1,m1,2026-01-01 10:00,tea,1,20",
    )
    assert (taken.rows("accepted"), taken.rows("skipped"), taken.rows("rejected")) == (3, 3, 0)
    assert ledger.rows("SELECT order_no, line_no, sku FROM points.order_line ORDER BY 1, 2") == [
        ("A1", 2, "tea"),
        ("A1", 5, "tea"),
        ("B1", 1, "tea"),
    ]
    ledger.close("2026-01-01")
    assert ledger.balance("m1") == (30, 0)


def test_an_order_happened_when_its_earliest_line_did(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-03 00:05,tea,1,10", "A1,m1,2026-01-02 23:55,mug,1,5", "A1,m1,2026-01-03 00:10,jar,1,1")
    ledger.close("2026-01-02")
    [entry] = ledger.rows("SELECT points, effective_on, book_date, valid_through FROM points.entry")
    assert entry == (16, dt.date(2026, 1, 2), dt.date(2026, 1, 2), dt.date(2026, 2, 2))


def test_one_order_makes_one_lot_however_many_lines(ledger):
    ledger.start()
    ledger.orders(*(f"A1,m1,2026-01-01 10:00,sku{n},1,1.25" for n in range(9)), "A2,m1,2026-01-01 11:00,tea,1,4")
    ledger.close("2026-01-01")
    assert ledger.lots("m1") == [(11, 11, "2026-02-01"), (4, 4, "2026-02-01")]


def test_the_daily_cap_is_of_the_member_and_the_day_over_orders_and_files(ledger):
    ledger.start(earn={"daily_cap": 50}, expiry={"basis": "none", "months": None})
    ledger.orders(
        "A2,m1,2026-01-01 12:00,tea,1,30",
        "A1,m1,2026-01-01 10:00,tea,1,30",
        "B1,m2,2026-01-01 10:00,tea,1,80",
        "C1,m3,2026-01-01 10:00,tea,1,20",
        "D1,m1,2026-01-02 10:00,tea,1,45",
    )
    events.post(ledger.engine(), through=dt.date(2026, 1, 1), run_id=None, final=False)
    assert ledger.kinds("m1") == [("earn", 30), ("earn", 20)]  # in the order of their times: A1 whole, A2 the rest

    ledger.orders("C2,m3,2026-01-01 18:00,tea,1,40", "C3,m3,2026-01-01 19:00,tea,1,40")
    ledger.close("2026-01-02")
    ledger.orders("A9,m1,2026-01-01 20:00,tea,1,5", "D2,m1,2026-01-02 09:00,tea,1,10")  # late, of closed days
    ledger.close("2026-01-03")

    assert ledger.kinds("m1") == [("earn", 30), ("earn", 20), ("earn", 45), ("earn", 5)]
    assert ledger.kinds("m2") == [("earn", 50)]
    assert ledger.kinds("m3") == [("earn", 20), ("earn", 30)]
    assert ledger.rows("SELECT order_no, points FROM points.order_earning ORDER BY 1") == [
        ("A1", 30), ("A2", 20), ("A9", 0), ("B1", 50), ("C1", 20), ("C2", 30), ("C3", 0), ("D1", 45), ("D2", 5),
    ]  # fmt: skip


def test_pending_points_are_held_but_not_spent_and_may_be_taken_back(ledger):
    ledger.start(earn={"usable_after_days": 14}, expiry={"months": 2})
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,100",
        "B1,m2,2026-01-01 10:00,tea,1,100",
        "B2,m2,2026-01-05 10:00,tea,-1,100",
    )
    ledger.redemptions("R1,m1,2026-01-14 23:59,1", "R2,m1,2026-01-15 00:00,40")
    ledger.close("2026-01-14")
    assert ledger.balance("m1") == (100, 0)
    assert ledger.findings() == {"insufficient_points": 1}
    assert ledger.kinds("m2") == [("earn", 100), ("claw_back", 100)]

    ledger.close("2026-01-15")
    assert ledger.kinds("m1") == [("earn", 100), ("spend", 40)]
    assert ledger.lots("m1") == [(100, 60, "2026-03-01")]  # validity counts from the order, not from the usable day


def test_a_late_order_is_booked_on_the_open_day_with_its_own_effective_date(ledger):
    ledger.start()
    ledger.close("2026-01-10")
    ledger.orders("A1,m1,2026-01-03 10:00,tea,1,10")
    ledger.close("2026-01-11")
    [entry] = ledger.rows("SELECT kind, book_date, effective_on, valid_through FROM points.entry")
    assert entry == ("earn", dt.date(2026, 1, 11), dt.date(2026, 1, 3), dt.date(2026, 2, 3))


def test_a_late_order_whose_points_have_lapsed_earns_them_and_loses_them_at_that_close(ledger):
    ledger.start()
    ledger.close("2026-02-09")
    ledger.orders("A1,m1,2026-01-03 10:00,tea,1,10", "A2,m1,2026-01-10 10:00,tea,1,7")
    ledger.redemptions("R1,m1,2026-02-10 10:00,8")  # only the 7 that are valid through today are there to take
    ledger.close("2026-02-10")
    assert ledger.rows("SELECT kind, points, book_date, effective_on FROM points.entry ORDER BY seq") == [
        ("earn", 10, dt.date(2026, 2, 10), dt.date(2026, 1, 3)),
        ("earn", 7, dt.date(2026, 2, 10), dt.date(2026, 1, 10)),
        ("expire", 10, dt.date(2026, 2, 11), dt.date(2026, 2, 4)),
        ("expire", 7, dt.date(2026, 2, 11), dt.date(2026, 2, 11)),
    ]
    assert ledger.findings() == {"insufficient_points": 1}


def test_an_order_is_judged_by_the_version_of_its_day_however_late_it_comes(ledger):
    ledger.start()
    ledger.change("2026-01-05", earn={"rate": [{"points_per_unit": "3"}]}, expiry={"months": 2})
    ledger.orders("A1,m1,2026-01-05 00:00,tea,1,10")
    ledger.close("2026-01-06")
    ledger.orders("A2,m1,2026-01-04 23:59,tea,1,10")
    ledger.close("2026-01-07")
    assert ledger.lots("m1") == [(30, 30, "2026-03-05"), (10, 10, "2026-02-04")]
    assert ledger.rows("SELECT policy_version FROM points.entry ORDER BY seq") == [(2,), (1,)]


def test_an_event_of_a_later_day_waits_until_that_day_is_closed(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-03 10:00,tea,1,10")
    ledger.close("2026-01-02")
    assert ledger.rows("SELECT * FROM points.entry") == []
    ledger.close("2026-01-03")
    assert ledger.balance("m1") == (10, 0)
