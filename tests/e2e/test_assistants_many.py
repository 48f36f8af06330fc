"""Three hundred runs at once on as many threads, a third of them cancelled at random moments."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from support.assistants import a_thread, an_assistant, ask, events_of, served, told
from support.chat import chat_events
from support.client import RawClient
from support.leaks import back_to_start
from support.proxy import RunningProxy
from support.stops import record, settled
from support.upstream import Conn

RUNS = 300
EVENTS = chat_events(60, usage=True)
PACE = 0.03
RUN_ID = re.compile(rb"run_[0-9a-f]{32}")
TERMINAL = ("cancelled", "failed", "completed", "incomplete", "expired")


async def slowly(conn: Conn) -> None:
    """An answer of some seconds, whose end is that of its connection, so that none is kept."""
    await conn.head(200, [("Content-Type", "text/event-stream")], until_close=True)
    for event in EVENTS:
        await conn.chunk(event)
        await conn.pause(PACE)
    await conn.end()


async def a_life(proxy: RunningProxy, assistant: str, number: int, after: float | None) -> tuple[str, str, int]:
    """One run, every second one read as a stream; cancelled after so many seconds.

    Gives its thread, its id, and the status with which the cancel was answered.
    """
    thread = await a_thread(proxy, f"Number {number}")
    path = f"/v1/threads/{thread}/runs"
    async with RawClient(proxy.port) as client:
        await client.post(path, {"assistant_id": assistant, "stream": number % 2 == 0})
        await client.until(b'"thread_id"')
        found = RUN_ID.search(bytes(client.buffer))
        assert found, bytes(client.buffer)
        run = found[0].decode()
        status = 0
        if after is not None:
            await asyncio.sleep(after)
            status = (await told(proxy, "POST", f"/threads/{thread}/runs/{run}/cancel")).status
        answer = await client.answer()
        if number % 2 == 0:
            ends = [name for name, _ in events_of(answer.body) if name.removeprefix("thread.run.") in TERMINAL]
            assert len(ends) == 1, ends
    return thread, run, status


def moments(chance: random.Random) -> Iterator[float | None]:
    """When each run is cancelled; None for two of three."""
    for number in range(RUNS):
        yield chance.uniform(0, 60 * PACE) if number % 3 == 0 else None


async def test_three_hundred_runs(tmp_path: Path) -> None:
    """Each ends in one terminal state, which its record agrees with; each cancelled one's upstream saw its close."""
    chance = random.Random(4)
    async with served(slowly, tmp_path, limits={"streams": 1000}) as (proxy, up):
        assistant = await an_assistant(proxy)
        thread, _, _ = await a_life(proxy, assistant, 0, 0.0)
        look = f"/threads/{thread}/messages"  # opens the store's connections for readers, which stay open
        await asyncio.gather(*(ask(proxy, "GET", look) for _ in range(100)))
        await up.no_connections()
        before = len(up.conns)
        async with back_to_start():
            lives = await asyncio.gather(
                *(a_life(proxy, assistant, number, after) for number, after in enumerate(moments(chance)))
            )
            await settled(proxy)
            seen: Counter[str] = Counter()
            for thread, run, status in lives:
                kept = await ask(proxy, "GET", f"/threads/{thread}/runs/{run}")
                listed = (await ask(proxy, "GET", f"/threads/{thread}/messages?run_id={run}"))["data"]
                outcome = (await record(proxy, run))["outcome"]
                assert kept["status"] == outcome
                assert (status == 200) == (outcome == "cancelled")
                assert {each["status"] for each in listed} <= {"completed" if status != 200 else "incomplete"}
                seen[outcome] += 1
            cut = [conn for conn in up.conns[before:] if len(conn.sent) < sum(map(len, EVENTS))]
            assert all(conn.closed.is_set() and not conn.closed_by_us for conn in cut)
            never_called = RUNS - len(up.conns[before:])
    assert seen.total() == RUNS
    assert len(cut) + never_called == seen["cancelled"]
    assert seen["cancelled"] > RUNS // 6
