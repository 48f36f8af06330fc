"""Tenants on replicas: a model of who owns what, random steps of three of them, and what every answer must be.

One world (a bus, an upstream, three replicas) serves many examples; each has callers of its own.
"""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import uvloop
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.claiming import CLAIM_WAIT
from support.chat import chat_events
from support.client import Answer, RawClient
from support.proxy import RunningProxy
from support.replicas import bus_of, identity_of, joined
from support.scripts import events_then_hang
from support.stops import CHAT, Ask
from support.wait import eventually

TENANTS = range(3)
REPLICAS = range(3)
IDS = ("t-0", "t-1", "t-2", "t-3")
USERS = ("u", "v")
SAID = chat_events(2)[:-2]
NUMBERS = count()


@dataclass(eq=False)
class Started:
    """A generation of a tenant's."""

    tenant: int
    replica: int
    task_id: str
    user: str
    client: RawClient
    message_id: str = ""
    is_live: bool = True
    ended: str = ""


class StalledError(Exception):
    """A step that proves nothing."""


@dataclass
class World:
    """What all examples share. Its loop runs in a thread of its own: between two steps leases must be held too."""

    loop: asyncio.AbstractEventLoop
    proxies: list[RunningProxy]
    controls: dict[int, RawClient] = field(default_factory=dict)
    steps: int = 0
    stalls: int = 0
    faults: list[str] = field(default_factory=list)
    """What was wrong, as it was found: a second try of the same steps may not find it."""

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do a step.

        Raises:
            StalledError: a busy machine made a replica lose its bus meanwhile, so nothing follows from what was said.
        """
        stalls = self.stalls
        try:
            done = self.wait(work)
        except Exception as error:
            if isinstance(error, StalledError) or self.stalls != stalls:
                self.wait(self._up())
                raise StalledError from error
            raise
        self.steps += 1
        return done

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something on the loop."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, 30), self.loop).result(60)

    def watch(self) -> None:
        """Count how often a replica loses its bus."""
        for proxy in self.proxies:
            inbox = bus_of(proxy)._inbox  # type: ignore[attr-defined] # the port has none, the bus of tests is a RedisBus
            inbox.changed = self._changed

    def _changed(self, *, is_up: bool) -> None:
        self.stalls += not is_up

    async def _up(self) -> None:
        await eventually(lambda: all(bus_of(proxy).is_up for proxy in self.proxies), what="the bus is back")

    async def send(self, replica: int, method: str, path: str, body: Any, ask: Ask) -> Answer:
        """A request on the connection that is kept to a replica."""
        client = self.controls.pop(replica, None)
        if client is None:
            client = await RawClient(self.proxies[replica].port).connect()
        if method == "GET":
            await client.get(path, ask.headers())
        else:
            await client.post(path, body, ask.headers())
        answer = await client.answer()
        if answer.complete and not client.ended and (answer.header("Connection") or "") != "close":
            self.controls[replica] = client
        else:
            client.fin()
        return answer


@asynccontextmanager
async def _opened(folder: Path) -> AsyncIterator[list[RunningProxy]]:
    async with joined(events_then_hang(SAID), folder, "abc", limits={"streams": 5000}) as (proxies, _, _):
        yield proxies


@contextmanager
def open_world(folder: Path) -> Iterator[World]:
    """Three replicas on a bus, in front of an upstream."""
    loop = uvloop.new_event_loop()
    thread = Thread(target=loop.run_forever, name="the world's loop")
    thread.start()
    opening = _opened(folder)
    world = World(loop, [])
    try:
        world.proxies = world.wait(opening.__aenter__())
        world.watch()
        try:
            yield world
        finally:
            for client in world.controls.values():
                client.fin()
            world.wait(opening.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Tenants(RuleBasedStateMachine):
    """Starts, stops, reads, lists, bulk stops and departures, each through any replica, by any of three tenants."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        number = next(NUMBERS)
        self.asks = [Ask(f"tenant-{tenant}-{number}") for tenant in TENANTS]
        self.started: list[Started] = []
        self.waiting: set[tuple[int, str]] = set()
        """Ids of tenants for which a stop waits."""
        self.is_void = False

    def _do(self, work: Callable[..., Coroutine[Any, Any, None]], *how: Any) -> None:
        """Do a step; behind one that proves nothing this example has no more."""
        if self.is_void:
            return
        try:
            self.world.run(work(*how))
        except StalledError:
            self.is_void = True
        except Exception:
            self.world.faults.append(traceback.format_exc())
            raise

    def teardown(self) -> None:
        """Every list is as the model has it, and nothing is left running."""
        for tenant in TENANTS:
            self._do(self._list, tenant, 0)
            self._do(self._stop_many, tenant, tenant % len(REPLICAS), None)
        for each in self.started:
            if each.is_live:
                each.client.fin()
        try:
            self.world.wait(self._settle())
        except Exception:
            self.world.faults.append(traceback.format_exc())
            raise

    async def _settle(self) -> None:
        """Nothing is left running, also of an example that was given up."""
        for each in self._live_of_all() if self.is_void else ():
            await self.world.send(each.replica, "POST", "/v1/generations/cancel", {"all": True}, self.asks[each.tenant])
        for proxy in self.world.proxies:
            await proxy.app.engine.settle_all()

    def _live(self, tenant: int) -> list[Started]:
        return [each for each in self.started if each.tenant == tenant and each.is_live]

    def _live_of_all(self) -> list[Started]:
        return [each for tenant in TENANTS for each in self._live(tenant)]

    def _named(self, tenant: int, any_id: str) -> list[Started]:
        return [each for each in self.started if each.tenant == tenant and any_id in (each.task_id, each.message_id)]

    def _some_id(self, pick: int) -> str:
        """A chosen id, or the message id of anybody's generation."""
        made = [each.message_id for each in self.started]
        known = [*IDS, *made]
        return known[pick % len(known)]

    # The steps.

    @rule(
        tenant=st.sampled_from(TENANTS),
        replica=st.sampled_from(REPLICAS),
        task_id=st.sampled_from(IDS),
        user=st.sampled_from(USERS),
    )
    def start(self, tenant: int, replica: int, task_id: str, user: str) -> None:
        """Start with a chosen id: refused where the same tenant's lives, stopped at once where a stop waits."""
        self._do(self._start, tenant, replica, task_id, user)

    async def _start(self, tenant: int, replica: int, task_id: str, user: str) -> None:
        ask, proxy = self.asks[tenant], self.world.proxies[replica]
        client = await RawClient(proxy.port).connect()
        body = {"model": "scripted", "stream": True, "messages": [], "user": user}
        began = asyncio.get_running_loop().time()
        await client.post(CHAT, body, ask.headers(X_Task_Id=task_id))
        head = await client.until(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        lives = any(each.task_id == task_id for each in self._live(tenant))
        if lives:
            took = asyncio.get_running_loop().time() - began
            if status == 200 and took >= CLAIM_WAIT:  # the start did not wait longer for a machine that stood still
                client.fin()
                raise StalledError
            assert status == 400, (took, head)
        elif (tenant, task_id) in self.waiting:
            assert status == 499, head
            made = Started(tenant, replica, task_id, user, client, _header(head, "X-Message-Id"), False, "cancelled")
            self.started.append(made)
            await self._taken(tenant, task_id)
        else:
            assert status == 200, head
            await client.until(b"data:", len(SAID))
            made = Started(tenant, replica, task_id, user, client, _header(head, "X-Message-Id"))
            self.started.append(made)
            await eventually(lambda: self._is_known(made), what="the directory knows it")
            return
        client.fin()

    async def _taken(self, tenant: int, task_id: str) -> None:
        """A stop that waited was used up; wait until all replicas know that."""
        self.waiting.discard((tenant, task_id))
        key = (identity_of(self.asks[tenant].key or ""), task_id, None)
        for proxy in self.world.proxies:
            await eventually(partial(_is_forgotten, proxy, key), what="it is used up")

    async def _is_known(self, made: Started) -> bool:
        identity = identity_of(self.asks[made.tenant].key or "")
        proxy = self.world.proxies[made.replica]
        relay = proxy.app.engine.registry.find(identity, made.message_id)
        place = await bus_of(proxy).find(identity, made.message_id)
        return isinstance(relay, Relay) and place is not None and place.uid == relay.generation.facts.uid

    @rule(tenant=st.sampled_from(TENANTS), replica=st.sampled_from(REPLICAS), pick=st.integers(0, 1 << 16))
    def stop(self, tenant: int, replica: int, pick: int) -> None:
        """Stop by any id: one's own stops wherever it runs, everything else looks unknown."""
        self._do(self._stop, tenant, replica, self._some_id(pick))

    async def _stop(self, tenant: int, replica: int, any_id: str) -> None:
        path = f"/v1/generations/{any_id}/cancel"
        answer = await self.world.send(replica, "POST", path, b"", self.asks[tenant])
        own = self._named(tenant, any_id)
        live = [each for each in own if each.is_live]
        if not own:
            self._is_unknown(answer)
            self.waiting.add((tenant, any_id))
            return
        assert answer.status == 200, (answer.body, any_id)
        receipt = answer.json()
        if live:
            assert (receipt["message_id"], receipt["result"]) == (live[0].message_id, "stopped"), receipt
            self._end(live[0], "cancelled")
        else:
            (meant,) = [each for each in own if each.message_id == receipt["message_id"]]
            assert receipt["status"] == meant.ended, receipt

    @rule(tenant=st.sampled_from(TENANTS), replica=st.sampled_from(REPLICAS), pick=st.integers(0, 1 << 16))
    def read(self, tenant: int, replica: int, pick: int) -> None:
        """Read by any id: nobody else's record is ever shown, and a foreign id looks unknown."""
        self._do(self._read, tenant, replica, self._some_id(pick))

    async def _read(self, tenant: int, replica: int, any_id: str) -> None:
        answer = await self.world.send(replica, "GET", f"/v1/generations/{any_id}", b"", self.asks[tenant])
        own = self._named(tenant, any_id)
        if not own:
            self._is_unknown(answer)
        elif any(each.replica == replica for each in own):
            assert answer.status == 200, answer.body
        if answer.status == 200:
            assert answer.json()["message_id"] in {each.message_id for each in own}

    @staticmethod
    def _is_unknown(answer: Answer) -> None:
        assert answer.status == 404, answer.body
        assert answer.json()["error"]["code"] == "not_found"

    @rule(tenant=st.sampled_from(TENANTS), replica=st.sampled_from(REPLICAS))
    def list(self, tenant: int, replica: int) -> None:
        """List: all that is one's own and lives on any replica, and nobody else's."""
        self._do(self._list, tenant, replica)

    async def _list(self, tenant: int, replica: int) -> None:
        answer = await self.world.send(replica, "GET", "/v1/generations?limit=100", b"", self.asks[tenant])
        page = answer.json()
        assert page["complete"], page["unreachable"]
        living = {each["message_id"] for each in page["data"] if each["outcome"] == "running"}
        assert living == {each.message_id for each in self._live(tenant)}
        own = {each.message_id for each in self.started if each.tenant == tenant}
        assert {each["message_id"] for each in page["data"]} <= own

    @rule(tenant=st.sampled_from(TENANTS), replica=st.sampled_from(REPLICAS), user=st.sampled_from([None, *USERS]))
    def stop_many(self, tenant: int, replica: int, user: str | None) -> None:
        """Stop all of one's own, or an end user's of one's own: exactly those."""
        self._do(self._stop_many, tenant, replica, user)

    async def _stop_many(self, tenant: int, replica: int, user: str | None) -> None:
        body = {"all": True} if user is None else {"user": user}
        answer = await self.world.send(replica, "POST", "/v1/generations/cancel", body, self.asks[tenant])
        meant = [each for each in self._live(tenant) if user in (None, each.user)]
        told = answer.json()
        assert sorted(told["stopped"]) == sorted(each.task_id for each in meant), told
        assert (told["complete"], told["unconfirmed"]) == (True, []), told
        for each in meant:
            self._end(each, "cancelled")

    @rule(tenant=st.sampled_from(TENANTS), pick=st.integers(0, 1 << 16))
    def leave(self, tenant: int, pick: int) -> None:
        """A client leaves."""
        if live := self._live(tenant):
            self._do(self._leave, live[pick % len(live)])

    async def _leave(self, each: Started) -> None:
        registry = self.world.proxies[each.replica].app.engine.registry
        identity = identity_of(self.asks[each.tenant].key or "")
        relay = registry.find(identity, each.message_id)
        assert relay is not None
        self._end(each, "client_gone")
        await asyncio.shield(relay.settled)

    def _end(self, each: Started, how: str) -> None:
        each.is_live, each.ended = False, how
        each.client.fin()


def _is_forgotten(proxy: RunningProxy, key: tuple[str, str, None]) -> bool:
    return key not in proxy.app.engine.registry._tombstones._stops


def _header(head: bytes, name: str) -> str:
    for line in head.decode("latin-1").split("\r\n"):
        if line.lower().startswith(f"{name.lower()}: "):
            return line.partition(": ")[2]
    raise AssertionError(f"no {name} in {head!r}")
