"""``loyalty demo``: from nothing to sixty closed nights, with something to look at."""

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flows.commands.explanation import show
from flows.commands.refusals import plainly
from tasks.services import bring_up


@click.command(epilog="\b\nExample:\n  loyalty demo        (in a checkout: make demo)\n")
@click.option(
    "--programme",
    type=click.Path(path_type=Path),
    default=Path("docs/examples/harbour-gifts.toml"),
    show_default=True,
    help="The programme to run the generated shop on.",
)
def demo(programme: Path) -> None:
    """Start everything, generate a shop, close its sixty nights through Prefect, and say where to look.

    Safe to repeat: the same shop is imported once and closed once. It all lives under LOYALTY_HOME (.loyalty).
    """
    from tasks import demo as steps  # noqa: PLC0415 - Prefect takes a second to import
    from tasks import ledger  # noqa: PLC0415 - same
    from tasks.feeds import as_row, import_feed  # noqa: PLC0415 - same

    began = time.monotonic()
    console = Console(highlight=False, soft_wrap=True)
    with plainly():
        console.print("[bold]1[/] The ledger and its programme")
        _, policy = ledger.initialise(programme)
        console.print(f'  "{policy.name}" in force from {policy.starts_on}, {policy.time_zone}')
        console.print("[bold]2[/] The services: Postgres, S3, mail, the Prefect server and a worker")
        if code := bring_up(detach=True, is_replaying=True):
            raise SystemExit(code)
        console.print("[bold]3[/] A generated shop")
        steps.keep_contacts()
        for feed, file in steps.write_files(policy.starts_on):
            row = as_row(import_feed(str(file), feed, None))
            done = (
                "imported before"
                if row["already_imported"]
                else f"{row['accepted']:,} accepted, {row['rejected']:,} rejected, {row['skipped']:,} skipped"
            )
            console.print(f"  {feed:<14} {row['rows_read']:>7,} rows: {done}")
        last = steps.last_day(policy.starts_on)
        console.print(f"[bold]4[/] The nights to {last}, as a run of close-night in Prefect")
        run_id = steps.start_nights(last)
        console.print(f"  {steps.page(run_id)}")
        _follow(steps.follow(run_id), policy.starts_on, last)
        console.print("[bold]5[/] What happened")
        figures = ledger.read_totals(None)
        for kind, points in figures["points_by_kind"].items():
            console.print(f"  {kind:<15} {points:>9,} points")
        console.print(
            f"  balance {figures['balance']:,}, debt {figures['debt']:,}, {figures['wallets_with_entries']:,} members"
        )
        console.print(f"  findings: {', '.join(f'{reason} {count}' for reason, count in figures['findings'].items())}")
        console.print("[bold]6[/] What the programme and its people did")
        orders, promotion = steps.promoted()
        console.print(f"  a promotion     {orders:,} orders earned more by {promotion!r}, which ended by itself")
        risen, sentence = steps.upgrades()
        console.print(f"  upgrades        {risen:,} members rose a tier; the first: {sentence}")
        member = steps.telling_member()
        if member:
            given = steps.give_goodwill(member)
            console.print(
                f"  an adjustment   {given.points} points to {member} for goodwill: approval {given.approval_id},"
                f" proposed by {given.proposed_by}, approved by {given.approved_by}"
            )
        undone = steps.undo_a_mistake()
        console.print(
            f"  an undone run   orders with wrong prices, taken back by {undone.points:,} points: approval {undone.approval_id},"
            f" proposed by {undone.proposed_by}, approved by {undone.approved_by}"
        )
        if member:
            console.print(f"\n[bold]7[/] One member explained: loyalty explain {member}\n")
            show(console, ledger.read_explanation(member, None, dt.datetime.now(dt.UTC)))
            console.print()
        console.print("[bold]8[/] What members were told, in the inbox of the local mail sink")
        told = steps.told()
        for kind, by_locale in told.accepted.items():
            languages = ", ".join(f"{count:,} {locale}" for locale, count in by_locale.items())
            console.print(f"  {kind:<22} {sum(by_locale.values()):>6,}: {languages}")
        waits = ", ".join(f"{lots:,} {why}" for why, lots in told.deferred.items()) or "none"
        console.print(
            f"  lots kept because nobody was told in time: {waits}; notices that still wait: {told.not_accepted:,}"
        )
        looked_at, differences = ledger.verify(lambda _check, _title: None)
        proof = "every wallet, lot and seal agrees" if not differences else f"{len(differences)} DIFFERENCES"
        console.print(
            f"[bold]9[/] loyalty verify: {looked_at.entries:,} entries rebuilt, {looked_at.seals} seals recomputed: {proof}"
        )
        console.print(
            "[bold]10[/] A backup, restored to be proven: loyalty backup run, loyalty backup drill, loyalty restore"
        )
        copy = steps.back_up_and_restore()
        if copy:
            answer = "every wallet, lot and seal agrees" if not copy.differences else f"{copy.differences} DIFFERENCES"
            console.print(
                f"  the backup      {copy.backup_id}: {copy.stored_bytes:,} bytes in S3, compressed, encrypted and signed\n"
                f"  the drill       restored it into a scratch Postgres and proved it in {copy.drill_seconds:.0f} s\n"
                f"  a copy          database {steps.COPY}: {copy.entries:,} entries, {copy.seals} seals: {answer};"
                f" the totals are {'the same' if copy.has_same_totals else 'NOT THE SAME'}"
            )
        else:
            console.print("  left out on a database server of yours; see docs/howto/restore.md")
        console.print(
            "[bold]11[/] A month, closed and signed: loyalty month close, loyalty month sign, loyalty month pack"
        )
        signed = steps.sign_a_month(policy.starts_on)
        if signed:
            console.print(
                f"  {signed.headline} Signed by {signed.signed_by}\n"
                f"  its evidence    {signed.pack}; with the report in S3: {signed.objects} objects\n"
                f"  verified alone  {escape(signed.verdict)}\n"
                f"  again           python {signed.verifier} {signed.pack}"
            )
        else:
            console.print("  left out: set LOYALTY_AUDITOR_DATABASE_URL; see docs/howto/close-a-month.md")
    console.print(
        f"\n[bold green]Done in {time.monotonic() - began:.0f} s.[/] Look at:\n"
        f"  Prefect UI      {steps.ui()}\n  the night's run {steps.page(run_id)}\n  its artifacts   {steps.ui()}/artifacts\n"
        f"  the mail inbox  {steps.inbox()}\n"
        f"  the shop files  {steps.shop_folder()}\n"
        "Try: loyalty status, loyalty totals, loyalty close --dry-run. End it with: make demo-stop (or loyalty down)"
    )
    failed = (copy and (copy.differences or not copy.has_same_totals)) or (signed and not signed.is_verified)
    if differences or failed:
        raise SystemExit(1)


def _follow(states: Iterator[tuple[str, str, dt.date | None]], starts_on: dt.date, last: dt.date) -> None:
    total = (last - starts_on).days + 1
    ended = ("", "")
    with Progress(
        TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("nights"), TimeElapsedColumn()
    ) as bar:
        shown = bar.add_task("waiting for the worker", total=total)
        for state, message, closed in states:
            ended = state, message
            nights = (closed - starts_on).days + 1 if closed else 0
            bar.update(shown, completed=nights, description=f"closed {closed}" if closed else state.lower())
    if ended[0] != "COMPLETED":
        raise click.ClickException(f"The run ended {ended[0]}: {ended[1]}")
