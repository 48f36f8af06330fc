"""What is asked of the other workers, by one of several on this machine."""

from typing import Protocol


class Among(Protocol):
    """The other workers, which share the proxy's address."""

    def have_all_come_up(self) -> bool:
        """Whether each of them has served since the start."""
        ...

    def has_reloaded(self) -> None:
        """An operator had this one reload; the others shall too."""
        ...
