"""Backups: their catalogue, and the login that takes them. Runs before the new code; the old code does not see it.

Revision ID: 0004
Revises: 0003
"""

from points_ledger.migrations.parts import create, create_role, run

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PARTS = ("backups",)


def upgrade() -> None:
    """Create the login, then the catalogue."""
    create_role("loyalty_backup")
    # it computes the figures that go with a backup by the functions that auditors may call
    run("GRANT loyalty_auditor TO loyalty_backup; ALTER ROLE loyalty_backup SET default_transaction_read_only = on;")
    create(revision, PARTS)


def downgrade() -> None:
    """Refused: what is known of the backups is not undone by dropping it."""
    raise NotImplementedError("what is known of the backups is not undone by dropping it; restore a backup instead")
