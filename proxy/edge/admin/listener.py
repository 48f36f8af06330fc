"""The admin listener: probes and metrics for everybody who reaches it, the page, and the API for who has a token.

It is the same server as the proxy's own, with the same deadlines and bounds, on an address of its own.
"""

import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion10

from proxy.core.errors import Refusal
from proxy.core.paths import safe_target
from proxy.core.settings.settings import Address
from proxy.edge.admin.access import AdminAccess, visitor_of
from proxy.edge.admin.answer import HEADERS, json_answer
from proxy.edge.admin.attempts import Attempts
from proxy.edge.admin.page import AdminPage
from proxy.edge.admin.places import Places
from proxy.edge.admin.playground import SeenByDemo
from proxy.edge.admin.routes import AdminRoutes, is_below_api
from proxy.edge.admin.sessions import Sessions
from proxy.edge.admin.table import AdminTable
from proxy.edge.asked import check_method
from proxy.edge.runtime import Runtime
from proxy.edge.server import make_runner
from proxy.engine.engine import Engine
from proxy.stores.ledger.port import LedgerUnavailableError

MAX_CONNECTIONS: Final = 256
"""Operators and scrapers are few, and must not use up the open files that generations need."""

MOST_STREAMS: Final = 128
"""Streams of generations at once, so that there are connections left for the feed, for stops and for probes."""
MOST_OF_ONE: Final = 64
"""The same with one token."""

SHUTDOWN_SECONDS: Final = 2.0
"""How long an answer may take to its end when the proxy ends."""

_PORT: Final = re.compile(r":[0-9]*\Z")


def make_admin_runner(
    engine: Engine,
    current: Callable[[], Runtime],
    *,
    token: str,
    reload: Callable[[], Awaitable[list[str]]],
    ready: Callable[[], dict[str, bool]],
    host_names: Iterable[str] = (),
    sessions: Sessions | None = None,
    own: Callable[[], Sequence[Address]] = tuple,
    demo: SeenByDemo | None = None,
) -> web.ServerRunner:
    """The runner of the admin listener; add a `web.TCPSite` to it. Call it within a running loop.

    Args:
        engine: whose generations are shown and stopped.
        current: gives the runtime in force.
        token: the main token, as which the admin API takes `Authorization: Bearer …`.
        reload: takes new settings and gives what waits for a restart; raises `ReloadError`.
        ready: the checks behind `/readyz`, by name.
        host_names: names under which this listener is reached, besides that of `admin.listen`.
        sessions: where the page's sessions are kept, and whoever else makes one-time codes.
        own: gives where the proxy's own listener is, for the playground.
        demo: what the demo upstream saw of a call, where it is in this process.
    """
    runtime = current()
    names = {"localhost", runtime.settings.admin.listen.host, *host_names}
    access = AdminAccess(current, token, sessions or Sessions(time.monotonic), Attempts(time.monotonic))
    table = AdminTable(engine, current, reload=reload, ready=ready, own=own, demo=demo)
    page = AdminPage(access, table.me.about)
    admin = Admin(current, access, page, table.routes, frozenset(map(_folded, names)))
    limits = runtime.settings.limits
    runner = make_runner(
        admin.handle, limits, max_connections=MAX_CONNECTIONS, shutdown_timeout=SHUTDOWN_SECONDS, always=HEADERS
    )
    runner.before_end = table.feed.close
    return runner


class Admin:
    """Serves the admin listener."""

    def __init__(
        self,
        current: Callable[[], Runtime],
        access: AdminAccess,
        page: AdminPage,
        routes: AdminRoutes,
        names: frozenset[str],
    ) -> None:
        self._current = current
        self._access = access
        self._page = page
        self._routes = routes
        self._names = names
        self._places = Places("streams")

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Serve one request.

        Raises:
            Refusal: it is answered in OpenAI's error shape.
        """
        _check_host(http, self._names)
        path, _ = safe_target(http.raw_path)
        runtime = self._current()
        if self._page.serves(path):
            return await self._page.handle(http, path, runtime)
        try:
            return await self._serve(http, path, runtime)
        except LedgerUnavailableError as error:
            message = "The ledger can't be read now. What runs can still be stopped."
            raise Refusal.overloaded(5, "ledger_unavailable", message) from error

    async def _serve(self, http: web.BaseRequest, path: str, runtime: Runtime) -> web.StreamResponse:
        """Serve a path of the table; who has no token is not even told which ones there are below `/api`."""
        by_cookie = self._access.enter(http) if is_below_api(path) else False
        found = self._routes.find(path)
        if found is None:
            raise Refusal.not_found()
        route, name = found
        check_method(http, *route.methods)
        if route.role is None:
            answer = await route.call(http, runtime, name)
        else:
            self._access.check(http, route, by_cookie=by_cookie)
            async with self._access.while_let_in(http):
                with self._place(http) if route.lasts else nullcontext():
                    answer = await route.call(http, runtime, name)
        return json_answer(answer) if isinstance(answer, dict) else answer

    def _place(self, http: web.BaseRequest) -> AbstractContextManager[None]:
        return self._places.taken(visitor_of(http).name, most=MOST_STREAMS, most_of_one=MOST_OF_ONE)


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
