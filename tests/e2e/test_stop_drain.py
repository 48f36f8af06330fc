"""Reading on behind a stop (`on_stop: drain`): the client goes at once, the upstream is read for its usage."""

import asyncio
import gzip
import json
import random
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dialects.drivers import DRIVERS
from dialects.drivers.base import Driver, names, read_events
from support.chat import UPSTREAM_ID, chat_events, chat_object, completion_events, text
from support.client import RawClient
from support.leaks import back_to_start
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import SSE, endless_sse, json_answer, sse_stream
from support.stops import PLAIN, STREAM, Ask, call, record, settled, start, stop
from support.upstream import Conn, Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually, within

DRAIN: dict[str, Any] = {"on_stop": "drain", "bills_after_close": "yes", "usage": "final"}
OWNER = Ask("sk-owner")
WHOLE = chat_events(12, usage=True)
SAID = WHOLE[:9]
"""Role and eight words of twelve."""
REST = WHOLE[9:]
AT_ONCE = 50


class Slow:
    """An upstream that says a part of its answer, and the rest when it is let go. It never notices a stop."""

    def __init__(self, first: Sequence[bytes] = SAID, rest: Sequence[bytes] = REST) -> None:
        self.go_on = asyncio.Event()
        self.read_to_the_end = 0
        self._first, self._rest = first, rest

    async def __call__(self, conn: Conn) -> None:
        """See `Script`."""
        if self._first:
            await conn.head(200, SSE)
        for event in self._first:
            await conn.chunk(event)
        await self.go_on.wait()
        if not self._first:
            await conn.head(200, SSE)
        for event in self._rest:
            await conn.chunk(event)
        await conn.end()
        self.read_to_the_end += 1


@asynccontextmanager
async def served(
    script: Script, folder: Path, drain: dict[str, Any] | None = None, **config: Any
) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy in front of an upstream that is read on; `drain` are the bounds."""
    upstream = {**DRAIN, **config.pop("upstream", {})} | ({"drain": drain} if drain else {})
    async with scripted_upstream(script) as up:
        config = {"ledger": {"text": "all"}, **config}
        async with running_proxy(config_text(up.base_url, upstream=upstream, **config), folder) as proxy:
            yield proxy, up


async def stopped_mid_stream(proxy: RunningProxy, client: RawClient, task_id: str = "t-1") -> dict[str, Any]:
    """Start a stream, read what is said, stop it; gives the receipt."""
    await start(client, task_id)
    await client.until(b"data:", len(SAID))
    receipt: dict[str, Any] = (await stop(proxy, task_id)).json()
    return receipt


async def test_the_client_goes_at_once_and_the_usage_is_exact(tmp_path: Path) -> None:
    """The stream ends with its stop; receipt and record say that it is not over, until the upstream's last byte."""
    slow = Slow()
    async with served(slow, tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        receipt = await stopped_mid_stream(proxy, client)
        answer = await client.answer()
        live = await record(proxy, "t-1")
        assert up.connections == 1
        slow.go_on.set()
        await settled(proxy)
        kept = await record(proxy, "t-1")
        again = (await stop(proxy, "t-1")).json()
    assert answer.complete
    assert answer.events[: len(SAID)] == SAID
    assert answer.events[-3] == b": quell: task_id=t-1 cause=client\n\n"
    assert answer.events[-1] == b"data: [DONE]\n\n"
    assert (receipt["result"], receipt["status"], receipt["phase"]) == ("stopping", "cancelling", "streaming")
    assert (receipt["upstream_closed_ms"], receipt["partial"]["text"]) == (None, text(8))
    assert (live["outcome"], live["cause"], live["ended_at"]) == ("running", "client", None)
    assert slow.read_to_the_end == 1
    assert (kept["outcome"], kept["cause"], kept["text"]) == ("cancelled", "client", text(8))
    assert (kept["prompt_tokens"], kept["completion_tokens"], kept["usage_source"]) == (7, 9, "tokenizer")
    assert (kept["late_tokens"], kept["settlement"]) == (12 - 9, "produced")
    assert kept["upstream_closed_ms"] > 0
    assert (again["result"], again["usage"]["completion_tokens"]) == ("stopped", 9)


async def test_the_stop_is_answered_before_the_time_to_confirm_is_over(tmp_path: Path) -> None:
    """Nobody waits for an upstream that is read on: not the first stop, nor a second one."""
    slow = Slow()
    async with served(slow, tmp_path, cancellation={"confirm_timeout": "10m"}) as (proxy, _):
        async with RawClient(proxy.port) as client:
            first = await within(stopped_mid_stream(proxy, client), "the stop is answered")
            second = (await within(stop(proxy, "t-1"), "the second stop is answered")).json()
            many = await within(call(proxy, "POST", "/v1/generations/cancel", {"all": True}), "stopping all")
        slow.go_on.set()
    assert (first["result"], second["result"], many.json()["count"]) == ("stopping", "stopping", 0)
    assert {name: value for name, value in second.items() if name != "usage"} == {
        name: value for name, value in first.items() if name != "usage"
    }


@pytest.mark.parametrize(
    ("settlement", "tokens", "source"),
    [("produced", 9, "tokenizer"), ("drained", 12, "upstream"), ("void", 9, "tokenizer")],
)
async def test_the_route_says_what_is_billed(tmp_path: Path, settlement: str, tokens: int, source: str) -> None:
    """The settlement decides which of the upstream's tokens are billed; what came late is told in any case."""
    slow = Slow()
    async with served(slow, tmp_path, route={"settlement": settlement}) as (proxy, _), RawClient(proxy.port) as client:
        await stopped_mid_stream(proxy, client)
        slow.go_on.set()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["completion_tokens"], kept["usage_source"], kept["settlement"]) == (tokens, source, settlement)
    assert (kept["prompt_tokens"], kept["late_tokens"], kept["cause"]) == (7, 3, "client")


async def test_before_the_first_byte(tmp_path: Path) -> None:
    """A stop of a silent upstream gives 499 at once; its answer is read all the same, and all of it came late."""
    slow = Slow((), WHOLE)
    async with served(slow, tmp_path, route={"settlement": "drained"}) as (proxy, up), RawClient(proxy.port) as client:
        await start(client, "t-1")
        await up.conn()
        receipt = (await stop(proxy, "t-1")).json()
        answer = await client.answer()
        assert up.connections == 1
        slow.go_on.set()
        await settled(proxy)
        kept = await record(proxy, "t-1")
        by_upstream_id = await record(proxy, UPSTREAM_ID)
    assert (answer.status, answer.header("x-should-retry")) == (499, "false")
    assert (receipt["result"], receipt["phase"]) == ("stopping", "waiting")
    assert (kept["outcome"], kept["completion_tokens"], kept["late_tokens"]) == ("cancelled", 12, 12)
    assert (kept["text"], kept["first_token_at"], by_upstream_id["task_id"]) == ("", None, "t-1")


@pytest.mark.parametrize("blocking", ["pass", "stream"])
async def test_an_answer_that_is_no_stream(tmp_path: Path, blocking: str) -> None:
    """A blocking call is read on too: folded, it is counted; passed on, nobody knows how much was made by then."""
    go_on = asyncio.Event()

    async def script(conn: Conn) -> None:
        if b'"stream":true' in conn.request.body.replace(b" ", b""):
            await slow(conn)
            return
        await go_on.wait()
        await json_answer(chat_object(12))(conn)

    slow = Slow()
    slow.go_on = go_on
    async with served(script, tmp_path, route={"blocking": blocking}) as (proxy, up), RawClient(proxy.port) as client:
        await start(client, "t-1", PLAIN)
        conn = await up.conn()
        if blocking == "stream":
            await eventually(lambda: len(conn.sent) >= sum(map(len, SAID)), what="the words are said")
            await has_text(proxy, text(8))
        receipt = (await stop(proxy, "t-1")).json()
        answer = await client.answer()
        go_on.set()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (answer.status, receipt["result"], kept["prompt_tokens"]) == (499, "stopping", 7)
    expected = (None, None) if blocking == "pass" else (9, 3)
    assert (kept["completion_tokens"], kept["late_tokens"]) == expected


async def has_text(proxy: RunningProxy, said: str) -> None:
    """Wait until a live generation has that text."""

    async def looked() -> bool:
        return bool((await record(proxy, "t-1"))["text"] == said)

    await eventually(looked, what="the text has come")


async def test_a_compressed_stream(tmp_path: Path) -> None:
    """Of a stream that goes by compressed the usage is still read."""
    body = b"".join(WHOLE)
    packed = gzip.compress(body)
    go_on = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head(200, [*SSE, ("Content-Encoding", "gzip")])
        await conn.chunk(packed[:60])
        await go_on.wait()
        await conn.chunk(packed[60:])
        await conn.end()

    async with served(script, tmp_path, route={"settlement": "drained"}) as (proxy, _), RawClient(proxy.port) as client:
        await start(client, "t-1")
        await client.until(packed[:60])
        await stop(proxy, "t-1")
        go_on.set()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["completion_tokens"], kept["usage_source"]) == ("cancelled", 12, "upstream")


async def test_completions_are_read_on_too(tmp_path: Path) -> None:
    """The older completions have the same stop."""
    events = completion_events(12, usage=True)
    slow = Slow(events[:8], events[8:])
    async with served(slow, tmp_path, route={"settlement": "drained"}) as (proxy, _), RawClient(proxy.port) as client:
        body = {"model": "scripted", "prompt": "Tell me.", "stream": True}
        await client.post("/v1/completions", body, [("X-Task-Id", "t-1")])
        await client.until(b"data:", 8)
        await stop(proxy, "t-1")
        slow.go_on.set()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["completion_tokens"], kept["usage_source"], kept["text"]) == (12, "upstream", text(8))


@pytest.mark.parametrize("leave", [RawClient.fin, RawClient.reset])
async def test_a_client_that_leaves(tmp_path: Path, leave: Any) -> None:
    """A client that leaves is a stop: what it asked for is read on, and billed as produced until it left."""
    slow = Slow()
    async with served(slow, tmp_path) as (proxy, up):
        client = await RawClient(proxy.port).connect()
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        leave(client)

        async def seen() -> bool:
            return bool((await record(proxy, "t-1"))["cause"] == "disconnect")

        await eventually(seen, what="the client is seen to be gone")
        assert up.connections == 1
        slow.go_on.set()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["completion_tokens"], kept["late_tokens"]) == ("client_gone", 9, 3)


async def test_a_client_that_leaves_while_it_is_read_on(tmp_path: Path) -> None:
    """Once the stop has released it, a client may go: nothing changes."""
    slow = Slow()
    async with served(slow, tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await stopped_mid_stream(proxy, client)
        client.reset()
        await record(proxy, "t-1")
        assert up.connections == 1
        slow.go_on.set()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["cause"], kept["late_tokens"]) == ("cancelled", "client", 3)


async def test_the_time_bound(tmp_path: Path) -> None:
    """An upstream that takes longer than drain.time is closed, and what it made late is estimated from what came."""
    go_on = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        for event in (*SAID, *WHOLE[9:11]):
            await conn.chunk(event)
            if event is SAID[-1]:
                await go_on.wait()
        await conn.sleep_until_closed()

    async with served(script, tmp_path, {"time": "1s"}) as (proxy, up), RawClient(proxy.port) as client:
        await stopped_mid_stream(proxy, client)
        go_on.set()
        await up.no_connections()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["completion_tokens"], kept["usage_source"]) == ("cancelled", 9, "tokenizer")
    assert kept["late_tokens"] == round(len("roof, and ") * 9 / len(text(8)))
    assert kept["upstream_closed_ms"] >= 1000


async def test_the_bound_of_tokens(tmp_path: Path) -> None:
    """An upstream that says more than drain.tokens is closed; nothing of what it says is kept."""
    event = chat_events(1, words=["many words " * 20])[1]
    async with served(endless_sse(event, 0.001), tmp_path, {"tokens": 500}) as (proxy, up):
        async with RawClient(proxy.port) as client:
            await start(client, "t-1")
            await client.until(b"data:", 5)
            receipt = (await stop(proxy, "t-1")).json()
            await client.answer()
        await up.no_connections()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert receipt["result"] == "stopping"
    assert kept["late_tokens"] >= 400
    assert kept["text"] == receipt["partial"]["text"]


async def test_the_bound_of_streams(tmp_path: Path) -> None:
    """As many as drain.streams are read on; one more is closed, and stopped in truth."""
    slow = Slow()
    async with (
        served(slow, tmp_path, {"streams": 1}) as (proxy, up),
        RawClient(proxy.port) as one,
        RawClient(proxy.port) as two,
    ):
        first = await stopped_mid_stream(proxy, one, "t-1")
        second = await stopped_mid_stream(proxy, two, "t-2")
        assert up.connections == 1
        slow.go_on.set()
        await settled(proxy)
        third = RawClient(proxy.port)
        slow.go_on.clear()
        async with third:
            after = await stopped_mid_stream(proxy, third, "t-3")
        slow.go_on.set()
        kept = await record(proxy, "t-2")
    assert (first["result"], second["result"], after["result"]) == ("stopping", "stopped", "stopping")
    assert (kept["completion_tokens"], kept["late_tokens"]) == (9, None)


async def test_silence_behind_a_stop_has_the_usual_deadline(tmp_path: Path) -> None:
    """An upstream that falls silent is not waited for longer than timeouts.idle, also when it is read on."""
    slow = Slow()
    timeouts = {"idle": "500ms"}
    async with served(slow, tmp_path, upstream={"timeouts": timeouts}) as (proxy, up), RawClient(proxy.port) as client:
        await stopped_mid_stream(proxy, client)
        await up.no_connections()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["cause"], kept["error_kind"]) == ("cancelled", "client", None)


@pytest.mark.parametrize("how", ["reset", "fin"])
async def test_an_upstream_that_breaks_while_it_is_read_on(tmp_path: Path, how: str) -> None:
    """A break behind the stop changes nothing of the stop."""
    go_on = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        for event in SAID:
            await conn.chunk(event)
        await go_on.wait()
        getattr(conn, how)()

    async with served(script, tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await stopped_mid_stream(proxy, client)
        go_on.set()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["completion_tokens"], kept["late_tokens"]) == ("cancelled", 9, 0)
    assert kept["error_kind"] is None


async def test_a_refusal_behind_a_stop_costs_nothing(tmp_path: Path) -> None:
    """An upstream that refuses the call after it was stopped has made nothing."""
    go_on = asyncio.Event()

    async def script(conn: Conn) -> None:
        await go_on.wait()
        await json_answer({"error": {"message": "slow down"}}, 429)(conn)

    async with served(script, tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await start(client, "t-1")
        await up.conn()
        await stop(proxy, "t-1")
        go_on.set()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["prompt_tokens"], kept["usage_source"]) == ("cancelled", None, "none")


async def test_the_slot_stays_taken_and_the_caller_is_free(tmp_path: Path) -> None:
    """While it is read on its slot is taken, but its id and its caller's count are free: the client is done with it."""
    slow = Slow()
    async with (
        served(slow, tmp_path, upstream={"slots": 1}) as (proxy, up),
        RawClient(proxy.port) as one,
        RawClient(proxy.port) as two,
    ):
        await stopped_mid_stream(proxy, one)
        assert proxy.app.engine.registry.streams_of("anonymous") == 0
        await start(two, "t-1")  # the same id again

        async def queued() -> bool:
            return bool((await record(proxy, "t-1"))["phase"] == "queued")

        await eventually(queued, what="the second call waits for the slot")
        assert len(up.conns) == 1
        slow.go_on.set()
        assert (await two.answer()).events[-1] == b"data: [DONE]\n\n"
        await settled(proxy)
        kept = await record(proxy, "t-1")
        assert proxy.app.engine.registry.streams_of("anonymous") == 0
    assert (kept["outcome"], kept["completion_tokens"]) == ("completed", 12)


async def test_the_end_of_the_process_cuts_it(tmp_path: Path) -> None:
    """Reading on has the process's own drain.timeout, then it is cut, and settled with what is known."""
    async with served(Slow(), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await stopped_mid_stream(proxy, client)
        stopped = await within(proxy.app.stop(drain=True), "the process ends")
        await up.no_connections()
    assert stopped == 0


async def test_no_reading_on_when_the_process_ends(tmp_path: Path) -> None:
    """A stop by the end of the process closes: there is no time to read on."""
    async with served(Slow(), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        assert await within(proxy.app.stop(drain=False), "the process ends") == 1
        await up.no_connections()


async def test_nothing_is_left(tmp_path: Path) -> None:
    """X7: many stops and departures at every moment leave no task, socket or slot behind, and one record each."""

    async def one(proxy: RunningProxy, number: int) -> None:
        async with RawClient(proxy.port) as client:
            await start(client, f"t-{number}")
            await client.until(b"data:", number % 8 + 1)
            if number % 3:
                await asyncio.gather(*(stop(proxy, f"t-{number}") for _ in range(number % 3)))
                await client.answer()

    async def script(conn: Conn) -> None:
        await conn.head(200, [*SSE, ("Connection", "close")])
        for event in WHOLE:
            await conn.pause(0.001)
            await conn.chunk(event)
        await conn.end()
        conn.fin()

    async with served(script, tmp_path, {"streams": 5}) as (proxy, _):
        await one(proxy, 1)
        await settled(proxy)
        async with back_to_start():
            await asyncio.gather(*(one(proxy, number) for number in range(2, 60)))
            await settled(proxy)
        upstream = proxy.app.gateway.runtime.upstreams["up"]
        assert (upstream.reading_on, len(proxy.app.engine.registry)) == (0, 0)
        for number in range(1, 60):
            kept = await record(proxy, f"t-{number}")
            assert kept["outcome"] in ("completed", "cancelled", "client_gone")
            assert kept["prompt_tokens"] > 0


def says(driver: Driver, tokens: int) -> list[bytes]:
    """The events of the driver's upstream, its usage included."""
    return driver.says(tokens) if driver.upstream else chat_events(tokens, usage=True)


@pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS.keys())
async def test_every_dialect_ends_at_once(driver: Driver, tmp_path: Path) -> None:
    """A stop by the dialect's own route ends its stream in the dialect's way while the upstream is read on."""
    events = says(driver, 12)
    first = next(number for number, each in enumerate(events, 1) if b"tin " in each)
    slow = Slow(events[:first], events[first:])
    route = {"dialect": "openai" if driver.name == "gemini" else driver.name, **driver.route, "settlement": "drained"}
    slow_edit = {"quick_edit_window": "1ms"}
    async with (
        served(slow, tmp_path, route=route, cancellation=slow_edit, upstream=driver.upstream) as (proxy, up),
        RawClient(proxy.port) as client,
    ):
        await driver.start(proxy, client, OWNER, "t-1")
        said = await client.until(b"tin ")
        path, body = driver.stop("t-1", said)
        answer = await within(call(proxy, "POST", path, body, OWNER), "the stop is answered")
        assert answer.status == 200, answer.body
        stream = await client.answer()
        said_so_far = read_events(stream.body)
        assert re.search(driver.ended["cancelled"], names(said_so_far)), names(said_so_far)
        for event in said_so_far:
            if event.name != "[DONE]":
                jsonschema.validate(event.data, driver.schemas[event.name])
        assert driver.text(said_so_far) == text(8)
        assert up.connections == 1
        again = await call(proxy, "POST", path, body, OWNER)
        slow.go_on.set()
        await settled(proxy)
        kept = await record(proxy, "t-1", OWNER)
        after = await call(proxy, "POST", path, body, OWNER)
    assert slow.read_to_the_end == 1
    late = 12 - (8 if driver.name == "gemini" else 9)  # the upstream's running total, else our tokenizer's
    assert (kept["outcome"], kept["completion_tokens"], kept["late_tokens"]) == ("cancelled", 12, late)
    assert again.status == after.status == (driver.refuses_again or 200)
    assert kept["text"] == text(8)


@pytest.mark.parametrize("on_stop", ["close", "drain"])
@pytest.mark.parametrize("leaves", [False, True], ids=["stop", "disconnect"])
async def test_a_stop_at_every_byte_of_the_end(tmp_path: Path, on_stop: str, leaves: bool) -> None:
    """No bypass: wherever between the last word and the end a client stops or leaves, it pays prompt and all text."""
    words, ending = b"".join(WHOLE[:13]), b"".join(WHOLE[13:])
    gates = [asyncio.Event() for _ in ending]

    async def script(conn: Conn) -> None:
        at = json.loads(conn.request.body)["at"]
        await conn.head(200, SSE)
        await conn.chunk(words + ending[:at])
        await gates[at].wait()
        await conn.chunk(ending[at:])
        await conn.end()

    async def one(proxy: RunningProxy, at: int) -> None:
        task_id = f"t-{at}"
        async with RawClient(proxy.port) as client:
            await start(client, task_id, {**STREAM, "at": at})
            await client.until(b'"one "')
            if leaves:
                client.reset()
                await eventually(lambda: is_stopped(proxy, task_id), what="the stop is seen")
            else:
                await stop(proxy, task_id)
            gates[at].set()

    async with served(script, tmp_path, {"streams": AT_ONCE}, upstream={"on_stop": on_stop}) as (proxy, _):
        for at in range(0, len(ending), AT_ONCE):
            await asyncio.gather(*(one(proxy, at + step) for step in range(min(AT_ONCE, len(ending) - at))))
        await settled(proxy)
        kept = [await record(proxy, f"t-{at}") for at in range(len(ending))]
    paid = {(each["outcome"], each["prompt_tokens"], each["completion_tokens"], each["late_tokens"]) for each in kept}
    own, counted = (7, 12), (10, 14)
    stopped = "client_gone" if leaves else "cancelled"
    if on_stop == "drain":
        assert paid == {(stopped, *own, 0), ("completed", *own, None)}
    else:
        assert paid == {(stopped, *counted, None), ("completed", *counted, None), ("completed", *own, None)}


async def is_stopped(proxy: RunningProxy, task_id: str) -> bool:
    """Whether a generation was stopped, or is over."""
    kept = await record(proxy, task_id)
    return kept["cause"] is not None or kept["outcome"] != "running"


@pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS.keys())
async def test_a_stop_against_the_end(driver: Driver, tmp_path: Path) -> None:
    """X6: a stop that races the end gives one ending, the one that the record has, and both settle with exact usage."""
    chance = random.Random(driver.name)
    events = says(driver, 4)

    async def race(proxy: RunningProxy, number: int) -> str:
        task_id = f"t-{number}"
        async with RawClient(proxy.port) as client:
            await driver.start(proxy, client, OWNER, task_id)
            await asyncio.sleep(chance.uniform(0, 0.03))
            await stop(proxy, task_id, OWNER)
            answer = await client.answer()

        async def over() -> dict[str, Any]:
            kept = await record(proxy, task_id, OWNER)
            return {} if kept["outcome"] == "running" else kept

        kept = await eventually(over, what="it is over")
        if answer.status == 200:
            seen = names(read_events(answer.body))
            assert re.search(driver.ended[kept["outcome"]], seen), seen
        if kept["phase"] in ("waiting", "streaming", "finished"):
            assert kept["prompt_tokens"] == 7, kept
            assert kept["completion_tokens"] + (kept["late_tokens"] or 0) == 4, kept
        return str(kept["outcome"])

    seen: set[str] = set()
    route = {"dialect": "openai" if driver.name == "gemini" else driver.name, **driver.route}
    bounds, script = {"streams": 30}, sse_stream(events, 0.001)
    async with served(script, tmp_path, bounds, route=route, upstream=driver.upstream) as (proxy, _):
        for first in range(0, 90, 30):
            seen |= set(await asyncio.gather(*(race(proxy, first + number) for number in range(30))))
        await settled(proxy)
        assert proxy.app.gateway.runtime.upstreams["up"].reading_on == 0
    assert seen == {"completed", "cancelled"}


@pytest.mark.parametrize(("settlement", "cost"), [("produced", "0.00000645"), ("drained", "0.00000825"), ("void", "0")])
async def test_the_cost_is_that_of_the_settled_counts(tmp_path: Path, settlement: str, cost: str) -> None:
    """A price is made of what is billed, once that is known; void costs nothing."""
    prices = 'version: "1"\ncurrency: USD\nmodels:\n  scripted: {input: "0.15", output: "0.60"}\n'
    (tmp_path / "prices.yaml").write_text(prices)
    slow, config = Slow(), {"prices": {"file": "prices.yaml"}, "route": {"settlement": settlement}}
    async with served(slow, tmp_path, **config) as (proxy, _), RawClient(proxy.port) as client:
        await stopped_mid_stream(proxy, client)
        slow.go_on.set()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["cost"], kept["currency"]) == (cost, "USD")
