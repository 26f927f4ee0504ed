"""Closed and signed months. Runs before the new code; the old code does not see it.

Revision ID: 0005
Revises: 0004
"""

from points_ledger.migrations.parts import create

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PARTS = ("months",)


def upgrade() -> None:
    """Create the parts."""
    create(revision, PARTS)


def downgrade() -> None:
    """Refused: what was signed is not undone by dropping it."""
    raise NotImplementedError("what was signed is not undone by dropping it; restore a backup instead")
