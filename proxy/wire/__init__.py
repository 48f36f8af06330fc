"""Floor 1: one file per wire format, how a provider's bytes look."""
