"""A client of the Assistants API. Source of the schemas: OpenAI's API reference, Assistants v2, run and its events."""

import re
from typing import Any

from dialects.drivers.base import COUNT, TEXT, Driver, Event, Schema, an_object
from support.client import RawClient
from support.proxy import RunningProxy
from support.stops import Ask

NULL: Schema = {"type": "null"}
TIME: Schema = {"type": ["integer", "null"]}
THREAD: Schema = {"type": "string", "pattern": "^thread_[0-9a-f]{32}$"}
RUN_ID: Schema = {"type": "string", "pattern": "^run_[0-9a-f]{32}$"}
STEP: Schema = {"type": "string", "pattern": "^step_[0-9a-f]{32}$"}
MESSAGE: Schema = {"type": "string", "pattern": "^msg_[0-9a-f]{32}$"}
ASSISTANT: Schema = {"type": "string", "pattern": "^asst_[0-9a-f]{32}$"}
USAGE: Schema = {
    "anyOf": [NULL, an_object(prompt_tokens=COUNT, completion_tokens=COUNT, total_tokens=COUNT)],
}
ERROR: Schema = {"type": ["object", "null"], "required": ["code", "message"]}
BODY: dict[str, Any] = {"model": "scripted"}


def a_run(status: str) -> Schema:
    """The schema of a run in a status: its 25 keys."""
    return an_object(
        id=RUN_ID,
        object={"const": "thread.run"},
        created_at=COUNT,
        thread_id=THREAD,
        assistant_id=ASSISTANT,
        status={"const": status},
        required_action={"type": ["object", "null"]},
        last_error=ERROR if status != "failed" else {"type": "object"},
        expires_at=TIME,
        started_at=TIME,
        cancelled_at=COUNT if status == "cancelled" else NULL,
        failed_at=COUNT if status == "failed" else NULL,
        completed_at=COUNT if status == "completed" else NULL,
        incomplete_details={"type": ["object", "null"]},
        model=TEXT,
        instructions=TEXT,
        tools={"type": "array"},
        metadata={"type": "object"},
        usage=USAGE,
        max_prompt_tokens=TIME,
        max_completion_tokens=TIME,
        truncation_strategy={"type": "object"},
        tool_choice=TEXT,
        parallel_tool_calls={"type": "boolean"},
        response_format=TEXT,
    )


def a_step(status: str) -> Schema:
    """The schema of a step in a status."""
    times = ("expired_at", "cancelled_at", "failed_at", "completed_at")
    return an_object(
        id=STEP,
        object={"const": "thread.run.step"},
        run_id=RUN_ID,
        type={"enum": ["message_creation", "tool_calls"]},
        status={"const": status},
        step_details={"type": "object"},
        last_error=ERROR,
        usage=USAGE,
        **{name: COUNT if name == f"{status}_at" else NULL for name in times},
    )


def a_message(status: str) -> Schema:
    """The schema of a message in a status."""
    return an_object(
        id=MESSAGE,
        object={"const": "thread.message"},
        status={"const": status},
        incomplete_details={"type": "object"} if status == "incomplete" else NULL,
        completed_at=COUNT if status == "completed" else NULL,
        incomplete_at=COUNT if status == "incomplete" else NULL,
        role={"const": "assistant"},
        content={"type": "array", "minItems": int(status != "in_progress")},
        run_id=RUN_ID,
    )


async def start(proxy: RunningProxy, client: RawClient, ask: Ask, task_id: str) -> None:
    """See `Start`. The assistant is made by a call of its own."""
    async with RawClient(proxy.port) as maker:
        await maker.post("/v1/assistants", BODY, ask.headers())
        assistant = (await maker.answer()).json()["id"]
    thread = {"messages": [{"role": "user", "content": "Tell me."}]}
    body = {"assistant_id": assistant, "thread": thread, "stream": True}
    await client.post("/v1/threads/runs", body, ask.headers(X_Task_Id=task_id))


def stop(_task_id: str, said: bytes) -> tuple[str, Any]:
    """See `Driver`. Thread and run are known from the first events."""
    found = re.search(rb'"id":"(run_[0-9a-f]+)".*?"thread_id":"(thread_[0-9a-f]+)"', said)
    assert found, said
    return f"/v1/threads/{found[2].decode()}/runs/{found[1].decode()}/cancel", b""


def text(events: list[Event]) -> str:
    """See `Driver`."""
    deltas = [event.data["delta"]["content"][0] for event in events if event.name == "thread.message.delta"]
    return "".join(delta["text"]["value"] for delta in deltas)


ENDS = ("completed", "cancelled", "failed", "incomplete", "expired")
DRIVER = Driver(
    name="assistants",
    route={},
    posts=("/assistants", "/threads", "/threads/runs", "/threads/thread_1/runs", "/threads/thread_1/messages"),
    grammar=(
        r"thread\.created thread\.run\.created thread\.run\.queued (thread\.run\.in_progress )?"
        r"(thread\.run\.step\.created thread\.run\.step\.in_progress "
        r"(thread\.message\.created thread\.message\.in_progress (thread\.message\.delta )+|"
        r"(thread\.run\.step\.delta )+))*(thread\.run\.cancelling )?(thread\.message\.(completed|incomplete) )?"
        r"(thread\.run\.step\.(completed|cancelled|failed|expired) )*"
        r"thread\.run\.(completed|cancelled|failed|incomplete|expired|requires_action) \[DONE\] "
    ),
    ended={
        "completed": r"thread\.message\.completed thread\.run\.step\.completed thread\.run\.completed \[DONE\] $",
        "cancelled": r"thread\.run\.cancelling (thread\.message\.incomplete thread\.run\.step\.cancelled )?"
        r"thread\.run\.cancelled \[DONE\] $",
        "failed": r"thread\.run\.failed \[DONE\] $",
    },
    schemas={
        "thread.created": an_object(id=THREAD, object={"const": "thread"}, created_at=COUNT),
        **{f"thread.run.{status}": a_run(status) for status in ("queued", "in_progress", "cancelling", *ENDS)},
        "thread.run.created": a_run("queued"),
        **{f"thread.run.step.{status}": a_step(status) for status in ("in_progress", *ENDS)},
        "thread.run.step.created": a_step("in_progress"),
        **{f"thread.message.{status}": a_message(status) for status in ("in_progress", "completed", "incomplete")},
        "thread.message.created": a_message("in_progress"),
        "thread.message.delta": an_object(
            id=MESSAGE, object={"const": "thread.message.delta"}, delta=an_object(content={"type": "array"})
        ),
    },
    error=an_object(error=an_object(message=TEXT, type=TEXT, param={}, code={})),
    start=start,
    stop=stop,
    text=text,
    refuses_again=400,
    over_budget="failed",
)
