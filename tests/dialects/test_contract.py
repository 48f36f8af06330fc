"""The contract of every dialect, run over all that are registered: a new one brings a driver along, no tests."""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dialects.drivers import DRIVERS
from dialects.drivers.base import Driver, Event, names, read_events
from proxy.dialects import DIALECTS
from support.chat import text
from support.client import Answer, RawClient
from support.faults import Pieces
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import events_then_hang, json_answer, sse_stream
from support.stops import Ask, call, record, settled, stop
from support.upstream import Conn, Script, ScriptedUpstream, scripted_upstream

OWNER, STRANGER = Ask("sk-owner"), Ask("sk-stranger")
SWEEPS = 2000
"""Races of a stop with the end of a stream, over all dialects."""
AT_ONCE = 25
WHOLE = text(4)

every_dialect = pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS.keys())


@asynccontextmanager
async def a_route(
    driver: Driver, script: Script, folder: Path, **config: Any
) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy whose route `/v1` speaks the dialect."""
    async with scripted_upstream(script) as up:
        route = {"dialect": driver.name, **driver.route}
        config_file = config_text(up.base_url, route=route, upstream=driver.upstream, ledger={"text": "all"}, **config)
        async with running_proxy(config_file, folder) as proxy:
            yield proxy, up


BUDGET = {"per": "key", "window": "5000w", "completion_tokens": 3}
"""A window that begins and ends in no test."""


async def a_stream(driver: Driver, proxy: RunningProxy, task_id: str) -> Answer:
    """One generation's stream, from its start to its end."""
    async with RawClient(proxy.port) as client:
        await driver.start(proxy, client, OWNER, task_id)
        return await client.answer()


def check(driver: Driver, answer: Answer, outcome: str) -> list[Event]:
    """The events of a stream, all as the dialect's documents have them, ended once and as the outcome says."""
    assert (answer.status, answer.header("Content-Type")) == (200, "text/event-stream"), answer.body
    assert answer.complete or driver.passes
    events = read_events(answer.body)
    assert re.fullmatch(driver.grammar, names(events)), names(events)
    assert re.search(driver.ended[outcome], names(events)), names(events)
    for event in events:
        if event.name != "[DONE]":
            jsonschema.validate(event.data, driver.schemas[event.name])
    return events


def test_every_dialect_has_a_driver() -> None:
    """A dialect that is registered is under this contract."""
    assert set(DRIVERS) == set(DIALECTS)


@every_dialect
async def test_a_whole_stream(driver: Driver, tmp_path: Path) -> None:
    """A stream says the upstream's text in events of the documented form, and ends as complete."""
    async with a_route(driver, sse_stream(driver.says(4)), tmp_path) as (proxy, _):
        events = check(driver, await a_stream(driver, proxy, "t-1"), "completed")
        assert driver.text(events) == WHOLE
        await settled(proxy)
        kept = await record(proxy, "t-1", OWNER)
    assert (kept["outcome"], kept["text"], kept["dialect"]) == ("completed", WHOLE, driver.records or driver.name)


@every_dialect
async def test_any_cut_gives_the_same_events(driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the upstream's bytes are cut, in two or in single bytes, the client's events are the same."""
    body = b"".join(driver.says(2))
    pieces = Pieces(monkeypatch)
    cuts = [[at] for at in range(0, len(body), 3)] + [list(range(1, len(body)))]

    async def script(conn: Conn) -> None:
        at = cuts[len(up.conns) - 1]
        await conn.head(200, [("Content-Type", "text/event-stream")])
        edges = [0, *at, len(body)]
        await pieces.send(conn, *(body[start:end] for start, end in pairwise(edges) if start < end))
        await conn.end()

    async with a_route(driver, script, tmp_path) as (proxy, up):
        seen = set()
        for number in range(len(cuts)):
            events = check(driver, await a_stream(driver, proxy, f"t-{number}"), "completed")
            seen.add((names(events), driver.text(events)))
    assert len(seen) == 1


@every_dialect
async def test_a_stop_by_its_own_route(driver: Driver, tmp_path: Path) -> None:
    """The dialect's own stop closes the upstream, ends the stream in the dialect's way, and keeps the partial."""
    async with (
        a_route(driver, events_then_hang(driver.up_to("all ")), tmp_path) as (proxy, up),
        RawClient(proxy.port) as client,
    ):
        await driver.start(proxy, client, OWNER, "t-1")
        said = await client.until(b"all ")
        path, body = driver.stop("t-1", said)
        answer = await call(proxy, "POST", path, body, OWNER)
        assert answer.status == 200, answer.body
        await up.no_connections()
        check(driver, await client.answer(), "cancelled")
        kept = await record(proxy, "t-1", OWNER)
        again = await call(proxy, "POST", path, body, OWNER)
    assert (kept["outcome"], kept["cause"]) == ("cancelled", "client")
    if driver.refuses_again is None:
        assert (again.status, again.body) == (answer.status, answer.body)
    else:
        assert again.status == driver.refuses_again
        jsonschema.validate(again.json(), driver.error)


@every_dialect
async def test_a_stop_by_the_native_route(driver: Driver, tmp_path: Path) -> None:
    """A native stop ends the dialect's stream in the dialect's own way, before the first token too."""
    async with (
        a_route(driver, events_then_hang(driver.says(4)[:1]), tmp_path) as (proxy, up),
        RawClient(proxy.port) as client,
    ):
        await driver.start(proxy, client, OWNER, "t-1")
        await up.conn()
        receipt = (await stop(proxy, "t-1", OWNER)).json()
        await up.no_connections()
        answer = await client.answer()
        if answer.status != 499:
            check(driver, answer, "cancelled")
    assert receipt["result"] == "stopped"


@every_dialect
async def test_a_budget_stops_it_and_refuses_the_next(driver: Driver, tmp_path: Path) -> None:
    """At its budget a stream ends in the dialect's way, and the next call is 429 in the dialect's shape, until when."""
    async with a_route(driver, events_then_hang(driver.up_to("all ")), tmp_path, budgets=[BUDGET]) as (proxy, up):
        answer = await a_stream(driver, proxy, "t-1")
        await up.no_connections()
        await settled(proxy)
        check(driver, answer, driver.over_budget)
        kept = await record(proxy, "t-1", OWNER)
        assert (kept["outcome"], kept["cause"], kept["text"]) == ("cancelled", "budget", text(3))
        refused = await a_stream(driver, proxy, "t-2")
        assert (refused.status, refused.header("x-should-retry")) == (429, "false")
        assert int(refused.header("Retry-After") or 0) > 1000
        jsonschema.validate(refused.json(), driver.error)
        assert b"completion_tokens 3 per key" in refused.body
        assert len(up.requests) == 1


@every_dialect
async def test_strangers_stop_nothing(driver: Driver, tmp_path: Path) -> None:
    """No other caller stops a generation, neither by the dialect's route nor by the native one."""
    async with (
        a_route(driver, events_then_hang(driver.up_to("all ")), tmp_path) as (proxy, up),
        RawClient(proxy.port) as client,
    ):
        await driver.start(proxy, client, OWNER, "t-1")
        said = await client.until(b"all ")
        path, body = driver.stop("t-1", said)
        await call(proxy, "POST", path, body, STRANGER)
        assert (await stop(proxy, "t-1", STRANGER)).status == 404
        assert (await record(proxy, "t-1", OWNER))["outcome"] == "running"
        assert up.connections == 1
        assert (await stop(proxy, "t-1", OWNER)).json()["result"] == "stopped"


@every_dialect
async def test_a_stop_against_the_end(driver: Driver, tmp_path: Path) -> None:
    """A stop that races the end gives one ending, and record, stream and stop agree on which: in 2,000 races."""
    chance = random.Random(driver.name)

    async def script(conn: Conn) -> None:
        await sse_stream(driver.says(4), 0.001)(conn)

    async def race(proxy: RunningProxy, number: int) -> str:
        task_id = f"t-{number}"
        async with RawClient(proxy.port) as client:
            await driver.start(proxy, client, OWNER, task_id)
            await asyncio.sleep(chance.uniform(0, 0.04))
            await stop(proxy, task_id, OWNER)
            answer = await client.answer()
        kept = await record(proxy, task_id, OWNER)
        if answer.status == 200:
            check(driver, answer, kept["outcome"])
        else:
            assert (answer.status, kept["outcome"]) == (499, "cancelled")
            jsonschema.validate(answer.json(), driver.error)
        return str(kept["outcome"])

    seen: list[str] = []
    async with a_route(driver, script, tmp_path) as (proxy, _):
        for first in range(0, SWEEPS // len(DRIVERS), AT_ONCE):
            seen += await asyncio.gather(*(race(proxy, first + number) for number in range(AT_ONCE)))
    assert set(seen) == {"completed", "cancelled"}


@every_dialect
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_an_upstream_that_refuses(driver: Driver, tmp_path: Path, status: int) -> None:
    """An upstream's refusal reaches the client in the dialect's own words, as a status or as its error event."""
    refusal = json_answer({"error": {"message": "no such luck", "type": "t", "code": "c"}}, status)
    async with a_route(driver, refusal, tmp_path) as (proxy, _):
        answer = await a_stream(driver, proxy, "t-1")
        await settled(proxy)
        kept = await record(proxy, "t-1", OWNER)
    assert kept["outcome"] == "failed"
    if answer.status == 200:
        check(driver, answer, "failed")
    elif not driver.passes:
        assert answer.status >= 400
        jsonschema.validate(answer.json(), driver.error)


@every_dialect
@pytest.mark.parametrize("how", ["an error event", "an end without a word", "a reset"])
async def test_an_upstream_that_breaks(driver: Driver, tmp_path: Path, how: str) -> None:
    """What breaks in the middle ends a translated stream with the dialect's error event, once."""
    begun = driver.says(4)[:3]
    said = [*begun, driver.fails] if how == "an error event" else begun
    async with a_route(driver, sse_stream(said, then="reset" if how == "a reset" else "end"), tmp_path) as (proxy, _):
        answer = await a_stream(driver, proxy, "t-1")
        await settled(proxy)
        assert (await record(proxy, "t-1", OWNER))["outcome"] == "failed"
    if driver.passes:
        assert read_events(answer.body)[-1].name == "error" or answer.events == begun
    else:
        check(driver, answer, "failed")


@every_dialect
async def test_random_bodies(driver: Driver, tmp_path: Path) -> None:
    """No JSON body is answered with a 500, and what is refused is refused in the dialect's shape."""
    chance = random.Random(1)
    async with a_route(driver, sse_stream(driver.says(4)), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        for path in driver.posts:
            for _ in range(60):
                body = json.dumps(a_value(chance, 3)).encode()
                await client.post(f"/v1{path}", body, OWNER.headers())
                answer = await client.answer()
                assert answer.status != 500, (path, body)
                if 400 <= answer.status < 500:
                    jsonschema.validate(answer.json(), driver.error)


WORDS = (
    *("inputs", "query", "user", "model", "messages", "role", "content", "stream", "response_mode", "files", "tools"),
    *("streaming", "assistant", "text", "", "\u2603", "conversation_id", "thread_id", "system", "max_tokens", "input"),
)


def a_value(chance: random.Random, depth: int) -> Any:
    """A random JSON value, whose keys are often ones that mean something."""
    kind = chance.randrange(8 if depth else 6)
    match kind:
        case 0:
            return None
        case 1:
            return chance.choice((True, False))
        case 2:
            return chance.choice((0, -1, 1.5, 2**63, 10))
        case 3 | 4 | 5:
            return chance.choice(WORDS)
        case 6:
            return [a_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(WORDS): a_value(chance, depth - 1) for _ in range(chance.randrange(6))}
