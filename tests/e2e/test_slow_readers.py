"""Readers that are slow, or take nothing at all: they cost little memory, slow nobody down, and lose nothing."""

import asyncio
import base64
import json
import random
import time
from pathlib import Path

import pytest

from proxy.edge.downstream import SocketSink
from proxy.edge.protocol import QuellProtocol
from support.chat import chat_events, sse, text
from support.client import RawClient
from support.program import config_text, running_program
from support.proxy import RunningProxy, running_proxy
from support.scripts import JSON, SSE, answer, sse_stream
from support.stops import CHAT, PLAIN, STREAM, record, settled, start
from support.upstream import Conn, scripted_upstream
from support.wait import eventually

SMALL_WINDOW = 4096
"""A client's receive buffer, in bytes: the kernel takes little for it, so that its not reading is felt soon."""


def long_stream(number: int) -> list[bytes]:
    """A proper stream with `number` events of four kilobytes that do not compress well and say one word each."""
    chance = random.Random(number)
    filler = [{"choices": [], "obfuscation": base64.b64encode(chance.randbytes(3000)).decode()} for _ in range(number)]
    first, *said, finish, done = chat_events(number)
    return [first, *(event for pair in zip(said, map(sse, filler), strict=True) for event in pair), finish, done]


LONG = long_stream(1000)
"""A stream of four megabytes."""


def resident(pid: int) -> int:
    """The memory of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError("no VmRSS")


async def has_ended(conn: Conn) -> None:
    """Wait until the upstream has sent its whole answer."""
    await eventually(lambda: conn.reusable, 30, "the upstream has sent everything")


async def test_stalled_readers_cost_little_memory(tmp_path: Path) -> None:
    """C11: twenty clients that read nothing of their four megabytes each don't make the proxy grow by them."""
    clients = 20
    async with (
        scripted_upstream(sse_stream(LONG)) as up,
        running_program(config_text(up.base_url), tmp_path) as program,
    ):
        async with RawClient(program.port) as client:
            await client.post(CHAT, STREAM)
            assert (await client.answer()).body == b"".join(LONG)
        before = resident(program.pid)
        stalled = [await RawClient(program.port, receive_buffer=SMALL_WINDOW).connect() for _ in range(clients)]
        for client in stalled:
            await client.post(CHAT, STREAM)
        for index in range(clients):
            await has_ended(await up.conn(1 + index))
        grown = resident(program.pid) - before
        for client in stalled:
            client.reset()
    assert grown < clients * 600_000


async def test_a_stalled_reader_holds_little(tmp_path: Path) -> None:
    """What waits for a client that reads nothing is in the spill file: 64 KiB of it at most are in memory."""

    async def in_large_pieces(conn: Conn) -> None:
        await conn.head(200, SSE)
        for at in range(0, len(LONG), 25):
            await conn.chunk(b"".join(LONG[at : at + 25]))
        await conn.end()

    async with (
        scripted_upstream(in_large_pieces) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port, receive_buffer=SMALL_WINDOW) as client,
    ):
        await start(client, "t-1")
        await has_ended(await up.conn())
        await settled(proxy)
        finished = proxy.app.engine.registry.find_finished("anonymous", "t-1")
        assert finished is not None
        (reader,) = finished.readers
        assert isinstance(reader.sink, SocketSink)
        assert finished.tape._blocks is not None
        held = finished.tape._blocks.memory + reader.sink._transport.get_write_buffer_size()
        assert finished.tape.end == len(b"".join(LONG))
    assert held < 64 * 1024


@pytest.mark.parametrize("events", [LONG[:99], LONG[:-2]], ids=["in the kernel", "in our buffer"])
async def test_a_stalled_reader_is_let_go(tmp_path: Path, events: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """C11: a client that takes nothing for the write deadline counts as gone; the record has all that was received.

    What the kernel still takes is bounded by the kernel's own timeout, what waits here by ours alone.
    """
    if len(events) > 99:
        monkeypatch.setattr(QuellProtocol, "_set_kernel_timeouts", lambda _self: None)
    config = {"limits": {"write_deadline": "500ms"}}
    async with (
        scripted_upstream(sse_stream(events, then="hang")) as up,
        running_proxy(config_text(up.base_url, **config), tmp_path) as proxy,
        RawClient(proxy.port, receive_buffer=SMALL_WINDOW) as client,
    ):
        await start(client, "t-1")
        conn = await up.conn()
        await conn.wait_closed()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert not conn.closed_by_us
    assert (kept["outcome"], kept["cause"], kept["phase"]) == ("client_gone", "disconnect", "streaming")
    assert kept["text"] == text(len(events) // 2)


async def test_a_stalled_reader_slows_nobody(tmp_path: Path) -> None:
    """A reader that takes nothing slows neither the other reader of its generation nor anybody else's."""
    async with (
        scripted_upstream(sse_stream(LONG)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
        RawClient(proxy.port, receive_buffer=SMALL_WINDOW) as observer,
        RawClient(proxy.port, receive_buffer=SMALL_WINDOW) as other,
    ):
        await start(other, "t-0")
        await start(client, "t-1")
        await observer.get("/v1/generations/t-1/events")
        assert (await client.answer()).body == b"".join(LONG)
        await settled(proxy)
        assert (await record(proxy, "t-0"))["outcome"] == "completed"


async def test_a_reader_that_takes_a_little_is_served(tmp_path: Path) -> None:
    """C12: a client far slower than the upstream gets every byte, long after the upstream was let go."""
    config = {"limits": {"write_deadline": "500ms"}}
    async with (
        scripted_upstream(sse_stream(LONG)) as up,
        running_proxy(config_text(up.base_url, **config), tmp_path) as proxy,
        RawClient(proxy.port, receive_buffer=65536) as client,
    ):
        await start(client, "t-1")
        await has_ended(await up.conn())
        await settled(proxy)
        began = time.perf_counter()
        while len(client.buffer) < 3_000_000:
            await client.receive(60_000)
            await asyncio.sleep(0.01)
        assert time.perf_counter() - began > 0.5
        received = await client.answer()
        kept = await record(proxy, "t-1")
    assert received.complete
    assert received.body == b"".join(LONG)
    assert (kept["outcome"], kept["elapsed_seconds"] < 10) == ("completed", True)


async def test_a_reader_too_far_behind_is_broken_off(tmp_path: Path) -> None:
    """A client that falls behind what is kept gets a stream that is visibly broken off, never one with a gap."""
    config = {"limits": {"tape": "64KiB"}}
    async with (
        scripted_upstream(sse_stream(LONG[:-2], then="hang")) as up,
        running_proxy(config_text(up.base_url, **config), tmp_path) as proxy,
        RawClient(proxy.port, receive_buffer=65536) as client,
    ):
        await start(client, "t-1")
        await eventually(lambda: _tape_end(proxy) == len(b"".join(LONG[:-2])), 30, "the proxy has it all")
        received = await client.answer()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert not received.complete
    assert b"".join(LONG).startswith(received.body)
    assert (kept["outcome"], kept["text"]) == ("client_gone", text(1000))


def _tape_end(proxy: RunningProxy) -> int:
    return sum(relay.tape.end for relay in proxy.app.engine.registry)


async def test_a_large_plain_answer(tmp_path: Path) -> None:
    """A non-streaming answer waits on the tape too: the upstream is let go before a slow client has it all."""
    body = json.dumps({"choices": [{"index": 0, "finish_reason": "stop"}], "more": "x" * 6_000_000}).encode()

    async with (
        scripted_upstream(answer(200, body, JSON)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port, receive_buffer=65536) as client,
    ):
        await start(client, "t-1", PLAIN)
        await has_ended(await up.conn())
        await settled(proxy)
        assert (await client.answer()).body == body


async def test_a_plain_answer_larger_than_the_tape(tmp_path: Path) -> None:
    """A long answer, such as many embeddings, reaches a client that reads all the time from a fast upstream."""
    body = json.dumps({"object": "list", "data": ["x" * 1000] * 24_000}).encode()
    async with (
        scripted_upstream(answer(200, body, JSON)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await client.post("/v1/embeddings", PLAIN)
        received = await client.answer()
    assert received.complete
    assert received.body == body


async def test_what_is_passed_through_is_not_kept(tmp_path: Path) -> None:
    """A call without a generation waits for its client instead; one that takes nothing is let go, upstream too."""

    async def endless(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "application/octet-stream")])
        while True:
            await conn.chunk(b"x" * 50_000)

    config = {"limits": {"write_deadline": "500ms"}}
    async with (
        scripted_upstream(endless) as up,
        running_proxy(config_text(up.base_url, **config), tmp_path) as proxy,
        RawClient(proxy.port, receive_buffer=SMALL_WINDOW) as client,
    ):
        await client.get("/v1/files/f-1/content")
        conn = await up.conn()
        await eventually(lambda: conn.stalled, what="the upstream has to wait")
        await conn.wait_closed()
        assert not (await client.answer()).complete
    assert not conn.closed_by_us
