"""The bounds of runs: of their tokens, of what their tools answer, and of what all of them hold in memory."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.core.errors import Refusal
from proxy.dialects.assistants import submit
from proxy.stores.conversations.port import Owner, Window
from support.assistants import a_run, a_thread, an_assistant, ask, error_of, served, told, tool_events
from support.chat import chat_events, sse
from support.client import RawClient
from support.scripts import in_turn, sse_stream
from support.stops import settled
from support.wait import eventually, within

TWO = (("call_a", "look_up", '{"q": "rain"}'), ("call_b", "look_up", '{"q": "snow"}'))
OUTPUTS = [{"tool_call_id": "call_b", "output": "white"}, {"tool_call_id": "call_a", "output": "wet"}]


async def test_a_bound_that_tools_use_up(tmp_path: Path) -> None:
    """A run whose prompt tokens are used up by its rounds ends incomplete, with the results on their step."""
    usage = sse({"choices": [], "usage": {"prompt_tokens": 250, "completion_tokens": 300, "total_tokens": 550}})
    events = [*tool_events(TWO[0])[:-1], usage, b"data: [DONE]\n\n"]
    bounds: list[dict[str, int]] = [{"max_prompt_tokens": 256}, {"max_completion_tokens": 256}]
    async with served(sse_stream(events), tmp_path) as (proxy, up):
        for bound in bounds:
            assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
            run = (await a_run(proxy, thread, assistant, **bound))["id"]
            await settled(proxy)
            at = f"/threads/{thread}/runs/{run}"
            over = await ask(proxy, "POST", f"{at}/submit_tool_outputs", {"tool_outputs": OUTPUTS[1:]})
            steps = await ask(proxy, "GET", f"{at}/steps")
            free = await told(proxy, "POST", f"/threads/{thread}/messages", {"role": "user", "content": "x"})
            assert (over["status"], over["incomplete_details"]) == ("incomplete", {"reason": next(iter(bound))})
            assert over["usage"]["total_tokens"] == 550
            assert steps["data"][0]["step_details"]["tool_calls"][0]["function"]["output"] == "wet"
            assert free.status == 200
    assert len(up.requests) == 2


@pytest.mark.parametrize("during", ["create", "submit"])
async def test_a_run_at_its_bound_is_kept_though_its_client_leaves(
    tmp_path: Path, during: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends at a bound of tokens, with tools or without, is kept though its client leaves."""
    usage = sse({"choices": [], "usage": {"prompt_tokens": 250, "completion_tokens": 300, "total_tokens": 550}})
    script = sse_stream([*tool_events(("call_a", "look_up", "{}"))[:-1], usage, b"data: [DONE]\n\n"])
    async with served(script, tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        path, name = f"/threads/{thread}/runs", "add_messages"
        body: Any = {"assistant_id": assistant, "max_prompt_tokens": 256, "instructions": "word " * 300}
        if during == "submit":
            run = (await a_run(proxy, thread, assistant, max_completion_tokens=256))["id"]
            await settled(proxy)
            path, name = f"{path}/{run}/submit_tool_outputs", "update_item"
            body = {"tool_outputs": [{"tool_call_id": "call_a", "output": "wet"}]}
        store = proxy.app.engine.conversations
        write, begun, go = getattr(type(store), name), asyncio.Event(), asyncio.Event()

        async def later(self: Any, *given: Any, **more: Any) -> Any:
            begun.set()
            await go.wait()
            return await write(self, *given, **more)

        monkeypatch.setattr(type(store), name, later)
        async with RawClient(proxy.port) as client:
            await client.post(f"/v1{path}", body)
            await within(begun.wait(), "the writing begins")
            client.reset()
        await ask(proxy, "GET", f"/threads/{thread}")  # the reset has come before this call
        go.set()

        async def kept() -> bool:
            items, _ = await store.items(Owner("anonymous", "assistants"), "run", thread, Window())
            return [(item.body["status"], item.is_open) for item in items] == [("incomplete", False)]

        await eventually(kept)


@pytest.mark.parametrize("messages", [[], [{"role": "user", "content": "Hi"}]])
async def test_a_run_at_its_bound_in_a_thread_that_goes(
    tmp_path: Path, messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends before a model call in a thread that is deleted just then is kept nowhere: 404."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        store = type(proxy.app.engine.conversations)
        add = store.add_messages

        async def too_late(self: Any, *given: Any) -> bool:
            await self.delete_thread(Owner("anonymous", "assistants"), thread)
            return bool(await add(self, *given))

        monkeypatch.setattr(store, "add_messages", too_late)
        body = {"assistant_id": assistant, "max_prompt_tokens": 256, "instructions": "word " * 300}
        body["additional_messages"] = messages
        error = error_of(await told(proxy, "POST", f"/threads/{thread}/runs", body), 404)
    assert error["message"] == f"No thread found with id '{thread}'."


async def test_outputs_of_all_rounds_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs of all rounds of a run together have a bound: beyond it they are refused, and the run waits on."""
    monkeypatch.setattr(submit, "MAX_CHARACTERS", 10)
    script = in_turn(sse_stream(tool_events(TWO[0])), sse_stream(tool_events(TWO[1])), sse_stream(chat_events(1)))
    async with served(script, tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]
        at, path = f"/threads/{thread}/runs/{run}", f"/threads/{thread}/runs/{run}/submit_tool_outputs"
        await settled(proxy)
        await ask(proxy, "POST", path, {"tool_outputs": [{"tool_call_id": "call_a", "output": "1234567"}]})
        await settled(proxy)
        large = {"tool_outputs": [{"tool_call_id": "call_b", "output": "1234"}]}
        error = error_of(await told(proxy, "POST", path, large), 400)
        waiting = await ask(proxy, "GET", at)
        await ask(proxy, "POST", path, {"tool_outputs": [{"tool_call_id": "call_b", "output": "123"}]})
        await settled(proxy)
        over = await ask(proxy, "GET", at)
    assert error["param"] == "tool_outputs"
    assert "at most 10 characters in all outputs of the run; with these there are 11" in error["message"]
    assert (waiting["status"], over["status"]) == ("requires_action", "completed")


async def test_runs_hold_as_much_as_they_may(tmp_path: Path) -> None:
    """Where runs hold too much, outputs and new runs get 503, and the run that waits goes on when there is room."""
    script = in_turn(sse_stream(tool_events(TWO[0])), sse_stream(chat_events(1)))
    async with served(script, tmp_path) as (proxy, up):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]
        await settled(proxy)
        at, path = f"/threads/{thread}/runs/{run}", f"/threads/{thread}/runs/{run}/submit_tool_outputs"
        proxy.app.engine.runs._held._most = proxy.app.engine.runs._held._all
        fresh = {"assistant_id": assistant, "thread": {"messages": []}}
        refused = [
            await told(proxy, "POST", path, {"tool_outputs": OUTPUTS[1:]}),
            await told(proxy, "POST", "/threads/runs", fresh),
        ]
        waiting = await ask(proxy, "GET", at)
        proxy.app.engine.runs._held._most = 10_000
        await ask(proxy, "POST", path, {"tool_outputs": OUTPUTS[1:]})
        await settled(proxy)
        over = await ask(proxy, "GET", at)
    for answer in refused:
        assert error_of(answer, 503)["code"] == "overloaded"
        assert answer.header("retry-after") == "5"
    assert (waiting["status"], over["status"], len(up.requests)) == ("requires_action", "completed", 2)


async def test_a_refused_submit_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs of which no generation came are not held: the run waits as before."""

    def refused(*_: Any) -> bytes:
        raise Refusal.bad_request("unfit", "It can't be said to this model.")

    async with served(sse_stream(tool_events(*TWO)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]
        await settled(proxy)
        waiting = proxy.app.engine.runs.find("anonymous", thread)
        assert waiting is not None
        before = waiting.state, waiting.held
        monkeypatch.setattr(submit, "body_of", refused)
        path = f"/threads/{thread}/runs/{run}/submit_tool_outputs"
        error_of(await told(proxy, "POST", path, {"tool_outputs": OUTPUTS}), 400)
        assert (waiting.state, waiting.held) == before
