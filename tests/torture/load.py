"""The load under which the proxy is killed: an upstream that logs what it sent, and clients that log what they got."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
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
    broken: bool = False
    """Its client's connection ended, or fell silent."""
    was_asked_to_stop: bool = False
    receipt: dict[str, Any] | None = None
    """The last answer to a stop."""

    @property
    def lives(self) -> bool:
        """Whether its client is still being answered."""
        return self.heard and not self.finished and not self.broken

    @property
    def was_accepted(self) -> bool:
        """Whether a stop of it was answered as done, or as going to be."""
        return self.receipt is not None and self.receipt.get("result") in {"stopped", "stopping"}

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
    """Keeps so many streams alive; each that ends is followed by another, and some are stopped, through any port."""

    def __init__(self, streams: int, name: str, chance: random.Random) -> None:
        self.calls: dict[str, Call] = {}
        self._streams = streams
        self._name = name
        self._chance = chance
        self._number = 0
        self._is_over = False
        self.results: Counter[str] = Counter()
        """What stops said."""

    async def run(self, *ports: int) -> None:
        """Go on until cancelled or told to finish, or the proxy is gone."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._streams):
                tasks.create_task(self._client(ports))
            tasks.create_task(self._stopper(ports))

    def finish(self) -> None:
        """Let no other call begin, and stop those that live."""
        self._is_over = True

    async def _client(self, ports: Sequence[int]) -> None:
        while not self._is_over:
            self._number += 1
            call = Call(f"{self._name}-{self._number}")
            self.calls[call.task_id] = call
            try:
                await self._call(call, self._chance.choice(ports))
            except (OSError, AssertionError):  # the proxy was killed
                call.broken = True
                return

    async def _call(self, call: Call, port: int) -> None:
        async with RawClient(port) as client:
            body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": call.task_id}]}
            await client.post(CHAT, body, [("X-Task-Id", call.task_id)])
            while not call.finished:
                data = await client.receive()
                if not data:
                    raise ConnectionResetError
                call.got += data
                call.finished = call.got.endswith(LAST_CHUNK)

    async def _stopper(self, ports: Sequence[int]) -> None:
        """Stop a stream now and then, and keep what was answered."""
        while not self._is_over or any(not (call.finished or call.broken) for call in self.calls.values()):
            await asyncio.sleep(0.01 if self._is_over else self._chance.uniform(0.02, 0.1))
            live = [call for call in self.calls.values() if call.lives and (self._is_over or call.receipt is None)]
            if not live:
                continue
            try:
                await self._stop(self._chance.choice(live), self._chance.choice(ports))
            except OSError:
                return

    async def _stop(self, call: Call, port: int) -> None:
        call.was_asked_to_stop = True
        try:
            async with RawClient(port) as client:
                await client.post(f"/v1/generations/{call.task_id}/cancel")
                answer = await client.answer()
                call.receipt = answer.json()
        except (AssertionError, ValueError):
            self.results["no answer"] += 1
            return
        self.results[call.receipt["result"] if answer.status == HTTPStatus.OK else str(answer.status)] += 1

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
