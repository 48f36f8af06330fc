"""`GET /generations/{id}/events`: the client's stream again, live or over, from any event on, to many readers."""

import asyncio
import base64
import json
import random
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from proxy.core import sse as core_sse
from support.chat import DONE, chat_events, sse, text
from support.client import Answer, RawClient
from support.lag import shrink_send_buffers
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import JSON, SSE, cut_at, events_then_hang, json_answer, sse_stream
from support.stops import CHAT, PLAIN, STREAM, Ask, call, record, settled, start, stop
from support.upstream import Conn, scripted_upstream
from support.wait import eventually

EVENTS = chat_events(8, usage=True)
SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""

PATH = "/v1/generations/t-1/events"


def numbered(events: list[bytes], first: int = 1) -> list[bytes]:
    """The events as an observer gets them."""
    return [b"id: %d\n%b" % (number, event) for number, event in enumerate(events, first)]


class Stepwise:
    """An upstream that sends an event each time it is told to, and then ends properly."""

    def __init__(self, events: list[bytes]) -> None:
        self.events = events
        self._steps = asyncio.Semaphore(0)

    def step(self, count: int = 1) -> None:
        """Send so many more events."""
        for _ in range(count):
            self._steps.release()

    async def __call__(self, conn: Conn) -> None:
        """Answer an exchange."""
        await conn.head(200, SSE)
        for event in self.events:
            await self._steps.acquire()
            await conn.chunk(event)
        await conn.end()


async def test_live_from_the_start(tmp_path: Path) -> None:
    """Observers who come at any time get the whole stream, numbered from 1, live, to its proper end."""
    upstream = Stepwise(EVENTS)
    async with (
        scripted_upstream(upstream) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        AsyncExitStack() as stack,
    ):
        client = await stack.enter_async_context(RawClient(proxy.port))
        observers: list[RawClient] = []
        await start(client, "t-1")
        await up.conn()
        for count in range(len(EVENTS)):
            observers.append(await stack.enter_async_context(RawClient(proxy.port)))
            await observers[-1].get(PATH)
            upstream.step()
            for each in (client, *observers):
                await each.until(b"data:", 1 + count)
        received = [await each.answer() for each in (client, *observers)]
    assert received[0].body == b"".join(EVENTS)
    for told in received[1:]:
        assert told.complete
        assert told.body == b"".join(numbered(EVENTS))
        assert told.header("Content-Type") == "text/event-stream"
        assert (told.header("X-Accel-Buffering"), told.header("Cache-Control")) == ("no", "no-cache, no-transform")


async def test_before_the_answer_begins(tmp_path: Path) -> None:
    """An observer may come before the upstream has answered; it gets the stream once there is one."""
    go = asyncio.Event()

    async def script(conn: Conn) -> None:
        await go.wait()
        await sse_stream(EVENTS)(conn)

    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
        RawClient(proxy.port) as observer,
    ):
        await start(client, "t-1")
        await up.conn()
        await observer.get(PATH)
        await eventually(lambda: readers(proxy) == 2, what="the observer is there")
        go.set()
        assert (await observer.answer()).body == b"".join(numbered(EVENTS))


def readers(proxy: RunningProxy) -> int:
    """How many read the live generations."""
    return sum(len(relay.readers) for relay in proxy.app.engine.registry)


async def test_going_on_behind_an_event(tmp_path: Path) -> None:
    """`Last-Event-ID`, else `after`, goes on behind an event, live and over, by every id."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        async with RawClient(proxy.port) as client:
            await start(client, "t-1")
            await client.until(b"data:", len(SAID))
            async with RawClient(proxy.port) as live:
                await live.get(f"{PATH}?after=3")
                await live.until(b"data:", len(SAID) - 3)
                receipt = (await stop(proxy, "t-1")).json()
                whole = (await client.answer()).events
                told = await live.answer()
        assert told.body == b"".join(numbered_with_comments(whole)[3:])
        assert receipt["result"] == "stopped"
        last = sum(not event.startswith(b":") for event in whole)
        for any_id in ("t-1", receipt["message_id"], "chatcmpl-scripted-1"):
            for after in (0, 1, last - 1, last, last + 5):
                path = f"/v1/generations/{any_id}/events"
                by_query = await call(proxy, "GET", f"{path}?after={after}")
                by_header = await call(proxy, "GET", path, Last_Event_ID=str(after))
                both = await call(proxy, "GET", f"{path}?after=2", Last_Event_ID=str(after))
                events = core_sse.events(by_query.body)
                assert [event.id for event in events] == [str(n) for n in range(after + 1, last + 1)]
                assert by_query.body == by_header.body == both.body
                assert by_query.complete


def numbered_with_comments(events: list[bytes]) -> list[bytes]:
    """The events as an observer gets them; comments have no number."""
    number = 0
    found = []
    for event in events:
        number += not event.startswith(b":")
        found.append(event if event.startswith(b":") else b"id: %d\n%b" % (number, event))
    return found


async def test_an_observer_sees_the_stop(tmp_path: Path) -> None:
    """A stopped stream ends for a live and for a late observer as it ended for its client."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
        RawClient(proxy.port) as observer,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await observer.get(PATH)
        await observer.until(b"data:", len(SAID))
        await stop(proxy, "t-1")
        ended, live = (await client.answer()), await observer.answer()
        late = await call(proxy, "GET", PATH)
    assert ended.events[-1] == DONE
    assert live.complete
    assert late.complete
    assert live.body == late.body == b"".join(numbered_with_comments(ended.events))


async def test_an_observer_sees_the_break(tmp_path: Path) -> None:
    """A stream that breaks is broken off for a live observer as for its client, error event included."""
    go = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        await conn.chunk(b"".join(SAID))
        await go.wait()
        conn.reset()

    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
        RawClient(proxy.port) as observer,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await observer.get(PATH)
        await observer.until(b"data:", len(SAID))
        go.set()
        ended, live = (await client.answer()), await observer.answer()
    assert b'"error"' in ended.events[-1]
    assert not ended.complete
    assert not live.complete
    assert live.body == b"".join(numbered(ended.events))


async def test_a_late_observer_sees_the_break(tmp_path: Path) -> None:
    """A late observer of a broken stream sees it broken off too, so that nobody takes it for complete."""
    async with (
        scripted_upstream(sse_stream(SAID, then="reset")) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        ended = await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        await settled(proxy)
        late = await call(proxy, "GET", PATH)
    assert not ended.complete
    assert late.body == b"".join(numbered(ended.events))
    assert not late.complete


async def test_a_torn_plain_answer_is_no_event(tmp_path: Path) -> None:
    """What came of a plain answer that broke is shown to no late observer, who is broken off."""
    go = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "audio/mpeg")])
        await conn.chunk(b"sound")
        await go.wait()
        conn.reset()

    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await client.post("/v1/audio/speech", PLAIN, [("X-Task-Id", "t-1")])
        await client.until(b"sound")
        go.set()
        ended = await client.answer()
        await settled(proxy)
        late = await call(proxy, "GET", PATH)
    assert (ended.status, ended.complete) == (200, False)
    assert (late.status, late.body, late.complete) == (200, b"", False)


async def test_a_late_observer_keeps_the_tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tape of an ended generation stays past its time while a slow late observer reads it, and goes then."""
    shrink_send_buffers(monkeypatch)
    events = [*noisy_events(1500), DONE]
    async with (
        scripted_upstream(sse_stream(events)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        registry, now = proxy.app.engine.registry, proxy.app.engine.now
        await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        await settled(proxy)
        async with RawClient(proxy.port, receive_buffer=16_384) as slow:
            await slow.get(PATH)
            await slow.until(b"data:")
            assert registry.expire(now() + 1000) == []
            assert (await slow.answer()).body == b"".join(numbered(events))
        found = registry.find_finished("anonymous", "t-1")
        assert found is not None
        await eventually(lambda: not found.readers, what="the observer's end was seen")
        assert registry.expire(now() + 3000) == [found]


@pytest.mark.parametrize(
    "body",
    [b'{"choices":[{"index":0,"finish_reason":"stop"}]}', b'{\n "a": 1,\r\n "b": "x"\n}\n'],
    ids=["compact", "pretty"],
)
async def test_a_plain_answer_is_one_event(tmp_path: Path, body: bytes) -> None:
    """A non-streaming answer is one event, for a live observer, for a late one, and nothing behind it."""
    go = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head(200, JSON, length=len(body))
        await conn.chunk(body[:20])
        await go.wait()
        await conn.chunk(body[20:])

    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        async with RawClient(proxy.port) as client, RawClient(proxy.port) as observer:
            await start(client, "t-1", PLAIN)
            await up.conn()
            await observer.get(PATH)
            await eventually(lambda: readers(proxy) == 2, what="the observer is there")
            go.set()
            assert (await client.answer()).body == body
            live = await observer.answer()
        late = await call(proxy, "GET", PATH)
        behind = await call(proxy, "GET", f"{PATH}?after=1")
    assert live.body == late.body
    (event,) = core_sse.events(live.body)
    assert (event.id, json.loads(event.data)) == ("1", json.loads(body))
    assert (behind.status, behind.body, behind.complete) == (200, b"", True)


async def test_an_error_answer_is_one_event(tmp_path: Path) -> None:
    """An upstream's refusal is an answer too: its observers get its body as one event."""
    async with (
        scripted_upstream(json_answer({"error": {"code": "limited"}}, 429)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        await settled(proxy)
        late = await call(proxy, "GET", PATH)
    assert [json.loads(event.data) for event in core_sse.events(late.body)] == [{"error": {"code": "limited"}}]


def noisy_events(number: int) -> list[bytes]:
    """Events that do not compress, of a kilobyte each."""
    chance = random.Random(5)
    return [sse({"x": base64.b64encode(chance.randbytes(700)).decode()}) for _ in range(number)]


async def test_gone_when_trimmed(tmp_path: Path) -> None:
    """What a tape over its bound has forgotten is answered 410, by its number; what is behind that is served."""
    events = noisy_events(200)
    config = {"limits": {"tape": "64KiB"}}
    async with (
        scripted_upstream(sse_stream([*events, DONE], 0.0001)) as up,
        running_proxy(config_text(up.base_url, **config), tmp_path) as proxy,
    ):
        await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        await settled(proxy)
        refused = [await call(proxy, "GET", f"{PATH}?after={after}") for after in (0, 10, 100)]
        served = await call(proxy, "GET", f"{PATH}?after=170")
    assert [each.status for each in refused] == [410] * 3
    assert refused[0].json()["error"]["code"] == "events_gone"
    words = [each.json()["error"]["message"].partition(" are ")[0] for each in refused]
    assert words == [
        "The first events of this generation",
        "The events behind number 10",
        "The events behind number 100",
    ]
    assert served.body == b"".join(numbered([*events[170:], DONE], 171))


async def test_gone_when_a_plain_answer_was_trimmed(tmp_path: Path) -> None:
    """A non-streaming answer that is not kept whole is never shown in part: 410."""
    config = {"limits": {"tape": "64KiB"}}

    async def script(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "audio/mpeg")])
        for _ in range(30):
            await conn.chunk(b"x" * 10_000)
            await eventually(lambda: len(client.buffer) >= len(conn.sent), what="the client keeps up")
        await conn.end()

    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, **config), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await client.post("/v1/audio/speech", PLAIN, [("X-Task-Id", "t-1")])
        await client.until(b"\r\n0\r\n\r\n")
        await settled(proxy)
        late = await call(proxy, "GET", PATH)
        behind = await call(proxy, "GET", f"{PATH}?after=1")
    assert (late.status, late.json()["error"]["code"]) == (410, "events_gone")
    assert (behind.status, behind.body) == (200, b"")


async def test_gone_after_its_time(tmp_path: Path) -> None:
    """A generation that ended before the last start has a record but no events any more: 410."""
    async with scripted_upstream(sse_stream(EVENTS)) as up:
        config = config_text(up.base_url)
        async with running_proxy(config, tmp_path) as proxy:
            await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        async with running_proxy(config, tmp_path) as proxy:
            gone, unknown = await call(proxy, "GET", PATH), await call(proxy, "GET", "/v1/generations/t-2/events")
            foreign = await call(proxy, "GET", PATH, ask=Ask("stranger"))
    assert (gone.status, unknown.status, foreign.status) == (410, 404, 404)


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "%C2%B2", "9" * 40])
async def test_no_event_number(tmp_path: Path, after: str) -> None:
    """What is no event number is refused with 400."""
    async with scripted_upstream(sse_stream(EVENTS)) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        refused = await call(proxy, "GET", f"{PATH}?after={after}")
    assert (refused.status, refused.json()["error"]["code"]) == (400, "invalid_parameter")


async def test_coming_back_loses_nothing(tmp_path: Path) -> None:
    """With `linger` a client that was cut off comes back behind the last event it got, twice, and has them all."""
    upstream = Stepwise(EVENTS)
    config = {"route": {"on_disconnect": "linger", "linger": "60s"}, "ledger": {"text": "all"}}
    async with scripted_upstream(upstream) as up, running_proxy(config_text(up.base_url, **config), tmp_path) as proxy:
        async with RawClient(proxy.port) as client:
            await start(client, "t-1")
            upstream.step(4)
            await client.until(b"data:", 4)
            client.reset()
        await eventually(lambda: readers(proxy) == 0, what="the client's end was seen")
        upstream.step(3)
        async with RawClient(proxy.port) as back:
            await back.get(f"{PATH}?after=4")
            await back.until(b"data:", 3)
            assert [number for number in range(1, 9) if b"id: %d\n" % number in back.buffer] == [5, 6, 7]
            back.reset()
        await eventually(lambda: readers(proxy) == 0, what="its end was seen again")
        upstream.step(len(EVENTS))
        async with RawClient(proxy.port) as back:
            await back.get(PATH, [("Last-Event-ID", "7")])
            rest = await back.answer()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert rest.body == b"".join(numbered(EVENTS[7:], 8))
    assert (kept["outcome"], kept["cause"], kept["text"]) == ("completed", None, text(8))


async def test_linger_runs_out(tmp_path: Path) -> None:
    """When nobody came back within `linger` the upstream is closed: `client_gone`. An observer keeps it alive."""
    config = {"route": {"on_disconnect": "linger", "linger": "300ms"}, "ledger": {"flush": "50ms"}}
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url, **config), tmp_path) as proxy,
    ):
        conns = []
        for index, observed in enumerate((False, True)):
            async with RawClient(proxy.port) as client, RawClient(proxy.port) as observer:
                await start(client, f"t-{index}")
                await client.until(b"data:", len(SAID))
                conns.append(await up.conn(index))
                if observed:
                    await observer.get(f"/v1/generations/t-{index}/events")
                    await observer.until(b"data:", len(SAID))
                client.fin()
                if not observed:
                    await conns[0].wait_closed()
                    continue
                await eventually(lambda: readers(proxy) == 1, what="the client's end was seen")
                await asyncio.sleep(0.5)
                assert not conns[1].closed.is_set()
            await conns[1].wait_closed()
        await settled(proxy)
        kept = [await record(proxy, task_id) for task_id in ("t-0", "t-1")]
    assert {(each["outcome"], each["cause"], each["text"]) for each in kept} == {("client_gone", "disconnect", text(8))}


async def test_finish_can_be_read_later(tmp_path: Path) -> None:
    """With `finish` the stream of a client that left can be read afterwards, whole."""
    upstream = Stepwise(EVENTS)
    config = {"route": {"on_disconnect": "finish"}}
    async with scripted_upstream(upstream) as up, running_proxy(config_text(up.base_url, **config), tmp_path) as proxy:
        async with RawClient(proxy.port) as client:
            await start(client, "t-1")
            upstream.step(2)
            await client.until(b"data:", 2)
        await eventually(lambda: readers(proxy) == 0, what="the client's end was seen")
        upstream.step(len(EVENTS))
        await settled(proxy)
        assert (await call(proxy, "GET", PATH)).body == b"".join(numbered(EVENTS))
        assert (await record(proxy, "t-1"))["outcome"] == "completed"


async def test_an_observer_holds_the_generation(tmp_path: Path) -> None:
    """With `cancel` the upstream is closed when the last of several readers left, not before."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        await call(proxy, "GET", "/v1/generations")
        async with RawClient(proxy.port) as client, RawClient(proxy.port) as observer:
            await start(client, "t-1")
            await client.until(b"data:", len(SAID))
            await observer.get(PATH)
            await observer.until(b"data:", len(SAID))
            client.fin()
            await eventually(lambda: readers(proxy) == 1, what="the client's end was seen")
            conn = await up.conn()
            assert not conn.closed.is_set()
            observer.fin()
            await conn.wait_closed()
        await settled(proxy)
        assert (await record(proxy, "t-1"))["outcome"] == "client_gone"


ODD = (
    b"data: one\nid: 99\nevent: a\n\n: second\n\n"
    b"id: 7\n\n: ping\r\n\r\ndata: two\r\ndata: more\r\n\r\nretry: 5\n\n"
    b"data: three\rid\r\rid:4\ndata\n\ndata: cut"
)


@pytest.mark.parametrize("start_of_stream", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
async def test_odd_events_keep_their_numbers(tmp_path: Path, start_of_stream: bytes) -> None:
    """Comments, foreign ids, other line ends, a byte order mark: what a parser dispatches is what is numbered."""
    body = start_of_stream + ODD
    whole = [event.data for event in core_sse.events(body, at_start=True)]
    assert len(whole) == 4
    seen: dict[int, list[tuple[str | None, bytes]]] = {}
    async with (
        scripted_upstream(cut_at(body, len(body), "end")) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        assert (await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")).body == body
        await settled(proxy)
        for after in range(5):
            told = await call(proxy, "GET", f"{PATH}?after={after}")
            seen[after] = [(event.id, event.data) for event in core_sse.events(told.body, at_start=True)]
            assert told.body.endswith(b"data: cut")
            assert not {b"id: 99", b"id: 7", b"id:4"} & set(told.body.splitlines())
    for after, events in seen.items():
        assert events == [(str(number), data) for number, data in enumerate(whole, 1)][after:]


LARGE = b"data: " + b"x" * 1_500_000 + b"\n\n"
"""An event that is too large to be held until it is whole."""


async def test_a_large_event_is_numbered(tmp_path: Path) -> None:
    """An event that passes in pieces has one number, for a live observer as for a client that counts."""
    events = [sse(1), LARGE, sse(2), b"id: 9\n" + LARGE, LARGE, sse(3), DONE]
    body = b"".join(events)
    cuts = [*range(0, len(body), 300_007), len(body)]
    pieces = [body[at:end] for at, end in pairwise(cuts)]
    upstream = Stepwise(pieces)
    async with (
        scripted_upstream(upstream) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
        RawClient(proxy.port) as observer,
        RawClient(proxy.port) as behind,
    ):
        await start(client, "t-1")
        await up.conn()
        await observer.get(PATH)
        await behind.get(f"{PATH}?after=2")
        await eventually(lambda: readers(proxy) == 3, what="the observers are there")
        upstream.step(len(pieces))
        assert (await client.answer()).body == body
        told = (await observer.answer()).body
        assert (await behind.answer()).body == told[told.index(b"id: 3\n") :]
    assert told == b"".join(numbered([event.removeprefix(b"id: 9\n") for event in events]))


@pytest.mark.parametrize("first", [b"\xef\xbb\xbfdata: one\n\n", LARGE], ids=["byte order mark", "large event"])
async def test_numbers_in_a_long_stream(tmp_path: Path, first: bytes) -> None:
    """However a long stream begins, every event behind that is found again by its number."""
    events = [first, *noisy_events(100)]
    async with (
        scripted_upstream(sse_stream(events, 0.001)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        await settled(proxy)
        for after in (1, 50, 100):
            told = await call(proxy, "GET", f"{PATH}?after={after}")
            assert told.body == b"".join(numbered(events[after:], after + 1))


async def test_random_streams_are_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow and fast observers that join anywhere in a long stream get exactly the events behind that."""
    shrink_send_buffers(monkeypatch)
    chance = random.Random(11)
    events = [
        sse({"x": base64.b64encode(chance.randbytes(chance.choice((1, 20, 3000)))).decode()})
        if chance.random() < 0.9
        else b": comment\n\n"
        for _ in range(1500)
    ]
    body, count = b"".join(events), sum(event != b": comment\n\n" for event in events)

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        at = 0
        while at < len(body):
            size = chance.choice((10, 1000, 30_000))
            await conn.chunk(body[at : at + size])
            at += size
            await conn.pause(0.001)
        await conn.end()

    async def observe(index: int) -> tuple[int, Answer]:
        after = chance.randrange(count)
        slow = index % 2 == 1
        async with RawClient(proxy.port, receive_buffer=16_384 if slow else None) as observer:
            await observer.get(f"{PATH}?after={after}")
            for _ in range(30 if slow else 0):
                if observer.buffer.endswith(b"\r\n0\r\n\r\n"):
                    break
                await observer.receive(5000)
                await asyncio.sleep(0.001)
            return after, await observer.answer()

    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:")
        told = await asyncio.gather(*(observe(index) for index in range(12)))
        assert (await client.answer()).body == body
    whole = core_sse.events(body)
    for after, received in told:
        assert received.complete
        assert [(event.id, event.data) for event in core_sse.events(received.body)] == [
            (str(number), event.data) for number, event in enumerate(whole[after:], after + 1)
        ]
