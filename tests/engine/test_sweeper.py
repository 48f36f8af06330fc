"""Tests of proxy.engine.sweeper: what the sweep does beside its deadlines, which the tests of faults look at."""

from pathlib import Path
from typing import Any

from support.chat import chat_events
from support.client import RawClient
from support.program import config_text
from support.proxy import running_proxy
from support.scripts import events_then_hang
from support.stops import record, start, stop
from support.upstream import scripted_upstream
from support.wait import eventually


async def test_retention_is_kept_without_being_asked(tmp_path: Path) -> None:
    """Texts that are over their time go by themselves, a minute after the start and every ten minutes from then on."""
    ledger: dict[str, Any] = {"text_keep": "1ms", "flush": "20ms"}
    async with (
        scripted_upstream(events_then_hang(chat_events(4)[:4])) as up,
        running_proxy(config_text(up.base_url, ledger=ledger), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"all ")
        assert (await stop(proxy, "t-1")).json()["partial"]["text"] == "Rain fell all "
        engine = proxy.app.engine
        engine.registry.expire(engine.now() + 1000)  # the record is only in the ledger now
        assert (await record(proxy, "t-1"))["text"] == "Rain fell all "
        now = engine.sweeper._now
        engine.sweeper._now = lambda: now() + 61

        async def gone() -> bool:
            return (await record(proxy, "t-1"))["text"] is None

        await eventually(gone)
