"""``loyalty tiers``: how many members hold each tier, and who is about to lose theirs."""

import datetime as dt

import click
from rich.console import Console
from rich.table import Table

from flows.commands.options import as_json
from flows.commands.refusals import plainly
from tasks import ledger


@click.command(epilog="\b\nExamples:\n  loyalty tiers\n  loyalty tiers --at-risk 30 --json\n")
@click.option(
    "--at-risk",
    "within_days",
    type=click.IntRange(0),
    default=60,
    show_default=True,
    help="List who falls within so many days.",
)
@click.option("--json", "machine", is_flag=True, help="For machines.")
def tiers(within_days: int, *, machine: bool) -> None:
    """Show the members by tier, and who will fall within some days with what would keep them."""
    with plainly():
        holders, risky = ledger.read_tiers(dt.datetime.now(dt.UTC), within_days)
    if machine:
        click.echo(as_json({"tiers": holders, "at_risk": risky}))
        return
    console = Console(highlight=False, soft_wrap=True)
    if not holders:
        console.print("The programme has no tiers.")
        return
    for tier, members in holders.items():
        console.print(f"{tier:<15} {members:>10,} members")
    if not risky:
        console.print(f"Nobody falls within {within_days} days.")
        return
    table = Table("falls on", "member", "tier", "has", "needs", "missing")
    for row in risky:
        numbers = (f"{row[key]:,}" for key in ("amount", "keep_at", "missing"))
        table.add_row(str(row["falls_on"]), row["member_no"], row["tier"], *numbers)
    console.print(table)
