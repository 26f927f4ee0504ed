"""Feeds: every row of a file is accepted, rejected with a reason, or skipped, and an event is taken once."""

import datetime as dt
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from points_ledger import feeds, members, orders, redemptions
from points_ledger.errors import ImplausibleValue
from points_ledger.policy import policy_on

START = dt.date(2026, 1, 1)
ACCEPT = {
    "orders": orders.accept,
    "redemptions": redemptions.accept,
    "cancellations": redemptions.accept_cancellations,
    "members": members.accept,
}
ORDER = "order_no,member_no,placed_at,sku,quantity,unit_price"
REDEMPTION = "redemption_no,member_no,redeemed_at,points"
TEN = "2026-01-01 10:00"


class File:
    """A file as the bytes it has: the same bytes have the same digest, whatever the file is called."""

    copy_format = "FORMAT csv, HEADER true"

    def __init__(self, columns, rows):
        content = "\n".join([columns, *rows, ""]).encode()
        self.columns = tuple(columns.split(","))
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._content = io.BytesIO(content)

    def read(self, size=-1):
        return self._content.read(size)


def take(
    ledger, feed, columns, *rows, name="a.csv", decimal=".", timestamp_format=None, time_zone=None, constants=None
):
    reading = feeds.Reading(name, "test", constants or {}, decimal, timestamp_format, time_zone, 1)
    with ledger.engine().begin() as connection:
        policy = policy_on(connection, START)
        return feeds.import_file(connection, feeds.FEEDS[feed], File(columns, rows), reading, policy, ACCEPT[feed])


def fates(result):
    return {(total.fate, total.reason): total.rows for total in result.totals}


def found(ledger):
    return [
        tuple(row) for row in ledger.rows("SELECT reason, ref, line FROM points.finding ORDER BY file_id, line, ref")
    ]


def stored(ledger):
    """How many rows every table has."""
    tables = ledger.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'points'::regnamespace AND relkind IN ('r', 'p')"
    )
    return {row[0]: ledger.one(f"SELECT count(*) FROM points.{row[0]}") for row in tables}


@pytest.fixture
def shop(ledger):
    return ledger.start()


# Control totals -------------------------------------------------------------------------------------------------------


def test_every_row_and_its_money_is_in_the_control_total(shop):
    take(shop, "orders", ORDER, f"K1,m1,{TEN},tea,1,3", name="known.csv")
    result = take(
        shop, "orders", ORDER,
        f"A1,m1,{TEN},tea,2,10.10",  # 20.20 accepted
        f"A1,m1,{TEN},bag,1,0",  # without money
        f"A1,m1,{TEN},fee,1,-5",  # -5 skipped
        f"A2,m1,{TEN},tea,-1,10.10",  # a return: -10.10 accepted
        f"G1,,{TEN},tea,4,2.50",  # a guest: 10 skipped
        f"K1,m1,{TEN},tea,1,3",  # of an order that changed: 3 rejected
        f"B1,m2,{TEN},tea,many,7",  # unreadable: no money
        f"B1,m2,{TEN},tea,1,8",  # of the same order: 8 rejected
        "C1,m3,2025-12-31 23:59,tea,1,0.07",  # before the programme: 0.07 rejected
        f"K1,m1,{TEN},mug,1,1000",  # what changed it: 1000 rejected
    )  # fmt: skip
    assert fates(result) == {
        ("accepted", "purchase"): 1,
        ("accepted", "return"): 1,
        ("skipped", "no_money"): 2,
        ("skipped", "guest"): 1,
        ("rejected", "order_changed"): 2,
        ("rejected", "quantity_not_a_number"): 1,
        ("rejected", "order_with_an_unreadable_line"): 1,
        ("rejected", "before_the_programme"): 1,
    }
    assert result.rows_read == 10 == sum(result.rows(fate) for fate in ("accepted", "rejected", "skipped"))
    money = {fate: result.money(fate) for fate in ("accepted", "rejected", "skipped")}
    assert money == {"accepted": Decimal("10.10"), "rejected": Decimal("1011.07"), "skipped": Decimal(5)}
    # money in, added up from the file: 20.20 + 0 - 5 - 10.10 + 10 + 3 + 8 + 0.07 + 1000
    assert result.money() == sum(money.values()) == Decimal("1026.17")
    kept = shop.rows("SELECT fate, reason, rows, money FROM points.feed_total WHERE file_id = :id", id=result.file_id)
    assert {tuple(row) for row in kept} == {(t.fate, t.reason, t.rows, t.money) for t in result.totals}


def test_an_empty_file_is_a_file_of_no_rows(shop):
    for feed, columns in (("orders", ORDER), ("redemptions", REDEMPTION), ("members", "member_no")):
        result = take(shop, feed, columns)
        assert (result.rows_read, result.totals, result.is_known) == (0, (), False)


# Once ------------------------------------------------------------------------------------------------------------------


def test_the_same_file_again_does_nothing_under_any_name(shop):
    rows = [f"A1,m1,{TEN},tea,1,10", f"B1,m2,{TEN},tea,x,10"]
    first = take(shop, "orders", ORDER, *rows, name="monday.csv")
    before = stored(shop)
    again = take(shop, "orders", ORDER, *rows, name="tuesday.csv")
    assert (first.is_known, again.is_known, again.sha256) == (False, True, first.sha256)
    assert (again.rows_read, again.totals) == (2, ())
    assert stored(shop) == before
    assert not take(shop, "members", "member_no", "m1").is_known  # another feed


def test_a_known_order_in_another_file_is_skipped_and_a_changed_one_is_a_finding(shop):
    a1 = [f"A1,m1,{TEN},tea,1,10", f"A1,m1,{TEN},mug,1,5"]
    take(shop, "orders", ORDER, *a1)
    shop.close("2026-01-01")
    same = take(shop, "orders", ORDER, *a1, f"A2,m1,{TEN},tea,1,1")
    assert fates(same) == {("skipped", "already_imported"): 2, ("accepted", "purchase"): 1}
    changes = {
        "another price": [a1[0], a1[1].replace(",5", ",6")],
        "another member": [line.replace("m1", "m2") for line in a1],
        "another time": [line.replace("10:00", "10:01") for line in a1],
        "another order of the lines": a1[::-1],
        "a line more": [*a1, f"A1,m1,{TEN},pen,1,1"],
        "a line less": a1[:1],
    }
    for n, rows in enumerate(changes.values(), start=1):
        result = take(shop, "orders", ORDER, *rows, f"B{n},m1,{TEN},tea,1,1")
        assert fates(result) == {("rejected", "order_changed"): len(rows), ("accepted", "purchase"): 1}
    assert [reason for reason, _, _ in found(shop)] == ["order_changed"] * len(changes)
    shop.close("2026-01-02")
    assert shop.kinds("m1") == [("earn", 15)] + [("earn", 1)] * 7


def test_the_same_order_in_another_spelling_is_the_same_order(shop):
    take(shop, "orders", ORDER, "A1,m1,2026-01-01 10:00,tea,1,10")
    again = take(shop, "orders", ORDER, "A1,m1,2026-01-01 10:00:00,tea,1.0,10.00")
    assert fates(again) == {("skipped", "already_imported"): 1}


def test_an_order_that_moved_from_a_store_to_a_channel_of_the_same_name_has_changed(shop):
    columns = f"{ORDER},store,channel"
    take(shop, "orders", columns, f"A1,m1,{TEN},tea,1,10,web,")
    again = take(shop, "orders", columns, f"A1,m1,{TEN},tea,1,10,,web")
    assert fates(again) == {("rejected", "order_changed"): 1}


def test_two_files_with_the_same_order_at_once_bring_it_once(shop):
    rows = [[f"A1,m1,{TEN},tea,1,10", f"B{n},m2,{TEN},tea,1,{n + 1}"] for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda lines: take(shop, "orders", ORDER, *lines), rows))
    assert sum(result.rows("skipped") for result in results) == 5
    assert sum(result.rows("accepted") for result in results) == 7
    shop.close("2026-01-01")
    assert (shop.balance("m1"), shop.balance("m2")) == ((10, 0), (21, 0))


def test_a_redemption_twice_in_a_file_counts_once_and_with_other_content_not_at_all(shop):
    take(shop, "members", "member_no", "m1")
    result = take(
        shop, "redemptions", REDEMPTION,
        f"P1,m1,{TEN},5", f"P1,m1,{TEN},5", f"P1,m1,{TEN},6", f"P2,m1,{TEN},7",
    )  # fmt: skip
    assert fates(result) == {
        ("accepted", "redemptions"): 2,
        ("skipped", "already_imported"): 1,
        ("rejected", "redemption_changed"): 1,
    }
    assert found(shop) == [("redemption_changed", f"{result.file_id}:3", 4)]
    later = take(shop, "redemptions", REDEMPTION, f"P1,m1,{TEN},5", f"P2,m2,{TEN},7", f"P3,m1,{TEN},1")
    assert fates(later) == {
        ("accepted", "redemptions"): 1,
        ("skipped", "already_imported"): 1,
        ("rejected", "redemption_changed"): 1,
    }
    assert shop.rows("SELECT redemption_no, member_no, points FROM points.redemption ORDER BY 1") == [
        ("P1", "m1", 5), ("P2", "m1", 7), ("P3", "m1", 1),
    ]  # fmt: skip


# Orders ----------------------------------------------------------------------------------------------------------------


def test_one_unreadable_line_rejects_its_whole_order_and_no_other(shop):
    result = take(
        shop, "orders", ORDER,
        f"A1,m1,{TEN},tea,1,10", f"B1,m1,{TEN},tea,1,20", f"A1,m1,{TEN},mug,one,5", f"A1,m1,{TEN},pen,1,1",
    )  # fmt: skip
    assert found(shop) == [
        ("order_with_an_unreadable_line", f"{result.file_id}:1", 2),
        ("quantity_not_a_number", f"{result.file_id}:3", 4),
        ("order_with_an_unreadable_line", f"{result.file_id}:4", 5),
    ]
    assert shop.one("SELECT detail ->> 'quantity' FROM points.finding WHERE line = 4") == "one"
    take(shop, "orders", ORDER, f"A1,m1,{TEN},tea,1,10", f"A1,m1,{TEN},mug,1,5", f"A1,m1,{TEN},pen,1,1")
    shop.close("2026-01-01")
    assert shop.rows("SELECT source_ref, points FROM points.entry ORDER BY 1") == [("A1", 16), ("B1", 20)]


def test_an_order_of_two_members_or_of_a_member_and_a_guest_is_rejected(shop):
    result = take(
        shop, "orders", ORDER,
        f"A1,m1,{TEN},tea,1,10", f"A1,m2,{TEN},tea,1,10", f"B1,m1,{TEN},tea,1,10", f"B1,,{TEN},tea,1,10",
    )  # fmt: skip
    assert fates(result) == {("rejected", "order_of_two_members"): 4}
    assert shop.one("SELECT count(*) FROM points.member") == 0


def test_an_order_before_the_programme_began_is_rejected_by_the_day_of_its_zone(clone):
    ledger = clone().start(programme={"time_zone": "America/New_York"})
    result = take(
        ledger, "orders", ORDER,
        "A1,m1,2026-01-01 04:59:59Z,tea,1,10", "A2,m1,2026-01-01 05:00Z,tea,1,10", "A3,m1,2025-12-31 23:59,tea,1,10",
        "A4,m1,2026-01-01 00:00,tea,1,10",
    )  # fmt: skip
    assert fates(result) == {("rejected", "before_the_programme"): 2, ("accepted", "purchase"): 2}
    assert ledger.rows("SELECT order_no, CAST(effective_on AS text) FROM points.shop_order ORDER BY 1") == [
        ("A2", "2026-01-01"), ("A4", "2026-01-01"),
    ]  # fmt: skip


def test_guests_are_counted_and_nothing_of_them_is_kept(shop):
    result = take(shop, "orders", ORDER, f"A1,,{TEN},tea,1,10", f"A2,,{TEN},tea,1,5", f"A2,,{TEN},tea,1,4")
    assert fates(result) == {("skipped", "guest"): 3}
    assert result.money("skipped") == 19
    assert (found(shop), shop.one("SELECT count(*) FROM points.shop_order")) == ([], 0)


def test_without_enrolment_from_orders_an_unknown_member_is_set_aside_until_enrolled(ledger):
    ledger.start(programme={"enrol_from_orders": False})
    take(ledger, "members", "member_no", "m1")
    rows = [f"A1,m1,{TEN},tea,1,10", f"B1,m2,{TEN},tea,1,20"]
    assert fates(take(ledger, "orders", ORDER, *rows)) == {
        ("accepted", "purchase"): 1,
        ("rejected", "unknown_member"): 1,
    }
    assert [reason for reason, _, _ in found(ledger)] == ["unknown_member"]
    take(ledger, "members", "member_no", "m2")
    assert fates(take(ledger, "orders", ORDER, rows[1])) == {("accepted", "purchase"): 1}
    ledger.close("2026-01-01")
    assert (ledger.balance("m1"), ledger.balance("m2")) == ((10, 0), (20, 0))


def test_with_enrolment_a_member_joins_on_the_day_of_the_earliest_order(shop):
    take(shop, "orders", ORDER, "A1,m1,2026-01-09 10:00,tea,1,10", "A2,m1,2026-01-05 10:00,tea,1,10")
    take(shop, "orders", ORDER, "A3,m1,2026-01-03 10:00,tea,1,10", "A4,m1,2026-01-07 10:00,tea,1,10")
    assert shop.one("SELECT CAST(joined_on AS text) FROM points.member") == "2026-01-03"


# Values ----------------------------------------------------------------------------------------------------------------

NO_NUMBERS = [
    "now", "infinity", "-infinity", "NaN", "1e5", " 12", "12 ", "", "-", ".", "-.", "--1", "1-", "+1", "1.2.3", "1,5", "0x10",
    "1_000", "١٢", "12a", "null", "1 000", "9" * 61,
]  # fmt: skip
NO_TIMES = [
    "now", "today", "infinity", "epoch", "", "2026-02-30", "2026-02-30 10:00", "01/02/2026", "01/02/2026 10:00", "2026-1-1",
    "20260101", "2026-01-01 25:00", "2026-01-01 10:61", "2026-13-01 10:00", "2026-00-10 10:00", " 2026-01-01 10:00",
    "2026-01-01 10:00 ", "2026-01-01 10:00 Europe/London", "2026-01-01 10:00 BC", "1767261600", "2026-01-01 10h00",
    "2026-01-01 10:00+99:00", "2026-01-01x10:00",
]  # fmt: skip


def test_only_numbers_are_numbers_and_only_times_are_times(shop):
    rows = [f'Q{n},m1,{TEN},tea,"{value}",1' for n, value in enumerate(NO_NUMBERS)]
    rows += [f'U{n},m1,{TEN},tea,1,"{value}"' for n, value in enumerate(NO_NUMBERS)]
    rows += [f'T{n},m1,"{value}",tea,1,1' for n, value in enumerate(NO_TIMES)]
    rows += [f",m1,{TEN},tea,1,1", f"S1,m1,{TEN},,1,1"]
    assert fates(take(shop, "orders", ORDER, *rows)) == {
        ("rejected", "quantity_not_a_number"): len(NO_NUMBERS),
        ("rejected", "unit_price_not_a_number"): len(NO_NUMBERS),
        ("rejected", "placed_at_not_a_time"): len(NO_TIMES),
        ("rejected", "order_no_missing"): 1,
        ("rejected", "sku_missing"): 1,
    }
    rows = [f'P{n},m1,{TEN},"{value}"' for n, value in enumerate(NO_NUMBERS)]
    rows += [f'R{n},m1,"{value}",5' for n, value in enumerate(NO_TIMES)]
    rows += [f"Z{n},m1,{TEN},{value}" for n, value in enumerate(("0", "-5", "1.5", "0.999999"))]
    rows += [f",m1,{TEN},5", f"M1,,{TEN},5"]
    assert fates(take(shop, "redemptions", REDEMPTION, *rows)) == {
        ("rejected", "points_not_a_number"): len(NO_NUMBERS),
        ("rejected", "redeemed_at_not_a_time"): len(NO_TIMES),
        ("rejected", "points_not_a_positive_whole_number"): 4,
        ("rejected", "redemption_no_missing"): 1,
        ("rejected", "member_no_missing"): 1,
    }
    rows = [f'C{n},"{value}"' for n, value in enumerate(NO_TIMES)]
    assert fates(take(shop, "cancellations", "redemption_no,cancelled_at", *rows)) == {
        ("rejected", "cancelled_at_not_a_time"): len(NO_TIMES)
    }
    assert shop.one("SELECT count(*) FROM points.shop_order") == 0
    assert shop.one("SELECT count(*) FROM points.redemption") == 0
    assert (
        shop.one("SELECT count(*) FROM points.finding")
        == 2 * len(NO_NUMBERS) + 2 + 3 * len(NO_TIMES) + len(NO_NUMBERS) + 6
    )


def test_times_are_read_in_every_iso_form_and_in_the_zone_they_name(ledger):
    ledger.start(programme={"time_zone": "Asia/Tokyo"})
    times = {  # what stands in the file: the instant in UTC, the day in Tokyo
        "2026-01-01": ("2025-12-31 15:00:00", "2026-01-01"),
        "2026-01-02 08:30": ("2026-01-01 23:30:00", "2026-01-02"),
        "2026-01-31T08:30:15": ("2026-01-30 23:30:15", "2026-01-31"),
        "2026-01-02 08:30:15.25": ("2026-01-01 23:30:15.25", "2026-01-02"),
        "2026-01-02T08:30Z": ("2026-01-02 08:30:00", "2026-01-02"),
        "2026-01-02 23:30:00+01:00": ("2026-01-02 22:30:00", "2026-01-03"),
        "2026-01-02T23:30:00-0530": ("2026-01-03 05:00:00", "2026-01-03"),
        "2026-01-02 10:00 -05": ("2026-01-02 15:00:00", "2026-01-03"),
    }
    take(ledger, "orders", ORDER, *(f"A{n},m1,{time},tea,1,1" for n, time in enumerate(times)))
    rows = ledger.rows(
        "SELECT CAST(placed_at AT TIME ZONE 'UTC' AS text), CAST(effective_on AS text) FROM points.shop_order ORDER BY order_no"
    )
    assert [tuple(row) for row in rows] == list(times.values())


def test_a_layout_may_name_the_decimal_comma_the_form_of_times_and_their_zone(shop):
    result = take(
        shop, "orders", ORDER,
        'A1,m1,01/02/2026 23:30,tea,"2,5","4,10"',  # 10.25 on 1 February, 23:30 in New York: 04:30 of the 2nd
        'A2,m1,31/02/2026 23:30,tea,"1","1"',
        'A3,m1,2026-02-01 23:30,tea,"1","1"',
        "A4,m1,01/02/2026 23:30,tea,2.5,1",
        'A5,m1,01/02/2026 23:30,tea,1,"1.234,50"',
        decimal=",", timestamp_format="DD/MM/YYYY HH24:MI", time_zone="America/New_York",
    )  # fmt: skip
    assert fates(result) == {
        ("accepted", "purchase"): 1,
        ("rejected", "placed_at_not_a_time"): 2,
        ("rejected", "quantity_not_a_number"): 1,
        ("rejected", "unit_price_not_a_number"): 1,
    }
    assert result.money("accepted") == Decimal("10.25")
    assert shop.rows("SELECT CAST(effective_on AS text) FROM points.shop_order") == [("2026-02-02",)]


def test_a_layout_may_say_what_no_column_does(shop):
    take(shop, "orders", ORDER, f"A1,m1,{TEN},tea,1,1", constants={"channel": "web", "store": "north"})
    assert shop.rows("SELECT store, channel FROM points.shop_order") == [("north", "web")]


@pytest.mark.parametrize(
    ("feed", "columns", "row", "column", "value"),
    [
        ("orders", ORDER, f"A2,m1,{TEN},tea,1{'0' * 30},1", "quantity", "1" + "0" * 30),
        ("orders", ORDER, f"A2,m1,{TEN},tea,-2000000000,1", "quantity", "-2000000000"),
        ("orders", ORDER, f"A2,m1,{TEN},tea,1,1{'0' * 30}", "unit_price", "1" + "0" * 30),
        ("orders", ORDER, "A2,m1,3024-01-01 10:00,tea,1,1", "placed_at", "3024-01-01 10:00:00"),
        ("orders", ORDER, "A2,m1,9999-12-31T23:59:59,tea,1,1", "placed_at", "9999-12-31 23:59:59"),
        ("redemptions", REDEMPTION, f"P2,m1,{TEN},1{'0' * 30}", "points", "1" + "0" * 30),
        ("redemptions", REDEMPTION, "P2,m1,3024-01-01 10:00,5", "redeemed_at", "3024-01-01"),
        ("cancellations", "redemption_no,cancelled_at", "P2,3024-01-01 10:00", "cancelled_at", "3024-01-01"),
    ],
)  # fmt: skip
def test_a_value_no_shop_can_mean_refuses_the_whole_file_and_names_its_place(
    refusing, feed, columns, row, column, value
):
    before = stored(refusing)
    first = {"orders": f"A1,m1,{TEN},tea,1,1", "redemptions": f"P1,m1,{TEN},5", "cancellations": f"P1,{TEN}"}[feed]
    with pytest.raises(ImplausibleValue) as refused:
        take(refusing, feed, columns, first, row, first)
    assert (refused.value.line, refused.value.column, refused.value.value) == (3, column, value)
    assert stored(refusing) == before


@pytest.fixture(scope="module")
def refusing(clone):
    return clone().start()


# Members ---------------------------------------------------------------------------------------------------------------


def test_members_are_enrolled_with_a_wallet_and_the_newest_file_wins(shop):
    columns = "member_no,joined_on,locale,time_zone,groups,birthday,status"
    result = take(
        shop, "members", columns,
        "m1,2026-01-05,en,Europe/London,vip|staff,02-29,active",
        "m2,,,,,,",
        "m3,2026-01-07,zh_CN,,,,closed",
    )  # fmt: skip
    assert fates(result) == {("accepted", "members"): 3}
    take(shop, "members", columns, "m1,2026-01-09,,,vip,,closed", "m2,2025-12-24,de,,,,")
    rows = shop.rows(
        "SELECT member_no, CAST(joined_on AS text), locale, time_zone, groups, birthday_md, status FROM points.member"
        " JOIN points.wallet USING (member_id) ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        ("m1", "2026-01-05", "en", "Europe/London", ["vip"], "02-29", "closed"),
        ("m2", "2025-12-24", "de", None, [], None, "active"),
        ("m3", "2026-01-07", "zh_CN", None, [], None, "closed"),
    ]


def test_a_member_s_row_that_makes_no_sense_is_set_aside_with_its_reason(shop):
    columns = "member_no,joined_on,time_zone,birthday,status"
    wrong = {
        ",2026-01-05,,,": "member_no_missing",
        "a,2026-02-30,,,": "joined_on_not_a_day",
        "b,01/02/2026,,,": "joined_on_not_a_day",
        "c,now,,,": "joined_on_not_a_day",
        "d,infinity,,,": "joined_on_not_a_day",
        "e,,Mars/Olympus,,": "time_zone_unknown",
        "f,,,13-01,": "birthday_not_a_month_and_day",
        "g,,,1990-05-05,": "birthday_not_a_month_and_day",
        "h,,,,asleep": "status_unknown",
    }
    result = take(shop, "members", columns, *wrong, "i,,,,", "i,,,,active")
    reasons = [*wrong.values(), "member_twice_in_the_file"]
    assert [reason for reason, _, _ in found(shop)] == reasons
    assert (result.rows("rejected"), result.rows("accepted")) == (len(reasons), 1)
    assert shop.rows("SELECT member_no FROM points.member") == [("i",)]
