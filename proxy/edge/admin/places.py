"""Places for what goes on for long: so many in all, and so many for each token, which leaves some to the others."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from proxy.core.errors import Refusal

AGAIN_SECONDS = 5
"""When somebody who got no place is told to come back."""


class Places:
    """Who has one now, by the name of the token."""

    def __init__(self, what: str) -> None:
        """`what` is read at these places, for people: `feeds`."""
        self._what = what
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, name: str, *, most: int, most_of_one: int) -> Iterator[None]:
        """Have a place, for as long as this lasts.

        Args:
            name: of the token that it is for, whichever session or address it is used from.
            most: so many places there are for all tokens together.
            most_of_one: so many for each of them.

        Raises:
            Refusal: 429, there is no place left: for this token, or for anybody.
        """
        if self._taken[name] >= most_of_one:
            raise Refusal.too_many(
                AGAIN_SECONDS, f"The token {name} reads as many {self._what} as one token may ({most_of_one})."
            )
        if self._taken.total() >= most:
            raise Refusal.too_many(AGAIN_SECONDS, f"As many {self._what} are read as may be ({most}).")
        self._taken[name] += 1
        try:
            yield
        finally:
            self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name]
