"""Helpers of the tests of the dialect assistants: a served route, objects by plain calls, and strict reading."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from openai.types.beta import Assistant, AssistantDeleted, Thread, ThreadDeleted
from openai.types.beta.assistant_stream_event import AssistantStreamEvent
from openai.types.beta.threads import Message, MessageDeleted, Run
from openai.types.beta.threads.runs import RunStep
from pydantic import BaseModel, TypeAdapter

from support.chat import sse
from support.client import Answer, RawClient
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.stops import ANYBODY, Ask, call
from support.upstream import Script, ScriptedUpstream, scripted_upstream

MODELS: dict[str, type[BaseModel]] = {
    "assistant": Assistant,
    "assistant.deleted": AssistantDeleted,
    "thread": Thread,
    "thread.deleted": ThreadDeleted,
    "thread.message": Message,
    "thread.message.deleted": MessageDeleted,
    "thread.run": Run,
    "thread.run.step": RunStep,
}
"""The official package's type of each object."""
EVENTS: TypeAdapter[Any] = TypeAdapter(AssistantStreamEvent)
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


@asynccontextmanager
async def served(script: Script, folder: Path, **config: Any) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """The proxy with a route of the dialect in front of an upstream."""
    route = {"dialect": "assistants", **config.pop("route", {})}
    async with scripted_upstream(script) as up:
        async with running_proxy(config_text(up.base_url, route=route, **config), folder) as proxy:
            yield proxy, up


async def ask(proxy: RunningProxy, method: str, path: str, body: Any = b"", who: Ask = ANYBODY) -> Any:
    """One call that must be answered with 200 and an object that the official package reads strictly."""
    answer = await told(proxy, method, path, body, who)
    assert answer.status == 200, answer.body
    return strictly(answer.json())


async def told(proxy: RunningProxy, method: str, path: str, body: Any = b"", who: Ask = ANYBODY) -> Answer:
    """One call, whatever its answer is."""
    if method != "DELETE":
        return await call(proxy, method, f"/v1{path}", body, who)
    async with RawClient(proxy.port) as client:
        head = f"DELETE /v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        lines = "".join(f"{name}: {value}\r\n" for name, value in who.headers())
        await client.send(f"{head}{lines}\r\n".encode())
        return await client.answer()


async def an_assistant(proxy: RunningProxy, who: Ask = ANYBODY, **more: Any) -> str:
    """A new assistant's id."""
    found = await ask(proxy, "POST", "/assistants", {"model": "scripted", "instructions": "Be brief.", **more}, who)
    return str(found["id"])


async def a_thread(proxy: RunningProxy, *texts: str, who: Ask = ANYBODY) -> str:
    """A new thread's id; it has these messages of the user."""
    messages = [{"role": "user", "content": text} for text in texts]
    return str((await ask(proxy, "POST", "/threads", {"messages": messages}, who))["id"])


async def a_run(proxy: RunningProxy, thread_id: str, assistant_id: str, **more: Any) -> dict[str, Any]:
    """A new run, as the API answers its creation."""
    found: dict[str, Any] = await ask(
        proxy, "POST", f"/threads/{thread_id}/runs", {"assistant_id": assistant_id, **more}
    )
    return found


def error_of(answer: Answer, status: int) -> dict[str, Any]:
    """The error of an answer that must be the API's whole envelope."""
    assert answer.status == status, answer.body
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def events_of(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream, read strictly, without the `done` that must end it."""
    blocks = body.decode().split("\n\n")
    assert blocks[-2:] == ["event: done\ndata: [DONE]", ""], blocks[-3:]
    found = []
    for block in blocks[:-2]:
        name, data = block.split("\n")
        value = json.loads(data.removeprefix("data: "))
        name = name.removeprefix("event: ")
        EVENTS.validate_python({"event": name, "data": value})
        if not name.endswith(".delta"):
            strictly(value)
        found.append((name, value))
    return found


def names(events: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """The events' names without `thread.`, runs of the same one as one."""
    found: list[str] = []
    for name, _ in events:
        short = name.removeprefix("thread.")
        if not found or found[-1] != short:
            found.append(short)
    return found


def strictly(found: dict[str, Any]) -> dict[str, Any]:
    """The object, if the official package's type has each of its keys, no more and no less, with values that fit."""
    if found["object"] == "list":
        assert set(found) == {"object", "data", "first_id", "last_id", "has_more"}
        for each in found["data"]:
            strictly(each)
        ends = [found["data"][0]["id"], found["data"][-1]["id"]] if found["data"] else [None, None]
        assert [found["first_id"], found["last_id"]] == ends
        return found
    model = MODELS[found["object"]]
    model.model_validate(found, strict=True)
    _same_keys(model, found, found["object"])
    return found


OPTIONAL = {"reason", "description", "strict", "schema", "parameters", "code_interpreter", "file_search"}
"""Keys that the API itself leaves out where they say nothing."""


def _same_keys(kind: Any, value: Any, where: str) -> None:
    """Every key of a type is there, and none that it does not have."""
    models = [each for each in _members(kind) if isinstance(each, type) and issubclass(each, BaseModel)]
    if isinstance(value, list):
        inner = [arg for each in _members(kind) if get_origin(each) is list for arg in get_args(each)]
        for number, each in enumerate(value):
            _same_keys(tuple(inner), each, f"{where}[{number}]")
        return
    if not isinstance(value, dict) or not models:
        return
    fitting = [each for each in models if _fits(each, value)]
    assert fitting, f"{where}: no type fits"
    keys = {field.alias or name: field.annotation for name, field in fitting[0].model_fields.items()}
    missing, unknown = keys.keys() - value.keys() - OPTIONAL, value.keys() - keys.keys()
    assert not missing, f"{where}: {missing} missing"
    assert not unknown, f"{where}: {unknown} unknown"
    for key, inner_value in value.items():
        _same_keys(keys[key], inner_value, f"{where}.{key}")


def _members(kind: Any) -> list[Any]:
    """The types that a type allows, without their annotations."""
    if isinstance(kind, tuple):
        return [each for arg in kind for each in _members(arg)]
    if hasattr(kind, "__metadata__"):
        return _members(kind.__origin__)
    if get_origin(kind) in (Union, UnionType):
        return [each for arg in get_args(kind) for each in _members(arg)]
    return [kind]


def _fits(model: type[BaseModel], value: dict[str, Any]) -> bool:
    try:
        model.model_validate(value)
    except ValueError:
        return False
    return True


def tool_events(*calls: tuple[str, str, str], said: str = "") -> list[bytes]:
    """The events of an upstream's answer that calls tools, (id, name, arguments), its arguments in two pieces."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return sse({"id": "chatcmpl-tool", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})

    found = [chunk({"role": "assistant", "content": said or None})]
    for index, (call_id, name, arguments) in enumerate(calls):
        begun = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        half = len(arguments) // 2
        pieces = [{"index": index, "function": {"arguments": part}} for part in (arguments[:half], arguments[half:])]
        found += [chunk({"tool_calls": [each]}) for each in (begun, *pieces)]
    return [*found, chunk({}, "tool_calls"), b"data: [DONE]\n\n"]


def sent(up: ScriptedUpstream, index: int = -1) -> dict[str, Any]:
    """The body of a request that reached the upstream."""
    found: dict[str, Any] = json.loads(up.requests[index].body)
    return found
