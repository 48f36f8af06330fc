"""Two replicas behind HAProxy, from the files that are shipped: stops, departures, and a deploy under load."""

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

from support.chat import DONE, chat_events
from support.client import Answer, RawClient
from support.postgres import Database
from support.scripts import events_then_hang, hang
from support.stops import CHAT, STREAM
from support.topology import Site, besides_probes, topology
from support.upstream import Conn, scripted_upstream
from support.wait import eventually

TOKENS = 40
PACE = 0.02
CALLERS = 12


async def speak(conn: Conn) -> None:
    """A stream that takes about a second; one call in eight takes four."""
    slow = 5 if random.random() < 0.125 else 1
    await conn.head(200, [("Content-Type", "text/event-stream")])
    for event in chat_events(TOKENS):
        await conn.pause(PACE * slow)
        await conn.chunk(event)
    await conn.end()


@dataclass
class Seen:
    """What callers got."""

    answered: int = 0
    stopped: int = 0
    refused: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    unstopped: list[str] = field(default_factory=list)


async def call(site: Site, name: str, seen: Seen, end: asyncio.Event) -> None:
    """A caller that asks again and again on one connection; one answer in five is stopped, on another connection."""
    number = 0
    async with RawClient(site.port) as client:
        while not end.is_set():
            number += 1
            task = f"{name}-{number}"
            await client.post(CHAT, STREAM, [*site.headers, ("X-Task-Id", task)])
            is_stopped = number % 5 == 0
            if is_stopped:
                await client.until(b"data: ")
                await stop(site, task, seen)
            answer = await client.answer()
            if answer.status != 200:
                seen.refused.append(f"{task}: {answer.status} {answer.body[:200]!r}")
            elif not answer.complete or answer.events[-1:] != [DONE]:
                seen.cut.append(f"{task}: {answer.body[-200:]!r}")
            elif not is_stopped and b"quell" in answer.body:
                seen.cut.append(f"{task}: was stopped by nobody")
            seen.answered += 1


async def stop(site: Site, task: str, seen: Seen) -> None:
    """Stop a generation through whichever replica the balancer takes."""
    answer = await stopped(site, task)
    if answer.status != 200 or answer.json()["result"] not in ("stopped", "already_finished"):
        seen.unstopped.append(f"{task}: {answer.status} {answer.body[:200]!r}")
    seen.stopped += 1


async def stopped(site: Site, task: str) -> Answer:
    """The answer to a stop, once a generation that has just begun is known to whoever takes it in."""
    answer = await eventually(lambda: known_stop(site, task), what="the others know what has just begun")
    assert answer is not None
    return answer


async def known_stop(site: Site, task: str) -> Answer | None:
    """The answer to a stop; None for one that came before its generation was known there, and waits for it."""
    async with RawClient(site.port) as client:
        await client.post(f"/v1/generations/{task}/cancel", b"", site.headers)
        answer = await client.answer()
    return None if answer.status == 404 else answer


async def test_a_deploy_under_load_refuses_and_cuts_nothing(tmp_path: Path, database: Database) -> None:
    """P1: while one replica after the other is restarted, every call is answered to its end, and every stop is done."""
    seen, end = Seen(), asyncio.Event()
    async with scripted_upstream(besides_probes(speak)) as up, topology(up.base_url, tmp_path, database.url) as site:
        async with asyncio.TaskGroup() as callers:
            for number in range(CALLERS):
                callers.create_task(call(site, f"caller-{number}", seen, end))
            try:
                for name in "ab":
                    await site.restart(name)
            finally:
                end.set()
    assert (seen.refused, seen.cut, seen.unstopped) == ([], [], [])
    assert seen.answered > CALLERS
    assert seen.stopped > 0


async def test_stops_and_departures_pass_haproxy(tmp_path: Path, database: Database) -> None:
    """Behind the example's HAProxy a stop through any replica closes the upstream, and a client that leaves is seen.

    Also while the upstream is silent.
    """
    script = events_then_hang(chat_events(3)[:-2])
    async with scripted_upstream(besides_probes(script)) as up, topology(up.base_url, tmp_path, database.url) as site:
        for number in range(6):
            async with RawClient(site.port) as client:
                await client.post(CHAT, STREAM, [*site.headers, ("X-Task-Id", f"t-{number}")])
                await client.until(b"data: ", count=3)
                answer = await stopped(site, f"t-{number}")
                assert answer.status == 200, answer.body
                assert answer.json()["result"] in ("stopped", "already_finished")
                assert (await client.answer()).events[-1] == DONE
        await up.no_connections()
        before = len(up.conns)
        up.script = hang()
        async with RawClient(site.port) as client:
            await client.post(CHAT, STREAM, site.headers)
            await up.conn(before)
        await up.no_connections()
