"""An upstream's answer that waits in its middle until the test lets it go on."""

import asyncio
from typing import Any, Final

from support.chat import chat_events

HELD_TOKENS: Final = 8
SAID: Final = chat_events(HELD_TOKENS)[:-2]
"""What it says before it waits; only its finish and `[DONE]` are left then."""


class Held:
    """A script: says `SAID`, and the rest when `let_go` is set."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()

    async def __call__(self, conn: Any) -> None:
        """Serve one call."""
        await conn.head(200, [("Content-Type", "text/event-stream")])
        for event in SAID:
            await conn.chunk(event)
        await self.let_go.wait()
        for event in chat_events(HELD_TOKENS)[-2:]:
            await conn.chunk(event)
        await conn.end()
