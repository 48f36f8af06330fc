"""Users: how many use a thing now, so that it is not closed under them."""

import asyncio


class Users:
    """A context that any number of tasks may be in at once. One object serves all: it is entered twice a call."""

    __slots__ = ("_count", "_gone")

    def __init__(self) -> None:
        self._count = 0
        self._gone = asyncio.Event()

    def __enter__(self) -> None:
        """Count one in."""
        self._count += 1

    def __exit__(self, *_: object) -> None:
        """Count one out."""
        self._count -= 1
        if not self._count:
            self._gone.set()

    async def gone(self) -> None:
        """Wait until there is none."""
        while self._count:
            self._gone.clear()
            await self._gone.wait()
