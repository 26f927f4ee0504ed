"""The pages of a run of checks: all of it on one page, what Great Expectations answered beside it, and both in S3."""

import json

import pytest

from expectations.catalogue import CATALOGUE
from tasks import check_docs, checks


@pytest.fixture
def shop(ledger, reached, tmp_path):
    """A closed ledger with one wallet that was changed, which the steps reach by their settings."""
    ledger.start()
    ledger.orders("A1,<b>m1,2026-01-03 10:00,tea,1,100")
    ledger.close("2026-01-04")
    ledger.rows("UPDATE points.wallet SET balance = balance + 1")
    with reached(ledger, tmp_path / "home"):
        yield ledger


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
def test_pages_are_stored_a_folder_a_run_and_on_call_finds_theirs_where_it_always_is(bucket):
    first, second = (check_docs.publish(checks.check(bare=True)) for _ in range(2))

    folder = bucket.folder / "reports" / "checks"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html")) == [
        "2026-01-04/run-1/index.html", "2026-01-04/run-1/on-call.html",
        "2026-01-04/run-2/index.html", "2026-01-04/run-2/on-call.html", "on-call.html",
    ]  # fmt: skip
    assert len({*first, *second}) == 5
    assert not list(folder.rglob("validation.json"))  # that engine did not run

    bucket.stop()
    told = check_docs.publish_step.fn(checks.check(bare=True))
    assert "does not answer" in told["refused"]
