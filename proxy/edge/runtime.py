"""The runtime: everything that a config file decides, as one object that a reload swaps as a whole."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from proxy.core.errors import Refusal
from proxy.core.generation import Identity
from proxy.core.headers import HeaderPair, credential_headers, identity_of
from proxy.core.ids import OF_KEY
from proxy.core.routing import RouteTable
from proxy.core.settings.settings import KeySettings, RouteSettings, Settings
from proxy.edge.client_address import ClientAddresses
from proxy.engine.dialect import Dialect, Endpoint, who_serves
from proxy.engine.relaying.plan import Rules
from proxy.engine.settling.pricing import Pricing
from proxy.engine.upstreams.upstream import Upstream

KEPT_PATHS: Final = 256
"""So many paths are not looked up again: few differ, but for those with ids in them."""


@dataclass(frozen=True, slots=True)
class Served:
    """A route with all that serves it."""

    route: RouteSettings
    dialects: tuple[Dialect, ...]
    upstream: Upstream
    rules: Rules
    host: str
    credentials: tuple[HeaderPair, ...] | None
    """What replaces the caller's credential; None: the caller's own goes up."""

    def endpoint(self, method: str, rest: str) -> tuple[Dialect, Endpoint]:
        """Which dialect serves a request, and as what; see `who_serves`."""
        return who_serves(self.dialects, method, rest)

    def check_allowed(self, rest: str) -> None:
        """Let a path be passed on where the route's `only` list, if it has one, has it or one that it is below of.

        Raises:
            Refusal: 403, it has not.
        """
        only = self.route.only
        if only and not any(path in ("/", rest) or rest.startswith(f"{path}/") for path in only):
            message = "This path is not passed on: the route's `only` list does not have it."
            raise Refusal(403, "path_not_allowed", message, type="permission_error")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    identity: Identity
    most: int | None


class Runtime:
    """One loaded config file at work."""

    def __init__(
        self,
        settings: Settings,
        upstreams: Mapping[str, Upstream],
        dialects: Mapping[str, Dialect],
        pricing: Pricing,
    ) -> None:
        """Put the parts together; `upstreams` has one for each in the settings."""
        self.settings = settings
        self.loaded_at = time.time()
        """When these settings were taken, in seconds since the epoch."""
        self.needs_restart: tuple[str, ...] = ()
        """What of them is not in force before a restart."""
        self.pricing = pricing
        self.upstreams = dict(upstreams)
        self.addresses = ClientAddresses(settings.trusted_proxies)
        self._keys: dict[str, KeySettings] = {digest: key for key in settings.keys for digest in key.hashes}
        self._table = RouteTable(settings.routes)
        self._served = {route.path: self._serve(route, dialects) for route in settings.routes}
        self.match = lru_cache(maxsize=KEPT_PATHS)(self._match)
        """See `_match`; what was found is kept, because few paths differ."""

    def _serve(self, route: RouteSettings, dialects: Mapping[str, Dialect]) -> Served:
        upstream = self.upstreams[route.upstream]
        settings, limits = self.settings, self.settings.limits
        rules = Rules(
            route=route,
            finish_reason=settings.cancellation.finish_reason,
            strict=settings.ledger.durability == "strict",
            kept=limits.partial_text,
            answer=limits.tape,
            pricing=self.pricing,
        )
        key = upstream.settings.api_key
        if key is not None:
            credentials: tuple[HeaderPair, ...] | None = credential_headers(
                key.get_secret_value(), upstream.settings.format
            )
        else:  # our own keys mean nothing to the provider, so they stay here
            credentials = () if settings.keys else None
        served = tuple(dialects[name] for name in route.serving(upstream.settings.format))
        host = upstream.settings.base_url.partition("://")[2].partition("/")[0]
        return Served(route, served, upstream, rules, host, credentials)

    def served(self, route_path: str) -> Served | None:
        """The route with this path."""
        return self._served.get(route_path)

    def _match(self, path: str) -> tuple[Served, str]:
        """The route that takes a path, and the path behind the route's own, as it was sent.

        An escaped letter is that letter for the upstream too, so it must not lead to another route.

        Raises:
            Refusal: 404, there is none.
        """
        found = self._table.match(unquote(path))
        if found is None:
            raise Refusal.no_route()
        own = found.route.path.rstrip("/").count("/")
        segments = path.split("/", own + 1)  # no escaped slash was let in, so escaped and plain segments are the same
        sent = "/" + segments[own + 1] if len(segments) > own + 1 else ""
        return self._served[found.route.path], sent

    def caller(self, headers: list[HeaderPair]) -> Caller:
        """Who calls.

        Raises:
            Refusal: 401 where keys are configured and this is none of them; 400 for two credentials that differ.
        """
        credential = identity_of(headers)
        if not self.settings.keys:
            return Caller(Identity(credential.identity, credential.short), None)
        key = self._keys.get(credential.digest or "")
        if key is None:
            raise Refusal.unauthorized()
        return Caller(Identity(OF_KEY + key.id, key.id), key.limits.streams)
