"""Requests of translated dialects: from the dialect's endpoint to a reply, a generation, or a stream read again."""

from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from proxy.core.headers import HeaderPair, bare_credential, credential_headers, upstream_headers
from proxy.edge import downstream
from proxy.edge.client_address import ClientAddresses
from proxy.edge.cors import cors_headers
from proxy.edge.events import STREAM_HEADERS, uid_of
from proxy.edge.request import Request
from proxy.engine.dialect import Watch
from proxy.engine.plain import PlainReply
from proxy.engine.relaying.head import Ending
from proxy.engine.relaying.readers import Opening, Reader

CALL_HEADERS: Final = (("Content-Type", "application/json"), ("Accept", "text/event-stream"))


def call_headers(request: Request, addresses: ClientAddresses) -> list[HeaderPair]:
    """The headers of the upstream's request: it is our own request, so of the caller's only the credential goes up."""
    served = request.served
    forwarded = addresses.of(request.http).forwarded
    credentials = served.credentials
    if credentials is None:
        bare = bare_credential(request.headers)
        credentials = () if bare is None else credential_headers(bare, served.upstream.settings.format)
    return upstream_headers(CALL_HEADERS, host=served.host, credentials=credentials, forwarded=forwarded)


def reply(request: Request, plain: PlainReply) -> web.Response:
    """A dialect's plain reply as an answer."""
    headers = [("Server", "quell"), ("Content-Type", plain.content_type), *plain.headers]
    headers += cors_headers(request.http, request.served.route.cors)
    return web.Response(status=plain.status, body=plain.body, headers=CIMultiDict(headers))


def observer(request: Request) -> downstream.Observer:
    """Who sent a request, as the reader of a stream."""
    return downstream.Observer(
        request.http, [("Server", "quell"), *cors_headers(request.http, request.served.route.cors)]
    )


async def watch(opening: Opening, asked: Watch, deadline: float) -> None:
    """Send a generation's events as they were said, to the end.

    Raises:
        Refusal: the observer is one too many.
        ConnectionError: the observer left, or fell behind what the tape keeps.
    """
    source, reader = asked.source, Reader(holds=asked.holds)
    reader.cursor = asked.position
    source.attach(reader)
    try:
        sink = await opening.begin(uid_of(source), STREAM_HEADERS)
        if asked.beginning:
            reader.lags = not sink.write(asked.beginning)
        await downstream.follow(source, reader, sink, deadline)
        if source.ending is Ending.BROKEN:
            downstream.break_off()
    finally:
        source.detach(reader)
