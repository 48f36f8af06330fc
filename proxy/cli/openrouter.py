"""What OpenRouter says of a generation after its end: `GET /generation?id=…`.

Fields as its public API description has them: `native_tokens_…` are the provider's own counts, which are billed;
`total_cost` is in US dollars. A generation is found there some ten seconds after its end, until then it is a 404.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from proxy.cli.admin_client import CommandError
from proxy.core.settings.settings import Settings, UpstreamSettings

SOURCE: Final = "openrouter"
CURRENCY: Final = "USD"

_HOST: Final = "openrouter.ai"
_COUNTS: Final = {
    "prompt_tokens": "native_tokens_prompt",
    "completion_tokens": "native_tokens_completion",
    "cached_tokens": "native_tokens_cached",
    "reasoning_tokens": "native_tokens_reasoning",
}
_SECONDS: Final = 30.0
_TRIES: Final = 4
_PAUSE: Final = 1.0
_PAUSE_MOST: Final = 60.0
_ANSWER: Final = 2**20
_OK: Final = 200
_NOT_FOUND: Final = 404
_TOO_MANY: Final = 429
_SERVERS_FAULT: Final = 500


def upstreams_of(settings: Settings, name: str | None) -> list[UpstreamSettings]:
    """The upstreams that are OpenRouter, by their host; or the one of that name, whatever its host is.

    Raises:
        CommandError: there is none, or one has no key to ask with.
    """
    if name is not None and name not in settings.upstreams:
        raise CommandError(f"there is no upstream {name}; there are: {', '.join(settings.upstreams)}")
    found = [each for each in settings.upstreams.values() if (each.name == name if name else _is_openrouter(each))]
    if not found:
        raise CommandError(f"no upstream's base_url is at {_HOST}; name the one that is meant: --upstream NAME")
    for each in found:
        if each.api_key is None:
            raise CommandError(f"upstreams.{each.name} has no api_key or api_key_file to ask OpenRouter with")
    return found


def _is_openrouter(upstream: UpstreamSettings) -> bool:
    host = urlsplit(upstream.base_url).hostname or ""
    return host == _HOST or host.endswith(f".{_HOST}")


class OpenRouter:
    """Asks one upstream, one generation after the other."""

    def __init__(self, session: aiohttp.ClientSession, upstream: UpstreamSettings) -> None:
        self._session = session
        self._upstream = upstream

    async def truth(self, upstream_id: str) -> dict[str, Any] | None:
        """What it says of a generation, as the admin API takes it; None: nothing yet, or nothing any more.

        Raises:
            CommandError: it can't be asked, or what answers is something else.
        """
        for attempt in range(_TRIES):
            status, pause, body = await self._ask(upstream_id)
            if status == _NOT_FOUND:
                return None
            if status == _OK:
                return self._read(upstream_id, body)
            if status and status != _TOO_MANY and status < _SERVERS_FAULT:
                raise CommandError(
                    f"upstream {self._upstream.name} refuses to tell (status {status}); is its key right?"
                )
            if attempt < _TRIES - 1:
                await asyncio.sleep(min(max(pause, _PAUSE * 2**attempt), _PAUSE_MOST))
        raise CommandError(f"upstream {self._upstream.name} does not answer (status {status or 'none'}); try later")

    async def _ask(self, upstream_id: str) -> tuple[int, float, bytes]:
        """Status (0: none), seconds to wait as the answer says, body."""
        url = f"{self._upstream.base_url}/generation"
        try:
            async with self._session.get(url, params={"id": upstream_id}, allow_redirects=False) as response:
                body = await response.content.read(_ANSWER)
                while not response.content.at_eof() and len(body) < _ANSWER:
                    body += await response.content.read(_ANSWER)
                asked = response.headers.get("Retry-After", "")
                return response.status, float(asked) if asked.isascii() and asked.isdigit() else 0.0, body
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, 0.0, b""

    def _read(self, upstream_id: str, body: bytes) -> dict[str, Any] | None:
        try:
            data = json.loads(body, parse_float=Decimal)["data"]
            found = {ours: data.get(theirs) for ours, theirs in _COUNTS.items()}
            cost = data.get("total_cost")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise CommandError(f"what answers for upstream {self._upstream.name} is not OpenRouter's API") from None
        truth: dict[str, Any] = {name: count for name, count in found.items() if type(count) is int}
        if isinstance(cost, (int, Decimal)) and not isinstance(cost, bool):
            truth |= {"cost": f"{Decimal(cost):f}", "currency": CURRENCY}
        if not truth:
            return None
        return {"upstream_id": upstream_id, "upstream": self._upstream.name, "source": SOURCE, **truth}


@asynccontextmanager
async def asking(upstream: UpstreamSettings) -> AsyncIterator[OpenRouter]:
    """Someone to ask, over connections of its own, with the upstream's key, authorities and proxy."""
    context: ssl.SSLContext | bool = True
    if upstream.ca_file is not None:
        context = ssl.create_default_context(cafile=str(upstream.ca_file))
    key = "" if upstream.api_key is None else upstream.api_key.get_secret_value()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1, ssl=context),
        headers={"Authorization": f"Bearer {key}"},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=_SECONDS),
        trust_env=False,
        proxy=upstream.proxy,
    ) as session:
        yield OpenRouter(session, upstream)
