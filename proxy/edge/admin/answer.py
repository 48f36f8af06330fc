"""What every answer of the admin API has in its head, and how it is written."""

import json
from typing import Any, Final

from aiohttp import web

SAFE: Final = {
    "Server": "quell",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Nothing that is answered is a page, a script or a picture to a browser; the operator page has a policy of its own."""

HEADERS: Final = {**SAFE, "Cache-Control": "no-store"}


def json_answer(value: dict[str, Any], status: int = 200) -> web.Response:
    """A JSON object as an answer."""
    body = json.dumps(value).encode()
    return web.Response(status=status, body=body, content_type="application/json")
