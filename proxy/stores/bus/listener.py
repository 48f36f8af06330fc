"""A replica's ear at the bus: subscribed to its own channel, and again whenever that breaks or falls silent.

This replica says something there with each beat, so that silence means that nothing would be heard: a lost network, a
server that stands still, or one that is not the primary any more.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from proxy.stores.bus.connect import ANSWER_SECONDS, Client

SILENCE_SECONDS: Final = 2.5
RETRY_SECONDS: Final = 0.2


class Listener:
    """Listens to one channel. `is_heard`: something came over the connection that it has now."""

    def __init__(
        self,
        client: Client,
        channel: str,
        on_data: Callable[[bytes], None],
        on_change: Callable[[], None],
        on_subscribed: Callable[[], None],
    ) -> None:
        """Ready to run.

        Args:
            client: of the bus.
            channel: where to listen.
            on_data: takes what comes.
            on_change: `is_heard` is another one now.
            on_subscribed: it listens from now on, or again: the client does that by itself where a connection breaks,
                and what was said meanwhile is lost.
        """
        self._client = client
        self._channel = channel
        self._on_data = on_data
        self._on_change = on_change
        self._on_subscribed = on_subscribed
        self.is_heard = False

    async def run(self) -> None:
        """Work for ever."""
        while True:
            try:
                await self._listen()
            except Exception:  # noqa: BLE001 whatever a client raises, it subscribes again
                self._heard(now=False)
                await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        async with self._client.pubsub() as pubsub:
            async with asyncio.timeout(ANSWER_SECONDS):
                await pubsub.subscribe(self._channel)
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    message = await pubsub.get_message(timeout=SILENCE_SECONDS)
                    while message is None:
                        message = await pubsub.get_message(timeout=SILENCE_SECONDS)
                self._heard(now=True)
                if message["type"] == "message":
                    self._on_data(message["data"])
                elif message["type"] == "subscribe":
                    self._on_subscribed()

    def _heard(self, *, now: bool) -> None:
        if self.is_heard != now:
            self.is_heard = now
            self._on_change()
