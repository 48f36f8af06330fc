"""Assistants end to end by plain calls: objects, streams in their documented order, lists, and refusals."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.dialects.assistants import history
from support.assistants import (
    TOOL,
    a_run,
    a_thread,
    an_assistant,
    ask,
    error_of,
    events_of,
    names,
    sent,
    served,
    told,
)
from support.chat import chat_events, sse, text
from support.client import RawClient
from support.proxy import RunningProxy
from support.scripts import json_answer, sse_stream
from support.stops import Ask, call, settled
from support.wait import PATIENCE

COMPLETE = [
    *("run.created", "run.queued", "run.in_progress", "run.step.created", "run.step.in_progress"),
    *("message.created", "message.in_progress", "message.delta"),
    *("message.completed", "run.step.completed", "run.completed"),
]


async def stream(proxy: RunningProxy, path: str, body: Any) -> list[tuple[str, dict[str, Any]]]:
    """The events of a streaming call."""
    answer = await call(proxy, "POST", f"/v1{path}", {"stream": True, **body})
    assert answer.status == 200, answer.body
    return events_of(answer.body)


async def test_a_complete_stream(tmp_path: Path) -> None:
    """A run's stream has every event in the documented order; what it says is what is read back afterwards."""
    async with served(sse_stream(chat_events(3, usage=True)), tmp_path) as (proxy, up):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        events = await stream(proxy, f"/threads/{thread}/runs", {"assistant_id": assistant})
        found = {name.removeprefix("thread."): value for name, value in events}
        run, step, message = found["run.completed"], found["run.step.completed"], found["message.completed"]
        at = f"/threads/{thread}/runs/{run['id']}"
        kept = await ask(proxy, "GET", at)
        steps = await ask(proxy, "GET", f"{at}/steps")
        one_step = await ask(proxy, "GET", f"{at}/steps/{step['id']}")
        messages = await ask(proxy, "GET", f"/threads/{thread}/messages")
        body = sent(up)
    assert names(events) == COMPLETE
    deltas = [value["delta"]["content"][0] for name, value in events if name == "thread.message.delta"]
    assert deltas[0] == {"index": 0, "type": "text", "text": {"value": "Rain ", "annotations": []}}
    assert deltas[1] == {"index": 0, "type": "text", "text": {"value": "fell "}}
    assert found["message.created"]["content"] == []
    assert message["content"] == [{"type": "text", "text": {"value": text(3), "annotations": []}}]
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert run["usage"] == step["usage"] == usage
    assert (found["run.created"]["expires_at"], run["expires_at"]) == (run["created_at"] + 600, None)
    assert step["step_details"]["message_creation"]["message_id"] == message["id"]
    assert (kept, steps["data"], one_step) == (run, [step], step)
    assert [each["role"] for each in messages["data"]] == ["assistant", "user"]
    assert messages["data"][0] == message
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert (body["model"], body["stream"]) == ("scripted", True)


async def test_a_run_without_a_reader(tmp_path: Path) -> None:
    """A plain run is answered at once, queued, and made all the same; who polls is told when to come again."""
    async with served(sse_stream(chat_events(3)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        run = await a_run(proxy, thread, assistant)
        await settled(proxy)
        answer = await told(proxy, "GET", f"/threads/{thread}/runs/{run['id']}")
    assert (run["status"], run["started_at"]) == ("queued", None)
    assert (answer.json()["status"], answer.header("openai-poll-after-ms")) == ("completed", "250")


async def test_a_thread_with_its_run(tmp_path: Path) -> None:
    """`POST /threads/runs` makes the thread with its messages; its stream begins with it."""
    thread = {"messages": [{"role": "user", "content": "Hello"}], "metadata": {"of": "ann"}}
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, up):
        assistant = await an_assistant(proxy)
        events = await stream(proxy, "/threads/runs", {"assistant_id": assistant, "thread": thread})
        kept = await ask(proxy, "GET", f"/threads/{events[0][1]['id']}")
        body = sent(up)
    assert names(events) == ["created", *COMPLETE]
    assert events[0][1] == kept
    assert kept["metadata"] == {"of": "ann"}
    assert body["messages"][1:] == [{"role": "user", "content": "Hello"}]


async def test_the_fields_of_a_run(tmp_path: Path) -> None:
    """A run's own fields go before its assistant's, on the run and up to the model."""
    asked = {
        "model": "other",
        "instructions": "Shout.",
        "additional_instructions": "In French.",
        "additional_messages": [{"role": "user", "content": "And now?", "metadata": {"a": "b"}}],
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "look_up"}},
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "top_p": 0.25,
        "max_completion_tokens": 300,
        "max_prompt_tokens": 4000,
        "truncation_strategy": {"type": "last_messages", "last_messages": 2},
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
        "metadata": {"k": "v"},
    }
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, up):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "One", "Two")
        run = await a_run(proxy, thread, assistant, **asked)
        await settled(proxy)
        messages = await ask(proxy, "GET", f"/threads/{thread}/messages?order=asc")
        body = sent(up)
    assert run["instructions"] == "Shout.\n\nIn French."
    same = asked.keys() - {"instructions", "additional_instructions", "additional_messages", "reasoning_effort"}
    assert {name: run[name] for name in same} == {name: asked[name] for name in same}
    assert [each["content"] for each in body["messages"]] == ["Shout.\n\nIn French.", "Two", "And now?"]
    wanted = ("tools", "tool_choice", "parallel_tool_calls", "temperature", "top_p", "response_format")
    assert {name: body[name] for name in wanted} == {name: asked[name] for name in wanted}
    assert (body["max_tokens"], body["reasoning_effort"], body["model"]) == (300, "low", "other")
    assert [each["content"][0]["text"]["value"] for each in messages["data"][:3]] == ["One", "Two", "And now?"]


async def test_assistants(tmp_path: Path) -> None:
    """Assistants are made, listed, changed and deleted; an update replaces what it names, by null too."""
    async with served(sse_stream([]), tmp_path, route={"model": "small"}) as (proxy, _):
        made = [await ask(proxy, "POST", "/assistants", {"name": f"A{number}"}) for number in range(3)]
        first = made[0]["id"]
        changes = {"name": None, "description": "d", "tools": [TOOL], "temperature": 0.1, "reasoning_effort": "high"}
        changed = await ask(proxy, "POST", f"/assistants/{first}", changes)
        read = await ask(proxy, "GET", f"/assistants/{first}")
        page = await ask(proxy, "GET", "/assistants?limit=2")
        rest = await ask(proxy, "GET", f"/assistants?limit=2&after={page['last_id']}")
        gone = await ask(proxy, "DELETE", f"/assistants/{first}")
        unknown = error_of(await told(proxy, "GET", f"/assistants/{first}"), 404)
    assert (made[0]["model"], made[0]["name"]) == ("small", "A0")
    assert changed == read == {**made[0], "name": None, "description": "d", "tools": [TOOL], "temperature": 0.1}
    assert [each["name"] for each in page["data"]] == ["A2", "A1"]
    assert (page["has_more"], rest["has_more"], len(rest["data"])) == (True, False, 1)
    assert gone == {"id": first, "object": "assistant.deleted", "deleted": True}
    assert unknown["message"] == f"No assistant found with id '{first}'."


async def test_threads_and_messages(tmp_path: Path) -> None:
    """Threads and messages are made, read, changed and deleted; images stay what they are."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    async with served(sse_stream([]), tmp_path) as (proxy, _):
        thread = await a_thread(proxy)
        at = f"/threads/{thread}/messages"
        parts = {"role": "user", "content": [{"type": "text", "text": "Look"}, image], "metadata": {"a": "b"}}
        message = await ask(proxy, "POST", at, parts)
        said = await ask(proxy, "POST", at, {"role": "assistant", "content": [{"type": "text", "text": "I see"}]})
        changed = await ask(proxy, "POST", f"{at}/{message['id']}", {"metadata": {"c": "d"}})
        read = await ask(proxy, "GET", f"{at}/{message['id']}")
        renamed = await ask(proxy, "POST", f"/threads/{thread}", {"metadata": {"of": "ann"}})
        await ask(proxy, "DELETE", f"{at}/{said['id']}")
        left = await ask(proxy, "GET", at)
        gone = await ask(proxy, "DELETE", f"/threads/{thread}")
        unknown = [await told(proxy, "GET", path) for path in (at, f"/threads/{thread}", f"{at}/{message['id']}")]
    assert message["content"] == [{"type": "text", "text": {"value": "Look", "annotations": []}}, image]
    assert (message["status"], message["run_id"], message["attachments"]) == ("completed", None, [])
    assert (changed["metadata"], read) == ({"c": "d"}, changed)
    assert renamed["metadata"] == {"of": "ann"}
    assert [each["id"] for each in left["data"]] == [message["id"]]
    assert gone["object"] == "thread.deleted"
    assert {error_of(each, 404)["message"] for each in unknown} == {f"No thread found with id '{thread}'."}


async def test_lists_of_messages(tmp_path: Path) -> None:
    """Messages are paged by cursors in both directions and both orders, and by the run that said them."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "0", "1", "2", "3", "4")
        run = await a_run(proxy, thread, assistant)
        await settled(proxy)
        at = f"/threads/{thread}/messages"
        whole = [each["id"] for each in (await ask(proxy, "GET", f"{at}?order=asc"))["data"]]
        runs = await ask(proxy, "GET", f"{at}?run_id={run['id']}&limit=1")
        cases = {
            "?order=asc&limit=2": (whole[:2], True),
            f"?order=asc&limit=4&after={whole[1]}": (whole[2:], False),
            "?limit=2": (whole[:3:-1], True),
            f"?limit=2&before={whole[0]}": ([whole[2], whole[1]], True),
            f"?order=asc&limit=2&before={whole[4]}": (whole[2:4], True),
            f"?order=asc&before={whole[3]}&after={whole[0]}": (whole[1:3], False),
        }
        pages = {query: await ask(proxy, "GET", f"{at}{query}") for query in cases}
    assert [each["id"] for each in runs["data"]] == [whole[5]]
    for query, (ids, more) in cases.items():
        assert ([each["id"] for each in pages[query]["data"]], pages[query]["has_more"]) == (ids, more), query


async def test_lists_of_runs(tmp_path: Path) -> None:
    """A thread's runs are listed with what became of them; only the metadata of one can change."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        ids = []
        for _ in range(3):
            ids.append((await a_run(proxy, thread, assistant))["id"])
            await settled(proxy)
        changed = await ask(proxy, "POST", f"/threads/{thread}/runs/{ids[0]}", {"metadata": {"a": "b"}})
        listed = await ask(proxy, "GET", f"/threads/{thread}/runs?limit=2&order=asc")
    assert (listed["data"][0], changed["metadata"]) == (changed, {"a": "b"})
    assert ([each["id"] for each in listed["data"]], listed["has_more"]) == (ids[:2], True)
    assert {each["status"] for each in listed["data"]} == {"completed"}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (json_answer({"error": {"message": "no"}}, 429), "rate_limit_exceeded"),
        (json_answer({"error": {"message": "no"}}, 400), "invalid_prompt"),
        (json_answer({"error": {"message": "no"}}, 401), "server_error"),
        (json_answer({"error": {"message": "no"}}, 500), "server_error"),
    ],
    ids=["429", "400", "401", "500"],
)
async def test_an_upstream_that_refuses(tmp_path: Path, answer: Any, code: str) -> None:
    """A run whose call is refused has failed, with the reason in the API's word for it; nothing was said."""
    async with served(answer, tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        events = await stream(proxy, f"/threads/{thread}/runs", {"assistant_id": assistant})
        messages = await ask(proxy, "GET", f"/threads/{thread}/messages")
        again = await stream(proxy, f"/threads/{thread}/runs", {"assistant_id": assistant})
    assert names(events) == ["run.created", "run.queued", "run.failed"]
    assert (events[-1][1]["last_error"]["code"], events[-1][1]["status"]) == (code, "failed")
    assert len(messages["data"]) == 1
    assert names(again)[-1] == "run.failed"


async def test_an_upstream_that_breaks(tmp_path: Path) -> None:
    """What breaks in the middle leaves a failed run and step, and the text as an incomplete message."""
    async with served(sse_stream(chat_events(3, finish=None, done=False)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        events = await stream(proxy, f"/threads/{thread}/runs", {"assistant_id": assistant})
        messages = await ask(proxy, "GET", f"/threads/{thread}/messages")
    assert names(events)[-3:] == ["message.incomplete", "run.step.failed", "run.failed"]
    assert events[-1][1]["last_error"]["code"] == events[-2][1]["last_error"]["code"] == "server_error"
    assert messages["data"][0] == events[-3][1]
    assert messages["data"][0]["incomplete_details"] == {"reason": "run_failed"}
    assert messages["data"][0]["content"][0]["text"]["value"] == text(3)


async def test_an_answer_cut_by_its_bound(tmp_path: Path) -> None:
    """A run whose completion tokens are used up is incomplete, and so is its message; its step is complete."""
    async with served(sse_stream(chat_events(3, finish="length")), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        asked = {"assistant_id": assistant, "max_completion_tokens": 256}
        events = await stream(proxy, f"/threads/{thread}/runs", asked)
    assert names(events)[-3:] == ["message.incomplete", "run.step.completed", "run.incomplete"]
    assert events[-1][1]["incomplete_details"] == {"reason": "max_completion_tokens"}
    assert events[-3][1]["incomplete_details"] == {"reason": "max_tokens"}


async def test_a_filtered_answer(tmp_path: Path) -> None:
    """A run whose answer the upstream's filter cut off is incomplete; its message says why."""
    async with served(sse_stream(chat_events(2, finish="content_filter")), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        events = await stream(proxy, f"/threads/{thread}/runs", {"assistant_id": assistant})
    assert events[-3][1]["incomplete_details"] == {"reason": "content_filter"}
    assert (events[-1][1]["status"], events[-1][1]["incomplete_details"]) == ("incomplete", {})


async def test_a_refusing_model(tmp_path: Path) -> None:
    """What a model refuses to do is a part of its own, in the stream and in the message."""
    chunks = [{"delta": {"refusal": piece}, "finish_reason": None, "index": 0} for piece in ("I ", "won't.")]
    script = [sse({"id": "c", "choices": [chunk]}) for chunk in chunks]
    end = sse({"id": "c", "choices": [{"delta": {}, "finish_reason": "stop", "index": 0}]})
    async with served(sse_stream([*script, end, b"data: [DONE]\n\n"]), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        events = await stream(proxy, f"/threads/{thread}/runs", {"assistant_id": assistant})
        messages = await ask(proxy, "GET", f"/threads/{thread}/messages")
    assert names(events) == COMPLETE
    assert messages["data"][0]["content"] == [{"type": "refusal", "refusal": "I won't."}]


async def test_a_prompt_that_is_too_long(tmp_path: Path) -> None:
    """The oldest messages are left out to fit `max_prompt_tokens`; a run for which that is not enough is incomplete."""
    long = "word " * 150  # 192 tokens by our estimate
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, up):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, long, "last")
        at = f"/threads/{thread}/runs"
        await stream(proxy, at, {"assistant_id": assistant, "max_prompt_tokens": 256, "instructions": long})
        body = sent(up)
        more = {"assistant_id": assistant, "max_prompt_tokens": 256, "instructions": long * 2}
        events = await stream(proxy, at, more)
        run = await ask(proxy, "POST", at, more)
        kept = await ask(proxy, "GET", f"{at}/{run['id']}")
    assert [each["content"] for each in body["messages"]][1:] == ["last"]
    assert names(events) == ["run.created", "run.queued", "run.incomplete"]
    assert events[-1][1]["incomplete_details"] == {"reason": "max_prompt_tokens"}
    assert run == kept
    assert (run["status"], run["expires_at"]) == ("incomplete", None)
    assert len(up.requests) == 1


TOOLS = {"type": "function", "function": {"name": "a b"}}
LAST = {"truncation_strategy": {"type": "last_messages"}}
FILE = {"role": "user", "content": "x", "attachments": [{"file_id": "f"}]}
IMAGE = {"role": "user", "content": [{"type": "image_file"}]}
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("/assistants", {"model": ""}, "model"),
    ("/assistants", {"tools": [{"type": "code_interpreter"}]}, "tools[0].type"),
    ("/assistants", {"tools": [TOOLS]}, "tools[0].function.name"),
    ("/assistants", {"tool_resources": {"file_search": {"vector_store_ids": ["v"]}}}, "tool_resources"),
    ("/assistants", {"temperature": 3}, "temperature"),
    ("/assistants", {"metadata": {"a": 1}}, "metadata"),
    ("/assistants", {"metadata": {f"k{n}": "v" for n in range(17)}}, "metadata"),
    ("/assistants", {"metadata": {"k": "v" * 513}}, "metadata"),
    ("/assistants", {"response_format": {"type": "xml"}}, "response_format"),
    ("/threads", {"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
    ("/threads", {"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ("/threads", {"messages": [IMAGE]}, "messages[0].content[0].type"),
    ("/threads", {"messages": [FILE]}, "messages[0].attachments"),
    ("/threads/runs", {"assistant_id": ""}, "assistant_id"),
    ("/threads/runs", {"stream": "yes"}, "stream"),
    ("/threads/runs", {"max_completion_tokens": 255}, "max_completion_tokens"),
    ("/threads/runs", LAST, "truncation_strategy.last_messages"),
    ("/threads/runs", {"tool_choice": {"type": "file_search"}}, "tool_choice"),
    ("/threads/runs", {"reasoning_effort": "lots"}, "reasoning_effort"),
    ("/threads/runs", {"thread": {"messages": [1]}}, "thread.messages[0]"),
]


@pytest.mark.parametrize(("path", "body", "param"), BAD, ids=[f"{path} {param}" for path, _, param in BAD])
async def test_wrong_fields(tmp_path: Path, path: str, body: dict[str, Any], param: str) -> None:
    """A field that is wrong, or can't be served, is refused by its path, with what was expected."""
    needed = {"/assistants": {"model": "m"}, "/threads/runs": {"assistant_id": "asst_1"}}
    async with served(sse_stream([]), tmp_path) as (proxy, _):
        error = error_of(await told(proxy, "POST", path, needed.get(path, {}) | body), 400)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, None)
    assert error["message"].startswith(f"Invalid '{param}': expected ")


async def test_a_thread_of_images(tmp_path: Path) -> None:
    """Of a thread that is larger than what a run reads the newest goes up, images counted as large as they are."""
    images = [f"data:image/png;base64,{each}{'A' * 700_000}" for each in "123"]
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, up):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy)
        for url in images:
            content = [{"type": "image_url", "image_url": {"url": url}}]
            await ask(proxy, "POST", f"/threads/{thread}/messages", {"role": "user", "content": content})
        await ask(proxy, "POST", f"/threads/{thread}/messages", {"role": "user", "content": "What are they?"})
        await a_run(proxy, thread, assistant)
        await settled(proxy)
        chat = sent(up)["messages"][1:]
    assert [each["content"][0]["image_url"]["url"][:23] for each in chat[:-1]] == [url[:23] for url in images[1:]]
    assert chat[-1]["content"] == "What are they?"


async def test_last_messages_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many messages a run wants to read, it reads as many as any run may."""
    monkeypatch.setattr(history, "MOST_MESSAGES", 2)
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, up):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "1", "2", "3")
        await a_run(proxy, thread, assistant, truncation_strategy={"type": "last_messages", "last_messages": 2**40})
        await settled(proxy)
        chat = sent(up)["messages"][1:]
    assert [each["content"] for each in chat] == ["2", "3"]


async def test_a_run_behind_one_that_is_still_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread whose last run is over, but not yet on a slow disk, is busy: 503 that may be tried again."""
    go = asyncio.Event()
    config = {"cancellation": {"confirm_timeout": "100ms"}}
    async with served(sse_stream(chat_events(1)), tmp_path, **config) as (proxy, _):
        assistant, thread = await an_assistant(proxy), await a_thread(proxy, "Hello")
        store = type(proxy.app.engine.conversations)
        real = store.end_message

        async def late(*args: Any, **values: Any) -> Any:
            await go.wait()
            return await real(*args, **values)

        monkeypatch.setattr(store, "end_message", late)
        body = {"assistant_id": assistant}
        async with RawClient(proxy.port) as client:
            await client.post(f"/v1/threads/{thread}/runs", {**body, "stream": True})
            await client.until(b"thread.message.delta")
            answer = await told(proxy, "POST", f"/threads/{thread}/runs", body)
            async with asyncio.timeout(PATIENCE):
                while answer.status == 400:  # its last words are still to come
                    answer = await told(proxy, "POST", f"/threads/{thread}/runs", body)
            go.set()
        await settled(proxy)
        again = await told(proxy, "POST", f"/threads/{thread}/runs", body)
    assert (answer.status, answer.header("Retry-After")) == (503, "1")
    assert again.status == 200


async def test_wrong_queries(tmp_path: Path) -> None:
    """A list refuses limits, orders and cursors that mean nothing."""
    async with served(sse_stream([]), tmp_path) as (proxy, _):
        thread = await a_thread(proxy)
        for query, param in (("limit=0", "limit"), ("limit=101", "limit"), ("order=up", "order"), ("after=x", "after")):
            for path in (f"/threads/{thread}/messages", f"/threads/{thread}/runs", "/assistants"):
                assert error_of(await told(proxy, "GET", f"{path}?{query}"), 400)["param"] == param


async def test_somebody_elses(tmp_path: Path) -> None:
    """Nobody else's objects are there for a caller, by no call."""
    mine, other = Ask("sk-mine"), Ask("sk-other")
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        assistant, thread = await an_assistant(proxy, mine), await a_thread(proxy, "Hello", who=mine)
        at = f"/threads/{thread}"
        run = (await ask(proxy, "POST", f"{at}/runs", {"assistant_id": assistant}, mine))["id"]
        await settled(proxy)
        calls = [
            ("GET", f"/assistants/{assistant}", {}),
            ("GET", at, {}),
            ("DELETE", at, {}),
            ("GET", f"{at}/messages", {}),
            ("POST", f"{at}/messages", {"role": "user", "content": "x"}),
            ("GET", f"{at}/runs", {}),
            ("POST", f"{at}/runs", {"assistant_id": assistant}),
            ("GET", f"{at}/runs/{run}", {}),
            ("GET", f"{at}/runs/{run}/steps", {}),
            ("POST", f"{at}/runs/{run}/cancel", b""),
            ("POST", f"{at}/runs/{run}/submit_tool_outputs", {"tool_outputs": []}),
        ]
        for method, path, body in calls:
            error = error_of(await told(proxy, method, path, body, other), 404)
            assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)
        elsewhere = await a_thread(proxy, who=mine)
        wrong = error_of(await told(proxy, "GET", f"/threads/{elsewhere}/runs/{run}", b"", mine), 404)
        assert (await ask(proxy, "GET", "/assistants", who=other))["data"] == []
    assert wrong["message"] == f"No run found with id '{run}'."


async def test_paths(tmp_path: Path) -> None:
    """Paths that are none, and methods that a path does not take, are refused in the API's shape."""
    async with served(sse_stream([]), tmp_path) as (proxy, _):
        assert error_of(await told(proxy, "GET", "/threads/thrd_1"), 404)["code"] == "not_found"
        assert error_of(await told(proxy, "GET", "/threads/thread_1/nothing"), 404)
        wrong = await told(proxy, "GET", "/threads/thread_1/runs/run_1/cancel")
    assert (error_of(wrong, 405)["code"], wrong.header("Allow")) == ("method_not_allowed", "POST")
