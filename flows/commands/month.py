"""``loyalty month``: the report of a month, its close, the auditor's signature, its evidence, and the proof that it is the same."""

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
  loyalty month pack 2026-09 --out september.zip
  loyalty month publish 2026-09
"""
)
def month() -> None:
    """Report, close, sign, verify and prove a month. See docs/howto/close-a-month.md."""


@month.command()
@click.argument("name", metavar="YYYY-MM")
@click.option(
    "--out", "folder", type=click.Path(file_okay=False, path_type=Path),
    help="Write the report in all its forms, the journal and the populations there; default: month-YYYY-MM.",
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
    click.echo(
        f"Written to {place}: report.json, .html, .pdf, .xlsx and .csv, journal.csv, the populations as CSV, SHA256SUMS."
    )
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


@month.command()
@click.argument("name", metavar="YYYY-MM")
@click.option(
    "--out", "file", type=click.Path(dir_okay=False, path_type=Path), help="The zip file; default: evidence-YYYY-MM.zip."
)  # fmt: skip
def pack(name: str, file: Path | None) -> None:
    """Write the evidence pack of a month: report, populations, queries, seals, signed; and a program that verifies it alone.

    Exit code 1 when something does not agree; the pack shows it.
    """
    from tasks import evidence as steps  # noqa: PLC0415 - as above

    with plainly():
        place = file or Path(f"evidence-{name}.zip")
        try:
            made = steps.pack(name, place)
        except OSError as error:
            raise click.ClickException(f"{place} cannot be written: {error.strerror}. Choose another --out.") from error
    click.echo(made.headline)
    click.echo(f"{place}: {made.bytes:,} bytes, SHA-256 {made.sha256}, signed by the key {made.signer}")
    click.echo(f"Verify it with nothing of ours: unzip {place} verify_pack.py && python verify_pack.py {place}")
    sys.exit(1 if made.deviations else 0)


@month.command()
@click.argument("name", metavar="YYYY-MM")
def publish(name: str) -> None:
    """Store the report of a closed month and its evidence pack in S3, locked where the bucket has Object Lock."""
    from tasks import evidence as steps  # noqa: PLC0415 - as above

    with plainly():
        _, stored = steps.publish(name)
    for one in stored:
        click.echo(f"{one.url} {one.bytes:,} bytes, {steps.lock_in_words(one)}")


@month.group()
def keys() -> None:
    """The key that signs evidence packs. See docs/howto/close-a-month.md."""


@keys.command()
def generate() -> None:
    """Make a signing key where there is none. Publish its id where auditors look, apart from the packs."""
    from tasks import evidence as steps  # noqa: PLC0415 - as above

    with plainly():
        folder = steps.generate_keys()
        click.echo(
            f"Made in {folder}: packs are signed by the key {steps.trusted()[0]}. Publish that id to your auditors."
        )


@keys.command()
def rotate() -> None:
    """Sign what comes with a new key. Packs signed before stay as they are, and so does the trust in their key."""
    from tasks import evidence as steps  # noqa: PLC0415 - as above

    with plainly():
        steps.rotate_keys()
        click.echo(
            f"From now on packs are signed by the key {steps.trusted()[0]}. Publish that id beside the old ones."
        )


@keys.command()
def show() -> None:
    """Show the ids of the keys whose packs are trusted, newest first; never a secret."""
    from tasks import evidence as steps  # noqa: PLC0415 - as above

    with plainly():
        for key_id in steps.trusted():
            click.echo(key_id)
