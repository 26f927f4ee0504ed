"""``loyalty explain``: why a member's balance is what it is, in one minute."""

import datetime as dt

import click
from rich.console import Console
from rich.markup import escape

from flows.commands.options import DAY, as_json
from flows.commands.refusals import plainly
from points_ledger.explanation import Earned, ExplainedLot, Explanation, Movement
from tasks import ledger

OPENED = {
    "earn": "earned by {source} {ref}",
    "spend_reversal": "given back by the cancellation of redemption {ref}",
    "reinstate": "reinstated under approval {ref}",
    "transfer_in": "received by transfer {ref}",
    "adjust_up": "added under approval {ref}",
}
MOVED = {
    "spend": "spent: {source} {ref}",
    "spend_reversal": "given back: cancellation of redemption {ref}",
    "claw_back": "taken back: return {ref}",
    "expire": "lapsed",
    "transfer_out": "given away: transfer {ref}",
    "adjust_down": "taken under approval {ref}",
    "repay": "repaid debt",
    "owe": "owed after return {ref}",
}

UNDONE = {
    "claw_back": "taken back: undo of run {ref}",
    "adjust_down": "taken back: undo of run {ref}",
    "spend": "spent again: undo of run {ref}",
    "spend_reversal": "given back: undo of run {ref}",
    "adjust_up": "given back: undo of run {ref}",
    "reinstate": "reinstated: undo of run {ref}",
    "owe": "owed after the undo of run {ref}",
    "repay": "repaid debt: undo of run {ref}",
}


@click.command(epilog="\b\nExamples:\n  loyalty explain H000123\n  loyalty explain H000123 --as-of 2026-09-30 --json\n")
@click.argument("member_no")
@click.option("--as-of", type=DAY, help="As booked by the end of this day; default: now.")
@click.option("--json", "machine", is_flag=True, help="For machines.")
def explain(member_no: str, as_of: dt.date | None, *, machine: bool) -> None:
    """Show every lot of a member: from which order and rule, what took from it, what is left, when it lapses."""
    with plainly():
        story = ledger.read_explanation(member_no, as_of, dt.datetime.now(dt.UTC))
    if machine:
        click.echo(as_json(story.as_json()))
        return
    console = Console(highlight=False, soft_wrap=True)
    show(console, story)


def show(console: Console, story: Explanation) -> None:
    """Print the story, lot by lot."""
    when = f" as of {story.as_of}" if story.as_of else ""
    console.print(f"[bold]Member {escape(story.member_no)}[/], since {story.joined_on}{when}")
    console.print(
        f"Balance [bold]{story.balance:,}[/] = {story.available:,} available"
        f" + {story.pending:,} pending + {story.held:,} held + {story.balance - story.available - story.pending - story.held:,}"
        f" about to be cleared; debt {story.debt:,}"
    )
    if story.tier:
        console.print(f"Tier [bold]{escape(story.tier)}[/]")
    for decision in story.tier_decisions:
        console.print(f"    {decision['decided_on']}  {escape(decision['sentence'])}")
    _show_screens(console, story)
    for lot in story.lots:
        _show_lot(console, lot, story.currency)
    for movement in story.debts:
        console.print(
            f"\n[bold]Debt[/]  {movement.effective_on}  {_words(MOVED, movement)}: {movement.points:,} points"
        )
    for refused in story.refused:
        console.print(
            f"\n[yellow]Refused[/]  {refused['found_on'] or ''} {refused['feed']} {escape(refused['ref'])}: {refused['reason']}"
        )
    if story.waiting:
        console.print(f"\n{story.waiting:,} events wait for their business date.")


def _show_screens(console: Console, story: Explanation) -> None:
    for block in story.blocks:
        end = f"[green]released[/] {escape(block.release)}" if block.release else "[red]in force[/]"
        set_ = f"{block.blocked_at:%Y-%m-%d %H:%M} UTC by {block.blocked_by}"
        console.print(f"[bold]Redemptions blocked[/]  {set_}: {escape(block.reason)}; {end}")
    for finding in story.screened:
        what = f"{finding.screen}: {escape(finding.sentence)}"
        console.print(f"[yellow]Screened[/]  {finding.business_date}  {what}  (finding {finding.finding_id})")


def _show_lot(console: Console, lot: ExplainedLot, currency: str) -> None:
    validity = f"valid {lot.usable_from} to {lot.valid_through or 'for ever'}"
    if lot.by_inactivity and lot.remaining:
        validity += " at least: every purchase and redemption moves that day"
    left = f"[green]{lot.remaining:,} left[/]" if lot.remaining else "[dim]nothing left[/]"
    console.print(
        f"\n[bold]Lot {lot.lot_seq}[/]  {lot.points:,} points, {_words(OPENED, lot.opened_by)}; {validity}; {left}"
    )
    for earned in lot.earned:
        console.print(f"    {_rule(earned, lot, currency)}   (programme version {lot.policy_version})")
    for movement in lot.taken:
        sign = "+" if movement.sign > 0 else "-"
        booked = "" if movement.book_date == movement.effective_on else f", booked {movement.book_date}"
        why = f" ({escape(movement.reason)})" if movement.reason else ""
        console.print(f"    {movement.effective_on}  {sign}{movement.points:,}  {_words(MOVED, movement)}{why}{booked}")


def _rule(earned: Earned, lot: ExplainedLot, currency: str) -> str:
    if not earned.lines:
        once = ", once an order" if lot.opened_by.source == "order" else ""
        return f"{escape(earned.rule or 'bonus')} → {earned.points.normalize():f} points{once}"
    times = f"{earned.factor.normalize():f} × {escape(earned.rule)}, " if earned.rule else ""
    lines = f"{earned.lines} line{'s' * (earned.lines > 1)}"
    rate = f"{earned.points_per_unit.normalize():f} a {currency}" + (f" ({earned.band})" if earned.band else "")
    return f"{times}{earned.amount:,.2f} {currency} at {rate} → {earned.points.normalize():f} points, {lines}"


def _words(phrases: dict[str, str], movement: Movement) -> str:
    ref = escape(movement.source_ref)
    if movement.source == "undo":
        return UNDONE.get(movement.kind, movement.kind).format(ref=ref)
    return phrases.get(movement.kind, movement.kind).format(ref=ref, source=movement.source)
