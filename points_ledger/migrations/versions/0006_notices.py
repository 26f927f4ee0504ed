"""Notices: contact data, the outbox, erasure. Runs before the new code; the old code does not see it.

Revision ID: 0006
Revises: 0005
"""

from points_ledger.migrations.parts import create

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PARTS = ("contacts", "notices", "expiry_gate", "enqueue")


def upgrade() -> None:
    """Create the parts."""
    create(revision, PARTS)


def downgrade() -> None:
    """Refused: what members were told is not undone by dropping it."""
    raise NotImplementedError("what members were told is not undone by dropping it; restore a backup instead")
