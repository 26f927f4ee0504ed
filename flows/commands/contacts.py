"""``loyalty contacts``: the keys under which members' contact data is sealed, and what members consent to."""

import datetime as dt
from typing import Any

import click

from flows.commands.options import as_json
from flows.commands.refusals import plainly


@click.group(
    epilog="""\b
Examples, in the order in which one needs them:
  loyalty contacts generate-keys      then keep a copy of the file elsewhere
  loyalty contacts new-key k2         to put in front of LOYALTY_CONTACT_MASTER_KEYS
  loyalty contacts rotate
  loyalty contacts keys

What a member said to somebody, and no file says:
  loyalty contacts consent H000123 --class marketing --given
"""
)
def contacts() -> None:
    """The keys of names, addresses and numbers; what members consent to. A contact itself is never shown."""


@contacts.command("generate-keys")
def generate_keys() -> None:
    """Make keys in a file of this machine, for an installation that sets none."""
    from tasks.contacts import generate_keys as generate  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        path = generate()
    click.echo(
        f"{path} holds the keys. Without it nobody can read a contact: keep a copy elsewhere, not with the backups."
    )


@contacts.command("new-key")
@click.argument("name")
def new_key(name: str) -> None:
    """Print a new master key called NAME, as LOYALTY_CONTACT_MASTER_KEYS writes it. It is stored nowhere."""
    from tasks.contacts import new_key as made  # noqa: PLC0415 - Prefect takes a second to import

    click.echo(made(name))


@contacts.command()
@click.option("--json", "machine", is_flag=True, help="For machines.")
def keys(*, machine: bool) -> None:
    """Show how many members' keys each master key wraps, and whether it is here."""
    from tasks.contacts import key_ids, master_keys  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        counts, ours = key_ids(), master_keys()
    rows = [
        {"key": name, "members": counts.get(name, 0), "here": name in ours.keys, "newest": name == ours.newest}
        for name in sorted({*counts, *ours.keys})
    ]
    if machine:
        click.echo(as_json(rows))
        return
    for row in rows:
        here = "newest" if row["newest"] else "here" if row["here"] else "MISSING: these contacts cannot be read"
        click.echo(f"{row['key']}: {row['members']:,} members, {here}")


@contacts.command()
def rotate() -> None:
    """Wrap every member's key under the newest master key. Safe to repeat, and to stop."""
    from tasks.contacts import rotate as wrap  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        newest, done = wrap()
    click.echo(f"{done:,} members' keys are wrapped under {newest} now.")


@contacts.command(
    epilog="""\b
Examples:
  loyalty contacts consent H000123 --class marketing --given
  loyalty contacts consent H000123 --class service --channel sms --withdrawn --source complaint
"""
)
@click.argument("member_no")
@click.option("--class", "class_", type=click.Choice(["service", "marketing"]), required=True, help="Of which notices.")
@click.option("--channel", type=click.Choice(["email", "sms", "any"]), default="any", show_default=True)
@click.option("--given/--withdrawn", "is_granted", default=None, help="What the member said; one of them.")
@click.option(
    "--source", type=click.Choice(["operator", "complaint"]), default="operator", show_default=True,
    help="They told you, or complained.",
)  # fmt: skip
def consent(member_no: str, class_: Any, channel: Any, source: Any, *, is_granted: bool | None) -> None:
    """Record what MEMBER_NO said of notices of a class. The newest word counts, also for notices that wait.

    Service notices go out until refused, marketing only once agreed to; the others need no consent. Safe to repeat.
    """
    from tasks.contacts import consent as record  # noqa: PLC0415 - Prefect takes a second to import

    if is_granted is None:
        raise click.UsageError("Say --given or --withdrawn.")
    with plainly():
        is_new = record(
            member_no, class_, channel, is_granted=is_granted, source=source, moment=dt.datetime.now(dt.UTC)
        )
    what = f"{class_} notices by {'any channel' if channel == 'any' else channel}"
    known = "" if is_new else ", as recorded before"
    click.echo(f"Member {member_no} {'agrees to' if is_granted else 'refuses'} {what}{known}.")
