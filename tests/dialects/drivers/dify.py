"""A client of a Dify completion app."""

from typing import Any

from dialects.drivers.base import COUNT, TEXT, UUID, Driver, Event, Schema, an_object
from support.client import RawClient
from support.proxy import RunningProxy
from support.stops import Ask

PRICE: Schema = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}
USAGE = an_object(
    prompt_tokens=COUNT,
    prompt_unit_price=PRICE,
    prompt_price_unit=PRICE,
    prompt_price=PRICE,
    completion_tokens=COUNT,
    completion_unit_price=PRICE,
    completion_price_unit=PRICE,
    completion_price=PRICE,
    total_tokens=COUNT,
    total_price=PRICE,
    currency=TEXT,
    latency={"type": "number", "minimum": 0},
)
MESSAGE = {"message_id": UUID, "id": UUID, "task_id": TEXT, "created_at": COUNT}


async def start(_proxy: RunningProxy, client: RawClient, ask: Ask, task_id: str) -> None:
    """See `Start`."""
    body: dict[str, Any] = {
        "inputs": {},
        "query": "Tell me.",
        "user": "ann",
        "response_mode": "streaming",
        "files": None,
    }
    await client.post("/v1/completion-messages", body, ask.headers(X_Task_Id=task_id))


def stop(task_id: str, _said: bytes) -> tuple[str, Any]:
    """See `Driver`."""
    return f"/v1/completion-messages/{task_id}/stop", {"user": "ann"}


def text(events: list[Event]) -> str:
    """See `Driver`."""
    return "".join(event.data["answer"] for event in events if event.name == "message")


DRIVER = Driver(
    name="dify",
    route={"model": "scripted"},
    posts=("/completion-messages", "/chat-messages", "/workflows/run", "/completion-messages/t-1/stop"),
    grammar="(message )*(message_end |error )",
    ended={"completed": "message_end $", "cancelled": "message_end $", "failed": "error $"},
    schemas={
        "message": an_object(event={"const": "message"}, answer=TEXT, **MESSAGE),
        "message_end": an_object(
            event={"const": "message_end"}, metadata=an_object(usage=USAGE), files={"type": "null"}, **MESSAGE
        ),
        "error": an_object(
            event={"const": "error"}, message_id=UUID, created_at=COUNT, code=TEXT, message=TEXT, status=COUNT
        )
        | {"not": {"required": ["task_id"]}},
    },
    error=an_object(code=TEXT, message=TEXT, status=COUNT),
    start=start,
    stop=stop,
    text=text,
)
