"""``loyalty notices``: what waits, what goes out, what a member was told, and how a notice looks."""

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from flows.commands.options import as_json
from flows.commands.refusals import plainly

CHANNEL = click.Choice(["email", "sms"])
CAUSES = {"bounced": "hard_bounce", "complaint": "complaint", "asked": "operator"}


@click.group(
    epilog="""\b
Examples:
  loyalty notices status
  loyalty notices send --dry-run
  loyalty notices show H000123
  loyalty notices preview points_expiring --member H000123
"""
)
def notices() -> None:
    """What members are told: by mail and text message, once, in their language, with proof."""


@notices.command(epilog="\b\nExample:\n  loyalty notices status --json\n")
@click.option("--json", "machine", is_flag=True, help="For machines.")
def status(*, machine: bool) -> None:
    """Show whether notices are held, what waits, and what became of the last day's. Exit code 1 while they are held."""
    from tasks import notice_questions  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        found = notice_questions.status()
    if machine:
        click.echo(as_json(found))
    else:
        if found["held"]:
            click.echo(f"HELD: {found['held']}. Look at what waits, then: loyalty notices release --reason …")
        _table(found["waiting"], "Nothing waits.", "kind", "channel", "notices", "oldest")
        told = ", ".join(f"{name} {count:,}" for name, count in found["last_24_hours"].items() if count)
        click.echo(f"Last 24 hours: {told or 'no attempt'}.")
        click.echo(f"Mail goes through {found['email_sender']}, text messages through {found['sms_sender']}.")
    sys.exit(1 if found["held"] else 0)


@notices.command(epilog="\b\nExamples:\n  loyalty notices send --dry-run\n  loyalty notices send\n")
@click.option("--dry-run", is_flag=True, help="Show what is due, send nothing.")
@click.option("--json", "machine", is_flag=True, help="For machines.")
def send(*, dry_run: bool, machine: bool) -> None:
    """Send what is due now. Safe to repeat, to kill, and beside the scheduled job. Exit code 1 when something stands in the way."""
    from tasks import notice_questions  # noqa: PLC0415 - Prefect takes a second to import
    from tasks import notices as steps  # noqa: PLC0415 - as above

    now = dt.datetime.now(dt.UTC)
    if dry_run:
        with plainly():
            waiting = notice_questions.due_now(now)
        if machine:
            click.echo(as_json(waiting))
        else:
            _table(waiting, "Nothing is due.", "kind", "channel", "notices", "oldest", "too_late")
        return
    with plainly():
        sent = steps.send(now)
    if machine:
        click.echo(as_json(sent.facts))
    else:
        counts = ", ".join(f"{name} {count:,}" for name, count in sent.counts.facts.items() if count)
        click.echo(f"{sent.claimed:,} notices claimed: {counts or 'nothing was due'}.")
        for problem in sent.problems:
            click.echo(f"Not sent: {problem}", err=True)
    sys.exit(1 if sent.problems else 0)


@notices.command(epilog="\b\nExamples:\n  loyalty notices show H000123\n  loyalty notices show H000123 --proof 4711\n")
@click.argument("member_no")
@click.option(
    "--proof", type=int, metavar="NOTICE", help="The exact bytes that were sent of one notice. Needs the keys."
)
@click.option("--json", "machine", is_flag=True, help="For machines.")
def show(member_no: str, proof: int | None, *, machine: bool) -> None:
    """Show what a member was told: what, when, by which channel, with what result.

    Without --proof it shows no contact data. With it, the mail itself is opened with the master keys of contacts: only who
    has those (LOYALTY_CONTACT_MASTER_KEYS) can.
    """
    from tasks import notice_questions  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        rows = notice_questions.told(member_no)
        if proof is not None:
            if proof not in {row["notice_id"] for row in rows}:
                raise click.ClickException(f"Notice {proof} is not one of member {member_no}.")
            for attempt, content in notice_questions.proofs(proof):
                click.echo(f"--- attempt {attempt}", err=True)
                if content is None:
                    click.echo("The member was erased: nobody can read it any more.", err=True)
                else:
                    sys.stdout.buffer.write(content)
            return
    if machine:
        click.echo(as_json(rows))
        return
    for row in rows:
        when = f"{row['moment']:%Y-%m-%d %H:%M}" if row["moment"] else ""
        what = f"{row['notice_id']:>9}  {row['business_date']}  {row['kind']:<20}  {row['channel']:<5}"
        click.echo(f"{what}  {row['result'] or 'waits':<11}  {when:<16}  {row['detail'] or ''}".rstrip())
    if not rows:
        click.echo("Nothing was ever due.")


@notices.command(
    epilog="\b\nExamples:\n  loyalty notices preview points_expiring\n  loyalty notices preview points_expiring --member H000123\n"
)
@click.argument("kind")
@click.option(
    "--member", "member_no", help="With the facts of this member's newest notice of the kind, and in their language."
)
@click.option("--locale", help="In this language instead, such as zh_CN.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("preview.html"), show_default=True)
def preview(kind: str, member_no: str | None, locale: str | None, out: Path) -> None:
    """Write a page for the browser that shows a notice, its text and its text message. Sends nothing."""
    from tasks import notice_questions  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        out.write_text(notice_questions.preview(kind, member_no, locale), "utf-8")
    click.echo(f"Open {out} in a browser.")


@notices.command(epilog="\b\nExamples:\n  loyalty notices lint\n  loyalty notices lint my-templates\n")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
def lint(folder: Path | None) -> None:
    """Check templates before anybody gets a notice made of them. No output is good; exit code 1 when something is wrong."""
    from tasks import notice_questions  # noqa: PLC0415 - Prefect takes a second to import

    found = notice_questions.lint_templates(folder)
    for problem in found:
        click.echo(problem)
    sys.exit(1 if found else 0)


@notices.command(
    epilog="\b\nExamples:\n  loyalty notices release --reason 'restored on purpose, the old server is gone' --drop-waiting\n"
)
@click.option("--reason", required=True, help="Why this database may send from now on.")
@click.option(
    "--drop-waiting", is_flag=True, help="Do not send what waits now: after a restore most of it was sent before."
)
def release(reason: str, *, drop_waiting: bool) -> None:
    """Let this database send, after it was restored or copied. See docs/howto/send-notices.md first."""
    from tasks import notices as steps  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        dropped = steps.release(reason, dt.datetime.now(dt.UTC), is_dropping=drop_waiting)
    click.echo(f"Released. {dropped:,} waiting notices were dropped.")


@notices.command(epilog="\b\nExample:\n  loyalty notices unreachable --json\n")
@click.option("--json", "machine", is_flag=True, help="For machines.")
def unreachable(*, machine: bool) -> None:
    """Show the members with points whom no channel reaches, and why; soonest lapse first."""
    from tasks import notice_questions  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        rows = notice_questions.unreachable()
    if machine:
        click.echo(as_json(rows))
    else:
        _table(rows, "Everybody with points can be reached.", "member_no", "points", "lapses_on", "why")


@notices.command(
    epilog="\b\nExamples:\n  loyalty notices suppress H000123 --because complaint\n  loyalty notices suppress H000123 --lift\n"
)
@click.argument("member_no")
@click.option("--channel", type=CHANNEL, default="email", show_default=True)
@click.option("--because", type=click.Choice(list(CAUSES)), default="asked", show_default=True)
@click.option("--lift", is_flag=True, help="Send there again.")
def suppress(member_no: str, channel: Any, because: str, *, lift: bool) -> None:
    """Send nothing more to a member's present address: it bounced, they complained, or asked. Legal notices survive a complaint."""
    from tasks import notice_questions  # noqa: PLC0415 - Prefect takes a second to import

    cause: Any = "lifted" if lift else CAUSES[because]
    with plainly():
        notice_questions.suppress(member_no, channel, cause, dt.datetime.now(dt.UTC))
    click.echo("Sent to again." if lift else "Nothing is sent there any more.")


def _table(rows: list[dict[str, Any]], empty: str, *columns: str) -> None:
    if not rows:
        click.echo(empty)
        return
    table = Table(*(column.replace("_", " ") for column in columns))
    for row in rows:
        table.add_row(
            *(f"{row[c]:,}" if isinstance(row[c], int) and c != "notice_id" else str(row[c] or "") for c in columns)
        )
    Console(highlight=False, soft_wrap=True).print(table)
