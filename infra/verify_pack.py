"""Verifies a month's evidence pack by itself: Python's standard library and ``cryptography``, nothing of the ledger's code.

    python verify_pack.py PACK.zip [--signer KEY_ID]

It checks the signature and every file's hash, then computes again from the CSV files: each member's balance and debt from
entry to entry, the rest of every lot, wallets, roll-forward by day and kind, the Merkle root of every day of the month, the
chain of seals from the first day, what orders earned from their lines, returns, redemptions and the report's totals.
It stops at the first difference and names it. Exit code 0: everything agrees; 1: something differs; 2: this is no pack.
"""

import argparse
import base64
import csv
import datetime as dt
import hashlib
import io
import json
import struct
import sys
import uuid
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from decimal import Context, Decimal, setcontext
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NULL = "\\N"
SIGNS = {"earn": 1, "spend_reversal": 1, "reinstate": 1, "transfer_in": 1, "adjust_up": 1, "owe": 0,
         "spend": -1, "claw_back": -1, "repay": -1, "expire": -1, "transfer_out": -1, "adjust_down": -1}  # fmt: skip
DEBT = {"owe": 1, "repay": -1}
DAY_0 = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - where Postgres counts from; the pack's times are UTC
Row = dict[str, str]


class Difference(Exception):
    """The first thing that is not what it must be."""

    def __init__(self, file: str, row: object, column: str, expected: object, found: object) -> None:
        """All five, as they are printed."""
        super().__init__(file, row, column, expected, found)
        told = {"file": file, "row": row, "column": column, "expected": expected, "found": found}
        self.lines = [f"{name:<10}{value}" for name, value in told.items()]


def same(file: str, row: object, column: str, expected: object, found: object) -> None:
    """Raise the difference when there is one."""
    if expected != found:
        raise Difference(file, row, column, expected, found)


class Pack:
    """A zip file, or the folder it was unpacked into."""

    def __init__(self, path: Path) -> None:
        """Look at what the path is."""
        self.folder = path if path.is_dir() else None
        self.zip = None if path.is_dir() else zipfile.ZipFile(path)

    def open(self, name: str) -> IO[bytes]:
        """A file of the pack."""
        return (self.folder / name).open("rb") if self.folder else self.zip.open(name)  # type: ignore[union-attr] # - one of two

    def names(self) -> list[str]:
        """Every file that is there."""
        if self.zip:
            return sorted(self.zip.namelist())
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file())  # type: ignore[union-attr, arg-type] # - as above

    def rows(self, name: str) -> Iterator[tuple[int, Row]]:
        """The rows of a CSV file with their line numbers."""
        with io.TextIOWrapper(self.open(name), "utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                yield reader.line_num, row


class OfMember:
    """A CSV file in the order of members, read a member at a time."""

    def __init__(self, pack: Pack, name: str) -> None:
        """Read the first row."""
        self.name, self.rows = name, pack.rows(name)
        self.next = next(self.rows, None)

    def member(self) -> int | None:
        """Whose rows come next."""
        return int(self.next[1]["member_id"]) if self.next else None

    def take(self, member: int) -> Iterator[tuple[int, Row]]:
        """The rows of a member, if they come next."""
        while self.next and int(self.next[1]["member_id"]) == member:
            yield self.next
            self.next = next(self.rows, None)
            if self.next and int(self.next[1]["member_id"]) < member:
                raise Difference(self.name, self.next[0], "member_id", f"at least {member}", self.next[1]["member_id"])


# The image of an entry that its day's root covers: the binary form of a Postgres record, hashed as RFC 6962 says ---------


@lru_cache(4096)
def _date(text: str) -> bytes:
    return struct.pack(">i", (dt.date.fromisoformat(text) - DAY_0.date()).days)


def _moment(text: str) -> bytes:
    return struct.pack(">q", (dt.datetime.fromisoformat(text) - DAY_0) // dt.timedelta(microseconds=1))


TYPES: dict[str, tuple[int, Callable[[str], bytes]]] = {
    "int8": (20, lambda text: struct.pack(">q", int(text))), "int4": (23, lambda text: struct.pack(">i", int(text))),
    "int2": (21, lambda text: struct.pack(">h", int(text))), "text": (25, lambda text: text.encode()), "date": (1082, _date),
    "uuid": (2950, lambda text: uuid.UUID(text).bytes), "time": (1184, _moment),
}  # fmt: skip
SEALED = [(name, *TYPES[kind]) for name, kind in (
    ("member_id", "int8"), ("seq", "int8"), ("book_date", "date"), ("effective_on", "date"), ("journal_id", "uuid"), ("kind", "text"),
    ("sign", "int2"), ("points", "int8"), ("lot_seq", "int8"), ("lot_remaining_after", "int8"), ("balance_after", "int8"),
    ("debt_after", "int8"), ("reversal_of", "int8"), ("approval_id", "int8"), ("run_id", "int8"), ("usable_from", "date"),
    ("valid_through", "date"), ("idle_by", "int4"), ("policy_version", "int4"), ("source", "text"), ("source_ref", "text"),
    ("reason", "text"), ("actor", "text"), ("recorded_at", "time"),
)]  # fmt: skip


def leaf(row: Row) -> bytes:
    """The hash of an entry."""
    image = [b"\x00", struct.pack(">i", len(SEALED))]
    for name, oid, encode in SEALED:
        if (text := row[name]) == NULL:
            image.append(struct.pack(">Ii", oid, -1))
        else:
            value = encode(text)
            image.append(struct.pack(">Ii", oid, len(value)) + value)
    return hashlib.sha256(b"".join(image)).digest()


class Tree:
    """The Merkle root of leaves that come one by one; holds one node a level."""

    def __init__(self) -> None:
        """No leaf yet."""
        self.levels: list[bytes | None] = []

    def add(self, node: bytes) -> None:
        """One more leaf."""
        for level, left in enumerate(self.levels):
            if left is None:
                self.levels[level] = node
                return
            node, self.levels[level] = hashlib.sha256(b"\x01" + left + node).digest(), None
        self.levels.append(node)

    def root(self) -> str:
        """The root so far, in hex."""
        nodes = [node for node in self.levels if node is not None]
        if not nodes:
            return hashlib.sha256(b"").hexdigest()
        root = nodes[0]
        for left in nodes[1:]:
            root = hashlib.sha256(b"\x01" + left + root).digest()
        return root.hex()


# What is computed again ----------------------------------------------------------------------------------------------------


class Month:
    """The month as its rows give it."""

    def __init__(self, pack: Pack, report: dict[str, Any]) -> None:
        """Nothing is read yet but what the rules are worth."""
        self.pack, self.report = pack, report
        self.trees: dict[str, Tree] = defaultdict(Tree)
        self.kinds: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
        self.sums: dict[str, int] = defaultdict(int)
        self.sources: dict[str, int] = defaultdict(int)
        self.worth: dict[tuple[str, str, str], Decimal] = {}
        self.caps: dict[str, int] = {}
        for _, row in pack.rows("rules.csv"):
            self.worth[row["version"], row["kind"], row["position"]] = Decimal(row["amount"])
            self.caps[row["version"]] = int(row["daily_cap"])

    def members(self) -> None:
        """Balances, debts, lots, wallets and orders, member by member."""
        names = ("members", "wallets", "lots", "entries", "judgements", "order_lines")
        files = {name: OfMember(self.pack, f"{name}.csv") for name in names}
        while (heads := [file.member() for file in files.values() if file.next]) != []:
            member = min(head for head in heads if head is not None)
            earned: dict[str, int] = {}
            if any(files[name].member() == member for name in names[:4]):  # else an order that earned nothing
                said = {name: list(files[name].take(member)) for name in ("members", "wallets", "lots")}
                for name in ("members", "wallets"):
                    rows = f"{len(said[name])} row{'s' * (len(said[name]) != 1)}"
                    same(f"{name}.csv", f"of member_id {member}", "member_id", "1 row", rows)
                entries = files["entries"].take(member)
                earned = self._entries(said["members"][0], said["wallets"][0], said["lots"], entries)
            self._orders(list(files["judgements"].take(member)), list(files["order_lines"].take(member)), earned)

    def _entries(
        self,
        member: tuple[int, Row],
        wallet: tuple[int, Row],
        lots: list[tuple[int, Row]],
        entries: Iterator[tuple[int, Row]],
    ) -> dict[str, int]:
        said = member[1]
        seq, balance, debt = int(said["opening_entries"]), int(said["opening"]), int(said["opening_debt"])
        left = {row["lot_seq"]: int(row["opening"]) for _, row in lots}
        same("lots.csv", f"of member_id {said['member_id']}", "opening", balance, sum(left.values()))
        earned: dict[str, int] = defaultdict(int)
        for line, row in entries:
            kind, points = row["kind"], int(row["points"])
            seq, sign = seq + 1, SIGNS.get(kind)
            balance, debt = balance + (sign or 0) * points, debt + DEBT.get(kind, 0) * points
            same("entries.csv", line, "seq", seq, int(row["seq"]))
            same("entries.csv", line, "sign", sign, int(row["sign"]))
            same("entries.csv", line, "balance_after", balance, int(row["balance_after"]))
            same("entries.csv", line, "debt_after", debt, int(row["debt_after"]))
            if (lot := row["lot_seq"]) != NULL:
                same("lots.csv", f"of member_id {said['member_id']}", "lot_seq", lot, lot if lot in left else "no row")
                left[lot] += (sign or 0) * points
                same("entries.csv", line, "lot_remaining_after", left[lot], int(row["lot_remaining_after"]))
            self.trees[row["book_date"]].add(leaf(row))
            of_kind = self.kinds[row["book_date"]][kind]
            of_kind[0], of_kind[1] = of_kind[0] + 1, of_kind[1] + points
            if row["source"] in ("order", "return", "redemption"):
                self.sources[f"{row['source']} {kind}"] += points
            if kind == "earn" and row["source"] == "order":
                earned[row["source_ref"]] += points
        for file, line, row, column, value in (
            ("members.csv", *member, "closing", balance), ("members.csv", *member, "closing_debt", debt),
            ("wallets.csv", *wallet, "balance", balance), ("wallets.csv", *wallet, "debt", debt),
            ("wallets.csv", *wallet, "entries", seq),
            *(("lots.csv", line, row, "closing", left[row["lot_seq"]]) for line, row in lots),
        ):  # fmt: skip
            same(file, line, column, value, int(row[column]))
        same("lots.csv", f"of member_id {said['member_id']}", "closing", balance, sum(left.values()))
        for name, value in (("members", 1), ("opening", int(said["opening"])), ("opening_debt", int(said["opening_debt"])),
                            ("closing", balance),
                            ("closing_debt", debt), ("with_points", balance > 0), ("active", said["is_active"] == "True"),
                            ("new", said["is_new"] == "True")):  # fmt: skip
            self.sums[name] += value
        return earned

    def _orders(self, orders: list[tuple[int, Row]], lines: list[tuple[int, Row]], earned: dict[str, int]) -> None:
        bought: dict[str, dict[str, Decimal]] = defaultdict(dict)
        for _, row in lines:
            bought[row["order_no"]][row["line_no"]] = Decimal(row["quantity"]) * Decimal(row["unit_price"])
        for line, row in orders:
            amounts, version = bought[row["order_no"]], row["policy_version"]
            same("judgements.csv", line, "purchase_lines", len(amounts), int(row["purchase_lines"]))
            same(
                "judgements.csv",
                line,
                "purchase_amount",
                sum(amounts.values(), Decimal(0)),
                Decimal(row["purchase_amount"]),
            )
            exact = Decimal(0)
            for place, rate, factors in zip(
                *(_list(row[name]) for name in ("lines", "rates", "multipliers")), strict=True
            ):
                worth = amounts[place] * self.worth[version, "rate", rate]
                for factor in factors.split("+") if factors != "0" else ():
                    worth *= self.worth[version, "multiplier", factor]
                exact += worth
            same("judgements.csv", line, "exact_points", exact, Decimal(row["exact_points"]))
            points = int(exact) + int(sum(self.worth[version, "bonus", bonus] for bonus in _list(row["bonuses"])))
            if self.caps[version]:  # what other orders of the day left of it
                points = min(points, int(row["points"]))
            same("judgements.csv", line, "points", points, int(row["points"]))
            if (booked := earned.pop(row["order_no"], None)) is not None:
                same("entries.csv", f"of order {row['order_no']}", "points", points, booked)
        for order_no in earned:
            raise Difference("judgements.csv", f"of order {order_no}", "order_no", order_no, "no row")

    def seals(self) -> None:
        """The chain since the first day, and the month's days against their entries."""
        before, outstanding, debt = NULL, 0, 0
        for line, row in self.pack.rows("seals.csv"):
            day, kinds = row["book_date"], self.kinds.get(row["book_date"], {})
            same("seals.csv", line, "previous", before, row["previous"])
            parts = [
                row[name]
                for name in ("book_date", "entries", "points_by_kind", "outstanding", "debt", "root", "previous")
            ]
            before = hashlib.sha256("\n".join(part for part in parts if part != NULL).encode()).hexdigest()
            same("seals.csv", line, "checkpoint", before, row["checkpoint"])
            if day >= self.report["first"]:
                outstanding += sum(SIGNS[kind] * points for kind, (_, points) in kinds.items())
                debt += sum(DEBT.get(kind, 0) * points for kind, (_, points) in kinds.items())
                same("seals.csv", line, "entries", sum(n for n, _ in kinds.values()), int(row["entries"]))
                same(
                    "seals.csv",
                    line,
                    "points_by_kind",
                    {kind: p for kind, (_, p) in kinds.items()},
                    json.loads(row["points_by_kind"]),
                )
                same("seals.csv", line, "outstanding", outstanding, int(row["outstanding"]))
                same("seals.csv", line, "debt", debt, int(row["debt"]))
                same("seals.csv", line, "root", self.trees[day].root(), row["root"])
            outstanding, debt = int(row["outstanding"]), int(row["debt"])
            self.sums["seals"] += 1
        same("report.json", "-", "checkpoint", before, self.report["checkpoint"])

    def events(self) -> None:
        """Orders, returns and redemptions against what was booked of them in the month."""
        months = self.report["first"], self.report["through"]
        for file, ours, theirs, kinds in (
            ("orders.csv", "recomputed", "booked", ("order earn",)),
            ("returns.csv", "said", "booked", ("return claw_back", "return owe")),
            ("redemptions.csv", "said", "booked", ("redemption spend",)), ("returned_orders.csv", "expected", "taken", ()),
        ):  # fmt: skip
            booked = 0
            for line, row in self.pack.rows(file):
                if row.get("is_exact", "True") == "True" or int(row["taken"]) > int(row["expected"]):
                    same(file, line, theirs, int(row[ours]), int(row[theirs]))
                if file == "returned_orders.csv":
                    same(file, line, "expected", _to_take_back(row), int(row["expected"]))
                same(file, line, "is_matched", "True", row.get("is_matched", "True"))
                booked += int(row.get("booked", 0)) * (months[0] <= row.get("book_date", "") <= months[1])
            same(file, "all rows", "booked", sum(self.sources[kind] for kind in kinds), booked)

    def totals(self, control: dict[str, Any]) -> None:
        """The report's figures, and the manifest's control totals."""
        roll = self.report["roll_forward"]
        kinds: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for of_day in self.kinds.values():
            for kind, (entries, points) in of_day.items():
                kinds[kind] = [kinds[kind][0] + entries, kinds[kind][1] + points]
        found = {row["kind"]: [row["entries"], row["points"]] for row in roll["kinds"]}
        same("report.json", "-", "roll_forward.kinds", dict(kinds), found)
        for day in roll["days"]:
            of_kinds = {kind: p for kind, (_, p) in self.kinds.get(day["date"], {}).items()}
            same("report.json", day["date"], "roll_forward.days.kinds", of_kinds, day["kinds"])
        of_report = self.report["members"] | {"opening": roll["opening"], "closing": roll["closing"]}
        of_report |= {f"{end}_debt": self.report["debt"][end] for end in ("opening", "closing")}
        for name in ("members", "new", "active", "with_points", "opening", "closing", "opening_debt", "closing_debt"):
            same("report.json", "-", name, self.sums[name], of_report[name])
        same("report.json", "-", "open_points.points", self.sums["closing"], self.report["open_points"]["points"])
        same("report.json", "-", "orders.in_ledger", self.sources["order earn"], self.report["orders"]["in_ledger"])
        entries = sum(n for n, _ in kinds.values())
        ours: dict[str, Any] = {"entries": entries, "points_by_kind": {kind: p for kind, (_, p) in kinds.items()}}
        ours |= {
            name: self.sums[name] for name in ("members", "seals", "opening", "closing", "opening_debt", "closing_debt")
        }
        same("MANIFEST.json", "-", "control_totals", ours, control)
        for check in self.report["checks"]:
            same("report.json", check["title"], f"checks.{check['id']}.deviations", 0, check["deviations"])


def _to_take_back(row: Row) -> int:
    granted, lapsed, before = (int(row[name]) for name in ("granted", "lapsed", "taken_before"))
    eligible, refunded = Decimal(row["eligible"]), Decimal(row["refunded"])
    if granted == 0 or eligible <= 0:
        return 0
    return max(before, min(granted if refunded >= eligible else int(granted * refunded / eligible), granted - lapsed))


def _list(text: str) -> list[str]:
    return text.strip("{}").split(",") if text not in ("{}", NULL) else []


def manifest_of(pack: Pack, signer: str | None) -> tuple[dict[str, Any], str]:
    """The manifest and its signer's id, after its signature and the hash of every file were checked."""
    body, seal = pack.open("MANIFEST.json").read(), json.loads(pack.open("MANIFEST.sig").read())
    key_id = hashlib.sha256(seal["public_key"].encode()).hexdigest()[:16]
    same("MANIFEST.sig", "-", "public_key", signer or key_id, key_id)
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(seal["public_key"])).verify(
            base64.b64decode(seal["signature"]), body
        )
    except InvalidSignature:
        raise Difference("MANIFEST.json", "-", "signature", "that of its bytes", "another one") from None
    manifest: dict[str, Any] = json.loads(body)
    same("MANIFEST.json", "-", "files", sorted([*manifest["files"], "MANIFEST.json", "MANIFEST.sig"]), pack.names())
    for name, file in manifest["files"].items():
        with pack.open(name) as content:
            same(name, "-", "sha256", file["sha256"], hashlib.file_digest(content, "sha256").hexdigest())  # type: ignore[arg-type] # - zip files read into buffers too
    return manifest, key_id


def main() -> int:
    """Verify the pack that is named, or the folder this script lies in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, nargs="?", default=Path(__file__).parent, help="the zip file, or its folder")
    parser.add_argument("--signer", help="the id of the key that must have signed it")
    options = parser.parse_args()
    setcontext(Context(prec=200))
    try:
        pack = Pack(options.pack)
        manifest, key_id = manifest_of(pack, options.signer)
        report = json.loads(pack.open("report.json").read())
        month = Month(pack, report)
        month.members()
        month.seals()
        month.events()
        month.totals(manifest["control_totals"])
        if record := manifest["record"]:
            same(
                "MANIFEST.json",
                "-",
                "record.report_sha256",
                manifest["files"]["report.json"]["sha256"],
                record["report_sha256"],
            )
    except Difference as found:
        print("DIFFERENT", *found.lines, sep="\n")
        return 1
    except (
        OSError, LookupError, ValueError, TypeError, ArithmeticError, struct.error, zlib.error, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        print(f"{options.pack} cannot be read as an evidence pack: {error!r}")
        return 2
    signed = f"signed off by {record['signed_by']}" if record and record["signed_by"] else "not signed off yet"
    print(f"{report['headline']} {month.sums['members']:,} members, {manifest['control_totals']['entries']:,} entries and"
          f" {month.sums['seals']:,} seals computed again; {signed}; the pack is signed by the key {key_id}.")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
