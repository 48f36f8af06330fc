"""A client that leaves: in every phase, in every way, streaming or not. What counts is the upstream's view of it."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from proxy.edge import protocol
from support.chat import chat_events, chat_object, text
from support.client import RawClient, request_bytes
from support.http_bytes import Headers
from support.leaks import back_to_start
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import (
    JSON,
    SSE,
    cut_at,
    events_then_hang,
    hang,
    headers_then_hang,
    json_answer,
    sse_stream,
)
from support.stops import ANYBODY, CHAT, PLAIN, STREAM, call, record, settled, start
from support.upstream import Conn, Script, scripted_upstream
from support.wait import eventually

T = TypeVar("T")

SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""

WHOLE = json.dumps(chat_object(8)).encode()

LARGE = json.dumps(chat_object(120_000)).encode()
"""A JSON answer that is passed on as it comes, because it is too long to be held."""

PROMPT = 0.9
"""Seconds in which the upstream must be closed: less than the second after which a hidden end would be found."""

LEAVES: dict[str, Callable[[RawClient], None]] = {
    "fin": RawClient.fin,
    "reset": RawClient.reset,
    "half-close": RawClient.half_close,
}


@dataclass(frozen=True, slots=True)
class Moment:
    """When the client leaves: what the upstream does, and how one knows that it is time."""

    script: Script
    body: dict[str, Any]
    phase: str
    ready: Callable[[RunningProxy, RawClient], Awaitable[object]]
    text: str = ""


async def _asked(_proxy: RunningProxy, _client: RawClient) -> None:
    """The upstream has the request: that is all there is to wait for."""


async def _has_header(_proxy: RunningProxy, client: RawClient) -> None:
    await client.until(b"\r\n\r\n")


async def _has_events(_proxy: RunningProxy, client: RawClient) -> None:
    await client.until(b"data:", len(SAID))


async def _upstream_answers(proxy: RunningProxy, _client: RawClient) -> None:
    await eventually(lambda: _phases(proxy) == ["streaming"], what="the upstream answers")


async def _has_much(_proxy: RunningProxy, client: RawClient) -> None:
    while len(client.buffer) < 300_000:
        await client.receive()


MOMENTS = {
    "before the header": Moment(hang(), STREAM, "waiting", _asked),
    "before the header, plain": Moment(hang(), PLAIN, "waiting", _asked),
    "before the first event": Moment(headers_then_hang(), STREAM, "waiting", _has_header),
    "after the header, plain": Moment(cut_at(WHOLE, 1, "hang", headers=JSON), PLAIN, "streaming", _upstream_answers),
    "mid-stream": Moment(events_then_hang(SAID), STREAM, "streaming", _has_events, text(8)),
    "mid-event": Moment(events_then_hang([*SAID, b'data: {"id":']), STREAM, "streaming", _has_events, text(8)),
    "mid-answer, plain": Moment(cut_at(WHOLE, 200, "hang", headers=JSON), PLAIN, "streaming", _upstream_answers),
    "mid-answer, large": Moment(cut_at(LARGE, 400_000, "hang", headers=JSON), PLAIN, "streaming", _has_much),
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
async def test_the_upstream_is_closed_at_once(tmp_path: Path, moment: Moment) -> None:
    """C1 to C4, C6: whenever and however a client leaves, the upstream is closed at once, and the partial kept."""
    async with (
        scripted_upstream(moment.script) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        for index, (leave, leaves) in enumerate(LEAVES.items()):
            async with RawClient(proxy.port) as client:
                await start(client, leave, moment.body)
                conn = await up.conn(index)
                await moment.ready(proxy, client)
                assert not conn.closed.is_set()
                left = time.perf_counter()
                leaves(client)
                closed = await conn.wait_closed()
                await settled(proxy)
            kept = await record(proxy, leave)
            assert not conn.closed_by_us
            assert closed - left < PROMPT
            assert (kept["outcome"], kept["cause"], kept["phase"]) == ("client_gone", "disconnect", moment.phase), leave
            assert (kept["text"], kept["characters"]) == (moment.text, len(moment.text))
            assert kept["prompt_tokens"] > 0
            assert bool(kept["completion_tokens"]) == bool(moment.text)
            assert kept["upstream_closed_ms"] < PROMPT * 1000
            assert (kept["cancelled_by"], kept["error_kind"]) == (None, None)


@pytest.mark.parametrize("body", [STREAM, PLAIN], ids=["streaming", "plain"])
async def test_waiting_for_a_slot(tmp_path: Path, body: dict[str, Any]) -> None:
    """A client that leaves the queue never reaches the upstream, bills nothing, and its place goes to the next."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url, upstream={"slots": 1}), tmp_path) as proxy,
        RawClient(proxy.port) as first,
        RawClient(proxy.port) as third,
    ):
        slots = proxy.app.gateway.runtime.upstreams["up"].slots
        await start(first, "t-1")
        await first.until(b"data:", len(SAID))
        for leave, leaves in LEAVES.items():
            async with RawClient(proxy.port) as second:
                await start(second, leave, body)
                await eventually(lambda: slots.waiting == 1, what="the second call waits")
                leaves(second)
                await eventually(lambda: len(proxy.app.engine.registry) == 1, what="the second call is over")
            kept = await record(proxy, leave)
            assert (kept["outcome"], kept["cause"], kept["phase"]) == ("client_gone", "disconnect", "queued")
            assert (kept["prompt_tokens"], kept["completion_tokens"], kept["usage_source"]) == (None, None, "none")
        await start(third, "t-3")
        await eventually(lambda: slots.waiting == 1, what="the third call waits")
        assert len(up.requests) == 1
        first.fin()
        await third.until(b"data:", len(SAID))
        assert len(up.requests) == 2


async def test_during_the_tls_handshake(tmp_path: Path) -> None:
    """A client that leaves while the connection is being made ends the attempt."""

    async def never_shakes_hands(conn: Conn) -> None:
        await conn.sleep_until_closed()

    async with scripted_upstream(never_shakes_hands, begin="connect") as up:
        base_url = up.base_url.replace("http://", "https://")
        async with running_proxy(config_text(base_url), tmp_path) as proxy:
            async with RawClient(proxy.port) as client:
                await start(client, "t-1")
                conn = await up.conn()
                client.fin()
                await conn.wait_closed()
                await settled(proxy)
            kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["phase"]) == ("client_gone", "connecting")


async def test_at_every_byte_of_the_end(tmp_path: Path) -> None:
    """C5: from the finish reason on it is completed, wherever in the usage chunk or `[DONE]` the client leaves.

    The usage is the upstream's own as soon as its chunk was whole.
    """
    events = chat_events(3, usage=True)
    body, finished = b"".join(events), len(b"".join(events[:-2]))
    counted = finished + len(events[-2])

    async def script(conn: Conn) -> None:
        await cut_at(body, int(conn.request.header("X-Offset") or 0), "hang")(conn)

    config = {"upstream": {"usage": "none"}, "ledger": {"text": "all"}}

    async def leave_at(offset: int) -> None:
        async with RawClient(proxy.port) as client:
            await client.post(CHAT, STREAM, ANYBODY.headers(X_Task_Id=f"t-{offset}", X_Offset=str(offset)))
            await client.until(b"data:", len(events) - 2 + (offset >= counted) + (offset == len(body)))
            client.fin()

    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url, **config), tmp_path) as proxy:
        for some in batched(range(finished, len(body) + 1), 25):
            await asyncio.gather(*map(leave_at, some))
            await settled(proxy)
        listed = await every_record(proxy)
    assert len(listed) == len(body) + 1 - finished
    for each in listed:
        assert (each["outcome"], each["cause"], each["text"]) == ("completed", None, text(3)), each["task_id"]
        if int(each["task_id"].removeprefix("t-")) >= counted:
            assert (each["usage_source"], each["completion_tokens"]) == ("upstream", 3), each["task_id"]
        else:
            assert each["usage_source"] in {"tokenizer", "estimate"}, each["task_id"]


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in their order, so many at a time."""
    return (items[at : at + size] for at in range(0, len(items), size))


async def every_record(proxy: RunningProxy) -> list[dict[str, Any]]:
    """The records of all generations, newest first."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await call(proxy, "GET", f"/v1/generations?limit=100{cursor}")).json()
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_after_the_end_before_reading_it(tmp_path: Path) -> None:
    """C7: a client that leaves without having read its whole answer does not change that it is completed."""
    async with (
        scripted_upstream(sse_stream(chat_events(3, usage=True))) as up,
        running_proxy(config_text(up.base_url, ledger={"text": "all"}), tmp_path) as proxy,
    ):
        for index, (leave, leaves) in enumerate(LEAVES.items()):
            async with RawClient(proxy.port) as client:
                await start(client, leave)
                await up.conn(index)
                await settled(proxy)
                leaves(client)
            kept = await record(proxy, leave)
            assert (kept["outcome"], kept["usage_source"], kept["text"]) == ("completed", "upstream", text(3))


class Held:
    """An upstream that waits for `go`: before its head, and again after the first half of its answer."""

    def __init__(self, head: Headers, first: bytes, rest: bytes) -> None:
        self.head, self.first, self.rest = head, first, rest
        self.go = asyncio.Queue[None]()

    async def __call__(self, conn: Conn) -> None:
        """Answer one exchange."""
        await self.go.get()
        await conn.head(200, self.head)
        await conn.chunk(self.first)
        await self.go.get()
        await conn.chunk(self.rest)
        await conn.end()


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "plain"])
async def test_finish_reads_on(tmp_path: Path, *, streaming: bool) -> None:
    """C8: with `on_disconnect: finish` a client that leaves changes nothing for the upstream: it is read to its end."""
    events = chat_events(8, usage=True)
    held = Held(SSE, b"".join(events[:4]), b"".join(events[4:])) if streaming else Held(JSON, WHOLE[:200], WHOLE[200:])
    config = {"route": {"on_disconnect": "finish"}, "ledger": {"text": "all"}}
    async with scripted_upstream(held) as up, running_proxy(config_text(up.base_url, **config), tmp_path) as proxy:
        for index, early in enumerate((True, False)):
            task_id = f"t-{index}"
            async with RawClient(proxy.port) as client:
                await start(client, task_id, STREAM if streaming else PLAIN)
                await eventually(lambda: len(up.requests) > index, what="the upstream has the call")  # noqa: B023 it is awaited here
                if not early:
                    held.go.put_nowait(None)
                    await eventually(lambda: _phases(proxy) == ["streaming"], what="the upstream answers")
                LEAVES["reset"](client)
                await eventually(lambda: _readers(proxy) == 0, what="the client's end was seen")
            for _ in range(1 + early):
                held.go.put_nowait(None)
            await settled(proxy)
            kept = await record(proxy, task_id)
            assert not (await up.conn(index)).closed.is_set()
            assert (kept["outcome"], kept["cause"], kept["usage_source"]) == ("completed", None, "upstream")
            assert (kept["text"], kept["completion_tokens"]) == (text(8), 8)
        assert up.opened == 1


def _phases(proxy: RunningProxy) -> list[str]:
    return [relay.generation.phase.value for relay in proxy.app.engine.registry]


def _readers(proxy: RunningProxy) -> int:
    return sum(len(relay.readers) for relay in proxy.app.engine.registry)


@pytest.mark.parametrize("leave", LEAVES.values(), ids=LEAVES.keys())
async def test_with_requests_queued_behind(
    tmp_path: Path, leave: Callable[[RawClient], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """C9: a client that queued 200 calls behind its stream and leaves is noticed; the queued ones are never made."""
    monkeypatch.setattr(protocol, "PEER_POLL", 0.05)
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        async with RawClient(proxy.port) as client:
            await start(client, "t-1")
            await client.until(b"data:", len(SAID))
            await client.send(request_bytes("POST", CHAT, PLAIN) * 200)
            leave(client)
            conn = await up.conn()
            await conn.wait_closed()
            await settled(proxy)
        kept = await record(proxy, "t-1")
        listed = await every_record(proxy)
    assert (kept["outcome"], kept["text"]) == ("client_gone", text(8))
    assert len(up.requests) == len(listed) == 1


@pytest.mark.parametrize("number", [2, 32])
async def test_pipelined_calls(tmp_path: Path, number: int) -> None:
    """C10: pipelined calls are made one after the other, answered in order and whole, and have one record each."""

    async def script(conn: Conn) -> None:
        at_work.append(conn)
        assert len(at_work) == 1
        words = [conn.request.header("X-Word") or ""]
        if conn.request.json()["stream"]:
            await sse_stream(chat_events(words=words))(conn)
        else:
            await json_answer(words)(conn)
        at_work.remove(conn)

    at_work: list[Conn] = []
    calls = [
        request_bytes("POST", CHAT, {**STREAM, "stream": index % 2 == 0}, [("X-Word", f"w{index}")])
        for index in range(number)
    ]
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        async with RawClient(proxy.port) as client:
            await client.send(b"".join(calls))
            answers = [await client.answer() for _ in calls]
        await settled(proxy)
        listed = await every_record(proxy)
    for index, answer in enumerate(answers):
        plain = json.dumps([f"w{index}"]).encode()
        assert answer.body == (b"".join(chat_events(words=[f"w{index}"])) if index % 2 == 0 else plain)
    assert [each["task_id"] for each in listed] == [answer.header("X-Task-Id") for answer in reversed(answers)]


@pytest.mark.parametrize("script", [hang(), cut_at(WHOLE, 200, "hang", headers=JSON)], ids=["silent", "mid-answer"])
async def test_calls_that_are_passed_through(tmp_path: Path, script: Script) -> None:
    """A call without a generation is closed upstream too when its client leaves, and leaves no record."""
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        for index, leaves in enumerate(LEAVES.values()):
            async with RawClient(proxy.port) as client:
                await client.get("/v1/models")
                conn = await up.conn(index)
                if conn.sent:
                    await client.until(WHOLE[:200])
                left = time.perf_counter()
                leaves(client)
                assert await conn.wait_closed() - left < PROMPT
        assert await every_record(proxy) == []


async def test_many_leave_at_random(tmp_path: Path) -> None:
    """A hundred clients that leave at random: one record each that agrees with what was sent, nothing stays open."""
    chance = random.Random(7)
    closing = [*SSE, ("Connection", "close")]
    stream = sse_stream(chat_events(12, usage=True), 0.004, headers=closing)
    plain = json_answer(chat_object(12), headers=[("Connection", "close")])

    async def script(conn: Conn) -> None:
        await conn.pause(chance.random() / 50)
        await (stream if conn.request.json().get("stream") else plain)(conn)

    async def visit(number: int) -> None:
        async with RawClient(proxy.port) as client:
            await start(client, f"t-{number}", chance.choice((STREAM, PLAIN)))
            await asyncio.sleep(chance.random() / 8)
            chance.choice(list(LEAVES.values()))(client)

    config = {"ledger": {"text": "all"}}
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url, **config), tmp_path) as proxy:
        await call(proxy, "GET", "/v1/generations")
        async with back_to_start():
            for some in batched(range(100), 20):
                await asyncio.gather(*map(visit, some))
            await settled(proxy)
            await up.no_connections()
        listed = await every_record(proxy)
    assert sorted(each["task_id"] for each in listed) == sorted(f"t-{number}" for number in range(100))
    assert {each["outcome"] for each in listed} == {"client_gone", "completed"}
    for each in listed:
        whole = each["text"] == text(12)
        assert whole if each["outcome"] == "completed" else text(12).startswith(each["text"])
