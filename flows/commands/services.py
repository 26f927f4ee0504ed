"""``loyalty up`` and ``loyalty down``: the services around the ledger."""

import sys

import click

from flows.commands.refusals import plainly
from tasks.services import bring_down, bring_up


@click.command(
    epilog="""\b
Examples:
  loyalty up --detach                              start, wait until READY, print the addresses
  LOYALTY_PREFECT_PORT=4300 loyalty up --detach    on another port
"""
)
@click.option("--detach", is_flag=True, help="Run in the background; return when everything is ready.")
def up(*, detach: bool) -> None:
    """Start everything and keep it running: Postgres, S3, mail, the Prefect server with its UI, a worker.

    What a setting places elsewhere (LOYALTY_DATABASE_URL, LOYALTY_S3_ENDPOINT_URL, LOYALTY_SMTP_URL,
    PREFECT_API_URL) is used there and not started. Parts that die are restarted. Without --detach, Ctrl-C
    waits for active runs and then stops everything; a second Ctrl-C does not wait.
    """
    with plainly():
        code = bring_up(detach=detach)
    sys.exit(code)


@click.command(epilog="\b\nExample:\n  loyalty down\n")
def down() -> None:
    """Stop everything: no new runs start, active ones are waited for, then the services end.

    The wait is limited by LOYALTY_DRAIN_SECONDS. All data stays where it is; 'loyalty up' continues.
    """
    with plainly():
        code = bring_down()
    sys.exit(code)
