"""Floor 3: one file per client-facing API."""
