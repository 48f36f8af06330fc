"""Conversations behind Dify's API: their history, their lists, feedback, and that deleting really deletes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.stores.conversations.port import Owner
from support.chat import chat_events, text
from support.client import Answer, RawClient, request_bytes
from support.dify import SUCCESS, begin, body, error_of, said, send, served
from support.program import config_data
from support.proxy import RunningProxy, running_proxy
from support.scripts import events_then_hang, in_turn, sse_stream
from support.stops import Ask, call, record, settled
from support.upstream import scripted_upstream
from support.wait import eventually, within

SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""
UNKNOWN = "11111111-2222-4333-8444-555555555555"
SORTS = ("-updated_at", "updated_at", "-created_at", "created_at")
OWNER = Owner("anonymous", "dify /v1", "ann")


async def chat(proxy: RunningProxy, query: str, conversation: str | None = None, user: str = "ann", **more: Any) -> str:
    """A turn of a chat to its end; gives the conversation's id."""
    got = await send(proxy, "POST", "/chat-messages", body(query, user, conversation_id=conversation, **more))
    assert got.status == 200, got.body
    found: str = said(got)[-1]["conversation_id"]
    return found


async def messages(proxy: RunningProxy, conversation: str, user: str = "ann", **more: Any) -> Any:
    """The messages of a conversation."""
    query = "".join(f"&{name}={value}" for name, value in more.items())
    return await listed(await send(proxy, "GET", f"/messages?conversation_id={conversation}&user={user}{query}"))


async def conversations(proxy: RunningProxy, user: str = "ann", **more: Any) -> Any:
    """The conversations of a user."""
    query = "".join(f"&{name}={value}" for name, value in more.items())
    return await listed(await send(proxy, "GET", f"/conversations?user={user}{query}"))


async def listed(answer: Answer) -> Any:
    """A list's answer."""
    assert answer.status == 200, answer.body
    found = answer.json()
    assert set(found) == {"limit", "has_more", "data"}
    return found


async def test_history_goes_upstream(tmp_path: Path) -> None:
    """The next turn of a conversation tells the upstream what was said before, a stopped answer as far as it came."""
    route = {"system": "Speak {{language}}."}
    script = in_turn(sse_stream(chat_events(2)), events_then_hang(SAID), sse_stream(chat_events(2)))
    async with served(script, tmp_path, route=route) as (proxy, up):
        conversation = await chat(proxy, "One", "", inputs={"language": "French"})
        async with RawClient(proxy.port) as client:
            await begin(client, "/chat-messages", body("Two", conversation_id=conversation), "t-2")
            await client.until(b"data: ", 8)
            await send(proxy, "POST", "/chat-messages/t-2/stop", {"user": "ann"})
            await client.answer()
        assert await chat(proxy, "Three", conversation.upper()) == conversation
    sent = [each.json()["messages"] for each in up.requests]
    system = ("system", "Speak French.")
    first, second = [("user", "One"), ("assistant", text(2))], [("user", "Two"), ("assistant", text(8))]
    assert [[(each["role"], each["content"]) for each in said] for said in sent] == [
        [system, ("user", "One")],
        [system, *first, ("user", "Two")],
        [system, *first, *second, ("user", "Three")],
    ]


async def test_blank_or_absent_starts_a_conversation(tmp_path: Path) -> None:
    """Without an id, or with a blank one, each call starts a conversation of its own."""
    async with served(sse_stream(chat_events(2)), tmp_path) as (proxy, up):
        found = {await chat(proxy, "Hi", blank) for blank in (None, "", " ")}
        assert len(found) == 3
        assert {each["id"] for each in (await conversations(proxy))["data"]} == found
    assert all(len(each.json()["messages"]) == 1 for each in up.requests)


async def test_ids_that_name_no_own_conversation(tmp_path: Path) -> None:
    """No UUID is a 400; an unknown conversation, another user's and another key's look alike: 404."""
    async with served(sse_stream(chat_events(2)), tmp_path) as (proxy, up):
        conversation = await chat(proxy, "Hi")
        wrong = await send(proxy, "POST", "/chat-messages", body(conversation_id="c-1"))
        assert error_of(wrong) == (400, "invalid_param", "conversation_id")
        strangers = [
            await send(proxy, "POST", "/chat-messages", body(conversation_id=UNKNOWN)),
            await send(proxy, "POST", "/chat-messages", body(user="bob", conversation_id=conversation)),
            await send(proxy, "POST", "/chat-messages", body(conversation_id=conversation), Ask("other")),
            await send(proxy, "GET", f"/messages?user=ann&conversation_id={UNKNOWN}"),
            await send(proxy, "GET", f"/messages?user=bob&conversation_id={conversation}"),
            await send(proxy, "DELETE", f"/conversations/{conversation}", {"user": "bob"}),
            await send(proxy, "POST", f"/conversations/{conversation}/name", {"user": "bob", "name": "x"}),
            await send(proxy, "POST", f"/conversations/{conversation}/name", {"user": "bob", "auto_generate": True}),
            await send(proxy, "DELETE", "/conversations/x", {"user": "ann"}),
        ]
        for got in strangers:
            assert error_of(got) == (404, "not_found", None)
            assert got.json()["message"] == "Conversation Not Exists."
    assert len(up.requests) == 1


async def test_messages_are_pairs(tmp_path: Path) -> None:
    """A message is a query with its answer, its inputs and files, and the id of the stream's events."""
    image = {"type": "image", "transfer_method": "remote_url", "url": "https://example.com/cat.png"}
    async with served(sse_stream(chat_events(2)), tmp_path, route={"system": "{{tone}}"}) as (proxy, _):
        got = await send(proxy, "POST", "/chat-messages", body("Hi", inputs={"tone": "dry", "x": 1}, files=[image]))
        end = said(got)[-1]
        (found,) = (await messages(proxy, end["conversation_id"]))["data"]
    (file,) = found.pop("message_files")
    assert (file["type"], file["url"], file["belongs_to"]) == ("image", image["url"], "user")
    assert found == {
        "id": end["message_id"],
        "conversation_id": end["conversation_id"],
        "inputs": {"tone": "dry"},
        "query": "Hi",
        "answer": text(2),
        "feedback": None,
        "retriever_resources": [],
        "agent_thoughts": [],
        "created_at": end["created_at"],
        "status": "normal",
        "error": None,
    }


async def test_pages_of_messages(tmp_path: Path) -> None:
    """The first page has the newest messages, the next one those before `first_id`, each page in spoken order."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        conversation = await chat(proxy, "1")
        for query in "2345":
            await chat(proxy, query, conversation)
        newest = await messages(proxy, conversation, limit=2)
        older = await messages(proxy, conversation, limit=3, first_id=newest["data"][0]["id"])
        oldest = await messages(proxy, conversation, first_id=older["data"][0]["id"])
        path = f"/messages?user=ann&conversation_id={conversation}"
        unknown = await send(proxy, "GET", f"{path}&first_id={UNKNOWN}")
        wrong = await send(proxy, "GET", f"{path}&first_id=x")
        limit = await send(proxy, "GET", f"{path}&limit=101")
        none = await send(proxy, "GET", "/messages?user=ann")
        nobody = await send(proxy, "GET", f"/messages?conversation_id={conversation}")
    assert [each["query"] for each in newest["data"]] == ["4", "5"]
    assert [each["query"] for each in older["data"]] == ["1", "2", "3"]
    assert (newest["limit"], newest["has_more"], older["has_more"]) == (2, True, False)
    assert oldest == {"limit": 20, "has_more": False, "data": []}
    assert error_of(unknown) == (404, "not_found", None)
    assert unknown.json()["message"] == "First Message Not Exists."
    assert error_of(wrong) == (400, "invalid_param", "first_id")
    assert error_of(limit) == (400, "invalid_param", "limit")
    assert error_of(none) == (400, "invalid_param", "conversation_id")
    assert error_of(nobody) == (400, "invalid_param", "user")


async def test_a_failed_message_is_listed_with_its_error(tmp_path: Path) -> None:
    """A message whose answer broke off is in the list, with what came and why, and is no part of the next prompt."""
    script = in_turn(sse_stream(SAID, then="fin"), sse_stream(chat_events(1)))
    async with served(script, tmp_path) as (proxy, up):
        got = await send(proxy, "POST", "/chat-messages", body("One"))
        error = said(got)[-1]
        conversation = error["conversation_id"]
        (found,) = (await messages(proxy, conversation))["data"]
        await chat(proxy, "Two", conversation)
    assert (found["status"], found["answer"], found["error"]) == ("error", text(8), error["message"])
    assert [each["content"] for each in up.requests[1].json()["messages"]] == ["Two"]


async def test_a_message_is_listed_while_it_is_made(tmp_path: Path) -> None:
    """A message is in the list from its start on."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await begin(client, "/chat-messages", body("Hi"), "t-1")
        await client.until(b"data: ", 8)
        (thread,) = (await conversations(proxy))["data"]
        (found,) = (await messages(proxy, thread["id"]))["data"]
    assert (found["query"], found["status"]) == ("Hi", "normal")


async def test_a_client_that_leaves(tmp_path: Path) -> None:
    """A client that leaves stops its generation; what came is kept, and the conversation goes on from there."""
    script = in_turn(events_then_hang(SAID), sse_stream(chat_events(1)))
    async with served(script, tmp_path) as (proxy, up):
        async with RawClient(proxy.port) as client:
            await begin(client, "/chat-messages", body("One"), "t-1")
            await client.until(b"data: ", 8)
            client.fin()
        await settled(proxy)
        (thread,) = (await conversations(proxy))["data"]
        (found,) = (await messages(proxy, thread["id"]))["data"]
        await chat(proxy, "Two", thread["id"])
        outcome = (await record(proxy, "t-1"))["outcome"]
    assert (outcome, found["answer"], found["status"]) == ("client_gone", text(8), "normal")
    assert [each["content"] for each in up.requests[1].json()["messages"]] == ["One", text(8), "Two"]


async def test_lists_of_conversations(tmp_path: Path) -> None:
    """A user's own conversations come in pages, by last change or by creation, in both directions."""
    async with served(sse_stream(chat_events(1)), tmp_path, route={"system": "{{tone}}"}) as (proxy, _):
        first = await chat(proxy, "First", inputs={"tone": "dry"})
        second = await chat(proxy, "Second")
        third = await chat(proxy, "Third", auto_generate_name=False)
        await chat(proxy, "Bob's", user="bob")
        await chat(proxy, "Again", first)
        orders = {sort: (await conversations(proxy, sort_by=sort))["data"] for sort in SORTS}
        page = await conversations(proxy, limit=2)
        rest = await conversations(proxy, limit=2, last_id=page["data"][-1]["id"])
        created = await conversations(proxy, limit=1, sort_by="created_at", last_id=first)
        unknown = [
            await send(proxy, "GET", f"/conversations?user=ann&last_id={UNKNOWN}&sort_by={sort}") for sort in SORTS
        ]
        wrong = await send(proxy, "GET", "/conversations?user=ann&sort_by=name")
    assert {sort: [each["id"] for each in found] for sort, found in orders.items()} == {
        "-updated_at": [first, third, second],
        "updated_at": [second, third, first],
        "-created_at": [third, second, first],
        "created_at": [first, second, third],
    }
    assert [each["id"] for each in page["data"]] == [first, third]
    assert ([each["id"] for each in rest["data"]], page["has_more"], rest["has_more"]) == ([second], True, False)
    assert ([each["id"] for each in created["data"]], created["has_more"]) == ([second], True)
    newest = page["data"][0]
    assert set(newest) == {"id", "name", "inputs", "status", "introduction", "created_at", "updated_at"}
    assert (newest["name"], newest["inputs"], newest["status"]) == ("First", {"tone": "dry"}, "normal")
    assert page["data"][1]["name"] == "New conversation"
    for got in unknown:
        assert error_of(got) == (404, "not_found", None)
        assert got.json()["message"] == "Last Conversation Not Exists."
    assert error_of(wrong) == (400, "invalid_param", "sort_by")


async def test_names(tmp_path: Path) -> None:
    """A conversation is renamed to a given name, or back to its first query."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        conversation = await chat(proxy, "First", auto_generate_name=False)
        path = f"/conversations/{conversation}/name"
        named = (await send(proxy, "POST", path, {"user": "ann", "name": "Rain"})).json()
        again = (await send(proxy, "POST", path, {"user": "ann", "auto_generate": True})).json()
        none = await send(proxy, "POST", path, {"user": "ann", "name": " "})
        (found,) = (await conversations(proxy))["data"]
        flag = await send(proxy, "POST", "/chat-messages", body(auto_generate_name="no"))
    assert (named["id"], named["name"], again["name"], found["name"]) == (conversation, "Rain", "First", "First")
    assert error_of(none) == (400, "invalid_param", "name")
    assert error_of(flag) == (400, "invalid_param", "auto_generate_name")


@pytest.mark.parametrize("path", ["/chat-messages", "/completion-messages", "/workflows/run"])
async def test_feedback(tmp_path: Path, path: str) -> None:
    """A user rates an own message of any app, changes that, and takes it back; it stays when the message ends."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await begin(client, path, body(), "t-1")
        await client.until(b"data: ", 8)
        message = (await record(proxy, "t-1"))["message_id"]
        route = f"/messages/{message}/feedbacks"

        async def feedback() -> Any:
            found = await proxy.app.engine.conversations.find_message(OWNER, message)
            return found and found.metadata.get("feedback")

        for rating in ("like", "dislike"):
            got = await send(proxy, "POST", route, {"user": "ann", "rating": rating, "content": "why"})
            assert (got.status, got.json()) == (200, SUCCESS)
            assert await feedback() == {"rating": rating, "content": "why"}
        await call(proxy, "POST", "/v1/generations/t-1/cancel")
        await client.answer()
        assert await feedback() == {"rating": "dislike", "content": "why"}
        await send(proxy, "POST", route, {"user": "ann", "rating": None})
        assert await feedback() is None


async def test_feedback_is_in_the_list(tmp_path: Path) -> None:
    """The list of messages shows how its user rated each."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        conversation = await chat(proxy, "Hi")
        (message,) = (await messages(proxy, conversation))["data"]
        await send(proxy, "POST", f"/messages/{message['id']}/feedbacks", {"user": "ann", "rating": "like"})
        (rated,) = (await messages(proxy, conversation))["data"]
    assert (message["feedback"], rated["feedback"]) == (None, {"rating": "like"})


async def test_feedback_that_is_refused(tmp_path: Path) -> None:
    """A rating that is none, and a message that is unknown or another user's, are refused."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        conversation = await chat(proxy, "Hi")
        (message,) = (await messages(proxy, conversation))["data"]
        path = f"/messages/{message['id']}/feedbacks"
        for field, value in (("rating", "good"), ("rating", []), ("content", 1), ("user", "")):
            sent: dict[str, Any] = {"user": "ann", "rating": "like"} | {field: value}
            assert error_of(await send(proxy, "POST", path, sent)) == (400, "invalid_param", field)
        for where, user in ((path, "bob"), (f"/messages/{UNKNOWN}/feedbacks", "ann"), ("/messages/x/feedbacks", "ann")):
            got = await send(proxy, "POST", where, {"user": user, "rating": "like"})
            assert error_of(got) == (404, "not_found", None)
            assert got.json()["message"] == "Message Not Exists."


async def test_deleting_really_deletes(tmp_path: Path) -> None:
    """A deleted conversation is stopped and gone, with its messages, and its text is in no record and on no tape."""
    script = in_turn(sse_stream(SAID, then="fin"), events_then_hang(SAID))
    async with served(script, tmp_path) as (proxy, up):
        got = await send(proxy, "POST", "/chat-messages", body("One"), X_Task_Id="t-1")
        conversation = said(got)[-1]["conversation_id"]
        async with RawClient(proxy.port) as client:
            await begin(client, "/chat-messages", body("Two", conversation_id=conversation), "t-2")
            await client.until(b"data: ", 8)
            assert (await record(proxy, "t-1"))["text"] == text(8)
            gone = await send(proxy, "DELETE", f"/conversations/{conversation}", {"user": "ann"})
            assert (gone.status, gone.body) == (204, b"")
            assert said(await client.answer())[-1]["event"] == "message_end"
        await settled(proxy)
        assert (await up.conn(1)).closed.is_set()
        assert (await conversations(proxy))["data"] == []
        left = [await record(proxy, task_id) for task_id in ("t-1", "t-2")]
        tapes = [await call(proxy, "GET", f"/v1/generations/{task_id}/events") for task_id in ("t-1", "t-2")]
    assert [(each["text"], each["characters"]) for each in left] == [(None, len(text(8)))] * 2
    assert all(b"Rain" not in tape.body for tape in tapes)


async def test_each_route_is_an_app_of_its_own(tmp_path: Path) -> None:
    """The conversations of one route are unknown on another one, under the same key and user: a route is an app."""
    other = {"path": "/other", "dialect": "dify", "upstream": "up", "model": "scripted"}
    async with scripted_upstream(sse_stream(chat_events(2))) as up:
        config = config_data(up.base_url, route={"dialect": "dify", "model": "scripted"})
        config["routes"].append(other)
        async with running_proxy(yaml.safe_dump(config), tmp_path) as proxy:
            conversation = await chat(proxy, "One", "")
            listing = await call(proxy, "GET", "/other/conversations?user=ann")
            reading = await call(proxy, "GET", f"/other/messages?user=ann&conversation_id={conversation}")
            going_on = await call(proxy, "POST", "/other/chat-messages", body("Two", conversation_id=conversation))
    assert listing.json()["data"] == []
    assert (reading.status, going_on.status) == (404, 404)


@pytest.mark.parametrize("answers", [0, 1], ids=["at once", "behind the first byte"])
async def test_a_deletion_is_carried_out_though_its_client_leaves(
    tmp_path: Path, answers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that asks for a deletion and leaves does not keep any text from going: in the store, records, events."""
    async with served(sse_stream(chat_events(2)), tmp_path, ledger={"text": "all"}) as (proxy, _):
        tasks = [f"t-{number}" for number in range(8)]
        conversation = ""
        for task in tasks:
            got = await send(proxy, "POST", "/chat-messages", body(conversation_id=conversation), X_Task_Id=task)
            conversation = said(got)[-1]["conversation_id"]
        await settled(proxy)
        store = type(proxy.app.engine.conversations)
        delete, begun, go = store.delete_thread, asyncio.Event(), asyncio.Event()

        async def slowly(self: Any, *given: Any) -> Any:
            deleted = await delete(self, *given) if answers else None
            begun.set()
            await go.wait()
            return deleted if answers else await delete(self, *given)

        monkeypatch.setattr(store, "delete_thread", slowly)
        async with RawClient(proxy.port) as client:
            await client.send(request_bytes("DELETE", f"/v1/conversations/{conversation}", {"user": "ann"}))
            await within(begun.wait(), "the deletion begins")
            client.reset()
        go.set()

        async def gone() -> bool:
            texts = [(await record(proxy, task))["text"] for task in tasks]
            events = [await call(proxy, "GET", f"/v1/generations/{task}/events") for task in tasks]
            return texts == [None] * 8 and [each.status for each in events] == [410] * 8

        await eventually(gone)
        again = await send(proxy, "DELETE", f"/conversations/{conversation}", {"user": "ann"})
    assert again.status == 404


async def test_a_deletion_stops_all_that_runs(tmp_path: Path) -> None:
    """Whatever runs in a conversation that is deleted is stopped, however many came after it."""
    script = in_turn(sse_stream(chat_events(1)), events_then_hang(SAID), sse_stream(chat_events(1)))
    async with served(script, tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        conversation = await chat(proxy, "One", "")
        await begin(client, "/chat-messages", body("Two", conversation_id=conversation), "t-2")
        await client.until(b"data: ", 8)
        for _ in range(101):
            await chat(proxy, "More", conversation)
        assert (await send(proxy, "DELETE", f"/conversations/{conversation}", {"user": "ann"})).status == 204
        await up.no_connections()
        assert (await record(proxy, "t-2"))["outcome"] == "cancelled"


async def test_large_messages(tmp_path: Path) -> None:
    """Of a conversation of large messages a mebibyte goes up with the next query; a page shows what fits."""
    large = "q" * 700_000
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, up):
        conversation = await chat(proxy, large, "")
        for query in (large, large, large, "small"):
            await chat(proxy, query, conversation)
        sent = json.loads((await up.conn(4)).request.body)["messages"]
        page = await messages(proxy, conversation, limit=100)
        before = await messages(proxy, conversation, limit=100, first_id=page["data"][0]["id"])
    assert [each["content"] for each in sent] == [large, text(1), "small"]
    assert [each["query"] for each in page["data"]] == [large, large, "small"]
    assert [each["query"] for each in before["data"]] == [large, large]
    assert (page["has_more"], before["has_more"]) == (True, False)
