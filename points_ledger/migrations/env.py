"""Alembic's entry: runs the revisions on the connection that ``infra.schema`` hands over."""

from alembic import context
from sqlalchemy import text

connection = context.config.attributes["connection"]
connection.execute(text("CREATE SCHEMA IF NOT EXISTS points"))
context.configure(connection=connection, version_table_schema="points", transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
