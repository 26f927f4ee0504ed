"""``loyalty screens``: what the fraud screens found, and what people decide about it."""

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.commands.options import as_json
from flows.commands.refusals import plainly
from points_ledger.screens import Block, Finding

REASON = click.option("--reason", required=True, help="At least 10 letters, kept for ever; no personal data.")


@click.group(
    epilog="""\b
Examples:
  loyalty screens list --open
  loyalty screens block H000123 --reason "three large returns after redemptions"
  loyalty screens release H000123 --reason "the shop confirmed the returns"
"""
)
def screens() -> None:
    """Show what looks like fraud; block a member's redemptions, release them, or clear a finding."""


@screens.command("list", epilog="\b\nExamples:\n  loyalty screens list --open\n  loyalty screens list --json\n")
@click.option("--open", "is_open", is_flag=True, help="Only findings nobody decided about, and blocks in force.")
@click.option("--json", "machine", is_flag=True, help="For machines.")
def list_(*, is_open: bool, machine: bool) -> None:
    """Show the findings, newest first, and the blocks with who set and who released them."""
    from tasks.screens import read  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        findings, blocks = read(is_open=is_open)
    if machine:
        click.echo(
            as_json({"findings": [f.as_json() for f in findings], "blocks": [block.as_json() for block in blocks]})
        )
        return
    console = Console(highlight=False)
    if not findings:
        click.echo("No open findings." if is_open else "The screens found nothing yet.")
    else:
        console.print(_findings(findings))
    if blocks:
        console.print(_blocks(blocks))


@screens.command(epilog='\b\nExample:\n  loyalty screens block H000123 --reason "three returns after redemptions"\n')
@click.argument("member_no")
@REASON
def block(member_no: str, reason: str) -> None:
    """Refuse MEMBER_NO's redemptions, holds and gifts from now on. Blocked again: the block there is."""
    from tasks.screens import block as decide  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        number = decide(member_no, reason)
    click.echo(f"Block {number}: the redemptions of member {member_no} are refused from now on.")
    click.echo(f"Another login releases it: loyalty screens release {member_no} --reason WHY")


@screens.command(epilog='\b\nExample:\n  loyalty screens release H000123 --reason "the shop confirmed the returns"\n')
@click.argument("member_no")
@REASON
def release(member_no: str, reason: str) -> None:
    """End the block of MEMBER_NO, as the login of LOYALTY_APPROVER_DATABASE_URL. Refused to the login that set it."""
    from tasks.screens import release as decide  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        number = decide(member_no, reason)
    click.echo(f"Block {number} is released: member {member_no} can redeem again.")


@screens.command(epilog='\b\nExample:\n  loyalty screens clear 12 --reason "opening day of the store"\n')
@click.argument("finding_id", metavar="NO", type=int)
@REASON
def clear(finding_id: int, reason: str) -> None:
    """Close finding NO after looking into it. Refused to the login that the finding is about."""
    from tasks.screens import clear as decide  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        decide(finding_id, reason)
    click.echo(f"Finding {finding_id} is cleared.")


def _findings(findings: list[Finding]) -> Table:
    table = Table("no", "day", "screen", "about", "facts", "state")
    for finding in findings:
        table.add_row(
            str(finding.finding_id), str(finding.business_date), finding.screen, escape(finding.member_no or finding.subject),
            escape(finding.sentence), _state(finding),
        )  # fmt: skip
    return table


def _state(finding: Finding) -> str:
    if finding.cleared_by:
        return escape(f"cleared by {finding.cleared_by}: {finding.cleared_because}")
    blocked = "blocked" if finding.is_blocked else ""
    return blocked or ("open" if finding.is_open else "was blocked")


def _blocks(blocks: list[Block]) -> Table:
    table = Table("block", "member", "since", "by", "why", "released")
    for block in blocks:
        table.add_row(
            str(block.block_id), escape(block.member_no), f"{block.blocked_at:%Y-%m-%d %H:%M} UTC", block.blocked_by,
            escape(block.reason), escape(block.release),
        )  # fmt: skip
    return table
