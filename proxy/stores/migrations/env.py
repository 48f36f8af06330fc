"""What Alembic runs: the steps are applied on the connection, and in the transaction, of whoever opens the ledger."""

from alembic import context

attributes = context.config.attributes
context.configure(connection=attributes["connection"], version_table=attributes["version_table"])
context.run_migrations()
