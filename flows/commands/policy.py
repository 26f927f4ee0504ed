"""``loyalty policy``: versions of the programme: show, compare, explain to members, propose, approve."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.commands.options import DAY, as_json
from flows.commands.refusals import plainly
from flows.commands.simulation import simulate
from points_ledger.policy import Version
from points_ledger.policy_changes import Change, Effect
from points_ledger.proposals import Proposal
from tasks import policy as steps

COLOURS = {Effect.GIVES_MORE: "green", Effect.TAKES_AWAY: "red", Effect.SHORTENS: "red", Effect.NEUTRAL: "dim"}
JSON = click.option("--json", "machine", is_flag=True, help="For machines.")
VERSION = click.option("--version", type=int, metavar="N", help="The version with this number.")
ON = click.option("--on", type=DAY, help="The version that judges the orders of this day.")
PROPOSAL = click.option(
    "--proposal", type=int, metavar="ID", help="A proposal, by the number that policy approve takes."
)


@click.group(
    epilog="""\b
Examples:
  loyalty policy show
  loyalty policy explain --lang zh
  loyalty policy simulate summer.toml --from 2026-03-01 --through 2026-03-31
  loyalty policy propose summer.toml --effective-from 2026-06-01
  loyalty policy approve 7                      by a second person, when something is taken away
"""
)
def policy() -> None:
    """Show, compare, explain and change the programme. An order is judged by the version of its effective date."""


policy.add_command(simulate)


@policy.command(epilog="\b\nExamples:\n  loyalty policy show\n  loyalty policy show --on 2026-10-05 --json\n")
@VERSION
@ON
@PROPOSAL
@JSON
def show(version: int | None, on: dt.date | None, proposal: int | None, *, machine: bool) -> None:
    """Show a version (the one in force on the open business date), every other one, and what waits for approval."""
    _one_of(version=version, on=on, proposal=proposal)
    with plainly():
        if proposal is not None:
            _show_proposal(steps.read_proposal(proposal), machine=machine)
            return
        standing = steps.read_standing(version, on)
    if machine:
        versions = [_facts(other) for other in standing.versions]
        shown = _facts(standing.version) | {"document": standing.version.document}
        click.echo(as_json(shown | {"versions": versions, "waiting": [_proposed(p) for p in standing.waiting]}))
        return
    console = Console(highlight=False, soft_wrap=True)
    found = standing.version
    console.print(f"[bold]{escape(found.document['programme']['name'])}[/] · version {found.version} · {_span(found)}")
    for key, value in _leaves(found.document):
        console.print(f"  {escape(key)} = {escape(_shown(value))}")
    table = Table("version", "in force", "proposed by", "approved by", "reason", "SHA-256")
    for other in standing.versions:
        facts = (other.proposed_by or other.added_by, other.approved_by or "", escape(other.reason or ""))
        table.add_row(str(other.version), _span(other), *facts, other.sha256[:12])
    console.print(table)
    for waiting in standing.waiting:
        console.print(
            f"[yellow]Waits for a second person[/]  {waiting.approval_id}: from {waiting.effective_from}, "
            f"{len(waiting.changes)} changes, proposed by {waiting.proposed_by}: {escape(waiting.reason)}"
        )


@policy.command(epilog="\b\nExamples:\n  loyalty policy diff 1 2\n  loyalty policy diff 2 summer.toml --json\n")
@click.argument("before")
@click.argument("after")
@JSON
def diff(before: str, after: str, *, machine: bool) -> None:
    """Compare two programmes, each a version's number or a file, and say what the difference does to members."""
    with plainly():
        found = steps.difference(before, after)
    if machine:
        changes = [change.as_json() for change in found.changes]
        click.echo(as_json({"before": found.before, "after": found.after, "changes": changes}))
        return
    if not found.changes:
        click.echo(f"{found.before} and {found.after} say the same.")
        return
    _print_changes(found.changes, found.before, found.after)


@policy.command(
    epilog="\b\nExamples:\n  loyalty policy explain --lang zh\n  loyalty policy explain --proposal 7 --lang en\n"
)
@click.option(
    "--lang", type=click.Choice(get_args(steps.Language)), default="en", show_default=True, help="The language."
)
@VERSION
@ON
@PROPOSAL
def explain(lang: steps.Language, version: int | None, on: dt.date | None, proposal: int | None) -> None:
    """Write the rules for members in plain words, from the data of a version."""
    _one_of(version=version, on=on, proposal=proposal)
    with plainly():
        click.echo(steps.explain(lang, version=version, on=on, approval_id=proposal), nl=False)


@policy.command(
    epilog="""\b
Examples:
  loyalty policy propose summer.toml --effective-from 2026-06-01
  loyalty policy propose shorter.toml --effective-from 2026-09-01 --reason "costs of the old validity"
"""
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--effective-from", type=DAY, required=True, help="The first day that is judged by it.")
@click.option("--reason", default="", help="Why; the second person reads it.")
@JSON
def propose(file: Path, effective_from: dt.date, reason: str, *, machine: bool) -> None:
    """Propose the programme in FILE from a day on, and say what changes for members.

    What only gives more is in force at once. What takes something away or shortens validity waits for a second person,
    and starts at least programme.notice_days after the open business date. Safe to repeat.
    """
    with plainly():
        row = steps.as_row(proposed := steps.propose(effective_from, reason, path=file))
    if machine:
        click.echo(as_json(row))
        return
    if proposed.proposal is not None:
        _print_changes(proposed.proposal.changes, f"version {proposed.proposal.base_version}", file.name)
    click.echo(steps.what_is_next(row))


@policy.command(epilog="\b\nExample:\n  loyalty policy approve 7\n")
@click.argument("proposal", type=int, metavar="ID")
@JSON
def approve(proposal: int, *, machine: bool) -> None:
    """Approve a proposal as the approver's login (LOYALTY_APPROVER_DATABASE_URL) and put it in force.

    Look at it first: loyalty policy show --proposal ID. The database refuses the login that proposed it.
    """
    with plainly():
        approved = steps.approve(proposal)
    if machine:
        click.echo(as_json(_proposed(approved)))
        return
    click.echo(
        f"Proposed by {approved.proposed_by}, approved by {approved.approved_by}. "
        f"Version {approved.version} is in force from {approved.effective_from}."
    )


def _one_of(**options: object) -> None:
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} name two programmes: choose one.")


def _show_proposal(found: Proposal, *, machine: bool) -> None:
    if machine:
        click.echo(as_json(_proposed(found) | {"document": found.document}))
        return
    click.echo(
        f"Proposal {found.approval_id}: {found.state}, from {found.effective_from}, proposed by {found.proposed_by}."
    )
    click.echo(f"Reason: {found.reason}")
    _print_changes(found.changes, f"version {found.base_version}", "proposed")


def _print_changes(changes: Sequence[Change], before: str, after: str) -> None:
    table = Table("key", escape(before), escape(after), "what it does", "why")
    for change in changes:
        colour = COLOURS[change.effect]
        values = (escape(_shown(value)) for value in (change.before, change.after))
        table.add_row(escape(change.key), *values, f"[{colour}]{change.effect.value}[/]", escape(change.why))
    Console(highlight=False).print(table)


def _facts(version: Version) -> dict[str, Any]:
    return {key: value for key, value in vars(version).items() if key != "document"}


def _proposed(proposal: Proposal) -> dict[str, Any]:
    facts = {key: value for key, value in vars(proposal).items() if key not in ("document", "proposal_id")}
    return facts | {"state": proposal.state, "changes": [change.as_json() for change in proposal.changes]}


def _span(version: Version) -> str:
    through = version.effective_through
    if through is None:
        return f"from {version.effective_from}"
    return f"{version.effective_from} to {through}" if through >= version.effective_from else "replaced before it began"


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{place}]")
    elif value not in ([], {}):
        yield key, value


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return "\n".join(f"{name} = {_shown(inner)}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
