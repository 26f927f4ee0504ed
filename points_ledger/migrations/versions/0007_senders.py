"""What senders need: notices given back untried, and the login of the unsubscribe page. Runs before the new code.

Revision ID: 0007
Revises: 0006
"""

from importlib import resources

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the login, then the functions as ``loyalty_owner``."""
    # Roles belong to the cluster: another ledger on the same server may have made it. It reads nothing.
    _run(
        "DO $$ BEGIN CREATE ROLE loyalty_unsubscribe LOGIN; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;"
        "GRANT loyalty_owner TO CURRENT_USER; SET LOCAL ROLE loyalty_owner; SET LOCAL search_path = points, pg_catalog;"
    )
    _run(resources.files("points_ledger.migrations").joinpath("sql/0007_senders.sql").read_text("utf-8"))
    _run("RESET search_path; RESET ROLE;")


def downgrade() -> None:
    """Refused: links that members have would stop working."""
    raise NotImplementedError("links that members have would stop working; restore a backup instead")


def _run(sql: str) -> None:
    # Straight to the driver: SQLAlchemy would take the colons of casts for parameters.
    cursor = op.get_bind().connection.cursor()
    cursor.execute(sql)
    cursor.close()
