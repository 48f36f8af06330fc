"""The page of the HTTP calls: what each dialect serves below a route's path, and what the admin listener serves.

Each row about a dialect is asked of the dialect itself, so that none can stay behind what is served.
"""

import re
from typing import Final
from unittest.mock import MagicMock

from proxy.core.errors import Refusal
from proxy.dialects import DIALECTS
from proxy.edge.admin_table import api_routes, openapi_route, shown_routes, visitor_routes
from proxy.edge.asked import READS
from proxy.edge.control import Control
from proxy.engine.dialect import PassThrough
from reference.http_calls import CALLS, NATIVE, OPEN, TITLES

_HEAD: Final = """\
# HTTP calls

Below a route's `path` stands what its dialects serve, and the native calls. The admin listener has an address of its
own. What an error says is in [errors](errors.md).

## Headers

| header | of | meaning |
|---|---|---|
| `X-Task-Id` | request | the id that the caller chooses: 1 to 128 of `A-Za-z0-9._:-` |
| `X-User-Id` | request | the end user; goes before the one that the body names |
| `X-Max-Seconds`, `X-Max-Tokens`, `X-Max-Cost` | request | what it may use, within the [budgets](../howto/budgets.md) |
| `Last-Event-ID` | request, `…/events` | go on behind this event; `?after=` means the same |
| `X-Task-Id`, `X-Message-Id` | answer | the work's id, by which it is stopped; the answer's id |
| `Retry-After` | answer, 429 and 503 | seconds until it is worth another try |
| `x-should-retry: false` | answer, 499 and used-up budgets | SDKs don't try again |
"""
_ADMIN_HEAD: Final = """\
Which token has which role: [who may operate it](../access.md). `GET /api/openapi.json` has every parameter, answer and
error, of these calls and of those that the configured routes serve; `/ui` shows it, as its page API.
"""
_SAMPLES: Final = {
    "thread_id": "thread_1",
    "assistant_id": "asst_1",
    "model": "gemini-x",
}


def http_page() -> str:
    """The page.

    Raises:
        ValueError: a row is about a call that is not served, or a dialect has none.
    """
    parts = [_HEAD, "## Native, on every route\n", _table([(method, path, what) for method, path, what in NATIVE])]
    for method, path, _ in NATIVE:
        _check(Control.serves(_sample(path)), "native", method, path)
    for name, calls in CALLS.items():
        for method, path, _ in calls:
            _check(_is_served(name, method, path), name, method, path)
        parts += [f"## {TITLES[name]}\n", _table(calls)]
    if set(CALLS) != set(DIALECTS):
        raise ValueError(f"dialects without calls: {sorted(set(DIALECTS) ^ set(CALLS))}")
    parts += ["## Admin listener, for everybody who reaches it\n", _table(OPEN)]
    parts += ["## Admin listener, with a token\n", _ADMIN_HEAD, _admin()]
    return "\n".join(parts)


def _admin() -> str:
    """The admin API's own table. What a call takes and gives is in `/api/openapi.json`, made from the same table."""
    nobody = MagicMock()
    routes = [
        *visitor_routes(nobody, nobody),
        *api_routes(nobody, nobody),
        *shown_routes(nobody, nobody, nobody),
        openapi_route(nobody),
    ]
    rows = [
        f"| `{_method(each.methods)} {each.path}` | {each.role} | {each.summary} |"
        for each in sorted(routes, key=lambda each: each.path)
    ]
    return "\n".join(["| call | role | what it does |", "|---|---|---|", *rows, ""])


def _method(methods: tuple[str, ...]) -> str:
    return "ANY" if len(methods) > len(READS) else methods[0]


def _table(calls: list[tuple[str, str, str]]) -> str:
    rows = [f"| `{method} {path}` | {what} |" for method, path, what in calls]
    return "\n".join(["| call | what it does |", "|---|---|", *rows, ""])


def _sample(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: _SAMPLES.get(found[1], "x1"), path)


def _is_served(name: str, method: str, path: str) -> bool:
    """Whether a dialect has this call as its own, and not by another method only."""
    try:
        found = DIALECTS[name].endpoint(method, _sample(path))
    except Refusal:
        return False
    return found is not None and not isinstance(found, PassThrough)


def _check(served: bool, name: str, method: str, path: str) -> None:
    if not served:
        raise ValueError(f"{name} does not serve {method} {path}")
