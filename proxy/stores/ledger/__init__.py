"""The ledger in one SQLite file: its ports, its one writer, its reads, and what checks and saves it."""
