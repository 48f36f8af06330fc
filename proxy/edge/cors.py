"""CORS: which web pages may call a route from a browser (the Fetch standard)."""

from aiohttp import web

from proxy.core.headers import HeaderPair
from proxy.core.settings.settings import CorsSettings

EXPOSED = "X-Task-Id, X-Message-Id, Retry-After, X-Request-Id"
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
HEADERS = "Authorization, Content-Type, X-Task-Id, X-User-Id, X-Max-Seconds, X-Max-Tokens, X-Max-Cost"
"""What a browser may send that does not say what it wants to."""
MAX_AGE = "600"


def cors_headers(request: web.BaseRequest, cors: CorsSettings) -> list[HeaderPair]:
    """The headers that let the page of this request read the answer; none of these for other pages.

    Where the answer depends on the page, caches are told so in every answer, also in one that no page asked for.
    """
    if not cors.origins:
        return []
    exposed = ("Access-Control-Expose-Headers", EXPOSED)
    if "*" in cors.origins:
        return [("Access-Control-Allow-Origin", "*"), exposed]
    vary = ("Vary", "Origin")
    origin = request.headers.get("Origin")
    if origin is None or origin not in cors.origins:
        return [vary]
    return [vary, ("Access-Control-Allow-Origin", origin), exposed]


def is_preflight(request: web.BaseRequest, cors: CorsSettings) -> bool:
    """Whether this is a browser's question before the real request, to be answered here."""
    asks = "Access-Control-Request-Method" in request.headers and "Origin" in request.headers
    return request.method == "OPTIONS" and bool(cors.origins) and asks


def preflight(request: web.BaseRequest, cors: CorsSettings) -> web.Response:
    """Answer the question: any method and header for the pages that are let in."""
    headers = cors_headers(request, cors)
    if any(name == "Access-Control-Allow-Origin" for name, _ in headers):
        asked = request.headers.get("Access-Control-Request-Headers", "")
        headers += [
            ("Access-Control-Allow-Methods", METHODS),
            ("Access-Control-Allow-Headers", asked or HEADERS),
            ("Access-Control-Max-Age", MAX_AGE),
        ]
    return web.Response(status=204, headers={"Server": "quell", **dict(headers)})
