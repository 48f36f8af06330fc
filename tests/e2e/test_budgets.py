"""Budgets that stop what runs: when, how it ends for the client, and what is recorded."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from proxy.core.encodings import O200K
from proxy.engine.settling.counting import Counter
from support.budgets import LONG, Looks, budgeted, total_events
from support.chat import DONE, chat_events, chat_object, text
from support.client import Answer, RawClient
from support.edge import refused
from support.proxy import RunningProxy
from support.scripts import events_then_hang, hang, json_answer, sse_stream
from support.stops import CHAT, PLAIN, STREAM, Ask, call, record, settled, start, stop
from support.upstream import Conn
from support.wait import eventually

ACME, OTHER = Ask("sk-acme"), Ask("sk-other")
LIMIT = 10


def metric(proxy: RunningProxy, name: str, per: str, limit: str) -> float | None:
    """A counter of the budgets."""
    found: float | None = proxy.app.engine.metrics.registry.get_sample_value(
        f"quell_budget_{name}_total", {"per": per, "limit": limit}
    )
    return found


def check_stopped_stream(answer: Answer, task_id: str, cause: str, events: Sequence[bytes]) -> None:
    """What came of the stream went out, then it ended as any stopped one does."""
    assert (answer.status, answer.complete) == (200, True)
    ours = answer.events[len(events) :]
    assert answer.events[: len(events)] == list(events)
    assert ours[0].startswith(f": quell: task_id={task_id} cause={cause}\n".encode())
    assert b'"finish_reason":"stop"' in ours[0] + ours[1]
    assert ours[-1] == DONE


async def test_a_stream_ends_at_its_last_token(tmp_path: Path) -> None:
    """A stream runs on one token short of its budget, ends cleanly at it, and is billed for what was made."""
    more = asyncio.Event()
    events = total_events(1, LIMIT)

    async def script(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "text/event-stream")])
        for event in events[:-1]:
            await conn.chunk(event)
        await more.wait()
        await conn.chunk(events[-1])
        await conn.sleep_until_closed()

    budget = {"per": "request", "completion_tokens": LIMIT}
    async with budgeted(script, tmp_path, budget) as (proxy, up), RawClient(proxy.port) as client:
        looks = Looks(proxy)
        await start(client, "t-1")
        await client.until(b"data: ", LIMIT - 1)
        await looks.two()
        assert (await record(proxy, "t-1"))["outcome"] == "running"
        more.set()
        check_stopped_stream(await client.answer(), "t-1", "budget", events)
        await up.no_connections()
        await settled(proxy)
        kept = await record(proxy, "t-1")
        assert (kept["outcome"], kept["cause"], kept["cancelled_by"]) == ("cancelled", "budget", None)
        assert kept["reason"] == "budget: completion_tokens 10 per request"
        assert (kept["completion_tokens"], kept["usage_source"], kept["text"]) == (10, "upstream_running", text(10))
        assert metric(proxy, "stops", "request", "completion_tokens") == 1


async def test_tokens_are_counted_where_the_upstream_says_nothing(tmp_path: Path) -> None:
    """Without totals of the upstream the text is counted while it comes, and the count is the one that is billed."""
    counter = Counter()
    made, _ = await counter.count(text(12), O200K)
    await counter.aclose()
    events = chat_events(12)[:13]
    over, under = ({"per": "request", "completion_tokens": limit} for limit in (made, made + 1))
    async with budgeted(events_then_hang(events), tmp_path, over) as (proxy, up), RawClient(proxy.port) as client:
        await start(client, "t-1")
        check_stopped_stream(await client.answer(), "t-1", "budget", events)
        await up.no_connections()
        kept = await record(proxy, "t-1")
        assert (kept["completion_tokens"], kept["usage_source"]) == (made, "tokenizer")
    (tmp_path / "more").mkdir()
    async with budgeted(events_then_hang(events), tmp_path / "more", under) as (proxy, up):
        async with RawClient(proxy.port) as client:
            looks = Looks(proxy)
            await start(client, "t-1")
            await client.until(b"data: ", 13)
            await looks.two()
            assert (await stop(proxy, "t-1")).json()["cause"] == "client"


async def test_a_stale_total_is_no_excuse(tmp_path: Path) -> None:
    """An upstream that tells a total once and then goes on without one is counted by its text."""
    events = total_events(1, 1) + chat_events(13, finish=None, done=False)[1:]
    budget = {"per": "request", "completion_tokens": 5}
    async with budgeted(events_then_hang(events), tmp_path, budget) as (proxy, up), RawClient(proxy.port) as client:
        await start(client, "t-1")
        check_stopped_stream(await client.answer(), "t-1", "budget", events)
        await up.no_connections()


async def test_only_what_has_a_budget_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generation without limits on tokens or cost is never counted while it runs."""
    counted: list[str] = []
    count = Counter.count

    async def noted(self: Counter, words: str, encoding: str) -> Any:
        counted.append(words)
        return await count(self, words, encoding)

    monkeypatch.setattr(Counter, "count", noted)
    budget = {"per": "key", "window": LONG, "seconds": 1000}
    async with budgeted(events_then_hang(chat_events(4)[:5]), tmp_path, budget) as (proxy, _):
        async with RawClient(proxy.port) as client:
            looks = Looks(proxy)
            await start(client, "t-1")
            await client.until(b"data: ", 5)
            await looks.two()
            assert not counted
            await stop(proxy, "t-1")
    assert counted


@pytest.mark.parametrize("body", [STREAM, PLAIN], ids=["stream", "plain"])
async def test_time_ends_a_call(tmp_path: Path, body: dict[str, Any]) -> None:
    """A call that takes longer than it may is stopped, before its first byte with a 504 that SDKs don't retry."""
    async with budgeted(hang(), tmp_path, {"per": "request", "seconds": 0.05}) as (proxy, up):
        answer = await call(proxy, "POST", CHAT, body, X_Task_Id="t-1")
        await up.no_connections()
        assert refused(answer) == (504, "deadline_exceeded")
        assert "seconds 0.05 per request" in answer.json()["error"]["message"]
        assert answer.header("x-should-retry") == "false"
        await settled(proxy)
        kept = await record(proxy, "t-1")
        assert (kept["outcome"], kept["cause"]) == ("timed_out", "deadline")
        assert metric(proxy, "stops", "request", "seconds") == 1


async def test_time_ends_a_stream(tmp_path: Path) -> None:
    """A stream that takes longer than it may ends cleanly, whatever it says."""
    events = chat_events(4)[:5]
    async with budgeted(events_then_hang(events), tmp_path, {"per": "request", "seconds": 500}) as (proxy, _):
        async with RawClient(proxy.port) as client:
            await start(client, "t-1")
            await client.until(b"data: ", len(events))
            looks = proxy.app.engine.budgets.looks
            now = looks._now
            looks._now = lambda: now() + 501
            check_stopped_stream(await client.answer(), "t-1", "deadline", events)


async def test_a_folded_answer_is_stopped_too(tmp_path: Path) -> None:
    """A call that is streamed upstream for a client that wants one answer gets 429 when its tokens are used up."""
    events = total_events(1, LIMIT)
    budget = {"per": "request", "completion_tokens": LIMIT}
    config = {"route": {"blocking": "stream"}}
    async with budgeted(events_then_hang(events), tmp_path, budget, **config) as (proxy, up):
        answer = await call(proxy, "POST", CHAT, PLAIN)
        await up.no_connections()
        assert refused(answer) == (429, "budget_exhausted")
        assert answer.header("x-should-retry") == "false"


async def test_a_whole_answer_is_not_stopped(tmp_path: Path) -> None:
    """An answer that ends by itself with just its budget is complete, and its client gets every byte of its end."""
    gate = asyncio.Event()
    events = [*total_events(1, LIMIT), *chat_events(0)[1:]]

    async def script(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "text/event-stream")])
        for event in events[:-1]:
            await conn.chunk(event)
        await gate.wait()
        await conn.chunk(events[-1])
        await conn.end()

    budget = {"per": "request", "completion_tokens": LIMIT}
    async with budgeted(script, tmp_path, budget) as (proxy, _), RawClient(proxy.port) as client:
        looks = Looks(proxy)
        await start(client, "t-1")
        await client.until(b'"stop"')
        await looks.two()
        gate.set()
        assert (await client.answer()).events == events
        await settled(proxy)
        assert (await record(proxy, "t-1"))["outcome"] == "completed"


async def test_streams_of_one_key_share_its_budget(tmp_path: Path) -> None:
    """Twenty streams at once overshoot their key's budget by less than they all make within one flush."""
    streams, step, limit = 20, 5, 350
    ticks: list[asyncio.Event] = [asyncio.Event() for _ in range(6)]

    async def script(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "text/event-stream")])
        for number, tick in enumerate(ticks):
            await tick.wait()
            for event in total_events(number * step + 1, (number + 1) * step):
                await conn.chunk(event)
        await conn.sleep_until_closed()

    budget = {"per": "key", "window": LONG, "completion_tokens": limit}
    async with budgeted(script, tmp_path, budget) as (proxy, up), AsyncExitStack() as stack:
        looks = Looks(proxy)
        clients = [await stack.enter_async_context(RawClient(proxy.port)) for _ in range(streams)]
        other = await stack.enter_async_context(RawClient(proxy.port))
        for number, client in enumerate(clients):
            await start(client, f"t-{number}", ask=ACME)
        await start(other, "t-0", ask=OTHER)
        await up.conn(streams)
        for number, tick in enumerate(ticks[:4], 1):
            assert len(proxy.app.engine.registry) == streams + 1
            tick.set()
            for client in (*clients, other):
                await client.until(b'"total_tokens"', number * step)
            await looks.two()
        answers = [await client.answer() for client in clients]
        await eventually(lambda: up.connections == 1, what="only the other key's stream is left")
        kept = [await record(proxy, f"t-{number}", ACME) for number in range(streams)]
        assert {(one["outcome"], one["cause"]) for one in kept} == {("cancelled", "budget")}
        assert limit <= sum(one["completion_tokens"] for one in kept) < limit + streams * step
        assert all(b"cause=budget" in answer.body and answer.complete for answer in answers)
        assert refused(await call(proxy, "POST", CHAT, STREAM, ACME)) == (429, "budget_exhausted")
        assert (await record(proxy, "t-0", OTHER))["outcome"] == "running"


DEAR = """\
version: "1"
currency: USD
models:
  scripted: {input: "10000", output: "100000"}
"""
"""A price list with one model: 0.01 for a prompt token, 0.1 for a completion token."""
PRICES = {"file": "prices.yaml"}


async def test_cost_ends_a_stream(tmp_path: Path) -> None:
    """A stream ends when its tokens, its prompt's included, cost as much as it may."""
    events = total_events(1, LIMIT)
    (tmp_path / "prices.yaml").write_text(DEAR)
    async with (
        budgeted(events_then_hang(events), tmp_path, prices=PRICES) as (proxy, up),
        RawClient(proxy.port) as client,
    ):
        await client.post(CHAT, STREAM, ACME.headers(X_Task_Id="t-1", X_Max_Cost="1.07"))
        check_stopped_stream(await client.answer(), "t-1", "budget", events)
        await up.no_connections()
        kept = await record(proxy, "t-1", ACME)
        assert (kept["reason"], kept["cost"], kept["currency"]) == ("budget: X-Max-Cost: 1.07", "1.07", "USD")
        await client.post(CHAT, STREAM, ACME.headers(X_Task_Id="t-2", X_Max_Cost="1.08"))
        await client.until(b"data: ", LIMIT)
        await Looks(proxy).two()
        assert (await stop(proxy, "t-2", ACME)).json()["cause"] == "client"


@pytest.mark.parametrize(
    ("path", "model"), [(CHAT, "unheard-of"), ("/v1/embeddings", "scripted")], ids=["no price", "no count"]
)
async def test_a_cost_that_cant_be_known_is_refused(tmp_path: Path, path: str, model: str) -> None:
    """Where a cost is limited, a call whose cost nobody could tell is refused before it costs anything."""
    (tmp_path / "prices.yaml").write_text(DEAR)
    async with budgeted(json_answer(chat_object(1)), tmp_path, prices=PRICES) as (proxy, up):
        answer = await call(proxy, "POST", path, {**PLAIN, "model": model}, X_Max_Cost="5")
        assert refused(answer) == (400, "price_unknown")
        assert answer.json()["error"]["param"] == "X-Max-Cost"
        assert ("'unheard-of'" in answer.json()["error"]["message"]) == (model == "unheard-of")
        assert not up.requests
        assert (await call(proxy, "POST", path, {**PLAIN, "model": model})).status == 200


@pytest.mark.parametrize(("asked", "limit"), [("4", 4), ("1000000", LIMIT)], ids=["lower", "higher"])
async def test_a_header_lowers_what_a_call_may_use(tmp_path: Path, asked: str, limit: int) -> None:
    """A call's own limit goes before a higher one of the settings, and never lifts a lower one."""
    made = 0

    async def script(conn: Conn) -> None:
        nonlocal made
        await conn.head(200, [("Content-Type", "text/event-stream")])
        for event in total_events(1, LIMIT):
            made += 1
            await conn.chunk(event)
            await looks.two()
        await conn.sleep_until_closed()

    budget = {"per": "request", "completion_tokens": LIMIT}
    async with budgeted(script, tmp_path, budget) as (proxy, up):
        looks = Looks(proxy)
        answer = await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1", X_Max_Tokens=asked)
        assert b"cause=budget" in answer.body
        await up.no_connections()
        assert (await record(proxy, "t-1"))["completion_tokens"] == limit
        assert limit <= made <= limit + 1
        assert not [name for name, _ in up.requests[0].headers if name.lower().startswith("x-max")]


@pytest.mark.parametrize("name", ["X-Max-Seconds", "X-Max-Tokens", "X-Max-Cost"])
@pytest.mark.parametrize("value", ["", "0", "0.0", "-1", "+1", "1e3", "1,5", "1, 2", "nan", "inf", "many", "1_0", "1."])
async def test_a_limit_that_is_none_is_refused(tmp_path: Path, name: str, value: str) -> None:
    """A header that is no positive number in plain digits is refused by its name."""
    async with budgeted(hang(), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await client.post(CHAT, STREAM, [(name, value)])
        answer = await client.answer()
        assert refused(answer) == (400, "invalid_header")
        assert answer.json()["error"]["param"] == name
        assert name in answer.json()["error"]["message"]
        assert not up.requests


async def test_a_limit_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """Of two limits nobody could tell which one counts."""
    async with budgeted(hang(), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(CHAT, STREAM, [("X-Max-Tokens", "5"), ("x-max-tokens", "50")])
        assert refused(await client.answer()) == (400, "invalid_header")


async def test_streams_without_a_budget_are_left_alone(tmp_path: Path) -> None:
    """With budgets for others, or none at all, nothing is kept of a generation for them."""
    async with budgeted(sse_stream(chat_events(4)), tmp_path) as (proxy, _):
        assert (await call(proxy, "POST", CHAT, STREAM)).status == 200
        await call(proxy, "POST", CHAT, STREAM, X_Max_Tokens="1000")
        await settled(proxy)
        assert not proxy.app.engine.budgets._spending


async def test_a_translated_call_has_its_own_limit_too(tmp_path: Path) -> None:
    """The headers mean the same on every route, and stay here."""
    route = {"dialect": "dify", "model": "scripted"}
    asks = {"inputs": {"query": "Tell me."}, "user": "ann", "response_mode": "streaming"}
    async with budgeted(events_then_hang(total_events(1, 4)), tmp_path, route=route) as (proxy, up):
        answer = await call(proxy, "POST", "/v1/completion-messages", asks, X_Task_Id="t-1", X_Max_Tokens="4")
        assert answer.status == 200
        assert b'"event": "message_end"' in answer.body or b'"event":"message_end"' in answer.body
        assert not [name for name, _ in up.requests[0].headers if name.lower().startswith("x-max")]
        await settled(proxy)
        assert (await record(proxy, "t-1"))["reason"] == "budget: X-Max-Tokens: 4"
        refusal = await call(proxy, "POST", "/v1/completion-messages", asks, X_Max_Tokens="none")
        assert (refusal.status, refusal.json()["params"]) == (400, "X-Max-Tokens")
