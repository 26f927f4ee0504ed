"""How a command ends when it is refused: one clear sentence, exit code 2 for bad input and 1 for what stopped."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click
from sqlalchemy.exc import OperationalError

from points_ledger.errors import GateFailed, LedgerError, WaitsForPerson
from tasks.refusals import BACKUP_REFUSED, INPUT_REFUSED, SETTINGS_REFUSED

STOPPED = (GateFailed, WaitsForPerson)


@contextmanager
def plainly() -> Iterator[None]:
    """Turn what an operator can put right into a sentence; anything else keeps its traceback."""
    try:
        yield
    except STOPPED as stop:
        _end(str(stop), 1)
    except (*INPUT_REFUSED, *SETTINGS_REFUSED, LedgerError) as refusal:
        _end(str(refusal), 2)
    except BACKUP_REFUSED as refusal:
        _end(str(refusal), 1)
    except OperationalError as error:
        _end(f"The ledger cannot be reached or is short of resources: {str(error.orig).strip()}", 1)


def _end(message: str, code: int) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)
