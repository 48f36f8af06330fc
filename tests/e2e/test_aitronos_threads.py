"""Threads of the dialect aitronos, and what can be chosen."""

from pathlib import Path
from typing import Any

import pytest

from support.aitronos import EDIT, RESPOND, asks, begin, cancel, error_of, events_of, messages, sent, served
from support.chat import chat_events, text
from support.client import Answer, RawClient
from support.edge import send
from support.proxy import RunningProxy
from support.scripts import events_then_hang, sse_stream
from support.stops import call, record

THREADS = "/v1/threads"


async def get(proxy: RunningProxy, path: str) -> Any:
    """The JSON of an answer that must be 200."""
    found: Answer = await call(proxy, "GET", path)
    assert found.status == 200, found.body
    return found.json()


async def test_thread_life(tmp_path: Path) -> None:
    """A thread is made, used, renamed, read and deleted; then it is not there, nor are its texts."""
    async with served(sse_stream(chat_events(3)), tmp_path, ledger={"text": "all"}) as (proxy, _):
        made = await call(proxy, "POST", THREADS, {"organization_id": "org_1", "title": "T", "metadata": {"a": "b"}})
        thread = made.json()
        assert (made.status, thread["object"], thread["title"], thread["message_count"]) == (200, "thread", "T", 0)
        path = f"{THREADS}/{thread['id']}"
        response = (await call(proxy, "POST", RESPOND, asks(thread_id=thread["id"]))).json()
        assert (await record(proxy, response["response_id"]))["text"] == text(3)
        changed = (await send(proxy, "PATCH", path, {"title": "New", "visible_in_ui": False})).json()
        assert (changed["title"], changed["metadata"], changed["visible_in_ui"]) == ("New", {"a": "b"}, False)
        assert changed["message_count"] == 2
        assert await get(proxy, path) == changed
        gone = await send(proxy, "DELETE", path)
        assert (gone.status, gone.body) == (204, b"")
        for again in (path, f"{path}/messages"):
            assert error_of(await call(proxy, "GET", again), 404)["code"] == "RESOURCE_NOT_FOUND"
        assert (await record(proxy, response["response_id"]))["text"] is None
        events = await call(proxy, "GET", f"/v1/generations/{response['response_id']}/events")
        assert text(1).encode() not in events.body


async def test_deleting_stops(tmp_path: Path) -> None:
    """Deleting a thread stops what runs on it."""
    async with served(events_then_hang(chat_events(2)[:-2]), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        thread_id = await begin(client)
        await client.until(b"content_delta", 2)
        assert (await send(proxy, "DELETE", f"{THREADS}/{thread_id}")).status == 204
        assert events_of((await client.answer()).body)[-1]["event"] == "response.cancelled"
        await up.no_connections()
        assert (await record(proxy, thread_id))["text"] is None


async def test_list(tmp_path: Path) -> None:
    """Threads are listed by their last change, a page at a time; those made with `store: false` on demand only."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        ids = [(await call(proxy, "POST", RESPOND, asks(store=number != 1))).json()["thread_id"] for number in range(4)]
        page = await get(proxy, f"{THREADS}?limit=2")
        rest = await get(proxy, f"{THREADS}?limit=2&after={page['last_id']}")
        hidden = await get(proxy, f"{THREADS}?visible_in_ui=false")
        oldest = await get(proxy, f"{THREADS}?order=asc")
    assert [each["id"] for each in page["data"]] == [ids[3], ids[2]]
    assert (page["first_id"], page["last_id"], page["has_more"], page["limit"]) == (ids[3], ids[2], True, 2)
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == ([ids[0]], False)
    assert [each["id"] for each in hidden["data"]] == [ids[1]]
    assert [each["id"] for each in oldest["data"]] == [ids[0], ids[2], ids[3]]


async def test_messages(tmp_path: Path) -> None:
    """Messages come oldest first, or newest, a page at a time."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        thread_id = (await call(proxy, "POST", RESPOND, asks("one"))).json()["thread_id"]
        await call(proxy, "POST", RESPOND, asks("two", thread_id=thread_id))
        every = await messages(proxy, thread_id)
        path = f"{THREADS}/{thread_id}/messages"
        newest = await get(proxy, f"{path}?order=desc&limit=3")
        rest = await get(proxy, f"{path}?order=desc&after={newest['last_id']}")
        before = await get(proxy, f"{path}?before={every[3]['id']}&limit=2")
        unknown = await call(proxy, "GET", f"{path}?after=msg_unknown")
    assert [each["content"] for each in every] == ["one", text(1), "two", text(1)]
    assert [each["id"] for each in newest["data"]] == [each["id"] for each in every[:0:-1]]
    assert newest["has_more"]
    assert [each["id"] for each in rest["data"]] == [every[0]["id"]]
    assert [each["id"] for each in before["data"]] == [every[1]["id"], every[2]["id"]]
    assert error_of(unknown, 404)["code"] == "RESOURCE_NOT_FOUND"


async def test_bound_assistant(tmp_path: Path) -> None:
    """The assistant of a thread can be changed until it has messages."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        thread_id = (await call(proxy, "POST", THREADS, {})).json()["id"]
        path = f"{THREADS}/{thread_id}"
        bound = await send(proxy, "PATCH", path, {"assistant_id": "ass_1"})
        await call(proxy, "POST", RESPOND, asks(thread_id=thread_id))
        refused = await send(proxy, "PATCH", path, {"assistant_id": "ass_2"})
    assert bound.json()["assistant_id"] == "ass_1"
    assert error_of(refused, 422)["details"]["fields"][0]["field"] == "assistant_id"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "visible_in_ui=maybe", "a&" * 60])
async def test_bad_query(tmp_path: Path, query: str) -> None:
    """A parameter of a list that is none is refused by its name."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        found = await call(proxy, "GET", f"{THREADS}?{query}")
    assert error_of(found, 422)["details"]["fields"][0]["field"] in (query.partition("=")[0], "query")


async def test_what_can_be_chosen(tmp_path: Path) -> None:
    """Output modes, levels of reasoning and models are listed, with one default each."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        modes = (await get(proxy, f"{RESPOND}/output-modes"))["output_modes"]
        levels = (await get(proxy, f"{RESPOND}/reasoning-levels"))["reasoning_levels"]
        models = await get(proxy, "/v1/models")
    assert [each["mode"] for each in modes] == ["text", "plain", "blocks"]
    assert [each["level"] for each in levels] == ["off", "low", "medium", "high", "maximum"]
    assert [each["mode"] for each in modes if each["is_default"]] == ["text"]
    assert [each["level"] for each in levels if each["is_default"]] == ["medium"]
    assert (models["total_count"], models["models"][0]["key"]) == (1, "scripted")


async def test_thread_after_an_edit(tmp_path: Path) -> None:
    """A thread whose only turn was edited away is there and empty."""
    script = events_then_hang(chat_events(2)[:-2])
    async with served(script, tmp_path, cancellation=EDIT) as (proxy, _), RawClient(proxy.port) as client:
        thread_id = await begin(client)
        await cancel(proxy, thread_id)
        await client.answer()
        found = await get(proxy, f"{THREADS}/{thread_id}")
    assert (found["status"], found["message_count"], found["last_message_at"]) == ("inactive", 0, None)


async def test_hidden_threads_do_not_shorten_pages(tmp_path: Path) -> None:
    """A page of a list has as many threads as asked for, however many hidden ones lie between."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        shown = []
        for number in range(8):
            made = (await call(proxy, "POST", THREADS, {"visible_in_ui": number in (0, 4, 5)})).json()
            shown += [made["id"]] if made["visible_in_ui"] else []
        page = await get(proxy, f"{THREADS}?limit=2")
        unknown = await call(proxy, "GET", f"{THREADS}?after=thrd_unknown")
    assert [each["id"] for each in page["data"]] == shown[:0:-1]
    assert page["has_more"]
    assert error_of(unknown, 404)["code"] == "RESOURCE_NOT_FOUND"


async def test_large_messages(tmp_path: Path) -> None:
    """Of a thread of large messages a mebibyte goes up with the next input; a page shows what fits, and has more."""
    large = "q" * 700_000
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, up):
        thread_id = (await call(proxy, "POST", RESPOND, asks(large))).json()["thread_id"]
        for _ in range(3):
            await call(proxy, "POST", RESPOND, asks(large, thread_id=thread_id))
        await call(proxy, "POST", RESPOND, asks("small", thread_id=thread_id))
        contents = [each["content"] for each in sent(up)["messages"]]
        path = f"{THREADS}/{thread_id}/messages?limit=100"
        first = await get(proxy, path)
        rest = await get(proxy, f"{path}&after={first['last_id']}")
        newest = await get(proxy, f"{path}&order=desc")
        back = await get(proxy, f"{path}&before={rest['first_id']}")
    assert contents == [text(1), large, text(1), "small"]
    assert [each["content"] for each in first["data"]] == [large, text(1)] * 2
    assert [each["content"] for each in rest["data"]] == [large, text(1)] * 2 + ["small", text(1)]
    assert (first["has_more"], rest["has_more"], newest["has_more"], back["has_more"]) == (True, False, True, False)
    assert newest["data"][:6] == rest["data"][::-1]
    assert back["data"] == first["data"]


@pytest.mark.parametrize(
    "metadata", [{str(n): "" for n in range(17)}, {"k" * 65: ""}, {"k": "v" * 513}], ids=["pairs", "key", "value"]
)
async def test_limits_of_metadata(tmp_path: Path, metadata: dict[str, str]) -> None:
    """A thread takes 16 pairs, with keys and values of some length."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        found = await call(proxy, "POST", THREADS, {"metadata": metadata})
    assert error_of(found, 422)["details"]["fields"][0]["field"] == "metadata"
