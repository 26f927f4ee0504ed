"""What senders need: notices given back untried, and the login of the unsubscribe page. Runs before the new code.

Revision ID: 0007
Revises: 0006
"""

from points_ledger.migrations.parts import create, create_role

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

PARTS = ("senders",)


def upgrade() -> None:
    """Create the login, which reads nothing, then the functions."""
    create_role("loyalty_unsubscribe")
    create(revision, PARTS)


def downgrade() -> None:
    """Refused: links that members have would stop working."""
    raise NotImplementedError("links that members have would stop working; restore a backup instead")
