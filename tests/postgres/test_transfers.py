"""Transfers: to bound members only, within limits, after the cooling-off, each lot with its validity (loyalty.md 6)."""

import threading
from collections import Counter

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from points_ledger import errors, verification

NEVER = {"basis": "none", "months": None}
RULES = {"enabled": True, "max_per_day": 60, "max_per_month": 100, "cooling_off_days": 3}


@pytest.fixture
def shop(ledger):
    """giver has 50 points through 1 February and 150 through 3 March; cooling-off 3 days, 60 a day, 100 a month."""
    ledger.start(transfer=RULES)
    ledger.change("2026-01-03", transfer=RULES, expiry={"months": 2})
    ledger.members("friend", "stranger")
    ledger.orders("A1,giver,2026-01-01 10:00,tea,1,50", "A2,giver,2026-01-03 10:00,tea,1,150")
    ledger.close("2026-01-03")
    return ledger


def give(ledger, points, day, ref="G1", to="friend", giver="giver"):
    with errors.translated():
        [row] = ledger.rows(
            f"SELECT * FROM points.transfer('{giver}', '{to}', {points}, '{day}', '{ref}')", login="api"
        )  # fmt: skip
    return row


def refused(ledger, error, *arguments, **named):
    state = "SELECT member_id, balance, seq FROM points.wallet ORDER BY 1"
    before = ledger.rows(state)
    with pytest.raises(error) as refusal:
        give(ledger, *arguments, **named)
    assert ledger.rows(state) == before
    return str(refusal.value)


def test_without_the_section_in_the_programme_nothing_is_transferred(ledger):
    ledger.start(expiry=NEVER, transfer={"enabled": False, "max_per_day": None, "max_per_month": None})
    ledger.members("friend")
    ledger.orders("A1,giver,2026-01-01 10:00,tea,1,50")
    ledger.close("2026-01-01")
    ledger.bind("giver", "friend")

    said = refused(ledger, errors.TransfersDisabled, 10, "2026-01-20")

    assert "transfers are not enabled" in said


def test_points_go_to_bound_members_only_and_in_the_direction_of_the_binding(shop):
    refused(shop, errors.NotBound, 10, "2026-01-04")
    shop.bind("giver", "friend")
    refused(shop, errors.NotBound, 10, "2026-01-08", to="stranger")
    refused(shop, errors.NotBound, 10, "2026-01-08", giver="friend", to="giver")

    answer = give(shop, 60, "2026-01-08")

    assert shop.lots("friend") == [(50, 50, "2026-02-01"), (10, 10, "2026-03-03")]
    assert shop.rows("SELECT DISTINCT journal_id FROM points.entry WHERE source = 'transfer'") == [(answer.journal_id,)]


def test_a_new_binding_cools_off_and_a_renewed_one_cools_off_again(shop):
    # however far back its day is said to be: the open day counts
    assert str(shop.one("SELECT points.bind_members('giver', 'friend', '2026-01-01')", login="api")) == "2026-01-07"
    assert "the first gift can be made on 2026-01-07" in refused(shop, errors.CoolingOff, 10, "2026-01-06")
    give(shop, 10, "2026-01-07")
    assert str(shop.one("SELECT points.bind_members('giver', 'friend', '2026-01-08')", login="api")) == "2026-01-07"

    shop.rows("SELECT points.unbind('giver', 'friend', '2026-01-08')", login="api")
    refused(shop, errors.NotBound, 10, "2026-01-08", "G2")
    shop.bind("giver", "friend", day="2026-01-08")

    refused(shop, errors.CoolingOff, 10, "2026-01-08", "G2")
    give(shop, 10, "2026-01-11", "G2")


def test_what_was_given_is_answered_again_whatever_became_of_the_binding(shop):
    shop.bind("giver", "friend")
    first = give(shop, 60, "2026-01-08")
    shop.rows("SELECT points.unbind('giver', 'friend', '2026-01-09')", login="api")

    assert give(shop, 60, "2026-01-08") == first
    with pytest.raises(errors.NotBound), errors.translated():
        shop.rows("SELECT points.unbind('giver', 'friend', '2026-01-09')", login="api")


def test_a_day_and_a_month_have_their_limits(shop):
    shop.bind("giver", "friend", "stranger")
    give(shop, 40, "2026-01-30", "G1")
    assert "21 points and 40 given that day before are more than 60 a day" in refused(
        shop, errors.AboveTransferLimit, 21, "2026-01-30", "G2", to="stranger"
    )
    give(shop, 20, "2026-01-30", "G2", to="stranger")
    assert "more than 100 a month" in refused(shop, errors.AboveTransferLimit, 41, "2026-01-31", "G3")
    give(shop, 40, "2026-01-31", "G3")
    give(shop, 60, "2026-02-01", "G4")


def test_of_twenty_transfers_of_a_whole_wallet_at_once_one_succeeds(ledger):
    ledger.start(expiry=NEVER)
    ledger.members(*(f"friend{n}" for n in range(20)))
    ledger.orders("A1,giver,2026-01-01 10:00,tea,1,100")
    ledger.close("2026-01-01")
    ledger.bind("giver", *(f"friend{n}" for n in range(20)))
    outcomes = []
    together = threading.Barrier(20)

    def transfer(n):
        engine = sa.create_engine(ledger.url.set(username="loyalty_api"))
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("SELECT 1"))
                together.wait(timeout=30)
                connection.execute(sa.text(f"SELECT points.transfer('giver', 'friend{n}', 100, '2026-01-02', 'G{n}')"))
            outcomes.append("done")
        except DBAPIError as error:
            outcomes.append(error.orig.pgcode)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=transfer, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Counter(outcomes) == {"done": 1, "PL006": 19}
    assert ledger.balance("giver") == (0, 0)
    with ledger.engine().connect() as connection:
        assert list(verification.verify(connection)) == []


def test_two_bind_at_once_and_there_is_one_binding(shop):
    threads = [threading.Thread(target=shop.bind, args=("giver", "friend")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shop.one("SELECT count(*) FROM points.binding") == 1


@pytest.mark.parametrize(
    ("error", "verb"),
    [
        (errors.InvalidRequest, "bind_members('giver', 'giver', '2026-01-04')"),
        (errors.InvalidRequest, "bind_members('giver', 'friend', NULL)"),
        (errors.UnknownMember, "bind_members('giver', 'nobody', '2026-01-04')"),
        (errors.UnknownMember, "bind_members('nobody', 'friend', '2026-01-04')"),
        (errors.NotBound, "unbind('giver', 'friend', '2026-01-04')"),
        (errors.InvalidRequest, "transfer('giver', 'friend', 5, NULL, 'G1')"),
    ],
)
def test_what_makes_no_sense_is_refused(shop, error, verb):
    with pytest.raises(error), errors.translated():
        shop.rows(f"SELECT points.{verb}", login="api")
    assert shop.one("SELECT count(*) FROM points.binding") == 0


def test_a_binding_is_never_changed_only_ended(shop):
    shop.bind("giver", "friend")
    shop.rows("SELECT points.unbind('giver', 'friend', '2026-01-08')", login="api")
    for table in ("binding", "binding_end"):
        for change in (
            f"UPDATE points.{table} SET actor = 'x'",
            f"DELETE FROM points.{table}",
            f"TRUNCATE points.{table} CASCADE",
        ):
            with pytest.raises(errors.AppendOnly), errors.translated():
                shop.rows(change)
            with pytest.raises(errors.NotAllowed), errors.translated():
                shop.rows(change, login="batch")
