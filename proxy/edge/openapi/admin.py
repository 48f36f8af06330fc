"""What the description of the HTTP API says of each call of the admin listener: parameters, bodies, answers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.lifecycle import Outcome
from proxy.core.live_row import SORTS
from proxy.edge.admin import ledger as admin_ledger
from proxy.edge.admin.generations import STATES, TEXTS
from proxy.edge.admin.live_view import LAST_OFFSET, MOST_ROWS, ORDERS, ROWS
from proxy.edge.admin.playground import CREDENTIALS
from proxy.edge.admin.query import FILTERS
from proxy.edge.asked import MAX_PAGE, MAX_REASON, PAGE
from proxy.edge.openapi.schema_words import (
    COUNT,
    NUMBER,
    TEXT,
    YES_NO,
    Schema,
    about,
    items,
    obj,
    one_of_words,
    or_null,
    ref,
    table,
)
from proxy.stores.ledger.usage import TAG_GROUP, USAGE_GROUPS

JSON: Final = "application/json"
STREAM: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
METHODS: Final = ("get", "post", "put", "patch", "delete")
"""In this order. HEAD goes with each GET, as everywhere."""


@dataclass(frozen=True, slots=True)
class Described:
    """One call: its query parameters, its headers, its body, what it answers, and with which statuses it may refuse."""

    answer: str | None = None
    """The name of the answer's schema; None: the body is no JSON."""
    content: str = JSON
    query: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    refuses: tuple[int, ...] = (400,)
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else belongs to the answer's content."""
    needs: tuple[str, ...] = ()
    """The query parameters that must be there."""
    also: Mapping[int, str] = field(default_factory=dict)
    """Other statuses with which the same is answered, and what each says."""


def _whole(least: int, most: int, usual: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most, "default": usual}


_DURATION: Final[Schema] = {"type": "string", "examples": ["30s", "10m", "2h", "7d"]}
_MOMENT: Final[Schema] = {"type": "string", "examples": ["24h", "7d", "2026-11-01", "2026-11-01T12:30Z"]}
_TAG: Final[Schema] = {"type": "string", "examples": ["team:search"]}
_FILTERS: Final[dict[str, Schema]] = {
    **dict.fromkeys(FILTERS, TEXT),
    "tag": _TAG,
    "older_than": about(_DURATION, "Since its start."),
}
_SPAN: Final[dict[str, Schema]] = {
    "since": about(_MOMENT, "A moment, or how long ago."),
    "until": about(_MOMENT, "The same; what is later is left out."),
}
_ORDER: Final[dict[str, Schema]] = {"sort": one_of_words(SORTS), "order": one_of_words(ORDERS)}
_CURSOR: Final[dict[str, Schema]] = {"cursor": about(TEXT, "The `next_cursor` of the page before.")}
_REASON: Final[Schema] = {"type": ["string", "null"], "maxLength": MAX_REASON}
_AFTER: Final[dict[str, Schema]] = {"after": about(COUNT, "Behind which event; Last-Event-ID goes before it.")}
_GROUP: Final = about(TEXT, f"{', '.join(USAGE_GROUPS)}, {TAG_GROUP}NAME; several with commas.")
_TRUTH: Final = obj(
    {
        "upstream": TEXT,
        "prompt_tokens": or_null(COUNT),
        "completion_tokens": or_null(COUNT),
        "cached_tokens": or_null(COUNT),
        "reasoning_tokens": or_null(COUNT),
        "cost": or_null({"type": "string"}),
        "currency": or_null(TEXT),
    },
    upstream_id=TEXT,
    source=TEXT,
)
_EVENTS: Final = {
    "x-events": {"page": ref("FeedPage"), "change": ref("FeedChange"), "summary": ref("Summary")},
}

_ONE: Final = "/api/generations/{}"
_RELAYED: Final = Described(
    content="*/*",
    headers={
        here: about(TEXT, f"The caller's own credential; sent on as {name}.") for here, name in CREDENTIALS.items()
    },
    refuses=(400, 404, 413, 503),
)
"""What is passed to the proxy's own listener: its answers are those of the calls there."""

ADMIN: Final[dict[tuple[str, str], Described]] = {
    ("get", "/api/generations"): Described(
        "GenerationList",
        query={
            "state": one_of_words(STATES),
            **_FILTERS,
            **{name: about(schema, "For state=live.") for name, schema in _ORDER.items()},
            "limit": _whole(1, MAX_PAGE, PAGE),
            **_CURSOR,
        },
        refuses=(400, 503),
    ),
    ("post", "/api/generations/cancel"): Described(
        "StoppedMany",
        body=obj(
            {
                **dict.fromkeys(FILTERS, TEXT),
                "tag": {"oneOf": [_TAG, table(TEXT)]},
                "state": one_of_words(("live",)),
                "all": YES_NO,
                "dry_run": about(YES_NO, "Only say which."),
                "reason": _REASON,
            }
        ),
        refuses=(400, 413),
    ),
    ("get", _ONE): Described("OneGeneration", query={"text": one_of_words(TEXTS)}, refuses=(400, 404, 503)),
    ("get", f"{_ONE}/events"): Described(content=STREAM, query=_AFTER, refuses=(400, 404, 410, 503)),
    ("post", f"{_ONE}/cancel"): Described("Receipt", body=obj({"reason": _REASON}), refuses=(400, 404, 413, 503)),
    ("get", "/api/feed"): Described(
        content=STREAM,
        query={**_FILTERS, **_ORDER, "limit": _whole(1, MOST_ROWS, ROWS), "offset": _whole(0, LAST_OFFSET, 0)},
        more=_EVENTS,
        refuses=(400,),
    ),
    ("get", "/api/summary"): Described("Summary", refuses=(400, 503)),
    ("get", "/api/usage"): Described(
        "Usage",
        query={
            **_SPAN,
            "by": _GROUP,
            **{name: _FILTERS[name] for name in ("key", "user", "model", "route", "tag")},
            "outcome": one_of_words(Outcome),
        },
        refuses=(400, 503),
    ),
    ("get", "/api/upstreams"): Described("Upstreams"),
    ("get", "/api/health"): Described("Health"),
    ("get", "/api/budgets"): Described("Budgets"),
    ("get", "/api/config"): Described("Config"),
    ("get", "/api/openapi.json"): Described("OpenAPI"),
    ("post", "/api/reload"): Described("Reloaded", refuses=(400, 422)),
    ("get", "/api/ledger/export"): Described(
        content=LINES,
        query={"after": COUNT, "limit": _whole(1, admin_ledger.MAX_PAGE, admin_ledger.PAGE), **_SPAN, "text": YES_NO},
        more={"x-lines": ref("Exported")},
        refuses=(400, 409, 503),
    ),
    ("post", "/api/ledger/truths"): Described(
        "Attached",
        body={**obj({"dry_run": YES_NO}, truths=items(_TRUTH))},
        refuses=(400, 413, 503),
    ),
    ("get", "/api/ledger/untold"): Described(
        "Untold",
        query={
            "upstream": TEXT,
            "source": TEXT,
            "after": COUNT,
            "limit": _whole(1, admin_ledger.MAX_PAGE, admin_ledger.PAGE),
            **_SPAN,
        },
        needs=("upstream", "source"),
        refuses=(400, 503),
    ),
    ("get", "/api/ledger/drift"): Described("Drift", query=_SPAN, refuses=(400, 503)),
    ("post", "/api/ledger/purge"): Described(
        "Purged",
        body=obj({"before": about(or_null(NUMBER), "Seconds since the epoch."), "dry_run": YES_NO}),
        refuses=(400, 413, 503),
    ),
    ("get", "/api/me"): Described("Me"),
    ("get", "/api/playground"): Described("Playground"),
    **{(method, "/api/playground/{}"): _RELAYED for method in METHODS},
    ("get", "/api/playground-seen/{}"): Described("PlaygroundSeen", refuses=(400, 404, 503)),
    ("get", "/livez"): Described("Live", refuses=()),
    ("get", "/healthz"): Described("Live", refuses=()),
    ("get", "/readyz"): Described(
        "Ready", query={"verbose": TEXT}, refuses=(), also={503: "Not ready: it takes no new work now."}
    ),
    ("get", "/metrics"): Described(content="text/plain", refuses=()),
}
"""By method and path, in which `{}` stands for any name in braces."""


def shape(path: str) -> str:
    """A path with every name in braces left out: two that differ in nothing else are one path for a client."""
    return re.sub(r"\{[^}]*\}", "{}", path)
