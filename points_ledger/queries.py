"""The named statements of ``sql/``: each file is one statement with a header, read once as package data."""

from functools import cache
from importlib import resources

from sqlalchemy import TextClause, text


@cache
def statement(name: str) -> TextClause:
    """The statement of ``sql/<name>.sql``.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return text(resources.files("points_ledger").joinpath("sql", f"{name}.sql").read_text("utf-8"))
