"""``loyalty policy simulate``: a proposed programme against the real orders of the past, touching nothing."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.commands.options import DAY, as_json
from flows.commands.refusals import plainly


@click.command(
    epilog="""\b
Examples:
  loyalty policy simulate summer.toml --from 2026-03-01 --through 2026-03-31
  loyalty policy simulate summer.toml --from 2026-03-01 --through 2026-03-31 --html summer.html
"""
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--from", "first", type=DAY, required=True, help="The first day that is closed again.")
@click.option("--through", type=DAY, required=True, help="The last one; it must be closed.")
@click.option("--json", "machine", is_flag=True, help="For machines: see docs/reference/simulation.md.")
@click.option(
    "--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Also write the report as one HTML file."
)
def simulate(file: Path, first: dt.date, through: dt.date, *, machine: bool, page: Path | None) -> None:
    """Close the days of a period again, with the programme in force and with the one in FILE, and say who gains and loses.

    Runs in a scratch database beside the ledger's, which is dropped afterwards; the ledger is only read. Safe to kill.
    """
    from tasks import simulation  # noqa: PLC0415 - the page's templates take a moment to import

    with plainly():
        if page is not None and not page.absolute().parent.is_dir():
            raise click.BadParameter(f"there is no folder {page.parent}: choose another file.", param_hint="--html")
        bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("nights"), TimeElapsedColumn(),
            console=Console(stderr=True), transient=True, disable=machine,
        )  # fmt: skip
        with bar:
            shown = bar.add_task("reading the file", total=2 * max(0, (through - first).days + 1))
            report = simulation.simulate(
                first,
                through,
                path=file,
                on_step=lambda step: bar.update(shown, description=f"{step:<28}"),
                on_night=lambda side, day: bar.update(shown, description=f"{day} {side:<17}", advance=1),
            )
        if page is not None:
            try:
                page.write_text(simulation.as_page(report), encoding="utf-8")
            except OSError as error:
                raise click.ClickException(
                    f"{page} cannot be written: {error.strerror}. Choose another --html."
                ) from error
    if machine:
        click.echo(as_json(report))
        return
    _print(report)
    if page is not None:
        click.echo(f"The report is in {page}")


def _print(report: Mapping[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    currency, change = escape(report["currency"]), report["change"]
    console.print(
        f"[bold]{escape(report['programme'])}[/]: {escape(report['file'])} instead of the programme in force, "
        f"{report['from']} to {report['through']}"
    )
    if change["changes"]:
        many = "1 change" if len(change["changes"]) == 1 else f"{len(change['changes'])} changes"
        waits = ", needs a second person" if change["needs_approval"] else ""
        console.print(
            f"{many} to version {change['compared_with_version']}: {change['effect']}{waits}; "
            f"in force from {change['effective_from_earliest']} at the earliest"
        )
    _print_members(console, report, currency)
    liability = report["liability"]
    sums = Table("after the last night", "in force", "proposed", "difference")
    for key, label in (("outstanding", "points outstanding"), ("debt", "points owed by members")):
        sums.add_row(label, *(f"{liability[side][key]:,}" for side in ("baseline", "proposed", "difference")))
    sums.add_row(
        f"outstanding, {currency}", *(liability[side]["money"] for side in ("baseline", "proposed", "difference"))
    )
    console.print(sums)
    for label in ("kind", "month"):
        rows = report["kinds" if label == "kind" else "lapsing"]
        table = Table(label if label == "kind" else "lapses in", "in force", "proposed", "difference")
        for row in rows:
            table.add_row(row[label], *(f"{row[side]:,}" for side in ("baseline", "proposed", "difference")))
        console.print(table)
    _print_checks(console, report)


def _print_members(console: Console, report: Mapping[str, Any], currency: str) -> None:
    table = Table("members", "number", "points", currency)
    for outcome, row in report["members"].items():
        table.add_row(outcome, f"{row['members']:,}", f"{row['points']:,}", row["money"])
    console.print(table)
    if [row["tier"] for row in report["tiers"]] != ["none"]:
        table = Table(
            "tier at the end", "members in force", "proposed", f"{currency} in force", "proposed", "difference"
        )
        for row in report["tiers"]:
            old, new = row["baseline"], row["proposed"]
            members = (f"{old['members']:,}", f"{new['members']:,}")
            table.add_row(escape(row["tier"]), *members, old["money"], new["money"], row["difference"]["money"])
        console.print(table)
        moved = [row for row in report["moves"] if row["baseline"] != row["proposed"]]
        for row in moved:
            console.print(f"  {escape(row['baseline'])} → {escape(row['proposed'])}: {row['members']:,} members")
    if report["most_affected"]:
        table = Table("most affected", "points in force", "proposed", "difference", currency)
        for row in report["most_affected"]:
            points = (f"{row[key]:,}" for key in ("baseline_points", "proposed_points", "difference"))
            table.add_row(escape(row["member_no"]), *points, row["money_difference"])
        console.print(table)


def _print_checks(console: Console, report: Mapping[str, Any]) -> None:
    for side, days in report["would_wait"].items():
        if days:
            console.print(f"[yellow]The guard would stop {len(days)} nights[/] ({side}), the first is {days[0]}")
    check = report["against_the_ledger"]
    if not (check["kinds"] or check["members"] or check["left_out"]):
        console.print("The programme in force, simulated, gives exactly the ledger's own figures.")
        return
    left = ", ".join(f"{count:,} entries of {source}" for source, count in check["left_out"].items())
    console.print(
        f"[yellow]The programme in force, simulated, is not exactly the ledger[/]: {check['members']:,} members differ"
        + (f"; not repeated: {left}" if left else "")
    )
