"""The wire format of the Responses API: recordings of real servers, and events as the API documents them."""

import json
from typing import Any

import pytest

from proxy.core.partial import Partial
from proxy.core.sse import events, slices
from proxy.core.usage import Usage
from proxy.wire.openai_responses import OpenAIResponses
from support.openai_types import check_event
from support.recordings import recorded

WIRE = OpenAIResponses()
ID = "resp_1"
RECORDINGS = ("llama-responses", "transformers-responses")


def event(kind: str, number: int, **fields: Any) -> bytes:
    """One event as OpenAI sends it."""
    data = json.dumps({"type": kind, "sequence_number": number, **fields})
    return f"event: {kind}\ndata: {data}\n\n".encode()


def response(status: str, **fields: Any) -> dict[str, Any]:
    """A response as an upstream shows it."""
    known = {"id": ID, "object": "response", "created_at": 7, "model": "m", "output": [], "metadata": {"a": "b"}}
    return {**known, "status": status, **fields}


def text_delta(number: int, text: str, index: int = 0) -> bytes:
    """A delta of text."""
    return event(
        "response.output_text.delta", number, item_id=f"msg_{index}", output_index=index, content_index=0, delta=text
    )


def item(number: int, kind: str, index: int, fields: dict[str, Any]) -> bytes:
    """An item begins or ends."""
    return event(f"response.output_item.{kind}", number, output_index=index, item=fields)


MESSAGE: dict[str, Any] = {
    "id": "msg_0",
    "type": "message",
    "role": "assistant",
    "status": "in_progress",
    "content": [],
}
BEGUN = event("response.created", 0, response=response("in_progress")) + item(1, "added", 0, MESSAGE)


def folded(*blocks: bytes) -> Partial:
    """What blocks make."""
    partial = Partial()
    for block in blocks:
        WIRE.fold(block, partial)
    return partial


def facts(partial: Partial) -> tuple[Any, ...]:
    """All facts of a partial, to compare: texts are kept in pieces that depend on the cut."""
    names = [name for name in Partial.__slots__ if name != "choices"]
    return (*(getattr(partial, name) for name in names), partial.text(), partial.reasoning(), partial.tool_calls())


def closing(partial: Partial) -> list[dict[str, Any]]:
    """The events that end a stopped stream, each as its types say."""
    frames = WIRE.closing(
        partial, finish_reason="stop", usage=None, comment="c", answer_id="a-b", model="asked", created=9
    )
    found = []
    for each in events(frames):
        data = json.loads(each.data)
        assert each.type == data["type"]
        check_event(data)
        found.append(data)
    return found


@pytest.mark.parametrize("name", RECORDINGS)
def test_real_servers(name: str) -> None:
    """A real server's stream folds to its own final text, counts, id and model, and is whole."""
    body = recorded(name)
    partial = folded(body)
    last = json.loads(events(body)[-1].data)["response"]
    assert partial.text() == last["output"][0]["content"][0]["text"]
    usage = last["usage"]
    assert partial.usage is not None
    assert (partial.usage.prompt_tokens, partial.usage.completion_tokens) == (
        usage["input_tokens"],
        usage["output_tokens"],
    )
    assert (partial.upstream_id, partial.upstream_model) == (last["id"], last["model"])
    assert (partial.terminal, partial.bad_events, partial.complete(eof_clean=True)) == (True, 0, True)
    assert WIRE.peek_id(body[:600]) == last["id"]


@pytest.mark.parametrize("name", RECORDINGS)
def test_any_cut_gives_the_same_fold(name: str) -> None:
    """However a stream is cut at its events' borders, the fold is the same."""
    body = recorded(name)
    whole, pieces = facts(folded(body)), [raw for raw, _ in slices(body)]
    assert facts(folded(*pieces)) == whole
    for at in range(len(pieces)):
        assert facts(folded(b"".join(pieces[:at]), b"".join(pieces[at:]))) == whole


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_stop_anywhere(name: str) -> None:
    """Stopped after any event, a stream ends with the response as far as it came and the next sequence number."""
    pieces = [raw for raw, _ in slices(recorded(name))]
    for at in range(1, len(pieces) - 1):
        partial = folded(b"".join(pieces[:at]))
        *_, last = closing(partial)
        text = "".join(part["text"] for each in last["response"]["output"] for part in each["content"])
        assert (last["type"], text) == ("response.cancelled", partial.text())
        numbers = [json.loads(each.data).get("sequence_number") for each in events(b"".join(pieces[:at]))]
        assert last["sequence_number"] == (len(numbers) if None in numbers else max(numbers) + 1)
    assert closing(folded(b"".join(pieces))) == []


def test_a_stop_keeps_what_the_upstream_said_of_the_response() -> None:
    """The cancelled response has the upstream's own fields and items, what was open is incomplete."""
    partial = folded(BEGUN, text_delta(2, "Hel"), text_delta(3, "lo"))
    (last,) = closing(partial)
    assert last["sequence_number"] == 4
    found = last["response"]
    assert (found["id"], found["model"], found["created_at"], found["metadata"]) == (ID, "m", 7, {"a": "b"})
    assert (found["output"][0]["id"], found["output"][0]["status"]) == ("msg_0", "incomplete")


def test_a_stop_before_the_first_event() -> None:
    """A stream that had not begun begins and ends, under an id of ours: clients want `response.created` first."""
    first, last = closing(Partial())
    assert (first["type"], last["type"]) == ("response.created", "response.cancelled")
    assert (first["sequence_number"], last["sequence_number"]) == (0, 1)
    assert (last["response"]["id"], last["response"]["model"], last["response"]["created_at"]) == (
        "resp_ab",
        "asked",
        9,
    )


def test_items_of_every_kind() -> None:
    """Reasoning, text, refusals, calls and tools of the server's own come back in the cancelled response."""
    call = {
        "id": "fc_2",
        "type": "function_call",
        "call_id": "c",
        "name": "f",
        "arguments": "",
        "status": "in_progress",
    }
    search = {
        "id": "ws_3",
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": "q"},
    }
    thought = {"id": "rs_0", "type": "reasoning", "summary": [], "status": "completed"}
    arguments = event("response.function_call_arguments.delta", 7, item_id="fc_2", output_index=2, delta='{"x"')
    partial = folded(
        item(0, "added", 0, thought),
        event("response.reasoning_summary_text.delta", 1, output_index=0, summary_index=0, delta="So "),
        event("response.reasoning_summary_text.delta", 2, output_index=0, summary_index=0, delta="far"),
        event("response.reasoning_text.delta", 3, output_index=0, content_index=0, delta="Hm"),
        item(3, "added", 1, {**MESSAGE, "id": "msg_1"}),
        text_delta(4, "I ", 1),
        event("response.refusal.delta", 5, output_index=1, content_index=1, delta="won't"),
        item(6, "added", 2, call) + arguments,
        item(8, "done", 3, search),
    )
    assert (partial.text(), partial.refusal(), partial.reasoning()) == ("I ", "won't", "So farHm")
    assert partial.tool_calls() == [("c", "f", '{"x"'), ("ws_3", "", "q")]
    *_, last = closing(partial)
    first, message, function, own = last["response"]["output"]
    assert (first["summary"][0]["text"], first["content"][0]["text"]) == ("So far", "Hm")
    assert [part["type"] for part in message["content"]] == ["output_text", "refusal"]
    assert (function["arguments"], function["status"]) == ('{"x"', "incomplete")
    assert own == search


def call_item(kind: str, **fields: Any) -> dict[str, Any]:
    """A call of a tool, begun."""
    return {"id": "call_0", "type": kind, "status": "in_progress", **fields}


MCP = call_item("mcp_call", name="roll", server_label="dice", arguments="")
CODE = call_item("code_interpreter_call", code="", container_id="c", outputs=None)
SHELL = call_item("shell_call", call_id="c", action={"commands": []}, environment=None)


def delta_of(kind: str, delta: Any, **fields: Any) -> bytes:
    """A delta of the call."""
    return event(f"response.{kind}.delta", 2, output_index=0, delta=delta, **fields)


@pytest.mark.parametrize(
    ("begun", "grows", "whole"),
    [
        (MCP, "mcp_call_arguments", {"arguments": '{"sides":6}', "output": "4"}),
        (CODE, "code_interpreter_call_code", {"code": '{"sides":6}', "outputs": [{"type": "logs", "logs": "4"}]}),
        (call_item("custom_tool_call", name="roll", input=""), "custom_tool_call_input", {"input": '{"sides":6}'}),
        (SHELL, "shell_call_command", {"action": {"commands": ['{"sides":6}']}}),
    ],
    ids=["mcp", "code interpreter", "custom", "shell"],
)
def test_calls_that_the_model_writes_count(begun: dict[str, Any], grows: str, whole: dict[str, Any]) -> None:
    """A call counts as it is written, once, though its item repeats it; of an item alone it is taken from there."""
    name = begun.get("name", "")
    deltas = [delta_of(grows, '{"sides"', item_id="call_0"), delta_of(grows, ":6}", item_id="call_0")]
    stopped = folded(item(0, "added", 0, begun), *deltas)
    assert [call[1:] for call in stopped.tool_calls()] == [(name, '{"sides":6}')]
    done = item(4, "done", 0, {**begun, **whole, "status": "completed"})
    ended = response("completed", output=[{**begun, **whole, "status": "completed"}])
    for blocks in ([*deltas, done], [done], [*deltas, done, event("response.completed", 5, response=ended)]):
        partial = folded(item(0, "added", 0, begun), *blocks)
        assert partial.tool_calls()[0][1:] == (name, '{"sides":6}')
        assert partial.counted_characters == len(name) + len('{"sides":6}')
    only_end = folded(event("response.completed", 0, response=ended))
    assert only_end.counted_characters == len(name) + len('{"sides":6}')


@pytest.mark.parametrize(("begun", "field", "grows"), [
    (MCP, "arguments", "mcp_call_arguments"),
    (CODE, "code", "code_interpreter_call_code"),
])  # fmt: skip
def test_a_stop_shows_what_was_written_of_a_call(begun: dict[str, Any], field: str, grows: str) -> None:
    """The cancelled response has a tool call of the provider's as far as it came."""
    partial = folded(BEGUN, item(2, "added", 1, begun), event(f"response.{grows}.delta", 3, output_index=1, delta="ab"))
    (last,) = closing(partial)
    assert last["response"]["output"][1][field] == "ab"


def test_calls_that_come_whole_count() -> None:
    """Of each tool of the provider's counts what the model asked of it, and nothing of what it gave back."""
    patch = {"type": "update_file", "path": "a", "diff": "+b"}
    calls: dict[str, tuple[dict[str, Any], str]] = {
        "web_search_call": ({"action": {"type": "search", "query": "q", "sources": [{"url": "u"}]}}, "q"),
        "file_search_call": ({"queries": ["one", "two"], "results": [{"text": "found"}]}, "one\ntwo"),
        "local_shell_call": ({"action": {"type": "exec", "command": ["ls", "-l"], "env": {}}}, "ls\n-l"),
        "apply_patch_call": ({"operation": patch}, json.dumps(patch, separators=(",", ":"))),
        "mcp_approval_request": ({"name": "f", "arguments": "{}"}, "{}"),
        "image_generation_call": ({"result": "aGVsbG8=", "revised_prompt": "A cat."}, "A cat."),
        "computer_call": ({"action": {"type": "wait"}}, '{"type":"wait"}'),
    }
    partial = folded(*(item(n, "done", n, {"type": kind, **calls[kind][0]}) for n, kind in enumerate(calls)))
    assert [arguments for *_, arguments in partial.tool_calls()] == [expected for _, expected in calls.values()]


def test_what_tools_give_back_does_not_count() -> None:
    """Outputs, lists of tools, pictures and sound are not written by the model."""
    partial = folded(
        delta_of("shell_call_output_content", {"stdout": "out"}, command_index=0, item_id="x"),
        delta_of("audio", "aGVsbG8="),
        event("response.image_generation_call.partial_image", 3, output_index=0, partial_image_b64="aGVsbG8="),
        item(4, "done", 0, {"type": "mcp_list_tools", "tools": [{"name": "f"}]}),
        item(5, "done", 1, {"type": "function_call_output", "output": "out"}),
        item(6, "done", 2, {"type": "shell_call_output", "output": [{"stdout": "out"}]}),
    )
    assert partial.counted_characters == 0
    assert folded(delta_of("audio.transcript", "Hello")).text() == "Hello"


def test_a_call_is_counted_once_behind_a_stop() -> None:
    """Where an upstream is read on, the item that repeats a call begun before the stop adds nothing."""
    before = folded(item(0, "added", 0, MCP), delta_of("mcp_call_arguments", "{}"))
    further = before.counting_on()
    WIRE.fold(item(3, "done", 0, {**MCP, "arguments": "{}"}), further)
    assert further.counted_characters == before.counted_characters


@pytest.mark.parametrize(
    ("kind", "fields", "complete", "reason"),
    [
        ("completed", {}, True, "completed"),
        ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}, True, "max_output_tokens"),
        ("failed", {"error": {"code": "server_error", "message": "Oh."}}, False, "failed"),
    ],
)
def test_the_ends(kind: str, fields: dict[str, Any], complete: bool, reason: str) -> None:
    """Each terminal event ends the answer; one that failed is not whole. Nothing is added behind it."""
    partial = folded(BEGUN, text_delta(2, "a"), event(f"response.{kind}", 3, response=response(kind, **fields)))
    assert (partial.terminal, partial.complete(eof_clean=False)) == (True, complete)
    assert partial.finish_reasons == {0: reason}
    assert (partial.error is None) == complete
    assert closing(partial) == []


def test_an_end_without_deltas() -> None:
    """Of a server that streams nothing but its end, the text and the counts are taken from there."""
    message = {**MESSAGE, "status": "completed", "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}
    usage = {"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 3}}
    partial = folded(event("response.completed", 0, response=response("completed", output=[message], usage=usage)))
    assert partial.text() == "Hi"
    assert partial.usage == Usage(1, 2, None, 3)


@pytest.mark.parametrize(
    "error",
    [
        event("error", 4, code="rate_limit", message="Slow down.", param=None),
        event("error", 4, error={"code": "rate_limit", "message": "Slow down.", "type": "t"}),
        b'data: {"error": {"code": "rate_limit", "message": "Slow down."}}\n\n',
    ],
)
def test_error_events(error: bytes) -> None:
    """An error in the stream is noted, in each of the shapes that servers send."""
    partial = folded(BEGUN, error)
    assert partial.error is not None
    assert (partial.error.message, partial.error.code) == ("Slow down.", "rate_limit")
    assert not partial.complete(eof_clean=True)


def test_our_own_error_event() -> None:
    """What breaks on the way is told as the API's error event, with the next number."""
    (found,) = events(WIRE.error_frame(folded(BEGUN), "Broken.", "upstream_error", "upstream_reset"))
    data = json.loads(found.data)
    check_event(data)
    assert (data["sequence_number"], data["code"], data["message"]) == (2, "upstream_reset", "Broken.")


def test_what_is_no_event() -> None:
    """No bytes make it raise; what is no JSON object is counted, an odd field loses nothing beside it."""
    odd = (
        *(b"data: {}\n\n", b"data: []\n\n", b"data: nonsense\n\n", b'data: {"type": 7}\n\n', b"data:\n\n"),
        *(
            event("response.created", 0, response=7),
            item(0, "added", 0, {"id": [], "type": {}}),
            event("response.completed", 0),
        ),
        event("response.output_text.delta", -1, output_index="x", content_index=None, delta="a"),
        event("response.output_item.added", 0, item=None),
    )
    for each in odd:
        WIRE.peek_id(each)
        WIRE.closing(folded(each), finish_reason="stop", usage=None, comment="c")
    partial = folded(*odd)
    assert (partial.bad_events, partial.text()) == (2, "a")


@pytest.mark.parametrize(
    ("body", "text", "complete"),
    [
        (recorded("llama-responses-plain"), " bisa", True),
        (json.dumps(response("queued")).encode(), "", True),
        (json.dumps(response("failed", error={"code": "server_error", "message": "Oh."})).encode(), "", False),
        (b'{"error": {"message": "Oh."}}', "", False),
        (b"nonsense", "", False),
    ],
)
def test_whole_answers(body: bytes, text: str, complete: bool) -> None:
    """A whole response gives its text and counts; it is whole once its body has ended, be it that it is only queued."""
    partial = Partial()
    WIRE.fold_answer(body, partial)
    assert partial.text().startswith(text)
    assert partial.complete(eof_clean=True) == complete
    assert not partial.terminal
