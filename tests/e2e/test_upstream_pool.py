"""Answers without a body, early answers, and connections that are used again."""

import asyncio
import json
from pathlib import Path

import pytest

from proxy.engine.upstreams.short_way import MOST_BYTES
from support.chat import ask, chat_events, chat_object
from support.client import RawClient
from support.faults import CHAT, fault_bench
from support.scripts import (
    JSON,
    in_turn,
    json_answer,
    raw_bytes,
)
from support.upstream import Conn, Request, Script
from support.wait import eventually, within

EVENTS = chat_events(4)
CLOSED = [("Connection", "close")]
REFUSED = {"error": {"message": "Slow down.", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}}


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
async def test_an_answer_without_a_body_has_none(tmp_path: Path, status: int, path: str) -> None:
    """U31: 204 and 304 have no body and no framing of one; the client's connection stays usable."""
    async with fault_bench(tmp_path) as bench, RawClient(bench.proxy.port) as client:
        bench.up.script = raw_bytes(b"HTTP/1.1 %d Nothing\r\nX-A: a\r\n\r\n" % status, then="end")
        for _ in range(2):
            if path == CHAT:
                await client.post(path, ask())
            else:
                await client.get(path)
            got = await client.answer()
            assert (got.status, got.body, got.header("X-A")) == (status, b"", "a")
            assert (got.header("Transfer-Encoding"), got.header("Content-Length")) == (None, None)


async def test_a_body_where_none_may_be_is_dropped(tmp_path: Path) -> None:
    """U31: bytes behind a 204 reach nobody: they are dropped, or the answer is a 502; the connection is closed."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(raw_bytes(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", then="hang"))
    assert seen.answer.status in {204, 502}
    assert b"hello" not in seen.answer.raw


async def test_the_answer_to_head_has_its_length_and_no_body(tmp_path: Path) -> None:
    """U31: the answer to a HEAD carries the upstream's Content-Length and no body."""
    async with fault_bench(tmp_path) as bench, RawClient(bench.proxy.port) as client:
        bench.up.script = raw_bytes(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n", then="end"
        )
        for _ in range(2):
            await client.send(b"HEAD /v1/files/a HTTP/1.1\r\nHost: a\r\n\r\n")
            got = await client.answer(to_head=True)
            assert (got.status, got.header("Content-Length"), got.body) == (200, "5", b"")


async def test_an_early_answer_passes(tmp_path: Path) -> None:
    """U32: an upstream that answers before it has read the request, and closes: the answer passes, nothing hangs."""

    async def script(conn: Conn) -> None:
        conn._link.transport.pause_reading()
        body = json.dumps(REFUSED).encode()
        await conn.head(413, [*JSON, *CLOSED], length=len(body))
        await conn.chunk(body)

    async with fault_bench(tmp_path, begin="head") as bench:
        seen = await bench.call(script, ask("x" * (12 << 20)), keeps=True)
    assert seen.ends == (413, True, "failed", "rejected_upstream")
    assert seen.answer.json() == REFUSED


@pytest.mark.parametrize("size", [9, MOST_BYTES], ids=["short_way", "session"])
async def test_a_stale_connection_costs_nothing(tmp_path: Path, size: int) -> None:
    """U33: a kept connection that the server closes instead of answering: the call is sent once more, on a new one."""
    asked = ask("x" * size, stream=False)
    async with fault_bench(tmp_path) as bench:
        await bench.call(json_answer(chat_object(1)), ask(stream=False), keeps=True)
        seen = await bench.call(in_turn(gone(), json_answer(chat_object(4))), asked, keeps=True)
        assert [conn.number for conn in bench.up.conns] == [1, 1, 2]
        assert bench.up.requests[1].body == bench.up.requests[2].body
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.json(), seen.errors) == (chat_object(4), {})


async def test_both_ways_up_send_the_same(tmp_path: Path) -> None:
    """A call of ordinary size and a larger one reach the upstream alike, on the same connection."""
    async with fault_bench(tmp_path) as bench:
        for size in (9, MOST_BYTES, 9):
            await bench.call(json_answer(chat_object(1)), ask("x" * size, stream=False), keeps=True)
        short, long, again = bench.up.requests
        assert [conn.number for conn in bench.up.conns] == [1, 1, 1]
    assert len(short.body) < MOST_BYTES < len(long.body)
    assert (short.method, short.target, short.version) == (long.method, long.target, long.version)
    for request in (short, long, again):
        assert request.header("Content-Length") == str(len(request.body))
    assert sorted(_but_length(short)) == sorted(_but_length(long)) == sorted(_but_length(again))


def _but_length(request: Request) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.headers if name.lower() != "content-length"]


def gone(how: str = "fin", said: bytes = b"") -> Script:
    """Take a request, and break the connection instead of answering."""

    async def script(conn: Conn) -> None:
        if said:
            await conn.raw(said)
        getattr(conn, how)()
        await conn.sleep_until_closed()

    return script


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_new_connection_that_breaks_is_not_tried_again(tmp_path: Path, how: str) -> None:
    """U33: on a connection of its own a call is never repeated: the server may have begun; 502 upstream_reset."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(gone(how))
        assert len(bench.up.requests) == 1
    assert seen.ends == (502, True, "failed", "reset")
    assert (seen.error["code"], seen.errors) == ("upstream_reset", {"reset": 1})


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\nX-", b""], ids=["half_a_head", "again_gone"])
async def test_a_stale_connection_is_tried_again_once_at_most(tmp_path: Path, said: bytes) -> None:
    """U33: not when a part of the answer came, and not a second time."""
    async with fault_bench(tmp_path) as bench:
        await bench.call(json_answer(chat_object(1)), ask(stream=False), keeps=True)
        seen = await bench.call(gone(said=said))
        assert len(bench.up.requests) == (2 if said else 3)
    assert seen.ends[0] == 502
    assert seen.record["outcome"] == "failed"


async def test_a_late_break_of_a_kept_connection_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """U33: a break that comes later than a round trip means that the server had begun: the call would bill twice."""
    monkeypatch.setattr("proxy.engine.upstreams.connections.STALE_SECONDS", 0.01)

    async def script(conn: Conn) -> None:
        await conn.pause(0.05)
        conn.fin()
        await conn.sleep_until_closed()

    async with fault_bench(tmp_path) as bench:
        await bench.call(json_answer(chat_object(1)), ask(stream=False), keeps=True)
        seen = await bench.call(script)
        assert len(bench.up.requests) == 2
    assert seen.ends == (502, True, "failed", "reset")


async def test_an_answer_that_nobody_asked_for_reaches_nobody(tmp_path: Path) -> None:
    """U25: a second answer behind the first one is not taken for the answer to the next call, maybe of another key."""
    stray = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\nstolen"
    read = asyncio.Event()

    async def script(conn: Conn) -> None:
        await json_answer({"choices": []})(conn)
        await within(read.wait(), "the client reads its answer")
        await conn.raw(stray)
        await conn.sleep_until_closed()

    async with fault_bench(tmp_path) as bench:
        await bench.call(script, ask(stream=False), keeps=True)
        read.set()
        upstream = bench.proxy.app.gateway.runtime.upstreams["up"]
        (pooled,) = next(iter(upstream._session.connector._conns.values()))  # type: ignore[union-attr]  # it is open
        await eventually(lambda: pooled[0].should_close, what="the stray answer arrives")
        seen = await bench.call(json_answer({"choices": [], "own": True}), ask(stream=False), keeps=True)
        assert bench.up.opened == 2
    assert seen.answer.json() == {"choices": [], "own": True}
