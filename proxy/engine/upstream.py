"""The one module that touches the upstream network. Foreign exceptions end here: outside there are only our kinds."""

import asyncio
import ssl
import time
from collections.abc import Callable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from multidict import CIMultiDict
from yarl import URL

from proxy.core.errors import UpstreamErrorKind
from proxy.core.settings import UpstreamSettings
from proxy.engine.slots import Slots

READ_BYTES = 16 * 1024
"""What aiohttp buffers of an upstream before the relay takes it; the relay never waits, so little is needed."""

POOL_SECONDS = 4.0
"""How long an idle connection is kept: less than the 5 s after which common servers close theirs."""

STALE_SECONDS = 1.0
"""A server that closed a connection while it was idle says so within one round trip. One that breaks it later may have
begun to work on the request, which then would be billed twice if it was sent again."""

SENT_AGAIN_BY_AIOHTTP = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

DNS_SECONDS = 10
MAX_HEADER_BYTES = 256 * 1024
AUTO_HEADERS = frozenset({"User-Agent", "Accept", "Accept-Encoding", "Content-Type"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SWITCHING = 101

TAKING_USAGE = (".openai.com", ".openai.azure.com", ".openrouter.ai", ".groq.com", ".deepseek.com", ".together.xyz")
"""Providers whose API references document `stream_options.include_usage`."""


class UpstreamError(Exception):
    """The upstream failed; `kind` says how. The original exception is the cause."""

    def __init__(self, kind: UpstreamErrorKind) -> None:
        super().__init__(kind.value)
        self.kind = kind


class Answer:
    """The upstream's answer: its head, and its body as bytes that arrive."""

    __slots__ = ("_content", "_response", "_transport", "coding", "content_type", "headers", "length", "status")

    def __init__(self, response: aiohttp.ClientResponse, transport: asyncio.Transport | None) -> None:
        self._response = response
        self._content = response.content
        self._transport = transport
        self.status = response.status
        self.headers = [(name, value) for name, value in response.headers.items()]
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.coding = ", ".join(response.headers.getall("Content-Encoding", ())).strip().lower()
        self.length = response.content_length

    async def read(self) -> bytes:
        """What has arrived, at once; empty at the end of the body.

        Raises:
            UpstreamError: the body broke off.
        """
        try:
            return await self._content.readany()
        except Exception as error:  # a malformed chunk surfaces as a bare RuntimeError in aiohttp
            raise UpstreamError(UpstreamErrorKind.TRUNCATED) from error

    def close(self) -> None:
        """Close the connection now unless the body was read to its end (then it went back to the pool)."""
        self._response.close()
        _abort(self._transport)


class _Call:
    """One request on its way: the connection that carries it, and whether that one had carried others before."""

    __slots__ = ("_sent", "connected", "reused", "transport")

    def __init__(self, connected: Callable[[], None]) -> None:
        self.connected = connected
        self.reused = False
        self.transport: asyncio.Transport | None = None
        self._sent = 0.0

    def goes(self, connection: Connection) -> None:
        """It has its connection: what comes before is `connecting`, what follows `waiting`."""
        self.transport = connection.transport
        self._sent = time.monotonic()
        self.connected()

    def met_stale(self, error: Exception) -> bool:
        """Whether it broke because its connection had been closed while idle, so that the server never had it."""
        answered = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
        return self.reused and not answered and time.monotonic() - self._sent < STALE_SECONDS


_CALL: Final[ContextVar[_Call]] = ContextVar("call")


class _Connector(aiohttp.TCPConnector):
    """Hands out connections that are as their last answer left them, and tells the call which one it has."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 aiohttp's
    ) -> Connection:
        """See aiohttp. An idle connection on which something came unasked would take that for the next answer."""
        call = _CALL.get()
        while True:
            call.reused = False
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if not (call.reused and protocol is not None and protocol.should_close):
                call.goes(connection)
                return connection
            connection.close()


def _abort(transport: asyncio.Transport | None) -> None:
    """Cut a connection that is being closed: else it stays until its peer has read all, or has closed TLS its side."""
    if transport is not None and transport.is_closing():
        transport.abort()


def _kind_of(error: Exception) -> UpstreamErrorKind:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return UpstreamErrorKind.DNS
        case aiohttp.ClientSSLError() | ssl.SSLError() | aiohttp.ServerFingerprintMismatch():
            return UpstreamErrorKind.TLS
        case aiohttp.ClientConnectorError() | aiohttp.ClientProxyConnectionError():
            return UpstreamErrorKind.UNREACHABLE
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            return UpstreamErrorKind.RESET
        case _:
            return UpstreamErrorKind.BAD_ANSWER


async def _reused(_session: aiohttp.ClientSession, _context: SimpleNamespace, _params: Any) -> None:
    _CALL.get().reused = True


def _tracing() -> aiohttp.TraceConfig:
    """Tells a call that its connection comes from the pool."""
    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(_reused)
    return config


class Upstream:
    """One configured provider: its connections and its slots."""

    def __init__(self, name: str, settings: UpstreamSettings) -> None:
        self.name = name
        self.settings = settings
        self.slots = Slots(settings.slots, settings.queue.size)
        self.calls = 0
        self.takes_usage = settings.format == "openai" and _host_of(settings.base_url).endswith(TAKING_USAGE)
        """Whether a request for usage is known to be understood; also learned from clients that ask by themselves."""
        self._proxy = settings.proxy
        context: ssl.SSLContext | bool = True
        if settings.ca_file is not None:
            context = ssl.create_default_context(cafile=str(settings.ca_file))
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                limit=0, limit_per_host=0, ttl_dns_cache=DNS_SECONDS, keepalive_timeout=POOL_SECONDS, ssl=context
            ),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BYTES,
            trace_configs=[_tracing()],
            skip_auto_headers=AUTO_HEADERS,
        )

    @property
    def asks_usage(self) -> bool:
        """Whether a stream may be asked for its usage: the settings say so, or the upstream is known to take it."""
        match self.settings.usage:
            case "auto":
                return self.takes_usage
            case "none":
                return False
            case _:
                return True

    async def open(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]],
        body: bytes | None,
        connected: Callable[[], None],
    ) -> Answer:
        """Send a request and wait for the answer's head. The caller owns the answer and closes it.

        There is no deadline in here: the caller's scope has them all.

        Args:
            method: the HTTP method.
            url: the full address, already escaped; it is used as it is.
            headers: as they go up.
            body: the request's body.
            connected: called once the request has a connection.

        Raises:
            UpstreamError: nothing usable came.
        """
        call = _Call(connected)
        token = _CALL.set(call)
        self.calls += 1
        try:
            response = await self._send(call, method, URL(url, encoded=True), CIMultiDict(headers), body)
        except BaseException as error:  # the border: every foreign exception becomes one of our kinds
            _abort(call.transport)
            if not isinstance(error, Exception):
                raise
            raise UpstreamError(_kind_of(error)) from error
        finally:
            self.calls -= 1
            _CALL.reset(token)
        answer = Answer(response, call.transport)
        if (kind := _unusable(answer)) is not None:
            answer.close()
            raise UpstreamError(kind)
        return answer

    async def _send(
        self, call: _Call, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        """Send a request, once more if it met a stale connection."""
        try:
            return await self._request(method, url, headers, body)
        except (aiohttp.ServerDisconnectedError, OSError) as error:
            if method in SENT_AGAIN_BY_AIOHTTP or not call.met_stale(error):
                raise
        return await self._request(method, url, headers, body)

    async def _request(
        self, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        return await self._session.request(
            method, url, headers=headers, data=body, allow_redirects=False, proxy=self._proxy
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
        await asyncio.sleep(0)  # lets the transports see their close


def _host_of(base_url: str) -> str:
    return "." + (URL(base_url).host or "")


def _unusable(answer: Answer) -> UpstreamErrorKind | None:
    if answer.status == SWITCHING:
        return UpstreamErrorKind.UPGRADED
    if answer.status in REDIRECTS:
        return UpstreamErrorKind.REDIRECT
    if sum(len(name) + len(value) for name, value in answer.headers) > MAX_HEADER_BYTES:
        return UpstreamErrorKind.BAD_ANSWER
    return None
