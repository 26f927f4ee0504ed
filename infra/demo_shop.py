"""A shop that does not exist: seeded feeds for the demo and the benchmarks, the same bytes for the same arguments.

It has what real shops have: guests, postage, regulars and people who come once, refunds with and without the order
they belong to, refunds of points that are spent already, redemptions of more than is there or by nobody, cancellations
the next day and weeks later. It keeps a rough balance for each member (one point per 1.00, for thirty days) so that
most redemptions are honoured; what the ledger makes of them is the ledger's business. No person is behind any number.
"""

import datetime as dt
import gzip
import random
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

ORDERS_A_DAY: Final = 0.11  # for each member
GUESTS: Final = 0.12
POSTAGE: Final = ("POST", "postage", 395)
_GOODS: Final = {
    "kitchen": ("mug", "teapot", "tea towel", "butter dish", "egg cup", "jam jar", "cake stand", "apron"),
    "garden": ("lantern", "bird house", "watering can", "plant pot", "wind chime", "seed box"),
    "paper": ("notebook", "gift wrap", "card set", "calendar", "sticker sheet", "ribbon"),
    "home": ("cushion", "candle", "photo frame", "clock", "doormat", "coat hook", "vase", "throw"),
    "toys": ("kite", "puzzle", "spinning top", "paper boat", "skittles"),
}
_REWARDS: Final = ((25, "tea towel"), (50, "voucher 5"), (100, "voucher 10"), (150, "hamper"), (200, "voucher 20"))
_LINES: Final = (1, 1, 2, 2, 2, 3, 3, 4, 5, 6)
_QUANTITIES: Final = (1, 1, 1, 1, 2, 2, 3, 6)
_OPEN: Final = range(9 * 60, 21 * 60)  # minutes of the day; no shop hour is skipped or repeated by summer time


class Line(NamedTuple):
    """Goods in an order; the price in pence."""

    sku: str
    category: str
    pence: int
    quantity: int


class Order(NamedTuple):
    """What a refund needs to know of an order."""

    order_no: str
    member: int | None
    lines: tuple[Line, ...]
    where: str  # store and channel, as the file writes them


@dataclass(frozen=True)
class ShopFiles:
    """The files that were written, and how much is in them."""

    members: Path
    orders: Path
    redemptions: Path
    cancellations: Path
    orders_written: int
    order_lines: int
    refunds: int
    redemptions_written: int
    cancellations_written: int


def write_shop(folder: Path, *, starts_on: dt.date, days: int, members: int, seed: int) -> ShopFiles:
    """Write ``members.csv``, ``orders.csv.gz``, ``redemptions.csv`` and ``cancellations.csv`` into ``folder``.

    The orders of 60 days need about 22 lines for each member. Raises ``OSError`` when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shop = _Shop(random.Random(seed), starts_on, days, members)  # noqa: S311 - a shop, not a secret
    paths = [folder / name for name in ("members.csv", "orders.csv.gz", "redemptions.csv", "cancellations.csv")]
    _write(paths[0], "member_no,joined_on,locale,time_zone,groups,birthday,status", shop.member_rows())
    columns = "order_no,member_no,placed_at,sku,quantity,unit_price,category,store,channel,original_order_no"
    # neither name nor time in the gzip header, or the same shop would not be the same bytes
    with paths[1].open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as packed:
        packed.write(f"{columns}\n".encode())
        for day in range(days):
            packed.write("".join(shop.day(day)).encode())
    _write(paths[2], "redemption_no,member_no,redeemed_at,points,reward", shop.redeemed)
    _write(paths[3], "redemption_no,cancelled_at", [row for _, row in sorted(shop.cancelled)])
    return ShopFiles(
        paths[0],
        paths[1],
        paths[2],
        paths[3],
        shop.orders,
        shop.lines,
        shop.refunds,
        len(shop.redeemed),
        len(shop.cancelled),
    )


def _write(path: Path, header: str, rows: Sequence[str]) -> None:
    path.write_bytes("\n".join([header, *rows, ""]).encode())


def _catalogue(rng: random.Random) -> tuple[tuple[str, str, int], ...]:
    """Return (sku, category, pence); those that sell best come first."""
    kinds = [(category, name) for category, names in _GOODS.items() for name in names for _ in range(4)]
    rng.shuffle(kinds)
    return tuple(
        (
            f"{name.replace(' ', '-').upper()}-{number:03d}",
            category,
            rng.choice((85, 125, 195, 295, 425, 650, 995, 1495)),
        )
        for number, (category, name) in enumerate(kinds, start=1)
    )


@dataclass
class _Shop:
    """The state of the shop from day to day."""

    rng: random.Random
    starts_on: dt.date
    days: int
    members: int
    orders: int = 0
    lines: int = 0
    refunds: int = 0
    redeemed: list[str] = field(default_factory=list)
    cancelled: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.catalogue = _catalogue(self.rng)
        # some come every week, most now and then; a fifth joins while the shop is running
        weights = [self.rng.choice((1, 1, 2, 2, 3, 8)) for _ in range(self.members)]
        self.cumulated = [total := weights[0]] + [total := total + weight for weight in weights[1:]]
        early = [self.rng.random() < 0.8 for _ in range(self.members)]
        self.joins = [self.rng.randint(-700, -1) if was else self.rng.randrange(self.days) for was in early]
        self.held: defaultdict[int, deque[list[int]]] = defaultdict(deque)  # member: [day, points], oldest first
        self.recent: deque[list[Order]] = deque(maxlen=12)  # a list for each of the last days
        self.latest: dict[int, Order] = {}
        self.regrets: defaultdict[int, list[Order]] = defaultdict(list)  # day: orders that will be refunded

    def member_rows(self) -> list[str]:
        """Return the members' rows; the last of them are missing, the shop learns of them by their first order."""
        known = range(self.members - self.members // 40)
        return [f"{_number(member)},{self._date(self.joins[member])},{self._about()}" for member in known]

    def day(self, day: int) -> list[str]:
        """Return the order lines of a day in the order of their time, and do what else happens on it."""
        rng, date = self.rng, self._date(day)
        usual = ORDERS_A_DAY * self.members
        count = max(1, rng.randint(round(usual * 0.75), round(usual * 1.3)))
        today: list[Order] = []
        blocks = [(minute, self._order(day, date, minute, today)) for minute in sorted(rng.choices(_OPEN, k=count))]
        for order in [*self.regrets.pop(day, ()), *self._returned(count)]:
            minute = rng.choice(_OPEN)
            blocks.append((minute, self._refund(order, date, minute)))
        self.recent.append(today)
        self._redemptions(day, date)
        return [block for _, block in sorted(blocks)]

    def _date(self, day: int) -> str:
        return (self.starts_on + dt.timedelta(days=day)).isoformat()

    def _about(self) -> str:
        locale, zone = self.rng.choice(
            (("en", "Europe/London"),) * 8 + (("zh_CN", "Asia/Shanghai"), ("en", "Europe/Paris"))
        )
        groups = self.rng.choice(("",) * 6 + ("newsletter",) * 3 + ("newsletter|staff",))
        birthday = f"{self.rng.randint(1, 12):02d}-{self.rng.randint(1, 28):02d}" if self.rng.random() < 0.7 else ""
        return f"{locale},{zone},{groups},{birthday},active"

    def _order(self, day: int, date: str, minute: int, today: list[Order]) -> str:
        rng = self.rng
        member: int | None = rng.choices(range(self.members), cum_weights=self.cumulated)[0]
        if rng.random() < GUESTS or (member is not None and self.joins[member] > day):
            member = None
        is_web = rng.random() < 0.35
        where = ",web" if is_web else ("harbour,shop" if rng.random() < 0.6 else "station,shop")
        lines = [self._goods() for _ in range(_LINES[int(rng.random() * len(_LINES))])]
        if is_web and rng.random() < 0.6:
            lines.append(Line(*POSTAGE, 1))
        self.orders += 1
        order = Order(f"A{self.orders:07d}", member, tuple(lines), where)
        today.append(order)
        if member is not None:
            self.latest[member] = order
            self.held[member].append(
                [day, sum(line.pence * line.quantity for line in lines if line.sku != "POST") // 100]
            )
        return self._written(order, order.lines, date, minute, "")

    def _goods(self) -> Line:
        sku, category, pence = self.catalogue[int(self.rng.random() ** 1.6 * len(self.catalogue))]
        return Line(sku, category, pence, _QUANTITIES[int(self.rng.random() * len(_QUANTITIES))])

    def _returned(self, count: int) -> Iterator[Order]:
        """Choose orders of the last days that come back; now and then something that was never bought here."""
        rng = self.rng
        for _ in range(round(count * 0.04 + rng.random())):
            bought = rng.choice(self.recent) if self.recent else []
            if bought and rng.random() < 0.95:
                yield rng.choice(bought)
            elif rng.random() < 0.5:
                member = rng.randrange(self.members)
                yield Order("", member, (Line("GIFT-CARD-900", "home", 1000, 1),), "harbour,shop")

    def _refund(self, order: Order, date: str, minute: int) -> str:
        rng = self.rng
        lines = [line for line in order.lines if line.sku != "POST"] if rng.random() < 0.9 else list(order.lines)
        lines = lines if rng.random() < 0.5 else lines[:1]
        back = [line._replace(quantity=-(line.quantity if rng.random() < 0.7 else 1)) for line in lines]
        self.refunds += 1
        return self._written(
            order._replace(order_no=f"R{self.refunds:07d}"),
            back,
            date,
            minute,
            order.order_no if rng.random() < 0.6 else "",
        )

    def _written(self, order: Order, lines: Sequence[Line], date: str, minute: int, original: str) -> str:
        self.lines += len(lines)
        member = "" if order.member is None else _number(order.member)
        begin = f"{order.order_no},{member},{date} {minute // 60:02d}:{minute % 60:02d},"
        end = f",{order.where},{original}\n"
        return "".join(
            [
                f"{begin}{sku},{quantity},{pence // 100}.{pence % 100:02d},{category}{end}"
                for sku, category, pence, quantity in lines
            ]
        )

    def _redemptions(self, day: int, date: str) -> None:
        """Let some of those who bought lately spend; most of them what they have."""
        rng = self.rng
        minutes = sorted(rng.choices(_OPEN, k=round(self.members * 0.025)))
        for minute in minutes:
            order = rng.choice(rng.choice(self.recent) or [None])
            if order is None or order.member is None:
                continue
            member, mood = order.member, rng.random()
            balance = self._balance(member, day)
            affordable = [reward for reward in _REWARDS if reward[0] <= balance]
            if mood < 0.02:
                self._redeem(f"M9{rng.randrange(10**5):05d}", date, minute, _REWARDS[0])
            elif mood < 0.05:
                self._redeem(_number(member), date, minute, (balance + 500, "weekend for two"))
            elif affordable:
                reward = affordable[-1] if rng.random() < 0.6 else rng.choice(affordable)
                self._redeem(_number(member), date, minute, reward)
                self._spend(member, reward[0])
                self._second_thoughts(member, day, minute)

    def _redeem(self, member_no: str, date: str, minute: int, reward: tuple[int, str]) -> None:
        number = f"P{len(self.redeemed) + 1:07d}"
        at = f"{date} {minute // 60:02d}:{minute % 60:02d}"
        self.redeemed.append(f"{number},{member_no},{at},{reward[0]},{reward[1]}")

    def _second_thoughts(self, member: int, day: int, minute: int) -> None:
        """Cancel the redemption, soon or long after its points have lapsed; or return what earned the points."""
        mood = self.rng.random()
        if mood < 0.06:
            later = day + (1 if self.rng.random() < 0.6 else self.rng.randint(21, 40))
            if later < self.days:
                number = f"P{len(self.redeemed):07d}"
                at = f"{self._date(later)} {minute // 60:02d}:{minute % 60:02d}"
                self.cancelled.append((at, f"{number},{at}"))
        elif mood < 0.16 and member in self.latest:
            self.regrets[day + self.rng.randint(1, 4)].append(self.latest[member])

    def _balance(self, member: int, day: int) -> int:
        held = self.held[member]
        while held and held[0][0] < day - 29:  # lapses at about this age
            held.popleft()
        return sum(points for _, points in held)

    def _spend(self, member: int, points: int) -> None:
        held = self.held[member]
        while points and held:
            taken = min(points, held[0][1])
            held[0][1] -= taken
            points -= taken
            if not held[0][1]:
                held.popleft()


def _number(member: int) -> str:
    return f"M{100001 + member}"
