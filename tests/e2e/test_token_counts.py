"""The count that is billed: an upstream that knows its own, streams stopped at random places."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.client import RawClient
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import SSE
from support.speech import MODELS, PROMPT_TOKENS, WORDS, Speech, recount, request, speech
from support.stops import CHAT, record, stop
from support.upstream import Conn, scripted_upstream

STREAMS = 1000
IN_FULL_FLOW = 200
AT_ONCE = 20
EVENTS_A_WRITE = 16


def spoken(body: dict[str, Any]) -> Speech:
    """The answer to a request."""
    model, _, seed = body["model"].rpartition("-")
    running = (body.get("stream_options") or {}).get("continuous_usage_stats", False)
    return speech(int(seed), MODELS[model], body["messages"][0]["content"], running=running)


async def speaks(conn: Conn) -> None:
    """Say what was asked for, in a few writes, then wait to be stopped."""
    await conn.head(200, SSE)
    events = spoken(json.loads(conn.request.body)).events
    for first in range(0, len(events), EVENTS_A_WRITE):
        await conn.chunk(b"".join(events[first : first + EVENTS_A_WRITE]))
    await conn.sleep_until_closed()


async def stopped(proxy: RunningProxy, seed: int, model: str, kind: str) -> dict[str, Any]:
    """The usage in the receipt of a stop, sent once all that the upstream said has come."""
    said = speech(seed, MODELS[model], kind)
    async with RawClient(proxy.port) as client:
        await client.post(CHAT, request(seed, model, kind), [("X-Task-Id", f"t-{model}-{seed}")])
        await client.until(b"data: {", len(said.events))
        receipt = (await stop(proxy, f"t-{model}-{seed}")).json()
    assert receipt["result"] == "stopped"
    usage: dict[str, Any] = receipt["usage"]
    return usage


async def stop_all(proxy: RunningProxy) -> list[tuple[Speech, dict[str, Any]]]:
    """Stop many streams of every kind, some at once; gives what the upstream said, and what was counted."""
    asked = [(seed, [*MODELS][seed % 2], [*WORDS][seed % len(WORDS)]) for seed in range(STREAMS)]
    room = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int, model: str, kind: str) -> tuple[Speech, dict[str, Any]]:
        async with room:
            return speech(seed, MODELS[model], kind), await stopped(proxy, seed, model, kind)

    return await asyncio.gather(*(one(*each) for each in asked))


async def test_a_stopped_stream_has_the_upstreams_own_count(tmp_path: Path) -> None:
    """Emoji, Chinese, code, tool calls, reasoning, two choices: the record has the tokens that were made.

    A text that was cut may have a token less than its pieces, where the vocabulary knows the two last ones as one.
    """
    async with scripted_upstream(speaks) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        found = await stop_all(proxy)
        kept = await record(proxy, "t-gpt-4o-0")
    assert all(usage["source"] == "tokenizer" for _, usage in found)
    assert [usage["completion_tokens"] for _, usage in found] == [recount(said) for said, _ in found]
    off = Counter(usage["completion_tokens"] - said.tokens for said, usage in found)
    assert set(off) <= {0, -1}
    assert off[0] >= 0.99 * STREAMS
    assert kept["completion_tokens"] == found[0][0].tokens


async def test_the_last_running_total_is_the_count(tmp_path: Path) -> None:
    """Where the upstream sends running totals, the last one that came is exact, for every stream."""
    async with scripted_upstream(speaks) as up:
        config = config_text(up.base_url, upstream={"usage": "continuous"})
        async with running_proxy(config, tmp_path) as proxy:
            found = await stop_all(proxy)
    assert [(usage["completion_tokens"], usage["source"]) for _, usage in found] == [
        (said.tokens, "upstream_running") for said, _ in found
    ]
    assert {usage["prompt_tokens"] for _, usage in found} == {PROMPT_TOKENS}


async def flows(conn: Conn) -> None:
    """Say what was asked for, event by event, for as long as somebody takes it."""
    await conn.head(200, SSE)
    for event in spoken(json.loads(conn.request.body)).events:
        await conn.chunk(event)
        await conn.pause(0.001)
    await conn.sleep_until_closed()


@pytest.mark.parametrize("usage", ["none", "continuous"])
async def test_a_stop_in_full_flow_counts_what_came_through(tmp_path: Path, usage: str) -> None:
    """While the upstream goes on talking: the count is that of the events that the client got, not one more or less."""
    off: Counter[int] = Counter()
    async with (
        scripted_upstream(flows) as up,
        running_proxy(config_text(up.base_url, upstream={"usage": usage}), tmp_path) as proxy,
    ):
        for seed in range(IN_FULL_FLOW):
            model, kind = [*MODELS][seed % 2], [*WORDS][seed % len(WORDS)]
            said = speech(seed, MODELS[model], kind)
            async with RawClient(proxy.port) as client:
                await client.post(CHAT, request(seed, model, kind), [("X-Task-Id", f"t-{seed}")])
                await client.until(b"data: {", 1 + seed % len(said.events))
                tokens = (await stop(proxy, f"t-{seed}")).json()["usage"]["completion_tokens"]
                answer = await client.answer()
            got = sum(event in said.events for event in answer.events)
            assert answer.events[:got] == said.events[:got]
            off[tokens - said.so_far[got - 1]] += 1
    assert set(off) <= ({0} if usage == "continuous" else {0, -1})
    assert off[0] >= 0.99 * IN_FULL_FLOW
