"""The sink end to end: from a call through the proxy to a receiver's sums, over reloads, restarts and kills."""

import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import yaml

from proxy.core.cloud_event import SETTLED_TYPE
from proxy.core.settings.settings import SinkSettings
from proxy.core.settled import exported
from proxy.stores.ledger.outbox_sqlite import outbox_page
from proxy.stores.ledger.reports import read_only
from proxy.stores.ledger.usage import Span
from support.chat import ask, chat_events, chat_object
from support.client import RawClient
from support.meter import Meter, lose_answer, take
from support.program import ADMIN_TOKEN, config_text, running_program
from support.proxy import running_proxy
from support.scripts import events_then_hang, json_answer
from support.upstream import scripted_upstream
from support.wait import eventually

CHAT = "/v1/chat/completions"


async def test_a_stopped_generation_reaches_the_sink(tmp_path: Path) -> None:
    """What was stopped is an event with its outcome and counts, before the program has ended."""
    meter = Meter()
    script = events_then_hang(chat_events(5, finish=None, done=False))
    async with scripted_upstream(meter) as sink, scripted_upstream(script) as up:
        config = config_text(up.base_url, sink={"url": sink.origin, "source": "quell-test"})
        async with running_proxy(config, tmp_path) as proxy, RawClient(proxy.port) as client:
            await client.post(CHAT, ask(), [("X-Task-Id", "one"), ("X-User-Id", "ann")])
            await client.until(b"data: ", 5)
        (event,) = meter.events.values()
        assert (event["type"], event["source"], event["subject"]) == (SETTLED_TYPE, "quell-test", "anonymous")
        data = event["data"]
        assert (data["task_id"], data["user"], data["outcome"], data["cause"]) == (
            "one",
            "ann",
            "cancelled",
            "shutdown",
        )
        assert data["completion_tokens"] > 0
        assert "Rain" not in str(event)


async def test_a_reload_changes_the_address(tmp_path: Path) -> None:
    """The new address gets what the old one had not taken, without a restart."""
    first, second = Meter(), Meter()
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(scripted_upstream(each)) for each in (first, second)]
        up = await stack.enter_async_context(scripted_upstream(json_answer(chat_object(5))))
        program = await stack.enter_async_context(
            running_program(config_text(up.base_url, sink={"url": one.origin}), tmp_path)
        )
        await call(program.port, "a")
        await eventually(lambda: len(first.events) == 1)
        config = yaml.safe_load((tmp_path / "quell.yaml").read_text())
        (tmp_path / "quell.yaml").write_text(yaml.safe_dump(config | {"sink": {"url": two.origin}}))
        async with RawClient(program.admin_port) as client:
            await client.post("/api/reload", headers=[("Authorization", f"Bearer {ADMIN_TOKEN}")])
            assert (await client.answer()).json() == {"object": "config.reload", "needs_restart": []}
        await call(program.port, "b")
        await eventually(lambda: [event["data"]["task_id"] for event in second.events.values()] == ["b"])
        assert len(first.events) == 1


async def test_kills_bill_nothing_twice_and_lose_nothing(tmp_path: Path) -> None:
    """The program dies at any instant, the receiver loses answers: what the ledger has is there, and billed once."""
    chance = random.Random(11)

    async def moody(conn: Any, meter: Meter, events: list[dict[str, Any]]) -> None:
        await chance.choice((take, lose_answer))(conn, meter, events)

    meter = Meter(moody)
    async with scripted_upstream(meter) as sink, scripted_upstream(json_answer(chat_object(5))) as up:
        config = config_text(up.base_url, sink={"url": sink.origin})
        for round_ in range(4):
            async with running_program(config, tmp_path) as program:
                for number in range(10):
                    await call(program.port, f"{round_}-{number}")
                wanted = 10 * round_ + chance.randrange(10)
                await taken(meter, wanted)
                if round_ < 3:
                    program.kill()
                    continue
                await taken(meter, 40)
    with read_only(tmp_path / "quell.db") as connection:
        settled = outbox_page(connection, 0, 1000, Span(), text=False).settled
    assert {each.id: exported(each)["completion_tokens"] for each in settled} == {
        one_id: event["data"]["completion_tokens"] for one_id, event in meter.events.items()
    }
    assert len(settled) == 40


async def taken(meter: Meter, count: int) -> None:
    """Wait until the receiver has so many events."""
    await eventually(lambda: len(meter.events) >= count, 30.0, f"{count} events were taken")


async def call(port: int, task_id: str) -> None:
    """One call to its end, and until its record is on disk: the connection is told of it with the next one."""
    async with RawClient(port) as client:
        await client.post(CHAT, ask(stream=False), [("X-Task-Id", task_id)])
        assert (await client.answer()).status == 200

    async def ended() -> bool:
        async with RawClient(port) as again:
            await again.get(f"/v1/generations/{task_id}")
            return bool((await again.answer()).json()["outcome"] == "completed")

    await eventually(ended, what=f"{task_id} has ended")


def test_nobody_is_served_by_default() -> None:
    """Without an address nothing leaves."""
    assert SinkSettings().url is None
