"""What a generation costs, through the whole proxy: in its record, its log line, the metrics, and after a reload."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import proxy.app.building
from proxy.app import App, StartError
from support.chat import chat_events, chat_object, sse, usage_object
from support.client import Answer, RawClient
from support.dify import body, said, send, served
from support.program import ADMIN_TOKEN, Program, config_text, running_program
from support.proxy import RunningProxy, running_proxy, settings_of
from support.scripts import answer, events_then_hang, in_turn, json_answer, sse_stream
from support.stops import CHAT, PLAIN, STREAM, call, record, settled, start, stop
from support.upstream import Conn, scripted_upstream
from support.wait import eventually

PRICES = {"file": "prices.yaml"}
LIST = """\
version: "2026-11"
currency: USD
models:
  scripted: {input: "0.15", cached: "0.075", output: "0.60", reasoning: "1.20"}
"""
DETAILED = {
    **usage_object(1000, 500),
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 100},
}


def with_running_usage(words: int) -> list[bytes]:
    """A stream that is not over, each of whose chunks says what it has used so far."""
    found = []
    for number, event in enumerate(chat_events(words, finish=None, done=False)):
        chunk = json.loads(event.removeprefix(b"data: "))
        found.append(sse({**chunk, "usage": usage_object(7, number)}))
    return found


def write(folder: Path, prices: str = LIST) -> None:
    """The price list of a test."""
    (folder / "prices.yaml").write_text(prices)


async def metrics(proxy: RunningProxy) -> str:
    """What Prometheus reads."""
    async with RawClient(proxy.admin_port) as client:
        await client.get("/metrics")
        return (await client.answer()).body.decode()


async def test_a_complete_answer(tmp_path: Path) -> None:
    """Record, log line and metrics have the cost of the upstream's own counts, cached and reasoning ones told."""
    write(tmp_path)
    whole = {**chat_object(5), "usage": DETAILED}
    async with (
        scripted_upstream(json_answer(whole)) as up,
        running_proxy(config_text(up.base_url, prices=PRICES), tmp_path) as proxy,
    ):
        with capture_logs() as lines:
            await call(proxy, "POST", CHAT, PLAIN, X_Task_Id="t-1")
            await settled(proxy)
            kept = await record(proxy, "t-1")
        shown = await metrics(proxy)
    assert (kept["cost"], kept["currency"]) == ("0.00048", "USD")
    assert kept["price"].pop("version").startswith("2026-11+")
    assert kept["price"] == {
        "input": "0.15",
        "output": "0.6",
        "cached": "0.075",
        "reasoning": "1.2",
        "per_request": "0",
        "currency": "USD",
        "model": "scripted",
    }
    (end,) = (line for line in lines if line["event"] == "generation.end")
    assert (end["cost"], end["currency"]) == ("0.00048", "USD")
    assert 'quell_cost_total{currency="USD",model="scripted",upstream="up"} 0.00048\n' in shown


async def test_a_stopped_stream(tmp_path: Path) -> None:
    """What was produced until the stop is paid for, by the last running count of the upstream."""
    write(tmp_path)
    said_so_far = with_running_usage(8)
    async with (
        scripted_upstream(events_then_hang(said_so_far)) as up,
        running_proxy(config_text(up.base_url, prices=PRICES), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(said_so_far))
        await stop(proxy, "t-1")
        kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["usage_source"]) == ("cancelled", "upstream_running")
    assert (kept["prompt_tokens"], kept["completion_tokens"]) == (7, 8)
    assert (kept["cost"], kept["currency"]) == ("0.00000585", "USD")


async def test_what_was_refused_has_no_cost(tmp_path: Path) -> None:
    """A call that the upstream refused has no counts, so no cost; null, not 0."""
    write(tmp_path)
    async with (
        scripted_upstream(answer(429, b"{}")) as up,
        running_proxy(config_text(up.base_url, prices=PRICES), tmp_path) as proxy,
    ):
        await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["cost"], kept["currency"]) == ("failed", None, None)
    assert kept["price"]["input"] == "0.15"


async def test_a_model_without_a_price(tmp_path: Path) -> None:
    """Its cost is null, and the log says so once, with its name."""
    write(tmp_path, LIST.replace("scripted", "another"))
    async with (
        scripted_upstream(json_answer(chat_object(5))) as up,
        running_proxy(config_text(up.base_url, prices=PRICES), tmp_path) as proxy,
    ):
        with capture_logs() as lines:
            for number in ("1", "2"):
                await call(proxy, "POST", CHAT, PLAIN, X_Task_Id=number)
            await settled(proxy)
            kept = await record(proxy, "2")
    assert (kept["completion_tokens"], kept["cost"], kept["price"]) == (5, None, None)
    (warning,) = (line for line in lines if line["event"] == "price.unknown")
    assert (warning["model"], warning["upstream"], warning["log_level"]) == ("scripted", "up", "warning")


async def test_without_prices_nothing_is_said(tmp_path: Path) -> None:
    """Whoever has no price list has records without costs, and no warnings."""
    async with (
        scripted_upstream(json_answer(chat_object(5))) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        with capture_logs() as lines:
            await call(proxy, "POST", CHAT, PLAIN, X_Task_Id="t-1")
            await settled(proxy)
            kept = await record(proxy, "t-1")
    assert (kept["cost"], kept["currency"], kept["price"]) == (None, None, None)
    assert not [line for line in lines if line["event"].startswith("price")]


async def test_dify_is_told_the_price(tmp_path: Path) -> None:
    """The usage of a Dify app's end has the total of the record."""
    write(tmp_path)
    events = sse_stream(chat_events(5, usage=True))
    async with served(events, tmp_path, upstream={"usage": "final"}, prices=PRICES) as (proxy, _):
        got = await send(proxy, "POST", "/completion-messages", body())
        kept = await record(proxy, got.header("X-Task-Id") or "")
    usage = said(got)[-1]["metadata"]["usage"]
    assert usage["total_price"] == kept["cost"] == "0.00000405"
    assert (usage["prompt_unit_price"], usage["prompt_price_unit"]) == ("0.15", "0.000001")


async def ended(program: Program, task_id: str) -> dict[str, Any]:
    """The record of a call once it has ended; its client has the answer a moment before."""

    async def look() -> dict[str, Any] | None:
        async with RawClient(program.port) as client:
            await client.get(f"/v1/generations/{task_id}")
            found: dict[str, Any] = (await client.answer()).json()
        return None if found["outcome"] == "running" else found

    return await eventually(look, what=f"{task_id} has ended") or {}


async def ask(program: Program, task_id: str) -> dict[str, Any]:
    """The record of a call that completes at once."""
    async with RawClient(program.port) as client:
        await client.post(CHAT, PLAIN, [("X-Task-Id", task_id)])
        await client.answer()
    return await ended(program, task_id)


async def reloaded(program: Program) -> Answer:
    """Reload through the admin API."""
    async with RawClient(program.admin_port) as client:
        await client.post("/api/reload", b"", [("Authorization", f"Bearer {ADMIN_TOKEN}")])
        return await client.answer()


async def test_a_reload_changes_no_record(tmp_path: Path) -> None:
    """A new list is taken as a whole or not at all; old records and what already runs keep the old one."""
    write(tmp_path)
    release = asyncio.Event()

    async def slow(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "application/json")])
        await release.wait()
        await conn.chunk(json.dumps(chat_object(5)).encode())
        await conn.end()

    async with (
        scripted_upstream(in_turn(json_answer(chat_object(5)), slow, json_answer(chat_object(5)))) as up,
        running_program(config_text(up.base_url, prices=PRICES), tmp_path) as program,
        RawClient(program.port) as running,
    ):
        before = await ask(program, "before")
        await running.post(CHAT, PLAIN, [("X-Task-Id", "running")])
        await eventually(lambda: len(up.requests) == 2, what="the second call is there")

        write(tmp_path, LIST.replace('"0.60"', "1.20"))
        refused = await reloaded(program)
        assert refused.status == 422
        assert (
            'prices.yaml:4:54: models.scripted.output: put it in quotes: "1.20"' in refused.json()["error"]["message"]
        )

        write(tmp_path, LIST.replace('"0.60"', '"1.20"'))
        program.signal(signal.SIGHUP)
        await eventually(lambda: "settings were reloaded" in program.log(), what="the new list is taken")
        after = await ask(program, "after")
        release.set()
        await running.answer()
        meanwhile = await ended(program, "running")
        assert await ended(program, "before") == before
    assert [each["cost"] for each in (before, meanwhile, after)] == ["0.00000405", "0.00000405", "0.00000705"]
    assert before["price"] == meanwhile["price"] != after["price"]
    assert [each["price"]["output"] for each in (before, after)] == ["0.6", "1.2"]


async def test_a_fallback_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start ends with one line that says what to install."""

    def missing() -> None:
        raise ModuleNotFoundError("No module named 'genai_prices'")

    monkeypatch.setattr(proxy.app.building, "GenaiPrices", missing)
    app = App(settings_of(config_text("http://127.0.0.1:1", prices={"fallback": "genai-prices"}), tmp_path), None)
    with pytest.raises(
        StartError, match=r"genai-prices is not installed; install it \(pip install 'quell\[prices\]'\)"
    ):
        await app.start()


async def test_the_fallback(tmp_path: Path) -> None:
    """A model that the list does not have is priced by the package's data, which the record names."""
    package: Any = pytest.importorskip("genai_prices", reason="the extra prices is not installed")
    write(tmp_path)
    whole = {**chat_object(5, model="gpt-4o-mini-2024-07-18"), "usage": usage_object(1000, 500)}
    async with (
        scripted_upstream(json_answer(whole)) as up,
        running_proxy(config_text(up.base_url, prices={**PRICES, "fallback": "genai-prices"}), tmp_path) as running,
    ):
        await call(running, "POST", CHAT, {**PLAIN, "model": "gpt-4o-mini"}, X_Task_Id="t-1")
        await settled(running)
        kept = await record(running, "t-1")
    assert (kept["cost"], kept["currency"]) == ("0.00045", "USD")
    assert kept["price"]["version"] == f"genai-prices {package.__version__}"
