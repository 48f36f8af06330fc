"""The official `openai` package in front of the dialect assistants, unmodified: its helpers, streams, pages, errors."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import openai
import pytest
from openai import AssistantEventHandler, OpenAI
from openai.types.beta.threads import Run, Text, TextDelta
from openai.types.beta.threads.runs import RunStep, ToolCall
from typing_extensions import override

from support.assistants import TOOL, sent, served, tool_events
from support.chat import chat_events, text
from support.proxy import RunningProxy
from support.scripts import events_then_hang, hang, in_turn, sse_stream

pytestmark = pytest.mark.filterwarnings("ignore:(The Assistants API is )?deprecated:DeprecationWarning")

T = TypeVar("T")
SAID = chat_events(3, finish=None, done=False)
CALL = ("call_1", "look_up", '{"q": 1}')


async def in_thread(proxy: RunningProxy, work: Callable[[OpenAI], T]) -> T:
    """Work with the client, as people make it, in a thread of its own."""

    def run() -> T:
        with OpenAI(base_url=proxy.base_url, api_key="sk-test") as client:
            return work(client)

    return await asyncio.to_thread(run)


def place(client: OpenAI, **more: Any) -> dict[str, Any]:
    """A new thread with a message, and an assistant: what a run is created with."""
    assistant = client.beta.assistants.create(model="scripted", name="A", instructions="Be brief.", **more)
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hello"}])
    return {"thread_id": thread.id, "assistant_id": assistant.id}


class Handler(AssistantEventHandler):
    """Notes what it is told, in order; `at` is called with each delta of text."""

    def __init__(self, at: Callable[[Run], None] | None = None) -> None:
        super().__init__()
        self.told: list[str] = []
        self.texts: list[str] = []
        self.calls: list[str] = []
        self._at = at

    @override
    def on_text_created(self, text: Text) -> None:
        self.told.append("text created")

    @override
    def on_text_delta(self, delta: TextDelta, snapshot: Text) -> None:
        self.texts.append(snapshot.value)
        if self._at is not None and self.current_run is not None:
            self._at(self.current_run)

    @override
    def on_text_done(self, text: Text) -> None:
        self.told.append("text done")

    @override
    def on_message_done(self, message: Any) -> None:
        self.told.append(f"message {message.status}")

    @override
    def on_run_step_done(self, run_step: RunStep) -> None:
        self.told.append(f"step {run_step.status}")

    @override
    def on_tool_call_done(self, tool_call: ToolCall) -> None:
        if tool_call.type == "function":
            self.calls.append(tool_call.function.arguments)

    @override
    def on_end(self) -> None:
        self.told.append("end")


async def test_create_and_poll(tmp_path: Path) -> None:
    """A run is created and polled to its end; its messages and steps are listed, page after page."""

    def work(client: OpenAI) -> None:
        at = place(client)
        for _ in range(3):
            run = client.beta.threads.runs.create_and_poll(**at)
            assert run.status == "completed"
        found = list(client.beta.threads.messages.list(at["thread_id"], limit=2))
        assert [message.role for message in found] == ["assistant"] * 3 + ["user"]
        mine = list(client.beta.threads.messages.list(at["thread_id"], run_id=run.id))
        assert [block.text.value for block in mine[0].content if block.type == "text"] == [text(3)]
        assert len(list(client.beta.threads.runs.list(at["thread_id"], limit=1))) == 3
        steps = client.beta.threads.runs.steps.list(run.id, thread_id=at["thread_id"])
        step = client.beta.threads.runs.steps.retrieve(steps.data[0].id, thread_id=at["thread_id"], run_id=run.id)
        assert step.status == "completed"
        assert len(list(client.beta.assistants.list(limit=1))) == 1

    async with served(sse_stream(chat_events(3)), tmp_path) as (proxy, _):
        await in_thread(proxy, work)


async def test_crud(tmp_path: Path) -> None:
    """Every other call of the package on assistants, threads, messages and runs works."""

    def work(client: OpenAI) -> None:
        at = place(client)
        beta, thread_id = client.beta, at["thread_id"]
        assert beta.assistants.update(at["assistant_id"], name="B").name == "B"
        assert beta.assistants.retrieve(at["assistant_id"]).name == "B"
        assert beta.threads.update(thread_id, metadata={"a": "b"}).metadata == {"a": "b"}
        assert beta.threads.retrieve(thread_id).metadata == {"a": "b"}
        message = beta.threads.messages.create(thread_id, role="user", content="x")
        changed = beta.threads.messages.update(message.id, thread_id=thread_id, metadata={"c": "d"})
        assert changed.metadata == {"c": "d"}
        assert beta.threads.messages.retrieve(message.id, thread_id=thread_id).metadata == {"c": "d"}
        run = beta.threads.runs.create_and_poll(**at)
        assert beta.threads.runs.update(run.id, thread_id=thread_id, metadata={"e": "f"}).metadata == {"e": "f"}
        assert beta.threads.runs.retrieve(run.id, thread_id=thread_id).metadata == {"e": "f"}
        assert beta.threads.messages.delete(message.id, thread_id=thread_id).deleted
        assert beta.threads.delete(thread_id).deleted
        assert beta.assistants.delete(at["assistant_id"]).deleted
        with pytest.raises(openai.NotFoundError, match=f"No thread found with id '{thread_id}'"):
            beta.threads.retrieve(thread_id)

    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        await in_thread(proxy, work)


async def test_a_stream_with_its_handler(tmp_path: Path) -> None:
    """The event handler is told of every text, message and step, and has the final objects."""

    def work(client: OpenAI) -> None:
        handler = Handler()
        with client.beta.threads.runs.stream(**place(client), event_handler=handler) as stream:
            stream.until_done()
        assert handler.texts[-1] == text(3)
        assert handler.told == ["text created", "text done", "message completed", "step completed", "end"]
        assert handler.get_final_run().status == "completed"
        assert [each.status for each in handler.get_final_messages()] == ["completed"]
        assert len(handler.get_final_run_steps()) == 1

    async with served(sse_stream(chat_events(3)), tmp_path) as (proxy, _):
        await in_thread(proxy, work)


async def test_create_and_run(tmp_path: Path) -> None:
    """A thread and its run in one call: streamed by the helper, streamed plainly, and polled."""

    def work(client: OpenAI) -> None:
        assistant_id = client.beta.assistants.create(model="scripted").id
        thread: Any = {"messages": [{"role": "user", "content": "Hello"}]}
        with client.beta.threads.create_and_run_stream(assistant_id=assistant_id, thread=thread) as stream:
            assert "".join(stream.text_deltas) == text(3)
            assert stream.get_final_run().status == "completed"
        plain = client.beta.threads.create_and_run(assistant_id=assistant_id, thread=thread, stream=True)
        events = [event.event for event in plain]
        assert (events[0], events[-1]) == ("thread.created", "thread.run.completed")
        assert client.beta.threads.create_and_run_poll(assistant_id=assistant_id, thread=thread).status == "completed"

    async with served(sse_stream(chat_events(3)), tmp_path) as (proxy, _):
        await in_thread(proxy, work)


async def test_a_cancel_in_the_stream(tmp_path: Path) -> None:
    """A run that is cancelled while its handler reads ends there as cancelled, with the partial text."""

    def work(client: OpenAI) -> None:
        def at(run: Run) -> None:
            if handler.texts[-1] == text(3):
                cancelling = client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
                assert (cancelling.status, cancelling.cancelled_at) == ("cancelling", None)

        handler = Handler(at)
        with client.beta.threads.runs.stream(**place(client), event_handler=handler) as stream:
            stream.until_done()
        run, message = handler.get_final_run(), handler.get_final_messages()[0]
        assert run.status == "cancelled"
        assert run.cancelled_at is not None
        assert message.incomplete_details is not None
        assert message.incomplete_details.reason == "run_cancelled"
        assert [block.text.value for block in message.content if block.type == "text"] == [text(3)]
        assert handler.told == ["text created", "text done", "message incomplete", "step cancelled", "end"]
        with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status 'cancelled'"):
            client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)

    async with served(events_then_hang(SAID), tmp_path) as (proxy, up):
        await in_thread(proxy, work)
        await up.no_connections()


async def test_cancels_without_a_stream(tmp_path: Path) -> None:
    """Runs are cancelled while queued, in progress, and while an action is required; a finished one is not."""

    def work(client: OpenAI) -> None:
        run = client.beta.threads.runs.create_and_poll(**place(client))
        with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status 'completed'"):
            client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
        for status in ("requires_action", "in_progress", "queued"):
            run = client.beta.threads.runs.create(**place(client))
            where: Any = {"thread_id": run.thread_id}
            while run.status != status:
                run = client.beta.threads.runs.retrieve(run.id, **where)
            client.beta.threads.runs.cancel(run.id, **where)
            assert client.beta.threads.runs.poll(run.id, **where).status == "cancelled"
        with pytest.raises(openai.NotFoundError, match="No run found with id 'run_x'"):
            client.beta.threads.runs.cancel("run_x", thread_id=run.thread_id)

    script = in_turn(sse_stream(chat_events(1)), sse_stream(tool_events(CALL)), events_then_hang(SAID), hang())
    async with served(script, tmp_path) as (proxy, _):
        await in_thread(proxy, work)


async def test_a_round_of_tools(tmp_path: Path) -> None:
    """Calls of tools arrive at the handler; their results go back by stream and by polling."""

    def work(client: OpenAI) -> None:
        handler = Handler()
        with client.beta.threads.runs.stream(**place(client, tools=[TOOL]), event_handler=handler) as stream:
            stream.until_done()
        run = handler.get_final_run()
        where: Any = {"thread_id": run.thread_id, "run_id": run.id}
        assert run.status == "requires_action"
        assert run.required_action is not None
        assert handler.calls == ['{"q": 1}']
        outputs: Any = [
            {"tool_call_id": call.id, "output": "1"} for call in run.required_action.submit_tool_outputs.tool_calls
        ]
        with client.beta.threads.runs.submit_tool_outputs_stream(**where, tool_outputs=outputs) as more:
            more.until_done()
            assert more.get_final_run().status == "requires_action"
        done = client.beta.threads.runs.submit_tool_outputs_and_poll(**where, tool_outputs=outputs)
        assert done.status == "completed"
        assert done.usage is not None

    script = in_turn(*[sse_stream(tool_events(CALL))] * 2, sse_stream(chat_events(1)))
    async with served(script, tmp_path) as (proxy, up):
        await in_thread(proxy, work)
        assert [each["role"] for each in sent(up)["messages"][2:]] == ["assistant", "tool"] * 2


async def test_a_failed_run(tmp_path: Path) -> None:
    """A run whose upstream breaks is failed for the helpers, without an exception."""

    def work(client: OpenAI) -> None:
        with client.beta.threads.runs.stream(**place(client)) as stream:
            run = stream.get_final_run()
            assert run.last_error is not None
            assert (run.status, run.last_error.code) == ("failed", "server_error")
            assert stream.get_final_messages()[0].status == "incomplete"
        assert client.beta.threads.runs.create_and_poll(**place(client)).status == "failed"

    async with served(sse_stream(SAID), tmp_path) as (proxy, _):
        await in_thread(proxy, work)
