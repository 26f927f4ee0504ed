"""A simulation as Prefect sees it: a report as artifact, or a state named after what was refused."""

import datetime as dt

import pytest
from prefect.artifacts import Artifact

from flows.simulation import simulate_policy
from tasks import ledger as steps

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]
PROGRAMME = """
[programme]
name = "Test club"
time_zone = "Europe/London"
currency = "GBP"
starts_on = 2026-01-01
[[earn.rate]]
points_per_unit = "2"
[expiry]
basis = "fixed"
months = 1
"""


@pytest.fixture
def shop(ledger, monkeypatch):
    """A started ledger with one order, which the flow reaches by its settings."""
    for setting, login in (("", "loyalty_batch"), ("ADMIN_", ledger.url.username), ("AUDITOR_", "loyalty_auditor")):
        url = ledger.url.set(username=login).render_as_string(hide_password=False)
        monkeypatch.setenv(f"LOYALTY_{setting}DATABASE_URL", url)
    steps.engine.cache_clear()
    ledger.start()
    ledger.orders("A1,m1,2026-01-03 10:00,tea,1,100")
    ledger.close("2026-01-05")
    yield ledger
    steps.engine().dispose()
    steps.engine.cache_clear()


@pytest.mark.usefixtures("shop")
def test_a_simulation_publishes_who_gains_and_the_liability():
    report = simulate_policy(dt.date(2026, 1, 2), dt.date(2026, 1, 5), programme_text=PROGRAMME)

    assert report["members"]["gain"] == {"members": 1, "points": 100, "money": "1.00"}
    published = Artifact.get("simulate-policy").data
    assert "| gain | 1 | 100 | 1.00 |" in published
    assert "| points outstanding | 100 | 200 | 100 |" in published
    assert "| earn | 100 | 200 | 100 |" in published


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("through", "parameters", "name", "says"),
    [
        ("2026-01-06", {"programme_text": PROGRAMME}, "PeriodNotSimulated", "choose 2026-01-05 or earlier"),
        ("2026-01-05", {"programme_text": "[programme"}, "ProgrammeRefused", "line 1"),
        ("2026-01-05", {}, "InvalidRequest", "one of the two"),
    ],
)
def test_a_refused_simulation_names_the_state_and_the_remedy(through, parameters, name, says):
    state = simulate_policy(dt.date(2026, 1, 2), dt.date.fromisoformat(through), return_state=True, **parameters)

    assert (state.type.value, state.name) == ("FAILED", name)
    assert says in state.message
