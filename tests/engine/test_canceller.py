"""Stops that meet others on their way: an arrival, a slow disk, an end that was faster."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from proxy.core.generation import Identity, Stop
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.record import Record
from proxy.stores.ledger.null import NullLedger
from support.chat import chat_events
from support.client import RawClient
from support.edge import refused
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import events_then_hang, hang, sse_stream
from support.stops import CHAT, STREAM, call, record, settled, start, stop
from support.upstream import scripted_upstream
from support.wait import eventually, within

SAID = chat_events(8)[:-2]
"""A stream that is not over."""

IMPATIENT: dict[str, Any] = {"cancellation": {"confirm_timeout": "50ms"}}
"""Nobody waits long for a stop to be confirmed."""

ANYBODY = Identity("anonymous", "anonymous")


class Asked(NullLedger):
    """A ledger that answers a question when it is told to, and says when one came."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.found: Record | None = None

    async def find(self, _identity: str | None, _any_id: str) -> Record | None:
        """Wait, then answer."""
        self.asked.set()
        await self.answers.wait()
        return self.found

    async def close(self) -> None:
        """Keep nobody waiting."""
        self.answers.set()


class Slow(NullLedger):
    """A ledger whose disk writes no END until it is told to."""

    def __init__(self) -> None:
        self.writes = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def end(self, _record: Record) -> "asyncio.Future[None]":
        """Durable some time later."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.get_running_loop().create_task(self._write(done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return done

    async def close(self) -> None:
        """Write what still waits."""
        self.writes.set()

    async def _write(self, done: "asyncio.Future[None]") -> None:
        await self.writes.wait()
        done.set_result(None)


@pytest.mark.parametrize("in_ledger", [False, True])
async def test_an_arrival_while_the_ledger_is_asked(tmp_path: Path, *, in_ledger: bool) -> None:
    """A generation that comes while the ledger is asked for its id is stopped, and nothing is remembered."""
    ledger = Asked()
    async with (
        scripted_upstream(hang()) as up,
        running_proxy(config_text(up.base_url), tmp_path, ledger=ledger) as proxy,
        RawClient(proxy.port) as client,
    ):
        stopping = asyncio.get_running_loop().create_task(stop(proxy, "t-1"))
        await within(ledger.asked.wait(), "the ledger is asked")
        await start(client, "t-1")
        await up.conn()
        if in_ledger:
            (relay,) = proxy.app.engine.registry
            ledger.found = relay.generation.record(proxy.app.engine.now())
        ledger.answers.set()
        receipt = (await stopping).json()
        assert (receipt["result"], receipt["phase"]) == ("stopped", "waiting")
        assert (await client.answer()).status == 499
        await start(client, "t-1")
        await up.conn(1)
        assert (await record(proxy, "t-1"))["outcome"] == "running"


def results(proxy: RunningProxy) -> set[str]:
    """The stops that were counted, by their results."""
    (family,) = proxy.app.engine.metrics.cancels.collect()
    return {f"{one.labels['dialect']} {one.labels['result']} {one.value:g}" for one in family.samples if one.value}


async def test_an_end_that_is_not_durable_is_no_end(tmp_path: Path) -> None:
    """While the disk has not written the end, one stop and many say so, and say the end once it is there."""
    ledger = Slow()
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url, **IMPATIENT), tmp_path, ledger=ledger) as proxy,
        RawClient(proxy.port) as one,
        RawClient(proxy.port) as two,
    ):
        for client, task_id in ((one, "t-1"), (two, "t-2")):
            await start(client, task_id)
            await client.until(b"data:", len(SAID))
        receipt = (await stop(proxy, "t-1")).json()
        assert (receipt["result"], receipt["status"]) == ("stopping", "cancelling")
        many = (await call(proxy, "POST", "/v1/generations/cancel", {"all": True})).json()
        assert (many["stopped"], many["unconfirmed"]) == ([], ["t-2"])
        unconfirmed = proxy.app.engine.metrics.registry.get_sample_value
        assert unconfirmed("quell_cancels_unconfirmed_total", {"upstream": "up"}) == 2
        ledger.writes.set()
        await settled(proxy)
        receipt = (await stop(proxy, "t-1")).json()
        assert (receipt["result"], receipt["status"]) == ("stopped", "cancelled")
        assert results(proxy) == {"native stopping 2", "native stopped 1"}


async def test_an_end_by_itself_is_one(tmp_path: Path) -> None:
    """A generation that was complete before its stop says so, even before its end is durable; none was stopped."""
    ledger = Slow()
    async with (
        scripted_upstream(sse_stream(chat_events(3))) as up,
        running_proxy(config_text(up.base_url, **IMPATIENT), tmp_path, ledger=ledger) as proxy,
    ):
        await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        (relay,) = proxy.app.engine.registry
        await eventually(lambda: relay.generation.outcome is Outcome.COMPLETED)
        receipt = (await stop(proxy, "t-1")).json()
        assert (receipt["result"], receipt["status"]) == ("already_finished", "completed")
        assert (await call(proxy, "POST", "/v1/generations/cancel", {"all": True})).json()["count"] == 0
        ledger.writes.set()


async def test_many_leave_out_what_was_complete(tmp_path: Path) -> None:
    """Of many stopped at once, one whose stream had all its text and finish by then is not called stopped."""
    finished = chat_events(3)[:-1]
    async with (
        scripted_upstream(events_then_hang(finished)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(finished))
        answer = (await call(proxy, "POST", "/v1/generations/cancel", {"all": True})).json()
        assert (answer["stopped"], answer["count"]) == ([], 0)
        assert (await record(proxy, "t-1"))["outcome"] == "completed"
        assert results(proxy) == {"native already_finished 1"}


async def test_early_stops_have_their_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An early stop lasts ten seconds and stops one call; who stops a thousand unknown ids loses the oldest."""
    now = 1000.0
    async with (
        scripted_upstream(hang()) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        AsyncExitStack() as stack,
    ):
        canceller = proxy.app.engine.canceller
        monkeypatch.setattr(canceller, "_now", lambda: now)
        monkeypatch.setattr(proxy.app.engine, "now", lambda: now)
        monkeypatch.setattr(proxy.app.engine.sweeper, "_now", lambda: now)
        for number in range(1002):
            await canceller.cancel(ANYBODY, f"t-{number}", Stop(Cause.CLIENT), dialect="native", confirm=1.0)
        await canceller.cancel(ANYBODY, "no id at all", Stop(Cause.CLIENT), dialect="native", confirm=1.0)
        assert (await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-2")).status == 499
        assert (await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1001")).status == 499
        now += 9.9
        assert refused(await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-3")) == (499, "generation_cancelled")
        now += 0.1
        assert not up.requests
        for index, task_id in enumerate(("t-0", "t-1", "t-2", "t-4")):
            await start(await stack.enter_async_context(RawClient(proxy.port)), task_id)
            await up.conn(index)


async def test_an_id_is_free_when_its_answer_is_over(tmp_path: Path) -> None:
    """A client that has its whole answer may use the id again at once, however slow the disk is."""
    ledger = Slow()
    async with (
        scripted_upstream(sse_stream(chat_events(3))) as up,
        running_proxy(config_text(up.base_url), tmp_path, ledger=ledger) as proxy,
    ):
        for _ in range(3):
            assert (await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")).status == 200
        assert len(proxy.app.engine.registry) == 3
        ledger.writes.set()
        await settled(proxy)
        assert len(proxy.app.engine.registry) == 0


LONG = chat_events(words=["y" * 6000], finish=None, done=False)
"""A stream that is not over, with a text that is too long for the registry."""


async def test_a_repeat_has_the_whole_text(tmp_path: Path) -> None:
    """Repeating a cancel gives the same answer, and the record its text, however long that is."""
    async with (
        scripted_upstream(events_then_hang(LONG)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(LONG))
        first = (await stop(proxy, "t-1")).json()
        await settled(proxy)
        again, kept = (await stop(proxy, "t-1")).json(), await record(proxy, "t-1")
        admin = proxy.app.engine.canceller
        by_admin = await admin.cancel(None, "t-1", Stop(Cause.OPERATOR), dialect="admin", confirm=1.0)
    assert again == first
    assert first["partial"]["text"] == kept["text"] == "y" * 6000
    assert by_admin is not None
    assert by_admin.text == "y" * 6000


async def test_a_ledger_that_does_not_know_changes_no_outcome(tmp_path: Path) -> None:
    """Where the ledger can't give the text, what is in memory is shown, and that its text was cut."""
    async with (
        scripted_upstream(events_then_hang(LONG)) as up,
        running_proxy(config_text(up.base_url), tmp_path, ledger=NullLedger()) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(LONG))
        first = (await stop(proxy, "t-1")).json()
        await settled(proxy)
        again, kept = (await stop(proxy, "t-1")).json(), await record(proxy, "t-1")
    assert again == first | {"partial": {"characters": 6000, "text": None}}
    assert (kept["outcome"], kept["text"], kept["text_clipped"]) == ("cancelled", None, True)
