"""What to change in a front proxy so that streams and stops get through, for each kind of it that can be told apart."""

from collections.abc import Mapping
from typing import Final

OTHER: Final = ""
"""A front of which we don't know what it is."""

DIRECT: Final = "quell"
"""Quell itself answers, or something that leaves no trace."""

_KINDS: Final = ("nginx", "openresty", "caddy", "envoy", "haproxy", "apache", "cloudflare", "traefik", "varnish")

BUFFERING: Final = {
    "nginx": "nginx: proxy_buffering off; proxy_cache off; and no proxy_ignore_headers X-Accel-Buffering",
    "caddy": "Caddy: flush_interval -1 in reverse_proxy, and no encode for text/event-stream",
    "envoy": "Envoy: no buffer filter on this route",
    "haproxy": "HAProxy: option http-no-delay",
    "apache": "Apache: ProxyPass … flushpackets=on, and SetEnv no-gzip 1",
    OTHER: "let the front pass text/event-stream on at once: no response buffering, no cache, no rewriting of bodies",
}
COMPRESSION: Final = {
    "nginx": "nginx: gzip off for this location, or text/event-stream out of gzip_types",
    "caddy": "Caddy: leave text/event-stream out of encode",
    "haproxy": "HAProxy: leave text/event-stream out of compression type",
    "cloudflare": "Cloudflare: Cache-Control: no-transform must stay in the answer",
    OTHER: "take text/event-stream out of what the front compresses",
}
ABORT: Final = {
    "nginx": "nginx: proxy_ignore_client_abort off (and proxy_buffering off)",
    "haproxy": "HAProxy: option abortonclose",
    "caddy": "Caddy: reverse_proxy passes it on by itself; look for request_buffers, or for another proxy behind it",
    "envoy": "Envoy passes it on by itself: look for another proxy before or behind it",
    OTHER: "the front must close its connection to Quell as soon as its own client has left",
}
TIMEOUT: Final = {
    "nginx": "nginx: proxy_read_timeout above Quell's timeouts.total, such as 31m",
    "haproxy": "HAProxy: timeout server and timeout client above Quell's timeouts.total, such as 31m",
    "envoy": "Envoy: timeout: 0s on the route, and a longer stream_idle_timeout",
    "caddy": "Caddy: no read_timeout or write_timeout below Quell's timeouts.total",
    OTHER: "raise the front's read and idle timeouts above Quell's timeouts.total",
}
IDLE: Final = "or let Quell send signs of life: keepalive: 15s on the route"
HEADERS: Final = {
    "nginx": "nginx: no proxy_hide_header X-Task-Id, no proxy_set_header X-Task-Id",
    OTHER: "let the headers X-Task-Id and X-Message-Id through, both ways",
}
PATHS: Final = {
    "nginx": "nginx: one location for everything below {route}, all methods: location {route}/ {{ proxy_pass …; }}",
    OTHER: "pass everything below {route} on to Quell, GET and POST, …/generations/ID/cancel too",
}


def kind_of(headers: Mapping[str, str]) -> str:
    """What kind of front an answer came through, as far as its headers tell."""
    told = f"{headers.get('server', '')} {headers.get('via', '')}".lower()
    for kind in _KINDS:
        if kind in told:
            return "nginx" if kind == "openresty" else kind
    return DIRECT if headers.get("server", "").lower().startswith("quell") else OTHER


def advice(about: Mapping[str, str], kind: str, **named: str) -> list[str]:
    """What to change: for this kind of front, or for the usual ones where that is not known."""
    lines = [about[kind]] if kind in about else [words for name, words in about.items() if name in ("nginx", "haproxy")]
    if kind not in about or kind == OTHER:
        lines.append(about[OTHER])
    return list(dict.fromkeys(line.format(**named) if named else line for line in lines))
