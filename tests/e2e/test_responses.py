"""The Responses API served from chat completions: made, shown, chained, listed, deleted; and what goes wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.dialects.responses import history
from support.chat import chat_events, text
from support.client import RawClient
from support.edge import send
from support.openai_types import check_item
from support.program import config_text, running_program
from support.proxy import RunningProxy
from support.responses import (
    EMULATE,
    ROOT,
    again,
    begin,
    cancel,
    create,
    ended,
    forget_tapes,
    get,
    served,
    text_of,
    told,
    tool_events,
    types,
)
from support.scripts import events_then_hang, hang, in_turn, json_answer, sse_stream
from support.stops import Ask, record, settled
from support.upstream import ScriptedUpstream, scripted_upstream
from support.wait import eventually

ME, OTHER = Ask("sk-me"), Ask("sk-other")
SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""
HALF = "half"
"""Stands for an id that is half a surrogate pair, which only JSON's escapes can say."""


def sent(up: ScriptedUpstream, index: int = -1) -> Any:
    """The body of a request that reached the upstream."""
    return json.loads(up.requests[index].body)


async def test_a_whole_response(tmp_path: Path) -> None:
    """A response is made from the upstream's stream, with its text and counts, and can be read again by its id."""
    async with served(sse_stream(chat_events(3, usage=True)), tmp_path, upstream={"usage": "final"}) as (proxy, up):
        made = await create(proxy, instructions="Be brief.", metadata={"a": "b"}, temperature=0.5)
        shown = await get(proxy, made["id"])
        assert sent(up)["messages"][0] == {"role": "system", "content": "Be brief."}
        assert up.requests[0].target == "/v1/chat/completions"
    assert (made["status"], text_of(made), made["model"]) == ("completed", text(3), "scripted")
    assert (made["instructions"], made["metadata"], made["temperature"]) == ("Be brief.", {"a": "b"}, 0.5)
    assert made["usage"]["output_tokens"] == 3
    assert made["completed_at"] >= made["created_at"]
    assert shown == made


async def test_a_stream(tmp_path: Path) -> None:
    """A stream has every event of the API, numbered from 0; its last one has the response that can be read later."""
    async with served(sse_stream(chat_events(3)), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        response_id = await begin(client)
        answer = await client.answer()
        events = told(answer.body)
        shown = await get(proxy, response_id)
    assert answer.header("X-Message-Id") == response_id
    assert types(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert events[-1]["response"] == shown


async def test_in_the_background(tmp_path: Path) -> None:
    """A response in the background is answered at once as queued, shown while it is made, and made without a reader."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up):
        made = await create(proxy, background=True)
        assert made["status"] == "queued"
        shown = await eventually(lambda: _with_text(proxy, made["id"]), what="the partial is shown")
        assert (shown["status"], shown["output"][0]["status"]) == ("in_progress", "in_progress")
        answer = await cancel(proxy, made["id"])
        await up.no_connections()
        repeated = await cancel(proxy, made["id"])
        shown = await get(proxy, made["id"])
        watched = await send(proxy, "GET", f"{ROOT}/{made['id']}?stream=true")
    assert (answer.status, answer.json()["status"], text_of(answer.json())) == (200, "cancelled", text(8))
    assert answer.json()["output"][0]["status"] == "incomplete"
    assert repeated.body == answer.body
    assert shown == answer.json()
    assert (watched.status, watched.json()["error"]["param"]) == (400, "stream")


async def _with_text(proxy: RunningProxy, response_id: str) -> dict[str, Any] | None:
    found = await get(proxy, response_id)
    return found if text_of(found) == text(8) else None


async def test_the_chain(tmp_path: Path) -> None:
    """`previous_response_id` brings the whole conversation along; instructions hold for their own response only."""
    async with served(sse_stream(chat_events(2)), tmp_path) as (proxy, up):
        first = await create(proxy, input="One?", instructions="Be brief.")
        second = await create(proxy, input="Two?", previous_response_id=first["id"])
        third = await create(proxy, input="Three?", previous_response_id=second["id"])
        foreign = await send(proxy, "POST", ROOT, {"input": "x", "previous_response_id": first["id"]}, OTHER.headers())
        unstored = await create(proxy, store=False)
        lost = await send(proxy, "POST", ROOT, {"input": "x", "previous_response_id": unstored["id"]})
        said = [(each["role"], each["content"]) for each in sent(up, 2)["messages"]]
        assert len(up.requests) == 4
    words = text(2)
    assert said == [
        *(("user", "One?"), ("assistant", words), ("user", "Two?"), ("assistant", words), ("user", "Three?")),
    ]
    assert third["previous_response_id"] == second["id"]
    for answer in (foreign, lost):
        assert (answer.status, answer.json()["error"]["code"]) == (400, "previous_response_not_found")


async def test_a_chain_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversation larger than what a request may bring is refused by name, wherever in it the most was said."""
    monkeypatch.setattr(history, "MOST_CHARACTERS", 3000)
    async with served(sse_stream(chat_events(2)), tmp_path) as (proxy, up):
        first = await create(proxy, input="x" * 1500)
        second = await create(proxy, input="Two?", previous_response_id=first["id"])
        third = await create(proxy, input="y" * 1500, previous_response_id=second["id"])
        refused = await send(proxy, "POST", ROOT, {"input": "z", "previous_response_id": third["id"]})
        assert len(up.requests) == 3
    assert refused.status == 400
    assert refused.json()["error"]["message"] == (
        "Invalid 'previous_response_id': the conversation has more than 3000 characters."
    )


async def test_a_round_of_tools(tmp_path: Path) -> None:
    """Calls of functions come back as items; their results go up with them, by the chain or as items."""
    calls = (("call_a", "f", '{"x": 1}'), ("call_b", "g", "{}"))
    tools = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in "fg"]
    results = [{"type": "function_call_output", "call_id": call, "output": "42"} for call, _, _ in calls]
    script = in_turn(sse_stream(tool_events(*calls)), sse_stream(chat_events(2)))
    async with served(script, tmp_path) as (proxy, up):
        first = await create(proxy, tools=tools)
        early = await send(proxy, "POST", ROOT, {"input": "x", "previous_response_id": first["id"]})
        by_chain = await create(proxy, input=results, previous_response_id=first["id"])
        items = [{"role": "user", "content": "Tell me."}, *first["output"], *results]
        by_items = await create(proxy, input=items)
        chained, listed = sent(up, 1)["messages"], sent(up, 2)["messages"]
    assert [(item["type"], item["name"], item["arguments"]) for item in first["output"]] == [
        ("function_call", "f", '{"x": 1}'),
        ("function_call", "g", "{}"),
    ]
    assert early.status == 400
    assert [each["role"] for each in chained] == ["user", "assistant", "tool", "tool"]
    assert chained == listed
    assert text_of(by_chain) == text_of(by_items) == text(2)


@pytest.mark.parametrize("ids", [("x" * 513, "x" * 512), ("call_a", "call_a"), (HALF, "call_a")])
async def test_ids_that_no_client_can_send_back(tmp_path: Path, ids: tuple[str, str]) -> None:
    """A call whose id is too long, used before or no text gets one of ours: in stream, store, and upstream later."""
    events = [each.replace(HALF.encode(), rb"\ud800") for each in tool_events(*((ident, "f", "{}") for ident in ids))]
    script = in_turn(sse_stream(events), sse_stream(chat_events(2)))
    async with served(script, tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        response_id = await begin(client)
        stream = (await client.answer()).body
        kept = await ended(proxy, response_id)
        forget_tapes(proxy)
        later = await again(proxy, response_id)
        shown = [item["call_id"] for item in kept["output"]]
        results = [{"type": "function_call_output", "call_id": ident, "output": "42"} for ident in shown]
        by_chain = await create(proxy, input=results, previous_response_id=response_id)
        await create(proxy, input=[{"role": "user", "content": "Tell me."}, *kept["output"], *results])
        chats = [sent(up, number)["messages"][1:] for number in (1, 2)]
    fit = [ident for ident in ("x" * 512, "call_a") if ident in ids]
    assert [ident for ident in shown if ident in ids] == fit
    assert len(set(shown)) == 2
    assert later == stream
    assert text_of(by_chain) == text(2)
    for asked, *came in chats:
        assert [call["id"] for call in asked["tool_calls"]] == [each["tool_call_id"] for each in came] == shown


async def test_a_call_that_was_cut_off(tmp_path: Path) -> None:
    """Of a stopped response the text goes on in the conversation, a call that is not whole does not."""
    script = in_turn(events_then_hang([*SAID, *tool_events(("call_a", "f", "{}"))[:1]]), sse_stream(chat_events(2)))
    async with served(script, tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        response_id = await begin(client)
        await client.until(b"function_call_arguments.delta")
        assert (await cancel(proxy, response_id)).status == 200
        await create(proxy, previous_response_id=response_id)
        messages = sent(up)["messages"]
    assert [(each["role"], each["content"]) for each in messages[:2]] == [("user", "Tell me."), ("assistant", text(8))]
    assert not any("tool_calls" in each for each in messages)


async def test_input_items(tmp_path: Path) -> None:
    """The request's own input is listed, newest first or oldest first, page by page."""
    items = [{"role": "user", "content": str(number)} for number in range(5)]
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        made = await create(proxy, input=items)
        path = f"{ROOT}/{made['id']}/input_items"
        for order in ("asc", "desc"):
            found: list[Any] = []
            more = True
            while more:
                after = f"&after={found[-1]['id']}" if found else ""
                page = (await send(proxy, "GET", f"{path}?limit=2&order={order}{after}")).json()
                assert (page["object"], page["first_id"]) == ("list", page["data"][0]["id"])
                assert page["last_id"] == page["data"][-1]["id"]
                found += page["data"]
                more = page["has_more"]
            texts = [item["content"][0]["text"] for item in found]
            assert texts == [str(number) for number in (range(5) if order == "asc" else range(4, -1, -1))]
        for each in found:
            check_item(each)
        wrong = [await send(proxy, "GET", f"{path}?{query}") for query in ("limit=0", "order=up", "after=msg_x")]
        foreign = await send(proxy, "GET", path, headers=OTHER.headers())
    assert [answer.status for answer in wrong] == [400, 400, 400]
    assert foreign.status == 404


async def test_delete(tmp_path: Path) -> None:
    """A deleted response is gone, what lives is stopped first, and no text of it is left in the record."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        response_id = await begin(client, ME, background=True)
        await client.until(b"output_text.delta", 16)
        foreign = await send(proxy, "DELETE", f"{ROOT}/{response_id}", headers=OTHER.headers())
        deleted = await send(proxy, "DELETE", f"{ROOT}/{response_id}", headers=ME.headers())
        await up.no_connections()
        stream = await client.answer()
        kept = await record(proxy, response_id, ME)
        calls = [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items"), ("GET", "?stream=true")]
        gone = [await send(proxy, how, f"{ROOT}/{response_id}{rest}", headers=ME.headers()) for how, rest in calls]
    assert foreign.status == 404
    assert deleted.json() == {"id": response_id, "object": "response", "deleted": True}
    assert types(told(stream.body))[-1] == "cancelled"
    assert (kept["outcome"], kept["text"]) == ("cancelled", None)
    assert [answer.status for answer in gone] == [404] * 5


@pytest.mark.parametrize(("kept", "shown"), [("partial", text(8)), ("none", "")])
async def test_what_is_not_stored(tmp_path: Path, kept: str, shown: str) -> None:
    """With `store: false` nothing can be read later; it can be stopped, and again, with what is kept of its text."""
    serving = served(events_then_hang(SAID), tmp_path, ledger={"text": kept})
    async with serving as (proxy, _), RawClient(proxy.port) as client:
        response_id = await begin(client, store=False)
        await client.until(b"output_text.delta", 16)
        assert (await send(proxy, "GET", f"{ROOT}/{response_id}")).status == 404
        first = await cancel(proxy, response_id)
        await settled(proxy)
        second = await cancel(proxy, response_id)
        stream = await client.answer()
    assert (first.status, first.json()["status"], text_of(first.json())) == (200, "cancelled", shown)
    assert second.body == first.body
    assert types(told(stream.body))[-1] == "cancelled"


@pytest.mark.parametrize("background", [True, False])
async def test_what_is_over_cannot_be_cancelled(tmp_path: Path, background: bool) -> None:
    """400 in the words that other servers have for it."""
    async with served(sse_stream(chat_events(2)), tmp_path) as (proxy, _):
        made = await create(proxy, background=background)
        await ended(proxy, made["id"])
        answer = await cancel(proxy, made["id"])
    what = "completed" if background else "synchronous"
    assert answer.status == 400
    assert answer.json()["error"]["message"] == f"Cannot cancel a {what} response."


@pytest.mark.parametrize(("reason", "shown"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_incomplete(tmp_path: Path, reason: str, shown: str) -> None:
    """An answer that was cut short upstream is incomplete and says why; it can't be cancelled."""
    async with served(sse_stream(chat_events(2, finish=reason)), tmp_path) as (proxy, _):
        made = await create(proxy, background=True)
        found = await ended(proxy, made["id"])
        answer = await cancel(proxy, made["id"])
    assert (found["status"], found["incomplete_details"]) == ("incomplete", {"reason": shown})
    assert answer.json()["error"]["message"] == "Cannot cancel an incomplete response."


@pytest.mark.parametrize(
    ("status", "code"), [(429, "rate_limit_exceeded"), (500, "server_error"), (401, "server_error")]
)
async def test_an_upstream_that_refuses(tmp_path: Path, status: int, code: str) -> None:
    """Its refusal is the answer of a response that is waited for; one in the background has failed, and says why."""
    script = json_answer({"error": {"message": "no such luck", "type": "t"}}, status)
    async with served(script, tmp_path) as (proxy, _):
        waited = await send(proxy, "POST", ROOT, {"input": "x"})
        made = await create(proxy, background=True)
        found = await ended(proxy, made["id"])
        async with RawClient(proxy.port) as client:
            await begin(client, background=True)
            events = told((await client.answer()).body)
        answer = await cancel(proxy, made["id"])
    assert (waited.status, "no such luck" in waited.json()["error"]["message"]) == (status, True)
    assert (found["status"], found["error"]["code"]) == ("failed", code)
    assert types(events) == ["created", "queued", "failed"]
    assert answer.json()["error"]["message"] == "Cannot cancel a failed response."


async def test_a_stream_that_breaks(tmp_path: Path) -> None:
    """What breaks in the middle fails with its partial."""
    async with served(sse_stream(SAID, then="reset"), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        response_id = await begin(client)
        events = told((await client.answer()).body)
        shown = await get(proxy, response_id)
    assert (events[-1]["type"], text_of(shown)) == ("response.failed", text(8))
    assert events[-1]["response"] == shown


async def test_a_reader_that_leaves(tmp_path: Path) -> None:
    """A stream in the foreground ends with its reader; one in the background goes on."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up):
        async with RawClient(proxy.port) as client:
            foreground = await begin(client)
        await up.no_connections()
        assert (await ended(proxy, foreground))["status"] == "cancelled"
        async with RawClient(proxy.port) as client:
            background = await begin(client, background=True)
        async with RawClient(proxy.port) as reader:
            await reader.get(f"{ROOT}/{background}?stream=true")
            await reader.until(b"output_text.delta", 16)
        assert (await get(proxy, background))["status"] == "in_progress"
        assert up.connections == 1
        assert (await cancel(proxy, background)).status == 200


async def test_a_cancel_of_a_call_that_is_waited_for(tmp_path: Path) -> None:
    """A response that is waited for is stopped by the id that its caller chose; the waiting call gets 499."""
    async with served(hang(), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await client.post(ROOT, {"input": "x"}, ME.headers(X_Task_Id="t-1"))
        await up.conn()
        foreign = await cancel(proxy, "t-1", OTHER)
        stopped = await cancel(proxy, "t-1", ME)
        await up.no_connections()
        answer = await client.answer()
        repeated = await cancel(proxy, stopped.json()["id"], ME)
    assert (foreign.status, stopped.status, stopped.json()["status"]) == (404, 200, "cancelled")
    assert repeated.body == stopped.body
    assert answer.status == 499


async def test_a_cancel_of_something_else(tmp_path: Path) -> None:
    """A chat completion of the same route is no response: 404, and it goes on."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        body = {"model": "m", "stream": True, "messages": []}
        await client.post("/v1/chat/completions", body, ME.headers(X_Task_Id="chat-1"))
        await client.until(b"tin ")
        answer = await cancel(proxy, "chat-1", ME)
        kept = await record(proxy, "chat-1", ME)
        assert up.connections == 1
    assert (answer.status, kept["outcome"]) == (404, "running")


async def test_a_process_that_died(tmp_path: Path) -> None:
    """A response whose process was killed has failed, with what was written of it; so does its stream from anywhere."""
    async with scripted_upstream(events_then_hang(SAID)) as up:
        config = config_text(up.base_url, route=EMULATE)
        async with running_program(config, tmp_path) as program, RawClient(program.port) as client:
            response_id = await begin(client, background=True)
            await client.until(b"output_text.delta", 16)

            async def is_written() -> bool:
                async with RawClient(program.port) as other:
                    await other.get(f"/v1/generations/{response_id}")
                    return bool((await other.answer()).json()["text"] == text(8))

            await eventually(is_written, what="the text is in the record")
            await _flushed(tmp_path)
            program.kill()
    async with served(sse_stream(chat_events(2)), tmp_path) as (proxy, up):
        shown = await get(proxy, response_id)
        whole = told(await again(proxy, response_id))
        rest = told(await again(proxy, response_id, 500), first=501)
        answer = await cancel(proxy, response_id)
        await create(proxy, previous_response_id=response_id)
        assert sent(up)["messages"][1] == {"role": "assistant", "content": text(8)}
    assert (shown["status"], shown["error"]["code"], text_of(shown)) == ("failed", "server_error", text(8))
    assert whole[-1]["response"] == shown
    assert types(rest) == ["failed"]
    assert answer.json()["error"]["message"] == "Cannot cancel a failed response."


async def _flushed(folder: Path) -> None:
    """Wait until the conversation store has the whole text too."""
    import sqlite3  # noqa: PLC0415 only here

    def has() -> bool:
        with sqlite3.connect(f"file:{folder / 'quell.db'}?mode=ro", uri=True) as db:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return any(_holds(db, table) for table in tables if "text" in table or "message" in table)

    await eventually(has, what="the store has the text")


def _holds(db: Any, table: str) -> bool:
    rows = db.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 a name from the schema itself
    return text(8).strip() in "".join(str(value) for row in rows for value in row if isinstance(value, str | bytes))


async def test_after_a_restart(tmp_path: Path) -> None:
    """A finished response, its list and its stream are the same after a restart, byte for byte."""
    async with served(sse_stream(chat_events(30)), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        response_id = await begin(client)
        answer = await client.answer()
        shown = await get(proxy, response_id)
        forget_tapes(proxy)
        assert await again(proxy, response_id) == answer.body
    async with served(hang(), tmp_path) as (proxy, _):
        assert await get(proxy, response_id) == shown
        assert await again(proxy, response_id) == answer.body
        rest = await again(proxy, response_id, 20)
        assert answer.body.endswith(rest)
        assert told(rest, first=21)
        assert (await send(proxy, "GET", f"{ROOT}/{response_id}/input_items")).json()["data"]


async def test_bad_bodies(tmp_path: Path) -> None:
    """What is no JSON object, and lone halves of characters, are refused or taken, in OpenAI's shape."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        nonsense = await send(proxy, "POST", ROOT, b"nonsense")
        half = await send(proxy, "POST", ROOT, b'{"input": "a\\ud800b", "metadata": {"k": "\\ud800"}}')
        unknown = await send(proxy, "GET", f"{ROOT}/resp_unknown")
        starting = await send(proxy, "GET", f"{ROOT}/resp_unknown?stream=true&starting_after=x")
    assert (nonsense.status, nonsense.json()["error"]["code"]) == (400, "invalid_json")
    assert half.status == 200
    assert (unknown.status, starting.status) == (404, 400)
