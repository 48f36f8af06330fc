"""The count that is billed: an upstream that knows its own, streams stopped at random places."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.chat import chat_events
from support.client import RawClient
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import SSE, json_answer, sse_stream
from support.speech import MODELS, PROMPT_TOKENS, WORDS, Speech, recount, request, speech
from support.stops import CHAT, PLAIN, STREAM, call, record, settled, stop
from support.upstream import Conn, scripted_upstream
from support.vocabulary import tokenizer_json

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


async def test_a_vocabulary_file_counts_and_is_read_again(tmp_path: Path) -> None:
    """The operator's own vocabulary counts the models that it is for; a reload takes its new version."""
    config = {"encoding": {"scripted*": "./v.json", "*": "cl100k_base"}}
    path = tokenizer_json(tmp_path / "v.json")
    async with (
        scripted_upstream(sse_stream(chat_events(words=("The ", "rain")))) as up,
        running_proxy(config_text(up.base_url, upstream=config), tmp_path) as proxy,
    ):

        async def counted(task_id: str, model: str = "scripted") -> tuple[int, str]:
            await call(proxy, "POST", CHAT, {**STREAM, "model": model}, X_Task_Id=task_id)
            await settled(proxy)
            kept = await record(proxy, task_id)
            return kept["completion_tokens"], kept["usage_source"]

        assert await counted("t-1") == (3, "tokenizer")  # The, a blank, rain
        assert await counted("t-2", "other") == (2, "tokenizer")
        tokenizer_json(path, merges=())
        await proxy.app.reload()
        assert await counted("t-3") == (8, "tokenizer")
        path.unlink()
        with pytest.raises(AssertionError, match=r"v\.json"):
            await proxy.app.reload()
        assert await counted("t-4") == (8, "tokenizer")


@pytest.mark.parametrize(("counts", "source"), [(True, "upstream"), (False, "tokenizer")])
async def test_a_large_whole_answer_is_not_for_nothing(tmp_path: Path, *, counts: bool, source: str) -> None:
    """Log probabilities make an answer longer than what is kept of it: it costs its usage, or is unknown, never 0."""
    body = {
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "x" * (2 << 20)}, "finish_reason": "stop"}
        ],
        **({"usage": {"prompt_tokens": 7, "completion_tokens": 900}} if counts else {}),
    }
    async with scripted_upstream(json_answer(body)) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        answer = await call(proxy, "POST", CHAT, PLAIN, X_Task_Id="t-1")
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (answer.status, len(answer.body) > 2 << 20, kept["outcome"]) == (200, True, "completed")
    assert (kept["completion_tokens"], kept["usage_source"]) == (900 if counts else None, source)
