"""What every answer of the admin API has in its head, and how it is written."""

import json
from typing import Any, Final

from aiohttp import web

HEADERS: Final = {"Server": "quell", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def json_answer(value: dict[str, Any], status: int = 200) -> web.Response:
    """A JSON object as an answer."""
    body = json.dumps(value).encode()
    return web.Response(status=status, body=body, headers={**HEADERS, "Content-Type": "application/json"})
