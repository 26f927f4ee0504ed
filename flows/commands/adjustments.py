"""``loyalty adjust`` and ``loyalty reinstate``: propose to give or take points by hand. A second person posts them."""

import datetime as dt

import click

from flows.commands.options import DAY, as_json
from flows.commands.refusals import plainly

CODE = click.option("--code", required=True, help="One of reason_codes in the programme file, such as goodwill.")
REASON = click.option("--reason", required=True, help="What the second person has to know; at least 10 letters.")
MACHINE = click.option("--json", "machine", is_flag=True, help="For machines.")


@click.command(
    epilog="""\b
Examples:
  loyalty adjust H000123 --give 50 --code goodwill --reason "the parcel was ten days late"
  loyalty adjust H000123 --take 50 --code correction --reason "earned twice by invoice 5531"
  loyalty approve 7                       by a second person, under a login of their own
"""
)
@click.argument("member_no")
@click.option("--give", type=click.IntRange(min=1), help="Points to give.")
@click.option("--take", type=click.IntRange(min=1), help="Points to take; never more than are available.")
@CODE
@REASON
@click.option("--valid-through", type=DAY, help="Last valid day; default: as long as points earned today.")
@MACHINE
def adjust(
    member_no: str,
    give: int | None,
    take: int | None,
    code: str,
    reason: str,
    valid_through: dt.date | None,
    *,
    machine: bool,
) -> None:
    """Propose to give a member points, or to take them. Nothing is posted before a second person approves.

    The same proposal again, while it waits, answers with the same number.
    """
    from tasks.adjustments import propose  # noqa: PLC0415 - Prefect takes a second to import

    if (give is None) == (take is None):
        raise click.UsageError("Say --give POINTS or --take POINTS.")
    with plainly():
        approval_id = propose(
            member_no, "take" if give is None else "give", give or take or 0, code, reason, valid_through
        )  # fmt: skip
    show_proposed(approval_id, machine=machine)


@click.command(
    epilog="""\b
Example:
  loyalty explain H000123                 shows the lots, with their numbers
  loyalty reinstate H000123 17 --code complaint --reason "was in hospital until May"
"""
)
@click.argument("member_no")
@click.argument("lot", type=click.IntRange(min=1))
@CODE
@REASON
@click.option("--valid-days", type=click.IntRange(min=1), help="Default: reinstate_days of the programme.")
@MACHINE
def reinstate(member_no: str, lot: int, code: str, reason: str, valid_days: int | None, *, machine: bool) -> None:
    """Propose to give back, once, what lapsed from LOT. Nothing is posted before a second person approves.

    The points come back as a new lot, valid from the day of the approval.
    """
    from tasks.reinstatements import propose  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        approval_id = propose(member_no, lot, code, reason, valid_days)
    show_proposed(approval_id, machine=machine)


def show_proposed(approval_id: int, *, machine: bool) -> None:
    """Say under which number a proposal waits, and how it goes on."""
    if machine:
        click.echo(as_json({"approval_id": approval_id}))
        return
    click.echo(f"Proposed as approval {approval_id}; nothing is posted yet.")
    click.echo(f"A second person, under a login of their own: loyalty approve {approval_id}")
