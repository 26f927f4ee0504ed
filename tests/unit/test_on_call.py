"""The page for on-call: what is open stands first, the trend is drawn to the row, and nothing is loaded from anywhere."""

import datetime as dt
import re
from html.parser import HTMLParser

from expectations import on_call
from expectations.catalogue import CATALOGUE
from points_ledger.check_findings import CheckFinding, Incident, Trend

DAY = dt.date(2026, 3, 10)
SINCE = dt.date(2026, 3, 8)


class Balanced(HTMLParser):
    """Raises when a tag is closed that is not the one open."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        del attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def incident(check_id="I7", severity="stop", outcome="fail", offending=3):
    return Incident(check_id, severity, "ledger", outcome, "<b>a row</b>", offending, 1234, 2, SINCE, DAY, None, None)


def finding(number=1, **more):
    facts = {"waived_by": None, "waived_until": None, "waived_why": None, **more}
    return CheckFinding(number, "I7", "stop", {"member_id": 1}, "member_id 1, lot 2 & 3", SINCE, DAY, None, **facts)


def page(incidents=(), findings=(), stopping=(), trend=()):
    html = on_call.render(DAY, incidents, findings, dict.fromkeys(stopping, 1), trend)
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    return html


def bars(html, check_id):
    [drawn] = re.findall(rf'aria-label="{check_id}: .*?</svg>', html, flags=re.DOTALL)
    return re.findall(r'<rect class="(\w+)"[^>]*height="(\d+)"><title>([^<]*)</title>', drawn)


def test_a_green_ledger_says_so_first_and_shows_every_check():
    html = page()

    assert "Every check is green." in html
    assert "Open incidents" not in html
    for check in CATALOGUE:
        assert len(bars(html, check.id)) == on_call.DAYS


def test_what_holds_points_up_stands_first_with_rows_and_since_when():
    html = page(
        [incident()], [finding(), finding(2, waived_by="ann", waived_until=DAY, waived_why="ticket 881")], ["I7"]
    )

    assert html.index("No night takes points away before these are cleared or waived: I7.") < html.index("<table>")
    assert "1,234" in html
    assert "2026-03-08" in html
    assert "until 2026-03-10 by ann: ticket 881" in html
    assert "&lt;b&gt;a row&lt;/b&gt;" in html
    assert "lot 2 &amp; 3" in html


def test_a_warning_and_a_check_that_could_not_run_are_told_apart():
    html = page([incident("booked-late", "warn"), incident("I1", outcome="error")])

    assert "Nothing is held up. 2 checks are not green." in html
    assert '<td class="error">could not run</td>' in html
    assert '<td class="warn">warn</td>' in html


def test_the_trend_is_drawn_to_the_row():
    html = page(trend=[
        Trend("I7", DAY - dt.timedelta(2), "pass", 0), Trend("I7", DAY - dt.timedelta(1), "fail", 1), Trend("I7", DAY, "fail", 1000),
        Trend("booked-late", DAY, "fail", 10**6), Trend("I1", DAY, "error", 0), Trend("I1", DAY - dt.timedelta(30), "fail", 1),
    ])  # fmt: skip

    assert bars(html, "I7")[-4:] == [
        ("none", "2", "2026-03-07: not run"), ("pass", "4", "2026-03-08: clean"), ("stop", "8", "2026-03-09: 1 row"),
        ("stop", "20", "2026-03-10: 1,000 rows"),
    ]  # fmt: skip
    assert bars(html, "booked-late")[-1] == ("warn", "24", "2026-03-10: 1,000,000 rows")
    assert {bar[0] for bar in bars(html, "I1")} == {"none", "error"}


def test_more_findings_than_fit_are_counted():
    assert "And 5 more" in page([incident()], [finding(n) for n in range(on_call.SHOWN + 5)])


def test_nothing_is_loaded_from_anywhere():
    html = page([incident()], [finding()])

    assert re.findall(r"https?:|//|<script|<link|@import|url\(|src=|href=", html) == []
