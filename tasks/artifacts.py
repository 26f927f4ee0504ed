"""What a run leaves in the Prefect UI: a summary to read and a table to look up. The books stay in the ledger."""

import datetime as dt
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State

from points_ledger.approvals import Approval
from points_ledger.night import NightResult
from points_ledger.undo import Figures

# what the ledger calls them, in words
WITHOUT_NOTICE = {
    "no_notice": "no notice was accepted",
    "too_late": "the notice was accepted too late",
    "unreachable": "no channel reaches the member",
    "unannounced": "no channel reaches the member (cleared)",
}


def publish_nights(results: list[NightResult], stopped: State[Any] | None = None) -> None:
    """Publish the nights of a run: what was posted, what lapsed, what was found, and why it stopped if it did."""
    if not results and stopped is None:
        create_markdown_artifact(
            key="close-night", markdown="# Nothing to close\n\nEvery asked date was closed already."
        )
        return
    create_markdown_artifact(
        key="close-night",
        markdown=_summary(results, stopped.message if stopped else None, _heading(stopped)),
        description="What the night did",
    )
    if results:
        create_table_artifact(key="nights", table=[_row(result) for result in results], description="One line a night")


def publish_checks(as_of: dt.date, engine: str, answers: list[dict[str, Any]], pages: dict[str, Any]) -> None:
    """Publish what each check answered, and where the pages of the run are; the findings stay in the ledger."""
    lines = [
        f"# {len(answers)} checks as of {as_of}",
        "",
        "| check | | answer | rows | ms |",
        "|---|---|---|---:|---:|",
    ]
    worst_first = sorted(answers, key=lambda a: ("error", "fail", "pass").index(a["outcome"]))
    lines += [
        f"| {a['check_id']} | {a['severity']} | {a['outcome']} | {a['offending']:,} | {a['milliseconds']:,} |"
        for a in worst_first
    ]
    lines += ["", f"Run by {engine}. What is open, and what to do about it: `loyalty findings --open`.", ""]
    lines += [f"- `{url}`" for url in pages.get("stored", ())]
    if "refused" in pages:
        lines += [f"The pages are not stored: {pages['refused']} Write them here: `loyalty check --docs DIR`."]
    create_markdown_artifact(key="check-ledger", markdown="\n".join(lines), description="What the checks answered")


def publish_month(answer: dict[str, Any], evidence: dict[str, Any]) -> None:
    """Publish what closing a month came to, and where its report and evidence pack are; the report is in the ledger too."""
    lines = [f"# {answer['month']}", "", answer.get("refused") or answer["headline"]]
    if "report_sha256" in answer:
        lines += ["", f"report.json: `{answer['report_sha256']}`", "", f"Next: `loyalty month sign {answer['month']}`"]
    if "stored" in evidence:
        lines += ["", "| stored | bytes | |", "|---|---:|---|"]
        lines += [f"| `{one['url']}` | {one['bytes']:,} | {one['lock']} |" for one in evidence["stored"]]
        lines += [
            "",
            f"The pack is signed by the key `{evidence['signer']}`; `verify_pack.py` in it needs none of our code.",
        ]
    elif "refused" in evidence:
        lines += [
            "",
            f"**The evidence pack is not stored.** {evidence['refused']}",
            "",
            f"Then: `loyalty month publish {answer['month']}`",
        ]
    create_markdown_artifact(
        key="reconcile-month", markdown="\n".join(lines), description="Whether the month was closed"
    )


def publish_import(row: dict[str, Any]) -> None:
    """Publish what became of a feed file."""
    lines = [f"# {row['feed']}: {row['file']}", ""]
    if row["already_imported"]:
        lines += ["This file was imported before: nothing was done."]
    else:
        lines += ["| fate | reason | rows |", "|---|---|---:|"]
        lines += [f"| {t['fate']} | {t['reason']} | {t['rows']:,} |" for t in row["totals"]]
        lines += ["", f"**{row['rows_read']:,} rows read** = {row['accepted']:,} accepted + {row['rejected']:,} rejected"
                  f" + {row['skipped']:,} skipped."]  # fmt: skip
    create_markdown_artifact(key=f"import-{row['feed']}", markdown="\n".join(lines))


def publish_proposal(asked: Approval, message: str) -> None:
    """Publish what waits for a second person, and how they go on."""
    lines = ["# Waits for a second person", "", message, "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in asked.payload.items() if not isinstance(value, dict)]
    lines += [f"| why | {asked.reason} |"]
    create_markdown_artifact(key=f"approval-{asked.approval_id}", markdown="\n".join(lines), description=asked.subject)


def publish_simulation(report: dict[str, Any]) -> None:
    """Publish what a simulated programme would have done; ``loyalty policy simulate --html`` writes the whole report."""
    currency, liability, change = report["currency"], report["liability"], report["change"]
    lines = [f"# {report['file']}, {report['from']} to {report['through']}", ""]
    lines += [f"**{change['effect']}**, compared with version {change['compared_with_version']}; "
              f"in force from {change['effective_from_earliest']} at the earliest.", ""]  # fmt: skip
    lines += [f"| members | number | points | {currency} |", "|---|---:|---:|---:|"]
    lines += [
        f"| {outcome} | {row['members']:,} | {row['points']:,} | {row['money']} |"
        for outcome, row in report["members"].items()
    ]
    lines += ["", "| | in force | proposed | difference |", "|---|---:|---:|---:|"]
    sides = ("baseline", "proposed", "difference")
    lines += ["| points outstanding | " + " | ".join(f"{liability[side]['outstanding']:,}" for side in sides) + " |"]
    lines += [f"| outstanding, {currency} | " + " | ".join(liability[side]["money"] for side in sides) + " |"]
    lines += [f"| {row['kind']} | " + " | ".join(f"{row[side]:,}" for side in sides) + " |" for row in report["kinds"]]
    lines += ["", f"| tier | members in force | proposed | difference, {currency} |", "|---|---:|---:|---:|"]
    lines += [
        f"| {row['tier']} | {row['baseline']['members']:,} | {row['proposed']['members']:,} | {row['difference']['money']} |"
        for row in report["tiers"]
    ]
    create_markdown_artifact(
        key="simulate-policy", markdown="\n".join(lines), description="What the programme would have done"
    )


def publish_undo(run_id: int, spent: str, figures: Figures, *, is_done: bool) -> None:
    """Publish the plan of an undo, or what it did."""
    lines = [f"# Run {run_id} is undone" if is_done else f"# Plan: undo run {run_id}", ""]
    lines += [f"{figures.members:,} members; points that are spent: {spent}.", ""]
    lines += ["| entries of the run | what becomes of them | entries | points |", "|---|---|---:|---:|"]
    lines += [
        f"| {kind} | {outcome} | {entries:,} | {points:,} |"
        for (kind, outcome), (entries, points) in sorted(figures.undone.items())
    ]
    lines += ["", "| posted | entries | points |", "|---|---:|---:|"]
    lines += [f"| {kind} | {entries:,} | {points:,} |" for kind, (entries, points) in sorted(figures.posted.items())]
    lines += ["", f"Waived: {sum(points for _, points in figures.waived.values()):,} points."]
    create_markdown_artifact(key=f"undo-{run_id}", markdown="\n".join(lines), description="What undoing it does")


def _heading(stopped: State[Any] | None) -> str:
    by_checks = stopped is not None and stopped.name in (
        "StopFindings",
        "CheckErrors",
        "PointsWithheld",
        "NoticesNotSent",
    )
    return "Not everything is in order" if by_checks else "The night stopped"


def _summary(results: list[NightResult], stopped: str | None, heading: str) -> str:
    posted: dict[str, int] = {}
    findings: dict[str, int] = {}
    for result in results:
        for kind, points in result.totals["posted"].items():
            if kind != "expire":  # what the night before cleared; what these nights cleared follows below
                posted[kind] = posted.get(kind, 0) + points
        for reason, count in result.totals["findings"].items():
            findings[reason] = findings.get(reason, 0) + count
    lines = []
    if stopped:
        lines += [f"# {heading}", "", stopped, ""]
    if results:
        first, last = results[0], results[-1]
        span = f"{first.business_date}" if len(results) == 1 else f"{first.business_date} to {last.business_date}"
        lines += [
            f"# {len(results)} night{'s' * (len(results) > 1)} closed: {span}",
            "",
            f"**{last.totals['outstanding'] - last.totals['expired_points']:,} points outstanding** after clearing "
            f"{sum(r.totals['expired_points'] for r in results):,} points of "
            f"{sum(r.totals['expired_lots'] for r in results):,} lots that lapsed; {last.totals['debt']:,} owed by members.",
            "",
            "| posted | points |",
            "|---|---:|",
            *(f"| {kind} | {points:,} |" for kind, points in sorted(posted.items())),
            "",
        ]
    decisions: dict[str, int] = {}
    for result in results:
        for what, count in result.totals["tiers"].items():
            decisions[what] = decisions.get(what, 0) + count
    if decisions:
        lines += ["| tiers | members |", "|---|---:|", *(f"| {w} | {n:,} |" for w, n in sorted(decisions.items())), ""]
    screened: dict[str, int] = {}
    for result in results:
        for screen, count in result.totals["screens"].items():
            screened[screen] = screened.get(screen, 0) + count
    if screened:
        lines += ["| fraud screens | findings |", "|---|---:|"]
        lines += [
            *(f"| {s} | {n:,} |" for s, n in sorted(screened.items())),
            "",
            "Look: `loyalty screens list --open`",
            "",
        ]
    lines += _notices(results)
    if findings:
        lines += ["| findings | events |", "|---|---:|", *(f"| {r} | {n:,} |" for r, n in sorted(findings.items()))]
    return "\n".join(lines)


def _notices(results: list[NightResult]) -> list[str]:
    """What was written to members, and the points whose notice was missing: kept, and why, or cleared all the same."""
    written: dict[str, int] = {}
    without: dict[str, dict[str, int]] = {}
    for result in results:
        for kind, count in result.totals["notices"].items():
            written[kind] = written.get(kind, 0) + count
        for why, counts in result.totals["without_notice"].items():
            sums = without.setdefault(why, {})
            for name, count in counts.items():
                sums[name] = sums.get(name, 0) + count
    lines = []
    if without:
        lines += ["| due without a notice in time | lots | points | |", "|---|---:|---:|---|"]
        lines += [
            f"| {WITHOUT_NOTICE[why]} | {sums['lots']:,} | {sums['points']:,} |"
            f" {'cleared: the programme says so' if why == 'unannounced' else 'kept, with a later last day'} |"
            for why, sums in sorted(without.items())
        ]
        lines += ["", "Look: `loyalty findings --open`", ""]
    if written:
        lines += ["| notices written | |", "|---|---:|", *(f"| {k} | {n:,} |" for k, n in sorted(written.items())), ""]
    return lines


def _row(result: NightResult) -> dict[str, Any]:
    totals = result.totals
    return {
        "business date": result.business_date.isoformat(),
        "run": result.run_id,
        "entries": totals["entries"],
        **{
            kind: totals["posted"].get(kind, 0)
            for kind in ("earn", "spend", "spend_reversal", "claw_back", "owe", "repay")
        },
        "expired lots": totals["expired_lots"],
        "expired points": totals["expired_points"],
        "deferred lots": sum(
            counts["lots"] for why, counts in totals["without_notice"].items() if why != "unannounced"
        ),
        "outstanding": totals["outstanding"],
        **{f"tier {what}s": count for what, count in totals["tiers"].items()},
        "findings": sum(totals["findings"].values()),
    }
