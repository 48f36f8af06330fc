"""The admin listener's feed against a running proxy: the page, what changes, heartbeats, and readers of every kind."""

import asyncio
import gc
import json
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from proxy.core.usage import CHARACTERS_A_TOKEN
from proxy.edge.admin import feed as admin_feed
from proxy.edge.admin.feed import FeedReader
from proxy.edge.admin.live_view import LiveView
from proxy.edge.admin.summary import Summary
from proxy.edge.downstream import SocketSink
from proxy.edge.pace import Pace
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.usage import UsageQuery, UsageRow
from support.admin import PEOPLE, log_in, refused, token_of
from support.chat import ask, chat_events, text
from support.client import RawClient
from support.feed import feed
from support.http_bytes import Headers
from support.leaks import back_to_start
from support.program import ADMIN_TOKEN, config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import SSE, events_then_hang
from support.tiny_server import error_of
from support.upstream import Conn, ScriptedUpstream, scripted_upstream
from support.wait import eventually, within

BEARER: Headers = [("Authorization", f"Bearer {ADMIN_TOKEN}")]
CHAT = "/v1/chat/completions"
WORDS = chat_events(5, finish=None, done=False)
OFTEN = 0.02
"""Seconds between two looks here."""
AS_IT_IS = admin_feed.TICK_SECONDS
"""The same, as it is where nobody waits for a test."""


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed looks more often than it does, in the same proportions, so that a test does not wait for it."""
    for name in ("TICK_SECONDS", "NUMBERS_SECONDS", "ASKING_SECONDS"):
        monkeypatch.setattr(admin_feed, name, getattr(admin_feed, name) * OFTEN / AS_IT_IS)


@asynccontextmanager
async def a_proxy(folder: Path, **config: Any) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy whose upstream sends five words and then nothing."""
    async with (
        scripted_upstream(events_then_hang(WORDS)) as up,
        running_proxy(config_text(up.base_url, **config), folder) as proxy,
    ):
        yield proxy, up


@asynccontextmanager
async def streams(proxy: RunningProxy, *ids: str, **headers: str) -> AsyncIterator[list[RawClient]]:
    """Streams with these task ids, begun one after the other; each has got its words."""
    async with AsyncExitStack() as stack:
        clients = []
        for ident in ids:
            client = await stack.enter_async_context(RawClient(proxy.port))
            more = [(name.replace("_", "-"), value) for name, value in headers.items()]
            await client.post(CHAT, ask(), [("X-Task-Id", ident), *more])
            await client.until(b"data: ", len(WORDS))
            clients.append(client)
        yield clients


async def stop(proxy: RunningProxy, ident: str) -> None:
    """An operator's stop."""
    async with RawClient(proxy.admin_port) as client:
        await client.post(f"/api/generations/{ident}/cancel", b"", BEARER)
        assert (await client.answer()).status == 200


async def test_the_page_comes_first(tmp_path: Path) -> None:
    """A reader gets the whole page at once, the newest row first, with how many there are; then the summary."""
    async with a_proxy(tmp_path) as (proxy, _), streams(proxy, "one", "two"), feed(proxy) as reader:
        page = reader.named("page")[0].data
        assert reader.retry == "1000"
        assert (page["total"], page["matched"], page["complete"], reader.tasks) == (2, 2, True, ["two", "one"])
        row = page["rows"][0]
        assert (row["state"], row["phase"], row["route"], row["model"]) == ("streaming", "streaming", "/v1", "scripted")
        assert row["id"] != row["task_id"]
        assert 0 <= row["age_seconds"] < 60
        assert "text" not in row
        await reader.until(lambda: reader.summary, "the summary")
        assert reader.summary is not None
        assert (reader.summary["live"], reader.summary["today"]["generations"]) == (2, 2)


async def test_what_begins_and_ends_is_told(tmp_path: Path) -> None:
    """A row comes, and goes with its outcome, its cause and when its upstream was closed; ids count up."""
    async with a_proxy(tmp_path) as (proxy, _), feed(proxy) as reader:
        assert reader.tasks == []
        async with streams(proxy, "one"):
            await reader.until(lambda: reader.tasks == ["one"], "the row comes")
            assert reader.about["total"] == 1
            await stop(proxy, "one")
            await reader.until(lambda: reader.gone, "the row goes")
        (gone,) = reader.gone
        assert (gone["task_id"], gone["outcome"], gone["cause"]) == ("one", "cancelled", "operator")
        assert gone["upstream_closed_ms"] is not None
        assert (reader.tasks, reader.about["total"], reader.about["matched"]) == ([], 0, 0)
        idents = [int(event.ident) for event in reader.events if event.name]
        assert idents == sorted(set(idents))


async def test_numbers_grow_and_age_alone_is_no_news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are told as they come, marked as an estimate where nobody counts; a quiet stream says nothing more."""
    monkeypatch.setattr(admin_feed, "SUMMARY_SECONDS", 0.25)
    more, all_words = asyncio.Event(), math.ceil(len(text(5)) / CHARACTERS_A_TOKEN)

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        for event in WORDS:
            await conn.chunk(event)
        await more.wait()
        for event in chat_events(40, finish=None, done=False):
            await conn.chunk(event)
        await conn.sleep_until_closed()

    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        streams(proxy, "one"),
        feed(proxy) as reader,
    ):
        await reader.until(lambda: reader.rows[reader.order[0]]["completion_tokens"] == all_words, "they are counted")
        first = reader.rows[reader.order[0]]
        assert first["usage_source"] == "estimate"
        seen, heard = len(reader.named("change")), len(reader.heartbeats)
        await reader.until(lambda: len(reader.heartbeats) >= heard + 2, "some looks at the numbers")
        assert len(reader.named("change")) == seen
        more.set()
        await reader.until(lambda: reader.rows[reader.order[0]]["completion_tokens"] > first["completion_tokens"])


async def test_changes_come_at_most_four_times_a_second(tmp_path: Path) -> None:
    """However much begins and ends, a reader is told no more often."""
    async with a_proxy(tmp_path) as (proxy, _), feed(proxy) as reader:
        clock = asyncio.get_running_loop().time
        began = clock()
        async with AsyncExitStack() as stack:
            for number in range(60):
                await stack.enter_async_context(streams(proxy, f"t-{number}"))
            await reader.until(lambda: reader.about["total"] == 60, "all have begun")
        await reader.until(lambda: reader.about["total"] == 0, "all have ended")
        most = (clock() - began) / admin_feed.TICK_SECONDS + 1
        assert 0 < len(reader.named("change")) <= most
    assert AS_IT_IS >= 1 / 4


async def test_a_reader_that_comes_back_gets_the_page_again(tmp_path: Path) -> None:
    """What was missed is in the page: there is nothing to go on from, whatever event was the last one."""
    async with a_proxy(tmp_path) as (proxy, _):
        async with streams(proxy, "one"), feed(proxy) as first:
            assert first.tasks == ["one"]
        await eventually(lambda: not len(proxy.app.engine.registry), what="it is over")
        async with streams(proxy, "two"), feed(proxy) as again:
            assert [event.name for event in again.events] == ["page"]
            assert again.tasks == ["two"]


async def test_a_heartbeat_comes_without_any_news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment comes again and again, so that nobody takes the connection for dead."""
    monkeypatch.setattr(admin_feed, "SUMMARY_SECONDS", 5 * OFTEN)
    async with a_proxy(tmp_path) as (proxy, _), feed(proxy) as reader:
        await reader.until(lambda: len(reader.heartbeats) >= 3, "three heartbeats")
        assert reader.named("change") == []


async def test_streams_have_their_turn_between_two_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two views are never looked at in one go: with thousands of rows that would hold up every stream."""
    order: list[str] = []
    look = LiveView.look

    def looked(view: LiveView, wall: float, *, numbers: bool) -> dict[str, Any] | None:
        order.append("look")
        asyncio.get_running_loop().call_soon(order.append, "turn")
        return look(view, wall, numbers=numbers)

    async with a_proxy(tmp_path) as (proxy, _), feed(proxy), feed(proxy, user="ann"):
        monkeypatch.setattr(LiveView, "look", looked)
        await eventually(lambda: len(order) >= 12, what="both views were looked at some times")
    assert all(pair != ("look", "look") for pair in pairwise(order))


async def test_what_takes_long_is_looked_at_more_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a look takes its time the next comes late, and signs of life come all the same."""
    looks: list[float] = []

    def looked(_view: LiveView, wall: float, *, numbers: bool) -> None:
        looks.append(wall)

    monkeypatch.setattr(admin_feed, "SUMMARY_SECONDS", 5 * OFTEN)
    monkeypatch.setattr(Pace, "work", lambda pace: took(pace, 60.0))
    async with a_proxy(tmp_path) as (proxy, _), feed(proxy) as reader:
        monkeypatch.setattr(LiveView, "look", looked)
        await reader.until(lambda: len(reader.heartbeats) >= 5, "five heartbeats")
        assert len(looks) <= 6


@contextmanager
def took(pace: Pace, seconds: float) -> Iterator[None]:
    """Work that is said to have taken so long."""
    pace._took += seconds
    yield


@pytest.mark.parametrize(
    ("query", "tasks"),
    [
        ({"user": "ann"}, ["one"]),
        ({"user": "nobody"}, []),
        ({"route": "/v1", "model": "scripted", "tag": "team:a"}, ["three", "two", "one"]),
        ({"tag": "team:b"}, []),
        ({"older_than": "1h"}, []),
        ({"limit": 1}, ["three"]),
        ({"limit": 1, "offset": 1}, ["two"]),
        ({"sort": "age", "order": "desc"}, ["one", "two", "three"]),
        ({"sort": "user"}, ["one", "three", "two"]),
        ({"sort": "user", "order": "desc"}, ["three", "one", "two"]),
    ],
)
async def test_filters_order_and_window(tmp_path: Path, query: dict[str, str | int], tasks: list[str]) -> None:
    """A feed shows what was asked for, in that order; who is unknown comes last."""
    async with (
        a_proxy(tmp_path, route={"tags": {"team": "a"}}) as (proxy, _),
        streams(proxy, "one", X_User_Id="ann"),
        streams(proxy, "two"),
        streams(proxy, "three", X_User_Id="bob"),
        feed(proxy, **query) as reader,
    ):
        assert reader.tasks == tasks
        assert reader.about["total"] == 3
        assert reader.about["matched"] == (3 if "limit" in query or len(tasks) == 3 else len(tasks))


async def test_a_filter_holds_for_what_comes(tmp_path: Path) -> None:
    """What others do changes the total, and no row."""
    async with a_proxy(tmp_path) as (proxy, _), feed(proxy, user="ann") as reader:
        async with streams(proxy, "bobs", X_User_Id="bob"), streams(proxy, "anns", X_User_Id="ann"):
            await reader.until(lambda: reader.about["total"] == 2, "both are counted")
            await reader.until(lambda: reader.tasks == ["anns"], "the own row comes")
            assert reader.about["matched"] == 1
        await reader.until(lambda: reader.about["total"] == 0, "both are over")
        assert [each["task_id"] for each in reader.gone] == ["anns"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=201", "limit must be a whole number from 1 to 200"),
        ("offset=-1", "offset must be a whole number"),
        ("sort=size", "sort must be one of: age, state"),
        ("sort=tokes", "Did you mean tokens?"),
        ("order=up", "order must be one of: asc, desc"),
        ("state=live", "not known here"),
    ],
)
async def test_a_wrong_parameter_is_refused_before_the_stream(tmp_path: Path, query: str, words: str) -> None:
    """What can't be understood is a 400 that says what was expected, no stream."""
    async with a_proxy(tmp_path) as (proxy, _), RawClient(proxy.admin_port) as client:
        await client.get(f"/api/feed?{query}", BEARER)
        answer = await client.answer()
        assert answer.status == 400
        assert words in error_of(answer.body)["message"]


async def test_it_needs_the_token(tmp_path: Path) -> None:
    """Nobody reads the feed without a token."""
    async with a_proxy(tmp_path) as (proxy, _), RawClient(proxy.admin_port) as client:
        await client.get("/api/feed")
        assert (await client.answer()).status == 401


async def test_too_many_readers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for so many readers; one more is told to come back, and may when one has left."""
    monkeypatch.setattr(admin_feed, "MOST_READERS", 1)
    async with a_proxy(tmp_path) as (proxy, _):
        async with feed(proxy), RawClient(proxy.admin_port) as client:
            await client.get("/api/feed", BEARER)
            answer = await client.answer()
            assert (answer.status, answer.header("Retry-After")) == (429, "5")
        await eventually(lambda: not readers(proxy), what="the reader has left")
        async with feed(proxy):
            pass


async def test_one_token_leaves_places_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads as many feeds as one token may is told so, whichever way it came in; another token still may."""
    monkeypatch.setattr(admin_feed, "MOST_OF_ONE", 2)
    async with a_proxy(tmp_path, admin={"tokens": PEOPLE}) as (proxy, _):
        cookie = await log_in(proxy.admin_port)
        async with feed(proxy), feed(proxy, user="ann"):
            for known in (BEARER, cookie):
                async with RawClient(proxy.admin_port) as one_more:
                    await one_more.get("/api/feed", known)
                    assert b" 429 " in await one_more.until(b"\r\n")
                    answer = await one_more.answer()
                assert refused(answer) == (429, "rate_limit_exceeded")
                assert "The token admin reads as many feeds as one token may (2)." in error_of(answer.body)["message"]
                assert answer.header("Retry-After") == "5"
            async with RawClient(proxy.admin_port) as other:
                await other.get("/api/feed", token_of("vera"))
                await other.until(b"event: page")
        await eventually(lambda: not readers(proxy), what="all have left")
        async with feed(proxy):
            pass


async def test_who_waits_for_the_first_page_has_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While other replicas are asked for their rows nobody else gets the place of the one who waits for them."""
    goes_on, asks = asyncio.Event(), asyncio.Event()

    async def asked(_view: LiveView) -> None:
        asks.set()
        await goes_on.wait()

    monkeypatch.setattr(admin_feed, "MOST_READERS", 1)
    monkeypatch.setattr(LiveView, "ask", asked)
    async with (
        a_proxy(tmp_path) as (proxy, _),
        RawClient(proxy.admin_port) as first,
        RawClient(proxy.admin_port) as other,
    ):
        await first.get("/api/feed", BEARER)
        await within(asks.wait(), "the first one waits")
        asks.clear()
        await other.get("/api/feed?user=ann", BEARER)
        answer = asyncio.get_running_loop().create_task(other.answer())
        waits = asyncio.get_running_loop().create_task(asks.wait())
        await asyncio.wait((answer, waits), return_when=asyncio.FIRST_COMPLETED)
        assert answer.done()
        assert answer.result().status == 429
        waits.cancel()
        goes_on.set()
        await first.until(b"event: page")


def readers(proxy: RunningProxy) -> list[Any]:
    """Who reads the feed now."""
    return [each for each in asyncio.all_tasks() if each.get_name() == "tell the readers of the feed"]


async def test_without_readers_nothing_runs(tmp_path: Path) -> None:
    """The ticker begins with the first reader, one for all, and is gone soon after the last."""
    async with a_proxy(tmp_path) as (proxy, _):
        assert readers(proxy) == []
        async with feed(proxy) as first:  # the ledger's files are opened for reading
            await first.until(lambda: first.summary, "the summary")
        await eventually(lambda: not readers(proxy), what="the ticker has ended")
        async with back_to_start():
            async with feed(proxy), feed(proxy, user="ann"), feed(proxy):
                assert len(readers(proxy)) == 1
            await eventually(lambda: not readers(proxy), what="the ticker has ended")


class Slow:
    """A socket that has enough with the first bytes it gets, until its client takes them."""

    def __init__(self, sink: SocketSink) -> None:
        self.sink = sink
        self.taken = asyncio.Event()

    def write(self, data: bytes) -> bool:
        """Take the bytes, and want no more."""
        return self.sink.write(data) and self.taken.is_set()

    async def drained(self, deadline: float) -> None:
        """Wait until they are taken."""
        await self.taken.wait()
        await self.sink.drained(deadline)


def served() -> FeedReader:
    """The one reader, as the proxy has it."""
    (found,) = [each for each in gc.get_objects() if type(each) is FeedReader and not each.is_over]
    return found


async def test_a_slow_reader_gets_a_fresh_page(tmp_path: Path) -> None:
    """What a reader does not take is not kept for it: when it reads again it gets everything as it is then."""
    gc.collect()
    async with a_proxy(tmp_path) as (proxy, _), feed(proxy) as reader:
        await reader.until(lambda: reader.summary, "the summary")
        there = served()
        slow = Slow(there.sink)
        there.sink = slow  # type: ignore[assignment] # what a reader asks of its socket
        async with streams(proxy, "one"):
            await reader.until(lambda: reader.tasks == ["one"], "the row comes")
            async with streams(proxy, "two"), streams(proxy, "three"):
                await eventually(lambda: there._missed, what="it has missed something")
                pages = len(reader.named("page"))
                slow.taken.set()
                await reader.until(lambda: len(reader.named("page")) > pages, "a fresh page")
                await reader.until(lambda: reader.tasks == ["three", "two", "one"], "and it goes on from there")
                assert not there._missed


async def test_without_the_ledger_the_table_is_shown_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lives is in memory: while the ledger can't be read there is no summary, and the rows come and go."""

    async def unreadable(_query: UsageQuery) -> list[UsageRow]:
        raise LedgerUnavailableError

    async with a_proxy(tmp_path) as (proxy, _):
        monkeypatch.setattr(proxy.app.engine.ledger, "usage", unreadable)
        async with feed(proxy) as reader, RawClient(proxy.admin_port) as client:
            async with streams(proxy, "one"):
                await reader.until(lambda: reader.tasks == ["one"], "the row comes")
            assert reader.summary is None
            await client.get("/api/summary", BEARER)
            answer = await client.answer()
            assert (answer.status, error_of(answer.body)["code"]) == (503, "ledger_unavailable")


async def test_a_ledger_that_hangs_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While sums are waited for no more of them are asked for, however much begins and ends meanwhile."""
    monkeypatch.setattr(admin_feed, "FRESH_SECONDS", OFTEN)
    monkeypatch.setattr(admin_feed, "SUMMARY_SECONDS", 2 * OFTEN)
    async with a_proxy(tmp_path) as (proxy, _), feed(proxy) as reader:
        await reader.until(lambda: reader.summary, "the summary")
        asked, go_on = 0, asyncio.Event()

        async def hangs(_summary: Summary) -> dict[str, Any]:
            nonlocal asked
            asked += 1
            await go_on.wait()
            return {}

        monkeypatch.setattr(Summary, "now", hangs)
        before = len(reader.heartbeats)
        async with streams(proxy, "one"):
            await reader.until(lambda: len(reader.heartbeats) > before + 5, "five times it was due")
        assert asked == 1
        go_on.set()


async def test_the_summary_comes_soon_behind_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ended is in the summary at once and not with the next heartbeat; so is that the proxy drains."""
    monkeypatch.setattr(admin_feed, "SUMMARY_SECONDS", 3600.0)
    async with a_proxy(tmp_path) as (proxy, _), feed(proxy) as reader:
        await reader.until(lambda: reader.summary, "the summary")
        async with streams(proxy, "one"):
            await reader.until(lambda: reader.tasks == ["one"], "the row comes")
        await reader.until(lambda: (reader.summary or {})["today"]["stopped"] == 1, "the stop is in it")
        assert (reader.summary or {})["draining"] is False
        proxy.app.engine.draining = True
        await reader.until(lambda: (reader.summary or {})["draining"], "the drain is in it")


async def test_the_feed_ends_with_the_proxy(tmp_path: Path) -> None:
    """When the proxy ends, readers are let go at once, and their streams end as they should."""
    async with a_proxy(tmp_path) as (proxy, _):
        async with RawClient(proxy.admin_port) as client:
            await client.get("/api/feed", BEARER)
            await client.until(b"event: page")
            stopping = asyncio.get_running_loop().create_task(proxy.app.stop(drain=False))
            answer = await within(client.answer(), "the feed ends")
            assert answer.complete
            await stopping
        names = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data: {")]
        assert names[0]["rows"] == []


async def test_a_stop_is_seen_before_it_is_over(tmp_path: Path) -> None:
    """What is read on behind a stop stays in the table, marked as such, until its upstream has ended."""
    config = {"upstream": {"on_stop": "drain", "bills_after_close": "yes"}}
    async with a_proxy(tmp_path, **config) as (proxy, up), feed(proxy) as reader, streams(proxy, "one"):
        await reader.until(lambda: reader.tasks == ["one"], "the row comes")
        await stop(proxy, "one")
        await reader.until(lambda: reader.rows[reader.order[0]]["state"] == "reading_on", "it is read on")
        row = reader.rows[reader.order[0]]
        assert (row["cancel_asked"], reader.gone) == (True, [])
        assert up.connections == 1
