"""Every notice, word for word: what members get with typical, longest, empty, single and hostile facts, in each locale.

The HTML of a locale's notices stands in one frame (``notices/frame/<locale>.html``), so each is kept as the parts that go
into the frame, and compared whole. After a wanted change write them anew and look at the difference:
``LOYALTY_TEST_WRITE=1 .venv/bin/pytest -q tests/unit/test_notice_texts.py && git diff tests/unit/notices``.
"""

import os
import re
from pathlib import Path

import pytest

from notifications.kinds import KINDS
from notifications.lint import render_sample
from notifications.rendering import Notices
from notifications.samples import sample_brand, samples

TEXTS = Path(__file__).parent / "notices"
WRITE = os.environ.get("LOYALTY_TEST_WRITE") == "1"
LOCALES = ("en", "zh_CN")
SAMPLES = ("typical", "longest", "empty", "one", "hostile")
CASES = [(kind, locale, sample) for kind in KINDS for locale in LOCALES for sample in SAMPLES]
FRAMES = [("frame", locale) for locale in LOCALES]
PARTS = {  # what differs from notice to notice, in whole lines: the second group. Not every notice can be unsubscribed from.
    "title": r"()(<title>.*?</title>\n)",
    "words": r'(<td class="words"[^>]*>\n)(.*?)(?=</td></tr>\n<tr><td class="action")',
    "unsubscribe": r'(<td class="foot"[^>]*>\n<p [^>]*>[^\n]*</p>\n)((?:<p [^>]*><a href="[^"]*/unsubscribe/[^\n]*</p>\n)?)',
}
MARK = "<!-- {} -->\n"


@pytest.fixture(scope="module")
def notices():
    return {locale: Notices(sample_brand(locale)) for locale in LOCALES}


def cut(html: str) -> tuple[str, str]:
    """The frame with marks where the parts go, and the parts, each behind its mark."""
    frame, parts = html, ""
    for name, pattern in PARTS.items():
        [found] = re.finditer(pattern, frame, re.DOTALL)
        frame = frame[: found.start(2)] + MARK.format(name) + frame[found.end(2) :]
        parts += MARK.format(name) + found[2] if found[2] else ""
    return frame, parts


def put_together(frame: str, parts: str) -> str:
    """The whole notice."""
    nothing, *pieces = re.split(MARK.format(f"({'|'.join(PARTS)})"), parts)
    assert not nothing
    given = dict(zip(pieces[::2], pieces[1::2], strict=True))
    for name in PARTS:
        before, after = frame.split(MARK.format(name))
        frame = before + given.get(name, "") + after
    return frame


def kept(text: str, *place: str) -> str:
    """The text that is kept at a place; in a run that writes, this text."""
    path = TEXTS.joinpath(*place)
    if WRITE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return path.read_text("utf-8")


@pytest.mark.parametrize(("kind", "locale", "sample"), CASES)
def test_the_whole_notice(notices, kind, locale, sample):
    facts = samples(kind, locale)[sample]
    rendered = render_sample(notices[locale], sample_brand(locale), KINDS[kind], locale, facts)
    text = f"Subject: {rendered.subject}\n\n{rendered.text}\n\nSMS: {rendered.sms}\n"
    frame, parts = cut(rendered.html) if WRITE else ("", "")

    assert text == kept(text, kind, locale, f"{sample}.txt")
    assert rendered.html == put_together(
        kept(frame, "frame", f"{locale}.html"), kept(parts, kind, locale, f"{sample}.html")
    )


def test_every_kept_notice_is_one_that_exists():
    files = {path.relative_to(TEXTS).with_suffix("").parts for path in TEXTS.rglob("*.*")}

    assert files == {*CASES, *FRAMES}


def test_every_sample_is_kept():
    assert {tuple(samples(kind, locale)) for kind in KINDS for locale in LOCALES} == {SAMPLES}
