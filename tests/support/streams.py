"""Many named streams through a running program, for those who look on: who started each, and when its upstream closed.

async with talking_program(tmp_path) as scene:
    await scene.start("one", user="ada")
    ... the page stops it ...
    await scene.closed("one")
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from support.chat import DONE, ask, sse, word
from support.client import RawClient
from support.program import Program, config_text, running_program
from support.stops import CHAT
from support.upstream import Conn, scripted_upstream
from support.wait import within

SSE = [("Content-Type", "text/event-stream")]


class Talk:
    """The upstream's side: words up to the request's `max_tokens`, each stream known by what its client said first."""

    def __init__(self, words: Sequence[str] | None = None, interval: float = 0.05, at_first: int = 3) -> None:
        """`at_first` words come at once, the others `interval` seconds apart."""
        self._words = words
        self._interval = interval
        self._at_first = at_first
        self.conns: dict[str, Conn] = {}
        """By the name that the client gave its stream."""

    async def __call__(self, conn: Conn) -> None:
        """Serve one stream until it is closed."""
        body: dict[str, Any] = json.loads(conn.request.body)
        name = body["messages"][0]["content"]
        self.conns[name] = conn
        head = {
            "id": f"chatcmpl-{name}",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": body["model"],
        }
        await conn.head(200, SSE)
        number, most = 0, body.get("max_tokens", math.inf)
        while number < most:
            piece = word(number) if self._words is None else self._words[number % len(self._words)]
            delta = {"role": "assistant", "content": piece} if not number else {"content": piece}
            await conn.chunk(sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
            number += 1
            if number >= self._at_first:
                await conn.pause(self.interval(name))
        await conn.chunk(sse({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}))
        await conn.chunk(DONE)
        await conn.end()

    def interval(self, _name: str) -> float:
        """Seconds between two words of a stream."""
        return self._interval


class Scene:
    """A program, its upstream, and the clients that read their streams."""

    def __init__(self, program: Program, talk: Talk, stack: AsyncExitStack) -> None:
        self.program = program
        self.talk = talk
        self._stack = stack
        self._readers: set[asyncio.Task[None]] = set()

    async def start(self, name: str, *, user: str = "ada", key: str = "k1", words: int = 2, **body: Any) -> None:
        """Start a stream whose task id is its name, and wait for some words; from then on it is read by itself."""
        client = await RawClient(self.program.port).connect()
        self._stack.callback(client.fin)
        headers = [("X-Task-Id", name), ("X-User-Id", user), ("Authorization", f"Bearer {key}")]
        await client.post(CHAT, ask(name, **body), headers)
        if words:
            await client.until(b"data: ", words)
        task = asyncio.get_running_loop().create_task(self._read(client), name=f"read {name}")
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    async def start_all(self, names: Sequence[str], **more: Any) -> None:
        """Start several at once, not all in the same moment."""
        for first in range(0, len(names), 50):
            await asyncio.gather(*(self.start(name, **more) for name in names[first : first + 50]))

    async def closed(self, name: str) -> None:
        """Wait until the upstream saw the close of a stream.

        Raises:
            AssertionError: it did not in time, or it was the upstream that closed.
        """
        conn = self.talk.conns[name]
        await within(conn.closed.wait(), f"the upstream sees the close of {name}")
        assert not conn.closed_by_us

    def is_open(self, name: str) -> bool:
        """Whether the upstream's side of a stream is open."""
        return not self.talk.conns[name].closed.is_set()

    @staticmethod
    async def _read(client: RawClient) -> None:
        with suppress(AssertionError):  # a stream that was stopped says nothing more on a connection that stays open
            while await client.receive():
                client.buffer.clear()

    async def leave(self) -> None:
        """Stop reading."""
        for task in self._readers:
            task.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)


@asynccontextmanager
async def talking_program(folder: Path, talk: Talk | None = None, **config: Any) -> AsyncIterator[Scene]:
    """The real program in front of an upstream that never ends by itself; `config` as in `config_data`."""
    talk = talk or Talk()
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(scripted_upstream(talk))
        program = await stack.enter_async_context(running_program(config_text(up.base_url, **config), folder))
        scene = Scene(program, talk, stack)
        try:
            yield scene
        finally:
            await scene.leave()
