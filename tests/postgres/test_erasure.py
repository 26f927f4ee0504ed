"""Erasure: the contact and the proofs are gone for good, the ledger stays, and no import and no backup brings them back."""

import datetime as dt
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy import text

from infra import backup_keys, backup_run, database, drills, erasure_list, postgres_tools, restoring
from infra.backup_run import Vault
from infra.contact_cipher import MasterKeys, new_key, open_contact, open_proof, seal_proof
from infra.object_store import connect
from points_ledger import contacts, errors, outbox, verification
from points_ledger.contacts import MemberKey
from points_ledger.outbox import Finished

MARKS = b"m" * 32
KEYS = MasterKeys.parse(f"k1:{new_key()}")
NOW = dt.datetime(2026, 1, 10, 12, tzinfo=dt.UTC)
WHY = "request 4711 of 3 May"
SENT = b"Dear Anna, you redeemed 20 points."


def take(ledger, *rows):
    return ledger.take("members", "member_no,name,email", *rows, contact_key=MARKS, seal=KEYS.seal)


def write(ledger, member_id=1):
    with ledger.engine().begin() as connection:
        connection.execute(
            text(
                "WITH n AS (INSERT INTO points.notice (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before,"
                " valid_until) VALUES (:id, 'adjustment', 'transaction', 'email', gen_random_uuid()::text, '2026-01-09', '{}', :now,"
                " :until) RETURNING notice_id) INSERT INTO points.notice_queue (notice_id, channel, not_before)"
                " SELECT notice_id, 'email', :now FROM n"
            ),
            {"id": member_id, "now": NOW, "until": NOW + dt.timedelta(days=9)},
        )


@pytest.fixture
def club(ledger):
    """Anna has points, a contact, a notice that was sent with its proof, and one that waits; so has Bob, but for the proof."""
    ledger.start(expiry={"basis": "none", "months": None})
    take(ledger, "m1,Anna,a@b.example", "m2,Bob,b@b.example")
    ledger.orders("A1,m1,2026-01-01 10:00,tea,1,100", "A2,m2,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    write(ledger)
    with ledger.engine().begin() as connection:
        [got] = outbox.claim(connection, owner="w", moment=NOW, limit=9, channel="email")
        sealed = seal_proof(KEYS.unwrap(1, got.key), got.notice_id, 1, SENT, b"redeemed")
        outbox.keep_dictionary(connection, "v1", b"redeemed")
        row = Finished(got.notice_id, "accepted", "smtp", proof=sealed, template_version="v1")
        outbox.finish(connection, owner="w", token=got.token, moment=NOW, rows=[row])
    write(ledger)
    write(ledger, 2)
    return ledger


def erase(ledger, member_no="m1", reason=WHY):
    with errors.translated(), ledger.engine().begin() as connection:
        return contacts.erase(connection, member_no=member_no, reason=reason, moment=NOW)


def plan(ledger, member_no="m1"):
    with ledger.engine().begin() as connection:
        return contacts.erasure_plan(connection, member_no)


def read_proof(engine):
    """What Anna was sent, as far as anybody can read it."""
    with engine.connect() as connection:
        [proof] = outbox.proofs(connection, 1)
    if proof.key is None:
        return None
    return open_proof(KEYS.unwrap(1, proof.key), 1, 1, proof.sealed, proof.dictionary)


def anna(engine):
    """What is kept of Anna besides the ledger: contact, mark, erasure's reason."""
    with engine.connect() as connection:
        return tuple(
            connection.execute(
                text(
                    "SELECT (SELECT count(*) FROM points.contact WHERE member_id = 1), (SELECT count(*) FROM points.member_contact"
                    " WHERE member_id = 1), (SELECT reason FROM points.erasure WHERE member_id = 1)"
                )
            ).one()
        )


def books(ledger):
    return [
        ledger.rows(f"SELECT * FROM points.{name} ORDER BY 1, 2")
        for name in ("entry", "wallet", "lot", "seal", "member")
    ]


def test_an_erasure_destroys_contact_mark_and_proof_and_leaves_the_ledger(club):
    before = books(club)
    seen = plan(club)
    assert (seen.has_contact, seen.has_mark, seen.proofs, seen.waiting, seen.erased_at) == (True, True, 1, 1, None)
    assert read_proof(club.engine()) == SENT
    assert anna(club.engine()) == (1, 1, None)  # the plan changed nothing

    assert erase(club) is True
    assert anna(club.engine()) == (0, 0, WHY)
    assert read_proof(club.engine()) is None
    assert books(club) == before
    with club.engine().connect() as connection:
        assert list(verification.verify(connection)) == []
        assert (
            outbox.told(connection, "m1")[0].result == "accepted"
        )  # that she was told stays, what she was told does not
    [row] = club.rows("SELECT * FROM points.contact")
    assert (
        open_contact(KEYS.unwrap(2, MemberKey(bytes(row.key_wrapped), row.key_id)), 2, bytes(row.sealed)).name == "Bob"
    )


def test_erasing_twice_keeps_the_first_reason_and_a_reason_is_needed(club):
    assert (erase(club), erase(club, reason="another reason")) == (True, False)
    assert anna(club.engine())[2] == WHY
    assert club.one("SELECT actor FROM points.erasure") == "loyalty_batch"
    with pytest.raises(errors.InvalidRequest):
        erase(club, "m2", "because")
    with pytest.raises(errors.UnknownMember):
        erase(club, "nobody")
    with pytest.raises(errors.UnknownMember):
        plan(club, "nobody")
    assert club.one("SELECT count(*) FROM points.contact") == 1


def test_what_waits_for_an_erased_member_is_not_sent_and_no_file_brings_the_contact_back(club):
    erase(club)
    assert take(club, "m1,Anna,a@b.example", "m2,Bob,new@b.example").rows("accepted") == 2
    assert anna(club.engine()) == (0, 0, WHY)
    with club.engine().begin() as connection:
        got = outbox.claim(connection, owner="w", moment=NOW, limit=9, channel="email")
    assert [one.member_no for one in got] == ["m2"]
    assert [tuple(row) for row in club.rows("SELECT result, detail FROM points.notice_result ORDER BY notice_id")] == [
        ("accepted", None), ("suppressed", "erased"),
    ]  # fmt: skip


@pytest.mark.parametrize("first", ["import", "erasure"])
def test_an_import_at_the_same_moment_does_not_bring_the_contact_back(club, first):
    [row] = club.rows("SELECT * FROM points.contact WHERE member_id = 1")
    values = {"key": bytes(row.key_wrapped), "sealed": bytes(row.sealed)}
    keep = text(
        "SELECT points.keep_contacts('{1}', ARRAY[:key], '{k1}', ARRAY[:sealed], ARRAY[NULL]::bytea [], ARRAY[NULL]::bytea []),"
        " points.remember_contacts('{m1}', ARRAY[sha256('x')])"
    )

    def importing(connection):
        connection.execute(keep, values)

    def erasing(connection):
        contacts.erase(connection, member_no="m1", reason=WHY, moment=NOW)

    steps = [importing, erasing] if first == "import" else [erasing, importing]
    failures = []

    def second():
        try:
            with club.engine("batch").begin() as connection:
                steps[1](connection)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=second)
    with club.engine("batch").begin() as connection:
        steps[0](connection)
        thread.start()
        thread.join(1)
        assert thread.is_alive(), "the second one waits for the first"
    thread.join(20)
    assert failures == []
    assert anna(club.engine()) == (0, 0, WHY)


# Backups -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def vault(storage, tmp_path):
    return Vault(connect(storage.access, give_up_seconds=1), backup_keys.generate(tmp_path / "keys"), "backups")


def back_up(ledger, vault):
    reader = database.engine(ledger.url.set(username="loyalty_backup").render_as_string(hide_password=False))
    try:
        return backup_run.take(ledger.engine(), reader, vault)
    finally:
        reader.dispose()


def listed(ledger, vault):
    with ledger.engine().connect() as connection:
        return erasure_list.store(vault, contacts.erasures(connection))


@pytest.fixture
def restored(club, vault):
    """Backed up, then Anna is erased, then the backup is restored elsewhere: the copy's engine."""
    manifest = back_up(club, vault)
    erase(club)
    assert listed(club, vault) == 1
    assert listed(club, vault) == 0
    server = sa.create_engine(club.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    name = f"{club.url.database}_copy"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0"))
        engine = database.engine(club.url.set(database=name).render_as_string(hide_password=False))
        try:
            tools = postgres_tools.tools(manifest["tool_major"])
            prefix = vault.prefix(manifest["backup_id"])
            restoring.restore(manifest, prefix, vault.store, vault.keys.identities(), engine, tools)
            yield engine
        finally:
            engine.dispose()
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def test_a_restored_backup_from_before_an_erasure_is_erased_again_and_sends_nothing(vault, restored):
    assert anna(restored) == (1, 1, None)  # what a backup holds is what there was
    assert read_proof(restored) == SENT

    assert erasure_list.repeat(restored, vault) == erasure_list.Repeated(1, [])
    assert erasure_list.repeat(restored, vault) == erasure_list.Repeated(1, [])
    assert anna(restored) == (0, 0, WHY)
    assert read_proof(restored) is None
    with restored.connect() as connection:
        assert list(verification.verify(connection)) == []
        assert connection.execute(text("SELECT actor, moment FROM points.erasure")).one() == ("loyalty_batch", NOW)
    with pytest.raises(errors.NoticesHeld), errors.translated(), restored.begin() as connection:
        outbox.claim(connection, owner="w", moment=NOW, limit=9, channel="email")


def test_the_number_of_another_member_in_the_copy_erases_nobody(vault, restored):
    with restored.begin() as connection:
        connection.execute(text("UPDATE points.member SET member_no = 'm1-of-another-time' WHERE member_id = 1"))
    assert erasure_list.repeat(restored, vault).erased == 0
    assert anna(restored) == (1, 1, None)


def test_the_list_names_nobody_and_an_object_that_was_changed_moved_or_signed_by_others_is_told(club, vault, tmp_path):
    erase(club)
    listed(club, vault)
    [name] = vault.store.keys("backups/erasures/")
    content = vault.store.get(name)
    assert name == "backups/erasures/1"
    for secret in (b"4711", b"loyalty", b"a@b.example"):
        assert secret not in content
    [erasure] = erasure_list.load(vault).erasures
    assert (erasure.member_id, erasure.reason, erasure.moment) == (1, WHY, NOW)

    others = Vault(vault.store, backup_keys.generate(tmp_path / "others"), "backups")
    vault.store.put("backups/erasures/2", content)  # moved
    vault.store.put("backups/erasures/3", content[:-1])
    vault.store.put("backups/erasures/notes.txt", b"not ours")
    stranger = contacts.Erasure(4, erasure.number_sha256, NOW, "somebody", "a reason of mine")
    (others.keys.folder / "recipients.txt").write_bytes((vault.keys.folder / "recipients.txt").read_bytes())
    erasure_list.store(others, [stranger])
    found = erasure_list.load(vault)
    assert found.erasures == [erasure]
    assert found.damaged == [f"backups/erasures/{n}" for n in (2, 3, 4)]


def test_a_drill_erases_again_and_a_list_that_cannot_be_read_refutes_it(club, vault, tmp_path):
    back_up(club, vault)
    erase(club)
    listed(club, vault)
    evidence = drills.drill(club.engine(), vault, tmp_path / "scratch")
    assert (evidence["passed"], evidence["erased_again"]) == (True, 1)
    vault.store.put("backups/erasures/1", b"rubbish")
    evidence = drills.drill(club.engine(), vault, tmp_path / "scratch")
    assert evidence["passed"] is False
    assert "backups/erasures/1 cannot be read" in evidence["differences"][0]
