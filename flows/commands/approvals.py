"""``loyalty approvals`` and ``loyalty approve``: what waits for a second person, and their decision."""

import datetime as dt
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.commands.options import DAY, as_json
from flows.commands.refusals import plainly


@click.command(epilog="\b\nExamples:\n  loyalty approvals\n  loyalty approvals --json\n")
@click.option("--json", "machine", is_flag=True, help="For machines.")
def approvals(*, machine: bool) -> None:
    """Show what waits for a second person: what would be posted, why, and who asked."""
    from tasks.approvals import waiting  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        asked = waiting()
    if machine:
        click.echo(as_json([approval.as_json() for approval in asked]))
        return
    if not asked:
        click.echo("Nothing waits for a second person.")
        return
    table = Table("no", "what", "asked for", "why", "by", "on")
    for approval in asked:
        table.add_row(
            str(approval.approval_id),
            approval.what,
            escape(approval.subject),
            escape(approval.reason),
            approval.proposed_by,
            f"{approval.proposed_at:%Y-%m-%d %H:%M} UTC",
        )
    Console(highlight=False).print(table)
    click.echo("Decide under a login of your own: loyalty approve NO")


@click.command(epilog="\b\nExamples:\n  loyalty approve 7\n  loyalty approve 7 --json\n")
@click.argument("approval_id", metavar="NO", type=int)
@click.option("--on", "day", type=DAY, help="The day it is posted for; default: the open business date.")
@click.option("--json", "machine", is_flag=True, help="For machines.")
def approve(approval_id: int, day: dt.date | None, *, machine: bool) -> None:
    """Approve what waits under NO, as the login of LOYALTY_APPROVER_DATABASE_URL, and post it: both, or neither.

    The database refuses the login that proposed it, and a second approval. An undo that was cut short goes on.
    """
    from tasks.approvals import approve as decide  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        outcome = decide(approval_id, day)
    if machine:
        click.echo(as_json(outcome))
        return
    click.echo(f"Approved: {outcome['subject']} (proposed by {outcome['proposed_by']}).")
    click.echo(_outcome(outcome))


def _outcome(outcome: dict[str, Any]) -> str:
    match outcome["what"]:
        case "adjustment" | "reinstatement":
            debt = f", debt {outcome['debt']:,}" if outcome["debt"] else ""
            return f"Posted: {outcome['points']:,} points, booked {outcome['book_date']}; balance {outcome['balance']:,}{debt}."
        case "undo":
            return f"Done by run {outcome['run_id']}: {outcome['entries']:,} entries of {outcome['members']:,} members."
        case "release":
            return f"Block {outcome['block_id']} is released: the member can redeem again."
        case "policy":
            return f"Version {outcome['version']} is stored."
        case "repair":
            cleared = f"{outcome['points']:,} points cleared. " if outcome["points"] else "Rebuilt from the entries. "
            return f"{cleared}See whether the finding is gone: loyalty check"
        case "plan":
            return "The next loyalty close, or night, goes on with it."
    return "Done."
