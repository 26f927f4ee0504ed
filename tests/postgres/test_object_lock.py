"""Backups under Object Lock, against a server that enforces it: LocalStack, which keeps versions and refuses what is locked.

Its dependencies contradict ours, so it lives in a virtual environment of its own: ``make test-object-lock``.
"""

import datetime as dt
import os
import socket
import subprocess
import time
import urllib.request
import uuid
from dataclasses import dataclass, replace

import pytest
from botocore.exceptions import ClientError

from infra import backup_keys, backup_run, database, drills, erasure_list
from infra.backup_manifest import NAME
from infra.backup_parts import Sealed, check_part
from infra.backup_refusals import BackupDamaged, BackupLocked, StorageFailed
from infra.backup_run import Vault
from infra.embedded import StorageAccess
from infra.object_store import Lock, ObjectStore, connect
from infra.s3_answers import FOR_EVER
from points_ledger import backups
from points_ledger.contacts import Erasure
from tasks import backup as steps

PYTHON = os.environ.get("LOYALTY_TEST_LOCALSTACK")
pytestmark = pytest.mark.skipif(
    PYTHON is None, reason="needs a server that enforces Object Lock: make test-object-lock"
)

DAYS = 3
LATER = dt.datetime(2050, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("localstack")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {
        "GATEWAY_LISTEN": f"127.0.0.1:{port}", "SERVICES": "s3", "EAGER_SERVICE_LOADING": "1", "STRICT_SERVICE_LOADING": "1",
        "LOCALSTACK_VOLUME_DIR": str(folder), "FILESYSTEM_ROOT": str(folder / "fs"), "USE_SSL": "0", "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1", "DNS_ADDRESS": "0",
    }  # fmt: skip
    command = [str(PYTHON), "-m", "localstack.runtime.main"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while not answers(url):
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()


def answers(url):
    try:
        with urllib.request.urlopen(f"{url}/_localstack/health", timeout=2) as page:  # noqa: S310 - http, our own
            return b'"s3": "running"' in page.read()
    except OSError:
        return False


@dataclass
class Bucket:
    access: StorageAccess
    store: ObjectStore

    @property
    def client(self):
        return self.store.client

    def versions(self, prefix=""):
        return self.store.versions(prefix)


@pytest.fixture
def make_bucket(endpoint):
    def make(*, locks):
        access = StorageAccess(endpoint, "test", "test", "us-east-1", f"bucket-{uuid.uuid4().hex[:8]}")
        store = connect(access, give_up_seconds=1)
        store.client.create_bucket(Bucket=access.bucket, ObjectLockEnabledForBucket=locks)
        return Bucket(access, store)

    return make


@pytest.fixture
def bucket(make_bucket):
    return make_bucket(locks=True)


@pytest.fixture
def vault(bucket, tmp_path):
    return Vault(bucket.store, backup_keys.generate(tmp_path / "keys"), "backups", DAYS)


@pytest.fixture
def shop(ledger):
    ledger.start()
    ledger.orders(*(f"O{n},m{n % 7},2026-01-0{1 + n % 5} 10:00,tea,1,{10 + n}" for n in range(40)))
    ledger.close("2026-01-06")
    return ledger


def take(ledger, vault):
    engines = [
        database.engine(ledger.url.set(username=f"loyalty_{login}").render_as_string(hide_password=False))
        for login in ("batch", "backup")
    ]
    try:
        return backup_run.take(*engines, vault, part_bytes=16384)
    finally:
        for engine in engines:
            engine.dispose()


def known(ledger):
    with ledger.engine().connect() as connection:
        return backups.catalogue(connection)


def refused(request, **values):
    with pytest.raises(ClientError) as error:
        request(**values)
    return error.value.response["Error"]["Code"] == "AccessDenied"


def lock_for(monkeypatch, **time):
    monkeypatch.setattr(Vault, "lock", lambda *_: Lock(dt.datetime.now(dt.UTC) + dt.timedelta(**time), "GOVERNANCE"))


# What is stored is locked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_every_object_of_a_backup_is_locked_and_the_lock_is_what_the_server_says(shop, bucket, vault, mode):
    manifest = take(shop, replace(vault, lock_mode=mode))

    until = dt.datetime.fromisoformat(manifest["taken_at"]) + dt.timedelta(days=DAYS)
    stored = bucket.versions(vault.prefix(manifest["backup_id"]))
    assert len(stored) == len(manifest["content"]["parts"]) + 1 > 2
    for one in stored:
        place = {"Bucket": bucket.access.bucket, "Key": one.key, "VersionId": one.version}
        head = bucket.client.head_object(**place)
        assert head["ObjectLockMode"] == mode
        assert abs(head["ObjectLockRetainUntilDate"] - until) < dt.timedelta(seconds=1)
        assert refused(bucket.client.delete_object, **place)
    recorded = dt.datetime.fromisoformat(manifest["locked_until"])
    assert abs(recorded - until) < dt.timedelta(seconds=1)
    assert known(shop)[0].facts["locked_until"] == manifest["locked_until"]
    assert vault.manifest(manifest["backup_id"])["locked_until"] == manifest["locked_until"]


def test_a_lock_that_was_asked_for_and_is_not_held_is_not_claimed(shop, make_bucket, vault):
    plain = replace(vault, store=make_bucket(locks=False).store)
    manifest = take(shop, plain)
    assert manifest["locked_until"] is None
    assert known(shop)[0].facts["locked_until"] is None

    unlocked = replace(vault, lock_days=0)
    assert take(shop, unlocked)["locked_until"] is None


def test_a_backup_whose_manifest_alone_lacks_the_lock_is_not_called_locked(shop, vault, monkeypatch):
    put = ObjectStore.put

    def forgets(self, key, content, **options):
        return put(self, key, content, **options | ({"lock": None} if key.endswith(NAME) else {}))

    monkeypatch.setattr(ObjectStore, "put", forgets)
    manifest = take(shop, vault)
    assert manifest["locked_until"] is not None  # of its parts
    assert known(shop)[0].facts["locked_until"] is None


# An attacker with the right to write ------------------------------------------------------------------------------------


def test_a_backup_that_was_written_over_and_hidden_is_found_verified_and_proven(shop, bucket, vault, tmp_path):
    manifest = take(shop, vault)
    for one in bucket.versions(vault.prefix(manifest["backup_id"])):
        bucket.store.put(one.key, b"ransom")
        bucket.store.delete(one.key)
    assert bucket.store.keys("") == []

    assert vault.find(None) == manifest
    assert backup_run.verify(shop.engine(), vault, manifest["backup_id"]).stored_bytes > 0
    assert drills.drill(shop.engine(), vault, tmp_path / "scratch")["differences"] == []
    part = Sealed.of(manifest["content"]).parts[0]
    with pytest.raises(BackupDamaged):  # without its version it is gone
        check_part(bucket.store, vault.prefix(manifest["backup_id"]), replace(part, version=None))


def test_an_erasure_that_was_written_over_and_hidden_is_still_listed(bucket, vault):
    moment = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
    erasure_list.store(vault, [Erasure(7, "0" * 64, moment, "test", "asked")])
    [one] = bucket.versions()
    bucket.store.put(one.key, b"nobody was erased")
    assert [erasure.member_id for erasure in erasure_list.load(vault).erasures] == [7]
    bucket.store.delete(one.key)

    listed = erasure_list.load(vault)

    assert ([erasure.member_id for erasure in listed.erasures], listed.damaged) == ([7], [])


# Retention and leftovers ------------------------------------------------------------------------------------------------


def test_what_is_locked_is_not_removed_and_goes_once_the_lock_has_ended(shop, bucket, vault, monkeypatch, tmp_path):
    lock_for(monkeypatch, seconds=8)
    first = take(shop, vault)
    before = bucket.versions()
    take(shop, vault)
    drills.drill(shop.engine(), vault, tmp_path / "scratch")
    oldest = known(shop)[0]

    with pytest.raises(BackupLocked):
        backup_run.remove(shop.engine(), vault, oldest, oldest.taken_at)
    assert known(shop)[0].state == "complete"
    assert set(before) <= set(bucket.versions())

    time.sleep(
        max(0.0, (dt.datetime.fromisoformat(first["locked_until"]) - dt.datetime.now(dt.UTC)).total_seconds()) + 1
    )
    backup_run.remove(shop.engine(), vault, known(shop)[0], dt.datetime.now(dt.UTC))

    assert [one.state for one in known(shop)] == ["pruned", "proven"]
    assert bucket.versions(vault.prefix(first["backup_id"])) == []  # not hidden: gone


def test_a_clock_that_is_ahead_removes_nothing_that_the_server_holds(shop, bucket, vault, tmp_path):
    take(shop, vault)
    take(shop, vault)
    drills.drill(shop.engine(), vault, tmp_path / "scratch")
    before = bucket.versions()
    with pytest.raises(BackupLocked):
        backup_run.remove(shop.engine(), vault, known(shop)[0], LATER)
    assert bucket.versions() == before


def test_a_legal_hold_counts_as_a_lock(shop, bucket, vault):
    manifest = take(shop, replace(vault, lock_days=0))
    [one, *_] = bucket.versions(vault.prefix(manifest["backup_id"]))
    place = {"Bucket": bucket.access.bucket, "Key": one.key, "VersionId": one.version}
    bucket.client.put_object_legal_hold(**place, LegalHold={"Status": "ON"})
    assert backup_run.locked_until(vault, manifest["backup_id"], LATER) == FOR_EVER


def test_a_run_that_dies_leaves_locked_parts_that_break_no_run_and_go_later(shop, bucket, vault, monkeypatch):
    lock_for(monkeypatch, seconds=6)
    put = ObjectStore.put

    def breaks_down(self, key, content, **options):
        if key.endswith(NAME):
            raise StorageFailed("the server is gone")
        return put(self, key, content, **options)

    with monkeypatch.context() as broken:
        broken.setattr(ObjectStore, "put", breaks_down)
        with pytest.raises(StorageFailed, match="the server is gone"):
            take(shop, vault)
    [dead] = known(shop)
    assert dead.state == "failed"
    assert "is locked until" in dead.message
    left = bucket.versions(vault.prefix(dead.backup_id))
    assert left != []

    manifest = take(shop, vault)

    assert [one.state for one in known(shop)] == ["failed", "complete"]
    backup_run.verify(shop.engine(), vault, manifest["backup_id"])
    time.sleep(7)
    assert backup_run.sweep(shop.engine(), vault) == [dead.backup_id]
    assert bucket.versions(vault.prefix(dead.backup_id)) == []
    assert vault.find(None)["backup_id"] == manifest["backup_id"]


def test_a_killed_run_with_locked_parts_breaks_no_run(shop, bucket, vault):
    """Its state says running, and its parts cannot be removed."""
    with shop.engine().begin() as connection:
        backups.record(connection, dead := str(uuid.uuid4()), "begun")
    lock = vault.lock(dt.datetime.now(dt.UTC).isoformat())
    assert lock is not None
    bucket.store.put(f"{vault.prefix(dead)}part-000001", b"half", lock=lock)

    take(shop, vault)

    assert [(one.state, "locked until" in (one.message or "")) for one in known(shop)] == [
        ("failed", True),
        ("complete", False),
    ]


def test_a_bucket_that_keeps_versions_without_locks_keeps_none_of_a_pruned_backup(shop, make_bucket, vault, tmp_path):
    bucket = make_bucket(locks=False)
    enabled = {"Status": "Enabled"}
    bucket.client.put_bucket_versioning(Bucket=bucket.access.bucket, VersioningConfiguration=enabled)
    kept = replace(vault, store=bucket.store)
    first = take(shop, kept)
    take(shop, kept)
    drills.drill(shop.engine(), kept, tmp_path / "scratch")
    backup_run.remove(shop.engine(), kept, known(shop)[0], LATER)
    assert bucket.versions(kept.prefix(first["backup_id"])) == []


# As an operator sees it -------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(shop, bucket, vault, tmp_path, monkeypatch):
    for setting, login in (("", "loyalty_batch"), ("BACKUP_", "loyalty_backup")):
        url = shop.url.set(username=login).render_as_string(hide_password=False)
        monkeypatch.setenv(f"LOYALTY_{setting}DATABASE_URL", url)
    monkeypatch.setenv("LOYALTY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOYALTY_BACKUP_KEYS", str(vault.keys.folder))
    monkeypatch.setenv("LOYALTY_BACKUP_KEEP_DAILY", "1")
    monkeypatch.setenv("LOYALTY_BACKUP_KEEP_WEEKLY", "0")
    monkeypatch.setenv("LOYALTY_BACKUP_KEEP_MONTHLY", "0")
    monkeypatch.setenv("LOYALTY_S3_ENDPOINT_URL", bucket.access.endpoint_url)
    monkeypatch.setenv("LOYALTY_S3_ACCESS_KEY_ID", bucket.access.access_key_id)
    monkeypatch.setenv("LOYALTY_S3_SECRET_ACCESS_KEY", bucket.access.secret_access_key)
    monkeypatch.setenv("LOYALTY_S3_BUCKET", bucket.access.bucket)
    steps.ledger.engine.cache_clear()
    yield monkeypatch
    steps.ledger.engine.cache_clear()


@pytest.mark.usefixtures("settings")
def test_the_settings_lock_for_fourteen_days_and_a_prune_says_what_stays_and_until_when(shop):
    first, second = steps.back_up(), steps.back_up()
    until = dt.datetime.fromisoformat(first["taken_at"]) + dt.timedelta(days=14)
    assert abs(dt.datetime.fromisoformat(first["locked_until"]) - until) < dt.timedelta(seconds=1)
    assert steps.drill(None)["backup_id"] == second["backup_id"]
    now = dt.datetime.now(dt.UTC)

    for dry_run in (True, False):
        done = steps.prune(now, dry_run=dry_run)
        assert (done.gone, done.why) == ([], None)
        assert [(one.backup_id, words) for one, words in done.locked] == [
            (first["backup_id"], f"{until:%Y-%m-%d %H:%M} UTC")
        ]
    assert [one.state for one in known(shop)] == ["complete", "proven"]
