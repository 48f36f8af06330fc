"""The official `openai` package for Node, unmodified, with assistants: polled, streamed, cancelled, with tools."""

from pathlib import Path
from typing import Any

from support.assistants import served, tool_events
from support.chat import chat_events, text
from support.node import run_script
from support.scripts import events_then_hang, in_turn, sse_stream
from support.upstream import Script

SAID = chat_events(3, finish=None, done=False)
CALL = ("call_1", "look_up", '{"q": 1}')


async def run(script: Script, folder: Path, scenario: str) -> Any:
    """What the client saw of a scenario; see tests/node/assistants.mjs."""
    async with served(script, folder) as (proxy, _):
        return await run_script("assistants.mjs", proxy.base_url, scenario)


async def test_polled(tmp_path: Path) -> None:
    """Runs are polled to their ends, lists read page by page; a finished and an unknown run are not cancelled."""
    seen = await run(sse_stream(chat_events(3)), tmp_path, "polled")
    assert seen["status"] == "completed"
    assert (seen["roles"], seen["steps"]) == (["assistant", "assistant", "user"], ["completed"])
    assert seen["over"] == [400, "400 Cannot cancel run with status 'completed'."]
    assert seen["unknown"] == [404, "404 No run found with id 'run_x'."]


async def test_streamed(tmp_path: Path) -> None:
    """A stream is followed by its helper to the final objects, also one that makes its thread."""
    seen = await run(sse_stream(chat_events(3)), tmp_path, "streamed")
    assert (seen["status"], seen["text"], "".join(seen["deltas"])) == ("completed", text(3), text(3))
    assert (seen["first"], seen["last"]) == ("thread.created", "thread.run.completed")


async def test_cancelled(tmp_path: Path) -> None:
    """A run that is cancelled while it is read ends for the helper as cancelled, with its partial text."""
    seen = await run(events_then_hang(SAID), tmp_path, "cancelled")
    assert (seen["answer"], seen["status"]) == ("cancelling", "cancelled")
    assert seen["message"]["incomplete_details"] == {"reason": "run_cancelled"}
    assert seen["message"]["content"][0]["text"]["value"] == seen["text"] == text(3)
    assert seen["again"] == [400, "400 Cannot cancel run with status 'cancelled'."]


async def test_tools(tmp_path: Path) -> None:
    """Tool calls arrive at the helper; their results go back by stream and by polling."""
    script = in_turn(*[sse_stream(tool_events(CALL))] * 2, sse_stream(chat_events(1)))
    seen = await run(script, tmp_path, "tools")
    assert seen["calls"] == ['{"q": 1}']
    assert seen["statuses"] == ["requires_action", "requires_action", "completed"]
