"""What a run leaves in the Prefect UI: a summary to read and a table to look up. The books stay in the ledger."""

from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State

from points_ledger.night import NightResult


def publish_nights(results: list[NightResult], stopped: State[Any] | None = None) -> None:
    """Publish the nights of a run: what was posted, what lapsed, what was found, and why it stopped if it did."""
    if not results and stopped is None:
        create_markdown_artifact(
            key="close-night", markdown="# Nothing to close\n\nEvery asked date was closed already."
        )
        return
    create_markdown_artifact(
        key="close-night",
        markdown=_summary(results, stopped.message if stopped else None),
        description="What the night did",
    )
    if results:
        create_table_artifact(key="nights", table=[_row(result) for result in results], description="One line a night")


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


def _summary(results: list[NightResult], stopped: str | None) -> str:
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
        lines += ["# The night stopped", "", stopped, ""]
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
    if findings:
        lines += ["| findings | events |", "|---|---:|", *(f"| {r} | {n:,} |" for r, n in sorted(findings.items()))]
    return "\n".join(lines)


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
        "outstanding": totals["outstanding"],
        "findings": sum(totals["findings"].values()),
    }
