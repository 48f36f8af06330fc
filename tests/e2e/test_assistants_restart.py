"""Assistants outlive the process: what is read after a restart, and after a kill."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from support.assistants import (
    a_run,
    a_thread,
    an_assistant,
    ask,
    error_of,
    strictly,
    told,
    tool_events,
)
from support.chat import chat_events, text
from support.client import RawClient
from support.program import config_text, running_program
from support.proxy import running_proxy
from support.scripts import events_then_hang, sse_stream
from support.stops import settled
from support.upstream import scripted_upstream
from support.wait import eventually

ROUTE = {"dialect": "assistants"}
SAID = chat_events(8, finish=None, done=False)
CALL = ("call_1", "look_up", "{}")


def written(folder: Path) -> str:
    """The text of messages in progress that has reached the disk."""
    with closing(sqlite3.connect(f"file:{folder / 'quell.db'}?mode=ro", uri=True)) as db:
        return "".join(piece for (piece,) in db.execute('SELECT piece FROM message_text ORDER BY "offset"'))


async def post(port: int, path: str, body: Any) -> dict[str, Any]:
    """One call that must succeed, on another process' port."""
    async with RawClient(port) as client:
        await client.post(f"/v1{path}", body)
        answer = await client.answer()
    assert answer.status == 200, answer.body
    return strictly(answer.json())


async def get(port: int, path: str) -> dict[str, Any]:
    """The same for a read."""
    async with RawClient(port) as client:
        await client.get(f"/v1{path}")
        answer = await client.answer()
    assert answer.status == 200, answer.body
    return strictly(answer.json())


async def test_killed(tmp_path: Path) -> None:
    """After a `kill -9` a run that was being made has failed, its message is incomplete with what was written."""
    async with scripted_upstream(events_then_hang(SAID)) as up:
        config = config_text(up.base_url, route=ROUTE)
        async with running_program(config, tmp_path) as program:
            assistant = (await post(program.port, "/assistants", {"model": "scripted"}))["id"]
            asked = {"assistant_id": assistant, "thread": {"messages": [{"role": "user", "content": "Hello"}]}}
            run = await post(program.port, "/threads/runs", asked)
            await eventually(lambda: written(tmp_path) == text(8), what="the text is on disk")
            program.kill()
        thread = f"/threads/{run['thread_id']}"
        async with running_program(config, tmp_path) as program:
            at = f"{thread}/runs/{run['id']}"
            found = await get(program.port, at)
            listed = await get(program.port, f"{thread}/runs")
            messages = await get(program.port, f"{thread}/messages?run_id={run['id']}")
            async with RawClient(program.port) as client:
                await client.post(f"/v1{at}/cancel")
                over = error_of(await client.answer(), 400)
            up.script = sse_stream(chat_events(1))
            again = await post(program.port, f"{thread}/runs", {"assistant_id": assistant})
    assert (found["status"], found["last_error"]["code"], found["expires_at"]) == ("failed", "server_error", None)
    assert listed["data"] == [found]
    message = messages["data"][0]
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "run_failed"})
    assert message["content"][0]["text"]["value"] == text(8)
    assert over["message"] == "Cannot cancel run with status 'failed'."
    assert again["status"] == "queued"


async def test_restart(tmp_path: Path) -> None:
    """Assistants, threads, messages, runs and steps are read again after a restart, as they were."""
    async with scripted_upstream(sse_stream(chat_events(3))) as up:
        config = config_text(up.base_url, route=ROUTE)
        async with running_proxy(config, tmp_path) as proxy:
            assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
            run = (await a_run(proxy, thread, assistant))["id"]
            await settled(proxy)
            paths = (
                f"/assistants/{assistant}",
                f"/threads/{thread}",
                f"/threads/{thread}/messages",
                f"/threads/{thread}/runs",
                f"/threads/{thread}/runs/{run}",
                f"/threads/{thread}/runs/{run}/steps",
            )
            before = [await ask(proxy, "GET", path) for path in paths]
        async with running_proxy(config, tmp_path) as proxy:
            after = [await ask(proxy, "GET", path) for path in paths]
    assert after == before


async def test_an_action_that_a_restart_ends(tmp_path: Path) -> None:
    """A run that waited for results of tools has failed after a restart, and takes none any more."""
    async with scripted_upstream(sse_stream(tool_events(CALL))) as up:
        config = config_text(up.base_url, route=ROUTE)
        async with running_proxy(config, tmp_path) as proxy:
            assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
            run = (await a_run(proxy, thread, assistant))["id"]
            await settled(proxy)
        async with running_proxy(config, tmp_path) as proxy:
            at = f"/threads/{thread}/runs/{run}"
            found, steps = await ask(proxy, "GET", at), await ask(proxy, "GET", f"{at}/steps")
            outputs = {"tool_outputs": [{"tool_call_id": "call_1", "output": "1"}]}
            late = error_of(await told(proxy, "POST", f"{at}/submit_tool_outputs", outputs), 400)
            free = await told(proxy, "POST", f"/threads/{thread}/messages", {"role": "user", "content": "x"})
    assert (found["status"], found["required_action"], steps["data"][0]["status"]) == ("failed", None, "failed")
    assert late["message"] == 'Runs in status "failed" do not accept tool outputs.'
    assert free.status == 200
