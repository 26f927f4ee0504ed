"""Every condition of a rule, stacking, bonuses: what a line earns, and which rules it got."""

import datetime as dt

import pytest

RATE = {"points_per_unit": "1"}


def earned(ledger, member_no="m1"):
    """Points by order, in order of posting."""
    return dict(
        ledger.rows(
            "SELECT order_no, points FROM points.order_earning JOIN points.member USING (member_id) WHERE member_no = :no",
            no=member_no,
        )
    )


def take(ledger, *rows):
    ledger.take("orders", "order_no,member_no,placed_at,sku,quantity,unit_price,category,store,channel", *rows)


@pytest.mark.parametrize(
    ("condition", "fits", "does_not"),
    [
        ({"skus": ["tea"]}, "tea,1,10,,,", "mug,1,10,,,"),
        ({"exclude_skus": ["mug"]}, "tea,1,10,,,", "mug,1,10,,,"),
        ({"categories": ["drinks"]}, "tea,1,10,drinks,,", "tea,1,10,paper,,"),
        ({"exclude_categories": ["paper"]}, "tea,1,10,,,", "tea,1,10,paper,,"),
        ({"stores": ["Leith"]}, "tea,1,10,,Leith,", "tea,1,10,,York,"),
        ({"channels": ["app"]}, "tea,1,10,,,app", "tea,1,10,,,till"),
        ({"min_order_amount": "10"}, "tea,1,10.00,,,", "tea,1,9.99,,,"),
    ],
)
def test_a_condition_on_the_line_or_order_decides(ledger, condition, fits, does_not):
    ledger.start(earn={"rate": [RATE], "multiplier": [{"factor": "3", **condition}]})
    take(ledger, f"A1,m1,2026-01-01 10:00,{fits}", f"A2,m1,2026-01-01 11:00,{does_not}")

    ledger.close("2026-01-01")

    assert earned(ledger) == {"A1": 30, "A2": 10 if "9.99" not in does_not else 9}


@pytest.mark.parametrize(
    ("condition", "days"),
    [
        ({"from": "2026-01-02", "through": "2026-01-03"}, {"A2", "A3"}),
        ({"weekdays": ["fri"]}, {"A2"}),  # 2 January 2026 is a Friday
        ({"first_order": True}, {"A1"}),
        ({"first_order": False}, {"A2", "A3", "A4"}),
    ],
)
def test_a_condition_on_the_day_or_the_order_of_orders_decides(ledger, condition, days):
    dates = {
        key: dt.date.fromisoformat(value) if key in ("from", "through") else value for key, value in condition.items()
    }
    ledger.start(earn={"rate": [RATE], "multiplier": [{"factor": "2", **dates}]})
    ledger.orders(*(f"A{n},m1,2026-01-0{n} 10:00,tea,1,10" for n in range(1, 5)))

    ledger.close("2026-01-04")

    assert {order for order, points in earned(ledger).items() if points == 20} == days


@pytest.mark.parametrize(("minute", "points"), [("2026-06-30 22:59:59+00:00", 20), ("2026-06-30 23:00:00+00:00", 10)])
def test_a_promotion_ends_with_its_last_day_in_the_programmes_zone(ledger, minute, points):
    ledger.start(
        programme={"starts_on": dt.date(2026, 6, 29)},
        earn={"rate": [RATE], "multiplier": [{"factor": "2", "through": dt.date(2026, 6, 30)}]},
    )
    ledger.orders(f"A1,m1,{minute},tea,1,10")  # London is an hour ahead of UTC

    ledger.close("2026-07-01")

    assert earned(ledger) == {"A1": points}


def test_a_member_group_and_a_birthday_month_decide(ledger):
    ledger.start(
        earn={
            "rate": [RATE],
            "multiplier": [{"factor": "2", "groups": ["staff", "club"]}, {"factor": "3", "birthday_month": True}],
        }
    )
    ledger.take("members", "member_no,groups,birthday", "m1,club|north,06-15", "m2,north,01-31", "m3,,")
    ledger.orders(*(f"A{n},m{n},2026-01-01 10:00,tea,1,10" for n in (1, 2, 3)))

    ledger.close("2026-01-01")

    assert [earned(ledger, f"m{n}")[f"A{n}"] for n in (1, 2, 3)] == [20, 30, 10]


def test_a_tier_earns_by_what_was_held_on_the_effective_date(ledger):
    ledger.start(
        earn={"rate": [RATE], "multiplier": [{"factor": "1.5", "tiers": ["gold"]}]},
        tier=[{"code": "member", "enter_at": 0}, {"code": "gold", "enter_at": 100}],
    )
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-01 20:00,tea,1,10", "A3,m1,2026-01-02 00:01,tea,1,11"
    )
    ledger.close("2026-01-02")
    ledger.orders("A4,m1,2026-01-01 21:00,tea,1,10")  # found late: on its day the member was not gold yet

    ledger.close("2026-01-03")

    assert earned(ledger) == {"A1": 100, "A2": 10, "A3": 16, "A4": 10}


def test_multipliers_multiply_when_the_programme_says_so_exactly(ledger):
    ledger.start(
        earn={
            "stacking": "multiply",
            "rate": [RATE],
            "multiplier": [{"factor": "1.1"}, {"factor": "1.1", "skus": ["tea"]}],
        }
    )
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-01 11:00,mug,1,100")

    ledger.close("2026-01-01")

    assert earned(ledger) == {"A1": 121, "A2": 110}  # in floats 1.1 x 1.1 x 100 is 121.00000000000001
    assert ledger.one("SELECT multipliers FROM points.order_earning WHERE order_no = 'A1'") == ["1+2"]


def test_a_bonus_is_once_an_order_after_the_floor_and_before_the_cap(ledger):
    ledger.start(
        earn={
            "daily_cap": 130,
            "rate": [RATE],
            "bonus": [{"points": 50, "skus": ["tea"], "name": "Tea week"}, {"points": 7, "first_order": True}],
        }
    )
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,20.50",
        "A1,m1,2026-01-01 10:00,tea,1,20.40",
        "A2,m1,2026-01-01 11:00,mug,1,10",
        "A3,m1,2026-01-01 12:00,tea,1,10",
    )

    ledger.close("2026-01-01")

    assert earned(ledger) == {"A1": 40 + 57, "A2": 10, "A3": 130 - 97 - 10}
    assert ledger.one("SELECT bonuses FROM points.order_earning WHERE order_no = 'A1'") == [1, 2]


def test_a_return_takes_its_share_of_a_bonus(ledger):
    ledger.start(earn={"rate": [RATE], "bonus": [{"points": 50}]})
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,2,50", "R1,m1,2026-01-02 10:00,tea,-1,50", "R2,m1,2026-01-03 10:00,tea,-1,50"
    )

    ledger.close("2026-01-03")

    assert ledger.kinds("m1") == [("earn", 150), ("claw_back", 75), ("claw_back", 75)]


def test_every_line_knows_its_rate_and_multipliers(ledger):
    ledger.start(
        earn={
            "rate": [{"points_per_unit": "2", "skus": ["mug"]}, RATE],
            "multiplier": [{"factor": "2", "name": "June"}, {"factor": "3", "skus": ["tea"], "name": "Tea"}],
        }
    )
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,10", "A1,m1,2026-01-01 10:00,mug,1,10")

    ledger.close("2026-01-01")

    [row] = ledger.rows("SELECT lines, rates, multipliers, points FROM points.order_earning")
    assert tuple(row) == ([1, 2], [2, 1], ["2", "1"], 70)


def test_lines_that_rules_name_and_lines_that_none_names_meet_in_one_order(ledger):
    ledger.start(
        earn={
            "rate": [
                {"points_per_unit": "5", "skus": ["tea"], "categories": ["drinks"]},
                {"points_per_unit": "1", "exclude_skus": ["POST"], "exclude_categories": ["gifts"]},
            ],
            "multiplier": [{"factor": "2", "categories": ["paper"]}],
            "bonus": [{"points": 7, "skus": ["POST"]}, {"points": 9, "categories": ["gifts"]}],
        }
    )
    ledger.change("2026-01-02", earn={"rate": [{"points_per_unit": "3", "skus": ["mug"]}, RATE]})
    take(
        ledger,
        "A1,m1,2026-01-01 10:00,mug,1,10,,,",
        "A1,m1,2026-01-01 10:00,tea,1,10,drinks,,",
        "A1,m1,2026-01-01 10:00,tea,1,10,paper,,",
        "A1,m1,2026-01-01 10:00,POST,1,10,,,",
        "A2,m1,2026-01-01 11:00,cup,1,10,,,",  # no rule names it: the order is judged whole
        "A3,m1,2026-01-01 12:00,POST,1,10,,,",  # nothing earns, and the bonus is for it
        "A4,m1,2026-01-02 10:00,mug,1,10,gifts,,",  # of the other version, in the same commit
        "A5,m1,2026-01-02 11:00,POST,1,10,gifts,,",
    )

    ledger.close("2026-01-02")

    assert [tuple(row) for row in ledger.rows("SELECT * FROM points.order_earning ORDER BY order_no")] == [
        (1, "A1", 1, 30, 80, 87, 1, [1, 2, 3], [2, 1, 2], ["0", "0", "1"], [1], dt.date(2026, 1, 1)),
        (1, "A2", 1, 10, 10, 10, 2, [1], [2], ["0"], [], dt.date(2026, 1, 1)),
        (1, "A3", 1, 0, 0, 7, 3, [], [], [], [1], dt.date(2026, 1, 1)),
        (1, "A4", 2, 10, 30, 30, 4, [1], [1], ["0"], [], dt.date(2026, 1, 2)),
        (1, "A5", 2, 10, 10, 10, 5, [1], [2], ["0"], [], dt.date(2026, 1, 2)),
    ]
