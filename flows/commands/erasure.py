"""``loyalty erase-member``: destroy the contact data of a member."""

import datetime as dt

import click

from flows.commands.refusals import plainly


@click.command(
    "erase-member",
    epilog="""\b
Examples:
  loyalty erase-member H000123 --reason "request 4711 of 3 May" --dry-run
  loyalty erase-member H000123 --reason "request 4711 of 3 May"
""",
)
@click.argument("member_no")
@click.option("--reason", required=True, help="At least 10 letters, kept for ever; no personal data.")
@click.option("--dry-run", is_flag=True, help="Show what would be destroyed, destroy nothing.")
def erase_member(member_no: str, reason: str, *, dry_run: bool) -> None:
    """Destroy MEMBER_NO's name, address and number, and the key of everything they were sent. It cannot be undone.

    The ledger stays as it is. A later file does not bring the contact back, nor does a restored backup.
    """
    from tasks.contacts import erase, plan_erasure  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        if dry_run:
            plan, done = plan_erasure(member_no), None
        else:
            done = erase(member_no, reason, dt.datetime.now(dt.UTC))
            plan = done.plan
    found = "a contact and its key" if plan.has_contact else "no contact"
    if plan.erased_at is not None:
        click.echo(f"Member {member_no} was erased on {plan.erased_at:%Y-%m-%d}.")
    else:
        click.echo(
            f"Member {member_no}: {found}, {plan.proofs} proofs that nobody can read after it, {plan.waiting} notices that wait."
        )
    if done is None:
        click.echo("Nothing was changed.")
    elif done.not_listed is not None:
        click.echo(f"Erased here, but not yet listed beside the backups: {done.not_listed}", err=True)
        click.echo("The next backup tries again; or run this again.", err=True)
        raise SystemExit(1)
    else:
        click.echo("Erased, and listed beside the backups: a restored copy erases it again.")
