"""Tool rounds of the dialect aitronos: an answer that calls tools waits for their results, unless it is cancelled."""

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.stores.ledger.port import LedgerUnavailableError
from support.aitronos import (
    EDIT,
    KEEP,
    RESPOND,
    asks,
    begin,
    cancel,
    error_of,
    events_of,
    messages,
    sent,
    served,
    tool_events,
)
from support.chat import chat_events, text
from support.client import RawClient
from support.program import config_data
from support.proxy import running_proxy
from support.scripts import events_then_hang, hang, in_turn, json_answer, sse_stream
from support.stops import Ask, call, settled, stop
from support.upstream import ScriptedUpstream, scripted_upstream

TOOLS = [{"type": "function", "name": "look_up", "description": "Looks up.", "parameters": {"type": "object"}}]
BLOCK = {"type": "tool_use", "id": "call_1", "name": "look_up", "input": {"q": 1}, "arguments": '{"q": 1}'}


def results(thread_id: str, call_id: str = "call_1", **more: Any) -> dict[str, Any]:
    """A request with the result of a tool, as an object."""
    tool = {"role": "tool", "tool_call_id": call_id, "content": {"found": "42"}}
    return {"inputs": [tool], "thread_id": thread_id, "tools": TOOLS, **more}


def calls_upstream(up: ScriptedUpstream) -> int:
    """How many requests have reached the upstream."""
    return len(up.requests)


async def test_tool_round(tmp_path: Path) -> None:
    """The call is said as a block and kept; its result goes up behind it, and the answer to it ends the turn."""
    rounds = in_turn(sse_stream(tool_events()), sse_stream(chat_events(2)))
    async with served(rounds, tmp_path) as (proxy, up):
        first = events_of((await call(proxy, "POST", RESPOND, asks(stream=True, tools=TOOLS))).body)
        thread_id = first[0]["thread_id"]
        assert sent(up)["tools"] == [
            {"type": "function", "function": {k: v for k, v in TOOLS[0].items() if k != "type"}}
        ]
        second = events_of((await call(proxy, "POST", RESPOND, results(thread_id, stream=True))).body)
        body = sent(up)
        kept = await messages(proxy, thread_id)
        late = await call(proxy, "POST", RESPOND, results(thread_id))
    assert [each["block"] for each in first if each["event"] == "response.block"] == [BLOCK]
    assert (first[-1]["event"], first[-1]["stop_reason"]) == ("response.completed", "tool_use")
    assert first[-1]["response_blocks"] == [BLOCK]
    function = {"name": "look_up", "arguments": '{"q": 1}'}
    assert body["messages"] == [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": '{"found": "42"}', "tool_call_id": "call_1"},
    ]
    assert (second[-1]["event"], second[-1]["stop_reason"]) == ("response.completed", "end_turn")
    assert [each["role"] for each in kept] == ["user", "assistant", "tool", "assistant"]
    assert kept[1]["tool_calls"][0]["id"] == "call_1"
    assert error_of(late, 422)["details"]["fields"][0]["field"] == "inputs.0.tool_call_id"


async def test_whole_answer_with_calls(tmp_path: Path) -> None:
    """A JSON answer has the calls of tools too, and waits for their results."""
    rounds = in_turn(sse_stream(tool_events()), sse_stream(chat_events(2)))
    async with served(rounds, tmp_path) as (proxy, _):
        first = (await call(proxy, "POST", RESPOND, asks(tools=TOOLS))).json()
        second = (await call(proxy, "POST", RESPOND, results(first["thread_id"]))).json()
    assert (first["stop_reason"], first["tools"], first["response"]) == ("tool_use", [BLOCK], [])
    assert second["response"] == [{"type": "text", "text": text(2)}]


@pytest.mark.parametrize("by", ["api", "thread id", "task id"])
@pytest.mark.parametrize(("window", "mode"), [(EDIT, "quick_edit"), (KEEP, "keep_partial")], ids=["edit", "keep"])
async def test_cancel_while_it_waits(tmp_path: Path, window: Any, mode: str, by: str) -> None:
    """A turn that waits for results is cancelled by any stop; then no result starts a further upstream call."""
    async with served(sse_stream(tool_events()), tmp_path, cancellation=window) as (proxy, up):
        first = await call(proxy, "POST", RESPOND, asks(tools=TOOLS))
        thread_id = first.json()["thread_id"]
        if by != "api":
            await stop(proxy, thread_id if by == "thread id" else first.header("X-Task-Id") or "")
        receipt = await cancel(proxy, thread_id)
        again = await cancel(proxy, thread_id)
        kept = await messages(proxy, thread_id)
        refused = await call(proxy, "POST", RESPOND, results(thread_id))
        proxy.app.engine.runs.expire(proxy.app.engine.now() + 1000)  # the run itself is forgotten by now
        assert proxy.app.engine.runs.find("anonymous", thread_id) is None
        later = await call(proxy, "POST", RESPOND, results(thread_id))
        assert calls_upstream(up) == 1
        up.script = sse_stream(chat_events(1))
        fresh = await call(proxy, "POST", RESPOND, asks("New", thread_id=thread_id))
        assert fresh.status == 200
        assert "tool_calls" not in str(sent(up))
    assert receipt.json()["cancel_mode"] == mode
    assert again.json() == receipt.json()
    assert len(kept) == (0 if mode == "quick_edit" else 2)
    if kept:
        assert kept[1]["metadata"]["cancelled"] is True
    said = error_of(refused, 422)["details"]["fields"][0]
    assert said["field"] == "inputs.0.tool_call_id"
    assert "cancelled" in said["message"]
    assert error_of(later, 422)["code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize(("window", "left"), [(EDIT, 0), (KEEP, 4)], ids=["edit", "keep"])
async def test_cancel_of_the_second_round(tmp_path: Path, window: Any, left: int) -> None:
    """A cancel while the answer to the results runs is one of the whole turn."""
    rounds = in_turn(sse_stream(tool_events()), events_then_hang(chat_events(2)[:-2]))
    async with served(rounds, tmp_path, cancellation=window) as (proxy, _), RawClient(proxy.port) as client:
        thread_id = (await call(proxy, "POST", RESPOND, asks(tools=TOOLS))).json()["thread_id"]
        await client.post(RESPOND, results(thread_id, stream=True))
        await client.until(b"content_delta", 2)
        receipt = await cancel(proxy, thread_id)
        await client.answer()
        assert len(await messages(proxy, thread_id)) == left
        refused = await call(proxy, "POST", RESPOND, results(thread_id))
    assert receipt.status == 200
    assert error_of(refused, 422)["code"] == "VALIDATION_ERROR"


async def test_results_that_nobody_asked_for(tmp_path: Path) -> None:
    """Results for another call, or in a new thread, are refused, and the turn still waits for its own."""
    rounds = in_turn(sse_stream(tool_events()), sse_stream(chat_events(2)))
    async with served(rounds, tmp_path) as (proxy, up):
        thread_id = (await call(proxy, "POST", RESPOND, asks(tools=TOOLS))).json()["thread_id"]
        wrong = await call(proxy, "POST", RESPOND, results(thread_id, "call_2"))
        body = results(thread_id)
        del body["thread_id"]
        alone = await call(proxy, "POST", RESPOND, body)
        assert calls_upstream(up) == 1
        assert (await call(proxy, "POST", RESPOND, results(thread_id))).status == 200
    for each in (wrong, alone):
        assert error_of(each, 422)["details"]["fields"][0]["field"] == "inputs.0.tool_call_id"


async def test_results_after_a_failed_round(tmp_path: Path) -> None:
    """When the round with the results fails upstream, the next input goes on with the results in the history."""
    failing = json_answer({"error": {"message": "ouch"}}, 500)
    rounds = in_turn(sse_stream(tool_events()), failing, sse_stream(chat_events(1)))
    async with served(rounds, tmp_path) as (proxy, up):
        thread_id = (await call(proxy, "POST", RESPOND, asks(tools=TOOLS))).json()["thread_id"]
        assert (await call(proxy, "POST", RESPOND, results(thread_id))).status == 502
        assert (await call(proxy, "POST", RESPOND, asks("Again", thread_id=thread_id))).status == 200
        assert [each["role"] for each in sent(up)["messages"]] == ["user", "assistant", "tool", "user"]


async def test_stopper_of_a_waiting_turn_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel of a waiting turn is carried out although its client does not wait for the answer."""
    async with served(sse_stream(tool_events()), tmp_path, cancellation=EDIT) as (proxy, _):
        thread_id = (await call(proxy, "POST", RESPOND, asks(tools=TOOLS))).json()["thread_id"]
        await settled(proxy)
        store = type(proxy.app.engine.conversations)
        real = store.delete_messages
        began = asyncio.Event()

        async def slowly(self: Any, *which: Any) -> Any:
            began.set()
            await asyncio.sleep(0.05)
            return await real(self, *which)

        monkeypatch.setattr(store, "delete_messages", slowly)
        async with RawClient(proxy.port) as client:
            await client.post(f"{RESPOND}/{thread_id}/cancel", b"")
            await began.wait()
        await proxy.app.engine.canceller.left.finish()
        assert await messages(proxy, thread_id) == []
        assert (await cancel(proxy, thread_id)).json()["cancel_mode"] == "quick_edit"


@pytest.mark.parametrize("left", [False, True], ids=["waiting", "left"])
@pytest.mark.parametrize(("window", "mode"), [(EDIT, "quick_edit"), (KEEP, "keep_partial")], ids=["edit", "keep"])
async def test_stop_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: Any, mode: str, left: bool
) -> None:
    """A cancel says what it did only when that is written; after a failure its repeat writes it."""
    script = events_then_hang(chat_events(2)[:-2]) if left else sse_stream(tool_events())
    async with served(script, tmp_path, cancellation=window) as (proxy, _):
        async with RawClient(proxy.port) as client:
            thread_id = await begin(client, tools=TOOLS)
            await client.until(b"content_delta" if left else b"[DONE]")
        await settled(proxy)
        with monkeypatch.context() as patch:
            for name in ("delete_messages", "update_message"):
                patch.setattr(type(proxy.app.engine.conversations), name, _unavailable)
            for _ in range(2):
                assert error_of(await cancel(proxy, thread_id), 503)
        assert len(await messages(proxy, thread_id)) == 2
        found = await cancel(proxy, thread_id)
        kept = await messages(proxy, thread_id)
    assert found.json()["cancel_mode"] == mode
    assert [each["metadata"] for each in kept[1:]] == ([] if mode == "quick_edit" else [{"cancelled": True}])


async def _unavailable(*_args: Any, **_values: Any) -> Any:
    raise LedgerUnavailableError("the disk is slow")


async def test_reused_task_id(tmp_path: Path) -> None:
    """A stop by a task id that a newer generation has, live or over, leaves the turn that waited behind it alone."""
    rounds = in_turn(sse_stream(tool_events()), hang(), sse_stream(chat_events(2)))
    async with scripted_upstream(rounds) as up:
        data = config_data(up.base_url, route={"dialect": "aitronos", "model": "scripted"}, cancellation=KEEP)
        data["routes"].append({"path": "/o", "dialect": "openai", "upstream": "up"})
        async with running_proxy(yaml.safe_dump(data), tmp_path) as proxy, RawClient(proxy.port) as client:
            first = await call(proxy, "POST", RESPOND, asks(tools=TOOLS), X_Task_Id="t-1")
            await settled(proxy)
            body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
            await client.post("/o/chat/completions", body, [("X-Task-Id", "t-1")])
            await up.conn(1)
            receipts = [(await call(proxy, "POST", "/o/generations/t-1/cancel")).json() for _ in range(2)]
            late = await call(proxy, "POST", RESPOND, results(first.json()["thread_id"]))
    assert [each["result"] for each in receipts] == ["stopped", "stopped"]
    assert late.status == 200


async def test_unanswered_calls_do_not_go_up(tmp_path: Path) -> None:
    """A new input in place of results goes on without the calls that nobody answered, which no upstream takes."""
    rounds = in_turn(sse_stream(tool_events()), sse_stream(chat_events(1)))
    async with served(rounds, tmp_path) as (proxy, up):
        thread_id = (await call(proxy, "POST", RESPOND, asks(tools=TOOLS))).json()["thread_id"]
        await call(proxy, "POST", RESPOND, asks("Never mind", thread_id=thread_id))
        assert [each["content"] for each in sent(up)["messages"]] == ["Hello", "Never mind"]


async def test_results_after_a_restart(tmp_path: Path) -> None:
    """A run that is no longer known here, as after a restart, does not keep results from being taken."""
    rounds = in_turn(sse_stream(tool_events()), sse_stream(chat_events(2)))
    async with served(rounds, tmp_path) as (proxy, _):
        thread_id = (await call(proxy, "POST", RESPOND, asks(tools=TOOLS))).json()["thread_id"]
        await settled(proxy)
        runs = proxy.app.engine.runs
        for later in (1_000, 2_000):
            runs.expire(proxy.app.engine.now() + later)
        assert list(runs) == []
        assert (await call(proxy, "POST", RESPOND, results(thread_id))).status == 200


async def test_cancelled_stream_says_no_call_cut_short(tmp_path: Path) -> None:
    """A call whose arguments were cut short by a cancel is not said."""
    async with served(events_then_hang(tool_events()[:2]), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        thread_id = await begin(client, tools=TOOLS)
        await client.until(b"response.created")
        await up.conn()
        await cancel(proxy, thread_id)
        events = [each["event"] for each in events_of((await client.answer()).body)]
    assert "response.block" not in events
    assert events[-1] == "response.cancelled"


async def test_round_that_was_not_admitted(tmp_path: Path) -> None:
    """Results that there is no room for leave the turn waiting, and a cancel still marks its answer."""
    digest = sha256(b"ak_1").hexdigest()
    config = {"keys": [{"id": "acme", "hash": digest, "limits": {"streams": 1}}], "upstream": {"api_key": "sk-up"}}
    rounds = in_turn(sse_stream(tool_events()), hang())
    me = Ask("ak_1")
    async with served(rounds, tmp_path, cancellation=KEEP, **config) as (proxy, _), RawClient(proxy.port) as client:
        thread_id = (await call(proxy, "POST", RESPOND, asks(tools=TOOLS), me)).json()["thread_id"]
        await settled(proxy)
        await begin(client, me)
        refused = await call(proxy, "POST", RESPOND, results(thread_id), me)
        assert error_of(refused, 429)["code"] == "RATE_LIMIT_EXCEEDED"
        assert (await cancel(proxy, thread_id, me)).json()["cancel_mode"] == "keep_partial"
        assert (await messages(proxy, thread_id, me))[1]["metadata"] == {"cancelled": True}
