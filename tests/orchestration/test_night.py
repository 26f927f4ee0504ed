"""The night as Prefect sees it: names, states that say what to do, artifacts; on Prefect's own test server."""

import datetime as dt

import pytest
from prefect.artifacts import Artifact

from flows.checks import check_ledger
from flows.night import close_night
from flows.orders import import_orders
from infra.feed_layouts import FeedRefused
from tasks import ledger as steps

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def shop(ledger, monkeypatch):
    """A started ledger that the flows reach by their settings."""
    monkeypatch.setenv(
        "LOYALTY_DATABASE_URL", ledger.url.set(username="loyalty_batch").render_as_string(hide_password=False)
    )
    steps.engine.cache_clear()
    ledger.start(guard={"max_share_of_outstanding": "0.05", "max_times_median": "off"})
    yield ledger
    steps.engine().dispose()
    steps.engine.cache_clear()


def test_a_night_completes_and_leaves_a_summary_and_a_table(shop):
    shop.orders("A1,m1,2026-01-01 10:00,tea,1,100")

    state = close_night(through=dt.date(2026, 1, 2), return_state=True)

    assert (state.type.value, state.name) == ("COMPLETED", "Completed")
    assert shop.balance("m1") == (100, 0)
    summary = Artifact.get("close-night").data
    assert "2 nights closed: 2026-01-01 to 2026-01-02" in summary
    assert "**100 points outstanding**" in summary
    assert '"earn": 100' in Artifact.get("nights").data


def test_a_second_run_for_the_same_night_has_nothing_to_do(shop):
    shop.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    close_night(through=dt.date(2026, 1, 2))

    assert close_night(through=dt.date(2026, 1, 2)) == []

    assert shop.balance("m1") == (100, 0)
    assert "Nothing to close" in Artifact.get("close-night").data


def test_the_guards_stop_is_a_failed_state_that_says_what_it_waits_for(shop):
    shop.orders("A1,m1,2026-01-01 10:00,tea,1,100")
    shop.close("2026-01-29")

    state = close_night(through=dt.date(2026, 2, 3), return_state=True)

    assert (state.type.value, state.name) == ("FAILED", "WaitsForApproval")  # alerts match on the type
    assert "loyalty close --accept-plan" in state.message
    assert "The night stopped" in Artifact.get("close-night").data
    assert shop.balance("m1") == (100, 0)


def test_a_failed_gate_names_the_state(shop):
    shop.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-02 10:00,tea,1,100")
    close_night(through=dt.date(2026, 1, 1))
    shop.rows("UPDATE points.wallet SET held = 1")

    state = close_night(through=dt.date(2026, 1, 2), return_state=True)

    assert (state.type.value, state.name) == ("FAILED", "GateFailed")
    assert "I3" in state.message
    assert "rerun-a-night.md" in state.message


def test_an_import_publishes_what_became_of_the_rows(shop, tmp_path):
    (tmp_path / "orders.csv").write_text(
        "order_no,member_no,placed_at,sku,quantity,unit_price\n1,H1,2026-01-01 10:15,tea,2,12.50\n2,,2026-01-01 10:15,tea,2,12.50\n"
    )

    row = import_orders(str(tmp_path / "orders.csv"))

    assert (row["rows_read"], row["accepted"], row["skipped"]) == (2, 1, 1)
    assert "**2 rows read** = 1 accepted" in Artifact.get("import-orders").data
    assert shop.balance("H1") == (25, 0)


@pytest.mark.usefixtures("shop")
def test_a_file_that_cannot_be_used_fails_the_import_at_once(tmp_path):
    (tmp_path / "orders.csv").write_text("order_no\n1\n")

    state = import_orders(str(tmp_path / "orders.csv"), return_state=True)

    assert state.type.value == "FAILED"
    with pytest.raises(FeedRefused, match="line 1, column member_no"):
        state.result()


def test_an_open_stop_finding_is_the_final_state_of_the_check_and_of_the_nights_until_it_is_waived(shop):
    shop.orders("A1,m1,2026-01-01 10:00,tea,1,1", "A2,m2,2026-01-30 10:00,tea,1,100")
    shop.close("2026-01-29")
    close_night(through=dt.date(2026, 1, 31))
    shop.rows("UPDATE points.wallet SET debt = 1 WHERE member_id = 2")

    checked = check_ledger(everything=True, return_state=True)
    assert (checked.type.value, checked.name) == ("FAILED", "StopFindings")
    assert "I14: 1 row since 2026-01-31" in checked.message
    assert "| I14 | stop | fail | 1 |" in Artifact.get("check-ledger").data

    night = close_night(through=dt.date(2026, 2, 1), return_state=True)
    assert (night.type.value, night.name) == ("FAILED", "StopFindings")
    assert "I14" in night.message
    assert "docs/howto/handle-a-finding.md" in night.message
    assert "1 night closed" in Artifact.get("close-night").data
    assert shop.balance("m1") == (1, 0)

    shop.rows("SELECT points.waive_finding(finding_no, '2026-03-01', 'explained in a ticket') FROM points.check_finding",
              login="approver")  # fmt: skip
    assert close_night(through=dt.date(2026, 2, 2), return_state=True).name == "Completed"
    assert shop.balance("m1") == (0, 0)


def test_a_check_that_cannot_run_leaves_no_green_night_and_holds_nothing_up(shop):
    shop.orders("A1,m1,2026-01-01 10:00,tea,1,1", "A2,m2,2026-01-30 10:00,tea,1,100")
    shop.close("2026-01-29")
    shop.rows("ALTER TABLE points.feed_file RENAME COLUMN imported_at TO at")

    state = close_night(through=dt.date(2026, 2, 1), return_state=True)

    assert (state.type.value, state.name) == ("FAILED", "CheckErrors")
    assert "left-waiting: could not run" in state.message
    assert shop.balance("m1") == (0, 0)
