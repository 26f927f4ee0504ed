"""The ledger against a small FIFO model in plain Python: whatever members, tills and nights do, both agree.

Hypothesis makes up the story: late orders, returns that name an order and returns that do not, redemptions and their
cancellations, tills that spend, hold, capture and release (on the open day, days late, or a day ahead of the night),
calls repeated with the same and with other content, nights. After every step the member's lots, wallet, entries and
findings, and what was refused, must equal the model's. One member, and one transaction that is never committed, per
example: the same ledger of 40 closed days lies before each.

``LOYALTY_TEST_LONG=1`` runs more and longer stories, from a new seed every time.

**Planted faults.** ``test_the_model_kills_planted_faults`` breaks a ledger of its own, one fault at a time, and the
same stories must find a difference:

==================================  =====================================================================
spending_by_age                     spends take the oldest lot, not the one that lapses first
spends_take_held_points             a spend takes what a hold has set aside
spends_take_lapsed_lots             … a lot whose last day has passed; the guard's own check is taken out too
spends_take_lapsed_lots_guarded     the same with the guard in place: it refuses, which the model does not expect
spends_take_pending_lots            … a lot that is not usable yet; without the guard's check
spends_forget_what_was_posted       a repeated call posts again; the primary key of the keys refuses (23505)
other_content_is_accepted           a key with other content gets the first answer
expiry_a_day_early                  the close of a day takes what is valid through the next
holds_never_lapse                   the night does not let go a hold whose last day has passed
holds_pin_the_latest                a hold sets aside the lots that lapse last
captures_in_the_wrong_order         a part of a hold is captured from the lots that lapse last
claw_back_spares_its_lot            a return takes from other lots before the order's own
claw_back_forgets_debt              what a return cannot take is forgiven
claw_back_rounds_up                 … takes ceil(P x R / A)
returns_match_the_earliest          a return that names no order takes the earliest purchase
returns_ignore_expiry               a return takes back what had expired already
reversals_revive_lapsed_lots        a cancelled redemption goes back to a lot that has lapsed
reversals_in_order_of_taking        … goes back first taken first
earnings_repay_nothing              debt is not repaid from a new lot
==================================  =====================================================================
"""

import datetime as dt
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.exc import DBAPIError

from points_ledger import events, expiry, night, queries
from points_ledger.errors import LedgerError

LONG = os.environ.get("LOYALTY_TEST_LONG") == "1"
STARTS_ON = dt.date(2026, 1, 1)
OPEN = dt.date(2026, 2, 10)  # the open day of every example; 40 closed days lie before it
PENDING_DAYS = 2
DAY = dt.timedelta(days=1)


# The model ----------------------------------------------------------------------------------------------------------


@dataclass
class Lot:
    seq: int
    points: int
    remaining: int
    usable_from: dt.date
    valid_through: dt.date
    held: int = 0
    expired: int = 0

    @property
    def order(self) -> tuple[dt.date, int]:
        return self.valid_through, self.seq

    @property
    def free(self) -> int:
        return self.remaining - self.held


@dataclass
class Line:
    no: int
    sku: str
    quantity: int
    cents: int
    returned: int = 0


@dataclass
class Order:
    no: str
    at: dt.datetime
    lines: list[Line]
    points: int = 0
    amount: int = 0  # cents of the eligible lines
    lot: int = 0
    refunded: int = 0
    taken: int = 0


@dataclass
class Return:
    no: str
    at: dt.datetime
    sku: str
    quantity: int
    original: str | None


@dataclass
class Redemption:
    no: str
    at: dt.datetime
    points: int
    state: str = "waiting"
    taken: list[tuple[int, int]] = field(default_factory=list)  # lot, points


@dataclass
class Hold:
    points: int
    through: dt.date
    pinned: dict[int, int]
    ended: bool = False


class Refused(Exception):
    """The model refuses, with the SQLSTATE that the ledger must give."""


class Model:
    """Integers and dates: what DESIGN 5 and 7 say, for one member."""

    def __init__(self, today: dt.date) -> None:
        self.open = today
        self.last_book = dt.date.min
        self.lots: dict[int, Lot] = {}
        self.entries: list[tuple[object, ...]] = []
        self.debt = 0
        self.holds: dict[str, Hold] = {}
        self.answers: dict[tuple[str, str], tuple[object, object]] = {}
        self.orders: dict[str, Order] = {}
        self.waiting_orders: list[Order] = []
        self.returns: list[Return] = []
        self.redemptions: dict[str, Redemption] = {}
        self.cancellations: list[tuple[dt.datetime, str]] = []
        self.findings: set[tuple[str, str]] = set()

    @property
    def balance(self) -> int:
        return sum(lot.remaining for lot in self.lots.values())

    def usable(self, day: dt.date) -> list[Lot]:
        """In spending order."""
        lots = [lot for lot in self.lots.values() if lot.free and lot.usable_from <= day <= lot.valid_through]
        return sorted(lots, key=lambda lot: lot.order)

    def available(self, day: dt.date) -> int:
        return sum(lot.free for lot in self.usable(day))

    def write(self, kind: str, points: int, lot: Lot | None, booked: dt.date, day: dt.date) -> None:
        self.last_book = max(booked, self.last_book, self.open)
        left = (lot.seq, lot.remaining) if lot else (None, None)
        self.entries.append((kind, points, *left, self.balance, self.debt, self.last_book, day))

    def open_lot(self, kind: str, points: int, usable: dt.date, through: dt.date, booked: dt.date, day: dt.date) -> Lot:
        lot = Lot(len(self.entries) + 1, points, points, usable, through)
        self.lots[lot.seq] = lot
        self.write(kind, points, lot, booked, day)
        return lot

    def take(self, kind: str, wanted: int, day: dt.date, booked: dt.date) -> list[tuple[int, int]]:
        taken = []
        for lot in self.usable(day):
            if points := min(wanted, lot.free):
                lot.remaining -= points
                wanted -= points
                self.write(kind, points, lot, booked, day)
                taken.append((lot.seq, points))
        return taken

    # tills

    def once(self, key: tuple[str, str], content: tuple[object, ...], do: Callable[[], object]) -> object:
        """The first answer for the same content, a refusal for other content; a refused call leaves no trace."""
        if key not in self.answers:
            self.answers[key] = content, do()
        if self.answers[key][0] != content:
            raise Refused("PL003")
        return self.answers[key][1]

    def answer(self, points: int) -> tuple[object, ...]:
        return self.last_book, points, self.balance, self.debt

    def spend(self, points: int, day: dt.date, source: str, ref: str) -> object:
        def do() -> object:
            if self.available(day) < points:
                raise Refused("PL006")
            self.take("spend", points, day, day)
            return self.answer(points)

        return self.once((source, ref), (points, day), do)

    def hold(self, points: int, day: dt.date, through: dt.date, no: str) -> object:
        def do() -> object:
            if self.available(day) < points:
                raise Refused("PL006")
            self.holds[no] = Hold(points, through, {})
            left = points
            for lot in self.usable(day):
                if part := min(left, lot.free):
                    lot.held += part
                    left -= part
                    self.holds[no].pinned[lot.seq] = part
            return points

        return self.once(("hold", no), (points, day, through), do)

    def end(self, no: str, points: int) -> None:
        hold = self.holds[no]
        if points > hold.points:
            raise Refused("PL006")
        if hold.ended:
            raise Refused("PL007")
        hold.ended = True
        for seq, part in hold.pinned.items():
            self.lots[seq].held -= part

    def release(self, no: str, _day: dt.date) -> object:
        self.end(no, 0)
        return ""

    def capture(self, no: str, points: int, day: dt.date) -> object:
        def do() -> object:
            self.end(no, points)
            left = points
            for lot in sorted((self.lots[seq] for seq in self.holds[no].pinned), key=lambda lot: lot.order):
                if part := min(left, self.holds[no].pinned[lot.seq]):
                    lot.remaining -= part
                    left -= part
                    self.write("spend", part, lot, day, day)
            return self.answer(points)

        return self.once(("capture", no), (points, day), do)

    # feeds

    def post_feeds(self, final: bool) -> None:
        """What waits, in the order of DESIGN 7."""
        through = self.open
        for order in sorted(self.waiting_orders, key=lambda order: (order.at, order.no)):
            if order.at.date() <= through:
                self.waiting_orders.remove(order)
                self.earn(order)
        for back in sorted(self.returns, key=lambda back: (back.at, back.no)):
            if back.at.date() <= through and self.take_back(back, final):
                self.returns.remove(back)
        self.cancel(through)
        for redemption in sorted(self.redemptions.values(), key=lambda redemption: (redemption.at, redemption.no)):
            if redemption.state == "waiting" and redemption.at.date() <= through:
                day = redemption.at.date()
                if self.available(day) >= redemption.points:
                    redemption.taken = self.take("spend", redemption.points, day, through)
                    redemption.state = "posted"
                elif final:
                    self.findings.add(("insufficient_points", redemption.no))
                    redemption.state = "refused"
        self.cancel(through)
        for at, no in list(self.cancellations):
            if final and at.date() <= through:
                self.cancellations.remove((at, no))
                self.findings.add(("unknown_redemption", no))

    def earn(self, order: Order) -> None:
        day = order.at.date()
        order.amount = sum(line.quantity * line.cents for line in order.lines if line.sku != "POST")
        order.points = order.amount // 100
        self.orders[order.no] = order
        if order.points:
            usable, through = day + PENDING_DAYS * DAY, a_month_after(day)
            lot = self.open_lot("earn", order.points, usable, through, self.open, day)
            order.lot = lot.seq
            if repaid := min(self.debt, order.points):
                lot.remaining -= repaid
                self.debt -= repaid
                self.write("repay", repaid, lot, self.open, day)

    def take_back(self, back: Return, final: bool) -> bool:
        bought = [
            (order, line)
            for order in sorted(self.orders.values(), key=lambda order: (order.at, order.no), reverse=True)
            for line in reversed(order.lines)
            if line.sku == back.sku and line.quantity > line.returned
            and (order.at <= back.at if back.original is None else order.no == back.original)
        ]  # fmt: skip
        unmatched = back.quantity
        if not final and sum(line.quantity - line.returned for _, line in bought) < unmatched:
            return False
        for order, line in bought:
            if part := min(unmatched, line.quantity - line.returned):
                unmatched -= part
                line.returned += part
                if line.sku != "POST" and order.points:
                    self.refund(order, part * line.cents, back.at.date())
        if unmatched:
            self.findings.add(("return_without_purchase", back.no))
        return True

    def refund(self, order: Order, cents: int, day: dt.date) -> None:
        order.refunded += cents
        own = self.lots[order.lot]
        due = min(order.points * order.refunded // order.amount, order.points - own.expired) - order.taken
        if due <= 0:
            return
        order.taken += due
        if points := min(due, own.free):
            own.remaining -= points
            due -= points
            self.write("claw_back", points, own, self.open, day)
        due -= sum(points for _, points in self.take("claw_back", due, day, self.open))
        if due:
            self.debt += due
            self.write("owe", due, None, self.open, day)

    def cancel(self, through: dt.date) -> None:
        for at, no in sorted(self.cancellations):
            if at.date() <= through and no in self.redemptions and self.redemptions[no].state == "posted":
                self.cancellations.remove((at, no))
                for seq, points in reversed(self.redemptions[no].taken):
                    self.give_back(self.lots[seq], points, at.date())

    def give_back(self, lot: Lot, points: int, day: dt.date) -> None:
        if lot.valid_through < max(day, self.open):  # lapsed: on that day, or since, behind a closed one
            through = max(lot.valid_through, day + 30 * DAY)
            self.open_lot("spend_reversal", points, day, through, self.open, day)
        else:
            lot.remaining += points
            self.write("spend_reversal", points, lot, self.open, day)

    # the night

    def close(self) -> None:
        for no, hold in self.holds.items():
            if hold.through <= self.open and not hold.ended:
                self.end(no, 0)
        self.post_feeds(final=True)
        closed, self.open = self.open, self.open + DAY
        for lot in sorted(self.lots.values(), key=lambda lot: lot.order):
            if lot.remaining and not lot.held and lot.valid_through <= closed:
                lot.expired, lot.remaining, points = lot.remaining, 0, lot.remaining
                self.write("expire", points, lot, self.open, lot.valid_through + DAY)


def a_month_after(day: dt.date) -> dt.date:
    first = (day.replace(day=1) + 31 * DAY).replace(day=1)
    last = (first + 31 * DAY).replace(day=1) - DAY
    return min(first.replace(day=min(day.day, last.day)), last)


# The ledger, in one transaction that is taken back ------------------------------------------------------------------


class Undoable(psycopg2.extensions.connection):
    """A connection whose commits and rollbacks end a savepoint only; ``undo`` takes all of it back."""

    def commit(self) -> None:
        self._run("RELEASE SAVEPOINT step; SAVEPOINT step")

    def rollback(self) -> None:
        self._run("ROLLBACK TO SAVEPOINT step")

    def undo(self) -> None:
        super().rollback()
        self._run("SAVEPOINT step")

    def _run(self, sql: str) -> None:
        with self.cursor() as cursor:
            cursor.execute(sql)


class Shop:
    """The calls of the stories, on one connection of ``loyalty_batch``."""

    def __init__(self, url: sa.URL) -> None:
        address = url.set(username="loyalty_batch").translate_connect_args(username="user", database="dbname")
        host = {"host": url.query["host"]} if "host" in url.query else {}
        self.raw = psycopg2.connect(connection_factory=Undoable, options="-c timezone=UTC", **address, **host)
        self.raw.undo()
        self.engine = sa.create_engine("postgresql+psycopg2://", creator=lambda: self.raw, poolclass=sa.StaticPool)

    def begin(self) -> None:
        self.raw.undo()
        [(self.member, self.file)] = self.do("SELECT member_id, file_id FROM points.member, points.feed_file")

    def do(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement; a refused one leaves nothing behind."""
        try:
            with self.raw.cursor() as cursor:
                cursor.execute(sql, values)
                rows = cursor.fetchall() if cursor.description else []
        except psycopg2.Error:
            self.raw.rollback()
            raise
        self.raw.commit()
        return rows

    def order(self, order: Order) -> None:
        bought = sum(line.quantity * line.cents for line in order.lines)
        self._event_order(order.no, order.at, bought, len(order.lines), 0)
        for line in order.lines:
            self.do(
                "INSERT INTO points.order_line (member_id, order_no, line_no, sku, quantity, unit_price)"
                " VALUES (%s, %s, %s, %s, %s, %s / 100.0)",
                self.member, order.no, line.no, line.sku, line.quantity, line.cents,
            )  # fmt: skip

    def take_back(self, back: Return) -> None:
        self._event_order(back.no.removesuffix("/1"), back.at, 0, 0, 1)
        self.do(
            "INSERT INTO points.return_line (member_id, order_no, line_no, sku, quantity, unit_price, original_order_no,"
            " placed_at, effective_on) VALUES (%s, %s, 1, %s, %s, 7, %s, %s, %s)",
            self.member, back.no.removesuffix("/1"), back.sku, back.quantity, back.original, back.at, back.at.date(),
        )  # fmt: skip

    def _event_order(self, no: str, at: dt.datetime, amount: int, purchases: int, returns: int) -> None:
        self.do(
            "INSERT INTO points.shop_order (member_id, order_no, placed_at, effective_on, purchase_amount, purchase_lines,"
            " return_lines, fingerprint, file_id, is_waiting) VALUES (%s, %s, %s, %s, %s / 100.0, %s, %s, sha256('x'), %s, true)",
            self.member, no, at, at.date(), amount, purchases, returns, self.file,
        )  # fmt: skip

    def redeem(self, redemption: Redemption) -> None:
        self.do(
            "INSERT INTO points.redemption (redemption_no, member_no, redeemed_at, effective_on, points, fingerprint, file_id)"
            " VALUES (%s, 'm', %s, %s, %s, sha256('x'), %s)",
            redemption.no, redemption.at, redemption.at.date(), redemption.points, self.file,
        )  # fmt: skip

    def cancel(self, no: str, at: dt.datetime) -> None:
        self.do(
            "INSERT INTO points.cancellation (redemption_no, cancelled_at, effective_on, fingerprint, file_id)"
            " VALUES (%s, %s, %s, sha256('x'), %s)",
            no, at, at.date(), self.file,
        )  # fmt: skip

    def call(self, verb: str, *values: object) -> Any:
        """A verb as a till calls it, and its answer."""
        [row] = self.do(f"SELECT * FROM points.{verb}('m', {', '.join(['%s'] * len(values))})", *values)
        return row[1:] if len(row) > 1 else row[0]

    def close(self, day: dt.date) -> None:
        """The night, step by step as ``close_nights`` runs it, without its mutex."""
        this = night.begin(self.engine, day, code_version="test")
        assert this is not None
        for step in night.STEPS:
            step.run(self.engine, this, None)
        night.finish(self.engine, this)

    def state(self, seen: int) -> list[Any]:
        """Lots, wallet, the entries after ``seen``, findings: as ``Story.agree`` writes down the model's."""
        [(state,)] = self.do(
            """
            SELECT json_build_array(
                (SELECT coalesce(json_agg(json_build_array(lot_seq, points, remaining, held, expired, usable_from, valid_through)
                    ORDER BY lot_seq), '[]') FROM points.lot WHERE member_id = %s),
                (SELECT json_build_array(balance, held, debt, seq, nullif(last_book, '-infinity'))
                    FROM points.wallet WHERE member_id = %s),
                (SELECT coalesce(json_agg(json_build_array(kind, points, lot_seq, lot_remaining_after, balance_after, debt_after,
                    book_date, effective_on) ORDER BY seq), '[]') FROM points.entry WHERE member_id = %s AND seq > %s),
                (SELECT coalesce(json_agg(json_build_array(reason, ref) ORDER BY reason, ref), '[]') FROM points.finding))
            """,
            self.member, self.member, self.member, seen,
        )  # fmt: skip
        return state


# The stories --------------------------------------------------------------------------------------------------------

till_days = st.sampled_from([0, 0, 0, 0, 1, -1, -3])  # tills may be late, or past midnight before the night has run
feed_days = st.sampled_from([0, 0, 0, 1, -1, -4])
cancel_days = st.sampled_from([0, 0, 1, -1, -2, -4])
order_days = st.sampled_from([0, -1, -2, -24, -27, -28, -29, -30, -31, -31, -32, -33])  # a late order lapses soon
lines = st.lists(
    st.tuples(st.sampled_from(["tea", "tea", "cup", "POST"]), st.integers(1, 4), st.sampled_from([99, 700, 1250, 3333])),
    min_size=1, max_size=3,
)  # fmt: skip
quarters = st.sampled_from([1, 1, 2, 3, 4, 5])  # of what is there; the last asks for too much


class Story(RuleBasedStateMachine):
    """One member's story, told to the ledger and to the model."""

    shop: Shop  # set by the test

    @initialize(days=st.lists(st.sampled_from([-24, -27, -28, -29, -30, -31]), min_size=2, max_size=4))
    def begin(self, days: list[int]) -> None:
        self.shop.begin()
        self.model = Model(OPEN)
        self.calls: list[tuple[Any, ...]] = []
        self.cancelled: set[str] = set()
        self.count = 0
        self.seen = 0
        for n, late in enumerate(days):
            self.order(late, 9, [("tea", 3, 1250), ("cup", 2, 700)], now=n == len(days) - 1)

    def name(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count:03}"

    def at(self, days: int, hour: int) -> dt.datetime:
        return dt.datetime.combine(self.model.open + days * DAY, dt.time(hour))

    def tell(self, verb: str, *values: Any) -> None:
        """Call the verb: what it answers, or refuses with, is what the model says."""
        self.calls.append((verb, *values))
        try:
            said = getattr(self.model, verb)(*values)
        except Refused as refusal:
            said = f"refused {refusal}"
        try:
            answer = self.shop.call(verb, *values)
        except psycopg2.Error as refusal:
            answer = f"refused {refusal.pgcode}"
        assert answer == said, (verb, values)

    def post(self, now: bool) -> None:
        if now:
            events.post(self.shop.engine, through=self.model.open, run_id=None, final=False)
            self.model.post_feeds(final=False)

    @rule(days=order_days, hour=st.sampled_from([9, 10]), lines=lines, now=st.sampled_from([True, True, False]))
    def buy(self, days: int, hour: int, lines: list[tuple[str, int, int]], now: bool) -> None:
        self.order(days, hour, lines, now)

    def order(self, days: int, hour: int, lines: list[tuple[str, int, int]], now: bool) -> None:
        no, at = self.name("A"), self.at(days, hour)
        order = Order(no, at, [Line(n, *line) for n, line in enumerate(lines, start=1)])
        self.shop.order(order)
        self.model.waiting_orders.append(order)
        self.post(now)

    @rule(
        days=feed_days, hour=st.sampled_from([9, 10, 20]), pick=st.integers(0, 5), quantity=st.sampled_from([1, 1, 2, 3, 9]),
        named=st.booleans(), sku=st.sampled_from(["tea", "tea", "cup", "POST"]), now=st.booleans(),
    )  # fmt: skip
    def take_back(self, days: int, hour: int, pick: int, quantity: int, named: bool, sku: str, now: bool) -> None:
        known = sorted(self.model.orders)
        original = known[-1 - pick % len(known)] if named and known else None
        if original:
            sku = self.model.orders[original].lines[0].sku
        back = Return(f"{self.name('A')}/1", self.at(days, hour), sku, quantity, original)
        self.shop.take_back(back)
        self.model.returns.append(back)
        self.post(now)

    @rule(days=feed_days, hour=st.integers(9, 11), part=quarters, now=st.booleans())
    def redeem(self, days: int, hour: int, part: int, now: bool) -> None:
        at = self.at(days, hour)
        redemption = Redemption(self.name("R"), at, self.wanted(at.date(), part))
        self.shop.redeem(redemption)
        self.model.redemptions[redemption.no] = redemption
        self.post(now)

    @precondition(lambda self: self.model.redemptions)
    @rule(days=cancel_days, pick=st.integers(0, 5), now=st.booleans())
    def cancel(self, days: int, pick: int, now: bool) -> None:
        left = sorted(self.model.redemptions.keys() - self.cancelled)
        if left:
            no, at = left[-1 - pick % len(left)], self.at(days, 21)
            self.cancelled.add(no)
            self.shop.cancel(no, at)
            self.model.cancellations.append((at, no))
            self.post(now)

    def wanted(self, day: dt.date, part: int) -> int:
        available = self.model.available(day)
        return max(1, available * part // 4) if part < 5 else available + 1

    @rule(days=till_days, part=quarters)
    def spend(self, days: int, part: int) -> None:
        day = self.model.open + days * DAY
        self.tell("spend", self.wanted(day, part), day, "till", self.name("S"))

    @rule(days=till_days, part=st.sampled_from([1, 3, 3, 4, 4, 5]), length=st.integers(0, 3))
    def hold(self, days: int, part: int, length: int) -> None:
        day = self.model.open + days * DAY
        self.tell("hold", self.wanted(day, part), day, day + length * DAY, self.name("H"))

    @precondition(lambda self: self.model.holds)
    @rule(days=till_days, pick=st.sampled_from([0, 0, 1, 2]), part=quarters)
    def capture(self, days: int, pick: int, part: int) -> None:
        no = sorted(self.model.holds)[-1 - pick % len(self.model.holds)]
        whole = self.model.holds[no].points
        self.tell("capture", no, max(1, whole * part // 4) if part < 5 else whole + 1, self.model.open + days * DAY)

    @precondition(lambda self: self.model.holds)
    @rule(days=till_days, pick=st.integers(0, 3))
    def release(self, days: int, pick: int) -> None:
        no = sorted(self.model.holds)[-1 - pick % len(self.model.holds)]
        self.tell("release", no, self.model.open + days * DAY)

    @precondition(lambda self: self.calls)
    @rule(pick=st.integers(0, 9), other=st.sampled_from([False, False, True]))
    def again(self, pick: int, other: bool) -> None:
        """An earlier call once more, with the same or with other content."""
        verb, *values = self.calls[-1 - pick % len(self.calls)]
        self.tell(verb, *(value + 1 if other and isinstance(value, int) else value for value in values))

    @rule()
    def close(self) -> None:
        self.shop.close(self.model.open)
        self.model.close()

    @invariant()
    def agree(self) -> None:
        model, [lots, wallet, entries, findings] = self.model, self.shop.state(self.seen)
        held = sum(lot.held for lot in model.lots.values())
        expected = [
            [
                [lot.seq, lot.points, lot.remaining, lot.held, lot.expired, lot.usable_from, lot.valid_through]
                for lot in model.lots.values()
            ],
            [model.balance, held, model.debt, len(model.entries), model.last_book if model.entries else None],
            model.entries[self.seen :],
            sorted(model.findings),
        ]
        assert [lots, wallet, entries, findings] == as_json(expected)
        self.seen = len(model.entries)


def as_json(value: Any) -> Any:
    """Tuples as lists, days as text."""
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    return value.isoformat() if isinstance(value, dt.date) else value


# The tests ----------------------------------------------------------------------------------------------------------


def age(ledger: Any) -> None:
    """A programme, one member, and 40 closed days."""
    ledger.start(
        earn={"rate": [{"points_per_unit": "1", "exclude_skus": ["POST"]}], "usable_after_days": PENDING_DAYS},
    )
    ledger.members("m")
    with ledger.engine().begin() as connection:
        for n in range((OPEN - STARTS_ON).days):
            day = {"day": STARTS_ON + n * DAY}
            connection.execute(sa.text("SELECT points.close_day(:day, 1), points.seal_day(:day)"), day)


def tell_stories(url: sa.URL, chosen: settings) -> None:
    shop = Shop(url)
    try:
        run_state_machine_as_test(type("Story", (Story,), {"shop": shop}), settings=chosen)
    finally:
        shop.engine.dispose()
        shop.raw.close()


def profile(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=not LONG, database=None, print_blob=True,
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False, phases=[Phase.generate],
    )  # fmt: skip


def test_the_ledger_agrees_with_the_model(ledger):
    age(ledger)
    tell_stories(ledger.url, profile(2000, 60) if LONG else profile(45, 40))


FAULTS: dict[str, list[tuple[str, str, str]]] = {  # function or statement, pattern, what stands there instead
    "spending_by_age": [("take_points", r"(x\.)?valid_through nulls last, ", "")],
    "spends_take_held_points": [
        ("take_points", r"remaining - (x\.)?held", "remaining"), ("take_points", r"remaining > (x\.)?held", "remaining > 0"),
    ],
    "spends_take_lapsed_lots": [
        ("take_points", r"and coalesce\(day <= x\.valid_through, true\)", ""),
        ("apply_entries", r"coalesce\(l\.valid_through >= \S+ true\)", "true"),
    ],
    "spends_take_lapsed_lots_guarded": [
        ("take_points", r"and coalesce\(day <= x\.valid_through, true\)", ""),
    ],
    "spends_take_pending_lots": [
        ("take_points", r"and (x\.)?usable_from <= day", ""), ("apply_entries", r"l\.usable_from <= \S+ and", ""),
    ],
    "spends_forget_what_was_posted": [("already_posted", r"if not found then return false; end if;", "return false;")],
    "other_content_is_accepted": [("already_posted", r"if known <> request then", "if false then")],
    "expiry_a_day_early": [("expire_lots.sql", r"valid_through <= :closed", "valid_through <= CAST(:closed AS date) + 1")],
    "holds_never_lapse": [("release_lapsed_holds", r"valid_through <= day", "valid_through < day - 99")],
    "holds_pin_the_latest": [("hold", r"valid_through nulls last", "valid_through desc")],
    "captures_in_the_wrong_order": [("capture", r"valid_through nulls last", "valid_through desc")],
    "claw_back_spares_its_lot": [("claw_back", r"l\.lot_seq = own_lot", "false")],
    "claw_back_forgets_debt": [("claw_back", r"refund_policy = 'debt'", "false")],
    "claw_back_rounds_up": [("post_return", r"floor\(", "ceil(")],
    "returns_match_the_earliest": [("post_return", r"order by o\.placed_at desc", "order by o.placed_at")],
    "returns_ignore_expiry": [("post_return", r"select (\w\.)?expired from", "select 0 from")],
    "reversals_revive_lapsed_lots": [("reverse_spend", r"if lapsed then", "if false then")],
    "reversals_in_order_of_taking": [("reverse_spend", r"order by s\.seq desc", "order by s.seq")],
    "earnings_repay_nothing": [("earn_orders.sql", r"least\(debt, upto( - points)?\)", "0")],
}  # fmt: skip


# every one in the long mode; by default those that a story finds within a few seconds
EVERY_TIME = (
    "spending_by_age", "spends_take_held_points", "other_content_is_accepted", "claw_back_rounds_up", "reversals_revive_lapsed_lots",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS if LONG else EVERY_TIME)
def test_the_model_kills_planted_faults(ledger, monkeypatch, fault):
    age(ledger)
    for where, pattern, instead in FAULTS[fault]:
        plant(ledger, monkeypatch, where, pattern, instead)

    with pytest.raises((AssertionError, DBAPIError, LedgerError)) as found:
        tell_stories(ledger.url, profile(400, 40))

    # a difference, a refusal of the ledger's own, or of a constraint: never SQL that does not run
    codes = [
        getattr(getattr(found.value, "orig", None), "pgcode", ""),
        *re.findall(r"refused (\w{5})", str(found.value)),
    ]
    assert all(code == "" or code.startswith(("PL", "23")) for code in codes), found.value


def plant(ledger: Any, monkeypatch: pytest.MonkeyPatch, where: str, pattern: str, instead: str) -> None:
    def broken(source: str) -> str:
        changed, times = re.subn(pattern, instead, source)
        assert times, f"{where} is written another way now: plant {pattern!r} anew"
        return changed

    name, is_statement, _ = where.partition(".sql")
    if is_statement:
        wrong = sa.text(broken(queries.statement(name).text))
        for module in (events, expiry):
            monkeypatch.setattr(module, "statement", lambda asked: wrong if asked == name else queries.statement(asked))
        return
    source = ledger.one(
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'points'::regnamespace AND proname = :name",
        name=name,
    )
    with ledger.engine("admin").begin() as connection:
        connection.exec_driver_sql(broken(source).replace("%", "%%"))
