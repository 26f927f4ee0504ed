"""The evidence pack: the same bytes again, whole, and verified by a program that knows nothing of ours and finds every change."""

import ast
import base64
import csv
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra import evidence_pack
from infra.backup_keys import public_text
from infra.backup_refusals import KeysExist, KeysMissing
from points_ledger.errors import MonthDeviates
from tasks import evidence, month

ROOT = Path(__file__).parent.parent.parent
VERIFIER = ROOT / "infra" / "verify_pack.py"


@pytest.fixture(scope="module")
def books(clone, club_january):
    """Two closed months: a cap, multipliers, a bonus, spends, returns, debt, lapse, an adjustment, a cancelled redemption."""
    ledger = club_january(clone(), "积1,会员,2026-01-09 10:00,茶,1,30", "N1,never,2026-01-05 10:00,tea,1,0.4")
    ledger.orders(
        "L1,m3,2026-01-08 09:00,tea,2,70", "L3,m1,2026-01-04 12:00,tea,-1,50", "D1,m1,2026-02-01 10:00,tea,1,10",
        "D2,m2,2026-02-09 10:00,cake,-1,60", "E1,m4,2026-02-01 10:00,tea,1,10",
    )  # fmt: skip
    ledger.close("2026-02-28")
    ledger.orders("F1,m1,2026-03-01 10:00,tea,1,10")
    ledger.close("2026-03-05")
    return ledger


@pytest.fixture
def own(books, copied, reached, tmp_path):
    """A copy of the books that the steps reach by their settings, with a key that signs."""
    ledger = copied(books)
    with reached(ledger, tmp_path / "home"):
        evidence.generate_keys()
        yield ledger


def unguarded(ledger):
    """Nothing keeps a superuser from changing what is written."""
    for [table] in ledger.rows("SELECT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal GROUP BY 1"):
        ledger.rows(f"ALTER TABLE {table} DISABLE TRIGGER USER")


def verify(pack, *options):
    """Run the verifier of a pack as a stranger would: alone, from somewhere else."""
    alone = pack.with_suffix(".py")
    with zipfile.ZipFile(pack) as opened:
        alone.write_bytes(opened.read("verify_pack.py") if "verify_pack.py" in opened.namelist() else b"")
    done = subprocess.run([sys.executable, "-I", alone, pack, *options], cwd="/", capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def difference(told):
    """The first difference as the verifier printed it."""
    lines = told.splitlines()
    assert lines[0] == "DIFFERENT", told
    return {line[:8].strip(): line[10:] for line in lines[1:]}


@pytest.mark.usefixtures("own")
def test_a_pack_is_the_same_bytes_again_and_verifies_alone(tmp_path):
    month.close("2026-01")
    for name in ("2026-01", "2026-02"):
        first = evidence.pack(name, tmp_path / "one.zip")
        second = evidence.pack(name, tmp_path / "two.zip")

        assert first.sha256 == second.sha256 == hashlib.sha256((tmp_path / "one.zip").read_bytes()).hexdigest()
        code, told = verify(first.path, "--signer", evidence.trusted()[0])
        assert (code, told[:28]) == (0, f"{name}: everything agrees. "), told
    month.sign("2026-01")
    assert "signed off by loyalty_auditor" in verify(evidence.pack("2026-01", tmp_path / "signed.zip").path)[1]
    assert "2026-02: everything agrees." in verify(second.path)[1]


@pytest.mark.usefixtures("own")
def test_a_pack_verifies_where_it_was_unpacked(tmp_path):
    made = evidence.pack("2026-01", tmp_path / "pack.zip")
    with zipfile.ZipFile(made.path) as opened:
        opened.extractall(tmp_path / "unpacked")

    done = subprocess.run(
        [sys.executable, "-I", tmp_path / "unpacked" / "verify_pack.py"], capture_output=True, text=True
    )

    assert (done.returncode, done.stdout[:28]) == (0, "2026-01: everything agrees. "), done.stdout + done.stderr


def test_the_verifier_imports_nothing_of_ours_and_little_of_others():
    tree = ast.parse(VERIFIER.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    foreign = {name.split(".")[0] for name in imported} - sys.stdlib_module_names
    assert foreign == {"cryptography"}


def test_a_pack_says_what_it_holds_and_from_which_queries(own, tmp_path):
    month.close("2026-01")
    made = evidence.pack("2026-02", tmp_path / "pack.zip")

    with zipfile.ZipFile(made.path) as opened:
        manifest = json.loads(opened.read("MANIFEST.json"))
        assert set(opened.namelist()) == {*manifest["files"], "MANIFEST.json", "MANIFEST.sig"}
        for name, query in manifest["populations"].items():
            assert hashlib.sha256(opened.read(query)).hexdigest() == manifest["queries"][Path(query).stem]
            assert opened.read(name).startswith((b"member_id,", b"order_no,", b"return_ref,", b"redemption_no,", b"member_no,",
                                                 b"version,", b"book_date,")), name  # fmt: skip
        report = json.loads(opened.read("report.json"))
        entries = list(csv.DictReader(io.StringIO(opened.read("entries.csv").decode())))
    assert manifest["control_totals"]["entries"] == len(entries) == sum(s["entries"] for s in report["seals"])
    assert manifest["record"] is None
    assert manifest["previous_report_sha256"] == own.one("SELECT report_sha256 FROM points.month_close")
    used = {path.stem for path in (ROOT / "points_ledger" / "sql").glob("month_*.sql")}
    assert set(manifest["queries"]) == used


def test_what_comes_after_a_month_changes_nothing_in_its_pack(own, tmp_path):
    before = evidence.pack("2026-02", tmp_path / "before.zip")
    own.orders("Z1,m1,2026-02-01 10:00,tea,1,99", "Z2,m3,2026-03-06 10:00,tea,-1,30")
    own.redemptions("Z3,m2,2026-02-25 11:00,5")
    own.close("2026-04-20")

    assert evidence.pack("2026-02", tmp_path / "after.zip").sha256 == before.sha256


# What a superuser could do: the checks of the report that name it, and where the pack's verifier finds it first.
PLANTED = {
    "one entry's points": (
        ["UPDATE points.entry SET points = points + 1 WHERE kind = 'earn' AND source_ref = 'A1'"],
        {"orders-in-ledger", "I4", "I10"}, ("entries.csv", "balance_after"),
    ),
    "one wallet": (["UPDATE points.wallet SET balance = balance + 1 WHERE member_id = 3"], {"I1"}, ("wallets.csv", "balance")),
    "one order line deleted": (
        ["DELETE FROM points.order_line WHERE order_no = 'C3'"], {"orders-in-ledger", "orders-judged"},
        ("judgements.csv", "purchase_lines"),
    ),
    "one seal replaced": (
        ["UPDATE points.seal SET root = sha256('forged') WHERE book_date = '2026-01-09'"], {"I10"}, ("seals.csv", "checkpoint"),
    ),
    "one expired lot revived": (
        ["UPDATE points.lot SET remaining = remaining + expired, expired = 0 WHERE expired > 0"], {"I2"}, ("lots.csv", "closing"),
    ),
    "one expired lot revived with its wallet": (
        ["UPDATE points.wallet SET balance = balance + (SELECT sum(expired) FROM points.lot WHERE lot.member_id = wallet.member_id)"
         " WHERE member_id IN (SELECT member_id FROM points.lot WHERE expired > 0)",
         "UPDATE points.lot SET remaining = remaining + expired, expired = 0 WHERE expired > 0"],
        {"I1", "I2"}, ("wallets.csv", "balance"),
    ),
    "the seals from a day on, with entries to fit": (
        ["UPDATE points.entry SET reason = 'mended' WHERE kind = 'adjust_up'"], {"I10"}, ("seals.csv", "root"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", PLANTED)
def test_what_a_superuser_plants_is_named_keeps_the_month_unsigned_and_turns_its_pack_red(own, tmp_path, what):
    changes, checks, place = PLANTED[what]
    month.close("2026-01")
    month.close("2026-02")
    unguarded(own)
    for change in changes:
        own.rows(change)
    name = "2026-02" if "lot" in what else "2026-01"

    with pytest.raises(MonthDeviates) as refused:
        month.sign(name)
    made = evidence.pack(name, tmp_path / "pack.zip")
    code, told = verify(made.path)

    assert "DEVIATION" in str(refused.value)
    assert all(f" {check} (" in str(refused.value) for check in checks), str(refused.value)
    assert own.one("SELECT count(*) FROM points.month_signature") == 0
    assert made.deviations > 0
    assert code == 1
    found = difference(told)
    assert (found["file"], found["column"]) == place, told
    with zipfile.ZipFile(made.path) as opened:
        first = next(csv.reader(io.StringIO(opened.read("report.csv").decode())))
        assert first == ["headline", json.loads(opened.read("report.json"))["headline"]]
        assert first[1].startswith(f"{name}: ")
        assert "DEVIATION" in first[1]


# What somebody who holds the signing key could do to a pack: (file, row by a column's value, column, value), and what is named.
FORGED = {
    "an amount": ("entries.csv", ("source_ref", "A4"), {"points": "90"}, "balance_after"),
    "a reason that nothing else shows": ("entries.csv", ("kind", "adjust_up"), {"reason": "another"}, "root"),
    "a null that becomes empty": ("entries.csv", ("source_ref", "A4"), {"reason": ""}, "root"),
    "a time": ("entries.csv", ("source_ref", "A4"), {"recorded_at": "2026-01-01 00:00:00.000000"}, "root"),
    "a number": ("entries.csv", ("source_ref", "A4"), {"seq": "99"}, "seq"),
    "a debt": ("entries.csv", ("kind", "owe"), {"debt_after": "0"}, "debt_after"),
    "a lot's rest": ("entries.csv", ("source_ref", "A4"), {"lot_remaining_after": "1"}, "lot_remaining_after"),
    "a kind": ("entries.csv", ("kind", "adjust_up"), {"kind": "gift"}, "sign"),
    "an entry is gone": ("entries.csv", ("kind", "adjust_up"), None, "closing"),
    "a member's end": ("members.csv", ("member_no", "m1"), {"closing": "1"}, "closing"),
    "a member's beginning": ("members.csv", ("member_no", "m1"), {"opening": "1"}, "opening"),
    "a member is gone": ("members.csv", ("member_no", "m1"), None, "member_id"),
    "a wallet": ("wallets.csv", ("member_no", "m2"), {"debt": "5"}, "debt"),
    "a lot": ("lots.csv", ("points", "30"), {"closing": "7"}, "closing"),
    "a lot is gone": ("lots.csv", ("points", "100"), None, "lot_seq"),
    "a price": ("order_lines.csv", ("order_no", "B1"), {"unit_price": "81"}, "purchase_amount"),
    "a line": ("order_lines.csv", ("order_no", "B1"), None, "purchase_lines"),
    "a rule": ("rules.csv", ("kind", "multiplier"), {"amount": "3"}, "exact_points"),
    "a judgement": ("judgements.csv", ("order_no", "A1"), {"points": "99"}, "points"),
    "a judgement is gone": ("judgements.csv", ("order_no", "A1"), None, "order_no"),
    "an order": ("orders.csv", ("order_no", "A1"), {"recomputed": "99"}, "booked"),
    "an order is gone": ("orders.csv", ("order_no", "A1"), None, "booked"),
    "a return": ("returns.csv", ("return_ref", "A3/1"), {"booked": "19"}, "booked"),
    "a return is gone": ("returns.csv", ("return_ref", "A3/1"), None, "booked"),
    "what a return takes": ("returned_orders.csv", ("order_no", "C1"), {"expected": "3", "taken": "3"}, "expected"),
    "a redemption is gone": ("redemptions.csv", ("redemption_no", "R2"), None, "booked"),
    "a seal": ("seals.csv", ("book_date", "2026-01-05"), {"outstanding": "1"}, "checkpoint"),
    "the first seal": ("seals.csv", ("book_date", "2026-01-01"), None, "previous"),
    "the last seal": ("seals.csv", ("book_date", "2026-01-31"), None, "checkpoint"),
}  # fmt: skip


def forged(pack, change, key=None):
    """Write a pack again with its files changed by ``change(name, content)``, and a manifest that fits; signed by ``key``."""
    with zipfile.ZipFile(pack) as opened:
        contents = {name: opened.read(name) for name in opened.namelist()}
    contents = {name: new for name, old in contents.items() if (new := change(name, old)) is not None}
    if key is not None:
        manifest = json.loads(contents["MANIFEST.json"])
        for name, file in manifest["files"].items():
            file["sha256"] = hashlib.sha256(contents[name]).hexdigest()
        body = json.dumps(manifest).encode()
        signature = {
            "signature": base64.b64encode(key.sign(body)).decode(),
            "public_key": public_text(key.public_key()),
        }
        contents |= {"MANIFEST.json": body, "MANIFEST.sig": json.dumps(signature).encode()}
    made = pack.with_name("forged.zip")
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return made


@pytest.fixture(scope="module")
def january(books, reached, tmp_path_factory):
    """The pack of January, and the key that signed it."""
    folder = tmp_path_factory.mktemp("january")
    with reached(books, folder):
        evidence.generate_keys()
        return evidence.pack("2026-01", folder / "pack.zip").path, evidence.keys()


@pytest.mark.parametrize("what", FORGED)
def test_a_pack_that_was_changed_and_signed_again_is_found_out_by_its_own_figures(january, what):
    file, (column, value), new, expected = FORGED[what]
    pack, keys = january

    def change(name, content):
        if name != file:
            return content
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        at = next(place for place, row in enumerate(rows) if row[column] == value)
        rows[at : at + 1] = [rows[at] | new] if new else []
        out = io.StringIO()
        writer = csv.DictWriter(out, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue().encode()

    code, told = verify(forged(pack, change, keys.signer()))

    assert (code, difference(told)["column"]) == (1, expected), told


def test_the_report_in_a_pack_cannot_say_something_else_than_its_populations(january):
    pack, keys = january
    for path in (
        "roll_forward.closing",
        "members.active",
        "debt.closing",
        "open_points.points",
        "orders.in_ledger",
        "checkpoint",
    ):
        *above, last = path.split(".")

        def change(name, content, above=above, last=last):
            if name != "report.json":
                return content
            report = json.loads(content)
            inner = report
            for key in above:
                inner = inner[key]
            inner[last] = "0" if isinstance(inner[last], str) else inner[last] + 1
            return json.dumps(report).encode()

        code, told = verify(forged(pack, change, keys.signer()))
        assert (code, difference(told)["file"]) == (1, "report.json"), (path, told)


def test_a_byte_another_signature_another_signer_or_a_file_too_many_is_found(january):
    pack, keys = january

    def flipped(name, content):
        return content.replace(b"m1", b"m9") if name == "report.pdf" or name == "wallets.csv" else content

    assert difference(verify(forged(pack, flipped))[1]) | {"expected": "", "found": ""} == {
        "file": "wallets.csv", "row": "-", "column": "sha256", "expected": "", "found": "",
    }  # fmt: skip

    def resealed(name, content):
        return content.replace(b"2026-01", b"2026-02") if name == "MANIFEST.json" else content

    assert difference(verify(forged(pack, resealed))[1])["column"] == "signature"
    stranger = forged(pack, lambda _name, content: content, Ed25519PrivateKey.generate())
    trusted = next(iter(keys.signers()))
    assert verify(stranger)[0] == 0  # whom to trust is for who verifies
    assert difference(verify(stranger, "--signer", trusted)[1])["column"] == "public_key"
    with zipfile.ZipFile(stranger, "a") as archive:
        archive.writestr("one-more.txt", b"")
    assert difference(verify(stranger)[1])["column"] == "files"
    assert difference(verify(forged(pack, lambda n, c: None if n == "README.txt" else c))[1])["column"] == "files"


def test_what_cannot_be_read_is_no_pack_and_says_so(january):
    pack, keys = january
    damaged, content = pack.with_name("damaged.zip"), bytearray(pack.read_bytes())
    with zipfile.ZipFile(pack) as opened:
        start = opened.getinfo("wallets.csv").header_offset + 60
    content[start : start + 40] = b"\xff" * 40
    damaged.write_bytes(content)
    (pack.parent / "no.zip").write_text("this is no zip")
    unreadable = forged(
        pack, lambda n, c: c.replace(b"rate,1,", b"rate,1,much") if n == "rules.csv" else c, keys.signer()
    )

    for what in (damaged, pack.parent / "no.zip", unreadable):
        done = subprocess.run([sys.executable, "-I", VERIFIER, what], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (2, ""), what
        assert "cannot be read as an evidence pack" in done.stdout


@pytest.mark.usefixtures("own")
def test_keys_are_made_once_and_a_rotation_keeps_the_trust_in_the_old_one(tmp_path):
    old = evidence.pack("2026-01", tmp_path / "old.zip").signer
    with pytest.raises(KeysExist):
        evidence.generate_keys()
    evidence.rotate_keys()

    assert evidence.pack("2026-01", tmp_path / "new.zip").signer == evidence.trusted()[0] != old
    assert evidence.trusted()[1:] == [old]
    assert (evidence.keys().folder / "signing.key").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("own")
def test_without_a_key_no_pack_is_written_and_the_refusal_says_how_to_make_one(tmp_path):
    (evidence.keys().folder / "signing.key").unlink()

    with pytest.raises(KeysMissing, match="loyalty month keys generate"):
        evidence.pack("2026-01", tmp_path / "pack.zip")
    assert list(tmp_path.glob("pack*")) == []


def test_a_pack_cut_short_leaves_nothing_that_looks_like_one(tmp_path):
    with pytest.raises(RuntimeError), evidence_pack.written(tmp_path / "pack.zip") as pack:
        pack.put("one.txt", b"one")
        raise RuntimeError
    with pytest.raises(RuntimeError), evidence_pack.written(tmp_path / "pack.zip") as pack:
        pack.keep("rows", {"one": 1})
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("own")
def test_a_month_is_stored_with_its_pack_before_and_after_the_signature(bucket):
    made, _ = month.close("2026-01")
    evidence.publish("2026-01")
    month.sign("2026-01")
    packed, stored = evidence.publish("2026-01")

    folder = bucket.folder / "reports" / "months" / "2026-01" / made.sha256[:16]
    assert {path.name for path in folder.iterdir()} == {
        "report.json", "report.html", "report.pdf", "report.xlsx", "report.csv", "journal.csv", "evidence.zip", "evidence-signed.zip",
    }  # fmt: skip
    assert hashlib.sha256((folder / "evidence-signed.zip").read_bytes()).hexdigest() == packed.sha256
    assert hashlib.sha256((folder / "report.json").read_bytes()).hexdigest() == made.sha256
    assert "not signed off yet" in verify(folder / "evidence.zip")[1]
    # this server answers 200 to a lock and locks nothing: that must not read as locked
    assert {one.locked_until for one in stored} == {None}
    assert "no Object Lock" in evidence.lock_in_words(stored[0])
