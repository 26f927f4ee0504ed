"""Simulation: another programme against the days of the past, by the ledger's own nights, touching nothing."""

import datetime as dt
import gzip
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from infra.demo_shop import write_shop
from infra.programme import ProgrammeRefused
from infra.scratch import scratch
from notifications.simulation_page import simulation_page
from points_ledger import simulation_state
from points_ledger.errors import NotAllowed, PeriodNotSimulated
from points_ledger.totals import totals
from tasks import ledger as steps
from tasks.simulation import simulate

ROOT = Path(__file__).parent.parent.parent
PROGRAMME = """
[programme]
name = "Test club"
time_zone = "Europe/London"
currency = "GBP"
starts_on = 2026-01-01
[[earn.rate]]
points_per_unit = "1"
exclude_skus = ["POST"]
[expiry]
basis = "fixed"
months = {months}
[guard]
max_share_of_outstanding = "off"
max_times_median = "off"
[transfer]
enabled = true
max_per_day = 1000000000
max_per_month = 1000000000
cooling_off_days = 0
"""
DOUBLE = '[[earn.multiplier]]\nfactor = "2"\n'
TIERS = """
[tiers]
metric = "points_earned"
[[tier]]
code = "member"
enter_at = 0
[[tier]]
code = "silver"
enter_at = {silver}
[[tier]]
code = "gold"
enter_at = 100
"""


def text_of(*extra, months=1):
    return "\n".join([PROGRAMME.format(months=months), *extra])


def calendar(month_day):
    return text_of().replace('basis = "fixed"\nmonths = 1', f'basis = "calendar"\nmonth_day = "{month_day}"')


def ran(first, through, content):
    return simulate(dt.date.fromisoformat(first), dt.date.fromisoformat(through), content=content)


def nothing_changed(report):
    return {
        "gain": report["members"]["gain"]["members"],
        "lose": report["members"]["lose"]["members"],
        "kinds": [row for row in report["kinds"] if row["difference"]],
        "liability": report["liability"]["difference"],
        "lapsing": [row for row in report["lapsing"] if row["difference"]],
        "most_affected": report["most_affected"],
    } == {
        "gain": 0, "lose": 0, "kinds": [], "liability": {"outstanding": 0, "debt": 0, "money": "0.00"}, "lapsing": [],
        "most_affected": [],
    }  # fmt: skip


def like_the_ledger(report):
    return report["against_the_ledger"] == {"kinds": [], "members": 0, "left_out": {}}


def kinds(report, side):
    return {row["kind"]: row[side] for row in report["kinds"] if row[side]}


def affected(report):
    return {row["member_no"]: row["difference"] for row in report["most_affected"]}


def databases(ledger):
    return ledger.rows("SELECT datname FROM pg_database WHERE datname LIKE 'loyalty!_simulation!_' || (SELECT oid FROM pg_database"
                       " WHERE datname = current_database()) || '!_%' ESCAPE '!'")  # fmt: skip


def content_of(ledger):
    """Every table and sequence of the ledger: rows and a hash of all of them."""
    tables = ledger.rows("SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'points'::regnamespace"
                         " AND relkind = 'r' ORDER BY 1")  # fmt: skip
    content = {
        name: tuple(
            ledger.rows(f"SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM {name} AS t")[0]
        )
        for (name,) in tables
    }
    content["sequences"] = tuple(ledger.rows("SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'points'"
                                             " ORDER BY 1"))  # fmt: skip
    assert len(content) > 30
    return content


def environment(ledger):
    return {
        f"LOYALTY_{setting}DATABASE_URL": ledger.url.set(username=login or ledger.url.username).render_as_string(
            hide_password=False
        )
        for setting, login in (
            ("", "loyalty_batch"), ("ADMIN_", None), ("AUDITOR_", "loyalty_auditor"),
        )
    }  # fmt: skip


def clean_environment(ledger):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LOYALTY_", "PREFECT_"))}
    return kept | environment(ledger) | {"COLUMNS": "160"}


@pytest.fixture
def reach(monkeypatch):
    """Lets the settings name a ledger."""

    def name_it(ledger):
        for name, value in environment(ledger).items():
            monkeypatch.setenv(name, value)
        steps.engine.cache_clear()
        return ledger

    yield name_it
    for login in ("batch", "admin", "auditor"):
        steps.engine(login).dispose()
    steps.engine.cache_clear()


@pytest.fixture
def reached(ledger, reach):
    """The test's ledger, as the settings name it."""
    return reach(ledger)


@pytest.fixture
def loyalty(commands):
    """Run a command on a ledger."""

    def run(ledger, *words):
        code, out, error = commands.run(words, clean_environment(ledger))
        assert code == 0, error
        return out

    return run


@pytest.fixture(scope="module")
def closed_january(clone):
    """Two members who buy, one of whom redeems, and one who bought before; closed to the end of February. Copy it."""
    ledger = clone()
    ledger.start()
    ledger.orders(
        "A1,m3,2026-01-02 10:00,tea,1,7.00", "A2,m1,2026-01-10 10:00,tea,1,34.50", "A3,m2,2026-01-11 10:00,tea,2,5.00",
        "A4,m2,2026-01-12 10:00,POST,1,9.00", "A5,m1,2026-02-03 10:00,tea,1,1.99",
    )  # fmt: skip
    ledger.redemptions("R1,m1,2026-01-20 10:00,20", "R2,m2,2026-01-20 11:00,15")
    ledger.close("2026-02-28")
    return ledger


@pytest.fixture
def january(closed_january, copied, reach):
    """A copy of it for each test."""
    return reach(copied(closed_january))


@pytest.mark.usefixtures("january")
def test_double_points_for_a_month_give_exactly_what_a_hand_computes():
    report = ran("2026-01-05", "2026-01-31", text_of(DOUBLE))

    # m1: floor(69.00) instead of 34; m2: 20 instead of 10, and the redemption of 15 goes through; m3 bought before
    assert affected(report) == {"m1": 35, "m2": 10}
    assert report["members"]["gain"] == {"members": 2, "points": 45, "money": "0.45"}
    assert report["members"]["lose"] == {"members": 0, "points": 0, "money": "0.00"}
    assert report["members"]["unchanged"]["members"] == 1
    assert kinds(report, "baseline") == {"earn": 44, "spend": 20}
    assert kinds(report, "proposed") == {"earn": 89, "spend": 35}
    assert report["liability"]["baseline"] == {"outstanding": 7 + 14 + 10, "debt": 0, "money": "0.31"}
    assert report["liability"]["proposed"] == {"outstanding": 7 + 49 + 5, "debt": 0, "money": "0.61"}
    assert report["nights"][-1] == {"date": "2026-01-31", "baseline": 31, "proposed": 61}
    assert len(report["nights"]) == 27
    assert report["change"]["effect"] == "gives more"
    assert report["change"]["effective_from_earliest"] == "2026-03-01"
    assert like_the_ledger(report)


@pytest.mark.usefixtures("january")
def test_a_shorter_validity_takes_points_and_says_whose():
    report = ran("2026-01-05", "2026-02-09", calendar("01-31"))

    # m1's 34 less 20 and m2's 10 lapse on 31 January instead of 10 and 11 February; what m1 earns in February lives until
    # the next 31 January; m3's lot was earned before the period and lapses on its own day, 2 February, in both
    assert kinds(report, "baseline")["expire"] == 7
    assert kinds(report, "proposed")["expire"] == 7 + 14 + 10
    assert affected(report) == {"m1": -14, "m2": -10}
    assert report["members"]["lose"] == {"members": 2, "points": -24, "money": "-0.24"}
    assert [(row["month"], row["baseline"], row["proposed"]) for row in report["lapsing"]] == [
        ("2026-02", 24, 0), ("2026-03", 1, 0), ("2027-01", 0, 1),
    ]  # fmt: skip
    nights = {row["date"]: (row["baseline"], row["proposed"]) for row in report["nights"]}
    assert nights["2026-01-30"] == (31, 31)
    assert nights["2026-01-31"] == (31, 7)
    assert nights["2026-02-02"] == (24, 0)
    assert report["change"]["needs_approval"] is True
    assert report["change"]["effective_from_earliest"] == "2026-03-31"  # 30 days after the open 1 March


@pytest.mark.usefixtures("january")
def test_points_earned_before_the_period_keep_their_last_day():
    report = ran("2026-01-05", "2026-01-20", text_of(months=2))

    assert [(row["month"], row["baseline"], row["proposed"]) for row in report["lapsing"]] == [
        ("2026-02", 31, 7), ("2026-03", 0, 24),
    ]  # fmt: skip


def test_another_way_into_a_tier_moves_members_and_the_matrix_says_from_where_to_where(reached):
    reached.start(tier=[{"code": "member", "enter_at": 0}, {"code": "silver", "enter_at": 50}, {"code": "gold", "enter_at": 100}],
                  tiers={"metric": "points_earned"})  # fmt: skip
    reached.orders(
        "A1,m1,2026-01-03 10:00,tea,1,30", "A2,m2,2026-01-03 10:00,tea,1,60", "A3,m3,2026-01-03 10:00,tea,1,10",
        "A4,m2,2026-01-05 10:00,tea,1,5",
    )  # fmt: skip
    reached.close("2026-01-10")

    extra = '[[earn.multiplier]]\nfactor = "2"\ntiers = ["silver"]\n'
    report = ran("2026-01-02", "2026-01-10", text_of(extra, TIERS.format(silver=20)))

    assert report["moves"] == [
        {"baseline": "member", "proposed": "member", "members": 1},
        {"baseline": "member", "proposed": "silver", "members": 1},
        {"baseline": "silver", "proposed": "silver", "members": 1},
    ]
    tiers = {row["tier"]: row for row in report["tiers"]}
    assert list(tiers) == ["member", "silver"]
    assert tiers["silver"]["baseline"] == {"members": 1, "points": 65, "money": "0.65"}
    assert tiers["silver"]["proposed"] == {"members": 2, "points": 100, "money": "1.00"}
    assert tiers["silver"]["difference"] == {"members": 1, "points": 35, "money": "0.35"}
    assert affected(report) == {"m2": 5}  # silver when A4 is judged: 10 instead of 5

    later = ran("2026-01-07", "2026-01-10", text_of(TIERS.format(silver=20)))
    # m2 was silver before the period, and nothing happens in it
    assert [(row["baseline"], row["proposed"], row["members"]) for row in later["moves"]] == [
        ("member", "member", 2), ("silver", "silver", 1),
    ]  # fmt: skip


@pytest.mark.usefixtures("january")
def test_another_value_of_a_point_is_a_gain_in_money_without_a_point():
    dearer = text_of().replace('currency = "GBP"', 'currency = "GBP"\npoint_value = "0.015"')

    report = ran("2026-01-05", "2026-01-20", dearer)

    assert report["point_value"] == {"baseline": "0.01", "proposed": "0.015"}
    assert report["members"]["gain"] == {"members": 3, "points": 0, "money": str((7 + 34 + 10) * Decimal("0.005"))}
    assert report["liability"]["difference"] == {"outstanding": 0, "debt": 0, "money": "0.155"}


def test_late_events_tills_and_corrections_are_repeated_on_their_days(reached):
    reached.start()
    reached.orders(
        "A1,m1,2026-01-03 10:00,tea,1,100",
        "A2,m2,2026-01-03 10:00,tea,1,40",
        "A5,m4,2026-01-03 10:00,tea,1,50",
        "A6,m5,2026-01-03 10:00,tea,2,50",
        "A7,m5,2026-01-04 10:00,tea,-1,50,A6",
    )
    reached.close("2026-01-05")
    reached.rows("SELECT points.spend('m4', 30, '2026-01-06', 'till', 'T2')", login="api")
    reached.rows("SELECT points.spend('m1', 30, '2026-01-06', 'till', 'T1')", login="api")
    reached.rows("SELECT points.hold('m2', 10, '2026-01-06', '2026-01-20', 'H1')", login="api")
    reached.orders("A3,m2,2026-01-04 09:00,tea,1,11.50", "A4,m1,2026-01-06 10:00,tea,-1,100,A1")  # late; a return
    reached.close("2026-01-06")
    reached.rows("SELECT points.capture('m2', 'H1', 8, '2026-01-07')", login="api")
    approval = reached.one(
        "SELECT points.propose('adjustment', '{\"member_no\": \"m2\", \"points\": 5, \"valid_through\": null}', 'a promise to keep')",
        login="batch",
    )  # fmt: skip
    reached.rows("SELECT points.approve(:id)", login="approver", id=approval)
    reached.rows("SELECT points.adjust(:id, '2026-01-08')", id=approval)
    reached.orders("A8,m5,2026-01-08 10:00,tea,-2,50,A6")  # one of them is back already
    # late: of a day before there were points, and of a day when there still were
    reached.redemptions("R1,m2,2026-01-02 10:00,5", "R2,m4,2026-01-04 10:00,30")
    reached.cancellations("R1,2026-01-08 10:00")
    reached.close("2026-01-10")

    for first in ("2026-01-01", "2026-01-05", "2026-01-07"):
        report = ran(first, "2026-01-10", text_of())
        assert nothing_changed(report), first
        assert like_the_ledger(report), (first, report["against_the_ledger"])
    doubled = ran("2026-01-06", "2026-01-10", text_of(DOUBLE))
    # the late order is judged by the programme of its own day, which is before the period
    assert affected(doubled) == {}
    refused = ran("2026-01-01", "2026-01-10", text_of(DOUBLE.replace("2", "0.1")))
    assert refused["refused_at_tills"] == {"baseline": 0, "proposed": 3}


def test_what_cannot_be_repeated_is_counted_and_shown(reached):
    reached.start()
    reached.orders("A1,m1,2026-01-03 10:00,tea,1,100", "A2,m2,2026-01-03 10:00,tea,1,1")
    reached.close("2026-01-05")
    reached.bind("m1", "m2", day="2026-01-06")
    reached.rows("SELECT points.transfer('m1', 'm2', 10, '2026-01-06', 'gift')", login="api")
    reached.close("2026-01-10")

    report = ran("2026-01-01", "2026-01-10", text_of())

    assert nothing_changed(report)
    assert report["against_the_ledger"] == {
        "kinds": [{"kind": "transfer_in", "difference": -10}, {"kind": "transfer_out", "difference": -10}],
        "members": 2,
        "left_out": {"transfer": 2},
    }
    assert "2 entries of transfer" in simulation_page(report)
    assert like_the_ledger(ran("2026-01-07", "2026-01-10", text_of()))  # given before the period: as given


def test_a_version_that_began_in_the_period_belongs_to_the_baseline_only(reached):
    reached.start()
    reached.change("2026-01-05", earn={"rate": [{"points_per_unit": "3", "exclude_skus": ["POST"]}]})
    reached.orders("A1,m1,2026-01-04 10:00,tea,1,10", "A2,m1,2026-01-05 10:00,tea,1,10")
    reached.close("2026-01-10")

    report = ran("2026-01-02", "2026-01-10", text_of())

    assert (kinds(report, "baseline"), kinds(report, "proposed")) == ({"earn": 40}, {"earn": 20})
    assert like_the_ledger(report)


def test_a_night_that_the_guard_would_stop_goes_on_and_is_reported(reached):
    reached.start(guard={"max_share_of_outstanding": "0.05"})
    reached.orders("A1,m1,2026-01-03 10:00,tea,1,100", "A2,m2,2026-01-10 10:00,tea,1,100")
    reached.close("2026-01-14")
    waiting = calendar("01-12").replace('max_share_of_outstanding = "off"', 'max_share_of_outstanding = "0.05"')

    report = ran("2026-01-02", "2026-01-14", waiting)

    assert report["would_wait"] == {"baseline": [], "proposed": ["2026-01-12"]}
    assert kinds(report, "proposed")["expire"] == 200


@pytest.mark.parametrize(
    ("first", "through", "says"),
    [
        ("2025-12-31", "2026-01-05", "choose 2026-01-01 or later"),
        ("2026-01-05", "2026-03-01", "choose 2026-02-28 or earlier"),
        ("2026-01-05", "2026-01-04", "choose a later day"),
    ],
)
def test_a_period_that_the_ledger_does_not_hold_is_refused_with_the_day_to_choose(january, first, through, says):
    with pytest.raises(PeriodNotSimulated, match=says):
        ran(first, through, text_of())
    assert databases(january) == []


def test_a_file_with_errors_or_another_currency_is_refused_before_anything_is_made(january):
    with pytest.raises(ProgrammeRefused, match="points_per_unit"):
        ran("2026-01-05", "2026-01-10", text_of().replace('"1"', '"-1"'))
    with pytest.raises(ProgrammeRefused, match="currency"):
        ran("2026-01-05", "2026-01-10", text_of().replace("GBP", "EUR"))
    assert databases(january) == []


def test_an_admin_who_may_not_create_databases_is_told_what_to_do(january, monkeypatch):
    january.rows("DO $$ BEGIN CREATE ROLE loyalty_test_small LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    url = january.url.set(username="loyalty_test_small").render_as_string(hide_password=False)
    monkeypatch.setenv("LOYALTY_ADMIN_DATABASE_URL", url)

    with pytest.raises(NotAllowed, match="CREATEDB"):
        ran("2026-01-05", "2026-01-10", text_of())


def test_every_table_of_the_ledger_is_copied_made_anew_or_left_out_for_a_reason(ledger):
    tables = {row[0] for row in ledger.rows("SELECT relname FROM pg_class WHERE relnamespace = 'points'::regnamespace"
                                            " AND relkind IN ('r', 'p') AND NOT relispartition")}  # fmt: skip

    said = [*simulation_state.GIVEN, *simulation_state.NOT_COPIED]
    assert sorted(said) == sorted(tables), (
        "say in points_ledger/simulation_state.py what a simulation takes of this table"
    )
    assert set(simulation_state.EVENTS) <= set(simulation_state.GIVEN)


def test_the_generated_shop_is_reproduced_exactly_from_its_first_day_and_from_the_middle(reached, tmp_path):
    files = write_shop(tmp_path, starts_on=dt.date(2026, 1, 1), days=45, members=60, seed=7)
    reached.start(
        tier=[{"code": "member", "enter_at": 0}, {"code": "silver", "enter_at": 100}], tiers={"metric": "points_earned"}
    )
    for feed in ("members", "orders", "redemptions", "cancellations"):
        header, *lines = csv_of(getattr(files, feed))
        reached.take(feed, header, *lines)
    reached.close("2026-02-14")
    with reached.engine("auditor").connect() as connection:
        real, then = totals(connection), totals(connection, through=dt.date(2026, 2, 10))
    before = content_of(reached)

    in_force = text_of(TIERS.format(silver=100).replace('[[tier]]\ncode = "gold"\nenter_at = 100\n', ""))
    whole = ran("2026-01-01", "2026-02-14", in_force)
    middle = ran("2026-01-20", "2026-02-10", in_force)

    assert nothing_changed(whole)
    assert like_the_ledger(whole)
    assert kinds(whole, "baseline") == real["points_by_kind"]
    assert whole["liability"]["baseline"]["outstanding"] == real["balance"]
    assert whole["liability"]["baseline"]["debt"] == real["debt"]
    assert {row["tier"]: row["baseline"]["members"] for row in whole["tiers"]}["silver"] == real["tiers"]["silver"]
    assert nothing_changed(middle)
    assert like_the_ledger(middle)
    assert {row["tier"]: row["baseline"]["members"] for row in middle["tiers"]}["silver"] == then["tiers"]["silver"] > 5
    assert set(real["points_by_kind"]) > {"earn", "spend", "spend_reversal", "claw_back", "expire"}
    assert content_of(reached) == before
    assert databases(reached) == []


def csv_of(path):
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return text.splitlines()


@pytest.mark.long
@pytest.mark.real_data
def test_weeks_of_the_real_shop_are_reproduced_exactly(loyalty, reached, real_data):
    loyalty(reached, "init", "--programme", "docs/examples/online-retail.toml")
    [orders] = real_data.glob("online_retail_*.csv.gz")
    [redemptions] = real_data.glob("redemptions_*.csv")
    [cancellations] = real_data.glob("cancellations_*.csv")
    loyalty(reached, "import", "orders", orders, "--layout", "uci-online-retail")
    loyalty(reached, "import", "redemptions", redemptions)
    loyalty(reached, "import", "cancellations", cancellations)
    loyalty(reached, "close", "--through", "2011-02-20")
    in_force = (ROOT / "docs/examples/online-retail.toml").read_text()

    report = ran("2011-01-10", "2011-02-20", in_force)

    assert nothing_changed(report)
    assert like_the_ledger(report)
    assert kinds(report, "baseline")["earn"] > 500_000


def test_a_simulation_killed_midway_touches_nothing_and_the_next_one_removes_what_it_left(fork, january, tmp_path):
    (tmp_path / "double.toml").write_text(text_of(DOUBLE))
    before = content_of(january)
    words = ["policy", "simulate", str(tmp_path / "double.toml"), "--from", "2026-01-02", "--through", "2026-02-28"]
    worker = fork(Path(__file__).with_name("command_worker.py"), clean_environment(january), words=words)
    deadline = time.monotonic() + 60
    while len(databases(january)) < 2:
        assert worker.is_running(), worker.answer()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    worker.kill()
    left = {row[0] for row in databases(january)}
    assert len(left) == 2
    assert content_of(january) == before

    report = ran("2026-01-05", "2026-01-20", text_of(DOUBLE))

    assert affected(report) == {"m1": 35, "m2": 10}
    assert databases(january) == []
    assert content_of(january) == before


def test_what_a_living_simulation_uses_is_not_removed_and_two_at_once_say_the_same(january):
    before = content_of(january)
    url = january.url.render_as_string(hide_password=False)
    with scratch(url, "simulation") as living:
        name = living.create("baseline")
        with ThreadPoolExecutor(2) as pool:
            reports = list(pool.map(lambda _: ran("2026-01-05", "2026-01-20", text_of(DOUBLE)), range(2)))
        assert [tuple(row) for row in databases(january)] == [(name,)]

    assert reports[0] == reports[1]
    assert affected(reports[0]) == {"m1": 35, "m2": 10}
    assert databases(january) == []
    assert content_of(january) == before


def test_a_side_that_fails_ends_the_other_and_leaves_nothing(january):
    closed = []

    def watch(side, day):
        closed.append((side, day))
        if side == "proposed" and day == dt.date(2026, 1, 7):
            raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="the terminal is gone"):
        simulate(dt.date(2026, 1, 5), dt.date(2026, 2, 28), content=text_of(), on_night=watch)

    assert databases(january) == []
    assert len(closed) < 55  # the other side had 52 more nights


def test_only_the_batch_login_gets_into_the_scratch_database(january):
    with scratch(january.url.render_as_string(hide_password=False), "simulation") as place:
        name = place.create("baseline")
        for login in ("loyalty_api", "loyalty_support", "loyalty_approver"):
            engine = sa.create_engine(january.url.set(username=login, database=name))
            with pytest.raises(sa.exc.OperationalError, match="permission denied"):
                engine.connect()
            engine.dispose()


def test_the_command_prints_the_report_and_writes_the_same_figures_as_a_page(loyalty, january, tmp_path):
    (tmp_path / "double.toml").write_text(text_of(DOUBLE))
    words = ("policy", "simulate", tmp_path / "double.toml", "--from", "2026-01-05", "--through", "2026-01-20")

    machine = json.loads(loyalty(january, *words, "--json"))
    shown = loyalty(january, *words, "--html", tmp_path / "page.html")

    assert machine["members"]["gain"] == {"members": 2, "points": 45, "money": "0.45"}
    assert re.search(r"gain\s+│\s+2\s+│\s+45\s+│\s+0\.45", shown)
    assert "exactly the ledger's own figures" in shown
    page = (tmp_path / "page.html").read_text()
    [embedded] = re.findall(r'<script type="application/json" id="report">(.*)</script>', page)
    assert json.loads(embedded) == machine | {"file": "double.toml"}
