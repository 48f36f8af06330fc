import asyncio
import json
import ssl
import time
from pathlib import Path

import aiohttp
import pytest

from support.chat import ask, chat_events, chat_object, text
from support.client import RawClient, request_bytes
from support.http_bytes import parse_head
from support.scripts import (
    by_path,
    cut_at,
    endless_1xx,
    endless_sse,
    hang,
    headers_then_hang,
    in_turn,
    json_answer,
    one_byte_chunks,
    raw_bytes,
    short_of_length,
    slow_headers,
    sse_stream,
)
from support.tls import Kind, make_certificate
from support.upstream import Conn, scripted_upstream
from support.wait import within

CHAT = "/v1/chat/completions"


async def test_a_stream_arrives_as_it_was_scripted() -> None:
    """Each event is a chunk of its own, and the body ends properly."""
    events = chat_events(tokens=3, usage=True, n=2)
    async with scripted_upstream(sse_stream(events)) as up, RawClient(up.port) as client:
        await client.post(CHAT, ask())
        answer = await client.answer()
    assert (answer.status, answer.body, answer.complete) == (200, b"".join(events), True)
    assert answer.chunk_sizes == [*map(len, events), 0]
    assert answer.events == events
    assert bytes(up.conns[0].sent) == answer.body


async def test_a_request_is_recorded_as_it_came() -> None:
    """Method, target, headers in order and body are kept, also of a body sent in chunks."""
    async with scripted_upstream(json_answer({"ok": True})) as up, RawClient(up.port) as client:
        await client.send(
            b"POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nX-B: 1\r\nx-a: 2\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        assert (await client.answer()).json() == {"ok": True}
    (request,) = up.requests
    assert (request.method, request.target, request.body, request.complete) == ("POST", "/v1/x?y=1", b"abcde", True)
    assert request.headers[:3] == [("Host", "a"), ("X-B", "1"), ("x-a", "2")]
    assert (request.header("X-A"), request.connection) == ("2", 1)


async def test_one_connection_carries_many_exchanges() -> None:
    """Answers sent whole keep the connection open, each exchange gets its own script, also when pipelined."""
    script = in_turn(json_answer({"n": 1}), sse_stream(chat_events(2)), json_answer({"n": 3}))
    async with scripted_upstream(script) as up, RawClient(up.port) as client:
        await client.send(request_bytes("POST", "/a", {}) * 4)
        answers = [await client.answer() for _ in range(4)]
        assert up.connections == 1
    assert [answers[0].json(), answers[3].json()] == [{"n": 1}, {"n": 3}]
    assert [conn.number for conn in up.conns] == [1, 1, 1, 1]
    assert up.opened == 1


@pytest.mark.parametrize("way", ["fin", "reset", "half_close"])
async def test_a_close_is_seen_at_once_while_the_script_hangs(way: str) -> None:
    """FIN, RST and half-close end the wait of a silent script, and the time is noted."""
    async with scripted_upstream(hang()) as up, RawClient(up.port) as client:
        await client.post(CHAT, ask())
        conn = await up.conn()
        before = time.perf_counter()
        getattr(client, way)()
        assert await conn.wait_closed() >= before
        await up.no_connections()
        assert not conn.closed_by_us


async def test_a_close_ends_a_script_that_writes() -> None:
    """An endless stream stops when its reader leaves, without failing the test."""
    async with scripted_upstream(endless_sse(b"data: x\n\n")) as up, RawClient(up.port, receive_buffer=4096) as client:
        await client.post(CHAT, ask())
        await client.until(b"data: x", count=3)
        client.fin()
        await (await up.conn()).wait_closed()
        await up.no_connections()


async def test_a_script_that_fails_fails_the_test() -> None:
    """Whatever a script raises comes out at the end of the block."""

    async def wrong(_conn: Conn) -> None:
        raise LookupError("wrong script")

    async def exchange() -> None:
        async with scripted_upstream(wrong) as up, RawClient(up.port) as client:
            await client.post(CHAT, ask())
            await client.rest()

    with pytest.raises(ExceptionGroup) as caught:
        await exchange()
    assert caught.group_contains(LookupError, match="wrong script")


@pytest.mark.parametrize("offset", [0, 1, 40])
async def test_a_body_is_cut_at_a_byte(offset: int) -> None:
    """A cut answer has exactly the bytes before the cut, and is whole only when its framing was ended."""
    body = b"".join(chat_events(3))
    for how, complete in (("end", True), ("fin", False)):
        async with scripted_upstream(cut_at(body, offset, how)) as up, RawClient(up.port) as client:  # type: ignore[arg-type]  # the tuple's type is wider
            await client.post(CHAT, ask())
            answer = await client.answer()
        assert (answer.body, answer.complete) == (body[:offset], complete)


async def test_a_connection_is_reset() -> None:
    """A cut by RST reaches the reader as one."""
    async with scripted_upstream(cut_at(b"abc", 3, "reset")) as up, RawClient(up.port) as client:
        await client.post(CHAT, ask())
        await client.rest()
        assert client.was_reset


async def test_a_body_can_end_with_the_connection() -> None:
    """Without length and chunks the body is what came before FIN."""
    script = sse_stream(chat_events(2), until_close=True)
    async with scripted_upstream(script) as up, RawClient(up.port) as client:
        await client.post(CHAT, ask())
        answer = await client.answer()
    assert (answer.body, answer.complete, answer.chunk_sizes) == (b"".join(chat_events(2)), True, [])


async def test_a_length_can_promise_too_much() -> None:
    """An answer shorter than its Content-Length is not complete."""
    async with scripted_upstream(short_of_length(b"abc", 2)) as up, RawClient(up.port) as client:
        await client.post(CHAT, ask())
        answer = await client.answer()
    assert (answer.body, answer.complete) == (b"abc", False)


async def test_bytes_can_come_one_by_one() -> None:
    """Every byte is a chunk."""
    async with scripted_upstream(one_byte_chunks(b"data: a\n\n")) as up, RawClient(up.port) as client:
        await client.post(CHAT, ask())
        answer = await client.answer()
    assert answer.chunk_sizes == [1] * 9 + [0]


async def test_heads_that_never_end() -> None:
    """A trickled head and endless interim answers never become an answer, and stop when the reader leaves."""
    for script, sign in ((slow_headers(0.001), b"aaa"), (endless_1xx(interval=0.001), b"HTTP/1.1 103")):
        async with scripted_upstream(script) as up, RawClient(up.port) as client:
            await client.post(CHAT, ask())
            await client.until(sign, count=3)
            client.fin()
            await up.no_connections()


async def test_interim_answers_are_told_apart() -> None:
    """103 before 200 is listed, the answer is the final one."""
    interim = b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n"
    script = raw_bytes(interim, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    async with scripted_upstream(script) as up, RawClient(up.port) as client:
        await client.post(CHAT, ask())
        answer = await client.answer()
    assert (answer.status, answer.interim, answer.body) == (200, [103], b"hi")
    assert answer.raw.startswith(interim)


async def test_silence_behind_the_head() -> None:
    """A head can come without a body, and the interval between events is kept."""
    async with scripted_upstream(headers_then_hang()) as up, RawClient(up.port) as client:
        await client.post(CHAT, ask())
        await client.until(b"\r\n\r\n")
        up.script = sse_stream([b"data: 1\n\n", b"data: 2\n\n"], interval=0.03, first_after=0.03)
        async with RawClient(up.port) as second:
            await second.post(CHAT, ask())
            assert (await second.answer()).complete
        times = up.conns[1].sent_at
    assert times[1] - times[0] >= 0.025


async def test_paths_have_their_own_scripts() -> None:
    """The path picks the script, the query does not matter, others are 404."""
    script = by_path({"/v1/models": json_answer({"data": []}), CHAT: json_answer(chat_object(4))})
    async with scripted_upstream(script) as up, RawClient(up.port) as client:
        await client.get("/v1/models?x=1")
        assert (await client.answer()).json() == {"data": []}
        await client.post(CHAT, ask(stream=False))
        assert (await client.answer()).json()["choices"][0]["message"]["content"] == text(4)
        await client.get("/other")
        assert (await client.answer()).status == 404


async def test_a_script_can_begin_before_the_request_is_there() -> None:
    """An upstream can answer with the head only read, or speak before any request."""

    async def early(conn: Conn) -> None:
        assert not conn.request.complete
        await conn.head(200, length=0)
        assert await conn.body() == b"late"

    async with scripted_upstream(early, begin="head") as up, RawClient(up.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n")
        assert (await client.answer()).status == 200
        await client.send(b"late")
        await within(up.requests[0].arrived.wait(), "the body")

    async with (
        scripted_upstream(raw_bytes(b"220 hello\r\n"), begin="connect") as up,
        RawClient(up.port) as client,
    ):
        assert await client.until(b"\n") == b"220 hello\r\n"
        assert up.requests == []


@pytest.mark.parametrize(("kind", "fault"), [("good", ""), ("expired", "expired"), ("wrong_name", "match")])
async def test_certificates_are_good_or_bad_in_the_way_asked_for(tmp_path: Path, kind: Kind, fault: str) -> None:
    """A client that trusts the certificate itself accepts the good one and names the fault of the others."""
    certificate = make_certificate(tmp_path, kind)
    trust = ssl.create_default_context(cafile=str(certificate.cert))
    async with (
        scripted_upstream(json_answer(1), tls=certificate.server_context()) as up,
        aiohttp.ClientSession() as session,
    ):
        if fault:
            with pytest.raises(aiohttp.ClientConnectorCertificateError, match=fault):
                await session.get(up.origin, ssl=trust)
            return
        async with session.get(up.origin, ssl=trust) as answer:
            assert json.loads(await answer.read()) == 1
    assert up.requests[0].method == "GET"


async def test_everything_is_closed_at_the_end() -> None:
    """Leaving the block ends hanging scripts and closes their connections."""
    tasks = asyncio.all_tasks()
    async with scripted_upstream(hang()) as up:
        client = await RawClient(up.port).connect()
        await client.post(CHAT, ask())
        conn = await up.conn()
    assert await client.rest() == b""
    client.fin()
    assert conn.closed_by_us
    assert asyncio.all_tasks() == tasks


def test_a_head_line_without_a_colon_is_refused() -> None:
    """The head reader does not guess."""
    with pytest.raises(ValueError, match="without a colon"):
        parse_head(b"GET / HTTP/1.1\r\nnonsense")
