"""Every dialect's own stop route works at any replica, and answers in the words of its API."""

import json
from pathlib import Path
from typing import Any

import pytest

from support import aitronos, assistants, async_messages, dify, responses
from support.chat import chat_events, text
from support.client import RawClient
from support.edge import send
from support.proxy import RunningProxy
from support.replicas import QUICK, deafen, joined, known
from support.scripts import events_then_hang, hang, in_turn, sse_stream
from support.stops import record, settled
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
CALL = ("call_1", "look_up", '{"q": 1}')


@pytest.mark.parametrize("path", ["/v1/chat/completions/{}/cancel", "/v1/completions/{}/cancel"])
async def test_openai(tmp_path: Path, path: str) -> None:
    """The passed-through stop routes answer with the owner's receipt."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), up, _), RawClient(a.port) as client:
        await client.post("/v1/chat/completions", {"model": "m", "messages": [], "stream": True})
        await client.until(b"data:", len(SAID))
        await known(b, "chatcmpl-scripted-1")
        answer = (await send(b, "POST", path.format("chatcmpl-scripted-1"))).json()
        await up.no_connections()
    assert (answer["result"], answer["partial"]["text"]) == ("stopped", text(8))


@pytest.mark.parametrize("user", ["ann", "bob"])
async def test_dify(tmp_path: Path, user: str) -> None:
    """Dify's stop at another replica stops its own end user's task, and says the same of another's."""
    route = {"dialect": "dify", "model": "scripted"}
    async with joined(events_then_hang(SAID), tmp_path, route=route) as ((a, b), up, _), RawClient(a.port) as client:
        await dify.begin(client, "/chat-messages", dify.body(), "t-1")
        await client.until(b"data: ", 8)
        await known(b, "t-1")
        got = await dify.send(b, "POST", "/chat-messages/t-1/stop", {"user": user})
        assert (got.status, got.json()) == (200, dify.SUCCESS)
        assert (await record(a, "t-1"))["outcome"] == ("cancelled" if user == "ann" else "running")
        assert up.connections == (0 if user == "ann" else 1)


async def test_dify_stops_that_are_kept(tmp_path: Path) -> None:
    """A stop whose owner hears nothing is followed although another end user's, which may not stop it, came behind."""
    route = {"dialect": "dify", "model": "scripted"}
    async with joined(events_then_hang(SAID), tmp_path, route=route, **QUICK) as ((a, b), up, _):
        async with RawClient(a.port) as client:
            await dify.begin(client, "/chat-messages", dify.body(), "t-1")
            await client.until(b"data: ", 8)
            await known(b, "t-1")
            deafen(a)
            for user in ("ann", "bob"):
                assert (await dify.send(b, "POST", "/chat-messages/t-1/stop", {"user": user})).status == 200
            await up.no_connections()
            assert (await record(a, "t-1"))["outcome"] == "cancelled"


@pytest.mark.parametrize("window", ["0s", "60s"])
async def test_aitronos(tmp_path: Path, window: str) -> None:
    """A thread is cancelled where it runs, with the mode that its turn there decides; again it is the same answer."""
    config: dict[str, Any] = {
        "route": {"dialect": "aitronos", "model": "scripted"},
        "cancellation": {"quick_edit_window": window},
    }
    async with joined(events_then_hang(SAID), tmp_path, **config) as ((a, b), up, _), RawClient(a.port) as client:
        thread = await aitronos.begin(client)
        await client.until(b"content_delta", 8)
        await known(b, thread)
        answers = [await aitronos.cancel(proxy, thread) for proxy in (b, b, a)]
        assert up.connections == 0
        unknown = await aitronos.cancel(b, "thrd_" + "0" * 32)
    assert [answer.status for answer in answers] == [200] * 3
    assert answers[0].json() == answers[1].json() == answers[2].json()
    assert answers[0].json()["cancel_mode"] == ("quick_edit" if window == "60s" else "keep_partial")
    assert unknown.status == 404


async def begun(proxy: RunningProxy, client: RawClient, marker: bytes, **more: Any) -> tuple[str, str]:
    """A streaming run whose stream has come to `marker`; gives the ids of thread and run."""
    assistant, thread = await assistants.an_assistant(proxy), await assistants.a_thread(proxy, "Hello")
    await client.post(f"/v1/threads/{thread}/runs", {"assistant_id": assistant, "stream": True, **more})
    said = await client.until(marker)
    return thread, "run_" + said.split(b'"id":"run_')[1].partition(b'"')[0].decode()


async def test_assistants(tmp_path: Path) -> None:
    """A run is cancelled where it runs: `cancelling`, then `cancelled`; cancelled again it is refused as there."""
    route = {"dialect": "assistants"}
    async with joined(events_then_hang(SAID), tmp_path, route=route) as ((a, b), up, _), RawClient(a.port) as client:
        thread, run = await begun(a, client, b'"all "')
        await known(b, run)
        at = f"/threads/{thread}/runs/{run}"
        cancelling = await assistants.ask(b, "POST", f"{at}/cancel")
        await up.no_connections()
        again = assistants.error_of(await assistants.told(b, "POST", f"{at}/cancel"), 400)
        kept = await assistants.ask(a, "GET", at)
        await settled(a)
    assert (cancelling["status"], kept["status"]) == ("cancelling", "cancelled")
    assert again["message"].startswith("Cannot cancel run with status 'cancel")


async def test_a_run_that_waits_for_tools(tmp_path: Path) -> None:
    """A run without a generation, which waits for the results of tools, is cancelled through another replica too."""
    route = {"dialect": "assistants"}
    script = sse_stream(assistants.tool_events(CALL))
    async with joined(script, tmp_path, route=route) as ((a, b), _, redis), RawClient(a.port) as client:
        thread, run = await begun(a, client, b"[DONE]", tools=[assistants.TOOL])
        at = f"/threads/{thread}/runs/{run}"
        assert (await assistants.ask(a, "GET", at))["status"] == "requires_action"
        redis.command("FLUSHALL")
        await known(b, run)
        assert (await assistants.ask(b, "POST", f"{at}/cancel"))["status"] == "cancelling"
        await eventually(lambda: is_cancelled(a, at))
        assistants.error_of(await assistants.told(b, "POST", f"{at}/cancel"), 400)


async def is_cancelled(proxy: RunningProxy, at: str) -> bool:
    """Whether a run is cancelled by now."""
    return bool((await assistants.ask(proxy, "GET", at))["status"] == "cancelled")


async def test_the_rounds_of_a_run(tmp_path: Path) -> None:
    """The second round of a run, behind results of tools, is cancelled through another replica by the same id."""
    route = {"dialect": "assistants"}
    script = in_turn(sse_stream(assistants.tool_events(CALL)), events_then_hang(SAID))
    async with joined(script, tmp_path, route=route) as ((a, b), up, _):
        async with RawClient(a.port) as client:
            thread, run = await begun(a, client, b"[DONE]", tools=[assistants.TOOL])
        at = f"/threads/{thread}/runs/{run}"
        outputs = {"tool_outputs": [{"tool_call_id": CALL[0], "output": "1"}], "stream": True}
        async with RawClient(a.port) as client:
            await client.post(f"/v1{at}/submit_tool_outputs", outputs)
            await client.until(b'"all "')
            await known(b, thread)
            assert (await assistants.ask(b, "POST", f"{at}/cancel"))["status"] == "cancelling"
            await up.no_connections()


async def test_responses(tmp_path: Path) -> None:
    """A response is cancelled where it is made: 200 with it as far as it came."""
    route = responses.EMULATE
    async with joined(events_then_hang(SAID), tmp_path, route=route) as ((a, b), up, _), RawClient(a.port) as client:
        response_id = await responses.begin(client)
        await client.until(b"response.output_text.delta", 8)
        await known(b, response_id)
        answers = [(await responses.cancel(proxy, response_id)).json() for proxy in (b, a, b)]
        await up.no_connections()
    assert answers[0] == answers[1] == answers[2]
    assert (answers[0]["status"], responses.text_of(answers[0])) == ("cancelled", text(8))


@pytest.mark.parametrize(("method", "verb"), [("POST", "/cancel"), ("DELETE", "/delete")])
async def test_async_messages(tmp_path: Path, method: str, verb: str) -> None:
    """A message is cancelled or deleted where it is made."""
    route = {"dialect": "async_messages"}
    async with joined(events_then_hang(SAID), tmp_path, route=route) as ((a, b), up, _):
        await async_messages.initiate(a)
        await up.conn()
        await known(b, "m-1")
        answer = await async_messages.send(b, method, f"/m-1{verb}")
        await up.no_connections()
        kept = await record(a, "m-1")
        left = await async_messages.send(a, "GET", "/m-1/status")
    assert answer.status == (200 if method == "POST" else 204)
    assert kept["outcome"] == "cancelled"
    assert left.status == (200 if method == "POST" else 404)


async def test_the_words_of_each_dialect_for_a_bus_that_is_away(tmp_path: Path) -> None:
    """S14: where nobody can know, each dialect says 503 with Retry-After in its own shape; local stops work."""
    async with joined(hang(), tmp_path, "a", route={"dialect": "openai"}) as ((a,), up, redis):
        async with RawClient(a.port) as client:
            await client.post("/v1/chat/completions", {"model": "m", "messages": []}, [("X-Task-Id", "t-1")])
            await up.conn()
            redis.kill()
            answer = await unavailable(a, "/v1/generations/other/cancel")
            assert json.loads(answer)["error"]["code"] == "bus_unavailable"
            assert (await send(a, "POST", "/v1/generations/t-1/cancel")).json()["result"] == "stopped"
    for dialect, path in (
        ("assistants", "/v1/threads/thread_1/runs/run_1/cancel"),
        ("aitronos", "/v1/model/response/thrd_1/cancel"),
        ("async_messages", "/v1/messages/async/m-1/cancel"),
    ):
        folder = tmp_path / dialect
        folder.mkdir()
        async with joined(hang(), folder, "a", route={"dialect": dialect}) as ((a,), _, redis):
            redis.kill()
            answer = await unavailable(a, path)
            assert "bus_unavailable" in answer or dialect == "async_messages"


async def unavailable(proxy: RunningProxy, path: str) -> str:
    """What a stop is answered with, which must be 503 (529 where the API says that)."""
    answer = await send(proxy, "POST", path)
    assert answer.status in {503, 529}
    assert answer.header("Retry-After") == "1"
    return answer.body.decode()
