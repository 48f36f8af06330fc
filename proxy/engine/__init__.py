"""Floor 2: the life of a generation: registry, relay, upstream, canceller, settler."""
