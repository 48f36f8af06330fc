"""The ledger that replicas share in PostgreSQL, with the local file as its spool."""
