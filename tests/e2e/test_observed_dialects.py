"""What each dialect lets one look at, asked at another replica: the owner's own answer, live streams included."""

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from proxy.cli.tail import tail
from support import assistants, async_messages, responses
from support.chat import chat_events, text
from support.client import Answer, RawClient, request_bytes
from support.edge import refused, send
from support.program import ADMIN_TOKEN
from support.proxy import RunningProxy
from support.replicas import bus_of, joined, known
from support.scripts import events_then_hang, hang, sse_stream
from support.stops import ANYBODY, Ask, settled, start, stop
from support.wait import eventually, within

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
ADMIN: Final = [("Authorization", f"Bearer {ADMIN_TOKEN}")]


async def at_both(a: RunningProxy, b: RunningProxy, path: str) -> Answer:
    """What the owner answers, which must be what another replica does."""
    here, there = await send(a, "GET", path), await send(b, "GET", path)
    assert (there.status, there.body) == (here.status, here.body)
    assert there.header("Content-Type") == here.header("Content-Type")
    return there


@pytest.mark.parametrize("background", [False, True])
async def test_responses(tmp_path: Path, background: bool) -> None:
    """A response is retrieved, and its stream read from any position, live and over, at another replica."""
    route = responses.EMULATE
    async with joined(events_then_hang(SAID), tmp_path, route=route) as ((a, b), _, _), RawClient(a.port) as client:
        response_id = await responses.begin(client, background=background)
        await client.until(b"response.output_text.delta", 8)
        await known(b, response_id)
        at = f"/v1/responses/{response_id}"
        made = (await at_both(a, b, at)).json()
        assert (made["status"], responses.text_of(made)) == ("in_progress", text(8))
        await at_both(a, b, f"{at}/input_items")
        ahead = await at_both(a, b, f"{at}?stream=true&starting_after=500")
        assert ahead.status == 400
        async with RawClient(b.port) as whole, RawClient(b.port) as rest:
            await whole.get(responses.watch_path(response_id))
            await rest.get(responses.watch_path(response_id, 5))
            await whole.until(b"response.output_text.delta", 8)
            await rest.until(b"response.output_text.delta", 4)
            await responses.cancel(b, response_id)
            got, behind = await whole.answer(), await rest.answer()
        await settled(a)
        for after, body in ((None, got.body), (5, behind.body)):
            late = await at_both(a, b, responses.watch_path(response_id, after))
            assert late.body == body
        assert got.complete
        assert behind.complete
        assert (await at_both(a, b, at)).json()["status"] == "cancelled"
        assert (await send(b, "DELETE", at)).status == 200
        assert (await at_both(a, b, at)).status == 404


async def test_async_messages(tmp_path: Path) -> None:
    """An async message's status and its stream, live and over, at another replica."""
    route = async_messages.ROUTE
    async with joined(events_then_hang(SAID), tmp_path, route=route) as ((a, b), _, _):
        await async_messages.initiate(a)
        await known(b, "m-1")
        root = async_messages.ROOT
        async with RawClient(b.port) as there:
            await there.get(f"{root}/m-1/stream")
            await there.until(b'"text_delta"', 8)
            assert (await at_both(a, b, f"{root}/m-1/status")).json()["status"] == "processing"
            await async_messages.send(b, "POST", "/m-1/cancel")
            got = await there.answer()
        await settled(a)
        assert got.complete
        assert got.body == (await at_both(a, b, f"{root}/m-1/stream")).body
        assert (await at_both(a, b, f"{root}/m-1/status")).json()["status"] == "cancelled"
        assert (await at_both(a, b, f"{root}/m-2/status")).status == 404


async def test_assistants(tmp_path: Path) -> None:
    """A run and its steps are looked at through another replica, while it runs and when it is over."""
    route = {"dialect": "assistants"}
    async with joined(events_then_hang(SAID), tmp_path, route=route) as ((a, b), _, _), RawClient(a.port) as client:
        assistant, thread = await assistants.an_assistant(a), await assistants.a_thread(a, "Hello")
        await client.post(f"/v1/threads/{thread}/runs", {"assistant_id": assistant, "stream": True})
        said = await client.until(b'"all "')
        run = "run_" + said.split(b'"id":"run_')[1].partition(b'"')[0].decode()
        await known(b, run)
        at = f"/v1/threads/{thread}/runs/{run}"
        assert (await at_both(a, b, at)).json()["status"] == "in_progress"
        steps = (await at_both(a, b, f"{at}/steps")).json()["data"]
        await at_both(a, b, f"{at}/steps/{steps[0]['id']}")
        await assistants.ask(b, "POST", at.removeprefix("/v1") + "/cancel")
        await settled(a)
        assert (await at_both(a, b, at)).json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("route", "path"),
    [
        (responses.EMULATE, "/v1/responses/resp_1"),
        (async_messages.ROUTE, "/v1/messages/async/m-1/status"),
        ({"dialect": "assistants"}, "/v1/threads/thread_1/runs/run_1"),
    ],
)
async def test_the_bus_is_away(tmp_path: Path, route: dict[str, Any], path: str) -> None:
    """What is not known here may be elsewhere: each dialect says 503 with Retry-After in its own shape, not 404."""
    async with joined(hang(), tmp_path, "a", route=route) as ((a,), _, redis):
        assert (await send(a, "GET", path)).status == 404
        redis.kill()

        async def is_said() -> bool:
            answer = await send(a, "GET", path)
            return answer.status in {503, 529} and answer.header("Retry-After") == "1"

        await eventually(is_said)


# The operator.


async def admin(proxy: RunningProxy, path: str) -> Answer:
    """One GET of the admin API."""
    async with RawClient(proxy.admin_port) as client:
        await client.send(request_bytes("GET", path, b"", ADMIN))
        return await client.answer()


async def test_the_operator_looks_from_anywhere(tmp_path: Path) -> None:
    """The admin API of every replica shows record and events of what any of them runs; looking keeps nothing alive."""
    async with joined(events_then_hang(SAID), tmp_path, "abc") as ((a, b, c), up, _):
        async with RawClient(b.admin_port) as there:
            async with RawClient(a.port) as client:
                await start(client, "t-1")
                await client.until(b"data:", len(SAID))
                await there.get("/api/generations/t-1/events?after=2", ADMIN)
                await there.until(b"data:", len(SAID) - 2)
                found = (await admin(c, "/api/generations/t-1")).json()
                assert (found["replica"], found["outcome"]) == ("a", "running")
            await up.no_connections()
            got = await there.answer()
        here = await admin(a, "/api/generations/t-1/events?after=2")
        late = await admin(c, "/api/generations/t-1/events?after=2")
        assert got.body == here.body == late.body
        of_owner, of_other = [(await admin(proxy, "/api/generations/t-1")).json() for proxy in (a, b)]
        assert (of_owner.pop("aliases"), of_other.pop("aliases")) == ([], None)  # only the owner knows them
        assert of_other == of_owner
        missing = await admin(b, "/api/generations/other")
        assert refused(missing) == (404, "generation_not_found")


async def test_an_id_that_means_several(tmp_path: Path) -> None:
    """Two callers' live ones with an id, at different replicas, are told apart by their message ids."""
    async with joined(events_then_hang(SAID), tmp_path, "abc") as ((a, b, c), _, _):
        async with RawClient(a.port) as one, RawClient(b.port) as two:
            for client, ask in ((one, ANYBODY), (two, Ask(key="sk-2"))):
                await start(client, "t-1", ask=ask)
                await client.until(b"data:", len(SAID))
            answer = await admin(c, "/api/generations/t-1")
            assert refused(answer) == (400, "ambiguous_id")
            ids = [str(relay.generation.facts.message_id) for p in (a, b) for relay in p.app.engine.registry]
            assert all(each in answer.json()["error"]["message"] for each in ids)
            for each, replica in zip(ids, "ab", strict=True):
                assert (await admin(c, f"/api/generations/{each}")).json()["replica"] == replica
            await stop(a, "t-1")
            assert (await admin(c, "/api/generations/t-1")).json()["replica"] == "b"


async def test_the_operators_bus_is_away(tmp_path: Path) -> None:
    """Without the bus what only others may know is 503, and what is here is shown."""
    async with joined(events_then_hang(SAID), tmp_path, "a") as ((a,), _, redis), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        redis.kill()
        await eventually(lambda: not bus_of(a).is_up)
        assert (await admin(a, "/api/generations/t-1")).status == 200
        for path in ("/api/generations/other", "/api/generations/other/events"):
            assert refused(await admin(a, path)) == (503, "bus_unavailable")


async def test_tail(tmp_path: Path) -> None:
    """`quell tail` at any replica shows the text of what another one runs, live, to its end."""
    script = sse_stream(chat_events(13, usage=True), 0.05)
    async with joined(script, tmp_path) as ((a, b), _, _), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data: ", 3)
        env = {"QUELL_ADMIN": b.admin_url, "QUELL_ADMIN_TOKEN": ADMIN_TOKEN, "NO_COLOR": "1"}
        with capture_logs():
            shown: Result = await within(asyncio.to_thread(CliRunner().invoke, tail, ["t-1"], env=env), "tail ends")
    assert (shown.exit_code, shown.stdout) == (0, text(13) + "\n")
    assert shown.stderr == "completed · 13 tokens\n"
