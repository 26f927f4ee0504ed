"""A change of the programme as Prefect sees it: in force, waiting for a second person, or refused; never waiting in a run."""

import datetime as dt

import pytest
from prefect.artifacts import Artifact

from flows.programme_change import change_policy
from tasks import ledger as steps

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]
PROGRAMME = """
[programme]
name = "Test club"
time_zone = "Europe/London"
currency = "GBP"
starts_on = 2026-01-01
[[earn.rate]]
points_per_unit = "{rate}"
exclude_skus = ["POST"]
[expiry]
basis = "fixed"
months = 1
[guard]
max_share_of_outstanding = "off"
max_times_median = "off"
[transfer]
enabled = true
max_per_day = 1000000000
max_per_month = 1000000000
cooling_off_days = 0
"""
WHY = "points cost more than planned"


@pytest.fixture
def shop(ledger, monkeypatch):
    """A started ledger that the flow reaches by its settings."""
    url = ledger.url.set(username="loyalty_batch").render_as_string(hide_password=False)
    monkeypatch.setenv("LOYALTY_DATABASE_URL", url)
    steps.engine.cache_clear()
    yield ledger.start()
    steps.engine().dispose()
    steps.engine.cache_clear()


def run(day, **parameters):
    return change_policy(effective_from=dt.date.fromisoformat(day), reason=WHY, return_state=True, **parameters)


def test_a_change_that_gives_more_completes_and_is_in_force(shop, tmp_path):
    (tmp_path / "more.toml").write_text(PROGRAMME.format(rate=2))

    state = run("2026-01-02", programme_file=str(tmp_path / "more.toml"))

    assert (state.type.value, state.name) == ("COMPLETED", "Completed")
    assert state.result()["version"] == 2
    assert shop.one("SELECT points.version_on('2026-01-02')") == 2
    assert "Version 2 is in force from 2026-01-02." in Artifact.get("change-policy").data


def test_a_change_that_takes_away_ends_in_a_state_that_says_what_it_waits_for(shop):
    states = [run("2026-02-10", programme_text=PROGRAMME.format(rate="0.5")) for _ in range(2)]  # started twice

    assert {(state.type.value, state.name) for state in states} == {("COMPLETED", "WaitsForApproval")}
    assert states[0].message == states[1].message
    assert "loyalty policy approve 1" in states[0].message
    assert "**takes away**" in Artifact.get("change-policy").data
    assert shop.one("SELECT count(*) FROM points.policy_version") == 1
    assert shop.one("SELECT count(*) FROM points.approval") == 1


@pytest.mark.parametrize(
    ("day", "parameters", "name", "says"),
    [
        ("2026-01-02", {"programme_text": "[programme"}, "ProgrammeRefused", "line 1"),
        ("2026-01-15", {"programme_text": PROGRAMME.format(rate="0.5")}, "TooEarly", "choose 2026-01-31"),
        ("2026-01-15", {}, "InvalidRequest", "programme_file or programme_text"),
        ("2026-01-15", {"programme_text": "x", "programme_file": "y"}, "InvalidRequest", "one of the two"),
    ],
)
def test_a_refused_change_names_the_state_and_the_remedy(shop, day, parameters, name, says):
    state = run(day, **parameters)

    assert (state.type.value, state.name) == ("FAILED", name)
    assert says in state.message
    assert shop.one("SELECT count(*) FROM points.policy_proposal") == 0
