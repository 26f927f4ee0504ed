"""Brings a database to the newest schema: Alembic's revisions of ``points_ledger.migrations``."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

LOCK = 20260  # one migration at a time, whoever starts it


def upgrade(engine: Engine) -> None:
    """Run every revision that is missing, in one transaction; does nothing on a current schema.

    Raises:
        sqlalchemy.exc.DBAPIError: the login may not create roles or schemas; nothing is changed then.
    """
    config = Config()
    config.set_main_option("script_location", "points_ledger:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
