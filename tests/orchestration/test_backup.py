"""Backups and drills as Prefect sees them: artifacts, or a state named after what on-call has to do."""

import pytest
from prefect.artifacts import Artifact

from flows.backup import back_up_ledger
from flows.drill import drill_restore
from tasks import backup as steps

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def shop(ledger, storage, tmp_path, monkeypatch):
    """A started ledger and a bucket, which the flows reach by their settings; no keys yet."""
    for setting, login in (("", "loyalty_batch"), ("BACKUP_", "loyalty_backup")):
        url = ledger.url.set(username=login).render_as_string(hide_password=False)
        monkeypatch.setenv(f"LOYALTY_{setting}DATABASE_URL", url)
    monkeypatch.setenv("LOYALTY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOYALTY_S3_ENDPOINT_URL", storage.access.endpoint_url)
    monkeypatch.setenv("LOYALTY_S3_ACCESS_KEY_ID", storage.access.access_key_id)
    monkeypatch.setenv("LOYALTY_S3_SECRET_ACCESS_KEY", storage.access.secret_access_key)
    ledger.start()
    ledger.orders("A1,m1,2026-01-03 10:00,tea,1,100")
    ledger.close("2026-01-05")
    steps.ledger.engine.cache_clear()
    yield ledger
    steps.ledger.engine.cache_clear()


@pytest.mark.usefixtures("shop")
def test_a_night_without_a_good_backup_is_named_and_one_with_it_is_published_and_proven(storage):
    state = back_up_ledger(return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "KeysMissing")
    assert "loyalty backup keys generate" in state.message
    assert "docs/howto/restore.md" in state.message

    steps.generate_keys()
    state = drill_restore(return_state=True)
    assert state.name == "NoSuchBackup"

    made = back_up_ledger()
    assert made["last_closed"] == "2026-01-05"
    assert Artifact.get("backups").data is not None

    evidence = drill_restore()
    assert (evidence["backup_id"], evidence["passed"]) == (made["backup_id"], True)
    assert made["backup_id"] in Artifact.get("drill").data
    assert "| I10: seals recompute, and chain from the first day |" in Artifact.get("drill").data

    (storage.folder / "backups" / made["backup_id"] / "part-000001").write_bytes(b"something else")
    state = drill_restore(return_state=True)
    assert state.name == "RestoreFailed"
    assert "part-000001" in state.message
    assert [one.state for one in steps.listed()] == ["in doubt"]
