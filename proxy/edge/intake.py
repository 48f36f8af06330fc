"""The checks on one request before anybody acts on it, the reading of its body, and the answer to a refused one."""

import asyncio
import re
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion10
from aiohttp.web_protocol import RequestPayloadError
from multidict import CIMultiDict

from proxy.core.errors import Refusal, openai_error_body
from proxy.core.headers import nominations
from proxy.core.paths import safe_target
from proxy.engine.plain import PlainReply

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BODY_GRACE: Final = 5.0
"""Seconds that any body may take, however slow."""
BODY_FLOOR: Final = 1024
"""Bytes a second that a body must arrive with after `BODY_GRACE`: far below any real uplink."""

_HOST: Final = re.compile(r"[A-Za-z0-9.\-_~%:\[\]]*")
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_REASONS: Final = {499: "Client Closed Request"}


class FloodError(RequestPayloadError):
    """Far more raw bytes arrived for a body than there is content in them."""


class OtherVersionRequest(web.BaseRequest):
    """A request of another version than HTTP/1.0 and 1.1, to be answered as one of HTTP/1.1."""


def check_request(request: web.BaseRequest, header_limit: int) -> None:
    """Let a request in whose meaning is the same for everybody on its way (RFC 9110 and 9112, read strictly).

    Raises:
        Refusal: 4xx or 5xx; the connection is closed where its framing can't be trusted any more.
    """
    if isinstance(request, OtherVersionRequest):
        raise Refusal.unreadable(505, "http_version_not_supported", "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
    if request.method not in METHODS or request.raw_path == "*":
        refusal = Refusal.unreadable(405, "method_not_allowed", "This method is not served.")
        refusal.headers["Allow"] = ", ".join(sorted(METHODS))
        raise refusal
    _check_header_block(request, header_limit)
    safe_target(request.raw_path)
    _check_framing(request)
    headers = request.headers
    if _HOST.fullmatch(headers.get(hdrs.HOST, "")) is None:
        raise Refusal.bad_request("invalid_host", "The Host header is not a host name or address.")
    if headers.get(hdrs.UPGRADE, "h2c").lower() != "h2c":
        raise Refusal.unreadable(
            501, "upgrade_not_supported", "Protocol upgrades (WebSocket, realtime) are not served."
        )
    if headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise Refusal.unreadable(415, "unsupported_encoding", "Send the request body without a Content-Encoding.")
    if headers.get(hdrs.EXPECT, "100-continue").lower() != "100-continue":
        raise Refusal.unreadable(417, "expectation_failed", "The only Expect that is understood is 100-continue.")


def _check_header_block(request: web.BaseRequest, limit: int) -> None:
    headers = request.headers
    values = "".join(headers.values())
    if len(values) + len("".join(headers)) > limit:
        raise Refusal.unreadable(
            431, "headers_too_large", f"The request's headers are longer than {limit} bytes in all."
        )
    if not values.isascii():
        raise Refusal.bad_request("invalid_header", "The request's headers must be plain ASCII.")
    for value in headers.getall(hdrs.CONNECTION, ()):
        nominations(value)


def _check_framing(request: web.BaseRequest) -> None:
    encoding = request.headers.get(hdrs.TRANSFER_ENCODING)
    if encoding is None:
        return
    if request.version == HttpVersion10:
        raise Refusal.unreadable(400, "invalid_framing", "HTTP/1.0 has no Transfer-Encoding.")
    if encoding.lower() != "chunked":
        raise Refusal.unreadable(501, "unsupported_transfer_encoding", "The only Transfer-Encoding served is chunked.")


async def read_body(request: web.BaseRequest, limit: int, deadline: float) -> bytes:
    """Read the whole request body, at most `limit` bytes, within `deadline` seconds.

    A client that waits for `100 Continue` gets it here, so authenticate before. When the client leaves, the handler is
    cancelled, as everywhere.

    Raises:
        Refusal: 413 too long, 408 too slow (the deadline, or less than `BODY_FLOOR` after `BODY_GRACE`), 400 broken
            framing. Each of them closes the connection.
    """
    if not request.body_exists:
        return b""
    if (request.content_length or 0) > limit:
        raise Refusal.too_large(limit)
    content = request.content
    try:
        if content.is_eof():
            body = content.read_nowait()
        else:
            _say_continue(request)
            body = await _read_in_time(request, limit, deadline)
    except FloodError as error:
        raise Refusal.too_large(limit) from error
    except RequestPayloadError as error:
        raise Refusal.unreadable(400, "invalid_body", "The request body's framing is broken.") from error
    except TimeoutError as error:
        raise Refusal.body_timeout() from error
    if len(body) > limit:
        raise Refusal.too_large(limit)
    return body


def _say_continue(request: web.BaseRequest) -> None:
    waits = hdrs.EXPECT in request.headers and request.version != HttpVersion10 and not request.content.total_bytes
    if waits and request.transport is not None:
        request.transport.write(_CONTINUE)


async def _read_in_time(request: web.BaseRequest, limit: int, deadline: float) -> bytes:
    content = request.content
    body = bytearray()
    start = asyncio.get_running_loop().time()
    async with asyncio.timeout_at(start + min(deadline, BODY_GRACE)) as scope:
        while chunk := await content.readany():
            body += chunk
            if len(body) > limit:
                break
            scope.reschedule(start + min(deadline, BODY_GRACE + len(body) / BODY_FLOOR))
    return bytes(body)


def respond(refusal: Refusal, said: PlainReply | None = None) -> web.Response:
    """The answer to a refused request; `said` is how its dialect says it, by default as OpenAI does."""
    said = said or PlainReply(refusal.status, openai_error_body(refusal), tuple(refusal.headers.items()))
    response = web.Response(
        status=said.status,
        reason=_REASONS.get(said.status),
        body=said.body,
        headers=CIMultiDict([("Server", "quell"), ("Content-Type", said.content_type), *said.headers]),
    )
    if refusal.closes:
        response.force_close()
    return response


def raw_answer(refusal: Refusal) -> bytes:
    """The same answer as bytes, for a connection that has no readable request."""
    body = openai_error_body(refusal)
    headers = {"Server": "quell", "Content-Type": "application/json", **refusal.headers, "Content-Length": len(body)}
    reason = web.Response(status=refusal.status).reason
    lines = [f"HTTP/1.1 {refusal.status} {reason}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("ascii") + body
