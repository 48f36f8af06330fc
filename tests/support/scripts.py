"""Ready-made scripts for the scripted upstream: well-behaved answers first, then every kind of breakage."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any, Literal

from support.http_bytes import Headers
from support.upstream import Conn, Script

SSE: Headers = [("Content-Type", "text/event-stream")]
JSON: Headers = [("Content-Type", "application/json")]

How = Literal["end", "fin", "reset", "hang"]
"""How an answer stops: its body ended properly; FIN without that; RST; or nothing at all any more."""


async def stop_as(conn: Conn, how: How) -> None:
    """Stop an answer in one of four ways."""
    if how == "end":
        await conn.end()
    elif how == "fin":
        conn.fin()
        await conn.sleep_until_closed()
    elif how == "reset":
        conn.reset()
    else:
        await conn.sleep_until_closed()


def sse_stream(
    events: Iterable[bytes],
    interval: float = 0,
    *,
    first_after: float = 0,
    then: How = "end",
    headers: Headers | None = None,
    until_close: bool = False,
) -> Script:
    """Stream events, `interval` seconds apart, the first one `first_after` seconds behind the head.

    An endless stream is an endless iterable; it is begun anew for each exchange when it is not an iterator.
    """

    async def script(conn: Conn) -> None:
        await conn.head(200, headers or SSE, until_close=until_close)
        if first_after:
            await conn.pause(first_after)
        for number, event in enumerate(events):
            if number and interval:
                await conn.pause(interval)
            await conn.chunk(event)
        await stop_as(conn, then)

    return script


def endless_sse(event: bytes, interval: float = 0) -> Script:
    """Stream the same event for as long as somebody takes it."""

    async def script(conn: Conn) -> None:
        await sse_stream(repeat(event), interval)(conn)

    return script


def answer(status: int, body: bytes = b"", headers: Headers | None = None) -> Script:
    """A whole answer of any kind, with its Content-Length; the connection stays open for more."""

    async def script(conn: Conn) -> None:
        await conn.head(status, headers, length=len(body))
        await conn.chunk(body)

    return script


def json_answer(obj: Any, status: int = 200, headers: Headers | None = None) -> Script:
    """A whole JSON answer."""
    return answer(status, json.dumps(obj).encode(), [*JSON, *(headers or [])])


def in_turn(*scripts: Script) -> Script:
    """One script after the other, an exchange each; the last one also serves all that follow."""
    rest: Iterator[Script] = iter(scripts[:-1])

    async def script(conn: Conn) -> None:
        await next(rest, scripts[-1])(conn)

    return script


def by_path(scripts: Mapping[str, Script]) -> Script:
    """The script of the request's path (without its query); 404 for any other path."""

    async def script(conn: Conn) -> None:
        path = conn.request.target.partition("?")[0]
        await scripts.get(path, json_answer({"error": {"message": f"no such path: {path}"}}, 404))(conn)

    return script


def hang() -> Script:
    """Take the request and never answer."""

    async def script(conn: Conn) -> None:
        await conn.sleep_until_closed()

    return script


def headers_then_hang(headers: Headers | None = None) -> Script:
    """Send the head of a stream, then nothing."""
    return sse_stream([], then="hang", headers=headers)


def events_then_hang(events: Iterable[bytes]) -> Script:
    """Send events at once, then nothing."""
    return sse_stream(events, then="hang")


def cut_at(body: bytes, offset: int, how: How, *, headers: Headers | None = None, until_close: bool = False) -> Script:
    """Send the first `offset` bytes of a body, then stop in the given way (`end`: as if the body were over)."""

    async def script(conn: Conn) -> None:
        await conn.head(200, headers or SSE, until_close=until_close)
        if offset:
            await conn.chunk(body[:offset])
        await stop_as(conn, how)

    return script


def short_of_length(body: bytes, missing: int, how: How = "fin", *, headers: Headers | None = None) -> Script:
    """Promise more bytes by Content-Length than are sent."""

    async def script(conn: Conn) -> None:
        await conn.head(200, headers or JSON, length=len(body) + missing)
        await conn.chunk(body)
        await stop_as(conn, how)

    return script


def one_byte_chunks(body: bytes, *, headers: Headers | None = None) -> Script:
    """Send a body as chunks of one byte, each in a write of its own."""
    return sse_stream([body[i : i + 1] for i in range(len(body))], headers=headers)


def slow_headers(interval: float = 0.05) -> Script:
    """Send a head byte by byte that never ends."""

    async def script(conn: Conn) -> None:
        await conn.raw(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in repeat(None):
            await conn.pause(interval)
            await conn.raw(b"a")

    return script


def endless_1xx(status: int = 103, interval: float = 0.01) -> Script:
    """Send interim answers for ever, never a final one."""

    async def script(conn: Conn) -> None:
        for _ in repeat(None):
            await conn.raw(b"HTTP/1.1 %d Interim\r\nLink: </a>\r\n\r\n" % status)
            await conn.pause(interval)

    return script


def raw_bytes(*pieces: bytes, then: How = "fin") -> Script:
    """Send exactly these bytes, head and all, then stop; `end` leaves the connection to the script's end."""

    async def script(conn: Conn) -> None:
        for piece in pieces:
            await conn.raw(piece)
        if then != "end":
            await stop_as(conn, then)

    return script
