"""The ledger's schema, step by step; applied when the file is opened, never by hand."""
