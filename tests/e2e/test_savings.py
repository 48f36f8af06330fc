"""What a stop saved: against the request's own bound, and against complete answers of the same model and route."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dialects.drivers import DRIVERS
from dialects.drivers.base import Driver
from proxy.core.typical import ENOUGH
from support.chat import chat_events, chat_object
from support.client import RawClient
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import events_then_hang, json_answer
from support.stops import CHAT, PLAIN, STREAM, Ask, call, record, settled, start, stop
from support.upstream import Conn, ScriptedUpstream, scripted_upstream

SAID = chat_events(8)[:-2]
TYPICAL = 100
MADE = 9
"""Tokens of the eight words, by the tokenizer."""


@asynccontextmanager
async def served(folder: Path, bills: str, **upstream: Any) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy in front of an upstream that answers blocking calls, and says eight words of a streamed one."""

    async def script(conn: Conn) -> None:
        streams = b'"stream": true' in conn.request.body
        await (events_then_hang(SAID) if streams else json_answer(chat_object(TYPICAL)))(conn)

    async with scripted_upstream(script) as up:
        config = config_text(up.base_url, upstream={"bills_after_close": bills, **upstream})
        async with running_proxy(config, folder) as proxy:
            yield proxy, up


async def complete(proxy: RunningProxy, answers: int = ENOUGH) -> None:
    """Let so many answers complete."""
    for _ in range(answers):
        await call(proxy, "POST", CHAT, PLAIN)
    await settled(proxy)


async def stopped(proxy: RunningProxy, task_id: str, **body: Any) -> tuple[dict[str, Any], tuple[Any, Any, Any]]:
    """Stop a stream behind its eight words; gives what the receipt says was saved, and the record's three numbers."""
    async with RawClient(proxy.port) as client:
        await start(client, task_id, {**STREAM, **body})
        await client.until(b"data:", len(SAID))
        saved = (await stop(proxy, task_id)).json()["saved_tokens"]
    kept = await record(proxy, task_id)
    assert kept["completion_tokens"] == MADE
    return saved, (kept["max_tokens"], kept["saved_most"], kept["saved_typical"])


def metric(proxy: RunningProxy, basis: str) -> float | None:
    """Tokens saved so far."""
    labels = {"upstream": "up", "basis": basis}
    return proxy.app.engine.metrics.registry.get_sample_value("quell_tokens_saved_total", labels)


@pytest.mark.parametrize(
    ("bills", "most", "typical"),
    [("no", 500 - MADE, TYPICAL - MADE), ("unknown", 500 - MADE, None), ("yes", None, None)],
)
async def test_what_is_claimed(tmp_path: Path, bills: str, most: int | None, typical: int | None) -> None:
    """A number where the upstream stops, a bound where nobody knows, nothing where it bills on."""
    async with served(tmp_path, bills) as (proxy, _):
        await complete(proxy)
        saved, (max_tokens, *numbers) = await stopped(proxy, "t-1", max_tokens=500)
        sums = metric(proxy, "most"), metric(proxy, "typical")
    assert max_tokens == 500
    assert saved == {"most": most, "typical": typical}
    assert numbers == [most, typical]
    assert sums == (most or 0, typical or 0)


async def test_too_few_answers_say_nothing(tmp_path: Path) -> None:
    """What is typical takes some answers; without a bound nothing at all is said."""
    async with served(tmp_path, "no") as (proxy, _):
        await complete(proxy, ENOUGH - 1)
        saved, numbers = await stopped(proxy, "t-1")
    assert saved == {"most": None, "typical": None}
    assert numbers == (None, None, None)


async def test_what_is_typical_is_known_after_a_restart(tmp_path: Path) -> None:
    """The ledger's newest answers count from the start on."""
    async with served(tmp_path, "no") as (proxy, _):
        await complete(proxy)
    async with served(tmp_path, "no") as (proxy, _):
        saved, _ = await stopped(proxy, "t-1")
    assert saved["typical"] == TYPICAL - MADE


async def test_a_call_that_never_went_up_was_spared_whole(tmp_path: Path) -> None:
    """Stopped while it waits for a slot, a call saves all of it, however its upstream bills."""
    async with served(tmp_path, "yes", slots=1) as (proxy, up):
        await complete(proxy)
        async with RawClient(proxy.port) as first, RawClient(proxy.port) as second:
            await start(first, "t-1")
            await up.conn(ENOUGH)
            await start(second, "t-2", {**STREAM, "max_completion_tokens": 50})
            saved = (await stop(proxy, "t-2")).json()["saved_tokens"]
    assert saved == {"most": 50, "typical": TYPICAL}


BOUNDS: dict[str, tuple[dict[str, Any], int | None]] = {
    "openai": ({"max_completion_tokens": 300, "n": 2}, 600),
    "responses": ({"max_output_tokens": 300}, 300),
    "dify": ({}, None),
    "async_messages": ({"max_tokens": 300}, 300),
    "aitronos": ({"max_output_synapses": 300}, 300),
    "assistants": ({"max_completion_tokens": 300}, 300),
    "anthropic": ({"max_tokens": 300}, 300),
    "gemini": ({"generationConfig": {"maxOutputTokens": 300, "candidateCount": 2}}, 600),
}


@pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS.keys())
async def test_the_bound_in_every_dialect(driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each dialect's own word for the bound of an answer is in the record."""
    fields, most = BOUNDS[driver.name]
    post = RawClient.post

    async def with_bound(self: RawClient, path: str, body: Any = b"", headers: Any = None) -> None:
        if isinstance(body, dict) and path != "/v1/assistants":
            body = {**body, **fields}
        await post(self, path, body, headers)

    monkeypatch.setattr(RawClient, "post", with_bound)
    route = {"dialect": "openai" if driver.name == "gemini" else driver.name, **driver.route}
    events = driver.says(12)
    first = next(number for number, each in enumerate(events, 1) if b"tin " in each)
    async with scripted_upstream(events_then_hang(events[:first])) as up:
        async with running_proxy(config_text(up.base_url, route=route, upstream=driver.upstream), tmp_path) as proxy:
            async with RawClient(proxy.port) as client:
                await driver.start(proxy, client, Ask("sk-owner"), "t-1")
                await client.until(b"tin ")
                kept = await record(proxy, "t-1", Ask("sk-owner"))
    assert (kept["max_tokens"], kept["outcome"]) == (most, "running")
