"""What passes through passes byte for byte: random streams cut anywhere, answers of every kind, and requests."""

import asyncio
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from support.chat import DONE, chat_events, chat_object, sse
from support.client import Answer, RawClient, request_bytes
from support.http_bytes import Headers
from support.lag import shrink_send_buffers
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import JSON, SSE, answer
from support.stops import CHAT, PLAIN, STREAM, call, record, settled
from support.upstream import Conn, Script, scripted_upstream

STREAMS = 200

PIECES = ("a", "ß", "\u20ac", "\U0001f600", "\\", '"', "\n", "\r", "\u2028", " ", "\x7f", ".[DONE]", "data: ", "id")


class RandomStream:
    """One stream, made from its number: its bytes, where they are cut, and how its client reads."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.chance = random.Random(number)  # noqa: S311 no secret is made of it
        self.line = self.chance.choice(("\n", "\n", "\r\n", "\r"))
        self.slow = number % 5 == 0
        events = [self._event() for _ in range(self.chance.randrange(1, 300 if self.slow else 60))]
        start = "\ufeff" if number % 7 == 0 else ""
        end = self.chance.choice((f"data: [DONE]{self.line * 2}", "", "data: unfinished", ": the end"))
        self.body = (start + "".join(events) + end).encode("utf-8", "surrogatepass")

    def _event(self) -> str:
        chance, line = self.chance, self.line
        match chance.randrange(10):
            case 0:
                fields = [f": {self._word()}"]
            case 1:
                fields = ["event: thing", f"data:{self._word()}", f"data: {self._word()}", "data"]
            case 2:
                fields = [f"id: {chance.randrange(99)}", "retry: 10", "data: {}"]
            case 3:
                fields = ["nonsense", f"data: {json.dumps({'choices': 7, 'x': self._word()})}"]
            case 4 if self.slow:
                fields = [f"data: {chance.randbytes(chance.randrange(20_000)).hex()}"]
            case _:
                delta = {"choices": [{"index": 0, "delta": {"content": self._word()}}]}
                fields = [f"data: {json.dumps(delta, ensure_ascii=chance.random() < 0.5)}"]
        return line.join(fields) + line * chance.choice((2, 2, 2, 3))

    def _word(self) -> str:
        word = "".join(self.chance.choices(PIECES, k=self.chance.randrange(8)))
        return word.replace("\n", "").replace("\r", "")

    async def serve(self, conn: Conn) -> None:
        """Send it in pieces, some of them together, some one by one."""
        await conn.head(200, SSE, until_close=self.number % 3 == 0)
        at = 0
        while at < len(self.body):
            size = self.chance.choice((1, 7, 100, 3000, 40_000))
            await conn.chunk(self.body[at : at + size])
            at += size
            if self.chance.random() < 0.2:
                await conn.pause(0.001)
        await conn.end()

    async def read(self, port: int) -> Answer:
        """Get it, as fast or as slowly as its client is."""
        async with RawClient(port, receive_buffer=16_384 if self.slow else None) as client:
            await client.post(CHAT, STREAM, [("X-Number", str(self.number)), ("X-Task-Id", f"t-{self.number}")])
            while self.slow and len(client.buffer) < len(self.body) / 2 and not client.ended:
                await client.receive(10_000)
                await asyncio.sleep(0.002)
            return await client.answer()


async def test_random_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred random streams, cut anywhere, some read slowly, arrive byte for byte; `/events` has the same."""
    shrink_send_buffers(monkeypatch)
    streams = [RandomStream(number) for number in range(STREAMS)]

    async def script(conn: Conn) -> None:
        await streams[int(conn.request.header("X-Number") or 0)].serve(conn)

    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        for at in range(0, STREAMS, 20):
            some = streams[at : at + 20]
            for stream, received in zip(some, await asyncio.gather(*(s.read(proxy.port) for s in some)), strict=True):
                assert received.complete, stream.number
                assert received.body == stream.body, stream.number
