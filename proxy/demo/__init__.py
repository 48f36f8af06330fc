"""Floor 4: the demo upstream, which reports when it saw each close."""
