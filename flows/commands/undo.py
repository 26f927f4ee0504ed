"""``loyalty undo``: what undoing a run would do; and, asked to, put it before a second person."""

from typing import cast

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from flows.commands.adjustments import show_proposed
from flows.commands.options import as_json
from flows.commands.refusals import plainly
from points_ledger.undo import Figures, Spent

OUTCOMES = {
    "reversed": "answered",
    "already_reversed": "reversed before: skipped",
    "cancels_out": "cancels out: skipped",
    "left_alone": "a transfer: left alone",
}


@click.command(
    epilog="""\b
Examples:
  loyalty undo 61                                            shows the plan, changes nothing
  loyalty undo 61 --spent waive --propose --reason "wrong rates since Monday"
  loyalty approve 9                       by a second person, who thereby starts it
"""
)
@click.argument("run", type=int)
@click.option(
    "--spent",
    type=click.Choice(["debt", "waive"]),
    default="debt",
    show_default=True,
    help="Points that are spent already: owed by the member, or left to them.",
)
@click.option("--propose", is_flag=True, help="Put the plan before a second person.")
@click.option("--reason", default="", help="With --propose: what the second person has to know; at least 10 letters.")
@click.option("--json", "machine", is_flag=True, help="For machines.")
def undo(run: int, spent: str, reason: str, *, propose: bool, machine: bool) -> None:
    """Show what undoing RUN would do: every entry of it answered by entries that point at it. Changes nothing.

    Nothing is undone before a second person approves the proposal. An approved undo that was cut short is finished.
    """
    from tasks import undo as steps  # noqa: PLC0415 - Prefect takes a second to import

    chosen = cast("Spent", spent)
    with plainly(), _bar(machine=machine) as bar:
        shown = bar.add_task("members", total=None)

        def watch(done: int, total: int) -> None:
            bar.update(shown, completed=done, total=total)

        known = steps.standing(run)
        approved = known is not None and known.approved_by is not None
        if known is not None and approved:
            undo_run, figures = steps.carry_out(known.approval_id, progress=watch)
        else:
            figures = steps.plan(run, chosen, progress=watch)
        wanted = propose and not approved and figures.entries > 0
        approval_id = steps.propose(run, chosen, figures, reason) if wanted else None
    if machine:
        click.echo(as_json({**figures.as_json(), "approval_id": approval_id, "is_undone": approved}))
        return
    if not figures.entries:
        click.echo(f"Nothing of run {run} is left to undo: it posted nothing.")
        return
    _show(figures)
    if approved:
        click.echo(f"Run {run} is undone, by run {undo_run}.")
    elif approval_id is not None:
        show_proposed(approval_id, machine=False)
    else:
        click.echo("This is the plan; nothing was changed. Ask for it with --propose --reason TEXT.")


def _show(figures: Figures) -> None:
    table = Table("entries of the run", "what becomes of them", "entries", "points")
    for (kind, outcome), (entries, points) in sorted(figures.undone.items()):
        table.add_row(kind, OUTCOMES[outcome], f"{entries:,}", f"{points:,}")
    Console(highlight=False).print(table)
    posted = ", ".join(f"{kind} {points:,}" for kind, (_, points) in sorted(figures.posted.items()))
    waived = sum(points for _, points in figures.waived.values())
    click.echo(f"{figures.members:,} members. Posted: {posted or 'nothing'}. Waived: {waived:,} points.")


def _bar(*, machine: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=machine,
    )
