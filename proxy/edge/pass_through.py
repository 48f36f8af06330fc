"""Requests that are no model calls: passed on both ways, closed upstream when the client leaves, nothing recorded."""

import asyncio

from aiohttp import web

from proxy.core.errors import Refusal, UpstreamErrorKind
from proxy.core.headers import HeaderPair, downstream_headers
from proxy.edge import downstream
from proxy.edge.cors import cors_headers
from proxy.edge.runtime import Served
from proxy.engine.upstreams.upstream import Answer, UpstreamError

NO_BODY = frozenset({204, 304})


async def pass_through(
    request: web.BaseRequest, served: Served, url: str, headers: list[HeaderPair], body: bytes, deadline: float
) -> web.StreamResponse:
    """Pass a request on, and its answer back, byte for byte. `deadline`: seconds in which the client must take bytes.

    Raises:
        Refusal: the upstream gave no usable answer.
    """
    answer = await _open(served, request.method, url, headers, body)
    try:
        return await _pass_back(request, served, answer, deadline)
    finally:
        answer.close()


async def _open(served: Served, method: str, url: str, headers: list[HeaderPair], body: bytes) -> Answer:
    timeouts = served.upstream.settings.timeouts
    connected = False

    def note() -> None:
        nonlocal connected
        connected = True
        scope.reschedule(asyncio.get_running_loop().time() + timeouts.first_byte)

    try:
        async with asyncio.timeout(timeouts.connect) as scope:
            return await served.upstream.open(method, url, headers, body or None, note)
    except TimeoutError:
        late = UpstreamErrorKind.HEADER_TIMEOUT if connected else UpstreamErrorKind.CONNECT_TIMEOUT
        raise Refusal.upstream(late) from None
    except UpstreamError as error:
        raise Refusal.upstream(error.kind) from error


async def _pass_back(request: web.BaseRequest, served: Served, answer: Answer, deadline: float) -> web.StreamResponse:
    streamed = answer.content_type == "text/event-stream"
    headers = downstream_headers(answer.headers, stream=streamed) + cors_headers(request, served.route.cors)
    response, sink = await downstream.begin(request, answer.status, headers, answer.length)
    if request.method == "HEAD" or answer.status in NO_BODY:
        return response
    idle = served.upstream.settings.timeouts.idle
    try:
        async with asyncio.timeout(idle) as scope:
            while chunk := await answer.read():
                scope.reschedule(None)
                if not sink.write(chunk):
                    await sink.drained(deadline)
                scope.reschedule(asyncio.get_running_loop().time() + idle)
    except (TimeoutError, UpstreamError):
        downstream.break_off()
    return response
