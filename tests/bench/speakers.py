"""How a client of each translated dialect starts a stream and stops it by the dialect's own route."""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from bench import client
from bench.client import Connection
from bench.script import Script

RESPONSE: Final = re.compile(rb'"id":"(resp_[0-9a-f]+)"')
RUN: Final = re.compile(rb'"id":"(run_[^"]+)".*?"thread_id":"([^"]+)"')
THREAD: Final = re.compile(rb'"thread_id":"([^"]+)"')


@dataclass(frozen=True, slots=True)
class Speaker:
    """One dialect's client. A script's `ident` is the task id of its call."""

    name: str
    begin: Callable[[int, Script], Awaitable[bytes]]
    """What is to be sent for a stream of Quell's at that port."""
    stop: Callable[[str, Connection], bytes]
    """The request that stops it."""


async def begin(speaker: Speaker, port: int, script: Script) -> Connection:
    """Start a stream, whose events come on the connection; they are kept if the script has an id."""
    asked = await speaker.begin(port, script)
    connection = await client.connect(port, keep=bool(script.ident))
    connection.send(asked)
    return connection


def _task(script: Script) -> dict[str, str]:
    return {"X-Task-Id": script.ident} if script.ident else {}


async def _passed(_port: int, script: Script) -> bytes:
    return client.request(script.body(), headers=_task(script))


async def _dify(_port: int, script: Script) -> bytes:
    body = {"inputs": {}, "query": script.words(), "user": "bench", "response_mode": "streaming"}
    return client.request(json.dumps(body).encode(), "/dify/completion-messages", headers=_task(script))


def _dify_stop(ident: str, _connection: Connection) -> bytes:
    return client.request(b'{"user":"bench"}', f"/dify/completion-messages/{ident}/stop")


ASYNC: Final = "/async_messages/messages/async"


async def _async_messages(port: int, script: Script) -> bytes:
    body = {"model": "default", "messages": [{"role": "user", "content": script.words()}]}
    path = f"{ASYNC}?message_id=m-{script.ident}" if script.ident else ASYNC
    told = await client.fetch(port, path, "POST", json.dumps(body).encode(), _task(script))
    return client.request(b"", f"{ASYNC}/{json.loads(told)['message_id']}/stream", "GET")


def _async_stop(ident: str, _connection: Connection) -> bytes:
    return client.request(b"", f"{ASYNC}/m-{ident}/cancel")


async def _aitronos(_port: int, script: Script) -> bytes:
    body = {"inputs": [{"role": "user", "content": script.words()}], "stream": True}
    return client.request(json.dumps(body).encode(), "/aitronos/model/response", headers=_task(script))


def _aitronos_stop(_ident: str, connection: Connection) -> bytes:
    thread = THREAD.search(connection.body())
    if thread is None:
        raise RuntimeError("the stream has not named its thread")
    return client.request(b"", f"/aitronos/model/response/{thread[1].decode()}/cancel")


async def _responses(_port: int, script: Script) -> bytes:
    body = {"model": "bench-model", "input": script.words(), "stream": True}
    return client.request(json.dumps(body).encode(), "/responses/responses", headers=_task(script))


def _responses_stop(ident: str, connection: Connection) -> bytes:
    found = RESPONSE.search(connection.body())  # a stream that has not begun has not named its response
    return client.request(b"", f"/responses/responses/{found[1].decode() if found else ident}/cancel")


ASSISTANTS: Final = "/assistants"


async def _assistants(port: int, script: Script) -> bytes:
    made = json.loads(await client.fetch(port, f"{ASSISTANTS}/assistants", "POST", b'{"model":"bench"}'))
    thread = {"messages": [{"role": "user", "content": script.words()}]}
    body = {"assistant_id": made["id"], "thread": thread, "stream": True}
    return client.request(json.dumps(body).encode(), f"{ASSISTANTS}/threads/runs", headers=_task(script))


def _assistants_stop(_ident: str, connection: Connection) -> bytes:
    run = RUN.search(connection.body())
    if run is None:
        raise RuntimeError("the stream has not named its run")
    return client.request(b"", f"{ASSISTANTS}/threads/{run[2].decode()}/runs/{run[1].decode()}/cancel")


PASSED: Final = Speaker("openai", _passed, lambda ident, _: client.request(b"", f"/v1/generations/{ident}/cancel"))
RUNS: Final = Speaker("assistants", _assistants, _assistants_stop)
TRANSLATING: Final = (
    Speaker("dify", _dify, _dify_stop),
    Speaker("async_messages", _async_messages, _async_stop),
    Speaker("aitronos", _aitronos, _aitronos_stop),
    Speaker("responses", _responses, _responses_stop),
    RUNS,
)
