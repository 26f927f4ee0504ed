"""``loyalty check`` and ``loyalty findings``: run the checks, see what is open, and decide what becomes of it."""

import datetime as dt
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.commands.options import DAY, as_json
from flows.commands.refusals import plainly

MARKS = {"pass": "[green]pass[/]", "fail": "[red]FAIL[/]", "error": "[magenta]ERROR[/]"}


@click.command(
    epilog="""\b
Examples:
  loyalty check
  loyalty check --check I7 --check power
  loyalty check --as-of 2026-09-30 --json
"""
)
@click.option("--check", "check_ids", multiple=True, metavar="ID", help="Only this check; may be given again.")
@click.option("--as-of", "as_of", type=DAY, help="The date the checks are bound to; default: the last closed day.")
@click.option("--bare", is_flag=True, help="Without Great Expectations: the same statements, seven seconds sooner.")
@click.option(
    "--docs",
    "docs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the run's pages there, in a folder of its own.",
)
@click.option("--json", "machine", is_flag=True, help="For machines.")
def check(check_ids: tuple[str, ...], as_of: dt.date | None, docs: Path | None, *, bare: bool, machine: bool) -> None:
    """Run the checks over the whole ledger, in one snapshot, and keep what they find.

    Exit code 1 when a stop check found rows that nobody waived, or a check could not run.
    """
    from tasks import check_docs, checks  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        report = checks.check(as_of, check_ids, bare=bare)
        place = check_docs.write(report, docs) if docs else None
    if machine:
        click.echo(as_json({key: value for key, value in asdict(report).items() if key != "documents"}))
    else:
        shown = Console(highlight=False, soft_wrap=True)
        for answer in report.answers:
            rows = (
                f"{answer['offending']:,} row{'s' * (answer['offending'] != 1)}"
                if answer["offending"]
                else escape(answer["error"] or "")
            )
            shown.print(f"{MARKS[answer['outcome']]:<16} {answer['severity']:<5} {answer['check_id']:<24} {rows}")
            for row in answer["rows"][:5]:
                shown.print(f"      {escape(row['difference'])}")
        shown.print(f"{len(report.answers)} checks as of {report.as_of}: {report.outcome}.")
        if report.stopping:
            shown.print("No night takes points away before these are cleared or waived: " + ", ".join(report.stopping))
        if place:
            shown.print(f"Written: {escape(str(place))}")
    errors = any(answer["outcome"] == "error" for answer in report.answers)
    sys.exit(1 if errors or report.stopping else 0)


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  loyalty findings --open
  loyalty findings --check I7 --json
  loyalty findings --page on-call.html
  loyalty findings ack I7
  loyalty findings repair 12 --reason "left behind by the night of 3 May"
  loyalty findings waive 12 --until 2026-10-31 --reason "explained in ticket 881"
""",
)
@click.option("--open", "only_open", is_flag=True, help="Only those that are not cleared.")
@click.option("--check", "check_id", metavar="ID", help="Only those of this check.")
@click.option("--json", "machine", is_flag=True, help="For machines.")
@click.option(
    "--page", type=click.Path(path_type=Path, dir_okay=False), help="Write the page for on-call: one HTML file."
)
@click.pass_context
def findings(ctx: click.Context, check_id: str | None, page: Path | None, *, only_open: bool, machine: bool) -> None:
    """Show what the checks found: since when, still open or cleared, waived by whom; and decide what becomes of it."""
    if ctx.invoked_subcommand is not None:
        return
    from tasks import checks  # noqa: PLC0415 - Prefect takes a second to import

    if page is not None:
        with plainly():
            page.write_text(checks.on_call_page(), encoding="utf-8")
        click.echo(f"Written: {page}")
        return
    with plainly():
        incidents, found = checks.list_findings(only_open=only_open, check_id=check_id)
    if machine:
        click.echo(as_json({"incidents": [asdict(i) for i in incidents], "findings": [asdict(f) for f in found]}))
        return
    if not incidents and not found:
        click.echo("Nothing is open." if only_open else "Nothing was found.")
        return
    shown = Console(highlight=False)
    if incidents:
        table = Table(
            "check", "", "rows", "most", "since", "last", "looked after by", "muted until", title="Open incidents"
        )
        for i in incidents:
            what = "could not run" if i.last_outcome == "error" else i.severity
            until = str(i.muted_until or "")
            table.add_row(i.check_id, what, f"{i.offending:,}", f"{i.worst:,}", str(i.opened_on), str(i.last_on),
                          i.acknowledged_by or "nobody", until)  # fmt: skip
        shown.print(table)
    if found:
        table = Table("no", "check", "", "found", "first seen", "last seen", "state")
        for f in found:
            state = f"cleared {f.cleared_on}" if f.cleared_on else "open"
            if f.waived_until and not f.cleared_on:
                state = f"waived until {f.waived_until} by {f.waived_by}: {escape(f.waived_why or '')}"
            table.add_row(str(f.finding_no), f.check_id, f.severity, escape(f.difference), str(f.first_seen),
                          str(f.last_seen), state)  # fmt: skip
        shown.print(table)
    click.echo("What to do: docs/howto/handle-a-finding.md")


@findings.command(
    epilog='\b\nExample:\n  loyalty findings waive 12 --until 2026-10-31 --reason "explained in ticket 881"\n'
)
@click.argument("numbers", metavar="[NO]...", type=int, nargs=-1)
@click.option("--check", "check_id", metavar="ID", help="All open findings of this check.")
@click.option("--until", type=DAY, required=True, help="The last day it counts for.")
@click.option("--reason", required=True, help="Why it is acceptable; at least 10 letters.")
def waive(numbers: tuple[int, ...], check_id: str | None, until: dt.date, reason: str) -> None:
    """Accept findings until a day, as the login of LOYALTY_APPROVER_DATABASE_URL: the nights go on in spite of them."""
    from tasks import checks  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        waived = checks.waive(numbers, check_id, until, reason)
    click.echo(f"Waived until {until}: finding{'s' * (len(waived) != 1)} {', '.join(map(str, waived))}.")


@findings.command(epilog="\b\nExample:\n  loyalty findings ack I7\n")
@click.argument("check_id", metavar="ID")
def ack(check_id: str) -> None:
    """Say that somebody looks after the open incident of a check. It stays open, and holds up what it holds up."""
    from tasks import checks  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        checks.acknowledge(check_id)
    click.echo(f"{check_id} is looked after.")


@findings.command(
    epilog='\b\nExample:\n  loyalty findings mute I7 --until 2026-10-03 --reason "the shop mends it on Friday"\n'
)
@click.argument("check_id", metavar="ID")
@click.option("--until", type=DAY, required=True, help="The last day without alerts.")
@click.option("--reason", required=True, help="Why nobody needs to be woken; at least 10 letters.")
def mute(check_id: str, until: dt.date, reason: str) -> None:
    """No alerts for the open incident of a check until a day. Points stay withheld: only a waiver changes that."""
    from tasks import checks  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        checks.mute(check_id, until, reason)
    click.echo(f"No alerts for {check_id} until {until}.")


@findings.command(epilog='\b\nExample:\n  loyalty findings repair 12 --reason "left behind by the night of 3 May"\n')
@click.argument("finding_no", metavar="NO", type=int)
@click.option("--reason", required=True, help="What the second person has to know; at least 10 letters.")
def repair(finding_no: int, reason: str) -> None:
    """Propose the repair of a finding, where there is one; nothing is done before a second person approves it."""
    from tasks import checks  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        approval, about = checks.propose_repair(finding_no, reason)
    if approval is None:
        click.echo(f"{about.id} has no repair that a machine could propose. {about.advice} See {about.runbook}.")
        return
    click.echo(
        f"Proposed as approval {approval}: {about.repair}. A second person continues with: loyalty approve {approval}"
    )
