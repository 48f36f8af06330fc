"""The official `openai` package for Node, unmodified, with responses: whole, streamed, in the background, read on."""

from pathlib import Path
from typing import Any

from support.chat import chat_events, text
from support.node import run_script
from support.openai_types import check_response
from support.responses import served, text_of
from support.scripts import events_then_hang, sse_stream
from support.upstream import Script

SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""


async def run(script: Script, folder: Path, scenario: str) -> Any:
    """What the client saw of a scenario; see tests/node/responses.mjs."""
    async with served(script, folder) as (proxy, _):
        return await run_script("responses.mjs", proxy.base_url, scenario)


def plain(response: dict[str, Any]) -> dict[str, Any]:
    """A response as it came: the client adds a field, and hides one of its own."""
    return {name: value for name, value in response.items() if name not in ("output_text", "_request_id")}


async def test_whole(tmp_path: Path) -> None:
    """A response is made, read back, its input listed, and deleted."""
    seen = await run(sse_stream(chat_events(3)), tmp_path, "whole")
    check_response(plain(seen["made"]))
    assert (seen["made"]["status"], seen["made"]["output_text"]) == ("completed", text(3))
    assert plain(seen["shown"]) == plain(seen["made"])
    assert (seen["items"], seen["gone"]) == (["message"], 404)


async def test_streamed(tmp_path: Path) -> None:
    """A stream is followed event by event, and by the client's helper to its final response."""
    seen = await run(sse_stream(chat_events(3)), tmp_path, "streamed")
    assert (seen["kinds"][0], seen["kinds"][-1]) == ("response.created", "response.completed")
    assert (seen["status"], seen["text"], seen["second"]) == ("completed", text(3), text(3))
    assert seen["again"] == seen["kinds"][5:]


async def test_background(tmp_path: Path) -> None:
    """A response in the background is polled to its end, and can't be cancelled then."""
    seen = await run(sse_stream(chat_events(3)), tmp_path, "background")
    assert (seen["first"], seen["status"], seen["text"]) == ("queued", "completed", text(3))
    assert seen["refused"] == [400, "400 Cannot cancel a completed response."]


async def test_read_on_and_cancelled(tmp_path: Path) -> None:
    """A stream is left, read on from its position, and cancelled meanwhile: it says `cancelled`, with the partial.

    Only the client's helper, which takes no event that it does not know, ends with an error there.
    """
    seen = await run(events_then_hang(SAID), tmp_path, "resumed")
    assert seen["numbers"] == [seen["position"] + number for number in range(1, 9)]
    assert seen["last"]["type"] == "response.cancelled"
    assert plain(seen["last"]["response"]) == plain(seen["cancelled"]) == plain(seen["again"])
    assert (seen["cancelled"]["status"], text_of(seen["cancelled"])) == ("cancelled", text(8))
    assert seen["helped"].startswith('Unhandled response stream event: {"type":"response.cancelled"')
