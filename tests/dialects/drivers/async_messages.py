"""A client of async messages. Sources of the schemas: PrivateGPT's API reference, Anthropic's Messages API."""

from typing import Any

from dialects.drivers.base import COUNT, TEXT, Driver, Event, Schema, an_object
from support.client import RawClient
from support.proxy import RunningProxy
from support.stops import Ask

ROOT = "/v1/messages/async"
ISO: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"}
BLOCK_ID: Schema = {"type": "string", "pattern": "^block_"}
NULL: Schema = {"type": "null"}
STOP_REASON: Schema = {"enum": ["end_turn", "max_tokens", "tool_use", "refusal", "cancelled"]}


async def start(proxy: RunningProxy, client: RawClient, ask: Ask, task_id: str) -> None:
    """See `Start`. The message is started by a call of its own, and read by another."""
    body: dict[str, Any] = {"model": "default", "max_tokens": 64, "messages": [{"role": "user", "content": "Tell me."}]}
    async with RawClient(proxy.port) as starter:
        await starter.post(f"{ROOT}?message_id=m-{task_id}", body, ask.headers(X_Task_Id=task_id))
        answer = await starter.answer()
    if answer.status != 200:  # this is what the caller gets instead of a stream
        client.buffer += answer.raw
        return
    await client.get(f"{ROOT}/m-{task_id}/stream", ask.headers())


def stop(task_id: str, _said: bytes) -> tuple[str, Any]:
    """See `Driver`."""
    return f"{ROOT}/m-{task_id}/cancel", b""


def text(events: list[Event]) -> str:
    """See `Driver`."""
    deltas = [event.data["delta"] for event in events if event.name == "content_block_delta"]
    return "".join(delta.get("text", "") for delta in deltas)


def an_event(name: str, **fields: Schema) -> tuple[str, Schema]:
    """An event's name and schema."""
    return name, an_object(type={"const": name}, **fields)


DRIVER = Driver(
    name="async_messages",
    route={"model": "scripted"},
    posts=("/messages/async",),
    grammar=(
        "message_start (ping |content_block_start (content_block_delta )*content_block_stop )*"
        "(content_block_start (content_block_delta )*)?(message_delta message_stop |error )"
    ),
    ended={
        "completed": "(content_block_stop |message_start )message_delta message_stop $",
        "cancelled": "(content_block_stop |message_start )message_delta message_stop $",
        "failed": "error $",
    },
    schemas=dict(
        [
            an_event(
                "message_start",
                message=an_object(
                    id={"type": "string", "pattern": "^msg_"},
                    type={"const": "message"},
                    role={"const": "assistant"},
                    content={"const": []},
                    model=TEXT,
                    stop_reason=NULL,
                    usage=an_object(input_tokens=COUNT, output_tokens=COUNT),
                ),
            ),
            an_event(
                "content_block_start",
                index=COUNT,
                block_id=BLOCK_ID,
                content_block=an_object(type={"enum": ["text", "thinking", "tool_use"]}, start_timestamp=ISO),
            ),
            an_event(
                "content_block_delta",
                index=COUNT,
                block_id=BLOCK_ID,
                delta=an_object(type={"enum": ["text_delta", "thinking_delta", "input_json_delta"]}),
            ),
            an_event("content_block_stop", index=COUNT, block_id=BLOCK_ID, stop_timestamp=ISO),
            an_event(
                "message_delta",
                delta=an_object(stop_reason=STOP_REASON, stop_sequence=NULL),
                usage=an_object("output_tokens", input_tokens=COUNT, output_tokens=COUNT),
            ),
            an_event("message_stop"),
            an_event("ping"),
            an_event(
                "error",
                error=an_object(type=TEXT, message=TEXT, detail=an_object(code=TEXT, explanation=TEXT)),
                request_id=TEXT,
                exception=an_object(type=TEXT, message=TEXT),
            ),
        ]
    ),
    error={"type": "object", "required": ["detail"]},
    start=start,
    stop=stop,
    text=text,
)
