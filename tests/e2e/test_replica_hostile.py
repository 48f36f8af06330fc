"""Whoever can write to the bus without its secret stops nothing, reads nothing, and breaks nothing."""

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from proxy.core.chosen import Chosen
from proxy.core.generation import Stop
from proxy.core.letters import FindIt, LookAt, Said, Seal, StopIt, StopThese, StopWhenItComes, Wish
from proxy.core.lifecycle import Cause
from proxy.stores.bus.names import Names
from support.chat import chat_events
from support.client import Answer, RawClient
from support.proxy import RunningProxy
from support.redis_server import RedisServer
from support.replicas import SECRET, bus_of, identity_of, joined, known
from support.scripts import events_then_hang
from support.stops import Ask, call, record, start, stop
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
ANN = Ask("ann")
WISH = Wish.of(Stop(Cause.CLIENT, "mallory"))
NAMES = Names(SECRET.encode())


@dataclass(frozen=True, slots=True)
class Mallory:
    """Somebody who can write to the bus."""

    redis: RedisServer
    bus: RunningProxy

    def bulk(self, seal: Seal, **more: object) -> bytes:
        """A bulk stop of all that is Ann's, sealed."""
        now = bus_of(self.bus).now()
        fields = {"to": "a", "by": "b", "at": now, "chosen": Chosen(identity=identity_of("ann"))} | more
        return seal.close(StopThese(**fields, confirm=1.0, dialect="native", wish=WISH))  # type: ignore[arg-type]

    def keep(self, number: str, letter: bytes) -> None:
        """Put a letter where those are that are kept for replica a."""
        self.redis.command("HSET", NAMES.mail("a"), number, letter)


async def runs(proxy: RunningProxy, task_id: str) -> bool:
    """Whether Ann's generation lives."""
    return bool((await record(proxy, task_id, ANN))["outcome"] == "running")


async def test_bulk_letters_that_nobody_should_follow(tmp_path: Path) -> None:
    """S17, Z15: forged, misdirected and stale bulk stops stop nothing; a kept one stops no later generation."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, redis):
        mallory, seal, forger = Mallory(redis, b), Seal(SECRET.encode(), "b"), Seal(b"not the secret", "b")
        old = mallory.bulk(seal)
        await asyncio.sleep(1.1)
        async with RawClient(a.port) as client:
            await start(client, "t-1", ask=ANN)
            await client.until(b"data:", len(SAID))
            await known(b, "t-1", identity_of("ann"))
            now = bus_of(b).now()
            for letter in (
                mallory.bulk(forger),
                b"garbage",
                mallory.bulk(seal, at=now - 60),
                mallory.bulk(seal, to="c"),
            ):
                await bus_of(b).send("a", letter)
            for number, letter in enumerate((old, mallory.bulk(forger), b"garbage", mallory.bulk(seal, to="c"))):
                mallory.keep(str(number), letter)
            await asyncio.sleep(2.5)
            assert await runs(a, "t-1")
            mallory.keep("n", mallory.bulk(seal, at=now - 7200.0, chosen=Chosen()))
            await asyncio.sleep(1.5)
            assert await runs(a, "t-1")
            refused = a.app.engine.metrics.letters_refused
            assert all(refused.labels(why)._value.get() >= 1 for why in ("forged", "stale", "misdirected"))


async def test_a_bulk_letter_is_followed_once(tmp_path: Path) -> None:
    """Z15: a letter that was followed is not followed again, by the channel or from where it was kept."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, redis):
        mallory, letter = Mallory(redis, b), b""
        async with RawClient(a.port) as client:
            await start(client, "t-1", ask=ANN)
            await client.until(b"data:", len(SAID))
            letter = mallory.bulk(Seal(SECRET.encode(), "b"))
            await bus_of(b).send("a", letter)
            await client.answer()
        async with RawClient(a.port) as client:
            await start(client, "t-2", ask=ANN)
            await client.until(b"data:", len(SAID))
            await bus_of(b).send("a", letter)
            mallory.keep("n", letter)
            await asyncio.sleep(2.5)
            assert await runs(a, "t-2")


async def test_a_question_without_the_secret(tmp_path: Path) -> None:
    """Nobody is told what an id means, or what runs, whose letter is not sealed."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, _), RawClient(a.port) as client:
        await start(client, "t-1", ask=ANN)
        await client.until(b"data:", len(SAID))
        question = FindIt(to="a", by="b", at=bus_of(b).now(), identity=None, any_id="t-1", number="n-1")
        await bus_of(b).send("a", Seal(b"not the secret", "b").close(question))
        await asyncio.sleep(0.5)
        assert await bus_of(b).find_reply("n-1") is None
        other = FindIt(to="a", by="x", at=bus_of(b).now(), identity=None, any_id="t-1", number="n-2")
        await bus_of(b).send(
            "a", Seal(SECRET.encode(), "x").close(other)
        )  # one that is there would take its answer away
        await eventually(lambda: bus_of(b).find_reply("n-2"))


async def test_garbage_in_the_directory(tmp_path: Path) -> None:
    """S17: keys of another kind, fields without sense and noise on the channel harm nothing that others can reach."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, redis), RawClient(a.port) as client:
        await start(client, "t-1", ask=ANN)
        await client.until(b"data:", len(SAID))
        await known(b, "t-1", identity_of("ann"))
        chance, keys = Random(7), NAMES.of(identity_of("ann"))
        for _ in range(200):
            redis.command("PUBLISH", NAMES.channel("a"), b"LFB"[chance.randrange(3) :][:1] + chance.randbytes(80))
        redis.command("HSET", keys.live, b"\xff\xfe", b"\xff", b"uid", b"nobody")
        redis.command("ZADD", NAMES.replicas, 1, b"\xff\xfe", 2, "a\nb")
        redis.command("SADD", NAMES.identities("nobody"), b"\xff", "x")
        redis.command("HSET", keys.id("t-1"), b"\xff", b"t")
        await asyncio.sleep(1.5)
        page = (await call(b, "GET", "/v1/generations", ask=ANN)).json()
        assert [each["task_id"] for each in page["data"]] == ["t-1"]
        for key in (NAMES.replicas, NAMES.mail("a"), keys.live):
            redis.command("DEL", key)
            redis.command("SET", key, "garbage")
        await asyncio.sleep(2.5)
        assert bus_of(a).is_up
        assert bus_of(b).is_up
        assert (await stop(b, "t-1", ANN)).json()["result"] == "stopped"


async def test_garbage_that_says_since_when_all_is_known(tmp_path: Path) -> None:
    """S17: until the next beat nobody can know of an unknown id, and bulk stops and lists may lack some."""
    async with joined(events_then_hang(SAID), tmp_path, "a") as ((a,), _, redis):

        async def ask(method: str, path: str, body: object = b"") -> Answer:
            redis.command("SET", NAMES.since, "garbage")
            return await call(a, method, path, body, ANN)

        for method, path in (("POST", "/v1/generations/t-1/cancel"), ("GET", "/v1/generations/t-1")):
            assert (await ask(method, path)).status == 503
        assert (await ask("POST", "/v1/generations/cancel", {"all": True})).json()["complete"] is False
        assert (await ask("GET", "/v1/generations")).json()["complete"] is False


async def test_a_letterbox_that_is_closed(tmp_path: Path) -> None:
    """At its end a replica begins nothing that others ask for, however it hears of that; answers to it come yet."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, redis), RawClient(a.port) as client:
        await start(client, "t-1", ask=ANN)
        await client.until(b"data:", len(SAID))
        await known(b, "t-1", ann := identity_of("ann"))
        place = await bus_of(b).find(ann, "t-1")
        assert place is not None
        assert a.app.cluster is not None
        box = a.app.cluster._letterbox
        await a.app.cluster.close()
        seal, mallory = Seal(SECRET.encode(), "b"), Mallory(redis, b)
        head: dict[str, Any] = {"to": "a", "by": "b", "at": bus_of(a).now()}
        stop_it = partial(StopIt, identity=ann, any_id="t-1", uid=place.uid, user=None, confirm=1.0, wish=WISH)
        look = LookAt(
            **head, identity=ann, shown="ann", route="/v1", rest="/generations/t-1", query="", user_header=None
        )
        for letter in (stop_it(**head), FindIt(**head, identity=ann, any_id="t-1"), look):
            box.got_letter(seal.close(letter))
        box.got_letter(mallory.bulk(seal))
        old = head["at"] - 5.0
        box.found_stop(place.uid, seal.close(stop_it(**head | {"at": old})))
        box.found_stop(place.uid, seal.close(stop_it(**head | {"at": old}, wipes=True)))
        box.found_mail(mallory.bulk(seal, at=old))
        waits = StopWhenItComes(**head, identity=ann, any_id="t-1", user=None, wish=WISH)
        box.found_waiting(place.uid, seal.close(waits))
        box.lapsed("nobody")
        a.app.cluster.undertaker.lapsed("nobody")
        assert (len(box._tasks), len(box._lending), len(a.app.cluster.undertaker._tasks)) == (0, 0, 0)
        assert await runs(a, "t-1")
        with box._letters.expected("n-1") as said:
            box.got_letter(seal.close(Said(**head, answers="n-1", record=None)))
            assert said.done()
