"""The month's close as Prefect sees it: recorded once and stored with its evidence, or a state that says what is missing."""

import datetime as dt

import pytest
from prefect.artifacts import Artifact

from flows.month import reconcile_month
from tasks import evidence
from tasks import ledger as steps
from tasks.month import month_before

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def shop(ledger, monkeypatch, storage, tmp_path):
    """A ledger with a closed January, a bucket, and a key, which the flow reaches by its settings."""
    monkeypatch.setenv("LOYALTY_HOME", str(tmp_path / "home"))
    for name, value in (
        ("ENDPOINT_URL", storage.access.endpoint_url), ("ACCESS_KEY_ID", storage.access.access_key_id),
        ("SECRET_ACCESS_KEY", storage.access.secret_access_key), ("BUCKET", storage.access.bucket),
    ):  # fmt: skip
        monkeypatch.setenv(f"LOYALTY_S3_{name}", value)
    for setting, login in (("", "loyalty_batch"), ("ADMIN_", ledger.url.username)):
        url = ledger.url.set(username=login).render_as_string(hide_password=False)
        monkeypatch.setenv(f"LOYALTY_{setting}DATABASE_URL", url)
    steps.engine.cache_clear()
    ledger.start()
    ledger.orders("A1,m1,2026-01-03 10:00,tea,1,100")
    ledger.close("2026-01-31")
    evidence.generate_keys()
    yield ledger
    steps.engine().dispose()
    steps.engine.cache_clear()


def test_a_month_is_closed_once_and_the_next_step_is_named(shop):
    first = reconcile_month("2026-01")

    assert first["headline"] == "2026-01: everything agrees."
    assert reconcile_month("2026-01") == first
    assert shop.one("SELECT report_sha256 FROM points.month_close") == first["report_sha256"]
    artifact = Artifact.get("reconcile-month").data
    assert "loyalty month sign 2026-01" in artifact
    for name in ("report.html", "report.pdf", "report.xlsx", "evidence.zip"):
        assert f"/reports/months/2026-01/{first['report_sha256'][:16]}/{name}`" in artifact


def test_a_month_whose_evidence_cannot_be_stored_is_closed_and_says_so(shop):
    (evidence.keys().folder / "signing.key").unlink()

    state = reconcile_month("2026-01", return_state=True)

    assert (state.name, state.type.value) == ("EvidenceNotStored", "FAILED")
    assert "loyalty month keys generate" in state.message
    assert "loyalty month publish 2026-01" in Artifact.get("reconcile-month").data
    assert shop.one("SELECT count(*) FROM points.month_close") == 1


def test_a_month_that_is_not_over_or_does_not_agree_is_not_closed(shop):
    state = reconcile_month("2026-02", return_state=True)
    assert (state.name, state.type.value) == ("MonthNotClosed", "FAILED")
    assert "The night of 2026-02-01 is not closed" in state.message

    shop.rows("UPDATE points.wallet SET balance = balance + 1")
    state = reconcile_month("2026-01", return_state=True)
    assert state.name == "MonthNotClosed"
    assert "2026-01: 1 DEVIATION. I1 (1)." in state.message
    assert shop.one("SELECT count(*) FROM points.month_close") == 0


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("moment", "month"),
    [("2026-02-02T06:00", "2026-01"), ("2026-03-31T23:30", "2026-03"), ("2026-01-01T00:00", "2025-12")],
)
def test_the_month_is_the_one_before_the_scheduled_day_in_the_programmes_zone(moment, month):
    assert month_before(dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)) == month
