"""``loyalty restore``: a backup becomes a database again."""

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from flows.commands.refusals import plainly
from tasks import backup as steps


@click.command(
    epilog="""\b
Examples:
  loyalty restore --to postgresql://admin@host/new_ledger --dry-run
  loyalty restore --to postgresql://admin@host/new_ledger
  loyalty restore --to postgresql://admin@host/new_ledger --at 3f2a
"""
)
@click.option("--to", "url", required=True, metavar="URL", help="An empty database, as a login that may create roles.")
@click.option("--at", "wanted", metavar="BACKUP", help="The id of a backup, or its start; default: the newest.")
@click.option("--dry-run", is_flag=True, help="Look at everything a restore needs; change nothing.")
def restore(url: str, wanted: str | None, *, dry_run: bool) -> None:
    """Restore a backup into an empty database and prove it. Needs the bucket and the keys, and no other database."""
    console = Console(highlight=False, soft_wrap=True)
    with plainly():
        manifest, engine, tools = steps.plan_restore(url, wanted)
        total = manifest["content"]["plain_bytes"]
        console.print(
            f"Backup {manifest['backup_id']} of {manifest['taken_at'][:16]} UTC, last closed day "
            f"{manifest['facts']['totals']['last_closed']}, {total / 1e6:,.1f} MB, into the empty database "
            f"{engine.url.database!r} with pg_restore {tools.version}."
        )
        if dry_run:
            console.print("Nothing was changed.")
            return
        with Progress(TextColumn("  restoring"), BarColumn(), DownloadColumn(), TimeElapsedColumn()) as bar:
            shown = bar.add_task("", total=total)
            repeated = steps.restore(manifest, engine, tools, lambda size: bar.advance(shown, size))
        console.print("Every table, total and seal is as it was backed up.")
        console.print(
            f"{repeated.erased} erased members of the list beside the backups are erased in it. It sends no notices yet."
        )
        looked_at, found = steps.verify_copy(engine, lambda _check, _title: None)
    console.print(
        f"{looked_at.entries:,} entries rebuilt, {looked_at.seals} seals recomputed: "
        + ("every wallet, lot and seal agrees." if not found else f"{len(found)} DIFFERENCES")
    )
    console.print("Roles have no passwords yet. What comes next is in docs/howto/restore.md")
    for name in repeated.damaged:
        console.print(f"{name} cannot be read: who it erases is not erased in this copy.")
    if found or repeated.damaged:
        raise SystemExit(1)
