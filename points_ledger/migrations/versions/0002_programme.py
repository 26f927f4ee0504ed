"""The programme: tiers, and what changes need. Runs before the new code; the old code does not see it.

Revision ID: 0002
Revises: 0001
"""

from points_ledger.migrations.parts import create

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PARTS = ("rules", "policy", "tiers", "adjustments", "undo", "transfers", "screens", "activities")


def upgrade() -> None:
    """Create the parts."""
    create(revision, PARTS)


def downgrade() -> None:
    """Refused: decisions that were made are not undone by dropping them."""
    raise NotImplementedError("decisions that were made are not undone by dropping them; restore a backup instead")
