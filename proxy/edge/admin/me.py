"""`GET /api/me`: what a visitor of the admin listener may do, and what it is a visitor of."""

import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from proxy import __version__
from proxy.core.receipt import iso
from proxy.core.roles import Role
from proxy.edge.admin.access import Visitor, visitor_of
from proxy.edge.admin.query import parameters
from proxy.edge.runtime import Runtime


class AdminMe:
    """Tells visitors about themselves."""

    def __init__(self, current: Callable[[], Runtime], replica: str, *, demo: bool) -> None:
        """`current` gives the runtime in force; `demo`: the demo upstream serves in this process."""
        self._current = current
        self._replica = replica
        self._demo = demo
        self._started_at = iso(time.time())

    async def get(self, http: web.BaseRequest, _runtime: Runtime) -> dict[str, Any]:
        """Who sent the request."""
        parameters(http, ())
        return self.about(visitor_of(http))

    def about(self, visitor: Visitor) -> dict[str, Any]:
        """What a visitor is told."""
        operates, reloads = visitor.role.may(Role.OPERATOR), visitor.role.may(Role.ADMIN)
        return {
            "name": visitor.name,
            "role": visitor.role,
            "text": visitor.text,
            "can": {"stop": operates, "reload": reloads, "text": visitor.text, "playground": operates},
            "replica": self._replica,
            "version": __version__,
            "started_at": self._started_at,
            "demo": self._demo,
            "replicas": self._current().settings.bus.url is not None,
        }
