"""Tool rounds of runs: the action that is required, the results, and how the run goes on."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.core.errors import Refusal
from proxy.dialects.assistants import submit
from proxy.stores.conversations.port import Owner
from proxy.stores.ledger.port import LedgerUnavailableError
from support.assistants import (
    TOOL,
    a_run,
    a_thread,
    an_assistant,
    ask,
    error_of,
    events_of,
    names,
    sent,
    served,
    told,
    tool_events,
)
from support.chat import chat_events, sse, text
from support.client import RawClient
from support.proxy import RunningProxy
from support.scripts import events_then_hang, in_turn, sse_stream
from support.stops import call, settled

TWO = (("call_a", "look_up", '{"q": "rain"}'), ("call_b", "look_up", '{"q": "snow"}'))
OUTPUTS = [{"tool_call_id": "call_b", "output": "white"}, {"tool_call_id": "call_a", "output": "wet"}]
HALF = "half"
"""Stands for an id that is half a surrogate pair, which only JSON's escapes can say."""


async def stream(proxy: RunningProxy, path: str, body: Any) -> list[tuple[str, dict[str, Any]]]:
    """The events of a streaming call."""
    answer = await call(proxy, "POST", f"/v1{path}", {"stream": True, **body})
    assert answer.status == 200, answer.body
    return events_of(answer.body)


async def test_a_round_of_tools(tmp_path: Path) -> None:
    """A run that calls tools waits, takes their results, goes on in a stream, and counts both generations."""
    script = in_turn(sse_stream(tool_events(*TWO, said="Let me see.")), sse_stream(chat_events(3, usage=True)))
    async with served(script, tmp_path) as (proxy, up):
        assistant, thread = await an_assistant(proxy, tools=[TOOL]), await a_thread(proxy, "Hello")
        first = await stream(proxy, f"/threads/{thread}/runs", {"assistant_id": assistant})
        run = first[-1][1]
        at = f"/threads/{thread}/runs/{run['id']}"
        waiting = await ask(proxy, "GET", at)
        second = await stream(proxy, f"{at}/submit_tool_outputs", {"tool_outputs": OUTPUTS})
        steps = await ask(proxy, "GET", f"{at}/steps?order=asc")
        page = await ask(proxy, "GET", f"{at}/steps?limit=1&order=asc&after={steps['data'][0]['id']}")
        messages = await ask(proxy, "GET", f"/threads/{thread}/messages?run_id={run['id']}&order=asc")
        kept, body = await ask(proxy, "GET", at), sent(up)
    assert names(first)[3:] == [
        *("run.step.created", "run.step.in_progress", "message.created", "message.in_progress", "message.delta"),
        *("run.step.created", "run.step.in_progress", "run.step.delta"),
        *("message.completed", "run.step.completed", "run.requires_action"),
    ]
    assert waiting == run
    assert (run["expires_at"], run["usage"]) == (run["created_at"] + 600, None)
    required = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert [(each["id"], each["function"]["arguments"]) for each in required] == [(a, c) for a, _, c in TWO]
    assert names(second) == [
        *("run.step.completed", "run.queued", "run.in_progress", "run.step.created", "run.step.in_progress"),
        *("message.created", "message.in_progress", "message.delta"),
        *("message.completed", "run.step.completed", "run.completed"),
    ]
    calls = steps["data"][1]["step_details"]["tool_calls"]
    assert [each["function"]["output"] for each in calls] == ["wet", "white"]
    assert [each["status"] for each in steps["data"]] == ["completed"] * 3
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([steps["data"][1]["id"]], True)
    assert kept["usage"]["prompt_tokens"] > 7
    assert [each["content"][0]["text"]["value"] for each in messages["data"]] == ["Let me see.", text(3)]
    functions = [{"id": a, "type": "function", "function": {"name": b, "arguments": c}} for a, b, c in TWO]
    assert body["messages"][1:] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": functions},
        {"role": "tool", "tool_call_id": "call_a", "content": "wet"},
        {"role": "tool", "tool_call_id": "call_b", "content": "white"},
    ]


async def test_rounds_without_a_reader(tmp_path: Path) -> None:
    """Results may be brought without a stream, round after round; what was called before is told to the model again."""
    script = in_turn(sse_stream(tool_events(TWO[0])), sse_stream(tool_events(TWO[1])), sse_stream(chat_events(1)))
    async with served(script, tmp_path) as (proxy, up):
        assistant, thread = await an_assistant(proxy, tools=[TOOL]), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]
        at, statuses = f"/threads/{thread}/runs/{run}", []
        for output in OUTPUTS[::-1]:
            await settled(proxy)
            statuses.append((await ask(proxy, "GET", at))["status"])
            statuses.append(
                (await ask(proxy, "POST", f"{at}/submit_tool_outputs", {"tool_outputs": [output]}))["status"]
            )
        await settled(proxy)
        statuses.append((await ask(proxy, "GET", at))["status"])
        messages = await ask(proxy, "GET", f"/threads/{thread}/messages")
        body = sent(up)
    assert statuses == ["requires_action", "queued"] * 2 + ["completed"]
    assert [each["role"] for each in body["messages"][2:]] == ["assistant", "tool"] * 2
    assert len(messages["data"]) == 2


async def test_deltas_of_calls(tmp_path: Path) -> None:
    """Calls are numbered from 0 as they begin, named once, and have an id, whatever the upstream sends."""
    pieces = [
        {"index": 3, "function": {"name": "look_up", "arguments": ""}},
        {"index": 3, "function": {"name": "look_up", "arguments": "{}"}},
        {"index": 1, "id": "call_x", "function": {"name": "see", "arguments": '{"a"'}},
        {"index": 1, "function": {"arguments": ":1}"}},
    ]
    chunks = [sse({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [each]}}]}) for each in pieces]
    end = sse({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    async with served(sse_stream([*chunks, end, b"data: [DONE]\n\n"]), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy, tools=[TOOL]), await a_thread(proxy, "Hello")
        events = await stream(proxy, f"/threads/{thread}/runs", {"assistant_id": assistant})
    deltas = [value["delta"]["step_details"]["tool_calls"][0] for name, value in events if name.endswith("step.delta")]
    assert [each["index"] for each in deltas] == [0, 0, 1, 1]
    assert [each["function"].get("name") for each in deltas] == ["look_up", None, "see", None]
    assert [each["id"][:5] for each in deltas if "id" in each] == ["call_", "call_"]
    required = events[-1][1]["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert [each["function"] for each in required] == [
        {"name": "look_up", "arguments": "{}"},
        {"name": "see", "arguments": '{"a":1}'},
    ]
    assert [each["id"] for each in required] == [each["id"] for each in deltas if "id" in each]


@pytest.mark.parametrize("ids", [("x" * 257, "x" * 256), ("call_a", "call_a"), (HALF, "call_a")])
async def test_ids_that_no_client_can_send_back(tmp_path: Path, ids: tuple[str, str]) -> None:
    """A call whose id is too long, used before or no text gets one of ours: in stream, run, step, and upstream."""
    called = tool_events(*((ident, "look_up", "{}") for ident in ids))
    called = [each.replace(HALF.encode(), rb"\ud800") for each in called]
    script = in_turn(sse_stream(called), sse_stream(chat_events(1)))
    async with served(script, tmp_path) as (proxy, up):
        assistant, thread = await an_assistant(proxy, tools=[TOOL]), await a_thread(proxy, "Hello")
        events = await stream(proxy, f"/threads/{thread}/runs", {"assistant_id": assistant})
        run = events[-1][1]
        shown = [call["id"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]]
        outputs = [{"tool_call_id": ident, "output": str(number)} for number, ident in enumerate(shown)]
        at = f"/threads/{thread}/runs/{run['id']}"
        await ask(proxy, "POST", f"{at}/submit_tool_outputs", {"tool_outputs": outputs})
        await settled(proxy)
        step = (await ask(proxy, "GET", f"{at}/steps?order=asc"))["data"][0]["step_details"]
        asked, *came = sent(up)["messages"][-3:]
    deltas = [value["delta"]["step_details"]["tool_calls"][0] for name, value in events if name.endswith("step.delta")]
    fit = [ident for ident in ("x" * 256, "call_a") if ident in ids]
    assert [ident for ident in shown if ident in ids] == fit
    assert len({ident for ident in shown if ident not in ids and ident.startswith("call_")}) == 1
    assert [each["id"] for each in deltas if "id" in each] == shown
    assert [(call["id"], call["function"]["output"]) for call in step["tool_calls"]] == [
        (shown[0], "0"),
        (shown[1], "1"),
    ]
    assert [call["id"] for call in asked["tool_calls"]] == [each["tool_call_id"] for each in came] == shown


async def test_results_that_are_none(tmp_path: Path) -> None:
    """Results must be of all calls that are waited for, each once, and of nothing else; the run waits on."""
    async with served(sse_stream(tool_events(*TWO)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]
        await settled(proxy)
        path = f"/threads/{thread}/runs/{run}/submit_tool_outputs"
        wrong = [
            [],
            OUTPUTS[:1],
            [OUTPUTS[0], OUTPUTS[0]],
            [{"tool_call_id": "call_z", "output": "x"}],
            [{"output": "x"}],
        ]
        errors = [error_of(await told(proxy, "POST", path, {"tool_outputs": each}), 400) for each in wrong]
        kept = await ask(proxy, "GET", f"/threads/{thread}/runs/{run}")
        unknown = error_of(await told(proxy, "POST", path.replace(run, "run_x"), {"tool_outputs": OUTPUTS}), 404)
    assert [each["param"] for each in errors] == [
        *("tool_outputs", "tool_outputs", "tool_outputs[1].tool_call_id"),
        *("tool_outputs[0].tool_call_id", "tool_outputs[0].tool_call_id"),
    ]
    assert "missing: call_a, call_b" in errors[0]["message"]
    assert kept["status"] == "requires_action"
    assert unknown["message"] == "No run found with id 'run_x'."


async def test_results_for_a_run_that_wants_none(tmp_path: Path) -> None:
    """A run that does not wait for results takes none."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]
        await settled(proxy)
        path = f"/threads/{thread}/runs/{run}/submit_tool_outputs"
        error = error_of(await told(proxy, "POST", path, {"tool_outputs": OUTPUTS}), 400)
    assert error["message"] == 'Runs in status "completed" do not accept tool outputs.'


async def test_the_lock_while_an_action_is_required(tmp_path: Path) -> None:
    """A run that waits for results holds its thread."""
    async with served(sse_stream(tool_events(TWO[0])), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]
        await settled(proxy)
        error = error_of(await told(proxy, "POST", f"/threads/{thread}/runs", {"assistant_id": assistant}), 400)
        listed = await ask(proxy, "GET", f"/threads/{thread}/runs")
    assert error["message"] == f"Thread {thread} already has an active run {run}."
    assert [each["status"] for each in listed["data"]] == ["requires_action"]


async def test_a_cancel_of_the_second_generation(tmp_path: Path) -> None:
    """A run that goes on after its tools is cancelled like any other; the step of the tools stays complete."""
    script = in_turn(sse_stream(tool_events(TWO[0])), events_then_hang(chat_events(3, finish=None, done=False)))
    async with served(script, tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]
        await settled(proxy)
        at = f"/threads/{thread}/runs/{run}"
        body = {"tool_outputs": OUTPUTS[1:], "stream": True}
        await client.post(f"/v1{at}/submit_tool_outputs", body)
        await client.until(b'"all "')
        await ask(proxy, "POST", f"{at}/cancel")
        await up.no_connections()
        events = events_of((await client.answer()).body)
        steps = await ask(proxy, "GET", f"{at}/steps?order=asc")
    assert names(events)[-4:] == ["run.cancelling", "message.incomplete", "run.step.cancelled", "run.cancelled"]
    assert [each["status"] for each in steps["data"]] == ["completed", "cancelled"]


async def test_calls_that_were_cut(tmp_path: Path) -> None:
    """Calls that the bound of tokens cut off are not waited for: the run is incomplete, and the thread free."""
    events = [*tool_events(TWO[0])[:-2], sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})]
    async with served(sse_stream([*events, b"data: [DONE]\n\n"]), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        seen = await stream(proxy, f"/threads/{thread}/runs", {"assistant_id": assistant})
        free = await told(proxy, "POST", f"/threads/{thread}/messages", {"role": "user", "content": "x"})
        over = error_of(await told(proxy, "POST", f"/threads/{thread}/runs/{seen[-1][1]['id']}/cancel"), 400)
        again = await stream(proxy, f"/threads/{thread}/runs", {"assistant_id": assistant})
    assert names(seen)[-2:] == ["run.step.completed", "run.incomplete"]
    assert free.status == 200
    assert over["message"] == "Cannot cancel run with status 'incomplete'."
    assert names(again)[-1] == "run.incomplete"


async def test_a_cancel_during_a_refused_submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is cancelled while its results are refused is cancelled in the store too, for any later reader."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def refused(*_: Any) -> None:
        begun.set()
        await go.wait()
        raise Refusal.bad_request("unfit", "It can't be said to this model.")

    async with served(sse_stream(tool_events(*TWO)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]
        await settled(proxy)
        at = f"/threads/{thread}/runs/{run}"
        monkeypatch.setattr(submit, "worked_out", _second_refused(refused))
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(told(proxy, "POST", f"{at}/submit_tool_outputs", {"tool_outputs": OUTPUTS}))
            await begun.wait()
            await ask(proxy, "POST", f"{at}/cancel")
            go.set()
        error_of(answer.result(), 400)
        await proxy.app.engine.canceller.left.finish()
        store = proxy.app.engine.conversations
        item = await store.find_item(Owner("anonymous", "assistants"), "run", run)
    assert item is not None
    assert (item.body["status"], item.is_open) == ("cancelled", False)


async def test_a_start_that_fails_behind_the_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the START of the next generation fails, the run says the same on disk as to its client: it failed."""

    def begin(*_: Any) -> "asyncio.Future[None]":
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        failed.set_exception(LedgerUnavailableError("late"))
        return failed

    async with served(sse_stream(tool_events(TWO[0])), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]
        await settled(proxy)
        at = f"/threads/{thread}/runs/{run}"
        with monkeypatch.context() as patch:
            patch.setattr(type(proxy.app.engine.ledger), "begin", begin)
            error_of(await told(proxy, "POST", f"{at}/submit_tool_outputs", {"tool_outputs": OUTPUTS[1:]}), 503)
            await settled(proxy)
        shown = [await ask(proxy, "GET", at), *(await ask(proxy, "GET", f"{at}/steps"))["data"]]
        store, owner = proxy.app.engine.conversations, Owner("anonymous", "assistants")
        kinds = ("run", "step")
        items = [await store.find_item(owner, kind, each["id"]) for kind, each in zip(kinds, shown, strict=True)]
    assert [each["status"] for each in shown] == ["failed", "completed"]
    assert [(item.body, item.is_open) for item in items if item is not None] == [(each, False) for each in shown]


def _second_refused(refused: Any) -> Any:
    """Only the making of the body fails: what is worked out before it is."""
    calls = []

    async def worked(size: int, work: Any) -> Any:
        calls.append(size)
        return await refused() if len(calls) == 2 else work()

    return worked
