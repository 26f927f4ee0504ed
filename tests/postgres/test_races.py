"""Many processes at once, and kills: afterwards every invariant holds, and nothing is lost, doubled or altered.

Real processes (``race_worker.py``), each with connections of its own, on a Postgres of this module's own, with fsync:
killing a backend sends the whole server through crash recovery, which other tests must not notice. With
``LOYALTY_TEST_DATABASE_URL`` the server is not ours, so backends are terminated instead of killed.

What holds afterwards: I0-I14 (``invariants.sql``: written apart from the product's own checks), E (only the SQLSTATEs
of ``ALLOWED`` appeared: with layered constraints the data stays right without a lock or a look-up, and only the errors
tell), every answer a till got is in the ledger, and a night that was killed ends like one that was not, to the byte.

``test_the_race_notices_a_missing_protection`` takes away one protection at a time and must find something. What it
found when it was written: without the closing fence I9 and I10 (entries behind the close, seals that do not recompute),
without the wallet's lock E (PL010, 23505, 40P01: the guard and the keys refuse), without the look-up E (23505).
``LOYALTY_TEST_LONG=1`` races longer, on a bigger shop, with more kills and a new seed.
"""

import contextlib
import datetime as dt
import os
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from sqlalchemy import make_url, text

from infra import cluster, schema

pytestmark = pytest.mark.race

HERE = Path(__file__).parent
LONG = os.environ.get("LOYALTY_TEST_LONG") == "1"
GIVEN = os.environ.get("LOYALTY_TEST_DATABASE_URL")
SEED = random.SystemRandom().randrange(10**6) if LONG else 7
START = dt.date(2026, 1, 1)
DAY = dt.timedelta(days=1)

CONNECTION_LOST = {"lost", "57P01", "57P02", "57P03"}
ALLOWED = CONNECTION_LOST | {
    "PL001",  # the day closed between the call's look at it and its entry: the till calls again
    "PL006",  # not enough points
    "PL007",  # the hold lapsed in the night; or a release whose outcome was unknown, repeated
}


# A server of our own ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server_url() -> Iterator[sa.URL]:
    if GIVEN:
        yield make_url(GIVEN).set(drivername="postgresql+psycopg2")
        return
    with tempfile.TemporaryDirectory(prefix="loyalty-race-pg-", ignore_cleanup_errors=True) as folder:
        server = cluster.start(Path(folder) / "pg")
        try:
            yield make_url(server.url("postgres", "postgres"))
        finally:
            cluster.stop(Path(folder) / "pg")


@pytest.fixture(scope="module")
def template(server_url: sa.URL) -> Iterator[sa.URL]:
    url = server_url.set(database=f"loyalty_race_{os.getpid()}")
    maintain(server_url, f"CREATE DATABASE {url.database} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0")
    engine = sa.create_engine(url)
    schema.upgrade(engine)
    engine.dispose()
    yield url
    for name in [*COPIES, url.database] if GIVEN else []:  # our own server goes as a whole
        maintain(server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def maintain(server_url: sa.URL, sql: str) -> None:
    engine = sa.create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(sql))
    engine.dispose()


COPIES: list[str | None] = []


def copy_of(ledger: Any) -> Any:
    """A second ledger with the same content, down to every number."""
    ledger.dispose()
    url = ledger.url.set(database=f"{ledger.url.database}_{random.SystemRandom().randrange(10**6)}")
    COPIES.append(url.database)
    maintain(ledger.url.set(database="postgres"), f"CREATE DATABASE {url.database} TEMPLATE {ledger.url.database}")
    return type(ledger)(url)


def start(fork: Any, job: str, ledger: Any, **values: Any) -> Any:
    addresses = {f"{login}_url": address(ledger.url, login) for login in ("admin", "api", "batch")}
    return fork(HERE / "race_worker.py", job=job, values={**addresses, **values})


def address(url: sa.URL, login: str) -> str:
    user = url.username if login == "admin" else f"loyalty_{login}"
    return url.set(drivername="postgresql", username=user).render_as_string(hide_password=False)


def result(worker: Any) -> dict[str, Any]:
    return worker.answer() or {"state": "killed"}


def recovered(ledger: Any) -> None:
    """Wait until the server takes connections again."""
    ledger.dispose()
    until = time.monotonic() + 60
    while True:
        try:
            psycopg2.connect(address(ledger.url, "admin")).close()
        except psycopg2.OperationalError:
            assert time.monotonic() < until, "the server does not come back"
            time.sleep(0.05)
        else:
            return


# What must hold -----------------------------------------------------------------------------------------------------


def invariants() -> dict[str, str]:
    """The queries of invariants.sql by their id."""
    parts = re.split(r"^-- (I\d+): .*$", (HERE / "invariants.sql").read_text(), flags=re.MULTILINE)
    return {name: sql.strip().rstrip(";") for name, sql in zip(parts[1::2], parts[2::2], strict=True)}


def broken(ledger: Any) -> dict[str, list[Any]]:
    """The invariants that do not hold, each with its first rows."""
    found = {name: [tuple(row) for row in ledger.rows(sql)[:3]] for name, sql in invariants().items()}
    return {name: rows for name, rows in found.items() if rows}


CONTENT = {  # all that two ledgers of the same events must share: everything but who wrote it when, in which run
    "entries": "SELECT to_jsonb(e) - '{recorded_at,run_id}'::text[] FROM points.entry e ORDER BY member_id, seq",
    "wallets": "SELECT to_jsonb(w) FROM points.wallet w ORDER BY member_id",
    "lots": "SELECT to_jsonb(l) FROM points.lot l ORDER BY member_id, lot_seq",
    "findings": "SELECT to_jsonb(f) - '{finding_id,recorded_at}'::text[] FROM points.finding f ORDER BY reason, feed, ref",
    "keys": "SELECT to_jsonb(k) FROM points.posting_key k ORDER BY member_id, source, source_ref",
    "earnings": "SELECT to_jsonb(e) FROM points.order_earning e ORDER BY member_id, order_no",
    "returns": "SELECT to_jsonb(r) FROM points.returned_line r ORDER BY member_id, order_no, line_no, return_order_no, return_line_no",
    "redemptions": "SELECT redemption_no, state FROM points.redemption ORDER BY 1",
    "cancellations": "SELECT redemption_no, state FROM points.cancellation ORDER BY 1",
    "waiting": "SELECT order_no FROM points.shop_order WHERE is_waiting ORDER BY 1",
    "seals": "SELECT book_date, entries, points_by_kind, outstanding, debt FROM points.seal ORDER BY 1",
    "screened": "SELECT screen, subject, business_date, facts FROM points.screen_finding ORDER BY 1, 2, 3",
    "runs": "SELECT business_date, status, plan, totals - 'expired_lots' - 'expired_points' FROM points.run ORDER BY 1",
    "expired": "SELECT book_date, count(*), sum(points) FROM points.entry WHERE kind = 'expire' GROUP BY 1 ORDER BY 1",
}


def content(ledger: Any) -> dict[str, list[Any]]:
    return {name: [tuple(row) for row in ledger.rows(sql)] for name, sql in CONTENT.items()}


def differences(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The first rows that differ, by name; nothing when both are the same."""
    return {
        name: [
            *[(a, b) for a, b in zip(one[name], other[name], strict=False) if a != b][:2],
            len(one[name]),
            len(other[name]),
        ]
        for name in one
        if one[name] != other[name]
    }


# Nights that are killed ---------------------------------------------------------------------------------------------

NIGHTS = 41 if not LONG else 75
SIZE = 1 if not LONG else 4


def open_shop(ledger: Any) -> None:
    """Some thousand events on 40 days: orders (some a month late), returns of both kinds, redemptions, cancellations."""
    choose = random.Random(SEED)
    members = [f"m{n:03}" for n in range(120 * SIZE)]
    skus = ["tea", "cup", "pot", "POST"]
    orders, redemptions, cancellations = [], [], []
    for n in range(1500 * SIZE):
        day, member = START + choose.randrange(NIGHTS - 1) * DAY, choose.choice(members)
        at = f"{day} {choose.randrange(8, 20):02}:{choose.randrange(60):02}"
        for _ in range(choose.randint(1, 3)):
            orders.append(
                f"A{n:05},{member},{at},{choose.choice(skus)},{choose.randint(1, 6)},{choose.choice(['0.99', '7', '12.50'])}"
            )
        if choose.random() < 0.25:
            later = f"{day + choose.randrange(9) * DAY} 21:{choose.randrange(60):02}"
            named = f"A{n:05}" if choose.random() < 0.5 else ""
            orders.append(f"B{n:05},{member},{later},{choose.choice(skus)},-{choose.randint(1, 4)},7,{named}")
        if choose.random() < 0.3:
            redemptions.append(f"R{n:05},{member},{at},{choose.choice([3, 10, 40, 120, 300])}")
            if choose.random() < 0.3:
                cancellations.append(f"R{n:05},{day + choose.choice([0, 1, 5, 33]) * DAY} 22:00")
    # a return that comes late is there for a second night of its day, were there one without the mutex: not screened here
    watch = {
        "min_history": 3,
        "deviations": "2",
        "member_earned_min": 20,
        "redemptions_per_day": 1,
        "refunds_after_spend": 0,
    }
    ledger.start(
        guard={"max_share_of_outstanding": "0.99", "max_times_median": "1000"},
        screens=watch | {"large_earn": 30, "minutes_after_earn": 600},
    )
    ledger.orders(*orders)
    ledger.redemptions(*redemptions)
    ledger.cancellations(*cancellations)


def close(fork: Any, ledger: Any, *, kill: dict[str, Any] | None = None, mutex: bool = True, chunk: int = 25) -> Any:
    url = ledger.engine("batch").url.render_as_string(hide_password=False)
    through = str(START + (NIGHTS - 1) * DAY)
    return start(fork, "night", ledger, url=url, through=through, kill=kill, mutex=mutex, chunk=chunk)


@pytest.fixture(scope="module")
def shop(clone: Any) -> Any:
    """A shop whose events wait."""
    ledger = clone()
    open_shop(ledger)
    return ledger


@pytest.fixture(scope="module")
def undisturbed(fork: Any, shop: Any) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """What the nights come to when nobody disturbs them, and how many statements and commits that takes."""
    ledger = copy_of(shop)
    counted = result(close(fork, ledger))
    assert counted["state"] == "done", counted
    assert broken(ledger) == {}
    known = content(ledger)
    ledger.dispose()
    kinds = Counter(row[0]["kind"] for row in known["entries"])
    assert {"earn", "spend", "spend_reversal", "claw_back", "owe", "repay", "expire"} <= kinds.keys(), kinds
    screened = {row[0] for row in known["screened"]}
    assert screened == {"member_earns_above_past", "redemption_after_earn", "redemptions_above_cap"}
    return known, counted


def test_a_night_killed_anywhere_ends_like_one_that_was_not(fork, shop, undisturbed):
    known, counted = undisturbed
    choose = random.Random(SEED)
    ledger = copy_of(shop)
    backend = "terminate" if GIVEN else "backend"
    deaths = [
        ("python", "statement", "at once"), (backend, "statement", "during"), ("python", "commit", "at once"),
        ("python", "commit", "after"), (backend, "commit", "during"), ("python", "statement", "during"),
        ("terminate", "statement", "during"), (backend, "commit", "at once"), ("terminate", "commit", "after"),
    ] * (1 if not LONG else 5)  # fmt: skip
    ended: list[Any] = []
    for whom, what, when in deaths:
        nth = choose.randrange(2, max(3, counted[what] // len(deaths)))
        kill = {"whom": whom, "what": what, "when": when, "nth": nth, "microseconds": choose.randrange(3000)}
        night = result(close(fork, ledger, kill=kill))
        ended.append((kill, night))
        assert night["state"] in {"killed", "done"} | CONNECTION_LOST, ended
        recovered(ledger)
    assert sum(night["state"] != "done" for _, night in ended) >= 6, ended

    assert result(close(fork, ledger))["state"] == "done"
    assert broken(ledger) == {}, ended
    assert differences(content(ledger), known) == {}, ended
    ledger.dispose()


def test_nights_at_once_post_nothing_twice(fork, shop, undisturbed):
    """Two nights with the mutex, and one that has lost it: the scheduler may start a job as often as it likes."""
    known, _ = undisturbed
    ledger = copy_of(shop)
    nights = [close(fork, ledger), close(fork, ledger, chunk=40), close(fork, ledger, mutex=False, chunk=7)]
    ended = [result(night) for night in nights]
    assert {night["state"] for night in ended} <= {"done"} | ALLOWED, ended

    assert result(close(fork, ledger))["state"] == "done"
    assert broken(ledger) == {}, ended
    assert differences(content(ledger), known) == {}, ended
    ledger.dispose()


# Everybody at once --------------------------------------------------------------------------------------------------

AGED = 30  # closed days before the race; what was bought on them lapses during it
MEMBERS = [f"m{n}" for n in range(12)]


@pytest.fixture(scope="module")
def aged(clone: Any) -> Any:
    """Members with a lot of every day of a month, all of it closed."""
    ledger = clone()
    ledger.start()
    ledger.members(*MEMBERS)
    if ledger.one("SELECT to_regproc('points.bind_members') IS NOT NULL"):  # each may give points to each
        ledger.rows(
            "SELECT points.bind_members(g.member_no, t.member_no, :day) FROM points.member g, points.member t"
            " WHERE g.member_id <> t.member_id",
            day=START,
        )
    ledger.orders(*(
        f"A{n}-{member},{member},{START + n * DAY} 10:00,tea,{20 + n},1.00" for n in range(AGED) for member in MEMBERS
    ))  # fmt: skip
    ledger.close(START + (AGED - 1) * DAY)
    return ledger


def race(fork: Any, ledger: Any, seconds: float, *, cut: bool = True) -> dict[str, Any]:
    """Everybody at once for some seconds; what came of it, and what is wrong with it."""
    common = {"members": MEMBERS, "seconds": seconds, "first": str(START + AGED * DAY)}
    cuts = ["loyalty_api", "loyalty_batch"] if cut else []
    processes = {
        **{f"till {n}": start(fork, "till", ledger, **common, seed=SEED + n) for n in range(3)},
        **{f"deliverer {n}": start(fork, "deliverer", ledger, **common, seed=SEED) for n in range(2)},
        "sweeper": start(fork, "sweeper", ledger, **common),
        "closer": start(fork, "closer", ledger, **common),
        "holder": start(fork, "holder", ledger, **common, seed=SEED, cut=cuts),
    }
    ended = {name: result(process) for name, process in processes.items()}
    recovered(ledger)
    wrong: dict[str, Any] = {}
    try:
        # a night that was cut off when time ran out is taken up; one that says it is done is left as it is
        ledger.close(ledger.one("SELECT points.last_closed()"))
    except Exception as error:
        wrong["the last night"] = str(error)
    wrong |= broken(ledger)
    odd = {name: set(end["states"]) - ALLOWED for name, end in ended.items()}
    if any(odd.values()):
        wrong["E"] = {
            name: {state: ended[name]["states"][state] for state in states} for name, states in odd.items() if states
        }
    if changed := [call for end in ended.values() for call in end.get("changed", [])]:
        wrong["answers that changed"] = changed[:3]
    if lost := not_recorded(ledger, [call for end in ended.values() for call in end.get("acknowledged", [])]):
        wrong["answers not in the ledger"] = lost[:3]
    return {"wrong": wrong, "ended": ended}


def not_recorded(ledger: Any, acknowledged: list[list[str]]) -> list[list[str]]:
    """The answers given to tills that the ledger does not have as they were given."""
    recorded = {
        tuple(map(str, row))
        for row in ledger.rows(
            """
            SELECT m.member_no, k.source, k.source_ref, k.journal_id, k.book_date, sum(e.points),
                (array_agg(e.balance_after ORDER BY e.seq DESC))[1], (array_agg(e.debt_after ORDER BY e.seq DESC))[1]
            FROM points.posting_key k
            JOIN points.member m USING (member_id)
            JOIN points.entry e ON e.member_id = k.member_id AND e.seq BETWEEN k.first_seq AND k.last_seq
            WHERE k.source IN ('till', 'capture', 'transfer')
            GROUP BY 1, 2, 3, 4, 5
            """
        )
    }
    return [call for call in acknowledged if tuple(call) not in recorded]


def test_everybody_at_once(fork, aged):
    ledger = copy_of(aged)
    raced = race(fork, ledger, 60 if LONG else 6)
    ended = raced["ended"]
    assert raced["wrong"] == {}, ended["closer"]
    # and the race was one
    states = sum((Counter(end["states"]) for end in ended.values()), Counter())
    assert sum(len(ended[f"till {n}"]["acknowledged"]) for n in range(3)) > 50
    assert ended["closer"]["closed"] >= 5, ended["closer"]
    assert min(ended[f"deliverer {n}"]["files"] for n in range(2)) >= 3
    assert states.keys() & CONNECTION_LOST and states["PL006"], states  # outcomes were unknown, calls were repeated
    kinds = {row[0] for row in ledger.rows("SELECT DISTINCT kind FROM points.entry")}
    assert {"earn", "spend", "transfer_out", "transfer_in", "expire", "claw_back"} <= kinds, kinds

    ledger.close(ledger.one("SELECT points.last_closed() + 1"))
    assert broken(ledger) == {}
    ledger.dispose()


MISSING = {  # protection taken away: function, pattern, what stands there instead, and what gives it away
    "the closing fence": ("close_day", r"perform pg_advisory_xact_lock\(20261, .*?\);", "", {"I9", "I10"}),
    "the wallet's lock": ("spend", r"for no key update( of \w+)?", "", {"PL010", "23505", "23514", "40P01"}),
    "the look at what is posted": (
        "already_posted", r"if not found then return false; end if;", "return false;", {"23505"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("protection", MISSING)
def test_the_race_notices_a_missing_protection(fork, aged, protection):
    signs = MISSING[protection][-1]
    # a window of microseconds is not hit in every few seconds of a loaded machine: five races, then it counts
    for _ in range(5):
        wrong = race_without(fork, aged, protection)
        seen = wrong.keys() | {state for states in wrong.get("E", {}).values() for state in states}
        if seen & signs:
            return
    pytest.fail(f"nobody noticed that {protection} is missing: {wrong}")


def race_without(fork, aged, protection):
    """What went wrong in a race on a copy of the ledger without that protection."""
    ledger = copy_of(aged)
    name, pattern, instead, _ = MISSING[protection]
    source = ledger.one(
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'points'::regnamespace AND proname = :name",
        name=name,
    )
    changed, times = re.subn(pattern, instead, source)
    assert times, f"{name} is written another way now: take {protection} away anew"
    with ledger.engine("admin").begin() as connection, contextlib.closing(connection.connection.cursor()) as cursor:
        cursor.execute(changed)
    wrong = race(fork, ledger, 3, cut=False)["wrong"]
    ledger.dispose()
    return wrong
