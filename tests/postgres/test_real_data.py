"""Nine months of a real shop, through the command line, against the totals an independent recomputation reached.

``LOYALTY_TEST_LONG=1`` makes the report of every month, not of the last two, and plants every fault.
"""

import csv
import hashlib
import json
import os
from pathlib import Path

import pytest
from sqlalchemy import text

from points_ledger import month

ROOT = Path(__file__).parent.parent.parent
LONG = os.environ.get("LOYALTY_TEST_LONG") == "1"
MONTHS = ("2010-12", *(f"2011-0{number}" for number in range(1, 9)))[0 if LONG else -2 :]
# What a superuser could change of August, and a check that must name it.
PLANTED = {
    "an entry has one point more": (
        "UPDATE points.entry SET points = points + 1 WHERE ctid = (SELECT min(ctid) FROM points.entry_201108 WHERE kind = 'earn')"
        " AND tableoid = 'points.entry_201108'::regclass", "orders-in-ledger"),
    "a wallet was changed": ("UPDATE points.wallet SET balance = balance + 1 WHERE member_id = 7", "I1"),
    "an order line was deleted": (
        "DELETE FROM points.order_line WHERE (member_id, order_no, line_no) = (SELECT l.member_id, l.order_no, l.line_no"
        " FROM points.order_line AS l JOIN points.shop_order USING (member_id, order_no) WHERE effective_on >= '2011-08-01'"
        " AND l.quantity * l.unit_price >= 5 ORDER BY 1, 2, 3 LIMIT 1)", "orders-in-ledger"),
    "a seal was replaced": ("UPDATE points.seal SET root = sha256('forged') WHERE book_date = '2011-08-05'", "I10"),
    "a lapsed lot was revived": (
        "UPDATE points.lot SET remaining = expired, expired = 0 WHERE (member_id, lot_seq) = (SELECT member_id, lot_seq"
        " FROM points.lot WHERE expired > 0 ORDER BY 1, 2 LIMIT 1)", "I2"),
}  # fmt: skip


@pytest.mark.real_data
def test_nine_months_of_a_real_shop_reach_the_totals_of_an_independent_recomputation(
    ledger, real_data, tmp_path, commands
):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LOYALTY_", "PREFECT_"))} | {
        "LOYALTY_DATABASE_URL": ledger.url.set(username="loyalty_batch").render_as_string(hide_password=False),
        "LOYALTY_ADMIN_DATABASE_URL": ledger.url.render_as_string(hide_password=False),
        "LOYALTY_HOME": str(tmp_path / "home"),
    }

    def loyalty(*words):
        code, out, error = commands.run(words, environment)
        assert code == 0, error
        return out

    [orders] = real_data.glob("online_retail_*.csv.gz")
    [redemptions] = real_data.glob("redemptions_*.csv")
    [cancellations] = real_data.glob("cancellations_*.csv")
    [expected_file] = real_data.glob("expected_*.json")
    expected = json.loads(expected_file.read_text())

    loyalty("init", "--programme", "docs/examples/online-retail.toml")
    loyalty("import", "orders", orders, "--layout", "uci-online-retail")
    loyalty("import", "redemptions", redemptions)
    loyalty("import", "cancellations", cancellations)
    loyalty("close", "--through", expected_file.stem.removeprefix("expected_"))
    totals = json.loads(loyalty("totals", "--json"))
    loyalty("balances", "--out", tmp_path / "balances.csv")

    rejected = totals["feed"].pop("rejected_lines")
    assert {key: totals[key] for key in expected} == expected
    assert rejected == 0
    with (tmp_path / "balances.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    lines = "".join(f"{','.join(row)}\n" for row in rows)
    assert hashlib.sha256(lines.encode()).hexdigest() == expected["wallet_sha256"]
    loyalty("verify")
    report = json.loads(loyalty("check", "--json"))
    assert report["outcome"] == "pass", [a for a in report["answers"] if a["outcome"] != "pass"]
    assert ledger.one("SELECT count(*) FROM points.check_run WHERE form = 'night'") == 274
    assert ledger.one("SELECT count(*) FROM points.check_finding") == 0

    with ledger.engine("auditor").connect() as connection:
        reports = [month.figures(connection, month.month_of(connection, name)) for name in MONTHS]
    assert [made["headline"] for made in reports] == [f"{name}: everything agrees." for name in MONTHS]
    balances = [(made["roll_forward"]["opening"], made["roll_forward"]["closing"]) for made in reports]
    assert [opening for opening, _ in balances[1:]] == [closing for _, closing in balances[:-1]]
    assert not LONG or balances[0][0] == 0
    # what the close of the last day cleared is booked on the day after, which the recomputation counts
    [cleared] = [row["points"] for row in reports[-1]["open_points"]["by_month_of_lapse"] if row["month"] == MONTHS[-1]]
    assert (balances[-1][1] - cleared, reports[-1]["debt"]["closing"]) == (expected["balance"], expected["debt"])
    liabilities = [(made["liability"]["opening_liability"], made["liability"]["liability"]) for made in reports]
    assert [opening for opening, _ in liabilities[1:]] == [closing for _, closing in liabilities[:-1]]
    assert not LONG or liabilities[0][0] == "0.00"
    for fault, (planted, check) in list(PLANTED.items())[: None if LONG else 1]:
        with ledger.engine("admin").connect() as connection:
            for table in ("entry_201108", "order_line", "seal"):
                connection.execute(text(f"ALTER TABLE points.{table} DISABLE TRIGGER USER"))
            assert connection.execute(text(planted)).rowcount == 1, fault
            made = month.figures(connection, month.month_of(connection, MONTHS[-1]))
            connection.rollback()
        assert check in made["headline"], (fault, made["headline"])
