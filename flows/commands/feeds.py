"""``loyalty import``: take a feed file in, and say what became of every row."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn

from flows.commands.options import as_json
from flows.commands.refusals import plainly

FEEDS = ("orders", "redemptions", "cancellations", "activities", "members")


@click.command(
    "import",
    epilog="""\b
Examples:
  loyalty import orders orders.csv.gz
  loyalty import orders invoices.csv --layout uci-online-retail
  loyalty import redemptions redemptions.parquet --json
The columns of each feed, and how to write a layout: docs/reference/feeds.md
""",
)
@click.argument("feed", type=click.Choice(FEEDS))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--layout", help="How this shop spells its columns: a shipped name, or a TOML file.")
@click.option(
    "--allow-open-end", is_flag=True, help="Accept a CSV whose last line has no line end (it may have been cut)."
)
@click.option("--json", "machine", is_flag=True, help="For machines.")
def import_(feed: str, file: Path, layout: str | None, *, allow_open_end: bool, machine: bool) -> None:
    """Take FILE in as a FEED: CSV, CSV.gz, JSONL or Parquet. All of it, or nothing with exit code 2.

    Rows that cannot be taken are kept, each with its reason. Events wait for their business date; those of the open
    day are posted at once. The same file again does nothing.
    """
    from tasks.feeds import as_row, import_feed  # noqa: PLC0415 - Prefect takes a second to import

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=machine,
    )
    members = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=machine,
    )
    with plainly():
        size = file.stat().st_size if file.exists() else None
        with bars:
            reading = bars.add_task(f"reading {file.name}", total=size)
            posting = members.add_task("posting members", total=None)

            def on_members(done: int, total: int) -> None:
                bars.stop()
                members.start()
                members.update(posting, completed=done, total=total)

            imported = import_feed(
                str(file),
                feed,
                layout,
                allow_open_end=allow_open_end,
                on_bytes=lambda done: bars.update(reading, completed=done),
                on_members=on_members,
            )
            members.stop()
    row = as_row(imported)
    if machine:
        click.echo(as_json(row))
        return
    if row["already_imported"]:
        click.echo(f"{file.name} was imported before ({row['rows_read']:,} rows): nothing was done.")
        return
    click.echo(
        f"{row['rows_read']:,} rows read = {row['accepted']:,} accepted + {row['rejected']:,} rejected + {row['skipped']:,} skipped"
    )
    if feed == "orders":
        result = imported.result
        click.echo(
            f"{result.money():,.2f} money in = {result.money('accepted'):,.2f} accepted"
            f" + {result.money('rejected'):,.2f} rejected + {result.money('skipped'):,.2f} skipped"
        )
    for total in row["totals"]:
        click.echo(f"  {total['fate']:<9} {total['reason']:<32} {total['rows']:>10,}")
    now = {kind: count for kind, count in row["posted_at_once"].items() if count}
    if now:
        click.echo("Posted at once, for the open day: " + ", ".join(f"{count:,} {kind}" for kind, count in now.items()))
    if row["rejected"]:
        click.echo(
            "Rejected rows are kept with their reasons (loyalty status counts them); correct them and import again."
        )
