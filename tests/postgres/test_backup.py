"""Backups against a real S3 server: what is taken comes back equal, and no fault leaves something that looks whole."""

import contextlib
import datetime as dt
import hashlib
import io
import json
import os
import signal
import subprocess
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
import sqlalchemy as sa
import zstandard
from sqlalchemy import text

from infra import backup_keys, backup_manifest, backup_run, database, drills, postgres_tools, restoring
from infra.backup_keys import Keys
from infra.backup_parts import Sealed
from infra.backup_refusals import (
    BackupDamaged,
    BackupFailed,
    BackupUnderWay,
    KeysMissing,
    NoSuchBackup,
    NotEmpty,
    StorageFailed,
    ToolMissing,
)
from infra.backup_run import Vault, catalogue_facts
from infra.backup_stream import unseal
from infra.object_store import connect
from points_ledger import backups, night, totals, verification
from points_ledger.errors import InvalidRequest, LastProvenBackup, NotAllowed, translated

PART = 4096
LARGE_PART = 1 << 16  # of the bulk: fifty objects, not eight hundred
NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)  # no lock here lasts so long


@pytest.fixture(scope="module")
def closed_shop(clone):
    """A ledger with a little of everything; copy it."""
    ledger = clone()
    ledger.start()
    ledger.orders(*(f"O{n},m{n % 40},2026-01-0{1 + n % 5} 10:00,tea,1,{10 + n}" for n in range(200)))
    ledger.redemptions("R1,m1,2026-01-04 12:00,5")
    ledger.close("2026-01-06")
    return ledger


@pytest.fixture
def shop(closed_shop, copied):
    """A copy of it for each test."""
    return copied(closed_shop)


@pytest.fixture
def vault(storage, tmp_path):
    return Vault(connect(storage.access, give_up_seconds=1), backup_keys.generate(tmp_path / "keys"), "backups")


@pytest.fixture
def bulk(shop):
    """Enough rows that a dump lasts until somebody reads it."""
    shop.rows(
        "CREATE TABLE points.bulk AS SELECT n, CAST(gen_random_uuid() AS text) AS noise FROM generate_series(1, 150000) n"
    )
    shop.rows("ALTER TABLE points.bulk OWNER TO loyalty_owner; GRANT SELECT ON points.bulk TO loyalty_backup")
    return shop


def url(ledger, login):
    user = ledger.url.username if login == "admin" else f"loyalty_{login}"
    return ledger.url.set(username=user).render_as_string(hide_password=False)


def take(ledger, vault, **options):
    batch, reader = database.engine(url(ledger, "batch")), database.engine(url(ledger, "backup"))
    try:
        return backup_run.take(batch, reader, vault, **{"part_bytes": PART} | options)
    finally:
        batch.dispose()
        reader.dispose()


def known(ledger):
    with ledger.engine().connect() as connection:
        return backups.catalogue(connection)


def states(ledger):
    return [one.state for one in known(ledger)]


def objects(vault):
    return vault.store.keys("")


def only_whole_backups_are_stored(ledger, vault):
    whole = {one.backup_id for one in known(ledger) if one.state in backups.STORED}
    return {key.split("/")[1] for key in objects(vault)} == whole


def recovers(ledger, vault, tmp_path=None, **options):
    """The next run succeeds, nothing of the failed one is left, and the backup verifies; with a folder, it is proven too."""
    manifest = take(ledger, vault, **options)
    assert only_whole_backups_are_stored(ledger, vault)
    backup_run.verify(ledger.engine(), vault, manifest["backup_id"])
    if tmp_path:
        evidence = drills.drill(ledger.engine(), vault, tmp_path / "scratch")
        assert (evidence["backup_id"], evidence["differences"]) == (manifest["backup_id"], [])


@contextlib.contextmanager
def empty_database(ledger):
    name = f"loyalty_copy_{uuid.uuid4().hex[:8]}"
    server = sa.create_engine(ledger.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0"))
        engine = database.engine(ledger.url.set(database=name).render_as_string(hide_password=False))
        try:
            yield engine
        finally:
            engine.dispose()
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def restore(vault, manifest, engine, keys=None):
    prefix, tools = vault.prefix(manifest["backup_id"]), postgres_tools.tools(manifest["tool_major"])
    restoring.restore(manifest, prefix, vault.store, (keys or vault.keys).identities(), engine, tools)


def schema_of(url):
    """Every definition, right, trigger and its state, as pg_dump writes them."""
    with sa.create_engine(url).connect() as connection:
        major = connection.dialect.server_version_info[0]
    address, environment = postgres_tools.connection(url)
    command = [
        postgres_tools.tools(major).command("pg_dump"),
        "--schema-only",
        "--schema=points",
        f"--dbname={address}",
    ]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return [line for line in said.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


# Taken, restored, proven --------------------------------------------------------------------------------------------


def test_what_is_taken_is_restored_elsewhere_and_proven(shop, vault, tmp_path):
    manifest = take(shop, vault)
    assert len(manifest["content"]["parts"]) > 2
    assert manifest["facts"]["rows"]["entry"] == shop.one("SELECT count(*) FROM points.entry") > 0

    evidence = drills.drill(shop.engine(), vault, tmp_path / "scratch")

    assert evidence["differences"] == []
    assert evidence["passed"]
    assert states(shop) == ["proven"]
    assert not (tmp_path / "scratch").exists()
    with shop.engine().connect() as connection:
        standing = backups.standing(connection)
    assert standing.newest.backup_id == standing.proven.backup_id == manifest["backup_id"]
    assert standing.drill_seconds == evidence["seconds"] >= evidence["restore_seconds"] > 0
    checked = {what.partition(":")[0] for what in evidence["stages"]}
    assert checked >= {"restoring", *verification.CHECKS}


def test_a_copy_has_the_same_rights_triggers_and_totals_and_goes_on_working(shop, vault):
    manifest = take(shop, vault)
    with empty_database(shop) as engine:
        restore(vault, manifest, engine)

        address = engine.url.render_as_string(hide_password=False)
        assert schema_of(address) == schema_of(url(shop, "admin"))
        with engine.connect() as connection, shop.engine("admin").connect() as original:
            assert totals.totals(connection) == totals.totals(original)
            assert restoring.differences(connection, manifest) == []
            assert list(verification.verify(connection)) == []
            may_create = text("SELECT has_database_privilege('loyalty_owner', current_database(), 'CREATE')")
            assert connection.execute(may_create).scalar_one() is False
        batch = database.engine(engine.url.set(username="loyalty_batch").render_as_string(hide_password=False))
        closed = list(night.close_nights(batch, through=dt.date(2026, 1, 8), code_version="test"))
        batch.dispose()
        assert [result.business_date.day for result in closed] == [7, 8]


def test_a_restore_needs_no_superuser(shop, vault):
    manifest = take(shop, vault)
    login = f"restorer_{uuid.uuid4().hex[:8]}"
    shop.rows(f"CREATE ROLE {login} LOGIN CREATEROLE IN ROLE loyalty_owner")
    with empty_database(shop) as admin:
        shop.rows(f"ALTER DATABASE {admin.url.database} OWNER TO {login}")
        engine = database.engine(admin.url.set(username=login).render_as_string(hide_password=False))
        restoring.require_empty(engine)
        restore(vault, manifest, engine)
        with engine.connect() as connection:
            assert restoring.differences(connection, manifest) == []
        with engine.begin() as connection:
            facts = [(one["backup_id"], catalogue_facts(one)) for one in vault.manifests()]
            assert backups.adopt(connection, facts) == [manifest["backup_id"]]
        engine.dispose()
        shop.rows(f"ALTER DATABASE {admin.url.database} OWNER TO CURRENT_USER")
    shop.rows(f"DROP ROLE {login}")


def test_other_programs_can_read_it(shop, vault):
    manifest = take(shop, vault)
    prefix = vault.prefix(manifest["backup_id"])
    names = [key for key in vault.store.keys(prefix) if "/part-" in key]
    whole = b"".join(vault.store.get(name) for name in names)
    packed = pyrage.decrypt(whole, vault.keys.identities())
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    assert hashlib.sha256(plain).hexdigest() == manifest["content"]["plain_sha256"]
    assert plain.startswith(b"PGDMP")
    assert b"loyalty_owner" in plain
    assert b"loyalty_owner" not in whole


def test_a_copy_that_differs_is_told_by_name(shop, vault):
    manifest = take(shop, vault)
    shop.orders("LATER,m1,2026-01-07 10:00,tea,1,10")
    shop.close("2026-01-07")
    with shop.engine("admin").connect() as connection:
        found = restoring.differences(connection, manifest)
    assert any(line.startswith("rows entry:") for line in found)
    assert any(line.startswith("totals wallets balance:") for line in found)
    assert any(line.startswith("seals checkpoint:") for line in found)


def test_the_login_that_backs_up_is_no_superuser_and_changes_nothing(shop, vault):
    assert (
        shop.one("SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = 'loyalty_backup'")
        is False
    )
    newest = "SELECT max(relname) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'entry\\_2%'"
    before = shop.one(newest)
    shop.rows("SELECT points.open_day('2026-08-01')")
    assert before < shop.one(newest) == "entry_202608"  # was not there when the rights were given
    take(shop, vault)
    assert states(shop) == ["complete"]
    for statement in ("DELETE FROM points.finding", "INSERT INTO points.backup_event (what) VALUES ('begun')"):
        with shop.engine("backup").connect() as connection:
            connection.execute(text("SET TRANSACTION READ WRITE"))
            with pytest.raises(NotAllowed), translated():
                connection.execute(text(statement))


def test_a_ledger_that_lies_is_backed_up_faithfully_and_refuted_by_the_drill(shop, vault, tmp_path):
    shop.rows("UPDATE points.wallet SET balance = balance + 10 WHERE member_id = 1")
    take(shop, vault)
    evidence = drills.drill(shop.engine(), vault, tmp_path / "scratch")
    assert not evidence["passed"]
    assert any(line.startswith("I1:") for line in evidence["differences"])
    assert states(shop) == ["in doubt"]


def test_a_drill_names_the_first_differences_and_counts_them_all(shop, vault, tmp_path):
    shop.rows("UPDATE points.wallet SET balance = balance + 10")
    take(shop, vault)
    evidence = drills.drill(shop.engine(), vault, tmp_path / "scratch")
    assert len(evidence["differences"]) == drills.MOST_FINDINGS
    wallets = shop.one("SELECT count(*) FROM points.wallet")
    assert evidence["different"] >= 2 * wallets > drills.MOST_FINDINGS  # I1 and I3 at least


def test_a_backup_is_found_without_any_database_and_adopted_after_a_restore(shop, vault):
    first, second = take(shop, vault), take(shop, vault)
    assert {one["backup_id"] for one in vault.manifests()} == {first["backup_id"], second["backup_id"]}
    assert vault.find(None)["backup_id"] == second["backup_id"]
    assert vault.find(first["backup_id"][:6])["backup_id"] == first["backup_id"]
    with pytest.raises(NoSuchBackup):
        vault.find("no-such-backup")
    with empty_database(shop) as engine:
        restore(vault, first, engine)
        facts = [(one["backup_id"], catalogue_facts(one)) for one in vault.manifests()]
        with engine.begin() as connection:
            assert backups.adopt(connection, facts) == [first["backup_id"], second["backup_id"]]
            assert backups.adopt(connection, facts) == []
            assert [one.state for one in backups.catalogue(connection)] == ["complete", "complete"]


def test_a_restore_writes_into_an_empty_database_only(shop):
    with pytest.raises(NotEmpty, match=r"schema points|points\."):
        restoring.require_empty(shop.engine("admin"))
    with empty_database(shop) as engine:
        restoring.require_empty(engine)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE public.somebodys (a int)"))
        with pytest.raises(NotEmpty, match=r"public\.somebodys"):
            restoring.require_empty(engine)


def test_an_older_pg_dump_is_not_used():
    with pytest.raises(ToolMissing, match="LOYALTY_POSTGRES_TOOLS"):
        postgres_tools.tools(99)


# Faults at the bucket ---------------------------------------------------------------------------------------------------


def stored_part(storage, manifest, number=2):
    return storage.folder / "backups" / manifest["backup_id"] / f"part-{number:06d}"


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def swap(path):
    other = path.with_name("part-000001")
    ours, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(ours)


def lose(path):
    path.unlink()


@pytest.mark.parametrize("fault", [flip, truncate, swap, lose], ids=lambda fault: fault.__name__)
def test_a_part_that_changed_is_found_by_verify_and_by_the_drill_and_restores_nothing(
    shop, vault, storage, tmp_path, fault
):
    manifest = take(shop, vault)
    assert backup_run.verify(shop.engine(), vault, manifest["backup_id"]).parts[1].size == PART
    fault(stored_part(storage, manifest))
    time.sleep(1.1)  # the S3 server reads its folders anew every second

    with pytest.raises(BackupDamaged, match="part-00000"):
        backup_run.verify(shop.engine(), vault, manifest["backup_id"])
    assert states(shop) == ["in doubt"]
    with empty_database(shop) as engine:
        with pytest.raises(BackupDamaged, match="part-00000"):
            restore(vault, manifest, engine)
        restoring.require_empty(engine)
    assert drills.drill(shop.engine(), vault, tmp_path / "scratch")["passed"] is False

    recovers(shop, vault)


def test_a_restore_that_stops_near_its_end_leaves_the_database_empty(bulk, vault, storage):
    manifest = take(bulk, vault, part_bytes=LARGE_PART)
    flip(stored_part(storage, manifest, len(manifest["content"]["parts"])))
    time.sleep(1.1)  # as above
    with empty_database(bulk) as engine:
        written = []
        prefix, tools = vault.prefix(manifest["backup_id"]), postgres_tools.tools(manifest["tool_major"])
        with pytest.raises(BackupDamaged):
            restoring.restore(manifest, prefix, vault.store, vault.keys.identities(), engine, tools, written.append)
        assert sum(written) > 3_000_000
        restoring.require_empty(engine)


def test_the_end_of_a_backup_is_not_given_before_the_whole_of_it_agrees(shop, vault):
    manifest = take(shop, vault)
    wrong = manifest | {"content": manifest["content"] | {"plain_sha256": "0" * 64}}
    sink, prefix = io.BytesIO(), vault.prefix(manifest["backup_id"])
    with pytest.raises(BackupDamaged, match="another SHA-256"):
        unseal(Sealed.of(wrong["content"]), vault.store, prefix, vault.keys.identities(), sink)
    assert 0 < len(sink.getvalue()) < manifest["content"]["plain_bytes"]
    with empty_database(shop) as engine:
        with pytest.raises(BackupDamaged, match="another SHA-256"):
            restore(vault, wrong, engine)
        restoring.require_empty(engine)


def test_a_manifest_that_was_changed_moved_or_signed_by_others_is_not_believed(shop, vault, tmp_path):
    manifest, other = take(shop, vault), take(shop, vault)
    name = vault.prefix(manifest["backup_id"]) + backup_manifest.NAME
    genuine = vault.store.get(name)

    for wrong, why in (
        (vault.store.get(vault.prefix(other["backup_id"]) + backup_manifest.NAME), "belongs to the backup"),
        (json.dumps(json.loads(genuine) | {"manifest": "e30="}).encode(), "changed after it was signed"),
        (b"not a manifest", "cannot be read"),
    ):
        vault.store.put(name, wrong)
        with pytest.raises(BackupDamaged, match=why):
            vault.manifest(manifest["backup_id"])
    vault.store.put(name, genuine)
    strangers = replace(vault, keys=backup_keys.generate(tmp_path / "others"))
    with pytest.raises(BackupDamaged, match=r"not in signers\.txt"):
        strangers.manifest(manifest["backup_id"])
    assert vault.manifest(manifest["backup_id"]) == manifest


def test_a_server_that_comes_back_in_time_costs_only_time(shop, vault, storage):
    patient = replace(vault, store=connect(storage.access, give_up_seconds=60))
    storage.stop()
    late = threading.Timer(2, storage.start)
    late.start()
    # begun while the server is away
    take(shop, patient)
    late.join()
    assert states(shop) == ["complete"]
    assert only_whole_backups_are_stored(shop, patient)


def test_a_server_that_goes_for_good_fails_the_run_and_the_next_one_clears_up(
    shop, vault, storage, tmp_path, monkeypatch
):
    put, stored = type(vault.store).put, []

    def breaks_down(self, key, content, **options):
        if stored:
            storage.stop()
        answer = put(self, key, content, **options)
        stored.append(key)
        return answer

    monkeypatch.setattr(type(vault.store), "put", breaks_down)
    with pytest.raises(StorageFailed, match="does not answer"):
        take(shop, vault)
    monkeypatch.undo()
    assert states(shop) == ["running"]  # it could not clear up

    storage.start()
    assert objects(vault) != []
    assert list(vault.manifests()) == []
    recovers(shop, vault, tmp_path)
    assert states(shop) == ["failed", "proven"]


@pytest.mark.parametrize(
    ("access", "why"),
    [
        ({"secret_access_key": "not-the-secret-of-this-server"}, "refused the keys"),
        ({"access_key_id": "nobody"}, "refused the keys"),
        ({"bucket": "not-there"}, "has no bucket 'not-there'"),
    ],
)
def test_wrong_keys_of_the_bucket_and_a_missing_bucket_are_named_at_once(shop, vault, storage, access, why):
    wrong = replace(vault, store=connect(replace(storage.access, **access), give_up_seconds=60))
    began = time.monotonic()
    with pytest.raises(StorageFailed, match=why):
        take(shop, wrong)
    assert time.monotonic() - began < 20  # no storm of retries
    recovers(shop, vault)


def test_a_wrong_clock_is_named_not_the_keys(shop, vault, monkeypatch):
    import botocore.auth  # noqa: PLC0415 - its clock is what this changes

    ahead = lambda *_, **__: dt.datetime.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(hours=1)  # noqa: E731
    with monkeypatch.context() as wrong:
        wrong.setattr(botocore.auth, "get_current_datetime", ahead)
        wrong.setattr("infra.s3_answers._now", lambda: dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
        with pytest.raises(StorageFailed, match=r"clock is 1:00:0\d away"):
            take(shop, vault)
    recovers(shop, vault)


def test_a_part_that_the_server_confirmed_and_lost_fails_the_run(shop, vault, monkeypatch):
    put = type(vault.store).put

    def loses(self, key, content, **options):
        answer = put(self, key, content, **options)
        if key.endswith("part-000002"):
            self.delete(key)
        return answer

    with monkeypatch.context() as broken:
        broken.setattr(type(vault.store), "put", loses)
        with pytest.raises(StorageFailed, match="part-000002 was confirmed with"):
            take(shop, vault)
    assert list(vault.manifests()) == []
    recovers(shop, vault)


def test_a_full_disk_at_the_bucket_fails_the_run(shop, vault, storage):
    command = storage.command
    storage.stop()
    storage.command = ["/bin/sh", "-c", 'ulimit -f 2; exec "$@"', "sh", *command]  # no file above 1 KiB
    storage.start()
    with pytest.raises(StorageFailed, match="refused PutObject"):
        take(shop, vault)
    assert list(vault.manifests()) == []
    storage.stop()
    storage.command = command
    storage.start()
    recovers(shop, vault)


# Faults on our side -----------------------------------------------------------------------------------------------------


def test_a_wrong_key_is_one_sentence_before_anything_is_read(shop, vault, tmp_path):
    manifest = take(shop, vault)
    stranger = backup_keys.generate(tmp_path / "stranger")
    with pytest.raises(KeysMissing, match=f"needs the identity of the recipient {manifest['recipients'][0]}"):
        restoring.require_identity(manifest, stranger.identities())
    with empty_database(shop) as engine:
        with pytest.raises(BackupDamaged, match="do not decrypt: No matching keys"):
            restore(vault, manifest, engine, stranger)
        restoring.require_empty(engine)


def test_old_backups_stay_readable_after_a_rotation_and_new_ones_need_the_new_key(shop, vault, tmp_path):
    old_keys = Keys(tmp_path / "old")
    old_keys.folder.mkdir()
    before = take(shop, vault)
    for path in vault.keys.folder.iterdir():
        (old_keys.folder / path.name).write_bytes(path.read_bytes())

    backup_keys.rotate(vault.keys)

    after = take(shop, vault)
    assert not set(before["recipients"]) & set(after["recipients"])
    for manifest in (before, after):
        assert vault.manifest(manifest["backup_id"]) == manifest
        restoring.require_identity(manifest, vault.keys.identities())
    drills.drill(shop.engine(), vault, tmp_path / "scratch", wanted=before["backup_id"])
    assert states(shop)[0] == "proven"
    with pytest.raises(KeysMissing):
        restoring.require_identity(after, old_keys.identities())
    for path in vault.keys.folder.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_two_at_once_are_one(shop, vault):
    with backups.only_one(shop.engine("admin")) as ours:
        assert ours
        with pytest.raises(BackupUnderWay):
            take(shop, vault)
    assert states(shop) == []
    take(shop, vault)


def test_a_dump_whose_session_ends_is_no_backup(bulk, vault, storage):
    os.kill(storage.process.pid, signal.SIGSTOP)  # the parts queue up, and pg_dump waits
    outcome = []

    def run():
        try:
            take(bulk, replace(vault, store=connect(storage.access, give_up_seconds=60)))
        except BackupFailed as error:
            outcome.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    ended = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'loyalty-backup'"
        " AND datname = current_database() AND query LIKE 'COPY points.bulk%'"
    )
    deadline = time.monotonic() + 60
    try:
        while not bulk.one(ended):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        os.kill(storage.process.pid, signal.SIGCONT)
    thread.join()
    assert "pg_dump ended with" in outcome[0]
    assert states(bulk) == ["failed"]
    recovers(bulk, vault, part_bytes=LARGE_PART)


def test_a_run_that_is_killed_leaves_nothing_whole_and_the_next_one_clears_up(fork, bulk, vault, storage, tmp_path):
    worker = fork(
        Path(__file__).with_name("backup_worker.py"), batch=url(bulk, "batch"), reader=url(bulk, "backup"), access=storage.access,
        keys=vault.keys.folder, part_bytes=LARGE_PART,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not any("part-000003" in str(path) for path in storage.folder.rglob("part-*")):
        assert worker.is_running(), worker.answer()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(storage.process.pid, signal.SIGSTOP)
    worker.kill()
    os.kill(storage.process.pid, signal.SIGCONT)
    assert states(bulk) == ["running"]
    assert list(vault.manifests()) == []
    assert objects(vault) != []

    recovers(bulk, vault, tmp_path, part_bytes=LARGE_PART)
    assert next((one.state, one.message) for one in known(bulk)) == ("failed", "the process died")


def test_a_run_that_dies_after_its_manifest_has_made_a_backup(shop, vault, monkeypatch):
    record = backups.record

    def dies(connection, backup_id, what, **rest):
        if what == "complete":
            raise KeyboardInterrupt
        record(connection, backup_id, what, **rest)

    monkeypatch.setattr(backups, "record", dies)
    with pytest.raises(KeyboardInterrupt):
        take(shop, vault)
    monkeypatch.undo()
    assert states(shop) == ["running"]

    take(shop, vault)

    assert states(shop) == ["complete", "complete"]
    assert only_whole_backups_are_stored(shop, vault)


# Retention --------------------------------------------------------------------------------------------------------------


def proven(ledger, manifest):
    """Note that a drill has proven a backup; what drills do is tested above."""
    with ledger.engine().begin() as connection:
        backups.record(connection, manifest["backup_id"], "proven")


def test_a_prune_removes_the_objects_and_never_the_last_that_was_proven(shop, vault):
    first, second = take(shop, vault), take(shop, vault)
    engine = shop.engine()
    proven(shop, first)
    for one in known(shop):  # the first is the only proven one, nothing newer than the second is proven
        with pytest.raises(LastProvenBackup):
            backup_run.remove(engine, vault, one, NOW)
    assert {one["backup_id"] for one in vault.manifests()} == {first["backup_id"], second["backup_id"]}

    proven(shop, second)
    backup_run.remove(engine, vault, known(shop)[0], NOW)

    assert states(shop) == ["pruned", "proven"]
    assert only_whole_backups_are_stored(shop, vault)
    with pytest.raises(LastProvenBackup):
        backup_run.remove(engine, vault, known(shop)[1], NOW)


def test_the_last_backup_of_a_signed_month_stays_and_the_first_with_its_signature(ledger):
    with ledger.engine().begin() as connection:
        for number, taken in enumerate(("2026-01-30", "2026-01-31", "2026-02-02", "2026-02-03", "2026-02-04")):
            backups.record(connection, f"{number:032x}", "begun")
            backups.record(connection, f"{number:032x}", "complete", facts={"taken_at": f"{taken}T02:30:00+00:00"})
        backups.record(connection, f"{4:032x}", "proven")
        assert backups.of_signed_months(connection) == set()
    ledger.rows(
        "WITH closed AS (INSERT INTO points.month_close (month, report, report_sha256, code_version)"
        " SELECT '2026-01-01', r, encode(sha256(convert_to(r, 'UTF8')), 'hex'), 'test' FROM (VALUES ('{\"deviations\": 0}')) AS v (r)"
        " RETURNING month, report_sha256)"
        " INSERT INTO points.month_signature (month, report_sha256, signed_at)"
        " SELECT month, report_sha256, '2026-02-02 12:00+00' FROM closed"
    )

    with ledger.engine().begin() as connection:
        kept = backups.of_signed_months(connection)

    assert sorted(int(one.replace("-", ""), 16) for one in kept) == [1, 3]
    for number in (1, 3):
        with (
            pytest.raises(LastProvenBackup, match="2026-01 is signed"),
            translated(),
            ledger.engine().begin() as connection,
        ):
            backups.record(connection, f"{number:032x}", "pruning")
    for number in (0, 2):
        with translated(), ledger.engine().begin() as connection:
            backups.record(connection, f"{number:032x}", "pruning")


def test_a_prune_that_was_cut_short_is_finished(shop, vault, storage, monkeypatch):
    take(shop, vault)
    proven(shop, take(shop, vault))
    oldest = known(shop)[0]
    delete = type(vault.store).delete

    def breaks_down(self, key, version=None):
        delete(self, key, version)
        storage.stop()

    with monkeypatch.context() as broken:
        broken.setattr(type(vault.store), "delete", breaks_down)
        with pytest.raises(StorageFailed):
            backup_run.remove(shop.engine(), vault, oldest, NOW)
    storage.start()
    assert states(shop) == ["pruning", "proven"]
    backup_run.remove(shop.engine(), vault, known(shop)[0], NOW)
    assert states(shop) == ["pruned", "proven"]
    assert only_whole_backups_are_stored(shop, vault)


@pytest.mark.parametrize(
    ("history", "event"),
    [
        ([], "complete"),
        ([], "proven"),
        (["begun"], "begun"),
        (["begun"], "verified"),
        (["begun"], "pruning"),
        (["begun", "failed"], "complete"),
        (["begun", "complete"], "complete"),
        (["begun", "complete"], "failed"),
        (["begun", "complete"], "pruned"),
    ],
)
def test_an_event_that_cannot_follow_is_refused(ledger, history, event):
    backup_id = str(uuid.uuid4())
    facts = {"taken_at": "2026-01-06T00:00:00Z"}
    with ledger.engine().connect() as connection:
        for what in history:
            backups.record(connection, backup_id, what, facts=facts)
        with pytest.raises(InvalidRequest), translated():
            backups.record(connection, backup_id, event, facts=facts)
