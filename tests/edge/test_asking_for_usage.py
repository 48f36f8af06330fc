"""What an upstream is asked for counting, and that clients see nothing of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.chat import DONE, ask, chat_events, usage_object
from support.client import Answer
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import in_turn, sse_stream
from support.stops import CHAT, PLAIN, STREAM, call, record, settled
from support.upstream import ScriptedUpstream, scripted_upstream

WITH_USAGE = {**STREAM, "stream_options": {"include_usage": True}}


def asked(up: ScriptedUpstream, index: int) -> Any:
    """The stream options that the upstream got."""
    return json.loads(up.requests[index].body).get("stream_options")


async def streamed(proxy: RunningProxy, task_id: str, body: Any = STREAM) -> Answer:
    """One streamed call to its end."""
    answer = await call(proxy, "POST", CHAT, body, X_Task_Id=task_id)
    await settled(proxy)
    return answer


async def test_usage_auto_asks_what_was_seen_to_work(tmp_path: Path) -> None:
    """An unknown upstream is not asked for usage until a client's own question was answered; then it is, unseen."""
    plain, counted = chat_events(3), chat_events(3, usage=True)
    script = in_turn(sse_stream(plain), sse_stream(plain), sse_stream(counted))
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        assert (await streamed(proxy, "t-0")).events == plain
        await streamed(proxy, "t-1", WITH_USAGE)
        assert (await streamed(proxy, "t-2", WITH_USAGE)).events == counted
        assert (await streamed(proxy, "t-3")).events == plain
        assert (await streamed(proxy, "t-4", {**STREAM, "stream_options": {"include_usage": False}})).events == plain
        await call(proxy, "POST", CHAT, PLAIN)
        records = [await record(proxy, f"t-{number}") for number in range(5)]
    yes = {"include_usage": True}
    assert [asked(up, index) for index in range(6)] == [None, yes, yes, yes, yes, None]
    assert [one["usage_source"] for one in records] == ["tokenizer", "tokenizer", "upstream", "upstream", "upstream"]


async def test_usage_that_nobody_asked_for_proves_nothing(tmp_path: Path) -> None:
    """An upstream that sends its usage unasked may still refuse to be asked, so it is not; its chunk goes by."""
    counted = chat_events(3, usage=True)
    async with (
        scripted_upstream(sse_stream(counted)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        for number in range(2):
            assert (await streamed(proxy, f"t-{number}")).events == counted
            assert (await record(proxy, f"t-{number}"))["usage_source"] == "upstream"
    assert [asked(up, index) for index in range(2)] == [None, None]


@pytest.mark.parametrize(("usage", "asks"), [("final", {"include_usage": True}), ("none", None)])
async def test_usage_as_configured(tmp_path: Path, usage: str, asks: Any) -> None:
    """With `final` every stream is asked for its usage, with `none` none is; the client's stream is the same."""
    script = sse_stream(chat_events(3, usage=usage == "final"))
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, upstream={"usage": usage}), tmp_path) as proxy,
    ):
        assert (await streamed(proxy, "t-0")).events == chat_events(3)
        kept = await record(proxy, "t-0")
    assert asked(up, 0) == asks
    assert kept["usage_source"] == ("upstream" if usage == "final" else "tokenizer")
    assert kept["completion_tokens"]


async def test_the_own_question_is_left_alone(tmp_path: Path) -> None:
    """A client that asks for usage by itself gets its answer byte for byte, also where nothing is asked for us."""
    counted = chat_events(3, usage=True)
    body = json.dumps({**ask(), "stream_options": {"include_usage": True, "own": 1}}, indent=3).encode()
    async with (
        scripted_upstream(sse_stream(counted)) as up,
        running_proxy(config_text(up.base_url, upstream={"usage": "none"}), tmp_path) as proxy,
    ):
        answer = await streamed(proxy, "t-0", body)
    assert up.requests[0].body == body
    assert answer.events == counted
    assert answer.events[-1] == DONE
    assert json.loads(answer.events[-2].removeprefix(b"data: "))["usage"] == usage_object(7, 3)
