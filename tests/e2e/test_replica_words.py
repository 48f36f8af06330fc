"""What each dialect says of a stop whose owner does not confirm, or is dead; and deletions of what others run."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.engine.replicas.elsewhere import BODY_BYTES
from proxy.stores.bus.port import BusUnavailableError, Place
from proxy.stores.bus.redis import RedisBus
from support import aitronos, assistants, async_messages, responses
from support.chat import chat_events
from support.client import RawClient
from support.edge import send
from support.proxy import RunningProxy
from support.replicas import QUICK, bus_of, deafen, die, joined, known
from support.scripts import events_then_hang
from support.stops import ANYBODY, record
from support.upstream import ScriptedUpstream
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
OLD = {"quick_edit_window": "0s", "confirm_timeout": "300ms"}
DIALECTS: dict[str, dict[str, Any]] = {
    "assistants": {"route": {"dialect": "assistants"}},
    "aitronos": {"route": {"dialect": "aitronos", "model": "scripted"}},
    "async": {"route": {"dialect": "async_messages"}},
    "responses": {"route": responses.EMULATE},
}


@asynccontextmanager
async def begun(
    folder: Path, dialect: str, **config: Any
) -> AsyncIterator[tuple[RunningProxy, RunningProxy, ScriptedUpstream, str, str]]:
    """Two replicas, the first of which runs something; with the path of what runs, and of its stop."""
    async with joined(events_then_hang(SAID), folder, **QUICK | DIALECTS[dialect] | config) as ((a, b), up, _):
        async with RawClient(a.port) as client:
            match dialect:
                case "assistants":
                    made, thread = await assistants.an_assistant(a), await assistants.a_thread(a, "Hello")
                    await client.post(f"/v1/threads/{thread}/runs", {"assistant_id": made, "stream": True})
                    run = "run_" + (await client.until(b'"all "')).split(b'"id":"run_')[1].partition(b'"')[0].decode()
                    names = (run, f"/v1/threads/{thread}", f"/v1/threads/{thread}/runs/{run}/cancel")
                case "aitronos":
                    thread = await aitronos.begin(client)
                    await client.until(b"content_delta", 8)
                    names = (thread, f"/v1/threads/{thread}", f"/v1/model/response/{thread}/cancel")
                case "async":
                    await async_messages.initiate(a)
                    await up.conn()
                    names = ("m-1", "/v1/messages/async/m-1", "/v1/messages/async/m-1/cancel")
                case _:
                    made = await responses.begin(client)
                    await client.until(b"response.output_text.delta", 8)
                    names = (made, f"/v1/responses/{made}", f"/v1/responses/{made}/cancel")
            await known(b, names[0])
            yield a, b, up, names[1], names[2]


async def share_conversations(a: RunningProxy, b: RunningProxy) -> None:
    """Let two replicas have one conversation store, as those with one database do."""
    engine, conversations = b.app.engine, a.app.engine.conversations
    engine.conversations = engine._keeping._conversations = engine.deleter._conversations = conversations


async def test_a_run_that_is_not_confirmed(tmp_path: Path) -> None:
    """A run whose owner says nothing is `cancelling` where its object is known, else 503; the stop is kept."""
    async with begun(tmp_path, "assistants") as (a, b, up, _, stop):
        deafen(a)
        alone = await send(b, "POST", stop)
        assert (alone.status, alone.json()["error"]["code"]) == (503, "bus_unavailable")
        await share_conversations(a, b)
        told = await send(b, "POST", stop)
        assert (told.status, told.json()["status"]) == (200, "cancelling")
        await up.no_connections()


async def test_a_thread_that_is_not_confirmed(tmp_path: Path) -> None:
    """Aitronos' cancel says the mode where it is sure: behind the edit window the partial answer is kept."""
    async with begun(tmp_path, "aitronos", cancellation=OLD) as (a, b, up, _, stop):
        deafen(a)

        async def told() -> bool:
            answer = await send(b, "POST", stop)
            if answer.status == 503:
                return False
            return bool(answer.json()["cancel_mode"] == "keep_partial")

        await eventually(told)
        await up.no_connections()


async def test_a_thread_within_its_edit_window(tmp_path: Path) -> None:
    """While only the owner can know whether a stop is an edit, an unconfirmed one is 503, and kept."""
    async with begun(tmp_path, "aitronos") as (a, b, up, _, stop):
        deafen(a)
        assert (await send(b, "POST", stop)).status == 503
        await up.no_connections()


async def test_a_message_that_is_not_confirmed(tmp_path: Path) -> None:
    """An async message's cancel has one word for everything."""
    async with begun(tmp_path, "async") as (a, b, up, _, stop):
        deafen(a)
        answer = await send(b, "POST", stop)
        assert (answer.status, answer.json()["message"]) == (200, "Stream cancelled successfully")
        await up.no_connections()


@pytest.mark.parametrize("shared", [False, True])
async def test_a_response_that_is_not_confirmed(tmp_path: Path, shared: bool) -> None:
    """A response whose owner says nothing is in progress still, and is cancelled when that hears of it."""
    async with begun(tmp_path, "responses") as (a, b, up, _, stop):
        deafen(a)
        if shared:
            await share_conversations(a, b)
        answer = await send(b, "POST", stop)
        assert (answer.status, answer.json()["status"]) == (200, "in_progress")
        await up.no_connections()


@pytest.mark.parametrize(
    ("dialect", "status", "says"),
    [
        ("assistants", 400, "Cannot cancel run with status 'failed'."),
        ("aitronos", 404, "active stream"),
        ("async", 200, "Stream cancelled successfully"),
        ("responses", 400, "Cannot cancel a failed response."),
    ],
)
async def test_an_owner_that_is_dead(tmp_path: Path, dialect: str, status: int, says: str) -> None:
    """X11: what a dead replica ran is over in every dialect's words, as soon as it is known to be dead."""
    async with begun(tmp_path, dialect) as (a, b, _, _, stop):
        await die(bus_of(a))

        async def told() -> bool:
            answer = await send(b, "POST", stop)
            return (answer.status, says in answer.body.decode()) == (status, True)

        await eventually(told, 8.0)


@pytest.mark.parametrize("dialect", ["assistants", "aitronos", "async", "responses"])
async def test_a_deletion_where_it_does_not_run(tmp_path: Path, dialect: str) -> None:
    """Deleting what another replica runs stops it there, and leaves no text of it."""
    async with begun(tmp_path, dialect) as (a, b, up, path, _):
        (relay,) = a.app.engine.registry
        task_id = relay.generation.facts.task_id
        answer = await send(b, "DELETE", path)
        assert answer.status in {200, 204}, answer.body
        await up.no_connections()
        await eventually(partial(is_wiped, a, task_id))


async def is_wiped(proxy: RunningProxy, task_id: str) -> bool:
    """Whether a record is cancelled and has no text."""
    kept = await record(proxy, task_id, ANYBODY)
    return (kept["outcome"], kept["text"]) == ("cancelled", None)


@pytest.mark.parametrize("dialect", ["assistants", "aitronos", "async", "responses"])
async def test_a_deletion_that_its_owner_does_not_hear(tmp_path: Path, dialect: str) -> None:
    """With one store a thread is deleted although the owner of its run says nothing: stop and wipe are kept for it."""
    async with begun(tmp_path, dialect) as (a, b, up, path, _):
        (relay,) = a.app.engine.registry
        task_id = relay.generation.facts.task_id
        deafen(a)
        await share_conversations(a, b)
        answer = await send(b, "DELETE", path)
        assert answer.status in {200, 204}, answer.body
        await up.no_connections()
        await eventually(partial(is_wiped, a, task_id))


async def cut_off(proxy: RunningProxy) -> None:
    """Let a replica alone lose the bus, and know it."""
    bus = bus_of(proxy)
    assert isinstance(bus, RedisBus)
    await die(bus)
    bus.is_up = False


@pytest.mark.parametrize("dialect", ["assistants", "aitronos", "async", "responses"])
async def test_a_deletion_without_the_bus(tmp_path: Path, dialect: str) -> None:
    """With one store and the bus away, what another replica makes is not deleted; what is over by the store is."""
    async with begun(tmp_path, dialect) as (a, b, up, path, stop):
        await share_conversations(a, b)
        await cut_off(b)
        refused = await send(b, "DELETE", path)
        assert (refused.status, refused.header("Retry-After")) == (529 if dialect == "async" else 503, "1")
        assert len(a.app.engine.registry) == 1
        assert (await send(a, "POST", stop)).status == 200
        await up.no_connections()
        await eventually(lambda: not a.app.engine.registry)
        answer = await send(b, "DELETE", path)
        assert answer.status in {200, 204}, answer.body
        assert (await send(b, "DELETE", path)).status in {404, 503, 529}


@pytest.mark.parametrize("dialect", ["assistants", "async", "responses"])
@pytest.mark.parametrize("how", ["away", "emptied"])
async def test_a_deletion_while_the_bus_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: str, how: str
) -> None:
    """Where the bus goes away, or forgets, behind a deletion, its owner is told when it is back, and stops."""
    async with begun(tmp_path, dialect) as (a, b, up, path, _):
        (relay,) = a.app.engine.registry
        task_id, bus, calls = relay.generation.facts.task_id, bus_of(b), 0
        deafen(a)  # else it serves the deletion itself
        await share_conversations(a, b)
        places, knows_all = bus.places, bus.knows_all

        async def not_yet(identity: str, uids: Sequence[str]) -> list[Place]:
            nonlocal calls
            calls += 1
            if calls > 1:
                return await places(identity, uids)
            if how == "away":
                raise BusUnavailableError
            return []

        async def knows() -> bool:
            return calls > 1 and await knows_all()

        monkeypatch.setattr(bus, "places", not_yet)
        monkeypatch.setattr(bus, "knows_all", knows)
        answer = await send(b, "DELETE", path)
        assert answer.status in {200, 204}, answer.body
        await up.no_connections()
        await eventually(partial(is_wiped, a, task_id))
        deletions = b.app.engine.canceller.elsewhere
        assert deletions is not None
        await eventually(lambda: not deletions.deletions._unsaid)


async def test_a_thread_whose_older_turn_ended_here(tmp_path: Path) -> None:
    """A thread's stop means the turn that lives, be it on another replica than an older one that it reaches."""
    async with begun(tmp_path, "aitronos") as (a, b, up, _, stop):
        await share_conversations(a, b)
        assert (await send(a, "POST", stop)).status == 200
        await up.no_connections()
        async with RawClient(b.port) as client:
            thread = await aitronos.begin(client, thread_id=stop.split("/")[4])
            await client.until(b"content_delta", 8)
            assert stop == f"/v1/model/response/{thread}/cancel"
            await eventually(partial(lives_at, a, thread, "b"))
            assert (await send(a, "POST", stop)).json()["success"]
            await up.no_connections()


async def lives_at(proxy: RunningProxy, any_id: str, replica: str) -> bool:
    """Whether the directory knows that what an id names lives on a replica."""
    place = await bus_of(proxy).find("anonymous", any_id)
    return place is not None and (place.is_over, place.replica) == (False, replica)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
async def test_a_body_that_is_too_long_to_travel(tmp_path: Path, dialect: str) -> None:
    """A body that is too long for the bus is 413, and nothing is stopped; one just short enough stops what runs."""
    async with begun(tmp_path, dialect) as (_, b, up, _, stop):
        json_type = [("Content-Type", "application/json")]
        answers = await asyncio.gather(*(send(b, "POST", stop, padded(BODY_BYTES + 1), json_type) for _ in range(4)))
        assert {answer.status for answer in answers} == {413}
        assert up.connections == 1
        assert (await send(b, "POST", stop, padded(BODY_BYTES), json_type)).status == 200
        await up.no_connections()


def padded(size: int) -> bytes:
    """An empty object in so many bytes."""
    return b"{" + b" " * (size - 2) + b"}"
