"""Every notice, word for word: what members get with typical, longest, empty, single and hostile facts, in each locale.

After a wanted change write them anew and look at the difference:
``LOYALTY_TEST_WRITE=1 .venv/bin/pytest -q tests/unit/test_notice_texts.py && git diff tests/unit/notices``.
"""

import os
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


@pytest.fixture(scope="module")
def notices():
    return {locale: Notices(sample_brand(locale)) for locale in LOCALES}


@pytest.mark.parametrize(("kind", "locale", "sample"), CASES)
def test_the_whole_notice(notices, kind, locale, sample):
    facts = samples(kind, locale)[sample]
    rendered = render_sample(notices[locale], sample_brand(locale), KINDS[kind], locale, facts)
    parts = {
        "txt": f"Subject: {rendered.subject}\n\n{rendered.text}\n\nSMS: {rendered.sms}\n",
        "html": rendered.html,
    }

    for ending, text in parts.items():
        kept = TEXTS / kind / locale / f"{sample}.{ending}"
        if WRITE:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(text, "utf-8")
        assert text == kept.read_text("utf-8")


def test_every_kept_notice_is_one_that_exists():
    kept = {path.relative_to(TEXTS).with_suffix("").parts for path in TEXTS.rglob("*.*")}

    assert kept == set(CASES)


def test_every_sample_is_kept():
    assert {tuple(samples(kind, locale)) for kind in KINDS for locale in LOCALES} == {SAMPLES}
