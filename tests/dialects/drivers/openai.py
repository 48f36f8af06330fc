"""A client of OpenAI's chat completions."""

from typing import Any

from dialects.drivers.base import COUNT, TEXT, Driver, Event, an_object
from support.client import RawClient
from support.proxy import RunningProxy
from support.stops import STREAM, Ask


async def start(_proxy: RunningProxy, client: RawClient, ask: Ask, task_id: str) -> None:
    """See `Start`."""
    await client.post("/v1/chat/completions", STREAM, ask.headers(X_Task_Id=task_id))


def stop(task_id: str, _said: bytes) -> tuple[str, Any]:
    """See `Driver`."""
    return f"/v1/chat/completions/{task_id}/cancel", b""


def text(events: list[Event]) -> str:
    """See `Driver`."""
    chunks = [event.data for event in events if event.name == "chat.completion.chunk"]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


DRIVER = Driver(
    name="openai",
    route={},
    posts=("/chat/completions", "/completions", "/embeddings", "/responses"),
    grammar=r"(chat\.completion\.chunk )+(\[DONE\] |error )",
    ended={"completed": r"\[DONE\] $", "cancelled": r"\[DONE\] $", "failed": "error $"},
    schemas={
        "chat.completion.chunk": an_object(
            id=TEXT,
            object={"const": "chat.completion.chunk"},
            created=COUNT,
            model=TEXT,
            choices={"type": "array", "items": an_object("index", index=COUNT)},
        ),
        "error": an_object(error=an_object(message=TEXT, type=TEXT, code=TEXT)),
    },
    error=an_object(error=an_object("message", "type", "code", "param", message=TEXT, type=TEXT)),
    start=start,
    stop=stop,
    text=text,
    passes=True,
)
