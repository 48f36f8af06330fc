"""Cancelling runs: in every status, by every id, and what is left; the lock of the thread; runs that expire."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.core.generation import Stop
from proxy.core.lifecycle import Cause
from proxy.dialects.assistants import run_request
from proxy.stores.conversations.port import Owner
from proxy.stores.ledger.port import LedgerUnavailableError
from support.assistants import (
    a_run,
    a_thread,
    an_assistant,
    ask,
    error_of,
    events_of,
    names,
    served,
    told,
    tool_events,
)
from support.chat import chat_events, text
from support.client import RawClient, request_bytes
from support.proxy import RunningProxy
from support.scripts import events_then_hang, hang, in_turn, sse_stream
from support.stops import Ask, call, record, settled, stop
from support.wait import eventually, within

SAID = chat_events(3, finish=None, done=False)
CANCELLED = ["run.cancelling", "message.incomplete", "run.step.cancelled", "run.cancelled"]
OPERATOR = Stop(Cause.OPERATOR)
CALL = ("call_1", "look_up", '{"q": 1}')


async def begun(proxy: RunningProxy, client: RawClient, marker: bytes, **more: Any) -> tuple[str, str]:
    """A streaming run whose stream has come to `marker`; gives the ids of thread and run."""
    assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
    await client.post(f"/v1/threads/{thread}/runs", {"assistant_id": assistant, "stream": True, **more})
    said = await client.until(marker)
    run = said.split(b'"id":"run_')[1].partition(b'"')[0].decode()
    return thread, f"run_{run}"


async def cancel(proxy: RunningProxy, thread: str, run: str) -> Any:
    """The API's own cancel, with an empty body as its clients send it."""
    return await told(proxy, "POST", f"/threads/{thread}/runs/{run}/cancel")


async def test_a_cancelled_stream(tmp_path: Path) -> None:
    """A cancel closes the upstream and is answered with `cancelling`; stream, message, step and run end cancelled."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        thread, run = await begun(proxy, client, b'"all "')
        at = f"/threads/{thread}/runs/{run}"
        cancelling = await ask(proxy, "POST", f"{at}/cancel")
        await up.no_connections()
        events = events_of((await client.answer()).body)
        kept = await ask(proxy, "GET", at)
        messages = await ask(proxy, "GET", f"/threads/{thread}/messages?run_id={run}")
        steps = await ask(proxy, "GET", f"{at}/steps")
        again = error_of(await cancel(proxy, thread, run), 400)
    assert (cancelling["status"], cancelling["cancelled_at"]) == ("cancelling", None)
    assert cancelling["expires_at"] == cancelling["created_at"] + 600
    assert names(events)[-4:] == CANCELLED
    assert events[-1][1] == kept
    assert (kept["status"], kept["expires_at"]) == ("cancelled", None)
    assert kept["cancelled_at"] is not None
    assert kept["usage"]["completion_tokens"] > 0
    message = messages["data"][0]
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "run_cancelled"})
    assert message["content"][0]["text"]["value"] == text(3)
    assert [each["status"] for each in steps["data"]] == ["cancelled"]
    assert again["message"] == "Cannot cancel run with status 'cancelled'."
    assert (again["type"], again["param"], again["code"]) == ("invalid_request_error", None, None)


async def test_before_the_first_token(tmp_path: Path) -> None:
    """A run that is cancelled while it is queued has no message and no step; no upstream is kept waiting."""
    async with served(hang(), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        thread, run = await begun(proxy, client, b"thread.run.queued")
        await up.conn()
        shown = await ask(proxy, "GET", f"/threads/{thread}/runs/{run}")
        await ask(proxy, "POST", f"/threads/{thread}/runs/{run}/cancel")
        await up.no_connections()
        events = events_of((await client.answer()).body)
        messages = await ask(proxy, "GET", f"/threads/{thread}/messages")
    assert shown["status"] == "queued"
    assert names(events) == ["run.created", "run.queued", "run.cancelling", "run.cancelled"]
    assert len(messages["data"]) == 1


async def test_while_an_action_is_required(tmp_path: Path) -> None:
    """A run that waits for results of tools is cancelled too, with its step; its outputs are no longer taken."""
    async with served(sse_stream(tool_events(CALL)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = await a_run(proxy, thread, assistant)
        await settled(proxy)
        at = f"/threads/{thread}/runs/{run['id']}"
        waiting = await ask(proxy, "GET", at)
        cancelling = await ask(proxy, "POST", f"{at}/cancel")
        kept, steps = await ask(proxy, "GET", at), await ask(proxy, "GET", f"{at}/steps")
        again = error_of(await cancel(proxy, thread, run["id"]), 400)
        outputs = {"tool_outputs": [{"tool_call_id": "call_1", "output": "1"}]}
        late = error_of(await told(proxy, "POST", f"{at}/submit_tool_outputs", outputs), 400)
        free = await told(proxy, "POST", f"/threads/{thread}/messages", {"role": "user", "content": "x"})
    assert (waiting["status"], cancelling["status"], kept["status"]) == ("requires_action", "cancelling", "cancelled")
    assert (cancelling["required_action"], kept["required_action"]) == (None, None)
    assert [(each["type"], each["status"]) for each in steps["data"]] == [("tool_calls", "cancelled")]
    assert again["message"] == "Cannot cancel run with status 'cancelled'."
    assert late["message"] == 'Runs in status "cancelled" do not accept tool outputs.'
    assert free.status == 200


async def test_a_cancel_that_the_disk_refuses_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel of a waiting run that could not be written: no GET says that it is over before it is on disk."""
    async with served(sse_stream(tool_events(CALL)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]
        await settled(proxy)
        store = proxy.app.engine.conversations
        with monkeypatch.context() as patch:
            patch.setattr(type(store), "update_item", _refused)
            first = await cancel(proxy, thread, run)
            look = await told(proxy, "GET", f"/threads/{thread}/runs/{run}")
        again = await told(proxy, "GET", f"/threads/{thread}/runs/{run}")
        item = await store.find_item(Owner("anonymous", "assistants"), "run", run)
        steps = await ask(proxy, "GET", f"/threads/{thread}/runs/{run}/steps")
    assert (first.status, look.status, again.json()["status"]) == (200, 503, "cancelled")
    assert item is not None
    assert (item.body["status"], item.is_open) == ("cancelled", False)
    assert [each["status"] for each in steps["data"]] == ["cancelled"]


async def _refused(*_: Any, **__: Any) -> bool:
    raise LedgerUnavailableError("the disk is full")


async def test_a_run_that_is_over(tmp_path: Path) -> None:
    """A completed run can't be cancelled, a moment after its last event or later; an unknown one is not found."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        thread, run = await begun(proxy, client, b"[DONE]")
        over = error_of(await cancel(proxy, thread, run), 400)
        failed = error_of(await cancel(proxy, thread, "run_none"), 404)
        missing = error_of(await cancel(proxy, "thread_none", run), 404)
    assert over["message"] == "Cannot cancel run with status 'completed'."
    assert failed["message"] == "No run found with id 'run_none'."
    assert missing["type"] == "invalid_request_error"


@pytest.mark.parametrize("which", ["run", "thread", "task", "message", "admin", "all"])
async def test_other_stops(tmp_path: Path, which: str) -> None:
    """The native stop by any id of a run, and the operator's, end it as its own cancel does."""
    headers = {"X_Task_Id": "t-1"}
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        body = {"assistant_id": assistant, "stream": True}
        await client.post(f"/v1/threads/{thread}/runs", body, Ask().headers(**headers))
        said = await client.until(b'"all "')
        run = "run_" + said.split(b'"id":"run_')[1].partition(b'"')[0].decode()
        message = "msg_" + said.split(b'"id":"msg_')[1].partition(b'"')[0].decode()
        mine = (await call(proxy, "GET", "/v1/generations")).json()["data"]
        if which == "admin":
            await proxy.app.engine.canceller.cancel_all(
                list(proxy.app.engine.registry), OPERATOR, dialect="", confirm=5
            )
        elif which == "all":
            await call(proxy, "POST", "/v1/generations/cancel", {"all": True})
        else:
            any_id = {"run": run, "thread": thread, "task": "t-1", "message": message}[which]
            assert (await stop(proxy, any_id)).json()["result"] == "stopped"
        await up.no_connections()
        events = events_of((await client.answer()).body)
        kept = await ask(proxy, "GET", f"/threads/{thread}/runs/{run}")
    assert [(each["task_id"], each["dialect"], each["outcome"]) for each in mine] == [("t-1", "assistants", "running")]
    assert names(events)[-4:] == CANCELLED
    assert kept["status"] == "cancelled"


@pytest.mark.parametrize("which", ["run", "thread", "task"])
async def test_other_stops_while_an_action_is_required(tmp_path: Path, which: str) -> None:
    """The native stop ends a run that waits for results of tools, by its own id, its thread's or the task's."""
    async with served(sse_stream(tool_events(CALL)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        answer = await call(proxy, "POST", f"/v1/threads/{thread}/runs", {"assistant_id": assistant}, X_Task_Id="t-1")
        run = answer.json()["id"]
        await settled(proxy)
        await stop(proxy, {"run": run, "thread": thread, "task": "t-1"}[which])
        kept = await ask(proxy, "GET", f"/threads/{thread}/runs/{run}")
    assert kept["status"] == "cancelled"


async def test_the_lock(tmp_path: Path) -> None:
    """An active run locks its thread for messages and runs; the other threads are free, and this one is afterwards."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        thread, run = await begun(proxy, client, b'"all "')
        assistant = await an_assistant(proxy)
        say = {"role": "user", "content": "x"}
        message = error_of(await told(proxy, "POST", f"/threads/{thread}/messages", say), 400)
        another = error_of(await told(proxy, "POST", f"/threads/{thread}/runs", {"assistant_id": assistant}), 400)
        live = (await ask(proxy, "GET", f"/threads/{thread}/messages?run_id={run}"))["data"]
        gone = await eventually(lambda: listed(proxy, thread, run), what="the text so far")
        kept = error_of(await told(proxy, "DELETE", f"/threads/{thread}/messages/{gone}"), 400)
        steps = await ask(proxy, "GET", f"/threads/{thread}/runs/{run}/steps")
        await ask(proxy, "POST", f"/threads/{thread}/runs/{run}/cancel")
        await ask(proxy, "POST", f"/threads/{thread}/messages", say)
        later = await ask(proxy, "POST", f"/threads/{thread}/runs", {"assistant_id": assistant})
    assert message["message"] == f"Can't add messages to {thread} while a run {run} is active."
    assert another["message"] == f"Thread {thread} already has an active run {run}."
    assert all(each["status"] == "in_progress" for each in live)
    assert "while its run is active" in kept["message"]
    assert [each["status"] for each in steps["data"]] == ["in_progress"]
    assert later["status"] == "queued"


async def listed(proxy: RunningProxy, thread: str, run: str) -> str:
    """The id of the run's message once it is listed."""
    found = (await ask(proxy, "GET", f"/threads/{thread}/messages?run_id={run}"))["data"]
    return str(found[0]["id"]) if found else ""


async def test_a_reader_that_leaves(tmp_path: Path) -> None:
    """A run goes on when its stream's reader leaves."""
    script = sse_stream(chat_events(40), 0.005)
    async with served(script, tmp_path) as (proxy, _):
        async with RawClient(proxy.port) as client:
            thread, run = await begun(proxy, client, b'"all "')
        await settled(proxy)
        kept = await ask(proxy, "GET", f"/threads/{thread}/runs/{run}")
        messages = await ask(proxy, "GET", f"/threads/{thread}/messages?run_id={run}")
    assert kept["status"] == "completed"
    assert messages["data"][0]["content"][0]["text"]["value"] == text(40)


async def test_a_run_that_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that takes too long expires, while it streams: the upstream is closed, the text kept."""
    monkeypatch.setattr("proxy.dialects.assistants.generation.EXPIRES", 0.5)
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        thread, run = await begun(proxy, client, b'"all "')
        events = events_of((await client.answer()).body)
        await up.no_connections()
        messages = await ask(proxy, "GET", f"/threads/{thread}/messages?run_id={run}")
        over = error_of(await cancel(proxy, thread, run), 400)
    assert names(events)[-3:] == ["message.incomplete", "run.step.expired", "run.expired"]
    assert events[-2][1]["expired_at"] is not None
    assert messages["data"][0]["incomplete_details"] == {"reason": "run_expired"}
    assert over["message"] == "Cannot cancel run with status 'expired'."


async def test_an_action_that_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run for which nobody brings the results of its tools expires, and its thread is free again."""
    monkeypatch.setattr("proxy.dialects.assistants.create.EXPIRES", 0.3)
    async with served(sse_stream(tool_events(CALL)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]

        async def over() -> dict[str, Any]:
            found: dict[str, Any] = await ask(proxy, "GET", f"/threads/{thread}/runs/{run}")
            return found if found["status"] == "expired" else {}

        kept = await eventually(over, what="the run expires")
        steps = await ask(proxy, "GET", f"/threads/{thread}/runs/{run}/steps")
        free = await told(proxy, "POST", f"/threads/{thread}/messages", {"role": "user", "content": "x"})
    assert (kept["required_action"], kept["expires_at"]) == (None, None)
    assert steps["data"][0]["status"] == "expired"
    assert free.status == 200


def test_ten_minutes() -> None:
    """A run has the documented ten minutes."""
    assert run_request.EXPIRES == 600


async def test_a_deleted_thread(tmp_path: Path) -> None:
    """Deleting a thread stops what runs on it, and takes its text out of the record too."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        thread, run = await begun(proxy, client, b'"all "')
        await ask(proxy, "DELETE", f"/threads/{thread}")
        await up.no_connections()
        kept = await record(proxy, run)
        gone = error_of(await told(proxy, "GET", f"/threads/{thread}/runs"), 404)
        error_of(await told(proxy, "GET", f"/threads/{thread}/runs/{run}"), 404)
    assert gone["message"] == f"No thread found with id '{thread}'."
    assert (kept["outcome"], kept["text"]) == ("cancelled", None)


@pytest.mark.parametrize("what", ["thread", "messages"])
async def test_a_deletion_is_carried_out_though_its_client_leaves(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that asks for the deletion of a thread, or message, and leaves keeps no text from going."""
    async with served(sse_stream(chat_events(3)), tmp_path, ledger={"text": "all"}) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = (await a_run(proxy, thread, assistant))["id"]
        await settled(proxy)
        message = (await ask(proxy, "GET", f"/threads/{thread}/messages"))["data"][0]["id"]
        path = f"/threads/{thread}" if what == "thread" else f"/threads/{thread}/messages/{message}"
        store, name = type(proxy.app.engine.conversations), f"delete_{what}"
        delete, begun, go = getattr(store, name), asyncio.Event(), asyncio.Event()

        async def slowly(self: Any, *given: Any) -> Any:
            deleted = await delete(self, *given)
            begun.set()
            await go.wait()
            return deleted

        monkeypatch.setattr(store, name, slowly)
        async with RawClient(proxy.port) as client:
            await client.send(request_bytes("DELETE", f"/v1{path}"))
            await within(begun.wait(), "the deletion begins")
            client.reset()
        await record(proxy, run)  # the reset has come before this call
        go.set()

        async def gone() -> bool:
            events = await call(proxy, "GET", f"/v1/generations/{run}/events")
            return (await record(proxy, run))["text"] is None and events.status == 410

        await eventually(gone)


async def test_the_end_of_the_server(tmp_path: Path) -> None:
    """A run that a shutdown stops has failed: nobody cancelled it; its stream ends properly, its text is kept."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await begun(proxy, client, b'"all "')
        await proxy.app.stop(drain=False)
        events = events_of((await client.answer()).body)
    assert names(events)[-3:] == ["message.incomplete", "run.step.failed", "run.failed"]
    assert events[-1][1]["last_error"] == {"code": "server_error", "message": "The server is shutting down."}


async def test_a_cancel_against_the_end(tmp_path: Path) -> None:
    """A cancel that races the run's end agrees with it: `cancelling` and cancelled, or 400 with what it is."""
    async with served(sse_stream(chat_events(4), 0.001), tmp_path) as (proxy, _):
        assistant = await an_assistant(proxy)

        async def race(number: int) -> str:
            thread = await a_thread(proxy, "Hello")
            run = (await a_run(proxy, thread, assistant))["id"]
            await asyncio.sleep(number * 0.0002)
            answer = await cancel(proxy, thread, run)
            await settled(proxy)
            kept = await ask(proxy, "GET", f"/threads/{thread}/runs/{run}")
            if answer.status == 200:
                assert (answer.json()["status"], kept["status"]) == ("cancelling", "cancelled")
            else:
                message = error_of(answer, 400)["message"]
                assert message == f"Cannot cancel run with status '{kept['status']}'."
            return str(kept["status"])

        seen = {await race(number) for number in range(60)}
    assert seen == {"cancelled", "completed"}


async def test_two_cancels_at_once(tmp_path: Path) -> None:
    """Of two cancels at one time one is answered with the run, the other one with 400; never with 409."""
    async with served(in_turn(events_then_hang(SAID)), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        thread, run = await begun(proxy, client, b'"all "')
        answers = await asyncio.gather(*(cancel(proxy, thread, run) for _ in range(2)))
    assert sorted(answer.status for answer in answers) == [200, 400]
