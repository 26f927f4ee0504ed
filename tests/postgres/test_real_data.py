"""Nine months of a real shop, through the command line, against the totals an independent recomputation reached."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.real_data
def test_nine_months_of_a_real_shop_reach_the_totals_of_an_independent_recomputation(ledger, real_data, tmp_path):
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
        return done.stdout

    [orders] = real_data.glob("online_retail_*.csv.gz")
    [redemptions] = real_data.glob("redemptions_*.csv")
    [cancellations] = real_data.glob("cancellations_*.csv")
    [expected_file] = real_data.glob("expected_*.json")
    expected = json.loads(expected_file.read_text())

    loyalty("init", "--programme", "docs/examples/online-retail.toml")
    loyalty("import", "orders", orders, "--layout", "uci-online-retail")
    loyalty("import", "redemptions", redemptions)
    loyalty("import", "cancellations", cancellations)
    loyalty("close", "--through", expected_file.stem.removeprefix("expected_"))
    totals = json.loads(loyalty("totals", "--json"))
    loyalty("balances", "--out", tmp_path / "balances.csv")

    rejected = totals["feed"].pop("rejected_lines")
    assert {key: totals[key] for key in expected} == expected
    assert rejected == 0
    with (tmp_path / "balances.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    lines = "".join(f"{','.join(row)}\n" for row in rows)
    assert hashlib.sha256(lines.encode()).hexdigest() == expected["wallet_sha256"]
    loyalty("verify")
    report = json.loads(loyalty("check", "--json"))
    assert report["outcome"] == "pass", [a for a in report["answers"] if a["outcome"] != "pass"]
    assert ledger.one("SELECT count(*) FROM points.check_run WHERE form = 'night'") == 274
    assert ledger.one("SELECT count(*) FROM points.check_finding") == 0
