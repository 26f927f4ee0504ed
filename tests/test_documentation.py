"""The documentation, held to the code: what exists is described, what is described exists."""

import re
from pathlib import Path

import pytest

from expectations.catalogue import CATALOGUE
from infra.deployments import DEPLOYMENTS
from infra.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
SETTINGS = (ROOT / "docs" / "reference" / "settings.md").read_text()
HEADINGS = set(re.findall(r"^### `(\w+)`$", SETTINGS, flags=re.MULTILINE))


@pytest.mark.parametrize("name", [PREFIX + name.upper() for name in Settings.model_fields])
def test_a_setting_has_its_heading(name):
    assert name in HEADINGS, f"describe it under ### `{name}` in docs/reference/settings.md"


def test_every_heading_is_a_setting():
    assert {PREFIX + name.upper() for name in Settings.model_fields} >= HEADINGS


@pytest.mark.parametrize(
    "runbook", sorted({deployment.runbook for deployment in DEPLOYMENTS if deployment.runbook is not None})
)
def test_a_runbook_that_an_alert_names_exists(runbook):
    assert (ROOT / runbook).is_file(), "an alert without a next step: write the runbook"


def test_every_target_of_the_makefile_says_what_it_does_and_there_are_few():
    text = (ROOT / "Makefile").read_text()
    targets = next(line for line in text.splitlines() if line.startswith(".PHONY:")).split()[1:]

    assert len(targets) <= 12
    for target in targets:
        assert re.search(rf"^{target}:.*## \S", text, flags=re.MULTILINE), f"{target}: add ## and a sentence"


def test_the_page_of_checks_is_the_catalogue():
    page = (ROOT / "docs" / "reference" / "checks.md").read_text()
    rows = [
        f"| [{c.id}](../runbooks/checks.md#{c.id.lower()}) | {c.title} | {c.severity} | {c.owner} | {', '.join(c.keys)} |"
        f" {c.cadence} | {c.repair or ''} |"
        for c in CATALOGUE
    ]

    assert [line for line in page.splitlines() if line.startswith("| [")] == rows


@pytest.mark.parametrize("check", CATALOGUE, ids=lambda check: check.id)
def test_a_check_has_its_place_in_the_runbook_and_its_advice_stands_there(check):
    page, _, anchor = check.runbook.partition("#")
    sections = dict(
        re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    )

    assert anchor == check.id.lower()
    section = " ".join(sections[check.id].split())
    assert check.title in section
    assert check.advice in section
    for part in ("*What it means.*", "*Look.*", "*Do.*"):
        assert part in section
    assert ("loyalty findings repair" in section) == (check.repair is not None)


def test_the_readme_counts_the_checks():
    assert f"**{len(CATALOGUE)} checks" in (ROOT / "README.md").read_text()
