"""Runs the SQL that stands beside the revisions: what is common to all of them."""

from collections.abc import Iterable
from importlib import resources

from alembic import op

OWNER = "loyalty_owner"  # owns everything; nobody can log in as it


def create(revision: str, parts: Iterable[str]) -> None:
    """Run ``sql/<revision>_<part>.sql`` for each part, in order, as ``loyalty_owner``."""
    run(f"GRANT {OWNER} TO CURRENT_USER; SET LOCAL ROLE {OWNER}; SET LOCAL search_path = points, pg_catalog;")
    for part in parts:
        run(resources.files("points_ledger.migrations").joinpath(f"sql/{revision}_{part}.sql").read_text("utf-8"))
    run("RESET search_path; RESET ROLE;")


def create_role(name: str, *, can_login: bool = True) -> None:
    """Make a role if there is none: roles belong to the cluster, and another ledger on it may have made it."""
    run(
        f"DO $$ BEGIN CREATE ROLE {name} {'LOGIN' if can_login else 'NOLOGIN'}; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;"
    )


def run(sql: str) -> None:
    """Run statements straight by the driver: SQLAlchemy would take the colons of casts for parameters."""
    cursor = op.get_bind().connection.cursor()
    cursor.execute(sql)
    cursor.close()
