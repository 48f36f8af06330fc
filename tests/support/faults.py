"""Upstream faults end to end: one proxy, one scripted upstream, and what everybody saw of a call.

async with fault_bench(tmp_path, timeouts={"idle": "300ms"}) as bench:
    seen = await bench.call(events_then_hang(chat_events(3, done=False)))
    assert (seen.status, seen.outcome, seen.kind) == (200, "timed_out", "idle_timeout")
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from proxy.engine.relaying.relay import Relay
from support.chat import ask
from support.client import Answer, RawClient
from support.http_bytes import Headers
from support.leaks import back_to_start
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.upstream import Begin, Conn, Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually, within

CHAT = "/v1/chat/completions"
FLUSH = "20ms"
"""How often deadlines are looked at: often, so that the tests of deadlines are short."""

_ERRORS = re.compile(r'^quell_upstream_errors_total\{kind="(\w+)",upstream="up"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Seen:
    """What everybody saw of one call."""

    answer: Answer
    """What the client got."""
    record: dict[str, Any]
    """What the ledger has."""
    errors: dict[str, float]
    """How much each kind of the metric `quell_upstream_errors_total` rose."""
    conns: list[Conn]
    """The upstream's exchanges."""

    @property
    def ends(self) -> tuple[int, bool, str, str | None]:
        """Status, whether the body ended properly, outcome, kind of error."""
        return self.answer.status, self.answer.complete, self.record["outcome"], self.record["error_kind"]

    @property
    def text(self) -> str:
        """The text that the record has."""
        found: str = self.record["text"]
        return found

    @property
    def tokens(self) -> tuple[int | None, int | None, str]:
        """Prompt tokens, completion tokens, and where they come from."""
        return self.record["prompt_tokens"], self.record["completion_tokens"], self.record["usage_source"]

    @property
    def error(self) -> dict[str, Any]:
        """The error object of a plain answer, or of the last event of a stream."""
        if self.answer.header("Content-Type") == "text/event-stream":
            last = self.answer.events[-1]
            assert last.startswith(b'data: {"error":'), last
            return dict(Answer(0, [], last[len(b"data: ") :], b"", complete=True).json()["error"])
        return dict(self.answer.json()["error"])


class Bench:
    """A running proxy in front of an upstream whose script each call brings along."""

    def __init__(self, up: ScriptedUpstream, proxy: RunningProxy) -> None:
        self.up, self.proxy = up, proxy
        self._calls = 0

    async def call(
        self,
        script: Script | None = None,
        body: Any = None,
        *,
        path: str = CHAT,
        headers: Headers | None = None,
        keeps: bool = False,
    ) -> Seen:
        """Make one streamed call, and wait for its record; everything it opened must be closed again.

        `keeps`: the upstream's connection may stay open, in the pool.
        """
        self._calls += 1
        task_id = f"call-{self._calls}"
        if script is not None:
            self.up.script = script
        before, seen_before = await self.errors(), len(self.up.conns)
        given = [("X-Task-Id", task_id), *(headers or [])]
        if keeps:
            answer = await self._post(path, body, given)
            record = await self.record(task_id)
        else:
            async with back_to_start():
                answer = await self._post(path, body, given)
                record = await self.record(task_id)
                await self.up.no_connections()
        errors = {kind: count - before.get(kind, 0) for kind, count in (await self.errors()).items()}
        risen = {kind: count for kind, count in errors.items() if count}
        return Seen(answer, record, risen, self.up.conns[seen_before:])

    async def _post(self, path: str, body: Any, headers: Headers) -> Answer:
        async with RawClient(self.proxy.port) as client:
            await client.post(path, ask() if body is None else body, headers)
            return await client.answer()

    async def record(self, task_id: str) -> dict[str, Any]:
        """The record of a generation, once it has ended."""

        async def ended() -> dict[str, Any]:
            async with RawClient(self.proxy.port) as client:
                await client.get(f"/v1/generations/{task_id}")
                found: dict[str, Any] = (await client.answer()).json()
            return found if found["outcome"] != "running" else {}

        return await eventually(ended, what=f"the end of {task_id}")

    async def errors(self) -> dict[str, float]:
        """The metric of upstream errors by kind."""
        async with RawClient(self.proxy.admin_port) as admin:
            await admin.get("/metrics", [("Host", f"127.0.0.1:{self.proxy.admin_port}")])
            text = (await admin.answer()).body.decode()
        return {kind: float(count) for kind, count in _ERRORS.findall(text)}


@asynccontextmanager
async def fault_bench(
    folder: Path,
    *,
    base_url: str | None = None,
    begin: Begin = "body",
    tls: ssl.SSLContext | None = None,
    timeouts: dict[str, str] | None = None,
    upstream: dict[str, Any] | None = None,
    **config: Any,
) -> AsyncIterator[Bench]:
    """Start both. `base_url` names another address than the scripted upstream's; `timeouts` are the upstream's."""
    settings = {"timeouts": timeouts or {}} | (upstream or {})
    overrides = {"ledger": {"flush": FLUSH, "text": "all"}} | config

    async def unscripted(conn: Conn) -> None:
        raise AssertionError("this call brought no script along")

    async with scripted_upstream(unscripted, begin=begin, tls=tls) as up:
        text = config_text(base_url or up.base_url, upstream=settings, **overrides)
        async with running_proxy(text, folder) as proxy:
            await _open_a_reader(proxy)
            yield Bench(up, proxy)


async def _open_a_reader(proxy: RunningProxy) -> None:
    """Let the ledger be asked once: its reading connection stays open from then on, and would look like a leak."""
    async with RawClient(proxy.port) as client:
        await client.get("/v1/generations/nobodys")
        assert (await client.answer()).status == HTTPStatus.NOT_FOUND


class Pieces:
    """Lets an upstream wait until the proxy has taken what was sent, so that pieces never arrive as one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._taken = asyncio.Event()
        heard = Relay.heard

        def noting(relay: Relay) -> None:
            heard(relay)
            self._taken.set()

        monkeypatch.setattr(Relay, "heard", noting)

    async def send(self, conn: Conn, *pieces: bytes) -> None:
        """Send pieces of a body, each when the one before was taken."""
        for piece in pieces:
            self._taken.clear()
            await conn.chunk(piece)
            await within(self._taken.wait(), "the proxy takes a piece")
