"""A client of Gemini's API. Source of the schemas: Google's API reference."""

from typing import Any

from dialects.drivers.base import COUNT, TEXT, Driver, Event, Schema, an_object
from support.client import RawClient
from support.gemini import BODY, STREAM, answer_events
from support.proxy import RunningProxy
from support.stops import Ask


async def start(_proxy: RunningProxy, client: RawClient, ask: Ask, task_id: str) -> None:
    """See `Start`."""
    await client.post(f"{STREAM}?alt=sse", BODY, ask.headers(X_Task_Id=task_id))


def stop(task_id: str, _said: bytes) -> tuple[str, Any]:
    """See `Driver`. The API has no stop of its own, and no path that one could have been added to."""
    return f"/v1/generations/{task_id}/cancel", b""


def text(events: list[Event]) -> str:
    """See `Driver`."""
    parts = [part for event in events for part in event.data["candidates"][0]["content"]["parts"]]
    return "".join(part["text"] for part in parts)


def says(words: int) -> list[bytes]:
    """See `Driver`."""
    return [event.replace(b"\r", b"") for event in answer_events(words)]


COUNTS: Schema = an_object("promptTokenCount", promptTokenCount=COUNT, candidatesTokenCount=COUNT)
ERROR = an_object(error=an_object(code=COUNT, message=TEXT, status=TEXT))

DRIVER = Driver(
    name="gemini",
    records="openai",
    route={"dialect": "openai"},
    posts=("/models/m:generateContent", "/models/m:streamGenerateContent"),
    grammar="(answer )+(error )?",
    ended={"completed": "answer $", "cancelled": "answer $", "failed": "error $"},
    schemas={
        "answer": an_object(
            "candidates",
            candidates={"type": "array", "minItems": 1, "items": an_object("content", finishReason={"const": "STOP"})},
            usageMetadata=COUNTS,
            responseId=TEXT,
            modelVersion=TEXT,
        ),
        "error": ERROR,
    },
    error=ERROR,
    start=start,
    stop=stop,
    text=text,
    passes=True,
    upstream={"format": "gemini"},
    says=says,
)
