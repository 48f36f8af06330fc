"""Streams that count over all replicas, without a proxy around them: many at once, some given up, on a real server."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.core.bus_address import parse_bus_url
from proxy.engine.limits.shared_streams import SharedStreams
from proxy.engine.registry import Registry
from proxy.engine.tasks import Tasks
from proxy.stores.bus.shared_redis import RedisNumbers
from support.redis_server import RedisServer, redis_server

MOST = 5


@asynccontextmanager
async def three(folder: Path) -> AsyncIterator[tuple[list[SharedStreams], RedisServer]]:
    """The streams of three replicas, and the server that they share."""
    async with redis_server(folder) as redis:
        numbers = [RedisNumbers(parse_bus_url(redis.url), b"a secret of the tests", 60.0) for _ in range(3)]
        try:
            for each in numbers:
                await each.open()
            yield [SharedStreams(each, Registry(), lambda _refused: None) for each in numbers], redis
        finally:
            for each in numbers:
                await each.close()


class Load:
    """Tasks that take a stream, hold it for a moment, and give it back; counts how many are held."""

    def __init__(self, replicas: list[SharedStreams]) -> None:
        self._replicas = replicas
        self._random = random.Random(7)
        self.tasks = Tasks()
        self.held = 0
        self.most = 0
        self.refused = 0

    async def once(self) -> None:
        """One stream at any replica, if there is room."""
        streams, moment = self._random.choice(self._replicas), self._random.random() / 50
        await asyncio.sleep(moment)
        async with asyncio.timeout(self._random.choice((moment / 20, 10.0))):
            number = await streams.take("key:acme", MOST)
        if number is None:
            self.refused += 1
            return
        self.held += 1
        self.most = max(self.most, self.held)
        try:
            await asyncio.sleep(moment)
        finally:
            self.held -= 1
            streams.give_back("key:acme", number)

    async def many(self, count: int) -> None:
        """So many of them at once; some lose patience while they ask."""
        tasks = [self.tasks.start(self.once(), "a stream") for _ in range(count)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in found} <= {type(None), TimeoutError}


async def free_places(replicas: list[SharedStreams]) -> int:
    """How many streams can be begun now; all of them are given back."""
    for streams in replicas:
        await streams.say_unsaid()
    taken = []
    for turn in range(MOST + 1):
        streams = replicas[turn % len(replicas)]
        if (number := await streams.take("key:acme", MOST)) is not None:
            taken.append((streams, number))
    for streams, number in taken:
        streams.give_back("key:acme", number)
    return len(taken)


async def test_no_more_than_the_limit_at_any_time(tmp_path: Path) -> None:
    """Whatever comes, ends and is given up at once, never more than the limit are held, and no place is lost."""
    async with three(tmp_path) as (replicas, _):
        load = Load(replicas)
        for _ in range(5):
            await load.many(60)
        assert load.most <= MOST
        assert load.refused > 0
        assert await free_places(replicas) == MOST


async def test_an_emptied_server_loses_no_place(tmp_path: Path) -> None:
    """A server that is emptied again and again under starts and ends has the truth again as soon as it is told."""
    async with three(tmp_path) as (replicas, redis):
        load = Load(replicas)
        for _ in range(5):
            storm = load.tasks.start(load.many(60), "a storm")
            for _ in range(5):
                await asyncio.to_thread(redis.command, "FLUSHALL")
            await storm
        for streams in replicas:
            await streams.keep()
        assert await free_places(replicas) == MOST
