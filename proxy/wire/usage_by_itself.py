"""Formats whose usage comes by itself, or never: there is nothing to ask for, and nothing to take out again."""

# ruff: noqa: ARG002  the signatures are those of `Wire`


class UsageByItself:
    """The part of `Wire` that is about asking."""

    def ask_for_usage(self, body: bytes, *, continuous: bool = False) -> bytes:
        """See `Wire`."""
        return body

    def is_extra_usage(self, data: bytes) -> bool:
        """See `Wire`."""
        return False

    def without_extra_usage(self, block: bytes) -> bytes:
        """See `Wire`."""
        return block

    def without_running_usage(self, block: bytes, *, null: bool) -> bytes:
        """See `Wire`."""
        return block
