"""What guards the admin listener whoever calls: headers of every answer, reads of other pages, places, ids as sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.edge.admin import feed as admin_feed
from proxy.edge.admin import listener
from support.admin import PEOPLE, call, log_in, refused, token_of
from support.chat import ask, chat_events
from support.client import RawClient
from support.http_bytes import Headers
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import events_then_hang
from support.tiny_server import error_of
from support.upstream import scripted_upstream
from support.wait import eventually

POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
HALF = rb"\ud800"


@asynccontextmanager
async def a_stream(folder: Path, ident: str = "t-1") -> AsyncIterator[RunningProxy]:
    """A proxy on which a stream has said five words and goes on."""
    async with (
        scripted_upstream(events_then_hang(chat_events(5, finish=None, done=False))) as up,
        running_proxy(config_text(up.base_url, admin={"tokens": PEOPLE}), folder) as proxy,
        RawClient(proxy.port) as client,
    ):
        await client.post("/v1/chat/completions", ask(), [("X-Task-Id", ident)])
        await client.until(b"data: ", 5)
        yield proxy


def assert_guarded(headers: Headers) -> None:
    """A browser makes nothing of it, keeps nothing, and nobody learns what it is served by; each is there once."""
    found = {name.lower(): value for name, value in headers}
    assert len(found) == len(headers)
    assert found["content-security-policy"] == POLICY
    assert found["x-content-type-options"] == "nosniff"
    assert found["cross-origin-resource-policy"] == "same-origin"
    assert found["server"] == "quell"
    assert found["cache-control"] in {"no-store", "no-cache, no-transform"}


async def test_every_answer_is_guarded(tmp_path: Path) -> None:
    """Answers, refusals, probes, metrics and what is no path at all: each has the strict headers."""
    async with a_stream(tmp_path) as proxy:
        bearer = token_of("admin")
        for method, path, headers, status in (
            ("GET", "/api/summary", bearer, 200),
            ("GET", "/api/usage", bearer, 200),
            ("GET", "/api/ledger/export", bearer, 200),
            ("GET", "/api/summary?x=1", bearer, 400),
            ("GET", "/api/summary", [], 401),
            ("POST", "/api/reload", token_of("vera"), 403),
            ("GET", "/api/generations/nobodys", bearer, 404),
            ("GET", "/nothing", [], 404),
            ("GET", "/api//", bearer, 400),
            ("PUT", "/api/summary", bearer, 405),
            ("GET", "/livez", [("Host", "evil.example")], 421),
            ("GET", "/livez", [], 200),
            ("GET", "/readyz", [], 200),
            ("GET", "/metrics", [], 200),
            ("HEAD", "/metrics", [], 200),
        ):
            answer = await call(proxy.admin_port, method, path, b"", headers)
            assert answer.status == status, path
            assert_guarded(answer.headers)


@pytest.mark.parametrize("path", ["/api/feed", "/api/generations/t-1/events"])
async def test_streams_are_guarded_too(tmp_path: Path, path: str) -> None:
    """The head of a stream has the same."""
    async with a_stream(tmp_path) as proxy, RawClient(proxy.admin_port) as client:
        await client.get(path, token_of("admin"))
        head = (await client.until(b"\r\n\r\n")).decode().partition("\r\n\r\n")[0]
        lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
        assert_guarded([(name, value) for name, _, value in lines])


@pytest.mark.parametrize(
    ("site", "status"),
    [("same-origin", 200), ("none", 200), (None, 200), ("same-site", 403), ("cross-site", 403)],
)
async def test_another_page_reads_nothing_with_the_cookie(tmp_path: Path, site: str | None, status: int) -> None:
    """A browser that says that another page asks gets nothing for the cookie; a token needs no such word."""
    async with a_stream(tmp_path) as proxy:
        said: Headers = [] if site is None else [("Sec-Fetch-Site", site)]
        cookie = await log_in(proxy.admin_port)
        answer = await call(proxy.admin_port, "GET", "/api/summary", headers=[*cookie, *said])
        assert answer.status == status
        if status != 200:
            assert refused(answer)[1] == "cross_site"
        assert (await call(proxy.admin_port, "GET", "/api/me", headers=[*token_of("vera"), *said])).status == 200


async def test_streams_of_one_token_leave_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever follows as many streams as one token may is told so; others may go on, and short calls always."""
    monkeypatch.setattr(listener, "MOST_OF_ONE", 1)
    events = "/api/generations/t-1/events"
    async with a_stream(tmp_path) as proxy:
        port = proxy.admin_port
        async with RawClient(port) as first, RawClient(port) as other:
            await first.get(events, token_of("tess"))
            await first.until(b"data: ")
            answer = await call(port, "GET", events, headers=token_of("tess"))
            assert refused(answer) == (429, "rate_limit_exceeded")
            assert "The token tess reads as many streams as one token may (1)." in error_of(answer.body)["message"]
            assert (await call(port, "GET", "/api/summary", headers=token_of("tess"))).status == 200
            await other.get(events, token_of("olga"))
            await other.until(b"data: ")

        async def has_a_place() -> bool:
            async with RawClient(port) as again:
                await again.get(events, token_of("tess"))
                return b" 200 " in await again.until(b"\r\n")

        await eventually(has_a_place, what="the place of who left is free")


def test_there_are_connections_left_for_short_calls() -> None:
    """All feeds and streams together leave a quarter of the connections to stops, probes and scrapers."""
    lasting = admin_feed.MOST_READERS + listener.MOST_STREAMS
    assert lasting <= listener.MAX_CONNECTIONS * 3 / 4
    assert listener.MOST_OF_ONE <= listener.MOST_STREAMS / 2


async def test_an_id_may_come_escaped(tmp_path: Path) -> None:
    """A client that escapes an id for its path, as libraries do, names the same generation."""
    async with a_stream(tmp_path, "a:b") as proxy:
        answers = [
            await call(proxy.admin_port, "GET", f"/api/generations/{ident}?text=no", headers=token_of("admin"))
            for ident in ("a:b", "a%3Ab", "%61:b")
        ]
        assert [each.json()["task_id"] for each in answers] == ["a:b"] * 3
        stopped = await call(proxy.admin_port, "POST", "/api/generations/a%3Ab/cancel", {}, token_of("admin"))
        assert stopped.json()["result"] == "stopped"


async def test_half_a_character_is_kept_as_what_it_is(tmp_path: Path) -> None:
    """A reason with half of a surrogate pair stops all the same; it is kept and shown as text that anybody can read."""
    async with a_stream(tmp_path) as proxy:
        port, bearer = proxy.admin_port, token_of("admin")
        body = b'{"user": "' + HALF + b'", "dry_run": true}'
        assert (await call(port, "POST", "/api/generations/cancel", body, bearer)).json()["matched"] == []
        body = b'{"reason": "' + HALF + rb' and \ud83d\ude00"}'
        assert (await call(port, "POST", "/api/generations/t-1/cancel", body, bearer)).json()["result"] == "stopped"
        record = (await call(port, "GET", "/api/generations/t-1?text=no", headers=bearer)).json()
        assert record["reason"] == "\ufffd and \U0001f600"
