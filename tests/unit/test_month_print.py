"""The report on paper and for calculating: the same figures as the page, the same bytes again, and nothing that computes itself."""

import copy
import csv
import io
import json
import re
import xml.etree.ElementTree as ET
import zipfile
from collections import Counter
from html.parser import HTMLParser

import pypdfium2
import pytest

from notifications.month_page import month_page
from notifications.month_print import csv_lines, month_csv, month_pdf, month_workbook

SHA = "cd" * 32
CELLS = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def report(**changes):
    """A month in which every figure is another one, so that none can stand for another."""
    return {
        "headline": "2026-01: everything agrees.", "deviations": 0, "format": 1, "programme": "港口礼品 Club", "currency": "CNY",
        "point_value": "0.0137", "month": "2026-01", "first": "2026-01-01", "through": "2026-01-31", "checkpoint": "ab" * 32,
        "checks": [
            {"id": "roll-forward", "title": "About it", "left": 1_054_948, "right": 1_054_948, "offending": 0, "rows": [],
             "difference": 0, "deviations": 0},
            {"id": "I4", "title": "Chains", "left": 7_001, "right": 7_003, "offending": 61,
             "rows": [{"order_no": "=1+1", "booked": 8_117}],
             "difference": -2, "deviations": 61},
        ],
        "roll_forward": {
            "opening": 900_021, "closing": 1_054_968,
            "kinds": [{"kind": "earn", "entries": 1_213, "points": 154_950, "moved": 154_950},
                      {"kind": "spend", "entries": 17, "points": 1_003, "moved": -1_003}],
            "days": [{"date": f"2026-01-0{day}", "opening": 900_021 + day, "kinds": {"earn": 51_640 + day}, "closing": 951_650 + day,
                      "debt": 300 + day} for day in (1, 2, 3)],
            "tiers": [{"tier": "金卡", "members": 71, "opening": 113, "changed_tier": -19, "moved": 523, "closing": 617}],
        },
        "debt": {"opening": 41, "owed": 3_037, "repaid": 43, "closing": 3_035},
        "members": {"members": 107, "new": 31, "with_points": 97, "active": 37, "share_active": "0.3458"},
        "redemption_rate": {"earned": 1009, "spent": 823, "of_the_month": "0.8157", "since_the_start": "0.7013"},
        "rewards": [{"reward": "杯子", "redemptions": 47, "points": 827}, {"reward": None, "redemptions": 53, "points": 829}],
        "products": [{"sku": "=cmd|' /C calc'!A0", "lines": 59, "quantity": "4.75", "amount": "1234.59", "points": "1234.567"}],
        "open_points": {"points": 1_054_968, "pending": 67, "value": "14453.06",
                        "by_month_opened": [{"month": "2026-01", "points": 1_054_968, "value": "14453.06"}],
                        "by_month_of_lapse": [{"month": "2027-01", "points": 1_054_907, "value": "14452.23"},
                                              {"month": "never", "points": 61_009, "value": "0.83"}]},
        "liability": {
            "method": "proportional", "gross": "14453.09", "liability": "9003.17", "opening_liability": "1.09",
            "expected_use": {"low": 800_011, "base": 900_023, "high": 1_000_033},
            "expected_use_value": {"low": "8000.11", "base": "9003.19", "high": "10000.37"},
            "expected_breakage": 154_951, "without_evidence": 101,
            "cohorts": [{"opened": "2025-12", "issued": 2_003, "used": 1_103, "lapsed": 109, "returned": 127, "moved": 131, "open": 533,
                         "expected_use": 449, "expected_breakage": 137, "share_used_in_all": "0.6673", "liability": "6.29"}],
            "back_test": [{"as_of": "2025-11", "open": 10_007, "expected": 5_009, "used": 6_011, "difference": 1_002,
                           "without_evidence": 139}],
            "journal": [{"month": "2026-01", "account": "contract liability", "debit": "1013.07", "credit": "0.00", "text": "t"},
                        {"month": "2026-01", "account": "revenue", "debit": "0.00", "credit": "1013.09", "text": "u"}]},
        "orders": {"orders": 1_217, "recomputed": 154_957, "booked_earlier_nights": 149, "booked_later": 151, "in_ledger": 154_955},
        "returns": {"returns": 157, "points": 3_041, "orders_that_forgave": 163},
        "adjustments": [{"member_no": "会员1", "seq": 1, "book_date": "2026-01-02", "kind": "adjust_up", "points": 773,
                         "source": "adjustment",
                         "actor": "a", "approval_id": 179, "what": "adjustment", "reason": "+SUM(1)", "proposed_by": "x",
                         "approved_by": "y",
                         "stands": True}],
        "unusual_days": [{"date": "2026-01-03", "kind": "earn", "points": 9_011, "usual": "2181.5"}],
        "not_accepted": [{"reason": "unknown_member", "n": 191}],
        "lapsed": [{"what": "cleared", "why": None, "lots": 9_901, "points": 9_907},
                   {"what": "deferred", "why": "too_late", "lots": 9_923, "points": 9_929}],
        "backups": {"taken": 7_993, "proven": 7_963, "last_proven": "2026-01-28"},
        "notices": [{"kind": "points_expired", "written": 8_011, "accepted": 8_017, "refused": 8_039, "uncertain": 8_053,
                     "not_sent": 8_059, "waiting": 8_069, "repeated": 8_081, "lost": 8_087}],
        "seals": [{"book_date": "2026-01-01", "entries": 193, "outstanding": 197, "debt": 199, "root": "aa", "checkpoint": "bb",
                   "is_whole": True}],
    } | changes  # fmt: skip


class Shown(HTMLParser):
    """The text that a page shows, in its drawings too, but not what they are called."""

    def __init__(self, page):
        super().__init__()
        self.text, self._hidden = [], False
        self.feed(page[page.index("<body>") :])

    def handle_starttag(self, tag, _attrs):
        self._hidden = tag in ("title", "script")

    def handle_endtag(self, _tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self.text.append(data)


def figures(text):
    """Every number in a text, as it is written."""
    return Counter(re.findall(r"[+\-−]?\d+(?:,\d{3})*(?:\.\d+)?", text))


def pages(made):
    """The text of the PDF, page by page, without the line at the foot."""
    document = pypdfium2.PdfDocument(month_pdf(made, SHA))
    return [
        re.sub(r"\S+ Club: 2026-01 · report\.json \w+… \d+ / \d+", "", page.get_textpage().get_text_range())
        for page in document
    ]


def apart(on_page, in_pdf):
    """The numbers that the page of one report shows more often than the PDF of the other, and the other way round."""
    shown, printed = figures("\n".join(Shown(month_page(on_page, SHA)).text)), figures("\n".join(pages(in_pdf)))
    return shown - printed, printed - shown


def test_every_number_on_the_page_stands_in_the_pdf_as_it_is_and_the_other_way_round():
    assert apart(report(), report()) == (Counter(), Counter())
    assert figures("\n".join(pages(report()))).total() > 170


def leaves(made):
    """The places of the figures that a reader is shown."""
    unshown = re.compile(
        r"format$|^first$|seals\.|earned$|spent$|\.new$|with_points|pending|expected_breakage$.*cohorts|by_month_opened|moved$.*days"
        r"|open_points\.value|opening_liability|orders_that_forgave|\.seq$|redemption_rate\.(earned|spent)|liability\.cohorts\.\d+\.expected_breakage"
        r"|offending|deviations|journal\.0\.credit|journal\.1\.debit"  # 0.00 is left blank
    )
    return [
        path for path, value in csv_lines(made)
        if not unshown.search(path) and not isinstance(value, bool)
        and (isinstance(value, int) or (isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value)))
    ]  # fmt: skip


def mutated(made, path):
    """The report with one figure changed by the least that a figure can."""
    made = copy.deepcopy(made)
    *above, last = path.split(".")
    inner = made
    for key in above:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    key = int(last) if isinstance(inner, list) else last
    value = inner[key]
    inner[key] = value + 1 if isinstance(value, int) else value[:-1] + str((int(value[-1]) + 1) % 10)
    return made


@pytest.mark.parametrize("path", leaves(report()))
def test_one_changed_figure_in_the_pdf_is_found(path):
    assert apart(report(), mutated(report(), path)) != (Counter(), Counter())


def test_the_first_line_of_every_form_says_that_something_deviates():
    bad = report(headline="2026-01: 1 DEVIATION. I4 (1).", deviations=1)

    assert next(line.strip() for line in Shown(month_page(bad, SHA)).text if line.strip()) == bad["headline"]
    assert pages(bad)[0].splitlines()[0] == bad["headline"]
    assert next(csv.reader(io.StringIO(month_csv(bad)))) == ["headline", bad["headline"]]
    assert workbook(bad)["Checks"]["A1"] == bad["headline"]


def test_each_form_is_the_same_bytes_again_and_the_pdf_needs_no_font_of_the_machine():
    for form in (
        lambda: month_pdf(report(), SHA),
        lambda: month_workbook(report()),
        lambda: month_csv(report()).encode(),
    ):
        assert form() == form()
    text = "\n".join(pages(report()))
    assert "港口礼品 Club: 2026-01" in text
    assert "金卡" in text
    assert "杯子" in text


def workbook(made):
    """The cells of each sheet: values, or formulas with a leading =."""
    sheets = {}
    with zipfile.ZipFile(io.BytesIO(month_workbook(made))) as book:
        shared = [
            "".join(part.text or "" for part in item.iter(f"{CELLS}t"))
            for item in ET.fromstring(book.read("xl/sharedStrings.xml"))
        ]
        names = [sheet.attrib["name"] for sheet in ET.fromstring(book.read("xl/workbook.xml")).iter(f"{CELLS}sheet")]
        for place, name in enumerate(names, start=1):
            cells = {}
            for cell in ET.fromstring(book.read(f"xl/worksheets/sheet{place}.xml")).iter(f"{CELLS}c"):
                formula, value = cell.find(f"{CELLS}f"), cell.find(f"{CELLS}v")
                if formula is not None:
                    cells[cell.attrib["r"]] = f"={formula.text}"
                elif value is not None:
                    cells[cell.attrib["r"]] = (
                        shared[int(value.text)] if cell.attrib.get("t") == "s" else float(value.text)
                    )
            sheets[name] = cells
    return sheets


def test_totals_and_differences_of_the_workbook_are_live_and_text_never_is():
    sheets = workbook(report())

    assert sheets["Checks"]["E5"] == "=C5-D5"
    assert sheets["Roll-forward"]["D5"] == "=SUM(D2:D4)"
    assert sheets["Cohorts"]["G2"] == "=B2-C2-D2-E2-F2"
    assert sheets["Journal"]["B4"] == "=SUM(B2:B3)"
    assert sheets["Products"]["A2"] == "=cmd|' /C calc'!A0"
    with zipfile.ZipFile(io.BytesIO(month_workbook(report()))) as book:
        formulas = [
            f.text for n in book.namelist() if "worksheets/" in n for f in ET.fromstring(book.read(n)).iter(f"{CELLS}f")
        ]
        text = ET.fromstring(book.read("xl/sharedStrings.xml"))
        assert any("calc" in (part.text or "") for part in text.iter())
    assert not [
        formula
        for formula in formulas
        if not re.fullmatch(r"[A-L]\d+([+-][A-L]\d+)*|SUM\([A-L]\d+:[A-L]\d+\)", formula)
    ]


def test_a_spreadsheet_that_opens_the_csv_computes_nothing():
    rows = dict(csv.reader(io.StringIO(month_csv(report()))))

    assert rows["products.0.sku"] == "'=cmd|' /C calc'!A0"
    assert rows["adjustments.0.reason"] == "'+SUM(1)"
    assert rows["roll_forward.tiers.0.changed_tier"] == "-19"
    assert json.loads(rows["roll_forward.closing"]) == 1_054_968
