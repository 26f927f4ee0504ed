"""The page of a simulation: needs nothing from outside, and says what the report says."""

import json
import re
from html.parser import HTMLParser

import pytest

from notifications import charts
from notifications.simulation_page import simulation_page


def sides(baseline, proposed):
    return {"baseline": baseline, "proposed": proposed, "difference": proposed - baseline}


REPORT = {
    "programme": "Tom & <script>alert(1)</script> Club",
    "file": "summer.toml",
    "from": "2026-01-05",
    "through": "2026-01-07",
    "currency": "GBP",
    "point_value": {"baseline": "0.01", "proposed": "0.015"},
    "change": {
        "compared_with_version": 3, "effect": "shortens validity", "needs_approval": True, "effective_from_earliest": "2026-03-31",
        "changes": [
            {"key": "earn.multiplier[0]", "before": None, "after": {"factor": "2", "tiers": ["gold", "</script>"]},
             "effect": "gives more", "why": "these earn more"},
            {"key": "expiry.months", "before": 4, "after": 3, "effect": "shortens validity", "why": "points lapse sooner"},
        ],
    },
    "members": {
        "gain": {"members": 1234, "points": 56789, "money": "567.89"},
        "lose": {"members": 21, "points": -1001, "money": "-10.01"},
        "unchanged": {"members": 98765, "points": 0, "money": "0.00"},
    },
    "tiers": [
        {"tier": "member", "baseline": {"members": 100, "points": 2000, "money": "20.00"},
         "proposed": {"members": 90, "points": 1500, "money": "15.00"},
         "difference": {"members": -10, "points": -500, "money": "-5.00"}},
        {"tier": "gold", "baseline": {"members": 7, "points": 7000000, "money": "70000.00"},
         "proposed": {"members": 17, "points": 7000001, "money": "70000.01"},
         "difference": {"members": 10, "points": 1, "money": "0.01"}},
    ],
    "moves": [{"baseline": "member", "proposed": "gold", "members": 10}],
    "kinds": [{"kind": "earn", **sides(1308225, 1408226)}, {"kind": "owe", **sides(553, 551)}],
    "lapsing": [{"month": "2026-02", **sides(24, 0)}, {"month": "never", **sides(0, 4321)}],
    "liability": {
        "baseline": {"outstanding": 1054948, "debt": 3220, "money": "10549.48"},
        "proposed": {"outstanding": 1154949, "debt": 3218, "money": "17324.235"},
        "difference": {"outstanding": 100001, "debt": -2, "money": "6774.755"},
    },
    "most_affected": [
        {"member_no": "14646<", "baseline_points": 108061, "proposed_points": 128031, "difference": 19970,
         "money_difference": "199.70", "baseline_tier": "member", "proposed_tier": "gold"},
    ],
    "nights": [{"date": f"2026-01-0{day}", "baseline": 1000 * day, "proposed": 1100 * day} for day in (5, 6, 7)],
    "would_wait": {"baseline": [], "proposed": ["2026-01-06", "2026-01-07"]},
    "refused_at_tills": {"baseline": 0, "proposed": 1402},
    "against_the_ledger": {"kinds": [], "members": 0, "left_out": {}},
}  # fmt: skip


class Tables(HTMLParser):
    """The cells of each row of each table; text of everything else."""

    def __init__(self, page):
        super().__init__()
        self.rows, self._cell = [], None
        self.feed(page)

    def handle_starttag(self, tag, _attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = ""

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self._cell.strip())
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data


def test_the_page_needs_nothing_from_outside():
    page = simulation_page(REPORT)

    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|<link|<img|<iframe|\bsrc=|\bhref=|<script(?! type=\"application/json\")", page
    )
    assert page.count("<svg") == 5
    assert "prefers-color-scheme:dark" in page
    assert "@media print" in page


def test_what_people_wrote_is_text_and_no_markup():
    page = simulation_page(REPORT)

    assert "<script>alert" not in page
    assert "Tom &amp; &lt;script&gt;" in page
    assert page.count("</script>") == 1
    assert "14646&lt;" in page


def test_the_page_carries_the_report_itself():
    [embedded] = re.findall(r'<script type="application/json" id="report">(.*?)</script>', simulation_page(REPORT))

    assert json.loads(embedded) == REPORT


def test_the_tables_show_the_figures_of_the_report():
    rows = Tables(simulation_page(REPORT)).rows

    for row in REPORT["kinds"] + REPORT["lapsing"]:
        label = row.get("kind") or row["month"]
        assert [label, f"{row['baseline']:,}", f"{row['proposed']:,}", f"{row['difference']:+,}"] in rows
    assert ["Points outstanding", "1,054,948", "1,154,949", "+100,001"] in rows
    assert ["Points owed by members", "3,220", "3,218", "-2"] in rows
    assert ["Outstanding, GBP", "10,549.48", "17,324.235", "+6,774.755"] in rows
    assert ["member", "100", "2,000", "20.00", "90", "1,500", "15.00", "-5.00"] in rows
    assert ["gold", "7", "7,000,000", "70,000.00", "17", "7,000,001", "70,000.01", "+0.01"] in rows
    assert ["member", "gold", "10"] in rows
    assert ["14646<", "member → gold", "108,061", "128,031", "+19,970", "+199.70"] in rows
    assert ["Nights that the guard would stop", "none", "2026-01-06, 2026-01-07"] in rows
    assert ["Refused at tills for want of points", "0", "1,402"] in rows
    assert ["expiry.months", "4", "3", "shortens validity", "points lapse sooner"] in rows


def test_the_boxes_show_who_gains_and_who_loses():
    page = simulation_page(REPORT)

    assert "<b>1,234</b><span>+56,789 points · +567.89 GBP" in page
    assert "<b>21</b><span>-1,001 points · -10.01 GBP" in page
    assert "<b>98,765</b><span>no difference" in page


def test_the_charts_show_the_figures_of_the_report():
    page = simulation_page(REPORT)

    assert (
        "in force: 5,000 on 2026-01-05, 7,000 on 2026-01-07; proposed: 5,500 on 2026-01-05, 7,700 on 2026-01-07" in page
    )
    for figure in ("1,308,225", "1,408,226", "4,321"):
        assert re.search(rf'<text class="figure"[^>]*>{figure}</text>', page)


def test_a_programme_without_tiers_has_no_section_of_them():
    nobody = {"members": 5, "points": 1, "money": "0.01"}
    none = [{"tier": "none", "baseline": nobody, "proposed": nobody, "difference": {**nobody, "money": "0.00"}}]

    page = simulation_page({**REPORT, "tiers": none, "moves": []})

    assert "Members by the tier" not in page
    assert page.count("<svg") == 4


def test_a_baseline_that_is_not_the_ledger_is_said():
    odd = {"kinds": [{"kind": "spend", "difference": -12}], "members": 3, "left_out": {"transfer": 2, "undo": 40}}

    page = simulation_page({**REPORT, "against_the_ledger": odd})

    assert "3 members differ; spend -12 points" in page
    assert "2 entries of transfer, 40 entries of undo" in page
    assert "exactly the ledger" not in page


@pytest.mark.parametrize(("days", "labels"), [(1, 1), (2, 2), (31, 6)])
def test_a_line_of_any_length_is_drawn(days, labels):
    names = [f"day {day}" for day in range(days)]

    svg = charts.line_chart("Points", names, [("in force", "old", [-3] * days), ("proposed", "new", [0] * days)])

    assert len(re.findall(r'class="axis"[^>]*>day', svg)) == labels
    assert "nan" not in svg


@pytest.mark.parametrize(
    ("most", "axis"), [(1, "1"), (9, "10"), (13, "16"), (1_310_000, "1.6M"), (999, "1k"), (100, "100")]
)
def test_an_axis_ends_at_a_round_figure(most, axis):
    svg = charts.line_chart("Points", ["a", "b"], [("in force", "old", [0, most])])

    assert re.findall(r'text-anchor="end">([^<]*)<', svg)[4] == axis
