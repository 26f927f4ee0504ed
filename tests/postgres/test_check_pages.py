"""The pages of a run of checks: all of it on one page, what Great Expectations answered beside it, and both in S3."""

import json

import pytest

from expectations.catalogue import CATALOGUE
from tasks import check_docs, checks
from tasks import ledger as steps


@pytest.fixture
def shop(ledger, monkeypatch, tmp_path):
    """A closed ledger with one wallet that was changed, which the steps reach by their settings."""
    for setting, login in (("", "loyalty_batch"), ("ADMIN_", ledger.url.username), ("AUDITOR_", "loyalty_auditor")):
        url = ledger.url.set(username=login).render_as_string(hide_password=False)
        monkeypatch.setenv(f"LOYALTY_{setting}DATABASE_URL", url)
    monkeypatch.setenv("LOYALTY_HOME", str(tmp_path / "home"))
    steps.engine.cache_clear()
    ledger.start()
    ledger.orders("A1,<b>m1,2026-01-03 10:00,tea,1,100")
    ledger.close("2026-01-04")
    ledger.rows("UPDATE points.wallet SET balance = balance + 1")
    yield ledger
    steps.engine().dispose()
    steps.engine("auditor").dispose()
    steps.engine.cache_clear()


@pytest.mark.usefixtures("shop")
def test_a_run_leaves_a_page_with_every_check_its_rows_and_query_and_what_the_engine_answered(tmp_path):
    place = check_docs.write(checks.check(), tmp_path)

    page = (place / "index.html").read_text("utf-8")
    validation = json.loads((place / "validation.json").read_text("utf-8"))
    assert place.name == "run-1"
    assert [check.id for check in CATALOGUE if f'<h2 id="{check.id.lower()}">' not in page] == []
    assert page.index('<h2 id="i1">') < page.index('<h2 id="i2">')
    assert f"2 found rows, 0 could not run, {len(CATALOGUE) - 2} are green." in page
    assert "Great Expectations 1.24" in page
    assert "wallet says balance 101" in page
    answered = {r["expectation_config"]["kwargs"]["check_id"]: r["success"] for r in validation["results"]}
    assert answered == {check.id: check.id not in ("I1", "I3") for check in CATALOGUE}
    assert "What must be true" in (place / "on-call.html").read_text("utf-8")


@pytest.mark.usefixtures("shop")
def test_pages_are_stored_a_folder_a_run_and_on_call_finds_theirs_where_it_always_is(storage, monkeypatch):
    for name, value in (
        ("ENDPOINT_URL", storage.access.endpoint_url), ("ACCESS_KEY_ID", storage.access.access_key_id),
        ("SECRET_ACCESS_KEY", storage.access.secret_access_key), ("BUCKET", storage.access.bucket),
    ):  # fmt: skip
        monkeypatch.setenv(f"LOYALTY_S3_{name}", value)
    first, second = (check_docs.publish(checks.check(bare=True)) for _ in range(2))

    folder = storage.folder / "reports" / "checks"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html")) == [
        "2026-01-04/run-1/index.html", "2026-01-04/run-1/on-call.html",
        "2026-01-04/run-2/index.html", "2026-01-04/run-2/on-call.html", "on-call.html",
    ]  # fmt: skip
    assert len({*first, *second}) == 5
    assert not list(folder.rglob("validation.json"))  # that engine did not run

    storage.stop()
    told = check_docs.publish_step.fn(checks.check(bare=True))
    assert "does not answer" in told["refused"]
