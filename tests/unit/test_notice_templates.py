"""The gate for templates: what it refuses, with which sentence; that what is shipped passes; that the second fence holds."""

import shutil
from pathlib import Path

import pytest
from jinja2.exceptions import TemplateError

from notifications.brand import Brand
from notifications.kinds import KINDS
from notifications.lint import problems
from notifications.lint_expressions import expression_problems
from notifications.lint_markup import markup_problems
from notifications.lint_wording import wording_problems
from notifications.rendering import CannotRender, Notices
from notifications.samples import sample_brand, samples
from notifications.sandbox import NoticeEnvironment, tidied
from notifications.sms_length import sms_length
from notifications.template_files import shipped_templates

BODY = "points_expiring/en/body.html"
GOOD = (
    '<h1>{{ points|num }}</h1>{% if name %}<p>{{ name }} <a href="{{ site_url }}/points">{{ expires_on|date }}</a></p>'
    "{% endif %}<ul>{% for lot in lots %}<li>{{ lot.points|num }} {{ lot.expires_on|date('medium') }}</li>{% endfor %}</ul>"
    "<p>{{ as_of|date }} {{ balance|num }}</p>"
)
# attack or slip: the sentence it is refused with, whether the sandbox alone would have stopped it
HOSTILE = {
    "{{ ''.__class__.__mro__[1].__subclasses__()|length }}": ("the filter 'length' is not allowed", True),
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}": ("nothing can be called", True),
    "{{ lipsum.__globals__['os'].environ }}": ("'.environ' is not allowed", True),
    "{{ ('{0.__class__.__mro__}'|attr('format'))('x') }}": ("nothing can be called", True),
    "{{ ['x']|map(attribute='__class__')|list }}": ("the filter 'list' is not allowed", True),
    "{{ 'a'*900000000 }}": ("nothing can be computed", True),
    "{{ 9**9**8 }}": ("nothing can be computed", True),
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}": (
        "a loop inside a loop is not allowed", True,
    ),
    "{{ 'a'|center(900000000) }}": ("the filter 'center' is not allowed", True),
    "{{ '%900000000d'|format(1) }}": ("the filter 'format' is not allowed", True),
    "{{ name.ljust(900000000) }}": ("nothing can be called, and no method used", True),
    "{{ name|safe }}": ("the filter 'safe' is not allowed", True),
    "{% autoescape false %}{{ name }}{% endautoescape %}": ("escaping cannot be switched off", False),
    "{% include '/etc/passwd' %}": ("other files cannot be included", True),
    "{% import 'x' as y %}": ("other files cannot be imported", True),
    "{{ pionts|num }}": ("unknown fact 'pionts': did you mean 'points'?", True),
    "{% for lot in lots %}{{ lot.pts|num }}{% endfor %}": ("'lot' has no field 'pts'; it has points, expires_on", True),
    "{{ pionts|default('') }}": ("the filter 'default' is not allowed", True),
    '<a href="{{ name }}">x</a>': ("'name' may not be used as a link", False),
    "<p title={{ name }}>x</p>": ('the attribute value must be quoted: title="…"', False),
}  # fmt: skip


@pytest.fixture
def templates(tmp_path):
    return Path(shutil.copytree(Path(str(shipped_templates())), tmp_path / "templates"))


def write(folder, path, text):
    (folder / path).write_text(text, "utf-8")
    return problems(folder)


def test_the_shipped_templates_pass():
    assert problems() == []


def test_a_good_template_passes(templates):
    text = "{{ points|num }} {{ name }} {{ site_url }} {{ expires_on|date }} {{ as_of|date }} {{ balance|num }}"
    loop = "{% for lot in lots %}{{ lot.points|num }} {{ lot.expires_on|date }}{% endfor %}"
    for locale in ("en", "zh_CN"):
        (templates / "points_expiring" / locale / "body.txt").write_text(text + loop)
        (templates / "points_expiring" / locale / "body.html").write_text(GOOD)

    assert problems(templates) == []


@pytest.mark.parametrize("source", HOSTILE)
def test_a_hostile_template_is_refused_with_its_reason_file_and_line(templates, source):
    found = write(templates, BODY, f"<p>A first line</p>\n{source}\n")

    assert any(line.startswith(f"{BODY}:2: ") and HOSTILE[source][0] in line for line in found), found


@pytest.mark.parametrize("source", HOSTILE)
def test_a_refused_template_is_not_rendered_even_where_nobody_ran_the_lint(templates, source):
    (templates / BODY).write_text(f"<p>A first line</p>\n{source}\n")
    sample = samples("points_expiring", "en")["typical"]

    with pytest.raises(CannotRender, match=r"the lint refuses it: body\.html:2: "):
        Notices(sample_brand("en"), templates).render(
            "points_expiring", "en", sample.facts, name="", member_no="M1", notice_ref="1",
            unsubscribe_url="https://www.harbour-gifts.example/u/1",
        )  # fmt: skip


def test_a_template_that_breaks_a_line_breaks_no_header(templates):
    (templates / "points_expiring" / "en" / "subject.txt").write_text("{{ points|num }}\nBcc: y {{ expires_on|date }}")
    sample = samples("points_expiring", "en")["typical"]

    with pytest.raises(CannotRender, match="the subject must be one line"):
        Notices(sample_brand("en"), templates).render(
            "points_expiring", "en", sample.facts, name="", member_no="M1", notice_ref="1",
            unsubscribe_url="https://www.harbour-gifts.example/u/1",
        )  # fmt: skip


@pytest.mark.parametrize("source", HOSTILE)
def test_the_sandbox_stops_most_of_it_by_itself(source):
    environment = NoticeEnvironment("en", "GBP", autoescape=True)
    facts = {"name": "<b>", "points": 7, "lots": [{"points": 3, "expires_on": "2026-06-30"}]}

    if HOSTILE[source][1]:
        with pytest.raises(TemplateError):
            environment.from_string(source).render(facts)
    else:
        environment.from_string(source).render(facts)  # only the lint knows


@pytest.mark.parametrize(
    "source", ["{{ name.__class__ }}", "{{ name.upper }}", "{{ lots.append }}", "{{ range }}", "{{ points + 1 }}"]
)
def test_the_sandbox_reads_no_attribute_and_computes_nothing(source):
    with pytest.raises(TemplateError):
        NoticeEnvironment("en", "GBP", autoescape=False).from_string(source).render(name="x", points=1, lots=[])


def test_a_line_of_tags_leaves_no_empty_line_and_any_other_line_keeps_its_end():
    assert tidied("{% if a %}\nb{% endif %}\n  {# c #}\nd\n") == "{% if a %}b{% endif %}\n{# c #}d\n"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("{{ points }}", "'points' needs a filter: points|num or points|signed or points|plural"),
        ("{{ expires_on }}", "'expires_on' needs a filter: expires_on|date"),
        ("{{ expires_on|num }}", "'expires_on' cannot be written with 'num'"),
        ("{{ expires_on|date('full') }}", "a date is long, medium, short"),
        ("{{ lots }}", "'lots' is a list: write {% for item in lots %}"),
        (
            "{% for lot in lots %}{{ lot }}{% endfor %}",
            "'lot' is an item of a list: write lot.points or lot.expires_on",
        ),
        ("{% for points in lots %}{% endfor %}", "'points' is a fact already"),
        ("{% for lot in points %}{% endfor %}", "a loop can only go over a list: lots"),
        ("{% for lot in lots if lot.points %}{% endfor %}", "a loop is written {% for item in list %}"),
        ("{% for lot in lots %}{% for x in lots %}{% endfor %}{% endfor %}", "a loop inside a loop"),
        ("{% for lot in lots recursive %}{% endfor %}", "a loop is written {% for item in list %}"),
        ("{{ points|plural(one='x', other='y') }}", "the filter 'plural' is written behind a fact"),
        ("{{ name.__class__ }}", "'.__class__' is not allowed"),
        ("{% set x = 1 %}", "{% set %} is not allowed"),
        ("{% if points is defined %}x{% endif %}", "“is …” is not allowed"),
        ("{{ points|plural('one') }}", 'write plural("point", "points")'),
        ("{{ points|plural(points, points) }}", 'write plural("point", "points")'),
        ("{{ points|num(2) }}", "'num' takes nothing in parentheses"),
        ("{{ lots[0] }}", "write a field with a dot"),
        ("{{ name.title }}", "'name' has no fields"),
        ("{{ points ~ name }}", "write the values one after another"),
        ("{% if points %}", "this is not finished or not a template"),
        ("{% macro x() %}{% endmacro %}", "{% macro %} is not allowed"),
        ("{{ -points }}", "nothing can be computed"),
        ("{{ subject }}", "unknown fact 'subject'"),
    ],
)
def test_an_expression_is_refused_in_words(source, sentence):
    found = expression_problems(KINDS["points_expiring"], f"\n{source}")

    assert any(sentence in line and line.startswith("2: ") for line in found), found


def test_a_code_is_neither_printed_nor_compared_with_what_it_never_is():
    kind = KINDS["tier_at_risk"]

    assert "choose words with" in expression_problems(kind, "{{ metric }}")[0]
    assert "'spent' is never the case" in expression_problems(kind, '{% if metric == "spent" %}x{% endif %}')[0]
    assert expression_problems(kind, '{% if metric == "spend" %}x{% endif %}') == []


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("<script>x</script>", "<script> is not allowed"),
        ('<img src="x">', "<img> is not allowed"),
        ('<p style="color:red">x</p>', "the attribute 'style' is not allowed in <p>"),
        ('<p class="big">x</p>', "the layout has no such class"),
        ('<p class="{{ name }}">x</p>', "a value may not stand in 'class'"),
        ("<p {{ name }}>x</p>", "a value may not stand inside <p>"),
        ("<p {% if name %}class='small'{% endif %}>x</p>", "{% %} may not stand inside <p>"),
        ('<p><a href="https://evil.example">x</a></p>', "a link is written href"),
        ('<p><a href="javascript:x">x</a></p>', "a link is written href"),
        ('<p><a href="{{ site_url }}.evil.example">x</a></p>', "goes on with / and a path"),
        ('<p><a href="{{ site_url }}@evil.example">x</a></p>', "goes on with / and a path"),
        ('<p><a href="https://evil.example/{{ site_url }}">x</a></p>', "the link does not begin with its address"),
        ('<p><a href="{{ unsubscribe_url }}/all">x</a></p>', "goes on with / and a path, others end there"),
        ("<p>https://evil.example</p>", "an address is written {{ site_url }}"),
        ("<p>x", "<p> is never closed"),
        ("<p><strong>x</p></strong>", "<strong> is closed too late"),
        ("x</p>", "</p> closes nothing"),
        ("x", "text stands in <p>"),
        ("<table><tr><td>x</td></tr></table>", "<tr> may not stand directly in <table>"),
        ("<table><tbody>x</tbody></table>", "text stands in"),
        ("{% if name %}<p>{% endif %}x</p>", "a tag opened in {% if %} must be closed in it"),
        ("<p>{% if name %}x</p>{% else %}y</p>{% endif %}", "must be closed in it"),
        ("<!-- for later --><p>x</p>", "a remark is written {# … #}"),
        ("<p>a < b</p>", "write &lt; for <"),
        ('<table><tbody><tr><th scope="x">y</th></tr></tbody></table>', "scope is row or col"),
        ("<p onclick=x>y</p>", "the attribute value must be quoted"),
    ],
)
def test_markup_is_refused_in_words(source, sentence):
    found = markup_problems(f"<p>fine</p>\n{source}")

    assert any(sentence in line and line.startswith("2: ") for line in found), found


@pytest.mark.parametrize(
    ("file", "locale", "source", "sentence"),
    [
        ("body.txt", "zh_CN", "您好,会员", "“,” next to Chinese: write “，”"),
        ("body.html", "zh_CN", "<p>共<strong>{{ expires_on|date }}</strong>,请使用</p>", "write “，”"),
        ("body.txt", "zh_CN", "共{{ points|num }},请使用", "write “，”"),
        ("body.txt", "zh_CN", "详情如下:", "write “：”"),
        ("body.txt", "zh_CN", "日期(含当日)", "write “（”"),
        ("subject.txt", "en", "one\ntwo", "this is one line"),
        ("sms.txt", "en", "lapse – soon", "“–” makes the SMS more than twice as dear"),
        ("body.txt", "en", "see https://evil.example", "an address is written {{ site_url }}"),
        ("sms.txt", "en", "see evil.com", "an address is written {{ site_url }}"),
        ("greeting.txt", "en", "A & B", "may not stand here"),
        ("body.txt", "en", " \n", "the file is empty"),
    ],
)  # fmt: skip
def test_wording_is_refused_in_words(file, locale, source, sentence):
    assert any(sentence in line for line in wording_problems(file, locale, source))


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("body.txt", "共1,250分，截至2026年6月30日。"),
        ("sms.txt", "详情：{{ site_url }} 拒收请回复R"),
        ("body.html", "{% if points > 0 %}\n<p>共{{ points|num }}分</p>\n{% endif %}"),
    ],
)
def test_right_chinese_passes(file, source):
    assert wording_problems(file, "zh_CN", source) == []


CHANGED = [
    ("points_expiring/en/sms.txt", None, "points_expiring/en/sms.txt: is missing"),
    ("layout/zh_CN/footer.html", None, "layout/zh_CN/footer.html: is missing"),
    (
        "points_expiring/zh_CN/subject.txt",
        "您有{{ points|num }}积分即将到期",
        "points_expiring/zh_CN/subject.txt:1: says nothing of 'expires_on'; en/subject.txt does",
    ),
    (
        "adjustment/en/subject.txt",
        "Your points were corrected by hand, as we told you when you last wrote to us: {{ points|signed }}",
        "adjustment/en/subject.txt:1: up to 90 characters; at most 78",
    ),
    (
        "adjustment/en/sms.txt",
        "{{ sms_signature }} " + "points " * 40 + "{{ adjusted_on|date }} {{ points|signed }} {{ balance|num }} {{ site_url }}",
        "that is 3 SMS; at most 2",
    ),
    (
        "adjustment/zh_CN/sms.txt",
        "{{ sms_signature }}：{{ adjusted_on|date }}{{ points|signed }}，{{ balance|num }}。{{ site_url }}",
        "a Chinese SMS begins with 【{{ sms_signature }}】",
    ),
    (
        "win_back/zh_CN/subject.txt",
        "{{ points|num }}积分等您使用，有效期至{{ expires_on|date }}",
        "win_back/zh_CN/subject.txt:1: the subject of an advertisement begins with 【广告】",
    ),
    (
        "win_back/zh_CN/sms.txt",
        "【{{ sms_signature }}】{{ points|num }}积分有效期至{{ expires_on|date }}。{{ site_url }}",
        "the SMS of an advertisement ends with “拒收请回复R”",
    ),
    (
        "win_back/en/sms.txt",
        '{{ sms_signature }}: {{ points|num }} until {{ expires_on|date("medium") }} {{ site_url }}',
        "the SMS of an advertisement ends with “Reply STOP to end”",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("path", "text", "sentence"), CHANGED, ids=[row[2] for row in CHANGED])
def test_files_are_held_against_each_other_and_measured(templates, path, text, sentence):
    if text is None:
        (templates / path).unlink()
    else:
        (templates / path).write_text(text, "utf-8")

    assert any(sentence in line for line in problems(templates)), problems(templates)


def test_the_text_and_the_html_of_a_notice_say_the_same(templates):
    for locale in ("en", "zh_CN"):
        (templates / "tier_at_risk" / locale / "body.txt").write_text("{{ deadline|date }}")

    found = problems(templates)

    assert "tier_at_risk/en/body.txt:1: says nothing of 'missing'; body.html does" in found


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("footer.html", "members may say no to this notice, and the layout's footer does not say how"),
        ("footer.txt", "an advertisement names the postal address"),
    ],
)
def test_a_footer_without_the_way_out_or_the_address_is_refused(templates, file, sentence):
    for locale in ("en", "zh_CN"):
        path = templates / "layout" / locale / file
        lines = path.read_text().splitlines(keepends=True)
        path.write_text(
            "".join(line for line in lines if "unsubscribe" not in line or "{%" in line).replace(
                "{{ postal_address }}", ""
            )
        )
    assert any(sentence in line for line in problems(templates))


def test_a_locale_that_was_begun_must_be_complete(templates):
    (templates / "layout" / "fr").mkdir()
    (templates / "points_expired" / "de").mkdir()
    (templates / "points_expried").mkdir()

    found = problems(templates)

    assert "layout/fr/greeting.txt: is missing" in found
    assert "win_back/fr/subject.txt: is missing" in found
    assert "points_expired/de: layout/de is missing" in found
    assert any(line.startswith("points_expried: there is no such notice") for line in found)


def test_english_and_the_frame_are_looked_at_too(templates):
    shutil.rmtree(templates / "layout" / "en")
    frame = templates / "layout" / "frame.html"
    frame.write_text(frame.read_text().replace("{{ brand }}", "{{ brnad }}"))

    found = problems(templates)

    assert "layout/en: is missing; members whose language is not there get English" in found
    assert any(line.startswith("layout/frame.html:") and "did you mean 'brand'?" in line for line in found)


def test_a_file_nobody_reads_is_named(templates):
    found = write(templates, "points_expired/en/body.htm", "x")

    assert found == [
        "points_expired/en/body.htm: nothing reads this file; there are subject.txt, body.txt, body.html, sms.txt"
    ]


def test_lengths_are_measured_with_the_brand_at_hand():
    brand = Brand(
        "The Incredibly Long Name of a Shop by the Harbour", "https://shop.example", "1 Street",
        "The Incredibly Long Name of a Shop by the Harbour" * 3, "GBP", ("shop.example",),
    )  # fmt: skip

    found = problems(None, brand)

    assert found == [
        "brand: The Incredibly Long Name of a Shop by the Harbour is longer than 45 bytes;"
        " as a sender mail programs would break it"
    ]


@pytest.mark.parametrize(
    ("text", "alphabet", "characters", "parts"),
    [
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("a" * 69 + "–", "UCS-2", 70, 1),
        ("分" * 71, "UCS-2", 71, 2),
        ("分" * 135, "UCS-2", 135, 3),
        ("😀", "UCS-2", 2, 1),
    ],
)
def test_an_sms_is_charged_by_alphabet_and_part(text, alphabet, characters, parts):
    length = sms_length(text)

    assert (length.alphabet, length.characters, length.parts) == (alphabet, characters, parts)
