"""Stops at a replica that can't reach the owner, while the ledger that they share says that it runs: never a false one.

X13: what did not reach the owner is refused, to be tried again, by every stop route; nothing is said to be stopping.
"""

from pathlib import Path

import pytest

from support import assistants, async_messages, dify, responses
from support.chat import chat_events
from support.client import Answer, RawClient
from support.edge import refused, send
from support.postgres import Database
from support.program import config_text
from support.proxy import running_proxy
from support.replicas import bus_of, known
from support.scripts import events_then_hang
from support.shared import admin, is_shared, lose_bus, sharing
from support.stops import start, stop
from support.upstream import scripted_upstream
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
STREAM = events_then_hang(SAID)


def is_undelivered(answer: Answer) -> bool:
    """Whether a stop was refused, to be tried again; Anthropic's word for that is 529."""
    return answer.status in (503, 529) and answer.header("Retry-After") is not None


async def test_a_stop_that_reaches_nobody(tmp_path: Path, database: Database) -> None:
    """By the native routes and the operator's it is a 503; the bulk ones stop nothing; later it stops."""
    async with sharing(STREAM, tmp_path, database.url) as (a, b, redis, up), RawClient(a.port) as client:
        await start(client, "t1")
        await client.until(b"data:", len(SAID))
        await is_shared(database)
        await lose_bus(redis, a, b)
        for path in ("generations/t1", "chat/completions/chatcmpl-scripted-1", "completions/chatcmpl-scripted-1"):
            assert is_undelivered(await send(b, "POST", f"/v1/{path}/cancel")), path
        assert refused(await stop(b, "t1")) == (503, "bus_unavailable")
        answer = await admin(b, "POST", "/t1/cancel")
        assert (refused(answer), is_undelivered(answer)) == ((503, "bus_unavailable"), True)
        for done in (
            (await send(b, "POST", "/v1/generations/cancel", {"all": True})).json(),
            (await admin(b, "POST", "/cancel", b'{"all": true}')).json(),
        ):
            assert (done["stopped"], done["count"], done["complete"]) == ([], 0, False)
        assert up.connections == 1
        await redis.start()
        await eventually(lambda: bus_of(a).is_up and bus_of(b).is_up, 20.0, "the bus is back")

        async def is_stopped() -> bool:
            said = await stop(b, "t1")
            return said.status == 200 and bool(said.json()["result"] == "stopped")

        await eventually(is_stopped, 20.0, "the stop that is tried again stops it")
        await up.no_connections()


async def test_without_a_bus(tmp_path: Path, database: Database) -> None:
    """Where replicas share a ledger and have no bus at all, a stop at another one is no `stopping` either."""
    async with scripted_upstream(STREAM) as up:
        for name in "ab":
            (tmp_path / name).mkdir()
        texts = [config_text(up.base_url, replica=name, ledger={"url": database.url}) for name in "ab"]
        async with (
            running_proxy(texts[0], tmp_path / "a") as a,
            running_proxy(texts[1], tmp_path / "b") as b,
            RawClient(a.port) as client,
        ):
            await start(client, "t1")
            await client.until(b"data:", len(SAID))
            await is_shared(database)
            assert refused(await stop(b, "t1")) == (503, "bus_unavailable")
            assert refused(await admin(b, "POST", "/t1/cancel")) == (503, "bus_unavailable")
            assert (await stop(a, "t1")).json()["result"] == "stopped"


async def test_dify(tmp_path: Path, database: Database) -> None:
    """Dify's stop says nothing but success, so it must not say it."""
    route = {"dialect": "dify", "model": "scripted"}
    async with sharing(STREAM, tmp_path, database.url, route=route) as (a, b, redis, _), RawClient(a.port) as client:
        await dify.begin(client, "/chat-messages", dify.body(), "t-1")
        await client.until(b"data: ", 8)
        await is_shared(database)
        await lose_bus(redis, a, b)
        assert is_undelivered(await dify.send(b, "POST", "/chat-messages/t-1/stop", {"user": "ann"}))


async def test_async_messages(tmp_path: Path, database: Database) -> None:
    """A message that another replica makes is not said to be cancelled."""
    route = {"dialect": "async_messages"}
    async with sharing(STREAM, tmp_path, database.url, route=route) as (a, b, redis, up):
        await async_messages.initiate(a)
        await up.conn()
        await known(b, "m-1")
        await is_shared(database)
        await lose_bus(redis, a, b)
        assert is_undelivered(await async_messages.send(b, "POST", "/m-1/cancel"))
        assert up.connections == 1


async def test_assistants(tmp_path: Path, database: Database) -> None:
    """A run that another replica has can be cancelled later: that is no `Cannot cancel`."""
    route = {"dialect": "assistants"}
    async with sharing(STREAM, tmp_path, database.url, route=route) as (a, b, redis, _), RawClient(a.port) as client:
        assistant, thread = await assistants.an_assistant(a), await assistants.a_thread(a, "Hello")
        await client.post(f"/v1/threads/{thread}/runs", {"assistant_id": assistant, "stream": True})
        await client.until(b'"all "')
        (run,) = (await assistants.ask(b, "GET", f"/threads/{thread}/runs"))["data"]
        await is_shared(database)
        await lose_bus(redis, a, b)
        answer = await assistants.told(b, "POST", f"/threads/{thread}/runs/{run['id']}/cancel")
        assert is_undelivered(answer)


@pytest.mark.parametrize("background", [False, True])
async def test_responses(tmp_path: Path, database: Database, background: bool) -> None:
    """A response that another replica makes is not answered as if its stop were under way."""
    async with (
        sharing(STREAM, tmp_path, database.url, route=responses.EMULATE) as (a, b, redis, up),
        RawClient(a.port) as client,
    ):
        response_id = await responses.begin(client, background=background)
        await client.until(b"response.output_text.delta", 8)
        await is_shared(database)
        await lose_bus(redis, a, b)
        assert is_undelivered(await responses.cancel(b, response_id))
        assert up.connections == 1
