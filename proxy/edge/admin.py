"""The admin listener: probes and metrics for everybody who reaches it, the admin API for whoever has the token.

It is the same server as the proxy's own, with the same deadlines and bounds, on an address of its own.
"""

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final, NamedTuple

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion10

from proxy.core.errors import Refusal
from proxy.core.paths import safe_target
from proxy.edge.admin_answer import HEADERS
from proxy.edge.admin_feed import Feed
from proxy.edge.admin_generations import AdminGenerations
from proxy.edge.admin_health import AdminHealth
from proxy.edge.admin_ledger import AdminLedger
from proxy.edge.admin_reports import AdminReports, metrics_answer, readiness
from proxy.edge.admin_summary import Summary
from proxy.edge.admin_usage import AdminUsage
from proxy.edge.asked import READS, check_method
from proxy.edge.openapi import AdminOpenAPI
from proxy.edge.runtime import Runtime
from proxy.edge.server import make_runner
from proxy.engine.engine import Engine
from proxy.stores.ports import LedgerUnavailableError

MAX_CONNECTIONS: Final = 256
"""Operators and scrapers are few, and must not use up the open files that generations need."""

SHUTDOWN_SECONDS: Final = 2.0
"""How long an answer may take to its end when the proxy ends."""

_API: Final = "/api"
_GENERATIONS: Final = "/api/generations"
_PORT: Final = re.compile(r":[0-9]*\Z")

_Call = Callable[[web.BaseRequest, Runtime], Awaitable[dict[str, Any] | web.StreamResponse]]
_CallOfOne = Callable[[web.BaseRequest, Runtime, str], Awaitable[dict[str, Any] | web.StreamResponse]]


def make_admin_runner(
    engine: Engine,
    current: Callable[[], Runtime],
    *,
    token: str,
    reload: Callable[[], Awaitable[list[str]]],
    ready: Callable[[], dict[str, bool]],
    host_names: Iterable[str] = (),
) -> web.ServerRunner:
    """The runner of the admin listener; add a `web.TCPSite` to it. Call it within a running loop.

    Args:
        engine: whose generations are shown and stopped.
        current: gives the runtime in force.
        token: what the admin API asks for, as `Authorization: Bearer …`.
        reload: takes new settings and gives what waits for a restart; raises `ReloadError`.
        ready: the checks behind `/readyz`, by name.
        host_names: names under which this listener is reached, besides that of `admin.listen`.
    """
    runtime = current()
    names = {"localhost", runtime.settings.admin.listen.host, *host_names}
    admin = Admin(engine, current, token, reload, ready, frozenset(map(_folded, names)))
    limits = runtime.settings.limits
    runner = make_runner(admin.handle, limits, max_connections=MAX_CONNECTIONS, shutdown_timeout=SHUTDOWN_SECONDS)
    runner.before_end = admin.feed.close
    return runner


class Row(NamedTuple):
    """One call of the admin API: where, by which methods, and what it does."""

    path: str
    methods: tuple[str, ...]
    summary: str


class Admin:
    """Serves the admin listener."""

    def __init__(
        self,
        engine: Engine,
        current: Callable[[], Runtime],
        token: str,
        reload: Callable[[], Awaitable[list[str]]],
        ready: Callable[[], dict[str, bool]],
        names: frozenset[str],
    ) -> None:
        self._engine = engine
        self._current = current
        self._token_hash = sha256(token.encode()).digest()
        self._ready = ready
        self._names = names
        generations, reports = AdminGenerations(engine), AdminReports(engine, reload)
        ledger, summary = AdminLedger(engine), Summary(engine)
        health = AdminHealth(engine, current().settings, ready)
        self.feed = Feed(engine, summary, current)
        self._calls: dict[str, tuple[tuple[str, ...], _Call]] = {
            _GENERATIONS: (READS, generations.list),
            f"{_GENERATIONS}/cancel": (("POST",), generations.cancel_many),
            f"{_API}/feed": (("GET",), self.feed.serve),
            f"{_API}/summary": (READS, summary.summary),
            f"{_API}/health": (READS, health.health),
            f"{_API}/openapi.json": (READS, AdminOpenAPI(self.table).openapi),
            f"{_API}/usage": (READS, AdminUsage(engine).usage),
            f"{_API}/ledger/export": (("GET",), ledger.export),
            f"{_API}/ledger/truths": (("POST",), ledger.truths),
            f"{_API}/ledger/untold": (READS, ledger.untold),
            f"{_API}/ledger/drift": (READS, ledger.drift),
            f"{_API}/upstreams": (READS, reports.upstreams),
            f"{_API}/budgets": (READS, reports.budgets),
            f"{_API}/config": (READS, reports.config),
            f"{_API}/reload": (("POST",), reports.reload),
            f"{_API}/ledger/purge": (("POST",), reports.purge),
        }
        self._calls_of_one: dict[str, tuple[tuple[str, ...], _CallOfOne]] = {
            "": (READS, generations.get),
            "events": (("GET",), generations.events),
            "cancel": (("POST",), generations.cancel),
        }

    def table(self) -> list[Row]:
        """What is served below `/api`, for its description."""
        of_one = {f"{_GENERATIONS}/{{id}}/{verb}".rstrip("/"): call for verb, call in self._calls_of_one.items()}
        return [
            Row(path, methods, (call.__doc__ or "").partition("\n")[0])
            for path, (methods, call) in (*self._calls.items(), *of_one.items())
        ]

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Serve one request.

        Raises:
            Refusal: it is answered in OpenAI's error shape.
        """
        _check_host(http, self._names)
        path, _ = safe_target(http.raw_path)
        if path == _API or path.startswith(f"{_API}/"):
            _check_token(http, self._token_hash)
            try:
                return await self._serve_api(http, path)
            except LedgerUnavailableError as error:
                message = "The ledger can't be read now. What runs can still be stopped."
                raise Refusal.overloaded(5, "ledger_unavailable", message) from error
        return await self._serve_open(http, path)

    async def _serve_open(self, http: web.BaseRequest, path: str) -> web.StreamResponse:
        """What needs no token: it tells nothing of anybody, and calls no upstream."""
        match path:
            case "/livez" | "/healthz":
                check_method(http, *READS)
                return _json({"status": "live"})
            case "/readyz":
                check_method(http, *READS)
                status, answer = readiness(http, self._ready())
                return _json(answer, status)
            case "/metrics":
                check_method(http, *READS)
                return await metrics_answer(http, self._engine)
            case _:
                raise Refusal.not_found()

    async def _serve_api(self, http: web.BaseRequest, path: str) -> web.StreamResponse:
        runtime = self._current()
        if path in self._calls:
            methods, call = self._calls[path]
            check_method(http, *methods)
            return _answer(await call(http, runtime))
        any_id, _, verb = path.removeprefix(f"{_GENERATIONS}/").partition("/")
        if not path.startswith(f"{_GENERATIONS}/") or verb not in self._calls_of_one or not any_id:
            raise Refusal.not_found()
        methods, call_of_one = self._calls_of_one[verb]
        check_method(http, *methods)
        return _answer(await call_of_one(http, runtime, any_id))


def _check_host(http: web.BaseRequest, names: frozenset[str]) -> None:
    """Refuse a request for another name: a web page whose own name was pointed at this address would send that.

    An address as such can't be pointed elsewhere, so every one is taken.

    Raises:
        Refusal: 421.
    """
    host = http.headers.get(hdrs.HOST, "")
    if not host and http.version == HttpVersion10:  # probes of load balancers; every browser sends a Host
        return
    name = _folded(_PORT.sub("", host))
    if name in names or _is_address(name):
        return
    message = "This listener is not known by that name. Use localhost, its address, or the name in admin.listen."
    raise Refusal(421, "misdirected_request", message)


def _folded(name: str) -> str:
    return name.strip("[]").rstrip(".").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _check_token(http: web.BaseRequest, wanted: bytes) -> None:
    """Raise 401 unless the request carries the token; how long this takes tells nothing of it."""
    scheme, _, given = http.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    is_right = compare_digest(sha256(given.strip().encode()).digest(), wanted)
    if scheme.lower() != "bearer" or not is_right:
        message = "The admin API needs the admin token: send it as 'Authorization: Bearer <token>'."
        raise Refusal(401, "invalid_admin_token", message, headers={"WWW-Authenticate": "Bearer"})


def _answer(answer: dict[str, Any] | web.StreamResponse) -> web.StreamResponse:
    return _json(answer) if isinstance(answer, dict) else answer


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    body = json.dumps(value).encode()
    return web.Response(status=status, body=body, headers={**HEADERS, "Content-Type": "application/json"})
