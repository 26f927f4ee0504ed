"""The documentation, held to the code: what exists is described, what is described exists."""

import re
from pathlib import Path

import pytest

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
