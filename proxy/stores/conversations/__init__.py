"""Threads, messages and items: the port, in memory, in the ledger's file, and in PostgreSQL."""
