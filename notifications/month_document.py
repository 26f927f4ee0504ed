"""What the report of a month says, block by block, in words and figures as a reader sees them.

The page and the PDF are set from these blocks and format nothing themselves: a figure in one is the same figure in the other.
Its input is the report of ``docs/reference/month-report.md``; no figure is computed here but a change or a sum of two.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from notifications import charts
from notifications.document import Block, Box, Boxes, Chart, Heading, Paragraph, Words, table

Report = Mapping[str, Any]
LAPSED: Final = {
    ("cleared", None): "Cleared",
    (
        "cleared",
        "unreachable",
    ): "Cleared without a notice: no channel reaches the member, and the programme says expire",
    ("deferred", "no_notice"): "Kept: no notice was accepted",
    ("deferred", "too_late"): "Kept: the notice was accepted too late",
    ("deferred", "unreachable"): "Kept: no channel reaches the member",
}
BOUNDS: Final = ("low", "base", "high")


def title(report: Report) -> str:
    """The heading under the verdict."""
    return f"{report['programme']}: {report['month']}"


def blocks(report: Report, sha256: str) -> list[Block]:
    """Everything below the title; ``sha256`` is that of the ``report.json`` it stands for."""
    return [
        _said(
            f"The days {report['first']} to {report['through']}, as booked when the last of them was closed. Points are whole; "
            f"money is {report['currency']}, a point is worth {report['point_value']}."
        ),
        _boxes(report),
        *_agreements(report),
        *_roll_forward(report),
        *_orders(report),
        *_liability(report),
        *_open_points(report),
        *_statistics(report),
        *_notices(report),
        *_adjustments(report),
        Heading(2, "Proof"),
        _said(_backups(report["backups"])),
        Paragraph((Words("SHA-256 of report.json: "), Words(sha256, "code"))),
        Paragraph((Words(f"Checkpoint of {report['through']}: "), Words(report["checkpoint"], "code"))),
        Paragraph(
            (Words("Made again from the same ledger, this report is the same bytes: "),
             Words(f"loyalty month verify {report['month']}", "code")), is_soft=True,
        ),
    ]  # fmt: skip


def _boxes(report: Report) -> Boxes:
    roll, liability, members, rate = (
        report[key] for key in ("roll_forward", "liability", "members", "redemption_rate")
    )
    change = _signed(roll["closing"] - roll["opening"])
    return Boxes(
        (
            Box("Points outstanding", points(roll["closing"]), f"{change} in the month", "new"),
            Box(f"Liability, {report['currency']}", _money(liability["liability"]),
                f"of {_money(liability['gross'])} for all open points", "new"),
            Box("Active members", _percent(members["share_active"]),
                f"{points(members['active'])} of {points(members['members'])}", "same"),
            Box("Redemption rate", _percent(rate["of_the_month"]), f"{_percent(rate['since_the_start'])} since the start", "same"),
        )
    )  # fmt: skip


def _agreements(report: Report) -> Iterable[Block]:
    rows: list[Sequence[Any]] = []
    for check in report["checks"]:
        bad = check["deviations"]
        verdict = Words(f"{points(bad)} deviate", "bad") if bad else Words("agrees", "good")
        name = (Words(f"{check['title']} "), Words(f"({check['id']})", "soft"))
        rows.append((name, points(check["left"]), points(check["right"]), _signed(check["difference"]), verdict))
        rows += [(_row(row),) for row in check["rows"]]
        if check["offending"] > len(check["rows"]):
            rows.append((f"… {len(check['rows'])} of {points(check['offending'])} shown",))
    yield Heading(2, "What must agree")
    yield table("What|One side#|Other side#|Difference#|Result", rows)


def _roll_forward(report: Report) -> Iterable[Block]:
    roll, debt = report["roll_forward"], report["debt"]
    days = roll["days"]
    dates = [day["date"] for day in days]
    yield Heading(2, "Roll-forward")
    closing = [("outstanding", "new", [day["closing"] for day in days])]
    yield _chart("Points outstanding at the end of each day", charts.line_chart, dates, closing)
    yield table(
        "Kind|Entries#|Points#|Balance#",
        [
            (_bold("Opening balance"), "", "", _bold(points(roll["opening"]))),
            *((row["kind"], points(row["entries"]), points(row["points"]), _signed(row["moved"])) for row in roll["kinds"]),
            (_bold("Closing balance"), "", "", _bold(points(roll["closing"]))),
        ],
    )  # fmt: skip
    moved = [(row["kind"], row["moved"]) for row in roll["kinds"] if row["moved"]]
    yield _chart("What moved the balance", charts.value_chart, moved)
    owed = f"{points(debt['opening'])} + {points(debt['owed'])} owed − {points(debt['repaid'])} repaid = "
    yield Paragraph((Words(f"Owed by members: {owed}"), _bold(points(debt["closing"])), Words(".")))
    if [row["tier"] for row in roll["tiers"]] != ["none"]:
        yield Heading(3, "By tier")
        yield table(
            "Tier|Members#|Opening#|Came and went#|Moved#|Closing#",
            [(row["tier"], points(row["members"]), points(row["opening"]), _signed(row["changed_tier"]), _signed(row["moved"]),
              points(row["closing"])) for row in roll["tiers"]],
        )  # fmt: skip
    yield Heading(3, "By day")
    flows = [
        (words, css, [day["kinds"].get(kind, 0) for day in days])
        for words, css, kind in (("earned", "new", "earn"), ("spent", "old", "spend"))
    ]
    yield _chart("Points earned and spent, day by day", charts.line_chart, dates, flows)
    yield table(
        "Day|Opening#|Moved|Closing#|Debt#",
        [(row["date"], points(row["opening"]), ", ".join(f"{kind} {points(moved)}" for kind, moved in row["kinds"].items()),
          points(row["closing"]), points(row["debt"])) for row in days],
    )  # fmt: skip
    if report["unusual_days"]:
        yield Heading(3, "Unusual days")
        yield _said(
            "More than three times the median of the month's other days, or nothing where there is usually something."
        )
        yield table(
            "Day|Kind|Points#|Usual#",
            [(row["date"], row["kind"], points(row["points"]), _money(row["usual"])) for row in report["unusual_days"]],
        )


def _orders(report: Report) -> Iterable[Block]:
    orders, returns = report["orders"], report["returns"]
    yield Heading(2, "Orders, returns and the ledger")
    yield table(
        "What|Points#",
        [
            (f"{points(orders['orders'])} orders that the month's nights judged, computed again", points(orders["recomputed"])),
            ("booked in the month for earlier nights", _signed(orders["booked_earlier_nights"])),
            ("booked after the month", _signed(-orders["booked_later"])),
            (_bold("Earnings of orders in the ledger"), _bold(points(orders["in_ledger"]))),
            (f"{points(returns['returns'])} returns took back", points(returns["points"])),
        ],
    )  # fmt: skip
    if report["not_accepted"]:
        named = ", ".join(f"{points(row['n'])} × {row['reason']}" for row in report["not_accepted"])
        yield _said(f"Events that moved no points: {named}.")


def _liability(report: Report) -> Iterable[Block]:
    found = report["liability"]
    use, worth = found["expected_use"], found["expected_use_value"]
    yield Heading(2, "Liability")
    yield _said(f"Method: {found['method']}.")
    yield table(
        "Points|Low#|Base#|High#",
        [
            (f"Expected to be used, of {points(report['open_points']['points'])} open", *(points(use[key]) for key in BOUNDS)),
            (f"Worth, {report['currency']}", *(_money(worth[key]) for key in BOUNDS)),
        ],
    )  # fmt: skip
    yield _said(
        "Low and high: the estimate without each cohort's evidence in turn, and as far off as the back-test below was at its "
        f"worst. Expected never to be used: {points(found['expected_breakage'])} points. Counted as used for want of evidence: "
        f"{points(found['without_evidence'])}."
    )
    yield Heading(3, "By cohort")
    yield table(
        "Opened in|Issued#|Used#|Lapsed#|Returned#|Open#|Will be used#|Used in all#|Liability#",
        [(row["opened"], points(row["issued"]), points(row["used"]), points(row["lapsed"]), points(row["returned"] + row["moved"]),
          points(row["open"]), points(row["expected_use"]), _percent(row["share_used_in_all"]), _money(row["liability"]))
         for row in found["cohorts"]],
    )  # fmt: skip
    if found["back_test"]:
        yield Heading(3, "Back-test: use since then, expected at earlier month ends, and what came")
        yield table(
            "Month end|Open then#|Expected use#|Used#|Difference#|Without evidence#",
            [(row["as_of"], points(row["open"]), points(row["expected"]), points(row["used"]), _signed(row["difference"]),
              points(row["without_evidence"])) for row in found["back_test"]],
        )  # fmt: skip
    yield Heading(3, "Journal")
    yield table(
        "Account|Debit#|Credit#|Text",
        [(row["account"], *("" if row[side] == "0.00" else _money(row[side]) for side in ("debit", "credit")), row["text"])
         for row in found["journal"]],
    )  # fmt: skip


def _open_points(report: Report) -> Iterable[Block]:
    lots = report["open_points"]
    yield Heading(3, "Open points: age and end")
    opened = [(row["month"], row["points"]) for row in lots["by_month_opened"]]
    yield _chart("Open points by the month they were opened in", charts.value_chart, opened)
    lapse = [(row["month"], row["points"]) for row in lots["by_month_of_lapse"]]
    yield _chart("Open points by the month of their last day", charts.value_chart, lapse)
    yield table(
        f"Month of the last day|Points#|Worth, {report['currency']}#",
        [(row["month"], points(row["points"]), _money(row["value"])) for row in lots["by_month_of_lapse"]],
    )


def _statistics(report: Report) -> Iterable[Block]:
    yield Heading(2, "Rewards and products")
    yield table(
        "Reward|Redemptions#|Points#",
        [(row["reward"] or "not named", points(row["redemptions"]), points(row["points"])) for row in report["rewards"]],
    )  # fmt: skip
    yield table(
        "Product that earned most|Lines#|Quantity#|Amount#|Points, exact#",
        [(row["sku"], points(row["lines"]), *(_money(row[key]) for key in ("quantity", "amount", "points")))
         for row in report["products"]],
    )  # fmt: skip


def _notices(report: Report) -> Iterable[Block]:
    if report["lapsed"]:
        yield Heading(2, "Points that lapsed, and the notices before")
        yield table(
            "Lots|Lots#|Points#",
            [(LAPSED[row["what"], row["why"]], points(row["lots"]), points(row["points"])) for row in report["lapsed"]],
        )
    if report["notices"]:
        counts = ("written", "accepted", "refused", "uncertain", "not_sent", "waiting", "repeated", "lost")
        yield Heading(2, "Notices to members")
        yield table(
            "Kind|" + "|".join(f"{name.replace('_', ' ').capitalize()}#" for name in counts),
            [(row["kind"], *(points(row[name]) for name in counts)) for row in report["notices"]],
        )
        yield _said(
            "Results as they stood at the end of the day after the month. Repeated: sent again after an attempt that may have arrived."
        )


def _adjustments(report: Report) -> Iterable[Block]:
    yield Heading(2, "Adjustments, with their approvals")
    if not report["adjustments"]:
        yield Paragraph((Words("There were none."),))
        return
    yield table(
        "Day|Member|Kind|Points#|Approval|Proposed, approved by|Why",
        [(row["book_date"], row["member_no"] or "–", row["kind"], points(row["points"]), str(row["approval_id"] or "none"),
          f"{row['proposed_by'] or '–'}, {row['approved_by'] or 'nobody'}", row["reason"] or "–")
         for row in report["adjustments"]],
    )  # fmt: skip


def _backups(backups: Mapping[str, Any]) -> str:
    newest = (
        f"the newest proof by its end is of {backups['last_proven']}"
        if backups["last_proven"]
        else "none was proven by its end"
    )
    return f"Backups in the month: {points(backups['taken'])} taken, {points(backups['proven'])} restored and proven; {newest}."


def _chart(caption: str, draw: Any, *values: Any) -> Chart:
    return Chart(caption, draw(caption, *values))


def _said(text: str) -> Paragraph:
    return Paragraph((Words(text),), is_soft=True)


def _bold(text: str) -> Words:
    return Words(text, "bold")


def points(value: int) -> str:
    """Whole points, or a count."""
    return f"{value:,}"


def _signed(value: int) -> str:
    return f"{value:+,}" if value else "0"


def _money(value: str) -> str:
    return f"{Decimal(value):,f}"


def _percent(value: str) -> str:
    return f"{Decimal(value) * 100:.2f} %"  # shares have four places: nothing is rounded here


def _row(value: Any) -> str:
    """A row of a check in words: what has a value, in its order."""
    if not isinstance(value, Mapping):
        return str(value)
    return ", ".join(f"{key} {inner}" for key, inner in value.items() if inner is not None)
