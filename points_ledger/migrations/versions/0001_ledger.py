"""The ledger: tables, guards, verbs, roles. Runs before the new code (there is none older).

Revision ID: 0001
Revises:
"""

from importlib import resources

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LOGINS = ("loyalty_batch", "loyalty_api", "loyalty_support", "loyalty_auditor", "loyalty_approver")
PARTS = ("tables", "policy", "reading", "guards", "verbs", "events", "roles")


def upgrade() -> None:
    """Create everything as ``loyalty_owner``, a role nobody can log in as."""
    _run("\n".join(_role(name, "LOGIN") for name in LOGINS) + _role("loyalty_owner", "NOLOGIN"))
    _run(
        "GRANT loyalty_owner TO CURRENT_USER; ALTER SCHEMA points OWNER TO loyalty_owner;"
        "ALTER TABLE points.alembic_version OWNER TO loyalty_owner; SET LOCAL ROLE loyalty_owner;"
    )
    _run("SET LOCAL search_path = points, pg_catalog;")
    for part in PARTS:
        _run(resources.files("points_ledger.migrations").joinpath(f"sql/0001_{part}.sql").read_text("utf-8"))
    _run("RESET search_path; RESET ROLE; ALTER ROLE loyalty_auditor SET default_transaction_read_only = on;")


def downgrade() -> None:
    """Refused: a ledger is not undone by dropping it."""
    raise NotImplementedError("a ledger is not undone by dropping it; restore a backup instead")


def _role(name: str, login: str) -> str:
    # Roles belong to the cluster: another ledger on the same server may have made them.
    return (
        f"DO $$ BEGIN CREATE ROLE {name} {login}; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;\n"
    )


def _run(sql: str) -> None:
    # Straight to the driver: SQLAlchemy would take the colons of casts for parameters.
    cursor = op.get_bind().connection.cursor()
    cursor.execute(sql)
    cursor.close()
