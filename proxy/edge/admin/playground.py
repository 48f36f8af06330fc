"""The playground's calls: to this proxy's own listener, as a plain client's, because the page may speak to no other.

What a call may carry, both ways, is listed here. The rest of a browser's request belongs to the admin listener, or was
put there by a proxy in front of it; the rest of an answer would mean something to a browser that takes it for ours. An
upstream's HTML must not become a page of the admin listener either.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from proxy.core.begun import phase_of
from proxy.core.errors import Refusal
from proxy.core.headers import bare_credential
from proxy.core.paths import safe_target
from proxy.core.settings.route import GEMINI
from proxy.core.settings.settings import Address, RouteSettings
from proxy.edge import downstream
from proxy.edge.admin.access import Visitor, visitor_of
from proxy.edge.admin.answer import SAFE
from proxy.edge.admin.query import parameters
from proxy.edge.anybodys import find_anywhere
from proxy.edge.intake import read_body
from proxy.edge.pass_through import NO_BODY
from proxy.edge.request import single_header
from proxy.edge.runtime import Runtime
from proxy.engine.engine import Engine
from proxy.engine.upstreams.connections import left_over

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
CREDENTIALS: Final = {
    "X-Playground-Authorization": hdrs.AUTHORIZATION,
    "X-Playground-API-Key": "X-API-Key",
    "X-Playground-Goog-API-Key": "X-Goog-API-Key",
}
"""In which headers a caller's own credential comes here, and goes to the proxy: the admin listener takes
`Authorization` for a token of its own."""

SeenByDemo = Callable[[str], dict[str, Any] | None]
"""What the demo upstream saw of the call with this id of its own; None: it does not know it."""

_CONNECT_SECONDS: Final = 5.0
_TO_PROXY: Final = (
    "Accept",
    "Anthropic-Beta",
    "Anthropic-Version",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "OpenAI-Beta",
    "X-Max-Cost",
    "X-Max-Seconds",
    "X-Max-Tokens",
    "X-Task-Id",
    "X-User-Id",
)
_TO_PAGE: Final = frozenset(
    {
        "allow",
        "cache-control",
        "content-encoding",
        "content-type",
        "request-id",
        "retry-after",
        "x-accel-buffering",
        "x-message-id",
        "x-request-id",
        "x-should-retry",
        "x-task-id",
    }
)
_TO_PAGE_BEGINS: Final = ("anthropic-", "openai-", "x-ratelimit-")


class Playground:
    """The calls below `/api/playground`."""

    def __init__(self, engine: Engine, own: Callable[[], Sequence[Address]], demo: SeenByDemo | None) -> None:
        """`own` gives where the proxy listens; `demo` is there where the demo upstream is in this process."""
        self._engine = engine
        self._own = own
        self._demo = demo

    async def about(self, http: web.BaseRequest, runtime: Runtime) -> dict[str, Any]:
        """What can be called, where a command line finds it, and whether a key is needed."""
        parameters(http, ())
        routes = [
            {
                "path": route.path,
                "dialects": _spoken(route, runtime.upstreams[route.upstream].settings.format),
                "model": route.model,
                "responses": route.responses,
            }
            for route in runtime.settings.routes
        ]
        return {
            "routes": routes,
            "origin": self._origin(http, runtime),
            "needs_key": _needs_key(runtime, visitor_of(http)),
            "has_keys": bool(runtime.settings.keys),
            "demo": self._demo is not None,
        }

    async def relay(self, http: web.BaseRequest, runtime: Runtime, rest: str) -> web.StreamResponse:
        """Call the proxy, and pass its answer on as it comes. When the page leaves, the call is closed.

        Raises:
            Refusal: 403, a key is needed; 503, the proxy's listener can't be reached.
        """
        headers = _headers_up(http)
        if not visitor_of(http).text and bare_credential(headers.items()) is None:
            # Callers without a credential are one identity: what all of them were answered could be read here.
            names = ", ".join(CREDENTIALS)
            message = f"With a token that may not see what models wrote, a key is needed: send it as one of {names}."
            raise Refusal(403, "text_not_allowed", message, param=next(iter(CREDENTIALS)))
        limits = runtime.settings.limits
        body = await read_body(http, limits.body, limits.body_deadline)
        _, query = safe_target(http.raw_path)
        target = f"/{rest}?{query}" if query else f"/{rest}"
        async with self._called(http.method, target, headers, body) as answer:
            return await _pass_back(http, answer, limits.write_deadline)

    async def seen(self, http: web.BaseRequest, _runtime: Runtime, any_id: str) -> dict[str, Any]:
        """What the upstream saw of a generation: when it was closed, and how far the demo upstream came.

        Raises:
            Refusal: see `find_anywhere`.
        """
        parameters(http, ())
        record = (await find_anywhere(self._engine, any_id)).record
        phase = phase_of(record)
        by_demo = None if self._demo is None or record.upstream_id is None else self._demo(record.upstream_id)
        return {
            "task_id": record.task_id,
            "phase": None if phase is None else phase.value,
            "outcome": record.outcome.value,
            "cause": None if record.cause is None else record.cause.value,
            "upstream_closed_ms": record.upstream_closed_ms,
            "characters": record.characters,
            "completion_tokens": record.completion_tokens,
            "demo": by_demo,
        }

    def _origin(self, http: web.BaseRequest, runtime: Runtime) -> str:
        """What a command line would call: the proxy's address, under the name that this listener was called by."""
        address = next(iter(self._own()), runtime.settings.listen)
        host = http.url.host if address.from_here != address else None
        return f"http://{Address(host, address.port) if host else address.from_here}"

    @asynccontextmanager
    async def _called(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A call's answer, from the first of our addresses that can be reached. It is closed with the connection."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        connector, jar = aiohttp.TCPConnector(force_close=True), aiohttp.DummyCookieJar()
        skipped = (hdrs.ACCEPT, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=jar, timeout=timeout, auto_decompress=False, skip_auto_headers=skipped
        ) as session:
            answer = await self._call(session, method, target, headers, body)
            try:
                yield answer
            finally:
                answer.close()

    async def _call(
        self, session: aiohttp.ClientSession, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> aiohttp.ClientResponse:
        try:
            for address in self._own():
                url = URL(f"http://{address.from_here}{target}", encoded=True)
                try:
                    return await session.request(method, url, headers=headers, data=body or None, allow_redirects=False)
                except aiohttp.ClientConnectorError:  # nothing was sent
                    continue
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable() from error
        raise _unreachable()


def _spoken(route: RouteSettings, wire_format: str) -> list[str]:
    """What a client speaks there: the words for `dialect`, but Gemini's own where `openai` stands for its API."""
    return [GEMINI if each == "openai" and wire_format == GEMINI else each for each in route.dialects]


def _needs_key(runtime: Runtime, visitor: Visitor) -> bool:
    return bool(runtime.settings.keys) or not visitor.text


def _headers_up(http: web.BaseRequest) -> dict[str, str]:
    given = {name: single_header(http, name) for name in _TO_PROXY}
    given |= {name: single_header(http, here) for here, name in CREDENTIALS.items()}
    given[hdrs.ACCEPT_ENCODING] = "identity"
    return {name: value for name, value in given.items() if value}


async def _pass_back(http: web.BaseRequest, answer: aiohttp.ClientResponse, deadline: float) -> web.StreamResponse:
    headers = [(name, value) for name, value in answer.headers.items() if _goes_to_page(name.lower())]
    length = answer.content_length
    response, sink = await downstream.begin(http, answer.status, [*headers, *SAFE.items()], length)
    if answer.status in NO_BODY:
        return response
    try:
        while chunk := await answer.content.readany():
            if not sink.write(chunk):
                await sink.drained(deadline)
    except aiohttp.ClientError:
        if rest := left_over(answer.content):  # nothing at all would be written as the last chunk
            sink.write(rest)
        downstream.break_off()
    return response


def _goes_to_page(name: str) -> bool:
    return name in _TO_PAGE or name.startswith(_TO_PAGE_BEGINS)


def _unreachable() -> Refusal:
    message = "The proxy's own listener can't be reached from here, or takes nothing any more."
    return Refusal.overloaded(1, "playground_unreachable", message)
