"""The dialect `dify`: what its apps say of a generation, and its error object."""

import json
from decimal import Decimal
from typing import Any

import pytest

from proxy.core.conversation import MessageStatus
from proxy.core.deltas import DeltaPartial
from proxy.core.errors import Refusal, Source, UpstreamErrorKind
from proxy.core.generation import Facts, Identity, Priced
from proxy.core.lifecycle import OUTCOME_OF, Cause, Outcome
from proxy.core.prices import Price, frozen
from proxy.core.usage import Usage
from proxy.dialects.dify.errors import code_of, refused
from proxy.dialects.dify.frames import PING
from proxy.dialects.dify.translation import MessageTranslation
from proxy.dialects.dify.turn import Turn
from proxy.dialects.dify.workflow import WorkflowTranslation
from proxy.engine.translating.translation import Over
from support.dify import said

FACTS = Facts(
    uid="u-1",
    task_id="t-1",
    message_id="m-1",
    identity=Identity("acme", "acme"),
    dialect="dify",
    route="/v1",
    upstream="up",
    model="m",
    user="ann",
    tags={},
    replica="one",
    started_wall=1_700_000_000.9,
    started=5.0,
)
TURN = Turn("Hi", {"language": "French"})
HEAD = {"message_id": "m-1", "created_at": 1_700_000_000, "task_id": "t-1", "id": "m-1"}
USAGE = {
    "prompt_tokens": 7,
    "prompt_unit_price": "0",
    "prompt_price_unit": "0",
    "prompt_price": "0",
    "completion_tokens": 2,
    "completion_unit_price": "0",
    "completion_price_unit": "0",
    "completion_price": "0",
    "total_tokens": 9,
    "total_price": "0",
    "currency": "USD",
    "latency": 1.235,
}
BROKEN = Refusal.upstream(UpstreamErrorKind.RESET)


def grown(*pieces: str) -> DeltaPartial:
    """An answer that came in these pieces."""
    partial = DeltaPartial()
    for piece in pieces:
        partial.add_content(0, piece)
    return partial


def over(
    partial: DeltaPartial,
    cause: Cause | None = None,
    refusal: Refusal | None = None,
    *,
    priced: Priced | None = None,
    counted: Usage | None = None,
) -> Over:
    """The end of an answer: complete, stopped by a cause, or failed."""
    outcome = Outcome.COMPLETED if cause is None else OUTCOME_OF[cause]
    return Over(
        outcome=Outcome.FAILED if refusal else outcome,
        cause=cause,
        refusal=refusal,
        usage=counted or Usage(7, 2),
        partial=partial,
        elapsed=1.2346,
        wall=1_700_000_002.7,
        priced=priced or Priced(),
    )


def test_ping_is_two_lines_every_ten_seconds() -> None:
    """The ping has a name and no data, and comes by the clock, however busy the stream is."""
    assert (PING.every, PING.frame, PING.idle) == (10.0, b"event: ping\n\n", False)
    assert MessageTranslation("chat", TURN).keep_alive is WorkflowTranslation(TURN).keep_alive is PING


def test_completion_events() -> None:
    """Each piece of text is a message, one for one; the end has the usage, and nothing comes before the text."""
    translation, partial = MessageTranslation("completion", TURN), grown("Hel", "lo \N{GRINNING FACE}\n\0")
    assert translation.begin(FACTS) == translation.answered(0.0) == b""
    assert said(translation.deltas(partial.take_deltas(), 0.0)) == [
        {"event": "message", **HEAD, "answer": "Hel"},
        {"event": "message", **HEAD, "answer": "lo \N{GRINNING FACE}\n\0"},
    ]
    metadata = {"usage": USAGE, "retriever_resources": []}
    end = {"event": "message_end", **HEAD, "metadata": metadata, "files": None}
    assert said(translation.ending(over(partial))) == [end]


def test_only_text_is_said() -> None:
    """Reasoning, tool calls, empty pieces and the finish reason are no message."""
    translation, partial = MessageTranslation("completion", TURN), grown("")
    translation.begin(FACTS)
    partial.add_reasoning(0, "Hm.")
    partial.add_tool_call(0, 0, ident="c", name="f", arguments="{}")
    partial.finish(0, "stop")
    assert translation.deltas(partial.take_deltas(), 0.0) == b""


def test_chat_events_carry_the_conversation() -> None:
    """Every event of a chat has its conversation's id, the error too, which has no task id."""
    translation, partial = MessageTranslation("chat", TURN, "c-1"), grown("Hi")
    translation.begin(FACTS)
    stream = translation.deltas(partial.take_deltas(), 0.0) + translation.ending(over(partial))
    stream += translation.ending(over(partial, refusal=BROKEN))
    found = said(stream)
    assert [event["event"] for event in found] == ["message", "message_end", "error"]
    assert {event["conversation_id"] for event in found} == {"c-1"}
    assert found[-1] == {
        "event": "error",
        "conversation_id": "c-1",
        "message_id": "m-1",
        "created_at": 1_700_000_000,
        "code": "completion_request_error",
        "message": BROKEN.message,
        "status": 400,
    }


@pytest.mark.parametrize(
    ("cause", "reason"),
    [(Cause.CLIENT, "user_manual"), (Cause.OPERATOR, "operator"), (Cause.SHUTDOWN, "shutdown")],
)
def test_stopped_message_ends_like_a_complete_one(cause: Cause, reason: str) -> None:
    """The end of a stopped message differs from a complete one's by our key in its metadata only."""
    translation, partial = MessageTranslation("completion", TURN), grown("Hel")
    translation.begin(FACTS)
    (complete,), (stopped,) = said(translation.ending(over(partial))), said(translation.ending(over(partial, cause)))
    assert stopped["metadata"].pop("stop_reason") == reason
    assert stopped == complete


def test_blocking_answer() -> None:
    """A blocking answer is the whole message with its mode."""
    translation = MessageTranslation("chat", TURN, "c-1")
    translation.begin(FACTS)
    assert json.loads(translation.answer(over(grown("Hel", "lo")))) == {
        "event": "message",
        **HEAD,
        "conversation_id": "c-1",
        "mode": "chat",
        "answer": "Hello",
        "metadata": {"usage": USAGE, "retriever_resources": []},
    }


@pytest.mark.parametrize(
    ("cause", "refusal", "status"),
    [
        (None, None, MessageStatus.COMPLETED),
        (Cause.CLIENT, None, MessageStatus.CANCELLED),
        (Cause.DISCONNECT, None, MessageStatus.CANCELLED),
        (None, BROKEN, MessageStatus.FAILED),
    ],
)
def test_what_is_kept(cause: Cause | None, refusal: Refusal | None, status: MessageStatus) -> None:
    """The message is kept as far as it came, with its turn; its metadata, where feedback is, stays as it is."""
    ending = over(grown("Hel"), cause, refusal)
    for translation in (MessageTranslation("chat", TURN, "c-1"), WorkflowTranslation(TURN)):
        stored = translation.stored(ending)
        error = {} if refusal is None else {"error": refusal.message}
        assert (stored.status, stored.text, stored.metadata) == (status, "Hel", None)
        assert stored.content == {"query": "Hi", "inputs": {"language": "French"}, "files": [], **error}


def workflow(ending: Over) -> list[dict[str, Any]]:
    """All events of a workflow run that ends so."""
    translation = WorkflowTranslation(TURN)
    stream = translation.begin(FACTS) + translation.answered(0.0)
    assert isinstance(ending.partial, DeltaPartial)
    stream += translation.deltas(ending.partial.take_deltas(), 0.0)
    return said(stream + translation.ending(ending))


def test_workflow_events() -> None:
    """A run says its start and its node's start at once, then each piece of text, then the ends of node and run."""
    partial = grown("Hel", "lo")
    partial.finish(0, "stop")
    started, node_started, first, second, node_finished, finished = workflow(over(partial))
    head = {"task_id": "t-1", "workflow_run_id": "m-1"}
    created = {"created_at": 1_700_000_000}
    run = {"id": "m-1", "workflow_id": started["data"]["workflow_id"], **created}
    node = {
        "id": node_started["data"]["id"],
        "node_id": "llm",
        "node_type": "llm",
        "title": "LLM",
        "index": 1,
        "predecessor_node_id": None,
        "inputs": {"language": "French"},
        **created,
    }
    result = {"status": "succeeded", "error": None, "elapsed_time": 1.235, "finished_at": 1_700_000_002}
    assert started == {"event": "workflow_started", **head, "data": {**run, "inputs": {"language": "French"}}}
    assert node_started == {"event": "node_started", **head, "data": node}
    selector = {"from_variable_selector": ["llm", "text"]}
    assert first == {"event": "text_chunk", **head, "data": {"text": "Hel", **selector}}
    assert second == {"event": "text_chunk", **head, "data": {"text": "lo", **selector}}
    assert node_finished == {
        "event": "node_finished",
        **head,
        "data": {
            **node,
            **result,
            "process_data": None,
            "outputs": {"text": "Hello", "usage": USAGE, "finish_reason": "stop"},
            "execution_metadata": {"total_tokens": 9, "total_price": "0", "currency": "USD"},
            "files": [],
        },
    }
    outputs = {"outputs": {"text": "Hello"}, "total_tokens": 9, "total_steps": 1, "files": []}
    assert finished == {"event": "workflow_finished", **head, "data": {**run, **result, **outputs}}


@pytest.mark.parametrize("cause", [Cause.CLIENT, Cause.OPERATOR])
def test_stopped_workflow(cause: Cause) -> None:
    """A stopped run and its node have the status `stopped`, Dify's words for it, and the text so far."""
    *_, node_finished, finished = workflow(over(grown("Hel"), cause))
    for event in (node_finished, finished):
        assert (event["data"]["status"], event["data"]["error"]) == ("stopped", "Stopped by user.")
        assert event["data"]["outputs"]["text"] == "Hel"


def test_workflow_that_the_server_stopped() -> None:
    """A run that nobody asked to stop does not say that its user did."""
    for cause in (Cause.SHUTDOWN, Cause.BUDGET):
        finished = workflow(over(grown("Hel"), cause))[-1]
        assert finished["data"]["status"] == "stopped"
        assert "user" not in finished["data"]["error"]


def test_failed_workflow() -> None:
    """A run that failed says so in its node and in its end, with the reason and without outputs."""
    *_, node_finished, finished = workflow(over(grown("Hel"), refusal=BROKEN))
    for event in (node_finished, finished):
        assert (event["data"]["status"], event["data"]["error"]) == ("failed", BROKEN.message)
        assert event["data"]["outputs"] == {}


def test_blocking_workflow() -> None:
    """A blocking run answers with its ids and the data of its end."""
    translation = WorkflowTranslation(TURN)
    translation.begin(FACTS)
    found = json.loads(translation.answer(over(grown("Hello"))))
    assert (found["task_id"], found["workflow_run_id"]) == ("t-1", "m-1")
    assert set(found["data"]) == {
        *("id", "workflow_id", "status", "outputs", "error", "elapsed_time"),
        *("total_tokens", "total_steps", "created_at", "finished_at"),
    }
    assert (found["data"]["status"], found["data"]["outputs"]) == ("succeeded", {"text": "Hello"})


def upstream(status: int) -> Refusal:
    """An upstream's own refusal, as the engine passes it on."""
    code = "upstream_error" if status >= 500 else "rejected_upstream"
    return Refusal(status, code, f"The upstream answered {status}.", source=Source.UPSTREAM)


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (Refusal.bad_request("invalid_param", "x"), 400, "invalid_param"),
        (Refusal.bad_request("invalid_task_id", "x", "X-Task-Id"), 400, "invalid_param"),
        (Refusal.bad_request("task_id_in_use", "x", "X-Task-Id"), 400, "task_id_in_use"),
        (Refusal.bad_request("invalid_json", "x"), 400, "bad_request"),
        (Refusal.bad_request("duplicate_key", "x"), 400, "bad_request"),
        (Refusal.bad_request("provider_not_initialize", "x"), 400, "provider_not_initialize"),
        (Refusal.unauthorized(), 401, "unauthorized"),
        (Refusal(403, "path_not_allowed", "x"), 403, "forbidden"),
        (Refusal.not_found(), 404, "not_found"),
        (Refusal(405, "method_not_allowed", "x"), 405, "method_not_allowed"),
        (Refusal.body_timeout(), 408, "request_timeout"),
        (Refusal.too_large(1), 413, "file_too_large"),
        (Refusal.too_many(1), 429, "too_many_requests"),
        (Refusal.cancelled(), 499, "generation_cancelled"),
        (Refusal.internal(), 500, "internal_server_error"),
        (Refusal.overloaded(5), 503, "overloaded"),
        (upstream(400), 400, "completion_request_error"),
        (upstream(401), 400, "provider_not_initialize"),
        (upstream(403), 400, "provider_not_initialize"),
        (upstream(402), 400, "provider_quota_exceeded"),
        (upstream(404), 400, "model_currently_not_support"),
        (upstream(429), 400, "provider_quota_exceeded"),
        (upstream(500), 400, "completion_request_error"),
        *((Refusal.upstream(kind), 400, "completion_request_error") for kind in UpstreamErrorKind),
    ],
)
def test_error_codes(refusal: Refusal, status: int, code: str) -> None:
    """Each refusal has one of Dify's codes where it has one, and its status in body and answer alike."""
    reply = refused(refusal)
    found = json.loads(reply.body)
    assert (reply.status, found["status"], found["code"]) == (status, status, code)
    assert code_of(refusal) == (status, code)
    assert found["message"] == refusal.message
    assert found.get("params") == refusal.param


def test_headers_of_errors() -> None:
    """A key that is none is told which scheme to use; when to try again stays."""
    assert dict(refused(Refusal.unauthorized()).headers)["WWW-Authenticate"] == 'Bearer realm="api"'
    assert dict(refused(Refusal.too_many(3)).headers)["Retry-After"] == "3"


PRICE = Price(
    Decimal("2.50"), Decimal(10), Decimal("1.25"), Decimal(10), Decimal("0.005"), currency="EUR", version="v", model="m"
)
CACHED = Usage(1000, 200, 400)


def usage_in(end: dict[str, Any]) -> dict[str, Any]:
    """The usage of an end, without counts and latency."""
    usage: dict[str, Any] = end["metadata"]["usage"]
    return {name: part for name, part in usage.items() if not name.endswith("tokens") and name != "latency"}


def test_prices_are_decimal_strings() -> None:
    """Unit prices are for a million tokens; the parts are those of prompt and answer, the total is the record's."""
    translation, partial = MessageTranslation("completion", TURN), grown("Hi")
    translation.begin(FACTS)
    priced = Priced(Decimal("0.009"), "EUR", frozen(PRICE))
    (end,) = said(translation.ending(over(partial, priced=priced, counted=CACHED)))
    assert usage_in(end) == {
        "prompt_unit_price": "2.5",
        "prompt_price_unit": "0.000001",
        "prompt_price": "0.002",
        "completion_unit_price": "10",
        "completion_price_unit": "0.000001",
        "completion_price": "0.002",
        "total_price": "0.009",
        "currency": "EUR",
    }


@pytest.mark.parametrize("cost", [None, Decimal(0)])
def test_what_costs_nothing_or_is_unknown_is_0(cost: Decimal | None) -> None:
    """A void stop and an unknown cost are "0" in every part, with the unit prices that are known."""
    translation, partial = MessageTranslation("completion", TURN), grown("Hi")
    translation.begin(FACTS)
    priced = Priced(cost, None if cost is None else "EUR", frozen(PRICE))
    (end,) = said(translation.ending(over(partial, Cause.CLIENT, priced=priced, counted=CACHED)))
    found = usage_in(end)
    assert (found["prompt_price"], found["completion_price"], found["total_price"]) == ("0", "0", "0")
    assert (found["prompt_unit_price"], found["currency"]) == ("2.5", "USD" if cost is None else "EUR")


def test_a_workflow_shows_its_price() -> None:
    """The node has the total beside its usage."""
    translation, partial = WorkflowTranslation(TURN), grown("Hi")
    translation.begin(FACTS)
    priced = Priced(Decimal("0.009"), "EUR", frozen(PRICE))
    node, _ = said(translation.ending(over(partial, priced=priced, counted=CACHED)))
    assert node["data"]["outputs"]["usage"]["total_price"] == "0.009"
    assert node["data"]["execution_metadata"] == {"total_tokens": 1200, "total_price": "0.009", "currency": "EUR"}
