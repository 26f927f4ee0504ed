"""The checks: their runs, findings with a life, incidents, repairs. Runs before the new code; the old does not see it.

Revision ID: 0003
Revises: 0002
"""

from points_ledger.migrations.parts import create

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PARTS = ("runs", "findings", "repairs")


def upgrade() -> None:
    """Create the parts."""
    create(revision, PARTS)


def downgrade() -> None:
    """Refused: what was found is not undone by dropping it."""
    raise NotImplementedError("what was found is not undone by dropping it; restore a backup instead")
