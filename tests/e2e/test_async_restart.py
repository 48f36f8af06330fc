"""Async messages outlive the process: what is read after a restart, and after a kill."""

import sqlite3
from contextlib import closing
from pathlib import Path

from support.async_messages import (
    BODY,
    ROOT,
    ROUTE,
    initiate,
    send,
    status,
    stream,
    text_of,
    told,
    types_of,
)
from support.chat import chat_events, text
from support.client import RawClient
from support.program import config_text, running_program
from support.proxy import running_proxy
from support.scripts import events_then_hang, sse_stream
from support.upstream import scripted_upstream
from support.wait import eventually

EVENTS = chat_events(8, usage=True)
SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""


def written(folder: Path) -> str:
    """The text of messages in progress that has reached the disk."""
    with closing(sqlite3.connect(f"file:{folder / 'quell.db'}?mode=ro", uri=True)) as db:
        return "".join(piece for (piece,) in db.execute('SELECT piece FROM message_text ORDER BY "offset"'))


async def test_killed(tmp_path: Path) -> None:
    """After a `kill -9` a message that was being made shows what was written of it, then an error."""
    async with scripted_upstream(events_then_hang(SAID)) as up:
        config = config_text(up.base_url, route=ROUTE)
        async with running_program(config, tmp_path) as program, RawClient(program.port) as client:
            await client.post(f"{ROOT}?message_id=m-1", BODY)
            assert (await client.answer()).status == 200
            await eventually(lambda: written(tmp_path) == text(8), what="the text is on disk")
            program.kill()
        async with running_program(config, tmp_path) as program, RawClient(program.port) as client:
            await client.get(f"{ROOT}/m-1/stream")
            said = (await client.answer()).body
            await client.get(f"{ROOT}/m-1/status")
            found = (await client.answer()).json()
    assert types_of(said) == ["message_start", "content_block_start", "content_block_delta", "error"]
    assert text_of(said) == text(8)
    assert found["status"] == "error"
    assert "stopped while" in found["error_message"]
    assert found["completed_at"] is not None


async def test_restart(tmp_path: Path) -> None:
    """A message is read again after a restart; what was cut off by the restart's end shows its partial."""
    async with scripted_upstream(sse_stream(EVENTS)) as up:
        config = config_text(up.base_url, route=ROUTE)
        async with running_proxy(config, tmp_path) as proxy:
            await initiate(proxy)
            first = await stream(proxy)
            up.script = events_then_hang(SAID)
            await initiate(proxy, "m-2")
            async with RawClient(proxy.port) as reader:
                await reader.get(f"{ROOT}/m-2/stream")
                await reader.until(b"text_delta", 8)
        async with running_proxy(config, tmp_path) as proxy:
            again, cut = await stream(proxy), await stream(proxy, "m-2")
            assert (await send(proxy, "POST", "?message_id=m-1", BODY)).status == 422
            assert (await send(proxy, "POST", "/m-2/cancel")).status == 200
            assert (await status(proxy, "m-2"))["status"] == "cancelled"
    other = "content_block_delta"
    assert [e for e in told(again) if e["type"] != other] == [e for e in told(first) if e["type"] != other]
    assert (text_of(again), text_of(cut)) == (text(8), text(8))
    assert told(cut)[-2]["delta"]["stop_reason"] == "cancelled"
