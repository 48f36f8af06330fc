"""Which web pages may call a route, and which headers of the answers they may read."""

from pathlib import Path

import pytest

from support.chat import chat_events, chat_object
from support.edge import send
from support.program import config_text
from support.proxy import running_proxy
from support.scripts import JSON, answer, by_path, json_answer, sse_stream
from support.stops import CHAT, PLAIN, STREAM
from support.upstream import scripted_upstream

PAGE = "https://app.example.com"
FOREIGN = "https://evil.example"
HASH = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
EXPOSED = {"X-Task-Id", "X-Message-Id", "Retry-After"}

CALLS = {
    "plain": ("POST", CHAT, PLAIN, 200),
    "streaming": ("POST", "/v1/completions", STREAM, 200),
    "passed through": ("GET", "/v1/models", b"", 200),
    "upstream's error": ("POST", "/v1/embeddings", {"model": "m"}, 404),
    "our error": ("POST", CHAT, b"[]", 400),
    "control": ("GET", "/v1/generations", b"", 200),
    "control's error": ("GET", "/v1/generations/nobodys", b"", 404),
    "stop": ("POST", "/v1/chat/completions/nobodys/cancel", b"", 404),
    "events": ("GET", "/v1/generations/t-0/events", b"", 200),
}

UPSTREAM = by_path(
    {
        "/v1/chat/completions": json_answer(chat_object(1), headers=[("Access-Control-Allow-Origin", "*")]),
        "/v1/completions": sse_stream(chat_events(2)),
        "/v1/models": answer(200, b"{}", [*JSON, ("Vary", "Accept-Encoding")]),
    }
)


@pytest.mark.parametrize(("method", "path", "body", "status"), CALLS.values(), ids=CALLS.keys())
async def test_every_answer_can_be_read(tmp_path: Path, method: str, path: str, body: object, status: int) -> None:
    """A page that is let in may read every kind of answer and our ids in it; no other page may, and caches know."""
    config = {"route": {"cors": {"origins": [PAGE, "https://other.example.com"]}}}
    async with (
        scripted_upstream(UPSTREAM) as up,
        running_proxy(config_text(up.base_url, **config), tmp_path) as proxy,
    ):
        await send(proxy, "POST", "/v1/completions", STREAM, [("X-Task-Id", "t-0")])
        for origin in (PAGE, FOREIGN, None):
            found = await send(proxy, method, path, body, [("Origin", origin)] if origin else [])
            assert found.status == status
            allowed = [value for name, value in found.headers if name == "Access-Control-Allow-Origin"]
            assert allowed == ([PAGE] if origin == PAGE else [])
            assert "Origin" in [value for name, value in found.headers if name == "Vary"]
            exposed = found.header("Access-Control-Expose-Headers")
            assert (set() if exposed is None else EXPOSED & set(exposed.split(", "))) == (
                EXPOSED if origin == PAGE else set()
            )


async def test_any_page(tmp_path: Path) -> None:
    """With `*` every page may read, and the answer is the same for all of them."""
    async with (
        scripted_upstream(UPSTREAM) as up,
        running_proxy(config_text(up.base_url, route={"cors": {"origins": ["*"]}}), tmp_path) as proxy,
    ):
        found = await send(proxy, "POST", CHAT, PLAIN, [("Origin", FOREIGN)])
        assert (found.header("Access-Control-Allow-Origin"), found.header("Vary")) == ("*", None)


async def test_no_page(tmp_path: Path) -> None:
    """Without origins nothing is said about pages, whatever the upstream says, and OPTIONS is passed on."""
    async with scripted_upstream(UPSTREAM) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        found = await send(proxy, "POST", CHAT, PLAIN, [("Origin", PAGE)])
        assert not [name for name, _ in found.headers if name.startswith("Access-Control-")]
        asks = [("Origin", PAGE), ("Access-Control-Request-Method", "GET")]
        await send(proxy, "OPTIONS", "/v1/models", headers=asks)
    assert [request.method for request in up.requests] == ["POST", "OPTIONS"]


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/v1/generations/t-1/cancel"])
async def test_preflight(tmp_path: Path, path: str) -> None:
    """A browser's question is answered here, without a credential and without the upstream."""
    keys = [{"id": "acme", "hash": HASH}]
    config = {"keys": keys, "route": {"cors": {"origins": [PAGE]}}}
    asks = [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization,x-own")]
    async with (
        scripted_upstream(UPSTREAM) as up,
        running_proxy(config_text(up.base_url, **config), tmp_path) as proxy,
    ):
        found = await send(proxy, "OPTIONS", path, headers=[("Origin", PAGE), *asks])
        assert (found.status, found.body, found.header("Server")) == (204, b"", "quell")
        assert found.header("Access-Control-Allow-Origin") == PAGE
        assert "DELETE" in str(found.header("Access-Control-Allow-Methods"))
        assert found.header("Access-Control-Allow-Headers") == "authorization,x-own"
        assert found.header("Access-Control-Max-Age") == "600"
        assert found.header("Vary") == "Origin"
        unnamed = await send(proxy, "OPTIONS", path, headers=[("Origin", PAGE), asks[0]])
        named = str(unnamed.header("Access-Control-Allow-Headers")).split(", ")
        assert {"X-Task-Id", "X-User-Id", "X-Max-Seconds", "X-Max-Tokens", "X-Max-Cost"} <= set(named)
        foreign = await send(proxy, "OPTIONS", path, headers=[("Origin", FOREIGN), *asks])
        assert foreign.status == 204
        assert not [name for name, _ in foreign.headers if name.startswith("Access-Control-")]
        unasked = await send(proxy, "OPTIONS", path, headers=[("Origin", PAGE)])
        assert (unasked.status, unasked.header("Access-Control-Allow-Origin")) == (401, PAGE)
        assert not up.requests
