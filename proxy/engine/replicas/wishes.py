"""What of a stop can go into a letter."""

from dataclasses import replace

from proxy.core.generation import Stop
from proxy.core.letters import Wish


def wish_of(stop: Stop) -> Wish:
    """A stop for a letter, whatever characters its reason has."""
    reason = stop.reason
    return Wish.of(stop if reason is None or is_text(reason) else replace(stop, reason=_readable(reason)))


def is_text(text: str) -> bool:
    """Whether it can be sent: half a character can't."""
    return text == _readable(text)


def _readable(text: str) -> str:
    return text.encode(errors="replace").decode()
