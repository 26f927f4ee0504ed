"""``loyalty month``: the report of a month, its close, the auditor's signature, and the proof that it is still the same."""

import sys
from pathlib import Path

import click

from flows.commands.refusals import plainly


@click.group(
    epilog="""\b
Examples:
  loyalty month report 2026-09 --out september
  loyalty month close 2026-09
  loyalty month sign 2026-09
  loyalty month verify 2026-09
"""
)
def month() -> None:
    """Report, close, sign and verify a month. See docs/howto/close-a-month.md."""


@month.command()
@click.argument("name", metavar="YYYY-MM")
@click.option(
    "--out", "folder", type=click.Path(file_okay=False, path_type=Path),
    help="Write the report, its page, the journal and the populations there; default: month-YYYY-MM.",
)  # fmt: skip
def report(name: str, folder: Path | None) -> None:
    """Make the report of a month whose nights are closed. Nothing is recorded; made again it is the same bytes.

    Exit code 1 when something does not agree.
    """
    from tasks import month as steps  # noqa: PLC0415 - Prefect takes a second to import

    with plainly():
        place = folder or Path(f"month-{name}")
        try:
            made = steps.make(name, place)
        except OSError as error:
            raise click.ClickException(f"{place} cannot be written: {error.strerror}. Choose another --out.") from error
    click.echo(made.report["headline"])
    click.echo(f"report.json {made.sha256}")
    click.echo(f"Written to {place}: report.json, report.html, journal.csv, the populations as CSV, SHA256SUMS.")
    sys.exit(1 if made.report["deviations"] else 0)


@month.command()
@click.argument("name", metavar="YYYY-MM")
def close(name: str) -> None:
    """Record the report of a month, once.

    Refused while a night of it is not closed, findings are open that stop, or something does not agree.
    """
    from tasks import month as steps  # noqa: PLC0415 - as above

    with plainly():
        made, recorded = steps.close(name)
    click.echo(made.report["headline"])
    click.echo(f"Closed by {recorded.closed_by}: report.json {recorded.report_sha256}")
    click.echo(
        f"Signed by {recorded.signed_by}." if recorded.signed_by else f"Next, by an auditor: loyalty month sign {name}"
    )


@month.command()
@click.argument("name", metavar="YYYY-MM")
def sign(name: str) -> None:
    """Recompute the report of a closed month and sign it, as the auditor's login. From then on the month is frozen."""
    from tasks import month as steps  # noqa: PLC0415 - as above

    with plainly():
        made, recorded = steps.sign(name)
    click.echo(made.report["headline"])
    click.echo(f"Signed by {recorded.signed_by}: report.json {recorded.report_sha256}")


@month.command()
@click.argument("name", metavar="YYYY-MM")
def verify(name: str) -> None:
    """Recompute the report of a closed month and compare it with what was recorded and signed.

    Exit code 1, and what differs, when it is not the same.
    """
    from tasks import month as steps  # noqa: PLC0415 - as above

    with plainly():
        found = steps.verify(name)
    signed = f"signed by {found.recorded.signed_by}" if found.recorded.signed_by else "not signed yet"
    if found.sha256 == found.recorded.report_sha256:
        click.echo(f"{name} is what was recorded ({signed}): report.json {found.sha256}")
        return
    click.echo(f"{name} is NOT what was recorded ({signed}): {found.recorded.report_sha256}, recomputed {found.sha256}")
    click.echo(found.headline)
    for line in found.differences:
        click.echo(line)
    sys.exit(1)
