"""The load under which the proxy is killed: an upstream that logs what it sent, and clients that log what they got."""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

from support.chat import sse
from support.client import RawClient
from support.scripts import SSE
from support.upstream import Conn

CHAT = "/v1/chat/completions"
PAUSE_SECONDS = (0.03, 0.13)
"""Between two events of a stream."""

LAST_CHUNK = b"0\r\n\r\n"


@dataclass(slots=True)
class Call:
    """One call: what its upstream sent and when, what its client got, and how a stop of it was answered."""

    task_id: str
    sent: str = ""
    sent_at: list[tuple[float, int]] = field(default_factory=list)
    """Moments, with how many characters were sent before."""
    all_sent: bool = False
    got: bytearray = field(default_factory=bytearray)
    finished: bool = False
    receipt: dict[str, Any] | None = None

    @property
    def heard(self) -> bool:
        """Whether its client got the first byte of a stream."""
        return self.got.startswith(b"HTTP/1.1 200")

    @property
    def shown(self) -> str:
        """The text that its client got."""
        events = bytes(self.got).split(b"data: ")[1:]
        texts = []
        for event in events:
            line = event.partition(b"\n")[0]
            if line.startswith(b"{") and line.endswith(b"}"):
                choices = json.loads(line).get("choices") or [{}]
                texts.append(choices[0].get("delta", {}).get("content") or "")
        return "".join(texts)

    def sent_before(self, moment: float) -> int:
        """How many characters had been sent by then."""
        return max((count for at, count in self.sent_at if at <= moment), default=0)


class Load:
    """Keeps so many streams alive; each that ends is followed by another."""

    def __init__(self, streams: int, name: str, chance: random.Random) -> None:
        self.calls: dict[str, Call] = {}
        self._streams = streams
        self._name = name
        self._chance = chance
        self._number = 0

    async def run(self, port: int) -> None:
        """Go on until cancelled, or the proxy is gone."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._streams):
                tasks.create_task(self._client(port))
            tasks.create_task(self._stopper(port))

    async def _client(self, port: int) -> None:
        try:
            while True:
                await self._call(port)
        except (OSError, AssertionError):  # the proxy was killed
            return

    async def _call(self, port: int) -> None:
        self._number += 1
        call = Call(f"{self._name}-{self._number}")
        self.calls[call.task_id] = call
        async with RawClient(port) as client:
            body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": call.task_id}]}
            await client.post(CHAT, body, [("X-Task-Id", call.task_id)])
            while not call.finished:
                data = await client.receive()
                if not data:
                    raise ConnectionResetError
                call.got += data
                call.finished = call.got.endswith(LAST_CHUNK)

    async def _stopper(self, port: int) -> None:
        """Stop a stream now and then, and keep what was answered."""
        while True:
            await asyncio.sleep(self._chance.uniform(0.02, 0.1))
            live = [call for call in self.calls.values() if call.heard and not call.finished and call.receipt is None]
            if not live:
                continue
            call = self._chance.choice(live)
            try:
                async with RawClient(port) as client:
                    await client.post(f"/v1/generations/{call.task_id}/cancel")
                    call.receipt = (await client.answer()).json()
            except (OSError, AssertionError, ValueError):
                return

    async def script(self, conn: Conn) -> None:
        """The upstream: two of three answers go on until they are stopped."""
        assert conn.request is not None
        task_id = json.loads(conn.request.body)["messages"][0]["content"]
        call = self.calls[task_id]
        words = self._chance.choice((10_000, 10_000, self._chance.randrange(1, 15)))
        head = {"id": f"chatcmpl-{task_id}", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
        await conn.head(200, SSE)
        for number in range(words):
            word = f"{task_id} says {number}; "
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            event = sse({**head, "choices": [choice]})
            call.sent += word
            await conn.chunk(event)
            call.sent_at.append((time.perf_counter(), len(call.sent)))
            await conn.pause(self._chance.uniform(*PAUSE_SECONDS))
        await conn.chunk(sse({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        await conn.chunk(b"data: [DONE]\n\n")
        call.all_sent = True
        await conn.end()
