"""The one module that touches the upstream network. Foreign exceptions end here: outside there are only our kinds."""

import asyncio
import io
import ssl
from collections.abc import Callable, Sequence

import aiohttp
import structlog
from multidict import CIMultiDict
from yarl import URL

from proxy.core.errors import UpstreamErrorKind
from proxy.core.settings.settings import UpstreamSettings
from proxy.engine.upstreams.connections import SENDING, Connector, Line, Sending, cut, left_over
from proxy.engine.upstreams.pushed import PushedBody, Take
from proxy.engine.upstreams.short_way import NO_TIMEOUT, ShortWay
from proxy.engine.upstreams.slots import Slots
from proxy.engine.upstreams.tls_reason import tls_reason
from proxy.engine.upstreams.usage_asks import UsageAsks
from proxy.engine.users import Users

log = structlog.get_logger()

READ_BYTES = 16 * 1024
"""What aiohttp buffers of an upstream before the relay takes it; the relay never waits, so little is needed."""

POOL_SECONDS = 4.0
"""How long an idle connection is kept: less than the 5 s after which common servers close theirs."""

LARGE_BODY = 1 << 20
"""A request body of more bytes is sent piece by piece: in one it would hold everybody up, and aiohttp warns of it."""

SENT_AGAIN_BY_AIOHTTP = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

DNS_SECONDS = 10
MAX_HEADER_BYTES = 256 * 1024
AUTO_HEADERS = frozenset({"User-Agent", "Accept", "Accept-Encoding", "Content-Type"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SWITCHING = 101


class UpstreamError(Exception):
    """The upstream failed; `kind` says how. The original exception is the cause."""

    def __init__(self, kind: UpstreamErrorKind) -> None:
        super().__init__(kind.value)
        self.kind = kind


class Answer:
    """The upstream's answer: its head, and its body as bytes that arrive."""

    __slots__ = (
        "_content",
        "_response",
        "_transport",
        "_was_read",
        "coding",
        "content_type",
        "headers",
        "length",
        "status",
    )

    def __init__(self, response: aiohttp.ClientResponse, transport: asyncio.Transport | None) -> None:
        self._response = response
        self._content = response.content
        self._transport = transport
        self._was_read: bool | None = None
        self.status = response.status
        self.headers = [(name, value) for name, value in response.headers.items()]
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.coding = ", ".join(response.headers.getall("Content-Encoding", ())).strip().lower()
        self.length = response.content_length

    async def read(self) -> bytes:
        """What has arrived, at once; empty at the end of the body. What came before a break is given first.

        Raises:
            UpstreamError: the body broke off.
        """
        try:
            return await self._content.readany()
        except Exception as error:  # a malformed chunk surfaces as a bare RuntimeError in aiohttp
            if data := left_over(self._content):
                return data
            raise UpstreamError(UpstreamErrorKind.TRUNCATED) from error

    async def push(self, take: Take, grace: float) -> bool:
        """Hand each piece of the body to `take` as it arrives, see `PushedBody`; True when the body ended properly.

        Raises:
            UpstreamError: the body broke off before `take` had all it wanted.
            Exception: whatever `take` raised.
        """
        connection = self._response.connection
        line = None if connection is None else connection.protocol
        if not isinstance(line, Line):  # the whole body has come already
            while (piece := await self.read()) and not take(piece):
                pass
            return True
        body = PushedBody(self._content, take, grace)
        try:
            return await body.push(line)
        except Exception as error:
            if error is body.failure:
                raise
            raise UpstreamError(UpstreamErrorKind.TRUNCATED) from error

    def close(self) -> None:
        """Close the connection now unless the body was read to its end (then it went back to the pool)."""
        if self._was_read is None:
            self._was_read = self._response.connection is None
        self._response.close()
        cut(self._transport)

    @property
    def is_open(self) -> bool:
        """Whether the upstream can still send of this answer: its connection is neither closed nor the pool's again."""
        return not self._was_read and self._transport is not None and not self._transport.is_closing()


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


class Upstream:
    """One configured provider: its connections and its slots."""

    def __init__(self, name: str, settings: UpstreamSettings) -> None:
        self.name = name
        self.settings = settings
        self.slots = Slots(name, settings.slots, settings.queue.size)
        self.calls = 0
        self.reading_on = 0
        """Calls that are read on behind a stop."""
        self._users = Users()
        self.usage = UsageAsks(name, settings)
        self._proxy = settings.proxy
        context: ssl.SSLContext | bool = True
        if settings.ca_file is not None:
            context = ssl.create_default_context(cafile=str(settings.ca_file))
        connector = Connector(
            limit=0, limit_per_host=0, ttl_dns_cache=DNS_SECONDS, keepalive_timeout=POOL_SECONDS, ssl=context
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=NO_TIMEOUT,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BYTES,
            skip_auto_headers=AUTO_HEADERS,
        )
        self._short_way = ShortWay(self._session, connector, settings.base_url, READ_BYTES)

    def in_use(self) -> Users:
        """Keep this upstream open for the `with` block, whatever a reload says."""
        return self._users

    async def unused(self) -> None:
        """Wait until nobody uses it."""
        await self._users.gone()

    async def open(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
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
        sending = Sending(connected)
        token = SENDING.set(sending)
        self.calls += 1
        try:
            response = await self._send(sending, method, URL(url, encoded=True), CIMultiDict(headers), body)
        except BaseException as error:  # the border: every foreign exception becomes one of our kinds
            cut(sending.transport)
            if not isinstance(error, Exception):
                raise
            kind = _kind_of(error)
            if kind is UpstreamErrorKind.TLS:
                log.warning("upstream.tls_failed", upstream=self.name, reason=tls_reason(error))
            raise UpstreamError(kind) from error
        finally:
            self.calls -= 1
            SENDING.reset(token)
        answer = Answer(response, sending.transport)
        if (unusable := _unusable(answer)) is not None:
            answer.close()
            raise UpstreamError(unusable)
        return answer

    async def _send(
        self, sending: Sending, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        """Send a request, once more if it met a stale connection."""
        try:
            return await self._request(method, url, headers, body)
        except (aiohttp.ServerDisconnectedError, OSError) as error:
            if method in SENT_AGAIN_BY_AIOHTTP or not sending.met_stale(error):
                raise
        return await self._request(method, url, headers, body)

    async def _request(
        self, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        if body is not None and self._proxy is None and self._short_way.takes(method, body):
            return await self._short_way.send(url, headers, body)
        data = io.BytesIO(body) if body is not None and len(body) > LARGE_BODY else body
        return await self._session.request(
            method, url, headers=headers, data=data, allow_redirects=False, proxy=self._proxy
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
        await asyncio.sleep(0)  # lets the transports see their close


def _unusable(answer: Answer) -> UpstreamErrorKind | None:
    if answer.status == SWITCHING:
        return UpstreamErrorKind.UPGRADED
    if answer.status in REDIRECTS:
        return UpstreamErrorKind.REDIRECT
    if sum(len(name) + len(value) for name, value in answer.headers) > MAX_HEADER_BYTES:
        return UpstreamErrorKind.BAD_ANSWER
    return None
