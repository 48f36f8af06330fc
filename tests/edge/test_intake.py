"""The checks on one request and the reading of its body, against raw sockets."""

import asyncio

import pytest
from aiohttp import web

from proxy.core.errors import Refusal
from proxy.edge import intake, server
from proxy.edge.intake import raw_answer, respond
from proxy.engine.plain import PlainReply
from support.client import RawClient, request_bytes
from support.tiny_server import LIMITS, Tiny, error_of, serving
from support.wait import eventually, within

HOST = b"Host: a\r\n"


@pytest.fixture(autouse=True)
def _short_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGERING", 0.2)


CHUNKED = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("request_head", "status", "code"),
    [
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
        (b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
        (b"GET http://CANARY/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_path"),
        (b"GET /a/../CANARY HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_path"),
        (b"GET /a/%2e%2e/CANARY HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_path"),
        (b"GET //CANARY HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_path"),
        (b"GET /%00CANARY HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_path"),
        (b"GET /a#CANARY HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_path"),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""),
        (b"GET / HTTP/1.1\r\nHost: CANARY/x\r\n\r\n", 400, "invalid_host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-User: \x80CANARY\r\n\r\n", 400, "invalid_header"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Authorization\r\n\r\n", 400, "invalid_connection_header"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "invalid_framing"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
            "unsupported_transfer_encoding",
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n", 501, ""),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
            415,
            "unsupported_encoding",
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: CANARY\r\nContent-Length: 1\r\n\r\nx", 417, "expectation_failed"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "http_version_not_supported"),
    ],
)
async def test_ambiguous_requests_are_refused_without_echo(request_head: bytes, status: int, code: str) -> None:
    """What others could read differently is refused with the right status, in JSON, before the handler (Z10 to Z12)."""
    tiny = Tiny()
    async with serving(tiny) as port, RawClient(port) as client:
        await client.send(request_head)
        answer = await client.answer()
    error = error_of(answer.body)
    assert (answer.status, error["code"]) == (status, code or error["code"])
    assert b"CANARY" not in answer.raw
    assert tiny.calls == []


@pytest.mark.parametrize(
    "extra",
    [
        b"X_Under: dropped later\r\n",
        b"Connection: keep-alive, close\r\n",
        b"Content-Encoding: identity\r\n",
        b"X-Tab: a\tb\r\n",
    ],
)
async def test_odd_but_harmless_requests_are_served(extra: bytes) -> None:
    """Headers that are only unusual do not keep a request out."""
    async with serving(Tiny()) as port, RawClient(port) as client:
        await client.send(b"GET /a?b=c%20d HTTP/1.1\r\n" + HOST + extra + b"\r\n")
        assert (await client.answer()).status == 200


async def test_http_1_0_is_served_and_closed() -> None:
    """A plain HTTP/1.0 request without Host is answered and its connection closed."""
    async with serving(Tiny()) as port, RawClient(port) as client:
        await client.send(b"POST /a HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
        assert (await client.answer()).body == b"2 bytes for /a"
        assert await client.rest() == b""


async def test_100_continue_comes_when_the_body_is_read() -> None:
    """A client that expects 100 gets it from the reading of the body, and nobody who is refused before."""
    expects = [("Expect", "100-continue"), ("Content-Length", "3")]
    async with serving(Tiny()) as port:
        async with RawClient(port) as client:
            await client.send(request_bytes("POST", "/a", b"", expects))
            assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"abc")
            answer = await client.answer()
            assert (answer.interim, answer.body) == ([100], b"3 bytes for /a")
        async with RawClient(port) as client:
            await client.send(request_bytes("POST", "/refuse", b"", expects))
            answer = await client.answer()
            assert (answer.interim, answer.status, answer.header("Connection")) == ([], 404, "close")
            assert await client.rest() == b""


async def test_a_declared_body_over_the_limit_is_refused_unread() -> None:
    """A Content-Length over the limit is answered with 413 before a byte of the body, also instead of 100 (C17)."""
    headers = [("Expect", "100-continue"), ("Content-Length", str(LIMITS.body + 1))]
    async with serving(Tiny()) as port, RawClient(port) as client:
        await client.send(request_bytes("POST", "/a", b"", headers))
        answer = await client.answer()
        assert (answer.interim, answer.status) == ([], 413)
        assert error_of(answer.body)["code"] == "request_too_large"
        assert answer.header("Connection") == "close"


async def test_a_chunked_body_over_the_limit_is_refused() -> None:
    """A body without a length is answered with 413 as soon as it passes the limit, and closed (C17)."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    async with serving(Tiny()) as port, RawClient(port) as client:
        await client.send(CHUNKED)

        async def pour() -> None:
            while True:
                await client.send(chunk)

        pouring = asyncio.gather(pour(), return_exceptions=True)
        answer = await client.answer()
        assert answer.status == 413
        (end,) = await within(pouring, "the connection was closed")
        assert isinstance(end, ConnectionError)


async def test_a_whole_body_over_the_limit_is_refused() -> None:
    """A chunked body that arrives at once is measured too."""
    async with serving(Tiny()) as port, RawClient(port) as client:
        await client.send(CHUNKED + b"100001\r\n" + b"x" * (2**20 + 1) + b"\r\n0\r\n\r\n")
        assert (await client.answer()).status == 413


async def test_a_body_that_never_comes_is_answered_with_408() -> None:
    """A body that is not there at its deadline is answered with 408 and closed (C14)."""
    async with serving(Tiny(body_deadline=0.1)) as port, RawClient(port) as client:
        await client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        answer = await client.answer()
        assert (answer.status, error_of(answer.body)["code"]) == (408, "request_timeout")
        assert await client.rest() == b""


async def test_a_trickling_body_is_answered_with_408(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body slower than the floor is cut after the grace, long before its deadline (C14)."""
    monkeypatch.setattr(intake, "BODY_GRACE", 0.1)
    async with serving(Tiny(body_deadline=600.0)) as port, RawClient(port) as client:
        await client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")

        async def trickle() -> None:
            while True:
                await client.send(b"x")
                await asyncio.sleep(0.02)

        trickling = asyncio.gather(trickle(), return_exceptions=True)
        assert (await client.answer()).status == 408
        await within(trickling, "the connection was closed")


async def test_a_body_without_a_byte_is_answered_with_408(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of which nothing comes is cut after the grace, long before its deadline (C14)."""
    monkeypatch.setattr(intake, "BODY_GRACE", 0.1)
    async with serving(Tiny(body_deadline=600.0)) as port, RawClient(port) as client:
        await client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        assert (await client.answer()).status == 408


async def test_a_body_above_the_floor_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that keeps coming is read to its end though it takes longer than the grace."""
    monkeypatch.setattr(intake, "BODY_GRACE", 0.1)
    async with serving(Tiny()) as port, RawClient(port) as client:
        await client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10001\r\n\r\n" + b"x" * 10_000)
        await asyncio.sleep(0.3)
        await client.send(b"x")
        assert (await client.answer()).body == b"10001 bytes for /a"


async def test_a_body_cut_short_cancels_its_reader() -> None:
    """A client that leaves within its body leaves no answer and no running handler (C16)."""
    ended: list[BaseException | None] = []
    tiny = Tiny()

    async def watch(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await tiny(request)
        except BaseException as error:
            ended.append(error)
            raise

    async with serving(watch) as port, RawClient(port) as client:
        await client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        await eventually(lambda: tiny.calls == ["/a"], what="the handler runs")
        client.half_close()
        assert await client.rest() == b""
        await eventually(lambda: len(ended) == 1, what="the handler ended")
    assert isinstance(ended[0], asyncio.CancelledError)


async def test_a_pipelined_body_is_not_mixed_up_with_the_next_request() -> None:
    """A body that looks like a request is read as a body."""
    tiny = Tiny()
    inner = request_bytes("GET", "/smuggled")
    async with serving(tiny) as port, RawClient(port) as client:
        await client.send(request_bytes("POST", "/a", inner) + request_bytes("GET", "/b"))
        assert (await client.answer()).body == b"%d bytes for /a" % len(inner)
        assert (await client.answer()).body == b"0 bytes for /b"
    assert tiny.calls == ["/a", "/b"]


def test_respond_carries_what_the_refusal_says() -> None:
    """Status, headers and body of a refusal reach the answer; 499 has a reason; a dialect may bring its own body."""
    answer = respond(Refusal.cancelled())
    assert (answer.status, answer.reason) == (499, "Client Closed Request")
    assert answer.headers["x-should-retry"] == "false"
    own = respond(Refusal.not_found(), PlainReply(404, b"<nope/>", (), "text/xml"))
    assert (own.body, own.headers["Content-Type"]) == (b"<nope/>", "text/xml")


def test_raw_answer_is_one_whole_response() -> None:
    """The answer for a connection without a request is complete in itself."""
    head, _, body = raw_answer(Refusal.overloaded(7)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Retry-After: 7" in head
    assert b"Content-Length: %d" % len(body) in head
