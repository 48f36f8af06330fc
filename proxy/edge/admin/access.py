"""Who calls the admin listener, and whether that is allowed: tokens, sessions, roles, and the calls of the page.

A browser sends the page's cookie along with whatever another page makes it ask for. So a change that comes with the
cookie must also carry a header that no foreign page can send, and must not say that it is from elsewhere.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hmac import compare_digest
from typing import Final

import structlog
from aiohttp import hdrs, web

from proxy.core.errors import Refusal
from proxy.core.roles import Role
from proxy.core.settings.admin import MAIN_TOKEN
from proxy.core.settings.settings import AdminTokenSettings
from proxy.edge.admin.attempts import Attempts
from proxy.edge.admin.origin import check_origin, check_page_header, check_reader
from proxy.edge.admin.routes import AdminRoute
from proxy.edge.admin.sessions import LIFE, Sessions, digest_of
from proxy.edge.asked import READS
from proxy.edge.request import single_header
from proxy.edge.runtime import Runtime

LOOK_SECONDS: Final = 5.0
"""So often a request that goes on is asked whether its token still counts."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who calls: the name and role of the token, and whether its holder may see what models wrote."""

    name: str
    role: Role
    text: bool


@dataclass(frozen=True, slots=True)
class Proven:
    """A token that was right: whose it is, and its hash, for which a session may stand."""

    visitor: Visitor
    token: bytes


_VISITOR: Final = web.RequestKey("visitor", Visitor)


def visitor_of(http: web.BaseRequest) -> Visitor:
    """Who sent a request that was let in."""
    return http[_VISITOR]


class AdminAccess:
    """Lets requests in. The listed tokens are those of the settings in force, so that a reload ends what it removes."""

    def __init__(self, current: Callable[[], Runtime], token: str, sessions: Sessions, attempts: Attempts) -> None:
        """`current` gives the runtime in force; `token` is the main one."""
        self._current = current
        self._main = digest_of(token), Visitor(MAIN_TOKEN, Role.ADMIN, text=True)
        self._sessions = sessions
        self._attempts = attempts
        self._read: tuple[AdminTokenSettings, ...] = ()
        self._known = [self._main]

    def enter(self, http: web.BaseRequest) -> bool:
        """Find out who sent a request; gives whether that is known by the page's cookie only.

        Raises:
            Refusal: 401, nobody who is known; 429, too many wrong tokens came from there.
        """
        if token := _bearer(http):
            http[_VISITOR] = self.prove(http, token, "bearer").visitor
            return False
        visitor = self.by_cookie(http)
        if visitor is None:
            raise unknown_token()
        http[_VISITOR] = visitor
        return True

    def check(self, http: web.BaseRequest, route: AdminRoute, *, by_cookie: bool) -> None:
        """Let a request that came in do what its route does.

        Raises:
            Refusal: 403; it may come from another page, the role is not enough, or there is nothing without texts.
        """
        if by_cookie and (route.guards_reads or http.method not in READS):
            self.check_page(http)
        elif by_cookie:
            check_reader(http)
        visitor = visitor_of(http)
        if route.role is not None and not visitor.role.may(route.role):
            message = f"This needs the role {route.role}. The token {visitor.name} has the role {visitor.role}."
            raise Refusal(403, "role_not_allowed", message)
        if route.shows_text and not visitor.text:
            raise text_not_allowed(visitor)

    @asynccontextmanager
    async def while_let_in(self, http: web.BaseRequest) -> AsyncIterator[None]:
        """End what goes on within soon after its visitor is let in no more: a stream may outlive token and session.

        Raises:
            Refusal: 401, that happened.
        """
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def look() -> None:
            nonlocal timer
            if self._is_still_in(http):
                timer = loop.call_later(LOOK_SECONDS, look)
            else:
                scope.reschedule(loop.time())

        timer = loop.call_later(LOOK_SECONDS, look)
        try:
            async with asyncio.timeout(None) as scope:
                yield
        except TimeoutError:
            if scope.expired():
                raise unknown_token() from None
            raise
        finally:
            timer.cancel()

    def _is_still_in(self, http: web.BaseRequest) -> bool:
        """Whether a request would be let in now, as the same visitor."""
        token = _bearer(http)
        return visitor_of(http) == (self._holder(digest_of(token)) if token else self.by_cookie(http))

    def check_page(self, http: web.BaseRequest) -> None:
        """Let in what the page itself sent.

        Raises:
            Refusal: 403, it may come from another page.
        """
        check_page_header(http)
        check_origin(http, self._current().addresses)

    def by_cookie(self, http: web.BaseRequest) -> Visitor | None:
        """Whose session a request's cookie names; None: nobody's."""
        secret = http.cookies.get(self.cookie_name(http))
        token = None if secret is None else self._sessions.find(secret)
        return None if token is None else self._holder(token)

    def prove(self, http: web.BaseRequest, token: str, way: str) -> Proven:
        """Whose token this is; `way` is how it came, for the log.

        Raises:
            Refusal: 401, nobody's; 429, too many wrong ones came from there.
        """
        address, digest = self._address(http), digest_of(token)
        visitor = self._holder(digest)
        if visitor is None and self._attempts.was_wrong(address, digest):
            raise unknown_token()
        self._attempts.check(address)
        if visitor is None:
            self._failed(address, digest, way)
            raise unknown_token()
        self._attempts.succeeded(address)
        return Proven(visitor, digest)

    def redeem(self, http: web.BaseRequest, code: str) -> Proven | None:
        """Whose one-time code this is; None: it is used or too old, which does not matter to who is in already.

        Raises:
            Refusal: 429, too many wrong tokens came from there.
        """
        address = self._address(http)
        self._attempts.check(address)
        token = self._sessions.redeem(code)
        visitor = None if token is None else self._holder(token)
        if token is not None and visitor is not None:
            return Proven(visitor, token)
        if self.by_cookie(http) is None and not self._attempts.was_wrong(address, digest_of(code)):
            self._failed(address, digest_of(code), "once")
        return None

    def begin_session(self, http: web.BaseRequest, response: web.StreamResponse, proven: Proven, way: str) -> None:
        """Have the browser that sent a request keep a new session. One that it brought along ends."""
        self._drop_session(http)
        client, secret = self._current().addresses.of(http), self._sessions.begin(proven.token)
        log.info("admin.login", who=proven.visitor.name, way=way, address=client.address)
        response.set_cookie(
            self.cookie_name(http),
            secret,
            max_age=LIFE,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=client.forwarded.proto == "https",
        )

    def end_session(self, http: web.BaseRequest, response: web.StreamResponse) -> None:
        """End the session of the browser that sent a request, and have it forget it."""
        self._drop_session(http)
        response.del_cookie(self.cookie_name(http), path="/", httponly=True, samesite="Strict")

    def cookie_name(self, http: web.BaseRequest) -> str:
        """The name of the cookie. It has the port in it: a browser keeps one set of cookies for all ports of a host."""
        _, colon, port = self._current().addresses.of(http).forwarded.host.rpartition(":")
        return f"quell_session_{port}" if colon and port.isascii() and port.isdigit() else "quell_session"

    def _drop_session(self, http: web.BaseRequest) -> None:
        secret = http.cookies.get(self.cookie_name(http))
        if secret is not None:
            self._sessions.end(secret)

    def _holder(self, token: bytes) -> Visitor | None:
        """Who holds the token with this hash. Every one is looked at, so that the time tells nothing."""
        listed = self._current().settings.admin.tokens
        if listed is not self._read:
            visitors = ((each, Visitor(each.name, each.role, each.text)) for each in listed)
            self._known = [self._main, *((digest, visitor) for each, visitor in visitors for digest in each.digests)]
            self._read = listed
        found = [visitor for digest, visitor in self._known if compare_digest(digest, token)]
        return found[0] if found else None

    def _address(self, http: web.BaseRequest) -> str:
        return self._current().addresses.of(http).address

    def _failed(self, address: str, token: bytes, way: str) -> None:
        self._attempts.failed(address, token)
        log.warning("admin.login_failed", way=way, address=address)


def _bearer(http: web.BaseRequest) -> str:
    """The token that a request carries itself; empty without one."""
    scheme, _, given = (single_header(http, hdrs.AUTHORIZATION) or "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def unknown_token() -> Refusal:
    """401: no token, or none that is known."""
    message = "The admin API needs the admin token: send it as 'Authorization: Bearer <token>'."
    return Refusal(401, "invalid_admin_token", message, headers={"WWW-Authenticate": "Bearer"})


def text_not_allowed(visitor: Visitor) -> Refusal:
    """403: there is nothing but what a model wrote."""
    message = f"The token {visitor.name} may not see what models wrote (admin.tokens: text)."
    return Refusal(403, "text_not_allowed", message)
