"""``loyalty backup``: take, list, verify, prune and prove backups, and make their keys."""

import datetime as dt

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from flows.commands.options import as_json
from flows.commands.refusals import plainly
from tasks import backup as steps

SHORT = 8  # of an id, which every command takes; --json has them whole


@click.group(
    epilog="""\b
Examples, in the order in which one needs them:
  loyalty backup keys generate     then keep a copy of the secret keys elsewhere
  loyalty backup run
  loyalty backup drill             restores it into a scratch Postgres and proves it
  loyalty restore --to postgresql://admin@host/empty
"""
)
def backup() -> None:
    """Offsite backups of the ledger: encrypted, signed, and restored to be proven."""


@backup.command()
def run() -> None:
    """Take a backup now. Safe to repeat: each is one of its own."""
    with plainly():
        manifest = steps.back_up()
    content = manifest["content"]
    click.echo(
        f"Backup {manifest['backup_id']}: {content['plain_bytes'] / 1e6:,.1f} MB of rows as {content['stored_bytes'] / 1e6:,.1f}"
        f" MB in {len(content['parts'])} parts, {manifest['seconds']:.1f} s. It is proven by: loyalty backup drill"
    )
    until = manifest["locked_until"]
    click.echo(
        f"Locked until {until[:16].replace('T', ' ')} UTC"
        if until
        else "Not locked: the bucket has no Object Lock, or no days are set"
    )


@backup.command(name="list")
@click.option("--bucket", is_flag=True, help="Ask the bucket alone; needs no ledger, only signers.txt.")
@click.option("--json", "machine", is_flag=True, help="For machines.")
def list_(*, bucket: bool, machine: bool) -> None:
    """Show the backups by the start of their ids, their state, when each was last proven, and until when it is locked."""
    with plainly():
        if bucket:
            rows = [{**one, "state": "stored"} for one in steps.in_bucket()]
        else:
            rows = [
                {
                    **one.facts,
                    "backup_id": one.backup_id,
                    "state": one.state,
                    "taken_at": one.taken_at or one.begun_at,
                    "verified_at": one.verified_at,
                    "proven_at": one.proven_at,
                    "message": one.message,
                }
                for one in steps.listed()
            ]
    if machine:
        click.echo(as_json(rows))
        return
    table = Table("backup", "taken at (UTC)", "state", "MB", "s", "proven", "locked", box=SIMPLE)
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        table.add_row(
            row["backup_id"][:SHORT],
            str(row["taken_at"])[:16].replace("T", " "),
            row["state"],
            f"{row['stored_bytes'] / 1e6:,.1f}" if "stored_bytes" in row else "",
            str(row.get("seconds", "")),
            str(row.get("proven_at") or "")[:10],
            str(row.get("locked_until") or "")[:10],
        )
    Console(highlight=False).print(table)
    for row in rows:
        if row.get("message"):
            click.echo(f"  {row['backup_id'][:SHORT]}: {row['message']}")


@backup.command()
@click.argument("backup_id", required=False)
def verify(backup_id: str | None) -> None:
    """Read every part of a backup (default: the newest) and compare it with the signed manifest. Needs no secret key."""
    with plainly():
        found = steps.verify(backup_id)
    click.echo(
        f"Backup {found['backup_id']}: {found['parts']} parts, {found['stored_bytes']:,} bytes, as they were stored."
    )


@backup.command()
@click.option("--dry-run", is_flag=True, help="Show what would go, remove nothing.")
def prune(*, dry_run: bool) -> None:
    """Remove the backups that retention no longer keeps; never the newest that was proven, nor a newer one."""
    with plainly():
        done = steps.prune(dt.datetime.now(dt.UTC), dry_run=dry_run)
    for one in done.gone:
        click.echo(f"{'Would go' if dry_run else 'Removed'}: {one.backup_id} of {one.taken_at:%Y-%m-%d %H:%M} UTC")
    for one, until in done.locked:
        click.echo(f"Stays: {one.backup_id} of {one.taken_at:%Y-%m-%d %H:%M} UTC, locked until {until}")
    what = "would go" if dry_run else "removed"
    click.echo(f"Nothing may go: {done.why}" if done.why else f"{len(done.gone)} backups {what}")


@backup.command()
@click.argument("backup_id", required=False)
@click.option("--json", "machine", is_flag=True, help="For machines.")
def drill(backup_id: str | None, *, machine: bool) -> None:
    """Restore a backup (default: the newest) into a scratch Postgres and prove that it is what it was."""
    with plainly():
        evidence = steps.drill(backup_id, lambda what: click.echo(f"  {what}", err=True))
    if machine:
        click.echo(as_json(evidence))
    elif evidence["passed"]:
        click.echo(
            f"Backup {evidence['backup_id']} is proven: restored in {evidence['restore_seconds']} s, verified and equal after "
            f"{evidence['seconds']} s."
        )
    else:
        click.echo(f"Backup {evidence['backup_id']} did NOT come back equal:")
        for difference in evidence["differences"]:
            click.echo(f"  {difference}")
    if not evidence["passed"]:
        raise SystemExit(1)


@backup.group()
def keys() -> None:
    """The keys of backups. Whoever loses the secret ones loses every backup made with them."""


@keys.command()
def generate() -> None:
    """Make the first keys. Refused when there are some."""
    with plainly():
        folder = steps.generate_keys()
    click.echo(
        f"Keys are in {folder}. Keep a copy of identities.txt and signers.txt where a fire here does not reach: without "
        "identities.txt nobody can read the backups, not even you."
    )


@keys.command()
def rotate() -> None:
    """Use new keys for what comes. Old backups stay readable, because the old identities stay."""
    with plainly():
        folder = steps.rotate_keys()
    click.echo(
        f"New backups use new keys. Copy identities.txt and signers.txt of {folder} to where the old copies are."
    )


@keys.command()
def show() -> None:
    """Name the public keys that are here."""
    with plainly():
        found = steps.shown_keys()
    for what, ids in found.items():
        click.echo(f"{what:<11} {', '.join(ids)}")
