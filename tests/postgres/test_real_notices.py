"""Nine months of a real shop under "no notice, no expiry": every night's notices sent the morning after, lots kept for want of one."""

import datetime as dt
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from points_ledger import verification
from points_ledger.queries import statement

ROOT = Path(__file__).parent.parent.parent
MIN_DAYS = 30
NOTICES = """
[notices]
site_url = "https://shop.example"
postal_address = "1 Market Street, London"
"""


@pytest.mark.real_data
@pytest.mark.long
def test_nine_months_of_a_real_shop_in_which_nothing_lapses_without_its_notice(ledger, real_data, tmp_path, commands):
    programme = (ROOT / "docs" / "examples" / "online-retail.toml").read_text()
    changed = programme.replace("required = false", f"ladder_days = [{MIN_DAYS}, 7]\nrequired = true") + NOTICES
    (tmp_path / "programme.toml").write_text(changed)
    mails = tmp_path / "mails"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mail_port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LOYALTY_", "PREFECT_"))} | {
        "LOYALTY_DATABASE_URL": ledger.url.set(username="loyalty_batch").render_as_string(hide_password=False),
        "LOYALTY_ADMIN_DATABASE_URL": ledger.url.render_as_string(hide_password=False),
        "LOYALTY_HOME": str(tmp_path / "home"),
        "LOYALTY_SMTP_PORT": str(mail_port),
        "LOYALTY_NOTICE_CLOCK": "business_date",
    }

    def loyalty(*words):
        code, _, error = commands.run(words, environment)
        assert code == 0, error

    [orders] = real_data.glob("online_retail_*.csv.gz")
    [redemptions] = real_data.glob("redemptions_*.csv")
    [cancellations] = real_data.glob("cancellations_*.csv")
    loyalty("init", "--programme", tmp_path / "programme.toml")
    loyalty("import", "orders", orders, "--layout", "uci-online-retail")
    loyalty("import", "redemptions", redemptions)
    loyalty("import", "cancellations", cancellations)
    members = ledger.rows("SELECT member_no, joined_on FROM points.member")
    rows = [f"{no},{joined},{no}@members.example" for no, joined in members]
    (tmp_path / "members.csv").write_text("\n".join(["member_no,joined_on,email", *rows, ""]))
    loyalty("contacts", "generate-keys")
    loyalty("import", "members", tmp_path / "members.csv")
    sink = subprocess.Popen(
        [sys.executable, "-P", "-m", "infra.smtp_sink", "--port", str(mail_port), "--directory", str(mails)]
    )
    try:
        loyalty("close", "--through", "2011-08-31")
    finally:
        sink.terminate()
        sink.wait(30)

    written = dict(ledger.rows("SELECT kind, count(*) FROM points.notice GROUP BY 1 ORDER BY 1"))
    results = dict(ledger.rows("SELECT result, count(*) FROM points.notice_result GROUP BY 1 ORDER BY 1"))
    deferred = {
        why: (lots, points, members)
        for why, lots, points, members in ledger.rows(
            "SELECT why, count(*), sum(points), count(DISTINCT member_id) FROM points.lot_deferral GROUP BY 1 ORDER BY 1"
        )
    }
    by_origin = ledger.rows(
        "SELECT why, d.business_date::text, o.kind, count(*) FROM points.lot_deferral d"
        " JOIN points.entry o ON o.member_id = d.member_id AND o.seq = d.lot_seq GROUP BY 1, 2, 3 ORDER BY 2, 1, 3"
    )
    lapsed, points = ledger.rows("SELECT count(*), sum(points) FROM points.entry WHERE kind = 'expire'")[0]
    kept = len(list(mails.glob("*.eml")))
    print(f"\n{kept:,} mails in the sink\nnotices written: {written}\nwhat became of them: {results}")
    print(f"lots that lapsed: {lapsed:,} of {points:,} points, all with their notice")
    print(f"lots deferred, by reason (lots, points, members): {deferred}\nby day and origin: {by_origin}")

    assert lapsed > 1000
    sent = "SELECT count(*) FROM points.notice_result AS r WHERE r.result = 'accepted'"
    assert kept == ledger.one(
        f"{sent} AND NOT EXISTS (SELECT FROM points.digest_part AS d WHERE d.notice_id = r.notice_id)"
    )
    assert ledger.one(
        "SELECT count(*) FROM points.entry e LEFT JOIN points.expiry_warning w ON w.member_id = e.member_id"
        " AND w.lapses_on = e.effective_on - 1 WHERE e.kind = 'expire' AND coalesce(w.accepted_on > e.effective_on - 1 - :days, true)",
        days=MIN_DAYS,
    ) == 0  # fmt: skip
    with ledger.engine("auditor").begin() as connection:
        assert (
            connection.execute(statement("check_expired_without_notice"), {"since": dt.date(2010, 12, 1)}).all() == []
        )
        assert [difference.row for difference in verification.verify(connection)] == []
    assert ledger.one("SELECT count(*) FROM points.notice_queue") == 0
