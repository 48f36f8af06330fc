"""Floor 1: what is kept: the ports and their implementations."""
