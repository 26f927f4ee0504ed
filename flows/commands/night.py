"""``loyalty close``: close business dates now, without a Prefect server. The flow runs the same steps."""

import datetime as dt
import sys
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.commands.options import DAY, as_json
from flows.commands.refusals import plainly
from points_ledger.night import Night, Step


@click.command(
    epilog="""\b
Examples:
  loyalty close --through 2026-09-30
  loyalty close --through 2026-09-30 --dry-run
  loyalty close --accept-plan 61          by a second person, after the guard stopped run 61
"""
)
@click.option("--through", type=DAY, help="The last date to close; default: yesterday in the programme's zone.")
@click.option("--dry-run", is_flag=True, help="Show what would be posted, taken and deferred, change nothing.")
@click.option(
    "--accept-plan",
    type=int,
    metavar="RUN",
    help="Approve the waiting plan of a run as the approver's login, then go on.",
)
@click.option("--json", "machine", is_flag=True, help="For machines: one object a night.")
def close(through: dt.date | None, *, dry_run: bool, accept_plan: int | None, machine: bool) -> None:
    """Close every unclosed business date up to --through, in order: post feeds, check, close, seal, expire.

    Safe to repeat, to kill, and to run twice at once. A night that would take away far more than usual stops and
    waits for a second person (exit code 1).
    """
    from tasks import checks, ledger, night, notice_step  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        last = through or ledger.business_date(dt.datetime.now(dt.UTC)) - dt.timedelta(days=1)
        if dry_run:
            _show_preview(night.preview(last), machine=machine)
            return
        if accept_plan is not None:
            proposer, approver = night.accept_plan(accept_plan)
            click.echo(f"Plan of run {accept_plan}, proposed by {proposer}, approved by {approver}.", err=True)
        results, unsent = [], []
        bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("nights"), TimeElapsedColumn(),
            console=Console(stderr=True), transient=True, disable=machine,
        )  # fmt: skip
        with bar:
            total = len(night.due_nights(last))
            shown = bar.add_task("closing", total=total)

            def watch(which: Night, step: Step) -> None:
                bar.update(shown, description=f"{which.business_date} {step.name:<14}")

            for result in night.close_directly(last, watch):
                bar.advance(shown)
                results.append(result)
                unsent += notice_step.why_unsent(result.business_date, dt.datetime.now(dt.UTC))
                if machine:
                    click.echo(
                        as_json({"business_date": result.business_date, "run_id": result.run_id, **result.totals})
                    )
    with plainly():
        amiss = checks.not_green(results[-1].totals.get("withheld") if results else None) or notice_step.not_sent(
            unsent
        )
    if amiss is not None:
        click.echo(f"{amiss.name}: {amiss.message}", err=True)
    if machine:
        sys.exit(1 if amiss is not None and amiss.is_failed() else 0)
    if not results:
        click.echo(f"Nothing to close: every date up to {last} is closed.")
        return
    final = results[-1].totals
    click.echo(f"{len(results):,} nights closed, {results[0].business_date} to {results[-1].business_date}.")
    lapsed = sum(result.totals["expired_points"] for result in results)
    click.echo(
        f"{lapsed:,} points lapsed; {final['outstanding']:,} outstanding when {results[-1].business_date} closed."
    )
    found: dict[str, int] = {}
    for result in results:
        for reason, count in result.totals["findings"].items():
            found[reason] = found.get(reason, 0) + count
    if found:
        click.echo("Findings: " + ", ".join(f"{reason} {count:,}" for reason, count in sorted(found.items())))
    if amiss is not None and amiss.is_failed():
        sys.exit(1)


def _show_preview(nights: list[dict[str, Any]], *, machine: bool) -> None:
    if machine:
        click.echo(as_json(nights))
        return
    if not nights:
        click.echo("Nothing to close.")
        return
    table = Table(
        "date", "orders", "activities", "returns", "cancellations", "redemptions", "lots lapsing", "points lapsing"
    )
    for night in nights:
        figures = (value for name, value in night.items() if name != "deferred")
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in figures))
    Console().print(table)
    for night in nights:
        for why, counts in night["deferred"].items():
            click.echo(
                f"{night['business_date']}: {counts['points']:,} points of {counts['lots']:,} lots would be deferred, not lapse: "
                f"{why.replace('_', ' ')}."
            )
    click.echo(
        "Nothing was changed. Lots lapsing are counted from the lots that are open now, before these nights' own events."
    )
