"""Backups: their catalogue, and the login that takes them. Runs before the new code; the old code does not see it.

Revision ID: 0004
Revises: 0003
"""

from importlib import resources

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the login, then the catalogue as ``loyalty_owner``."""
    # Roles belong to the cluster: another ledger on the same server may have made it. It computes the figures that go
    # with a backup by the functions that auditors may call.
    _run(
        "DO $$ BEGIN CREATE ROLE loyalty_backup LOGIN; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;"
        "GRANT loyalty_auditor TO loyalty_backup; ALTER ROLE loyalty_backup SET default_transaction_read_only = on;"
        "GRANT loyalty_owner TO CURRENT_USER; SET LOCAL ROLE loyalty_owner; SET LOCAL search_path = points, pg_catalog;"
    )
    _run(resources.files("points_ledger.migrations").joinpath("sql/0004_backups.sql").read_text("utf-8"))
    _run("RESET search_path; RESET ROLE;")


def downgrade() -> None:
    """Refused: what is known of the backups is not undone by dropping it."""
    raise NotImplementedError("what is known of the backups is not undone by dropping it; restore a backup instead")


def _run(sql: str) -> None:
    # Straight to the driver: SQLAlchemy would take the colons of casts for parameters.
    cursor = op.get_bind().connection.cursor()
    cursor.execute(sql)
    cursor.close()
