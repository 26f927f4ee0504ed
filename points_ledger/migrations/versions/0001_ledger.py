"""The ledger: tables, guards, verbs, roles. Runs before the new code (there is none older).

Revision ID: 0001
Revises:
"""

from points_ledger.migrations.parts import OWNER, create, create_role, run

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LOGINS = ("loyalty_batch", "loyalty_api", "loyalty_support", "loyalty_auditor", "loyalty_approver")
PARTS = ("tables", "policy", "reading", "guards", "verbs", "events", "roles")


def upgrade() -> None:
    """Create the roles, hand the schema to ``loyalty_owner``, then create the parts."""
    for name in LOGINS:
        create_role(name)
    create_role(OWNER, can_login=False)
    run(f"GRANT {OWNER} TO CURRENT_USER; ALTER SCHEMA points OWNER TO {OWNER};")
    run(f"ALTER TABLE points.alembic_version OWNER TO {OWNER};")
    create(revision, PARTS)
    run("ALTER ROLE loyalty_auditor SET default_transaction_read_only = on;")


def downgrade() -> None:
    """Refused: a ledger is not undone by dropping it."""
    raise NotImplementedError("a ledger is not undone by dropping it; restore a backup instead")
