"""Why there is no start."""


class StartError(Exception):
    """The proxy can't start; the message says why and what to do."""
