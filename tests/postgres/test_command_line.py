"""The commands as an operator types them, in processes of their own."""

import csv
import hashlib
import json
import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from expectations.catalogue import CATALOGUE

HEADER = b"order_no,member_no,placed_at,sku,quantity,unit_price\n"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def environment(ledger, tmp_path):
    """What a command must know to work on this test's ledger."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LOYALTY_", "PREFECT_"))}
    url = ledger.url
    environment |= {
        "LOYALTY_HOME": str(tmp_path / "home"),
        "LOYALTY_DATABASE_URL": url.set(username="loyalty_batch").render_as_string(hide_password=False),
        "LOYALTY_ADMIN_DATABASE_URL": url.render_as_string(hide_password=False),
        "LOYALTY_APPROVER_DATABASE_URL": url.set(username="loyalty_approver").render_as_string(hide_password=False),
        "HOME": str(tmp_path),
        "COLUMNS": "200",
    }
    return environment


@pytest.fixture
def loyalty(environment, commands):
    """Run a command against this test's ledger; returns (exit code, output, error output)."""

    def run(*words, cwd=ROOT, more=None):
        return commands.run(words, environment | (more or {}), cwd)

    return run


@pytest.fixture
def typed(environment, bare_commands):
    """The same, but every command imports what it needs by itself, as when it is typed."""
    return lambda *words: bare_commands.run(words, environment)


@pytest.fixture
def shop(tmp_path):
    """A small shop's files."""
    (tmp_path / "orders.csv").write_text(
        "order_no,member_no,placed_at,sku,quantity,unit_price\n"
        "1001,H1,2026-09-01 10:15,tea,2,12.50\n"
        "1001,H1,2026-09-01 10:15,POST,1,3.00\n"
        "1002,,2026-09-01 11:00,tea,1,12.50\n"
        "1003,H2,2026-09-02 09:00,mug,1,40\n"
        "1004,H1,2026-09-03 09:00,tea,-1,12.50\n"
        "1005,H2,2026-09-03 09:30,mug,many,40\n"
    )
    (tmp_path / "redemptions.csv").write_text("redemption_no,member_no,redeemed_at,points\nR1,H2,2026-09-03 10:00,15\n")
    return tmp_path


@pytest.fixture
def short_lived(tmp_path):
    """The example's programme, but all points lapse on 5 September."""
    example = (ROOT / "docs" / "examples" / "harbour-gifts.toml").read_text()
    fixed = 'basis = "fixed"\nmonths = 1\nround_up_to = "day"\n'
    assert fixed in example
    (tmp_path / "short.toml").write_text(example.replace(fixed, 'basis = "calendar"\nmonth_day = "09-05"\n'))
    return tmp_path / "short.toml"


def test_from_an_empty_database_to_closed_nights(typed, shop):
    loyalty = typed
    assert loyalty("init", "--programme", "docs/examples/harbour-gifts.toml")[0] == 0
    code, out, _ = loyalty("import", "orders", shop / "orders.csv")
    assert code == 0
    assert "6 rows read = 4 accepted + 1 rejected + 1 skipped" in out
    assert "quantity_not_a_number" in out
    assert loyalty("import", "redemptions", shop / "redemptions.csv")[0] == 0

    assert "3 nights closed, 2026-09-01 to 2026-09-03." in loyalty("close", "--through", "2026-09-03")[1]
    assert "Nothing to close" in loyalty("close", "--through", "2026-09-03")[1]

    _, out, _ = loyalty("explain", "H1")
    assert "25 points, earned by order 1001" in out
    assert "-12  taken back: return 1004/1" in out
    _, out, _ = loyalty("totals", "--json")
    totals = json.loads(out)
    assert totals["points_by_kind"] == {"claw_back": 12, "earn": 65, "spend": 15}
    assert totals["feed"] == {"lines": 6, "guest_lines": 1, "no_money_lines": 0, "rejected_lines": 1}
    code, out, _ = loyalty("balances", "--out", shop / "balances.csv")
    assert list(csv.reader((shop / "balances.csv").open())) == [
        ["member_no", "balance", "debt"],
        ["H1", "13", "0"],
        ["H2", "25", "0"],
    ]
    assert totals["wallet_sha256"] == hashlib.sha256(b"H1,13,0\nH2,25,0\n").hexdigest()
    code, out, _ = loyalty("verify")
    assert code == 0
    assert "everything agrees" in out
    code, out, _ = loyalty("status", "--json")
    assert json.loads(out)["last_closed"] == "2026-09-03"


def test_the_same_file_again_does_nothing(loyalty, shop):
    loyalty("init", "--programme", "docs/examples/harbour-gifts.toml")
    loyalty("import", "orders", shop / "orders.csv")

    code, out, _ = loyalty("import", "orders", shop / "orders.csv")

    assert code == 0
    assert "imported before (6 rows): nothing was done" in out


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("cut.csv", HEADER + b"1,H1,2026-09-01 10:00,tea,1,1\n2,H1,2026-0", "line 3"),
        ("latin.csv", HEADER + b"1,H1,2026-09-01 10:00,caf\xe9,1,1\n", "column sku"),
        ("columns.csv", b"order_no,member_no,placed_at,sku,quantity\n1,H1,2026-09-01 10:00,tea,1\n", "column unit_price"),
        ("points.csv", HEADER + b"1,H1,2026-09-01 10:00,tea,1,1" + b"0" * 30 + b"\n", "line 2, column unit_price"),
        ("3024.csv", HEADER + b"1,H1,3024-09-01 10:00,tea,1,1\n", "line 2, column placed_at"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_whole_with_its_place(loyalty, ledger, tmp_path, name, content, said):
    loyalty("init", "--programme", "docs/examples/harbour-gifts.toml")
    (tmp_path / name).write_bytes(content)

    code, _, error = loyalty("import", "orders", tmp_path / name)

    assert code == 2
    assert name in error
    assert said in error
    assert "Traceback" not in error
    assert (tmp_path / name).read_bytes() == content
    for table in ("feed_file", "shop_order", "order_line", "member", "finding"):
        assert ledger.one(f"SELECT count(*) FROM points.{table}") == 0


def test_commands_before_init_say_what_to_do(loyalty):
    for words in (("close", "--through", "2026-09-01"), ("status",), ("explain", "H1"), ("verify",)):
        code, _, error = loyalty(*words)
        assert code == 2
        assert "loyalty init --programme FILE" in error


def test_a_second_programme_is_not_put_in_place_of_the_first(loyalty):
    loyalty("init", "--programme", "docs/examples/harbour-gifts.toml")

    code, _, error = loyalty("init", "--programme", "docs/examples/online-retail.toml")

    assert code == 2
    assert "already runs" in error


def test_the_guards_stop_and_its_acceptance_from_the_command_line(loyalty, ledger, shop, short_lived):
    loyalty("init", "--programme", short_lived)
    loyalty("import", "orders", shop / "orders.csv")

    code, _, error = loyalty("close", "--through", "2026-09-06")
    assert code == 1
    assert "second person continues with: loyalty close --accept-plan" in error
    run = error.split("--accept-plan ")[1].split()[0]
    code, _, error = loyalty("close", "--accept-plan", run, "--through", "2026-09-05")

    assert code == 0
    assert "proposed by loyalty_batch, approved by loyalty_approver" in error
    assert ledger.balance("H1")[0] == 0


def test_a_correction_takes_two_people(loyalty, ledger, shop):
    loyalty("init", "--programme", "docs/examples/harbour-gifts.toml")
    loyalty("import", "orders", shop / "orders.csv")
    loyalty("close", "--through", "2026-09-03")

    code, out, _ = loyalty("adjust", "H1", "--give", 30, "--code", "goodwill", "--reason", "the parcel was late")
    assert (code, "loyalty approve 1" in out) == (0, True)
    assert "give 30 points: member H1" in loyalty("approvals")[1]
    code, out, _ = loyalty("approve", 1)
    assert (code, "Posted: 30 points, booked 2026-09-04; balance 43." in out) == (0, True)
    assert loyalty("approvals", "--json")[1] == "[]\n"
    code, _, error = loyalty("approve", 1)
    assert (code, "dealt with already" in error) == (2, True)

    # run 1 is the import, which posted the open day itself; so the night of that day, run 2, has nothing of its own
    assert "Nothing of run 2 is left to undo" in loyalty("undo", 2)[1]
    code, out, _ = loyalty("undo", 3)
    assert (code, "nothing was changed" in out) == (0, True)
    code, out, _ = loyalty("undo", 3, "--propose", "--reason", "wrong rates on the second", "--json")
    assert json.loads(out)["posted"] == {"claw_back": 40}
    assert loyalty("approve", json.loads(out)["approval_id"])[0] == 0
    assert ledger.balance("H2") == (0, 0)
    assert "Run 3 is undone, by run 5" in loyalty("undo", 3)[1]
    assert "taken back: undo of run 3" in loyalty("explain", "H2")[1]
    assert loyalty("verify")[0] == 0


def test_every_command_helps_with_an_example(loyalty):
    for command in (
        "init",
        "import",
        "close",
        "up",
        "down",
        "status",
        "explain",
        "policy",
        "adjust",
        "reinstate",
        "undo",
        "approvals",
        "approve",
        "balances",
        "totals",
        "verify",
        "check",
        "findings",
        "backup",
        "restore",
        "demo",
    ):
        code, out, _ = loyalty(command, "--help")
        assert code == 0
        assert f"  loyalty {command}" in out


def test_an_import_of_the_open_day_is_a_run_that_can_be_undone(loyalty, ledger, shop):
    loyalty("init", "--programme", "docs/examples/harbour-gifts.toml")
    loyalty("import", "orders", shop / "orders.csv")

    [[run, job, status, entries]] = ledger.rows(
        "SELECT r.run_id, r.job, r.status, count(e.*) FROM points.run r JOIN points.entry e USING (run_id) GROUP BY r.run_id"
    )
    assert (job, status, entries) == ("import-orders-1", "done", 1)
    code, out, _ = loyalty("undo", run)

    assert code == 0
    assert "earn" in out
    assert ledger.balance("H1") == (25, 0)  # shown, not done


def test_a_finding_from_the_check_to_its_repair(loyalty, ledger, shop):
    loyalty("init", "--programme", "docs/examples/harbour-gifts.toml")
    assert ((refused := loyalty("check", "--bare"))[0], "--as-of" if "--as-of" in refused[2] else "") == (2, "--as-of")
    loyalty("import", "orders", shop / "orders.csv")
    loyalty("close", "--through", "2026-09-03")
    code, out, _ = loyalty("check")
    assert (code, f"{len(CATALOGUE)} checks as of 2026-09-03: pass." in out) == (0, True)
    assert loyalty("findings", "--open")[1] == "Nothing is open.\n"
    ledger.rows("UPDATE points.wallet SET held = 1 WHERE balance = 40")

    code, out, _ = loyalty("check", "--bare", "--check", "i3", "--json")
    report = json.loads(out)
    assert (code, report["outcome"], report["stopping"]) == (1, "stop", {"I3": 1})
    assert report["answers"][0]["rows"][0]["key"] == {"member_id": 2}
    assert ((refused := loyalty("check", "--check", "I99"))[0], "no check I99" in refused[2]) == (2, True)

    code, out, _ = loyalty("findings", "--open", "--check", "I3", "--json")
    assert [f["check_id"] for f in json.loads(out)["findings"]] == ["I3"]
    assert loyalty("findings", "ack", "I3")[0] == 0
    assert loyalty("findings", "mute", "I3", "--until", "2026-09-04", "--reason", "mended tomorrow")[0] == 0
    code, out, _ = loyalty("findings")
    assert "loyalty_batch" in out
    assert "2026-09-04" in out
    assert loyalty("findings", "--page", shop / "on-call.html")[0] == 0
    assert "member_id 2: wallet has 40 (held 1)" in (shop / "on-call.html").read_text()
    code, out, _ = loyalty("findings", "repair", 1, "--reason", "somebody wrote to the table")
    assert "loyalty approve 1" in out
    assert "repair finding 1 of I3 (rebuild): member_id 2" in loyalty("approvals")[1]
    assert "Rebuilt from the entries" in loyalty("approve", 1)[1]
    assert ledger.one("SELECT max(held) FROM points.wallet") == 0
    assert loyalty("check", "--bare", "--check", "I3")[0] == 0

    ledger.rows("UPDATE points.run SET status = 'failed' WHERE business_date = '2026-09-02'")
    assert loyalty("check", "--bare", "--check", "stale-runs")[0] == 0  # a warning
    code, out, _ = loyalty("findings", "repair", 2, "--reason", "run it once more")
    assert (code, "Run the job again" in out, "docs/runbooks/checks.md#stale-runs" in out) == (0, True, True)
    code, out, _ = loyalty(
        "findings", "waive", "--check", "stale-runs", "--until", "2026-09-30", "--reason", "replayed on purpose"
    )
    assert (code, "Waived until 2026-09-30: finding 2." in out) == (0, True)


def test_a_close_that_withheld_points_says_so_and_does_not_end_well(loyalty, ledger, shop, short_lived):
    loyalty("init", "--programme", short_lived)
    loyalty("import", "orders", shop / "orders.csv")
    loyalty("close", "--through", "2026-09-03")
    ledger.rows("UPDATE points.wallet SET debt = 1 WHERE member_id = 1")
    loyalty("check", "--bare", "--check", "I14")

    code, out, error = loyalty("close", "--through", "2026-09-06")

    assert code == 1
    assert "StopFindings: I14: 1 row since 2026-09-03" in error
    assert "\n3 nights closed" in f"\n{out}"
    assert ledger.balance("H2")[0] == 40


def test_what_a_screen_found_is_listed_blocked_shown_and_released_by_another_login(loyalty, shop):
    programme = shop / "programme.toml"
    example = (ROOT / "docs" / "examples" / "harbour-gifts.toml").read_text()
    programme.write_text(example + "\n[screens]\npoints_redeemed_per_day = 10\n")
    loyalty("init", "--programme", programme)
    loyalty("import", "orders", shop / "orders.csv")
    loyalty("import", "redemptions", shop / "redemptions.csv")
    assert loyalty("close", "--through", "2026-09-03")[0] == 0

    [finding] = json.loads(loyalty("screens", "list", "--open", "--json")[1])["findings"]
    assert (finding["screen"], finding["member_no"]) == ("redemptions_above_cap", "H2")
    assert "1 redemptions of 15 points on 2026-09-03" in loyalty("screens", "list")[1]
    assert "redemptions_above_cap 1; 0 members blocked" in loyalty("status")[1]
    code, out, _ = loyalty("screens", "block", "H2", "--reason", "asked the member, who did not redeem")
    assert (code, out.splitlines()[0]) == (0, "Block 1: the redemptions of member H2 are refused from now on.")
    assert json.loads(loyalty("status", "--json")[1])["members_blocked"] == 1
    shown = loyalty("explain", "H2")[1]
    assert "Redemptions blocked" in shown
    assert "asked the member, who did not redeem; in force" in shown
    assert "Screened  2026-09-03  redemptions_above_cap" in shown
    assert "No open findings." in loyalty("screens", "list", "--open")[1]

    assert loyalty("screens", "release", "H2", "--reason", "short")[0] == 2
    assert loyalty("screens", "release", "H2", "--reason", "the member found the receipt")[0] == 0
    code, _, error = loyalty("screens", "release", "H2", "--reason", "the member found the receipt")
    assert (code, "That has been dealt with already." in error) == (2, True)
    assert "the member found the receipt" in loyalty("screens", "list")[1]
    assert loyalty("screens", "clear", 1, "--reason", "the member found the receipt")[0] == 0
    assert loyalty("screens", "clear", 2, "--reason", "the member found the receipt")[0] == 2


def test_a_members_file_with_contacts_needs_a_key(loyalty, shop):
    loyalty("init", "--programme", "docs/examples/harbour-gifts.toml")
    (shop / "members.csv").write_text("member_no,contact\nH1,someone@b.example\n")
    code, _, error = loyalty("import", "members", shop / "members.csv")
    assert (code, "set LOYALTY_CONTACT_KEY" in error, "someone" in error) == (2, True, False)


def test_contacts_are_kept_under_keys_of_this_machine_rotated_and_erased_by_command(loyalty, shop, ledger, storage):
    access = storage.access
    more = {
        "LOYALTY_S3_ENDPOINT_URL": access.endpoint_url,
        "LOYALTY_S3_ACCESS_KEY_ID": access.access_key_id,
        "LOYALTY_S3_SECRET_ACCESS_KEY": access.secret_access_key,
        "LOYALTY_S3_BUCKET": access.bucket,
    }

    def contacts():
        return [tuple(row) for row in ledger.rows("SELECT member_id, key_id FROM points.contact")]

    loyalty("init", "--programme", "docs/examples/harbour-gifts.toml")
    (shop / "members.csv").write_text("member_no,name,email\nH1,Anna,someone@b.example\n")
    code, _, error = loyalty("import", "members", shop / "members.csv")
    assert (code, "set LOYALTY_CONTACT_MASTER_KEYS" in error, "someone" in error) == (2, True, False)
    assert loyalty("contacts", "generate-keys")[0] == 0
    assert loyalty("contacts", "generate-keys")[0] == 2  # never overwritten
    keys = shop / "home" / "contact-keys.txt"
    assert keys.stat().st_mode & 0o77 == 0
    assert loyalty("import", "members", shop / "members.csv")[0] == 0
    assert contacts() == [(1, "k1")]

    [old] = [line for line in keys.read_text().splitlines() if line.startswith("k1:")]
    new = loyalty("contacts", "new-key", "k2")[1].strip()
    both = {"LOYALTY_CONTACT_MASTER_KEYS": f"{new},{old}"}
    assert "1 members' keys are wrapped under k2" in loyalty("contacts", "rotate", more=both)[1]
    assert contacts() == [(1, "k2")]
    code, out, _ = loyalty("contacts", "keys", more={"LOYALTY_CONTACT_MASTER_KEYS": old})
    assert (code, "k2: 1 members, MISSING" in out) == (0, True)
    code, _, error = loyalty("contacts", "keys", more={"LOYALTY_CONTACT_MASTER_KEYS": old[:-5]})
    assert (code, old[3:12] in error) == (2, False)

    erase = ("erase-member", "H1", "--reason", "request 4711 of 3 May")
    code, out, _ = loyalty(*erase, "--dry-run", more=more)
    assert (code, "a contact and its key, 0 proofs" in out, "Nothing was changed" in out) == (0, True, True)
    assert contacts() == [(1, "k2")]
    code, _, error = loyalty(*erase, more=more)
    assert (code, "not yet listed" in error, contacts()) == (1, True, [])  # there are no keys of backups
    assert loyalty("backup", "keys", "generate", more=more)[0] == 0
    code, out, _ = loyalty(*erase, more=more)
    assert (code, "listed beside the backups" in out) == (0, True)
    assert (storage.folder / "backups" / "erasures" / "1").is_file()
    assert loyalty("erase-member", "H9", "--reason", "request 4711 of 3 May", more=more)[0] == 2


def test_backups_are_taken_listed_proven_and_restored_by_command(loyalty, shop, ledger, storage):
    access = storage.access
    more = {
        "LOYALTY_S3_ENDPOINT_URL": access.endpoint_url,
        "LOYALTY_S3_ACCESS_KEY_ID": access.access_key_id,
        "LOYALTY_S3_SECRET_ACCESS_KEY": access.secret_access_key,
        "LOYALTY_BACKUP_DATABASE_URL": ledger.url.set(username="loyalty_backup").render_as_string(hide_password=False),
    }
    loyalty("init", "--programme", "docs/examples/harbour-gifts.toml")
    loyalty("import", "orders", shop / "orders.csv")
    loyalty("close", "--through", "2026-09-04")

    def command(*words):
        return loyalty(*words, more=more)

    code, _, error = command("backup", "run")
    assert (code, "loyalty backup keys generate" in error) == (1, True)
    assert "none" in loyalty("status")[1]
    assert command("backup", "keys", "generate")[0] == 0
    assert command("backup", "keys", "generate")[0] == 1
    assert command("backup", "run")[0] == 0
    assert command("backup", "verify")[0] == 0
    [row] = json.loads(command("backup", "list", "--json")[1])
    assert row["state"] == "complete"
    code, out, _ = command("backup", "prune")
    assert (code, "no backup is proven" in out) == (0, True)
    evidence = json.loads(command("backup", "drill", "--json")[1])
    assert (evidence["backup_id"], evidence["passed"]) == (row["backup_id"], True)
    assert [one["backup_id"] for one in json.loads(command("backup", "list", "--bucket", "--json")[1])] == [
        row["backup_id"]
    ]
    kept = json.loads(loyalty("status", "--json")[1])["backup"]
    assert (kept["is_late"], kept["is_unproven"], kept["drill_seconds"]) == (False, False, evidence["seconds"])
    assert "restored and proven in" in loyalty("status")[1]

    code, _, error = command("restore", "--to", ledger.url.render_as_string(hide_password=False))
    assert (code, "is not empty" in error) == (1, True)
    name = f"{ledger.url.database}_copy"
    server = sa.create_engine(ledger.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0"))
        try:
            copy = ledger.url.set(database=name).render_as_string(hide_password=False)
            code, out, _ = command("restore", "--to", copy, "--dry-run")
            assert (code, "Nothing was changed." in out) == (0, True)
            code, out, _ = command("restore", "--to", copy, "--at", row["backup_id"][:8])
            assert (code, "every wallet, lot and seal agrees" in out) == (0, True)
            there = {"LOYALTY_DATABASE_URL": copy, "LOYALTY_BACKUP_DATABASE_URL": copy}
            assert loyalty("totals", "--json", more=there)[1] == loyalty("totals", "--json")[1]
            assert [one["state"] for one in json.loads(loyalty("backup", "list", "--json", more=there)[1])] == [
                "complete"
            ]
        finally:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()
