"""Threads, runs, conversations and messages that replicas share: what one of them began any other goes on with."""

from pathlib import Path
from typing import Any

import pytest

from support import aitronos, assistants, async_messages, dify, responses
from support.chat import chat_events, text
from support.client import RawClient
from support.edge import send
from support.postgres import Database, postgres_server
from support.proxy import RunningProxy
from support.replicas import known
from support.scripts import events_then_hang, in_turn, sse_stream
from support.shared import joined
from support.stops import call
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
THREADS = "/v1/threads"
CALL = ("call_1", "look_up", '{"q": 1}')


async def test_a_thread_goes_on_at_another_replica(tmp_path: Path, database: Database) -> None:
    """A turn at one replica has the turns of the other before it; both list the thread and its messages."""
    route = {"dialect": "aitronos", "model": "scripted"}
    async with joined(sse_stream(chat_events(3)), tmp_path, database.url, route=route) as ((a, b), up):
        first = (await call(a, "POST", aitronos.RESPOND, aitronos.asks("One"))).json()
        thread = first["thread_id"]
        second = await call(b, "POST", aitronos.RESPOND, aitronos.asks("Two", thread_id=thread))
        assert second.status == 200
        said = [each["content"] for each in aitronos.sent(up)["messages"]]
        assert said == ["One", text(3), "Two"]
        for proxy in (a, b):
            listed = (await call(proxy, "GET", THREADS)).json()["data"]
            assert [(each["id"], each["message_count"], each["status"]) for each in listed] == [(thread, 4, "inactive")]
            assert [each["content"] for each in await aitronos.messages(proxy, thread)] == [
                "One",
                text(3),
                "Two",
                text(3),
            ]
        assert (await send(b, "DELETE", f"{THREADS}/{thread}")).status == 204
        assert (await call(a, "GET", f"{THREADS}/{thread}")).status == 404


async def test_a_thread_in_which_another_replica_works(tmp_path: Path, database: Database) -> None:
    """A second turn is refused elsewhere as it is where the first one runs; when that is cancelled, it is let in."""
    route = {"dialect": "aitronos", "model": "scripted"}
    script = in_turn(events_then_hang(SAID), sse_stream(chat_events(3)))
    async with (
        joined(script, tmp_path, database.url, route=route) as ((a, b), up),
        RawClient(a.port) as client,
    ):
        thread = await aitronos.begin(client)
        await client.until(b"content_delta", 8)
        await known(b, thread)
        refused = [await call(proxy, "POST", aitronos.RESPOND, aitronos.asks(thread_id=thread)) for proxy in (a, b)]
        assert refused[0].status == refused[1].status == 409
        assert [aitronos.error_of(each, 409)["code"] for each in refused] == [
            aitronos.error_of(refused[0], 409)["code"]
        ] * 2
        assert len(up.requests) == 1
        assert (await call(b, "GET", f"{THREADS}/{thread}")).json()["status"] == "streaming"
        assert (await aitronos.cancel(b, thread)).status == 200
        await eventually(lambda: is_let_in(b, thread), what="the thread is free")


async def is_let_in(proxy: RunningProxy, thread: str) -> bool:
    """Whether a turn of a thread is taken."""
    return (await call(proxy, "POST", aitronos.RESPOND, aitronos.asks(thread_id=thread))).status == 200


async def test_a_thread_is_deleted_from_under_another_replica(tmp_path: Path, database: Database) -> None:
    """Deleting a thread stops what another replica makes for it."""
    route = {"dialect": "aitronos", "model": "scripted"}
    async with (
        joined(events_then_hang(SAID), tmp_path, database.url, route=route) as ((a, b), up),
        RawClient(a.port) as client,
    ):
        thread = await aitronos.begin(client)
        await client.until(b"content_delta", 8)
        await known(b, thread)
        assert (await send(b, "DELETE", f"{THREADS}/{thread}")).status == 204
        await up.no_connections()
        assert (await call(a, "GET", f"{THREADS}/{thread}")).status == 404
    assert database.sql("SELECT count(*) FROM message") == [["0"]]
    assert database.sql("SELECT count(*) FROM message_text") == [["0"]]
    assert database.sql("SELECT count(*) FROM hold") == [["0"]]


async def test_runs(tmp_path: Path, database: Database) -> None:
    """A run of another replica holds its thread in the same words; read there it is no failed one; then it is over."""
    script = in_turn(events_then_hang(SAID), sse_stream(chat_events(3)))
    async with (
        joined(script, tmp_path, database.url, route={"dialect": "assistants"}) as ((a, b), up),
        RawClient(a.port) as client,
    ):
        assistant, thread = await assistants.an_assistant(a), await assistants.a_thread(b, "Hello")
        await client.post(f"/v1/threads/{thread}/runs", {"assistant_id": assistant, "stream": True})
        await client.until(b'"all "')
        for path, body in (("runs", {"assistant_id": assistant}), ("messages", {"role": "user", "content": "More"})):
            words = [
                assistants.error_of(await assistants.told(proxy, "POST", f"/threads/{thread}/{path}", body), 400)
                for proxy in (a, b)
            ]
            assert words[0] == words[1]
        (run,) = (await assistants.ask(b, "GET", f"/threads/{thread}/runs"))["data"]
        assert run["status"] in ("queued", "in_progress")
        await known(b, run["id"])
        at = f"/threads/{thread}/runs/{run['id']}"
        assert (await assistants.ask(b, "POST", at, {"metadata": {"a": "b"}}))["metadata"] == {"a": "b"}
        assert (await assistants.ask(b, "POST", f"{at}/cancel"))["status"] == "cancelling"
        await up.no_connections()
        await eventually(lambda: is_status(b, at, "cancelled"))
        assert (await assistants.ask(b, "GET", at))["metadata"] == {"a": "b"}
        await eventually(lambda: run_is_taken(b, thread, assistant), what="the thread is free")


async def is_status(proxy: RunningProxy, at: str, status: str) -> bool:
    """Whether a run is there."""
    return bool((await assistants.ask(proxy, "GET", at))["status"] == status)


async def run_is_taken(proxy: RunningProxy, thread: str, assistant: str) -> bool:
    """Whether a run on a thread is taken."""
    return (await assistants.told(proxy, "POST", f"/threads/{thread}/runs", {"assistant_id": assistant})).status == 200


async def test_a_run_that_waits_for_tools_holds_its_thread(tmp_path: Path, database: Database) -> None:
    """Also elsewhere, where it says what it waits for, and nobody else can go on with it; cancelled, it lets go."""
    script = sse_stream(assistants.tool_events(CALL))
    async with joined(script, tmp_path, database.url, route={"dialect": "assistants"}) as ((a, b), _):
        assistant, thread = await assistants.an_assistant(a), await assistants.a_thread(a, "Hello")
        run = await assistants.a_run(a, thread, assistant, tools=[assistants.TOOL])
        at = f"/threads/{thread}/runs/{run['id']}"
        await eventually(lambda: is_status(b, at, "requires_action"))
        words = assistants.error_of(
            await assistants.told(b, "POST", f"/threads/{thread}/runs", {"assistant_id": assistant}), 400
        )
        assert run["id"] in words["message"]
        outputs = {"tool_outputs": [{"tool_call_id": CALL[0], "output": "1"}]}
        assert (await assistants.told(b, "POST", f"{at}/submit_tool_outputs", outputs)).status == 503
        await known(b, run["id"])
        await assistants.ask(b, "POST", f"{at}/cancel")
        await eventually(lambda: is_status(b, at, "cancelled"))
        await eventually(lambda: run_is_taken(b, thread, assistant), what="the thread is free")


async def test_conversations(tmp_path: Path, database: Database) -> None:
    """Dify: a conversation goes on, is listed, and ends at another replica; its end stops what runs in it."""
    script = in_turn(sse_stream(chat_events(3)), events_then_hang(SAID))
    route = {"dialect": "dify", "model": "scripted"}
    async with (
        joined(script, tmp_path, database.url, route=route) as ((a, b), up),
        RawClient(b.port) as client,
    ):
        first = dify.said(await dify.send(a, "POST", "/chat-messages", dify.body("One")))
        conversation = first[0]["conversation_id"]
        await dify.begin(client, "/chat-messages", dify.body("Two", conversation_id=conversation), "t-2")
        await client.until(b"data: ", 8)
        assert [each["content"] for each in aitronos.sent(up)["messages"]] == ["One", text(3), "Two"]
        await known(a, "t-2")
        listed = (await dify.send(a, "GET", "/conversations?user=ann")).json()["data"]
        assert [each["id"] for each in listed] == [conversation]
        assert (await dify.send(a, "DELETE", f"/conversations/{conversation}", {"user": "ann"})).status == 204
        await up.no_connections()
        assert (await dify.send(b, "GET", "/conversations?user=ann")).json()["data"] == []


async def test_async_messages(tmp_path: Path, database: Database) -> None:
    """The status of a message says at any replica that it is made, and later that it is whole; its id is taken."""
    route = {"dialect": "async_messages"}
    async with joined(events_then_hang(SAID), tmp_path, database.url, route=route) as ((a, b), up):
        await async_messages.initiate(a)
        await up.conn()
        await eventually(lambda: are_alike(a, b, "processing"))
        assert (await async_messages.send(b, "POST", "?message_id=m-1", async_messages.BODY)).status == 422
        await known(b, "m-1")
        assert (await async_messages.send(b, "POST", "/m-1/cancel")).status == 200
        await eventually(lambda: are_alike(a, b, "cancelled"))


async def are_alike(a: RunningProxy, b: RunningProxy, status: str) -> bool:
    """Whether both say the same."""
    there, here = await async_messages.status(b), await async_messages.status(a)
    return bool(there["status"] == here["status"] == status)


async def test_responses(tmp_path: Path, database: Database) -> None:
    """A response that another replica makes is in progress here, and no failed one."""
    async with (
        joined(events_then_hang(SAID), tmp_path, database.url, route=responses.EMULATE) as ((a, b), _),
        RawClient(a.port) as client,
    ):
        response_id = await responses.begin(client)
        await client.until(b"response.output_text.delta", 8)
        found: dict[str, Any] = (await call(b, "GET", f"/v1/responses/{response_id}")).json()
        assert found["status"] == "in_progress"


@pytest.mark.parametrize("dialect", ["aitronos"])
async def test_what_a_dead_replica_held(tmp_path: Path, database: Database, dialect: str) -> None:
    """The lease of a replica that was not heard of runs out: its message is interrupted, its thread free."""
    route = {"dialect": dialect, "model": "scripted"}
    script = in_turn(events_then_hang(SAID), sse_stream(chat_events(3)))
    async with (
        joined(script, tmp_path, database.url, route=route, bus={"lease": "4s"}) as ((a, b), _),
        RawClient(a.port) as client,
    ):
        thread = await aitronos.begin(client)
        await client.until(b"content_delta", 8)
        store: Any = a.app.engine.conversations
        store._tasks[1].cancel()  # it renews no more, and the bus does not speak for it
        b_store: Any = b.app.engine.conversations
        b_store.burials.lives = None
        await eventually(lambda: is_let_in(b, thread), what="the thread is free")
        await eventually(lambda: database.sql("SELECT 1 FROM message WHERE status = 'interrupted'") == [["1"]])


async def test_an_outage(tmp_path: Path) -> None:
    """Meanwhile new turns get 503 in the dialect's shape, what runs ends for its client, and is in the thread later."""
    route = {"dialect": "aitronos", "model": "scripted"}
    async with postgres_server() as server:
        config: dict[str, Any] = {"route": route, "cancellation": {"quick_edit_window": "0s"}}
        url = server.create().url
        async with (
            joined(events_then_hang(SAID), tmp_path, url, "a", **config) as ((a,), up),
            RawClient(a.port) as client,
        ):
            thread = await aitronos.begin(client)
            await client.until(b"content_delta", 8)
            server.kill()
            refused = await call(a, "POST", aitronos.RESPOND, aitronos.asks(thread_id=thread))
            assert aitronos.error_of(refused, 503)
            assert refused.header("Retry-After")
            assert (await aitronos.cancel(a, thread)).status == 200
            assert aitronos.events_of((await client.answer()).body)[-1]["event"] == "response.cancelled"
            await up.no_connections()
            await server.start()
            await eventually(lambda: is_kept(a, thread), what="the end is in the thread")


async def is_kept(proxy: RunningProxy, thread: str) -> bool:
    """Whether a thread's last answer is there, as far as it came."""
    answer = await call(proxy, "GET", f"{THREADS}/{thread}/messages")
    return answer.status == 200 and [each["content"] for each in answer.json()["data"]][-1] == text(8)
