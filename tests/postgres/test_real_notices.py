"""Nine months of a real shop under "no notice, no expiry": every night's notices sent the morning after, lots kept for want of one."""

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from infra.contact_cipher import MasterKeys, new_key
from points_ledger import outbox, verification
from points_ledger.outbox import Finished
from points_ledger.queries import statement

ROOT = Path(__file__).parent.parent.parent
DAY = dt.timedelta(days=1)
MIN_DAYS = 30
NOTICES = """
[notices]
site_url = "https://shop.example"
postal_address = "1 Market Street, London"
"""


@pytest.mark.real_data
@pytest.mark.long
def test_nine_months_of_a_real_shop_in_which_nothing_lapses_without_its_notice(ledger, real_data, tmp_path):
    programme = (ROOT / "docs" / "examples" / "online-retail.toml").read_text()
    changed = programme.replace("required = false", f"ladder_days = [{MIN_DAYS}, 7]\nrequired = true") + NOTICES
    (tmp_path / "programme.toml").write_text(changed)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LOYALTY_", "PREFECT_"))} | {
        "LOYALTY_DATABASE_URL": ledger.url.set(username="loyalty_batch").render_as_string(hide_password=False),
        "LOYALTY_ADMIN_DATABASE_URL": ledger.url.render_as_string(hide_password=False),
        "LOYALTY_HOME": str(tmp_path / "home"),
    }

    def loyalty(*words):
        done = subprocess.run(
            [sys.executable, "-m", "flows", *map(str, words)], env=environment, cwd=ROOT, capture_output=True, text=True
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    [orders] = real_data.glob("online_retail_*.csv.gz")
    [redemptions] = real_data.glob("redemptions_*.csv")
    [cancellations] = real_data.glob("cancellations_*.csv")
    loyalty("init", "--programme", tmp_path / "programme.toml")
    loyalty("import", "orders", orders, "--layout", "uci-online-retail")
    loyalty("import", "redemptions", redemptions)
    loyalty("import", "cancellations", cancellations)
    members = ledger.rows("SELECT member_no, joined_on FROM points.member")
    ledger.take(
        "members", "member_no,joined_on,email", *(f"{no},{joined},{no}@b.example" for no, joined in members),
        contact_key=b"m" * 32, seal=MasterKeys.parse(f"k1:{new_key()}").seal,
    )  # fmt: skip

    closed = dt.date(2010, 12, 1)
    while closed <= dt.date(2011, 8, 31):
        ledger.close(closed)
        moment = dt.datetime.combine(closed + DAY, dt.time(9, 30), ZoneInfo("Europe/London"))
        with ledger.engine().begin() as connection:
            claimed = outbox.claim(connection, owner="w", moment=moment, limit=100_000, channel="email")
            if claimed:
                rows = [Finished(n.notice_id, "accepted", "sink") for n in claimed]
                outbox.finish(connection, owner="w", token=claimed[0].token, moment=moment, rows=rows)
        closed += DAY

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
    print(f"\nnotices written: {written}\nwhat became of them: {results}")
    print(f"lots that lapsed: {lapsed:,} of {points:,} points, all with their notice")
    print(f"lots deferred, by reason (lots, points, members): {deferred}\nby day and origin: {by_origin}")

    assert lapsed > 1000
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
