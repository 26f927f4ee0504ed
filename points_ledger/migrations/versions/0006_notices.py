"""Notices: contact data, the outbox, erasure. Runs before the new code; the old code does not see it.

Revision ID: 0006
Revises: 0005
"""

from importlib import resources

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PARTS = ("contacts", "notices", "expiry_gate", "enqueue")


def upgrade() -> None:
    """Create the parts as ``loyalty_owner``."""
    _run(
        "GRANT loyalty_owner TO CURRENT_USER; SET LOCAL ROLE loyalty_owner; SET LOCAL search_path = points, pg_catalog;"
    )
    for part in PARTS:
        _run(resources.files("points_ledger.migrations").joinpath(f"sql/0006_{part}.sql").read_text("utf-8"))
    _run("RESET search_path; RESET ROLE;")


def downgrade() -> None:
    """Refused: what members were told is not undone by dropping it."""
    raise NotImplementedError("what members were told is not undone by dropping it; restore a backup instead")


def _run(sql: str) -> None:
    # Straight to the driver: SQLAlchemy would take the colons of casts for parameters.
    cursor = op.get_bind().connection.cursor()
    cursor.execute(sql)
    cursor.close()
