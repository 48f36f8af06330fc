"""A client of Anthropic's Messages API. Source of the schemas: its API reference."""

from typing import Any

from dialects.drivers.base import COUNT, TEXT, Driver, Event, Schema, an_object
from support.client import RawClient
from support.messages import BODY, MESSAGES, event, message_events
from support.proxy import RunningProxy
from support.stops import Ask


async def start(_proxy: RunningProxy, client: RawClient, ask: Ask, task_id: str) -> None:
    """See `Start`."""
    await client.post(MESSAGES, BODY, ask.headers(X_Task_Id=task_id))


def stop(task_id: str, _said: bytes) -> tuple[str, Any]:
    """See `Driver`."""
    return f"{MESSAGES}/{task_id}/cancel", b""


def text(events: list[Event]) -> str:
    """See `Driver`."""
    deltas = [event.data["delta"] for event in events if event.name == "content_block_delta"]
    return "".join(delta["text"] for delta in deltas)


def an_event(name: str, **fields: Schema) -> tuple[str, Schema]:
    """An event's name and schema."""
    return name, an_object(type={"const": name}, **fields)


ERROR = an_object(type={"const": "error"}, error=an_object(type=TEXT, message=TEXT))

DRIVER = Driver(
    name="anthropic",
    route={},
    posts=("/messages",),
    grammar=(
        "message_start (ping )*(content_block_start (content_block_delta |ping )*content_block_stop )*"
        "(content_block_start (content_block_delta |ping )*)?(message_delta message_stop |error )"
    ),
    ended={
        "completed": "content_block_stop message_delta message_stop $",
        "cancelled": "(content_block_stop |message_start )message_delta message_stop $",
        "failed": "error $",
    },
    schemas=dict(
        [
            an_event("message_start", message=an_object(id=TEXT, role={"const": "assistant"}, model=TEXT)),
            an_event("content_block_start", index=COUNT, content_block=an_object(type=TEXT)),
            an_event("content_block_delta", index=COUNT, delta=an_object(type=TEXT)),
            an_event("content_block_stop", index=COUNT),
            an_event(
                "message_delta",
                delta=an_object("stop_reason", "stop_sequence", stop_reason={"const": "end_turn"}),
                usage=an_object(output_tokens=COUNT),
            ),
            an_event("message_stop"),
            an_event("ping"),
            ("error", ERROR),
        ]
    ),
    error=ERROR,
    start=start,
    stop=stop,
    text=text,
    passes=True,
    upstream={"format": "anthropic"},
    says=message_events,
    fails=event("error", error={"type": "overloaded_error", "message": "gone wrong"}),
)
