"""Notices as members get them: the right language, nothing in them that a name or a fact smuggled in, refusals by name."""

import re
from functools import cache
from html.parser import HTMLParser

import pytest

from notifications.brand import Brand
from notifications.facts import WrongFacts
from notifications.kinds import KINDS
from notifications.links import LinkRefused, checked_link
from notifications.lint import render_sample
from notifications.member_names import addressed
from notifications.preview import preview_page
from notifications.rendering import CannotRender, Notices
from notifications.samples import HOSTILE_NAME, sample_brand, samples
from notifications.template_files import chosen_locale

LOCALES = ("en", "zh_CN")
HOSTS = frozenset({"shop.example"})
UNSUBSCRIBE = "https://www.harbour-gifts.example/u/abc"


class Page(HTMLParser):
    """Tags, links and words of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.words = [], set(), ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links |= {value for name, value in attrs if name in ("href", "src")}
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.words += data


@cache
def notices(brand):
    return Notices(brand)


def written(kind, locale="en", *, brand=None, name="Ada", facts=None, **changed):
    brand = brand or sample_brand(locale)
    sample = samples(kind, "en" if locale not in LOCALES else locale)["typical"]
    given = {
        "name": name,
        "member_no": "M1",
        "notice_ref": "7",
        "unsubscribe_url": UNSUBSCRIBE,
        "changes": sample.changes,
    }
    return notices(brand).render(kind, locale, {**sample.facts, **(facts or {})}, **{**given, **changed})


def sampled(kind, locale, which):
    brand = sample_brand(locale)
    return render_sample(notices(brand), brand, KINDS[kind], locale, samples(kind, locale)[which])


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_member_gets_words_and_neither_markup_nor_a_link_nor_a_header(kind, locale):
    hostile, harmless = (sampled(kind, locale, which) for which in ("hostile", "typical"))
    page, plain = Page(hostile.html), Page(harmless.html)

    assert {"script", "b"} & set(page.tags) == set()
    if kind not in ("policy_change", "digest"):  # there the samples differ in length
        assert page.tags == plain.tags
    assert page.links == plain.links
    assert addressed(HOSTILE_NAME) in page.words
    for line in (hostile.subject, hostile.sms):
        assert len(line.splitlines()) == 1
    for text in (hostile.text, page.words):
        assert "\nBcc" not in text
        assert "{{ brand }}" in text  # what looks like a template in a name stays what it is


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ada Wong", "Ada Wong"),
        ("  Ada\r\nBcc: x ", "Ada Bcc: x"),
        ("Ada\u202egnoW\u2066", "AdagnoW"),
        ("A\x00d\u2028a", "Ad a"),
        ("王小雅", "王小雅"),
        ("J. R. R. Tolkien", "J. R. R. Tolkien"),
        ("مه\u200cسا", "مه\u200cسا"),
        ("You won! http://evil.example", ""),
        ("win evil.com now", ""),
        ("www evil", ""),
        ("ada@evil.example", ""),
        ("[Ada](javascript://x)", ""),
        ("x" * 61, ""),
        ("", ""),
    ],
)
def test_a_name_is_used_as_a_name_or_not_at_all(name, shown):
    assert addressed(name) == shown


def test_a_member_without_a_usable_name_is_greeted_all_the_same():
    assert written("adjustment", name="evil.com").text.startswith("Dear member,\n")
    assert written("adjustment", "zh_CN", name="").text.startswith("尊敬的会员，您好！\n")


def injected(**changed):
    def brand(**fields):
        given = {
            "name": "Shop", "site_url": "https://shop.example", "postal_address": "1 Street", "sms_signature": "Shop",
            "currency": "GBP", "hosts": ("shop.example",),
        }  # fmt: skip
        return Brand(**{**given, **fields})

    if "brand" in changed:
        return brand(**changed["brand"])
    kind = changed.pop("kind", "tier_upgraded")
    return written(kind, **changed)


@pytest.mark.parametrize(
    "field",
    [
        *({"brand": {name: "x\r\nBcc: y"}} for name in ("name", "postal_address", "sms_signature", "currency")),
        {"brand": {"site_url": "https://shop.example/\r\nBcc: y"}},
        {"member_no": "M1\r\nBcc: y"},
        {"notice_ref": "7\nBcc: y"},
        {"unsubscribe_url": f"{UNSUBSCRIBE}\r\nBcc: y"},
        {"facts": {"to_tier": "gold\r\nBcc: y"}},
        {"facts": {"to_tier": "gold\u2028Bcc: y"}},
        {"kind": "redemption_confirmed", "facts": {"redemption_no": "R\nBcc: y"}},
        {"kind": "policy_change", "changes": ["a\r\nBcc: y"]},
    ],
    ids=str,
)
def test_a_line_break_is_refused_in_every_field(field):
    with pytest.raises((CannotRender, WrongFacts, LinkRefused)) as refused:
        injected(**field)

    assert "Bcc" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/", "javascript:alert(1)", "https://shop.example.evil.example/", "https://evil.example/",
        "https://shop.example@evil.example/", "https://evil.example#@shop.example", "//shop.example/",
        "https://shop.example/ x", 'https://shop.example/"onclick="x', "https://shop.example/<b>", "data:text/html,x",
        "https://shop.example\\@evil.example", "https://user@shop.example/", "https://shop.example:port/", "",
        "mailto:x@evil.example", "mailto:x@shop.example?bcc=y@evil.example", "http://localhost.evil.example",
        "https://[shop.example/", "mailto:x@shop.example,y@evil.example",
    ],
)  # fmt: skip
def test_a_link_elsewhere_is_refused_and_not_repeated(url):
    with pytest.raises(LinkRefused) as refused:
        checked_link("site_url", url, HOSTS)

    assert not url or url not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://shop.example/u?t=a-b_c", "https://SHOP.example:8443/", "mailto:help@shop.example?subject=leave"]
)
def test_a_link_to_the_programme_is_taken(url):
    assert checked_link("site_url", url, HOSTS) == url


def test_a_laptop_may_link_to_itself_when_it_is_a_host():
    assert checked_link("unsubscribe_url", "http://127.0.0.1:8025/u", frozenset({"127.0.0.1"}))
    with pytest.raises(LinkRefused):
        checked_link("unsubscribe_url", "http://127.0.0.1:8025/u", HOSTS)


@pytest.mark.parametrize(
    ("asked", "belongs_to", "chosen"),
    [
        ("zh_CN", "service", "zh_CN"),
        ("zh-CN", "service", "zh_CN"),
        ("zh", "legal", "zh_CN"),
        ("zh_TW", "legal", "zh_CN"),
        ("en_GB", "legal", "en"),
        ("fr", "service", "en"),
        ("fr_CA", "marketing", "en"),
        ("", "service", "en"),
        ("fr", "legal", None),
    ],
)
def test_the_language_is_the_members_or_english_and_the_laws_words_are_never_in_another(asked, belongs_to, chosen):
    assert chosen_locale(asked, LOCALES, belongs_to) == chosen


def test_a_language_of_its_own_comes_before_that_of_a_country():
    assert chosen_locale("zh_HK", ("en", "zh", "zh_CN", "zh_HK"), "service") == "zh_HK"
    assert chosen_locale("zh_TW", ("en", "zh", "zh_CN"), "service") == "zh"


def test_a_legal_notice_in_a_language_that_is_not_there_is_not_written():
    assert written("tier_upgraded", "fr").subject == "You have reached gold"
    with pytest.raises(CannotRender, match="no words in this language"):
        written("points_expired", "fr")


@pytest.mark.parametrize("kind", KINDS)
def test_members_can_say_no_to_service_and_marketing_and_to_nothing_else(kind):
    notice = written(kind, locale="zh_CN")

    may = KINDS[kind].belongs_to in ("service", "marketing")
    assert (UNSUBSCRIBE in notice.text) == (UNSUBSCRIBE in notice.html) == may
    if may:
        with pytest.raises(CannotRender, match="unsubscribe_url"):
            written(kind, unsubscribe_url=None)
        with pytest.raises(CannotRender, match="host is not one of the programme"):
            written(kind, unsubscribe_url="https://evil.example/u")
    else:
        assert written(kind, unsubscribe_url=None).text


@pytest.mark.parametrize(
    ("kind", "facts", "sentence"),
    [
        ("points_expiring", {"points": "12"}, "points must be a whole number, not negative"),
        ("points_expiring", {"points": -1}, "points must be a whole number, not negative"),
        ("points_expiring", {"points": True}, "points must be"),
        ("points_expiring", {"points": None}, "points must be"),
        ("points_expiring", {"expires_on": "30.6.2026"}, "expires_on must be an ISO date"),
        ("points_expiring", {"expires_on": "2026-02-30"}, "expires_on must be an ISO date"),
        ("points_expiring", {"expires_on": "2026-W27-2"}, "expires_on must be an ISO date"),
        ("points_expiring", {"lots": None}, "lots must be a list"),
        ("points_expiring", {"lots": [7]}, r"lots\[0\] must be an object"),
        ("points_expiring", {"lots": [{"points": 1}]}, r"lots\[0\]\.expires_on must be"),
        ("points_expiring", {"value": "much"}, "value must be a whole number or a decimal string"),
        ("points_expiring", {"value": "NaN"}, "value must be"),
        ("tier_at_risk", {"metric": "steps"}, "metric must be points_earned or spend or orders"),
        ("monthly_statement", {"month": "2026-13"}, "month must be a month"),
        ("monthly_statement", {"month": "202612"}, "month must be a month"),
        ("digest", {"parts": None}, "parts must be a list"),
        ("digest", {"parts": [{"kind": "adjustment", "facts": {}}]}, "parts must be service notices"),
        ("digest", {"parts": [{"kind": "digest", "facts": {"parts": []}}]}, "parts must be service notices"),
        ("digest", {"parts": [{"facts": {}}]}, "parts must be service notices"),
        ("digest", {"parts": [{"kind": "tier_upgraded", "facts": {}}]}, "held_from must be an ISO date"),
    ],
)
def test_facts_that_are_not_as_declared_are_refused_by_name(kind, facts, sentence):
    with pytest.raises(CannotRender, match=sentence):
        written(kind, facts=facts)


def test_a_kind_that_is_not_there_is_refused():
    with pytest.raises(CannotRender, match="no such kind"):
        Notices(sample_brand("en")).render(
            "birthday", "en", {}, name="", member_no="", notice_ref="", unsubscribe_url=None
        )


def test_what_is_not_declared_reaches_no_template_and_harms_nothing():
    more = {"dates": ["2026-06-30"], "name": "{{ evil }}", "site_url": "https://evil.example"}

    assert written("points_expiring", facts=more) == written("points_expiring")


def test_numbers_days_and_money_are_written_as_the_language_does():
    english, chinese = (written("tier_at_risk", locale) for locale in LOCALES)

    assert "£240.50 more in purchases by 31 July 2026" in english.text
    assert "在2026年7月31日（含当日）之前再消费¥240.50。" in chinese.text
    assert "1,250 points lapse after" in written("points_expiring").subject
    assert written("points_expiring", facts={"points": 1}).subject.startswith("1 point lapses after")
    assert "+1,310" in written("monthly_statement").text
    assert "29 February 2028" in written("points_expiring", facts={"expires_on": "2028-02-29"}).subject


def test_a_statement_foots_in_every_part_that_shows_it():
    notice = written("monthly_statement")
    for text in (notice.text, notice.sms):
        figures = re.findall(
            r" ([+-]?[\d,]+)(?=[.\n]|, )", text.partition("May 2026:")[2] or text.partition("31 May 2026:")[2]
        )
        opening, *moved, closing = (int(figure.replace(",", "")) for figure in figures[:8])
        assert (opening, closing) == (2900, 3480)
        assert opening + sum(moved) == closing


def test_a_digest_says_what_each_of_its_notices_says():
    parts = ("points_expiring", "monthly_statement", "tier_at_risk")
    for locale in LOCALES:
        of = [samples(kind, locale)["typical"].facts for kind in parts]
        given = {"parts": [{"kind": kind, "facts": facts} for kind, facts in zip(parts, of, strict=True)]}
        digest = written("digest", locale, facts=given)
        for kind, facts in zip(parts, of, strict=True):
            heading = written(kind, locale, facts=facts).subject
            assert heading in digest.text
            assert heading in digest.html
            assert heading in digest.sms  # a digest by SMS still names the day on which points lapse


def test_an_advertisement_says_so_as_the_law_asks():
    chinese, english = written("win_back", "zh_CN"), written("win_back")

    assert chinese.subject.startswith("【广告】")
    assert chinese.sms.startswith("【海港礼品】")
    assert chinese.sms.endswith("拒收请回复R")
    assert english.sms.endswith("Reply STOP to end")
    for notice, locale in ((chinese, "zh_CN"), (english, "en")):
        assert sample_brand(locale).postal_address in notice.text
        assert sample_brand(locale).postal_address in notice.html


def test_the_html_needs_nothing_from_elsewhere_and_is_styled_in_its_tags():
    html = written("points_expiring").html

    assert Page(html).links == {"https://www.harbour-gifts.example", UNSUBSCRIBE}
    assert '<html lang="en">' in html
    assert '<html lang="zh-CN">' in written("points_expiring", "zh_CN").html
    assert "@media (prefers-color-scheme:dark)" in html
    assert re.search(r'<h1 style="[^"]*font-size:22px', html)
    assert "url(" not in html
    # rows stand in their table: what is between rows is thrown out of it by every reader of HTML
    assert re.search(r"<tbody>\s*<tr><th[^>]*>28 June 2026</th><td[^>]*>800</td></tr>\s*<tr>", html)


def test_a_version_names_the_words_and_changes_with_them():
    first = written("adjustment").template_version

    assert re.fullmatch(r"[0-9a-f]{12}", first)
    assert first == written("adjustment", name="Somebody else").template_version
    assert first != written("adjustment", "zh_CN").template_version


def test_brackets_around_a_signature_are_not_doubled():
    brand = Brand("Shop", "https://shop.example/", "1 Street", "【海港】", "CNY", ("shop.example",))

    notice = written("adjustment", "zh_CN", brand=brand)
    assert notice.sms.startswith("【海港】您的")
    assert "https://shop.example\n" in notice.text


def test_a_preview_shows_the_notice_and_runs_nothing_of_it():
    rendered = sampled("tier_upgraded", "zh_CN", "hostile")
    page = preview_page(rendered, kind="tier_upgraded", locale="zh_CN", about="sample facts")
    read = Page(page)

    assert "script" not in read.tags
    assert read.tags.count("iframe") == page.count('sandbox=""') == 4
    for text in (rendered.subject, rendered.sms, rendered.text, "sample facts", "service notice"):
        assert text in read.words
    assert "2 parts" in read.words
    assert read.links == set()
