"""``loyalty init`` and ``loyalty status``: begin a ledger, and see where it stands."""

import datetime as dt
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from flows.commands.options import as_json
from flows.commands.refusals import plainly
from tasks import ledger
from tasks.backup_standing import backup_standing
from tasks.services import upcoming_night


@click.command(epilog="\b\nExample:\n  loyalty init --programme docs/examples/harbour-gifts.toml\n")
@click.option("--programme", required=True, type=click.Path(path_type=Path), help="The programme file (TOML).")
def init(programme: Path) -> None:
    """Create the ledger, or bring its schema up to date, and put the programme in force. Safe to repeat."""
    with plainly():
        version, policy = ledger.initialise(programme)
    click.echo(
        f'"{policy.name}" is in force from {policy.starts_on}: version {version}, {policy.time_zone}, {policy.currency}.'
    )
    click.echo("Next: loyalty import orders FILE, then loyalty close --through DATE.")


@click.command(epilog="\b\nExamples:\n  loyalty status\n  loyalty status --json\n")
@click.option("--json", "machine", is_flag=True, help="For machines.")
def status(*, machine: bool) -> None:
    """Show the last closed day, what waits, what failed, and the next run."""
    with plainly():
        now = dt.datetime.now(dt.UTC)
        standing = ledger.read_standing(now)
        upcoming = upcoming_night()
        kept = backup_standing(now)
    if standing.policy is None:
        raise click.ClickException("There is no programme yet: run loyalty init --programme FILE.")
    if machine:
        click.echo(
            as_json(
                {
                    "programme": standing.policy.name,
                    "policy_version": standing.policy.version,
                    "last_closed": standing.last_closed,
                    "outstanding": standing.outstanding,
                    "debt": standing.debt,
                    "waiting": standing.waiting,
                    "stopped": standing.stopped,
                    "findings": standing.findings,
                    "screens_open": standing.screened,
                    "members_blocked": standing.blocked,
                    "next_night": upcoming,
                    "backup": kept,
                }
            )
        )
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{standing.policy.name}[/] · version {standing.policy.version} · {standing.policy.time_zone}")
    closed = standing.last_closed or "none yet"
    console.print(f"Last closed day   {closed}   ({standing.outstanding:,} points outstanding, {standing.debt:,} owed)")
    console.print(f"Next night        {upcoming or 'no service is running: loyalty up --detach'}")
    console.print(f"Newest backup     {_backup_line(kept)}")
    console.print(f"Last drill        {_drill_line(kept)}")
    for run in standing.stopped:
        console.print(
            f"[red]{run['status']}[/]  run {run['run_id']} {run['job']} {run['business_date']}: {run['message'] or ''}"
        )
    if not standing.stopped:
        console.print("Failed or waiting nothing")
    if standing.waiting:
        table = Table("waiting events", "feed", "first day", "last day", title=None)
        for feed in sorted({row["feed"] for row in standing.waiting}):
            rows = [row for row in standing.waiting if row["feed"] == feed]
            days = [row["effective_on"] for row in rows]
            table.add_row(f"{sum(row['events'] for row in rows):,}", feed, str(min(days)), str(max(days)))
        console.print(table)
    else:
        console.print("Waiting events    none")
    if standing.findings:
        console.print(
            "Findings          " + ", ".join(f"{reason} {count:,}" for reason, count in standing.findings.items())
        )
    if standing.screened or standing.blocked:
        found = ", ".join(f"{screen} {count:,}" for screen, count in standing.screened.items()) or "nothing open"
        console.print(f"Fraud screens     {found}; {standing.blocked:,} members blocked (loyalty screens list --open)")


def _backup_line(kept: dict[str, Any]) -> str:
    if kept["taken_at"] is None:
        return "[red]none[/]: loyalty backup keys generate, then loyalty backup run"
    line = f"{kept['taken_at']:%Y-%m-%d %H:%M} UTC: what was posted in the {kept['age_hours']:.1f} h since is in no backup (RPO)"
    return f"[red]{line}[/]" if kept["is_late"] else line


def _drill_line(kept: dict[str, Any]) -> str:
    if kept["proven_at"] is None:
        return "[red]not proven[/]: no backup was restored yet, so how long that takes (RTO) is not known; loyalty backup drill"
    line = f"{kept['proven_at']:%Y-%m-%d %H:%M} UTC: restored and proven in {kept['drill_seconds']:.0f} s (RTO)"
    return f"[red]{line}[/]" if kept["is_unproven"] else line
