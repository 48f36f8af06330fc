"""The watch over open calls: what a stop left open is seen from outside, whatever its relay believes."""

from pathlib import Path

import pytest

from proxy.engine.upstreams.open_calls import ORPHAN_SECONDS, Calls
from proxy.engine.upstreams.upstream import Answer
from support.chat import chat_events
from support.client import RawClient
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import events_then_hang, hang, sse_stream
from support.stops import settled, start, stop
from support.upstream import scripted_upstream

SOME = chat_events(6)[:4]


async def metric(proxy: RunningProxy, name: str) -> float | None:
    """What a scrape says of the only upstream."""
    async with RawClient(proxy.admin_port) as client:
        await client.get("/metrics")
        text = (await client.answer()).body.decode()
    line = f'quell_{name}{{upstream="up"}} '
    return next((float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line)), None)


def later(proxy: RunningProxy, seconds: float) -> None:
    """Have the watch believe that so much more time has passed."""
    engine = proxy.app.engine
    engine.calls._now = lambda: engine.now() + seconds


async def test_a_call_is_open_from_its_beginning_to_its_close(tmp_path: Path) -> None:
    """A call counts from before its answer comes until its connection is closed, and a stopped one is no orphan."""
    async with (
        scripted_upstream(hang()) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        assert await metric(proxy, "upstream_calls") == 0
        await start(client, "t-1")
        await up.conn()
        assert await metric(proxy, "upstream_calls") == 1
        assert (await stop(proxy, "t-1")).json()["result"] == "stopped"
        later(proxy, 3600)
        assert proxy.app.engine.calls.by_upstream() == {}
        assert await metric(proxy, "upstream_calls") == 0


async def test_a_complete_answer_leaves_no_call(tmp_path: Path) -> None:
    """A connection that went back to the pool is no open call, although it stays open."""
    async with (
        scripted_upstream(sse_stream(chat_events(3))) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        assert (await client.answer()).status == 200
        await settled(proxy)
        later(proxy, 3600)
        assert up.connections == 1
        assert proxy.app.engine.calls.by_upstream() == {}


async def test_a_close_that_does_nothing_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is open some time behind its generation's end is an orphan, until it is closed."""
    async with (
        scripted_upstream(events_then_hang(SOME)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data: ", len(SOME))
        left: list[Answer] = []
        close = Answer.close
        monkeypatch.setattr(Answer, "close", lambda answer: left.append(answer))  # noqa: PLW0108 left.append is no method
        assert (await stop(proxy, "t-1")).json()["result"] == "stopped"
        monkeypatch.setattr(Answer, "close", close)
        assert proxy.app.engine.calls.by_upstream() == {"up": Calls(open=1)}
        later(proxy, ORPHAN_SECONDS + 1)
        assert await metric(proxy, "upstream_orphans") == 1
        assert up.connections == 1
        left[0].close()
        await up.no_connections()
        assert await metric(proxy, "upstream_orphans") == 0


async def test_what_is_read_on_is_no_orphan_until_its_bound(tmp_path: Path) -> None:
    """A call behind a stop that is read on counts as that; only one that outlives the bound of `drain` is an orphan."""
    upstream = {"on_stop": "drain", "drain": {"time": "60s"}}
    async with (
        scripted_upstream(events_then_hang(SOME)) as up,
        running_proxy(config_text(up.base_url, upstream=upstream), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data: ", len(SOME))
        assert (await stop(proxy, "t-1")).json()["result"] == "stopping"
        later(proxy, 60 - ORPHAN_SECONDS)
        assert proxy.app.engine.calls.by_upstream() == {"up": Calls(open=1, read_on=1)}
        later(proxy, 61 + ORPHAN_SECONDS)
        assert proxy.app.engine.calls.by_upstream() == {"up": Calls(open=1, orphans=1)}
        assert await metric(proxy, "cancels_unconfirmed_total") == 0
