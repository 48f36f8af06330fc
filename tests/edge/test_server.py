"""The server against raw sockets: deadlines, floods, pipelining, refusals, and its limits."""

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.http_parser import HttpRequestParserPy
from structlog.testing import capture_logs

from proxy.edge import protocol, server
from proxy.edge.server import UnsafeParserError, make_runner
from support.client import RawClient, request_bytes
from support.tiny_server import LIMITS, Tiny, error_of, serving
from support.wait import eventually, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def test_keep_alive_serves_request_after_request() -> None:
    """One connection serves several requests, with bodies of both framings."""
    async with serving(Tiny()) as port, RawClient(port) as client:
        await client.post("/a", b"x" * 300_000)
        assert (await client.answer()).body == b"300000 bytes for /a"
        await client.send(request_bytes("POST", "/b", b"2\r\nhi\r\n0\r\n\r\n", [("Transfer-Encoding", "chunked")]))
        assert (await client.answer()).body == b"2 bytes for /b"
        await client.get("/c")
        assert (await client.answer()).body == b"0 bytes for /c"


async def test_a_client_that_leaves_cancels_the_handler() -> None:
    """FIN, RST and half-close in the middle of a silent stream cancel the handler at once."""
    tiny = Tiny()
    async with serving(tiny) as port:
        for leave in (RawClient.fin, RawClient.reset, RawClient.half_close):
            tiny.left.clear()
            async with RawClient(port) as client:
                await client.get("/stream")
                await client.until(b"data: 1")
                leave(client)
                await within(tiny.left.wait(), f"cancelled after {leave.__name__}")


async def test_200_pipelined_requests_do_not_hide_a_disconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that queues 200 requests behind its stream and leaves is noticed, though reading is paused (C9)."""
    monkeypatch.setattr(protocol, "PEER_POLL", 0.05)
    tiny = Tiny()
    async with serving(tiny) as port, RawClient(port) as client:
        await client.get("/stream")
        await client.until(b"data: 1")
        await client.send(request_bytes("GET", "/queued") * 200)
        client.fin()
        await within(tiny.left.wait(), "the stream was cancelled")
    assert tiny.calls == ["/stream"]


async def test_an_unread_body_behind_a_stream_does_not_hide_a_disconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second request whose body fills the buffers behind a stream does not hide that the client left."""
    monkeypatch.setattr(protocol, "PEER_POLL", 0.05)
    tiny = Tiny()
    async with serving(tiny) as port, RawClient(port) as client:
        await client.get("/stream")
        await client.until(b"data: 1")
        await client.send(request_bytes("POST", "/queued", b"x" * 200_000))
        client.fin()
        await within(tiny.left.wait(), "the stream was cancelled")


async def test_a_paused_peer_that_stays_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at a paused peer that is still there changes nothing: all its 100 requests are answered."""
    monkeypatch.setattr(protocol, "PEER_POLL", 0.01)
    tiny = Tiny()
    async with serving(tiny) as port, RawClient(port) as client:
        await client.send(request_bytes("GET", "/stream") + request_bytes("GET", "/queued") * 100)
        await client.until(b"data: 1")
        await asyncio.sleep(0.05)
        tiny.finish.set()
        assert (await client.answer()).body == b"data: 1\n\n"
        for _ in range(100):
            assert (await client.answer()).body == b"0 bytes for /queued"


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Up to 32 requests sent at once are answered one after the other, never interleaved (C10)."""
    tiny = Tiny()
    async with serving(tiny) as port, RawClient(port) as client:
        await client.send(b"".join(request_bytes("POST", f"/{number}", b"x" * number) for number in range(32)))
        for number in range(32):
            assert (await client.answer()).body == b"%d bytes for /%d" % (number, number)
    assert tiny.calls == [f"/{number}" for number in range(32)]


async def test_a_slow_head_is_answered_with_408() -> None:
    """A head that is not complete at its deadline is answered with 408 JSON and closed, trickle or not (C13)."""
    async with serving(Tiny(), head_deadline=0.2) as port, RawClient(port) as client:
        await client.send(b"GET / HTT")
        await asyncio.sleep(0.1)
        await client.send(b"P/1.1\r\nX")
        answer = await client.answer()
        assert (answer.status, error_of(answer.body)["code"]) == (408, "request_timeout")
        assert await client.rest() == b""


async def test_a_slow_second_head_is_answered_with_408() -> None:
    """The head deadline holds for each request of a connection."""
    async with serving(Tiny(), head_deadline=0.2) as port, RawClient(port) as client:
        await client.get("/")
        assert (await client.answer()).status == 200
        await client.send(b"GET / HTTP/1.1\r\nHost:")
        assert (await client.answer()).status == 408


async def test_the_head_deadline_spares_idle_connections() -> None:
    """Between two requests a connection may idle for longer than a head may take."""
    async with serving(Tiny(), head_deadline=0.1) as port, RawClient(port) as client:
        await client.get("/")
        assert (await client.answer()).status == 200
        await asyncio.sleep(0.3)
        await client.get("/")
        assert (await client.answer()).status == 200


async def test_empty_lines_between_requests_are_no_head() -> None:
    """A line end too many behind a body starts no head deadline: no 408 out of the blue."""
    async with serving(Tiny(), head_deadline=0.1) as port, RawClient(port) as client:
        await client.send(request_bytes("POST", "/", b"abc") + b"\r\n")
        assert (await client.answer()).status == 200
        await client.send(b"\r\n")
        await asyncio.sleep(0.3)
        await client.get("/")
        assert (await client.answer()).status == 200


async def test_a_silent_connection_is_closed_without_a_word() -> None:
    """A connection that never sends a byte is closed at the head deadline, with no answer (C15)."""
    async with serving(Tiny(), head_deadline=0.2) as port, RawClient(port) as client:
        assert await client.rest() == b""


async def test_the_head_deadline_spares_running_requests() -> None:
    """A stream that outlives the head deadline goes on, also with half a request queued behind it."""
    tiny = Tiny()
    async with serving(tiny, head_deadline=0.05) as port, RawClient(port) as client:
        await client.get("/stream")
        await client.until(b"data: 1")
        await client.send(b"GET /next HTTP/1.1\r\n")
        await asyncio.sleep(0.2)
        tiny.finish.set()
        assert (await client.answer()).complete


@pytest.mark.parametrize(
    ("request_head", "status", "code"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 129 + b"\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"a" * 8000 + b"\r\n") * 5 + b"\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"a" * 8000 + b"\r\n") * 5, 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "invalid_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "invalid_request"),
        (b"CANARY / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nCANARY : b\r\n\r\n", 400, "invalid_request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: CANARY\r\n\r\n", 400, "invalid_request"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "invalid_request",
        ),
        (b"\x16\x03\x01\x00CANARY", 400, "invalid_request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_request"),
    ],
)
async def test_what_the_parser_refuses_is_answered_in_json(request_head: bytes, status: int, code: str) -> None:
    """A request that can't be parsed gets a JSON error with the right status, no echo of it, and a close (C18)."""
    tiny = Tiny()
    async with serving(tiny) as port, RawClient(port) as client:
        with capture_logs() as logs:
            await client.send(request_head)
            answer = await client.answer()
            assert await client.rest() == b""
    assert (answer.status, error_of(answer.body)["code"]) == (status, code)
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("Connection") == "close"
    assert answer.header("Server") == "quell"
    assert b"CANARY" not in answer.raw
    assert (tiny.calls, logs) == ([], [])


async def pour(client: RawClient, head: bytes, piece: bytes, pieces: int) -> int:
    """Send a head and then one piece again and again, until the other side has had enough; give how many went out."""
    await client.send(head)
    for sent in range(pieces):
        try:
            await client.send(piece)
        except ConnectionError:
            return sent
    return pieces


CHUNKED = b"POST /flood HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (CHUNKED + b"1;", b"x" * 65536),
        (CHUNKED, b"1;" + b"x" * 8000 + b"\r\na\r\n"),
        (CHUNKED, b"1\r\na\r\n" * 10_000),
    ],
    ids=["one endless extension", "an extension on each chunk", "one-byte chunks"],
)
async def test_a_flood_of_framing_is_cut(head: bytes, piece: bytes) -> None:
    """A body of nearly nothing but chunk framing is refused with 413 long before it ends (C19)."""
    async with serving(Tiny()) as port, RawClient(port) as client:
        pouring = asyncio.gather(pour(client, head, piece, 20 * 2**20 // len(piece)))
        answer = await client.answer()
        assert (answer.status, error_of(answer.body)["code"]) == (413, "request_too_large")
        (sent,) = await within(pouring, "the connection was closed")
        assert sent * len(piece) < 10 * 2**20


async def test_small_chunks_are_no_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body in chunks of ten bytes is read whole, also while the parser holds bytes that it did not count yet."""
    monkeypatch.setattr(protocol, "FRAMING_SLACK", 1024 - LIMITS.header)
    monkeypatch.setattr(protocol, "FRAMING_FACTOR", 2)
    async with serving(Tiny()) as port, RawClient(port) as client:
        await client.send(CHUNKED + b"a\r\n0123456789\r\n" * 60_000 + b"0\r\n\r\n")
        assert (await client.answer()).body == b"600000 bytes for /flood"


async def test_broken_framing_inside_a_body_ends_its_reader() -> None:
    """A chunk size that is none, after the handler began to read, is answered with 400 at once, not at the deadline."""
    tiny = Tiny()
    async with serving(tiny) as port, RawClient(port) as client:
        await client.send(CHUNKED + b"1\r\na\r\n")
        await eventually(lambda: tiny.calls == ["/flood"], what="the handler runs")
        await client.send(b"CANARY\r\n")
        answer = await client.answer()
        assert (answer.status, error_of(answer.body)["code"]) == (400, "invalid_body")
        assert b"CANARY" not in answer.raw
        assert await client.rest() == b""


async def test_garbage_behind_a_stream_does_not_touch_it() -> None:
    """Bytes that are no request, sent behind a running stream, are answered with 400 after the stream's own end."""
    tiny = Tiny()
    async with serving(tiny) as port, RawClient(port) as client:
        await client.get("/stream")
        await client.until(b"data: 1")
        await client.send(b"\x00garbage\r\n\r\n")
        tiny.finish.set()
        assert (await client.answer()).body == b"data: 1\n\n"
        assert (await client.answer()).status == 400


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2"])
async def test_other_versions_are_answered_as_http_1_1(version: bytes) -> None:
    """A version that is not spoken gets a refusal of HTTP/1.1, not one that claims the version."""
    tiny = Tiny()
    async with serving(tiny) as port, RawClient(port) as client:
        await client.send(b"GET / " + version + b"\r\nHost: a\r\n\r\n")
        answer = await client.answer()
        assert answer.status in {400, 505}
        assert answer.raw.startswith(b"HTTP/1.")
        assert not answer.raw.startswith(version)
        assert await client.rest() == b""
    assert tiny.calls == []


async def test_an_h2c_offer_is_ignored_and_the_connection_closed() -> None:
    """`Upgrade: h2c` (Java's client sends it on every first request) is answered as HTTP/1.1, then closed."""
    offer = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "")]
    async with serving(Tiny()) as port, RawClient(port) as client:
        await client.send(request_bytes("POST", "/a", b"abc", offer) + request_bytes("GET", "/b"))
        answer = await client.answer()
        assert (answer.body, answer.header("Connection")) == (b"3 bytes for /a", "close")
        assert await client.rest() == b""


async def test_a_websocket_upgrade_is_refused() -> None:
    """A WebSocket upgrade gets 501 in JSON, and bytes behind it stay unanswered on a closed connection."""
    offer = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "x")]
    tiny = Tiny()
    async with serving(tiny) as port, RawClient(port) as client:
        await client.send(request_bytes("GET", "/a", b"", offer) + request_bytes("GET", "/b"))
        answer = await client.answer()
        assert (answer.status, error_of(answer.body)["code"]) == (501, "upgrade_not_supported")
        assert await client.rest() == b""
    assert tiny.calls == []


async def test_an_escaped_exception_becomes_500_and_one_log_line() -> None:
    """An exception of the handler is answered with 500 JSON; neither answer nor log has its text (P11)."""
    async with serving(Tiny()) as port, RawClient(port) as client:
        with capture_logs() as logs:
            await client.get("/crash")
            answer = await client.answer()
        assert (answer.status, error_of(answer.body)["code"]) == (500, "internal_error")
        await client.get("/refuse")
        assert (await client.answer()).status == 404
    assert b"hunter2" not in answer.raw
    assert [(line["event"], line["error"]) for line in logs] == [("request.failed", "ValueError")]
    assert "hunter2" not in str(logs)
    assert "tiny_server.py" in logs[0]["where"][-1]


async def test_an_exception_after_the_head_breaks_the_answer_off() -> None:
    """A stream whose handler fails ends without its last chunk, so that nobody takes it for complete."""
    tiny = Tiny()
    tiny.finish.set()
    async with serving(tiny) as port, RawClient(port) as client:
        with capture_logs() as logs:
            await client.get("/stream?crash")
            answer = await client.answer()
    assert (answer.status, answer.body, answer.complete) == (200, b"data: 1\n\n", False)
    assert [line["event"] for line in logs] == ["request.failed"]


async def test_writing_to_a_client_that_left_is_no_failure() -> None:
    """A handler that writes once more after its client left ends without a word in the log."""
    tiny = Tiny()
    with capture_logs() as logs:
        async with serving(tiny) as port, RawClient(port) as client:
            await client.get("/stream?write")
            await client.until(b"data: 1")
            client.fin()
            await within(tiny.left.wait(), "the handler was cancelled")
    assert logs == []


async def test_connections_over_the_cap_are_turned_away() -> None:
    """A connection over the cap gets 503 with Retry-After at once; when one ends, the next is served."""
    async with serving(Tiny(), max_connections=2) as port:
        async with RawClient(port) as first, RawClient(port) as second:
            for client in (first, second):
                await client.get("/")
                assert (await client.answer()).status == 200
            async with RawClient(port) as third:
                answer = await third.answer()
                assert (answer.status, answer.header("Retry-After")) == (503, "1")
                assert error_of(answer.body)["code"] == "overloaded"
                assert await third.rest() == b""

        async def ask() -> bool:
            async with RawClient(port) as client:
                await client.get("/")
                return (await client.answer()).status == 200

        served: Callable[[], bool | Awaitable[bool]] = ask
        await eventually(served, what="a connection is served again")


async def test_the_kernel_watches_over_accepted_connections() -> None:
    """Accepted sockets have keep-alive probes and a user timeout of the write deadline."""
    seen: list[int] = []

    async def look(request: web.BaseRequest) -> web.StreamResponse:
        peer = request.get_extra_info("socket")
        seen.append(peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        seen.append(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        return web.Response()

    async with serving(look) as port, RawClient(port) as client:
        await client.get("/")
        await client.answer()
    assert seen == [1, 60_000]


async def test_the_pure_python_parser_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without aiohttp's C parser the server does not start, and says why."""
    monkeypatch.setattr(server, "HttpRequestParser", HttpRequestParserPy)
    with pytest.raises(UnsafeParserError, match="AIOHTTP_NO_EXTENSIONS"):
        make_runner(Tiny(), LIMITS)
