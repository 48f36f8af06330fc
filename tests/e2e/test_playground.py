"""The playground's relay: a call by way of the admin listener is the call of a plain client, and nothing more."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.demo.upstream import start_demo_upstream
from support.admin import FROM_PAGE, MAIN, PEOPLE, call, log_in, refused, token_of
from support.chat import DONE, ask, chat_events, chat_object, text
from support.client import RawClient
from support.http_bytes import Headers
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import answer, cut_at, events_then_hang, hang, json_answer, sse_stream
from support.upstream import Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually

RELAY = "/api/playground"
CHAT = "/v1/chat/completions"
HANGS = events_then_hang(chat_events(5, finish=None, done=False))
KEYS = [{"id": "acme", "hash": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}]
"""The SHA-256 of foo."""


@asynccontextmanager
async def a_proxy(folder: Path, script: Script, **config: Any) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy with tokens of every kind in front of a scripted upstream."""
    admin = {"tokens": PEOPLE} | config.pop("admin", {})
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, admin=admin, **config), folder) as proxy,
    ):
        yield proxy, up


def own(key: str) -> Headers:
    """The header with the caller's own credential."""
    return [("X-Playground-Authorization", f"Bearer {key}")]


async def test_a_stream_passes_byte_for_byte(tmp_path: Path) -> None:
    """What the page gets of a stream is what a client of the proxy gets, with the ids that a stop needs."""
    async with a_proxy(tmp_path, sse_stream(chat_events(200))) as (proxy, _):
        headers = [("X-Task-Id", "t-1")]
        direct = await call(proxy.port, "POST", CHAT, ask(), headers)
        relayed = await call(proxy.admin_port, "POST", f"{RELAY}{CHAT}", ask(), [*headers, *token_of(MAIN)])
        assert (relayed.status, relayed.complete) == (200, True)
        assert relayed.body == direct.body
        assert relayed.body.endswith(DONE)
        assert relayed.header("X-Task-Id") == "t-1"
        assert relayed.header("X-Message-Id")
        assert relayed.header("Content-Type") == direct.header("Content-Type") == "text/event-stream"


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (json_answer(chat_object(), headers=[("openai-processing-ms", "7"), ("Set-Cookie", "a=b")]), 200),
        (json_answer({"error": {"message": "slow down"}}, 429, [("Retry-After", "9")]), 429),
        (answer(204), 204),
    ],
)
async def test_whole_answers_and_errors_pass_too(tmp_path: Path, script: Script, status: int) -> None:
    """Status, body and the headers that a client needs come as the proxy gives them."""
    async with a_proxy(tmp_path, script) as (proxy, _):
        direct = await call(proxy.port, "POST", CHAT, ask(stream=False))
        relayed = await call(proxy.admin_port, "POST", f"{RELAY}{CHAT}", ask(stream=False), token_of(MAIN))
        assert (relayed.status, relayed.body) == (direct.status, direct.body) == (status, direct.body)
        for name in ("Content-Type", "Retry-After", "openai-processing-ms"):
            assert relayed.header(name) == direct.header(name)
        assert relayed.header("Set-Cookie") is None


async def test_a_refusal_of_the_proxy_passes_as_it_is(tmp_path: Path) -> None:
    """What the proxy refuses is refused in its words: a path without a route, a key that is none."""
    async with a_proxy(tmp_path, hang(), keys=KEYS) as (proxy, _):
        for path, headers, expected in (
            ("/nowhere", own("foo"), (404, "not_found")),
            (CHAT, own("bar"), (401, "invalid_api_key")),
            (CHAT, [], (401, "invalid_api_key")),
        ):
            relayed = await call(proxy.admin_port, "POST", f"{RELAY}{path}", ask(), [*headers, *token_of(MAIN)])
            assert refused(relayed) == expected
            assert relayed.header("WWW-Authenticate") is None  # a browser would ask its user for a password


async def test_leaving_closes_the_call(tmp_path: Path) -> None:
    """When the page leaves in the middle of a stream, the upstream is closed, as when any client leaves."""
    async with a_proxy(tmp_path, HANGS) as (proxy, up):
        async with RawClient(proxy.admin_port) as client:
            await client.post(f"{RELAY}{CHAT}", ask(), [("X-Task-Id", "t-1"), *token_of("olga")])
            await client.until(b"data: ", 6)
            client.fin()
            await up.no_connections()
        seen = await ended(proxy, "t-1")
        assert (seen["outcome"], seen["cause"]) == ("client_gone", "disconnect")


async def test_leaving_before_the_first_byte_closes_the_call(tmp_path: Path) -> None:
    """So it is while the upstream has not answered at all."""
    async with a_proxy(tmp_path, hang()) as (proxy, up):
        async with RawClient(proxy.admin_port) as client:
            await client.post(f"{RELAY}{CHAT}", ask(), [("X-Task-Id", "t-1"), *token_of("olga")])
            await up.conn()
            client.fin()
            await up.no_connections()
        assert (await ended(proxy, "t-1"))["outcome"] == "client_gone"


@pytest.mark.parametrize("script", [hang(), HANGS], ids=["before the first byte", "in the middle"])
async def test_a_stop_by_way_of_the_playground(tmp_path: Path, script: Script) -> None:
    """A stop with the id that was chosen ends the call on another connection, before its first byte and later."""
    async with a_proxy(tmp_path, script) as (proxy, up):
        cookie = [*await log_in(proxy.admin_port, "olga"), *FROM_PAGE]
        async with RawClient(proxy.admin_port) as client:
            await client.post(f"{RELAY}{CHAT}", ask(), [("X-Task-Id", "t-1"), *cookie])
            await up.conn()
            if script is HANGS:
                await client.until(b"data: ", 6)
            stop = await call(proxy.admin_port, "POST", f"{RELAY}/v1/generations/t-1/cancel", {}, cookie)
            assert (stop.status, stop.json()["result"]) == (200, "stopped")
            told = await client.answer()
            assert told.status == (200 if script is HANGS else 499)
            assert told.complete
            await up.no_connections()
        again = await call(proxy.admin_port, "POST", f"{RELAY}/v1/generations/t-1/cancel", {}, cookie)
        assert again.json() == stop.json()
        seen = await ended(proxy, "t-1")
        assert (seen["outcome"], seen["cause"], seen["demo"]) == ("cancelled", "client", None)
        assert seen["upstream_closed_ms"] is not None


async def test_a_stranger_stops_nothing(tmp_path: Path) -> None:
    """With another credential the same id is unknown, because it is somebody else's call."""
    async with a_proxy(tmp_path, HANGS) as (proxy, _), RawClient(proxy.admin_port) as client:
        await client.post(f"{RELAY}{CHAT}", ask(), [("X-Task-Id", "t-1"), *own("mine"), *token_of("otto")])
        await client.until(b"data: ", 6)
        path = f"{RELAY}/v1/generations/t-1/cancel"
        foreign = await call(proxy.admin_port, "POST", path, {}, [*own("other"), *token_of("otto")])
        assert refused(foreign) == (404, "not_found")
        mine = await call(proxy.admin_port, "POST", path, {}, [*own("mine"), *token_of("otto")])
        assert mine.json()["partial"]["text"] == text(5)


async def test_without_the_right_to_texts_a_key_is_needed(tmp_path: Path) -> None:
    """Callers without a key are one identity, so that their texts could be read; who may not see them needs a key."""
    async with a_proxy(tmp_path, HANGS) as (proxy, up), RawClient(proxy.port) as somebody:
        await somebody.post(CHAT, ask(), [("X-Task-Id", "t-1")])
        await somebody.until(b"data: ", 6)
        for method, path in (
            ("GET", "/v1/generations"),
            ("GET", "/v1/generations/t-1"),
            ("GET", "/v1/generations/t-1/events"),
            ("POST", "/v1/generations/t-1/cancel"),
        ):
            for nobody in ([], [("X-Playground-Authorization", "Bearer")], own("")):
                told = await call(proxy.admin_port, method, f"{RELAY}{path}", b"", [*nobody, *token_of("otto")])
                assert refused(told) == (403, "text_not_allowed")
            keyed = await call(proxy.admin_port, method, f"{RELAY}{path}", b"", [*own("x"), *token_of("otto")])
            assert text(5).encode() not in keyed.body
        assert up.connections == 1
        for who, needed in (("otto", True), ("olga", False)):
            about = await call(proxy.admin_port, "GET", RELAY, headers=token_of(who))
            assert about.json()["needs_key"] == needed


async def test_nothing_of_the_admin_listener_goes_to_the_proxy(tmp_path: Path) -> None:
    """Cookies, the admin token, the page's header and what proxies in front added stay; the caller's key goes up."""
    sent = [
        *own("mine"),
        ("Cookie", "other=1"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Host", "evil.example"),
        ("Forwarded", "for=6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Api-Key", "other"),
        ("X-Auth-Request-User", "vera"),
        ("Referer", "http://127.0.0.1/ui"),
        ("OpenAI-Beta", "assistants=v2"),
        ("X-User-Id", "u1"),
    ]
    async with a_proxy(tmp_path, json_answer(chat_object()), trusted_proxies=["127.0.0.1"]) as (proxy, up):
        cookie = await log_in(proxy.admin_port, "olga")
        headers = [*sent[:1], ("Cookie", f"{cookie[0][1]}; other=1"), *sent[2:], *FROM_PAGE]
        relayed = await call(proxy.admin_port, "POST", f"{RELAY}{CHAT}", ask(stream=False), headers)
        assert relayed.status == 200
        arrived = {name.lower(): value for name, value in up.requests[0].headers}
        assert arrived["authorization"] == "Bearer mine"
        assert arrived["openai-beta"] == "assistants=v2"
        assert arrived["x-forwarded-for"] == "127.0.0.1"
        assert "evil" not in arrived["x-forwarded-host"]
        unwanted = {"cookie", "x-quell-page", "x-playground-authorization", "x-api-key", "x-auth-request-user"}
        assert not unwanted & arrived.keys()
        assert not {"referer", "forwarded", "x-real-ip", "origin"} & arrived.keys()
        assert "quell_session" not in repr(up.requests[0].headers)
        listed = await call(proxy.admin_port, "GET", "/api/generations?user=u1", headers=token_of(MAIN))
        assert len(listed.json()["data"]) == 1


@pytest.mark.parametrize("name", ["API-Key", "Goog-API-Key"])
async def test_a_key_goes_in_the_header_of_its_api(tmp_path: Path, name: str) -> None:
    """A key that the page sends for an API with its own header goes up in that one, and in no other."""
    async with a_proxy(tmp_path, json_answer(chat_object())) as (proxy, up):
        headers = [(f"X-Playground-{name}", "mine"), *token_of(MAIN)]
        relayed = await call(proxy.admin_port, "POST", f"{RELAY}{CHAT}", ask(stream=False), headers)
        assert relayed.status == 200
        arrived = {name.lower(): value for name, value in up.requests[0].headers}
        assert arrived[f"x-{name.lower()}"] == "mine"
        assert not {"authorization", f"x-playground-{name.lower()}"} & arrived.keys()


async def test_geminis_routes_are_told_from_openais(tmp_path: Path) -> None:
    """An `openai` route in front of an upstream of Gemini's format is one where Gemini's API is spoken."""
    async with a_proxy(tmp_path, hang(), upstream={"format": "gemini"}) as (proxy, _):
        about = (await call(proxy.admin_port, "GET", RELAY, headers=token_of("olga"))).json()
        assert [route["dialects"] for route in about["routes"]] == [["gemini"]]
        assert (about["needs_key"], about["has_keys"]) == (False, False)


async def test_a_page_elsewhere_can_call_nothing(tmp_path: Path) -> None:
    """Every relayed call with the cookie must come from our page, a read too: its answer may be an upstream's HTML."""
    html = answer(200, b"<script>alert(1)</script>", [("Content-Type", "text/html")])
    async with a_proxy(tmp_path, html) as (proxy, up):
        cookie = await log_in(proxy.admin_port, "olga")
        path = f"{RELAY}/v1/files/x"
        assert refused(await call(proxy.admin_port, "GET", path, headers=cookie)) == (403, "cross_site")
        assert not up.requests
        page = await call(proxy.admin_port, "GET", path, headers=[*cookie, *FROM_PAGE])
        assert page.status == 200
        assert page.header("Content-Security-Policy") == "default-src 'none'; frame-ancestors 'none'; sandbox"
        assert page.header("X-Content-Type-Options") == "nosniff"
        assert page.header("Cross-Origin-Resource-Policy") == "same-origin"


@pytest.mark.parametrize("path", ["/v1/..%2fx", "/v1/../x", "//v1/x", "/v1/%00"])
async def test_a_path_that_could_lead_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    """The relay calls what the path says, and takes no path that somebody could read in another way."""
    async with a_proxy(tmp_path, hang()) as (proxy, up):
        told = await call(proxy.admin_port, "GET", f"{RELAY}{path}", headers=token_of(MAIN))
        assert refused(told) == (400, "invalid_path")
        assert not up.requests


async def test_a_stream_that_breaks_off_looks_broken_off(tmp_path: Path) -> None:
    """A truncated answer is not made to look complete on its way."""
    body = json.dumps(chat_object()).encode()
    async with a_proxy(tmp_path, cut_at(body, 20, "reset")) as (proxy, _):
        relayed = await call(proxy.admin_port, "GET", f"{RELAY}/v1/models", headers=token_of(MAIN))
        assert (relayed.status, relayed.complete, relayed.body) == (200, False, body[:20])


async def test_the_playground_says_what_can_be_called(tmp_path: Path) -> None:
    """Routes with their dialects and models, the address for a command line, and whether a key is needed."""
    route = {"dialect": ["openai", "assistants"], "responses": "emulate", "model": "m"}
    async with a_proxy(tmp_path, hang(), keys=KEYS, route=route) as (proxy, _):
        about = (await call(proxy.admin_port, "GET", RELAY, headers=token_of("olga"))).json()
        assert about == {
            "routes": [
                {"path": "/v1", "dialects": ["openai", "assistants"], "model": "m", "responses": "emulate"},
            ],
            "origin": f"http://127.0.0.1:{proxy.port}",
            "needs_key": True,
            "has_keys": True,
            "demo": False,
        }


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "[::1]:0", "localhost:0"])
async def test_the_proxy_is_found_wherever_it_listens(tmp_path: Path, listen: str) -> None:
    """Every interface, IPv6 and a name: the relay takes an address of the listener that can be reached."""
    async with a_proxy(tmp_path, json_answer(chat_object()), listen=listen) as (proxy, _):
        relayed = await call(proxy.admin_port, "POST", f"{RELAY}{CHAT}", ask(stream=False), token_of(MAIN))
        assert relayed.status == 200
        about = (await call(proxy.admin_port, "GET", RELAY, headers=[("Host", "localhost:1"), *token_of(MAIN)])).json()
        host = "localhost" if listen in ("0.0.0.0:0", "[::]:0") else about["origin"][7:].rpartition(":")[0]
        assert about["origin"] == f"http://{host}:{proxy.port}"


async def test_a_listener_that_is_gone_is_503(tmp_path: Path) -> None:
    """While the proxy's own listener takes nothing, the playground says so."""
    async with a_proxy(tmp_path, hang()) as (proxy, _):
        for site in list(proxy.app._front.sites):
            await site.stop()
        told = await call(proxy.admin_port, "GET", f"{RELAY}/v1/models", headers=token_of(MAIN))
        assert refused(told) == (503, "playground_unreachable")


async def test_the_demo_upstream_says_what_it_saw(tmp_path: Path) -> None:
    """With the demo upstream in this process, a stopped call's close and how far it came are told."""
    demo = await start_demo_upstream("127.0.0.1", 0)
    try:
        config = config_text(demo.base_url, admin={"tokens": PEOPLE})
        async with running_proxy(config, tmp_path, demo=demo.seen) as proxy, RawClient(proxy.port) as client:
            await client.post(CHAT, ask(model="demo@tokens=2000"), [("X-Task-Id", "t-1")])
            await client.until(b"data: ", 3)
            await call(proxy.port, "POST", "/v1/generations/t-1/cancel", {})
            await eventually(lambda: demo.calls[0].ended, what="the demo upstream saw the close")
            seen = (await ended(proxy, "t-1"))["demo"]
            assert (seen["closed"], seen["of"]) == (True, 2000)
            assert 0 < seen["tokens_sent"] < 2000
            assert demo.seen("unknown") is None
            about = await call(proxy.admin_port, "GET", RELAY, headers=token_of(MAIN))
            assert about.json()["demo"]
    finally:
        await demo.stop()


async def ended(proxy: RunningProxy, task_id: str) -> dict[str, Any]:
    """What the upstream saw of a generation, once that is over."""
    seen: dict[str, Any] = {}

    async def is_over() -> bool:
        told = await call(proxy.admin_port, "GET", f"/api/playground-seen/{task_id}", headers=token_of("otto"))
        seen.update(told.json())
        return told.status == 200 and seen["outcome"] != "running"

    await eventually(is_over, what="the generation is over")
    return seen
