"""``loyalty balances``, ``totals`` and ``verify``: the ledger's figures, and the proof that they hold."""

import csv
import datetime as dt
import sys
from pathlib import Path

import click
from rich.console import Console

from flows.commands.options import DAY, as_json
from flows.commands.refusals import plainly
from tasks import ledger


@click.command(epilog="\b\nExample:\n  loyalty balances --as-of 2026-09-30 --out balances.csv\n")
@click.option("--as-of", type=DAY, help="As booked by the end of this day; default: now.")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The CSV file to write; - for standard output.",
)
def balances(as_of: dt.date | None, out: Path) -> None:
    """Write member_no,balance,debt of every member with at least one entry, sorted by member_no as text."""
    with plainly():
        rows = ledger.read_balances(as_of)
        if str(out) == "-":
            _write(sys.stdout, rows)
            return
        # beside the target, then renamed: nobody reads half a file
        part = out.with_name(out.name + ".part")
        try:
            with part.open("w", encoding="utf-8", newline="") as file:
                count = _write(file, rows)
            part.replace(out)
        except OSError as error:
            raise click.ClickException(f"{out} cannot be written: {error.strerror}. Choose another --out.") from error
    click.echo(f"{count:,} members written to {out}")


def _write(file, rows) -> int:  # type: ignore[no-untyped-def]  # noqa: ANN001 - csv takes anything with write()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("member_no", "balance", "debt"))
    count = 0
    for row in rows:
        writer.writerow(row)
        count += 1
    return count


@click.command(epilog="\b\nExample:\n  loyalty totals --through 2026-09-30 --json\n")
@click.option("--through", type=DAY, help="Leave out what is booked after this day.")
@click.option("--json", "machine", is_flag=True, help="For machines, with every month and day.")
def totals(through: dt.date | None, *, machine: bool) -> None:
    """Show points by kind and month, open points by last valid day, balance, debt, and findings by reason."""
    with plainly():
        figures = ledger.read_totals(through)
    if machine:
        click.echo(as_json(figures))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Last closed day   {figures['last_closed'] or 'none yet'}")
    console.print(
        f"Members           {figures['wallets_with_entries']:,} with entries, {figures['orders_with_member']:,} orders"
    )
    console.print(f"Balance           {figures['balance']:,} points, {figures['debt']:,} owed")
    for kind, points in figures["points_by_kind"].items():
        console.print(f"  {kind:<15} {points:>15,}")
    months = figures["points_by_book_month"]
    if months:
        console.print(f"Book months       {min(months)} to {max(months)} (--json lists each)")
    lapsing = list(figures["open_points_by_valid_through"].items())
    for day, points in lapsing[:6]:
        console.print(f"  valid through {day:<10} {points:>10,}")
    if len(lapsing) > 6:
        console.print(f"  and {len(lapsing) - 6} later days")
    if figures["findings"]:
        console.print(
            "Findings          " + ", ".join(f"{reason} {count:,}" for reason, count in figures["findings"].items())
        )
    console.print(f"Wallets' SHA-256  {figures['wallet_sha256']}")


@click.command(epilog="\b\nExamples:\n  loyalty verify\n  loyalty verify --json | jq .differences\n")
@click.option("--json", "machine", is_flag=True, help="For machines.")
def verify(*, machine: bool) -> None:
    """Rebuild every wallet and lot from the entries and recompute every seal. Exit 1, with the rows, when anything differs."""
    shown = Console(stderr=True, highlight=False, soft_wrap=True)

    def on_check(check: str, title: str) -> None:
        if not machine:
            shown.print(f"[dim]{check:<4} {title}[/]")

    with plainly():
        looked_at, differences = ledger.verify(on_check)
    if machine:
        click.echo(
            as_json(
                {
                    "entries": looked_at.entries, "wallets": looked_at.wallets, "lots": looked_at.lots,
                    "seals": looked_at.seals, "differences": [{"check": d.check, "row": d.row} for d in differences],
                }
            )
        )  # fmt: skip
    else:
        for difference in differences:
            click.echo(f"{difference.check}: {difference.row}")
        counted = f"{looked_at.entries:,} entries, {looked_at.wallets:,} wallets, {looked_at.lots:,} lots, {looked_at.seals:,} seals"
        click.echo(f"{counted}: " + (f"{len(differences):,} DIFFERENCES" if differences else "everything agrees"))
    sys.exit(1 if differences else 0)
