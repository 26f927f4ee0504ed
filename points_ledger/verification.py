"""Rebuilds every wallet and lot from the entries, recomputes every seal, and reports each difference.

Trusts the entries and nothing else: wallets, lots, keys and seals are projections or proofs that must agree.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text

from points_ledger.queries import statement


@dataclass(frozen=True)
class Difference:
    """One row that is not what the entries say: the invariant's id and the row in words."""

    check: str
    row: str


@dataclass(frozen=True)
class Verified:
    """What was looked at."""

    entries: int
    wallets: int
    lots: int
    seals: int


CHECKS = {
    "I1": "wallets: balance, debt (I14) and seq rebuilt from entries",
    "I2": "lots: points, remaining, expired and dates rebuilt from entries",
    "I3": "the lots of a member add up to the wallet",
    "I4": "running balances chain from entry to entry",
    "I5": "every book date's postings balance across accounts",
    "I6": "no spend took a lapsed or pending lot, no expiry a live one",
    "I7": "nothing due was left behind a closed day",
    "I8": "every key maps to one whole journal",
    "I9": "nothing was recorded after its day closed",
    "I10": "seals recompute, and chain from the first day",
    "I11": "nothing is negative",
    "I12": "book dates never go back",
    "I13": "a lot expired at most once",
}


def verify(connection: Connection, *, on_check: Callable[[str, str], None] | None = None) -> Iterator[Difference]:
    """Yield every difference; run it in a REPEATABLE READ transaction, so that all checks see one moment.

    ``on_check`` is told the id and title of each check as it begins.
    """
    for check, title in CHECKS.items():
        if on_check:
            on_check(check, title)
        yield from differences(connection, check)


def differences(connection: Connection, check: str) -> Iterator[Difference]:
    """Yield what one of ``CHECKS`` finds."""
    rows = connection.execution_options(yield_per=1000).execute(
        statement(f"verify_{check.lower()}"), {"since": "-infinity"}
    )
    for row in rows:
        yield Difference(check, row.difference)


def counts(connection: Connection) -> Verified:
    """How much there is to verify."""
    row = connection.execute(
        text(
            "SELECT (SELECT count(*) FROM points.entry) AS entries, (SELECT count(*) FROM points.wallet) AS wallets,"
            " (SELECT count(*) FROM points.lot) AS lots, (SELECT count(*) FROM points.seal) AS seals"
        )
    ).one()
    return Verified(row.entries, row.wallets, row.lots, row.seals)
