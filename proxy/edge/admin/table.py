"""The table of the admin listener: every path with its methods, the role that it needs, and what serves it."""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from proxy.core.roles import Role
from proxy.core.settings.settings import Address
from proxy.edge.admin.answer import json_answer
from proxy.edge.admin.feed import Feed
from proxy.edge.admin.generations import AdminGenerations
from proxy.edge.admin.health import AdminHealth
from proxy.edge.admin.ledger import AdminLedger
from proxy.edge.admin.me import AdminMe
from proxy.edge.admin.playground import METHODS, Playground, SeenByDemo
from proxy.edge.admin.reports import AdminReports, metrics_answer, readiness
from proxy.edge.admin.routes import AdminRoute, AdminRoutes, Answer, without_name
from proxy.edge.admin.summary import Summary
from proxy.edge.admin.usage import AdminUsage
from proxy.edge.asked import READS
from proxy.edge.openapi.document import AdminOpenAPI
from proxy.edge.runtime import Runtime
from proxy.engine.engine import Engine

GET = ("GET",)
POST = ("POST",)


class AdminTable:
    """The table, and the parts behind it that somebody else needs too."""

    def __init__(
        self,
        engine: Engine,
        current: Callable[[], Runtime],
        *,
        reload: Callable[[], Awaitable[list[str]]],
        ready: Callable[[], dict[str, bool]],
        own: Callable[[], Sequence[Address]] = tuple,
        demo: SeenByDemo | None = None,
    ) -> None:
        """Put it together; see `make_admin_runner` for what these are."""
        summary = Summary(engine)
        self.me = AdminMe(current, engine.replica, demo=demo is not None)
        self.feed = Feed(engine, summary)
        self.routes = AdminRoutes(
            [
                *open_routes(engine, ready),
                *visitor_routes(self.me, Playground(engine, own, demo)),
                *api_routes(engine, reload),
                *shown_routes(self.feed, summary, AdminHealth(engine, current().settings, ready)),
                openapi_route(AdminOpenAPI(lambda: self.routes)),
            ]
        )


def visitor_routes(me: AdminMe, playground: Playground) -> list[AdminRoute]:
    """The paths below `/api` that are about the visitor itself, and the playground."""
    viewer, operator = Role.VIEWER, Role.OPERATOR
    relay = AdminRoute(
        "/api/playground/{path}",
        METHODS,
        operator,
        playground.relay,
        "Call the proxy as a plain client, with a credential of its own in one of these headers.",
        guards_reads=True,
        lasts=True,
    )
    seen = AdminRoute(
        "/api/playground-seen/{id}", READS, operator, playground.seen, "What the upstream saw of one generation."
    )
    return [
        AdminRoute("/api/me", READS, viewer, without_name(me.get), "Who the token stands for, and what that may do."),
        AdminRoute("/api/playground", READS, operator, without_name(playground.about), "What can be called."),
        relay,
        seen,
    ]


def api_routes(engine: Engine, reload: Callable[[], Awaitable[list[str]]]) -> list[AdminRoute]:
    """The paths below `/api`. `reload` takes new settings, gives what waits for a restart, and raises `ReloadError`."""
    viewer, operator, admin = Role.VIEWER, Role.OPERATOR, Role.ADMIN
    generations, reports, ledger = AdminGenerations(engine), AdminReports(engine, reload), AdminLedger(engine)
    usage = AdminUsage(engine)
    stop_many, untold = without_name(generations.cancel_many), without_name(ledger.untold)
    return [
        AdminRoute("/api/generations", READS, viewer, without_name(generations.list), "List generations."),
        AdminRoute("/api/generations/cancel", POST, operator, stop_many, "Stop all generations that filters select."),
        AdminRoute("/api/generations/{id}", READS, viewer, generations.get, "Show one generation."),
        AdminRoute(
            "/api/generations/{id}/events",
            GET,
            viewer,
            generations.events,
            "Follow the stream of one generation, from its start or behind an event.",
            shows_text=True,
            lasts=True,
        ),
        AdminRoute("/api/generations/{id}/cancel", POST, operator, generations.cancel, "Stop one generation."),
        AdminRoute("/api/usage", READS, viewer, without_name(usage.usage), "Sums of tokens, costs and savings."),
        AdminRoute("/api/upstreams", READS, viewer, without_name(reports.upstreams), "List the upstreams."),
        AdminRoute("/api/budgets", READS, viewer, without_name(reports.budgets), "How far the budgets are used."),
        AdminRoute("/api/config", READS, viewer, without_name(reports.config), "The settings, secrets masked."),
        AdminRoute("/api/reload", POST, admin, without_name(reports.reload), "Read the config file again."),
        AdminRoute("/api/ledger/export", GET, viewer, without_name(ledger.export), "Export ended records."),
        AdminRoute("/api/ledger/truths", POST, admin, without_name(ledger.truths), "Attach later truths to records."),
        AdminRoute("/api/ledger/untold", READS, viewer, untold, "Records of which a source has said nothing."),
        AdminRoute("/api/ledger/drift", READS, viewer, without_name(ledger.drift), "How far our numbers are off."),
        AdminRoute("/api/ledger/purge", POST, admin, without_name(reports.purge), "Delete what is kept too long."),
    ]


def shown_routes(feed: Feed, summary: Summary, health: AdminHealth) -> list[AdminRoute]:
    """The paths below `/api` that the page looks at all the time."""
    viewer = Role.VIEWER
    return [
        AdminRoute("/api/feed", GET, viewer, without_name(feed.serve), "Follow what lives, as server-sent events."),
        AdminRoute("/api/summary", READS, viewer, without_name(summary.summary), "What lives now, and today's sums."),
        AdminRoute("/api/health", READS, viewer, without_name(health.health), "Whether this replica is well."),
    ]


def openapi_route(openapi: AdminOpenAPI) -> AdminRoute:
    """The description of them all."""
    return AdminRoute("/api/openapi.json", READS, Role.VIEWER, without_name(openapi.openapi), "This API, described.")


def open_routes(engine: Engine, ready: Callable[[], dict[str, bool]]) -> list[AdminRoute]:
    """What needs no token: it tells nothing of anybody, and calls no upstream. `ready`: the checks, by name."""

    async def live(_http: web.BaseRequest, _runtime: Runtime) -> Answer:
        return {"status": "live"}

    async def is_ready(http: web.BaseRequest, _runtime: Runtime) -> Answer:
        status, answer = readiness(http, ready())
        return json_answer(answer, status)

    async def metrics(http: web.BaseRequest, _runtime: Runtime) -> Answer:
        return await metrics_answer(http, engine)

    return [
        AdminRoute("/livez", READS, None, without_name(live), "Whether the process runs."),
        AdminRoute("/healthz", READS, None, without_name(live), "The same as /livez."),
        AdminRoute("/readyz", READS, None, without_name(is_ready), "Whether new work is taken."),
        AdminRoute("/metrics", READS, None, without_name(metrics), "The metrics, for Prometheus."),
    ]
