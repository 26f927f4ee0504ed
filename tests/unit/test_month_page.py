"""The page of a month: needs nothing from outside, says the verdict first, and shows the report's own figures."""

import json
import re
from html.parser import HTMLParser

import pytest

from notifications import charts
from notifications.month_page import month_page


def agreement(name="roll-forward", rows=(), left=1_054_948, right=1_054_948):
    return {
        "id": name, "title": f"About {name}", "left": left, "right": right, "offending": len(rows), "rows": list(rows),
        "difference": left - right, "deviations": max(len(rows), int(left != right)),
    }  # fmt: skip


def report(**changes):
    return {
        "headline": "2026-01: everything agrees.", "deviations": 0, "format": 1, "programme": "Tom & <script>alert(1)</script> Club",
        "currency": "GBP", "point_value": "0.01", "month": "2026-01", "first": "2026-01-01", "through": "2026-01-31",
        "checkpoint": "ab" * 32, "checks": [agreement()],
        "roll_forward": {
            "opening": 900_001, "closing": 1_054_948,
            "kinds": [{"kind": "earn", "entries": 12, "points": 154_947, "moved": 154_947},
                      {"kind": "owe", "entries": 1, "points": 3, "moved": 0}],
            "days": [{"date": f"2026-01-0{day}", "opening": 900_001, "kinds": {"earn": 51_649},
                      "closing": 951_650, "debt": 3} for day in (1, 2, 3)],
            "tiers": [{"tier": "gold<", "members": 7, "opening": 1, "changed_tier": -1, "moved": 5, "closing": 5}],
        },
        "debt": {"opening": 0, "owed": 3, "repaid": 0, "closing": 3},
        "members": {"members": 100, "new": 3, "with_points": 90, "active": 33, "share_active": "0.3300"},
        "redemption_rate": {"earned": 1000, "spent": 815, "of_the_month": "0.8151", "since_the_start": "0.7000"},
        "rewards": [{"reward": None, "redemptions": 4, "points": 815}], "products": [
            {"sku": "<b>tea", "lines": 3, "quantity": "4.5", "amount": "1234.50", "points": "1234.5"}],
        "open_points": {"points": 1_054_948, "pending": 0, "value": "10549.48",
                        "by_month_opened": [{"month": "2026-01", "points": 1_054_948, "value": "10549.48"}],
                        "by_month_of_lapse": [{"month": "never", "points": 1_054_948, "value": "10549.48"}]},
        "liability": {
            "method": "proportional", "gross": "10549.48", "liability": "9000.01", "opening_liability": "1.00",
            "expected_use": {"low": 800_000, "base": 900_001, "high": 1_000_000},
            "expected_use_value": {"low": "8000.00", "base": "9000.01", "high": "10000.00"},
            "expected_breakage": 154_947, "without_evidence": 0,
            "cohorts": [{"opened": "2026-01", "issued": 5, "used": 1, "lapsed": 1, "returned": 1, "moved": 1, "open": 1,
                         "expected_use": 1,
                         "expected_breakage": 0, "share_used_in_all": "0.6667", "liability": "0.01"}],
            "back_test": [{"as_of": "2025-12", "open": 10, "expected": 5, "used": 6, "difference": 1, "without_evidence": 0}],
            "journal": [{"month": "2026-01", "account": "a", "debit": "1.00", "credit": "0.00", "text": "t"},
                        {"month": "2026-01", "account": "b", "debit": "0.00", "credit": "1.00", "text": "t"}]},
        "orders": {"orders": 12, "recomputed": 154_947, "booked_earlier_nights": 0, "booked_later": 0, "in_ledger": 154_947},
        "returns": {"returns": 1, "points": 3, "orders_that_forgave": 0},
        "adjustments": [{"member_no": "m<1", "seq": 1, "book_date": "2026-01-02", "kind": "adjust_up", "points": 7,
                         "source": "adjustment",
                         "actor": "a", "approval_id": 1, "what": "adjustment", "reason": "because </script>", "proposed_by": "x",
                         "approved_by": "y", "stands": True}],
        "unusual_days": [{"date": "2026-01-03", "kind": "earn", "points": 9, "usual": "2.5"}],
        "not_accepted": [{"reason": "unknown_member", "n": 2}], "seals": [],
        "lapsed": [{"what": "cleared", "why": None, "lots": 3, "points": 11}],
        "backups": {"taken": 31, "proven": 4, "last_proven": "2026-01-28"},
        "notices": [{"kind": "points_expired", "written": 8, "accepted": 7, "refused": 1, "uncertain": 0, "not_sent": 0,
                     "waiting": 0, "repeated": 0, "lost": 0}],
    } | changes  # fmt: skip


class Reader(HTMLParser):
    """What a browser would load, and the text it would show."""

    def __init__(self, page):
        super().__init__()
        self.loads, self.texts, self._hidden = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._hidden = tag in ("script", "style", "title")
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, _tag):
        self._hidden = False

    def handle_data(self, data):
        if data.strip() and not self._hidden:
            self.texts.append(" ".join(data.split()))


def test_the_first_line_is_the_verdict_and_nothing_is_loaded():
    read = Reader(month_page(report(), "cd" * 32))

    assert read.texts[0] == "2026-01: everything agrees."
    assert read.loads == []
    assert "<b>tea" in read.texts
    assert "alert(1)" in " ".join(read.texts)


def test_a_deviation_turns_the_first_line_red_and_shows_its_rows():
    bad = agreement(
        "orders-in-ledger", [{"order_no": "A<1", "recomputed": 100, "booked": 101, "judged": None}], 100, 101
    )
    page = month_page(
        report(headline="2026-01: 1 DEVIATION. orders-in-ledger (1).", deviations=1, checks=[agreement(), bad]), "cd"
    )

    assert '<p class="verdict bad" role="status">2026-01: 1 DEVIATION. orders-in-ledger (1).</p>' in page
    assert "order_no A&lt;1, recomputed 100, booked 101" in page
    assert 'class="verdict bad"' not in month_page(report(), "cd")


def test_the_page_shows_the_figures_of_the_report_and_carries_it():
    made = report()
    page = month_page(made, "cd" * 32)
    text = " ".join(Reader(page).texts)

    for figure in (
        "1,054,948",
        "+154,947",
        "9,000.01",
        "33.00 %",
        "81.51 %",
        "66.67 %",
        "1,234.50",
        "154,947",
        "cd" * 32,
        "2 × unknown_member",
    ):
        assert figure in text, figure
    embedded = re.search(r'<script type="application/json" id="report">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(embedded) == made
    assert month_page(made, "cd" * 32) == page


def test_a_bar_of_a_loss_is_in_the_colour_of_loss_and_none_need_a_value():
    drawn = charts.value_chart("What moved", [("earn", 10), ("spend", -5), ("<x", 0)])

    assert re.findall(r'<rect class="(\w+)"[^>]*width="([\d.]+)"', drawn) == [
        ("new", "500.0"),
        ("down", "250.0"),
        ("new", "0.0"),
    ]
    assert "&lt;x" in drawn
    assert "<svg" in charts.value_chart("Nothing", [])


@pytest.mark.parametrize(
    "empty",
    [
        {"adjustments": []},
        {"unusual_days": []},
        {"rewards": [], "products": []},
        {"not_accepted": []},
        {"lapsed": []},
        {"notices": []},
    ],
)
def test_a_month_without_something_is_shown_all_the_same(empty):
    assert month_page(report(**empty), "cd")
