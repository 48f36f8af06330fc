"""The bus on a real server that dies, forgets, stands still, or says what nobody asked for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from time import monotonic

import pytest
from redis import Redis
from structlog.testing import capture_logs

from proxy.core.bus_address import parse_bus_url
from proxy.stores.bus import line as bus_line
from proxy.stores.bus import listener as bus_listener
from proxy.stores.bus import redis as bus_redis
from proxy.stores.bus import redis_group as bus_redis_group
from proxy.stores.bus import redis_letters as bus_redis_letters
from proxy.stores.bus import scripts
from proxy.stores.bus.port import BusUnavailableError, KeptStop, Owned, Place
from proxy.stores.bus.redis import RedisBus
from support.inbox import Box
from support.redis_server import RedisServer, free_port, redis_server
from support.wait import eventually, within

ACME = "key:acme"
LEASE = 10.0

Open = Callable[..., Awaitable[tuple[RedisBus, Box]]]


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A server."""
    async with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
async def opened(redis: RedisServer) -> AsyncIterator[Open]:
    """Opens a replica's bus."""
    async with AsyncExitStack() as stack:

        async def open_bus(name: str, url: str = redis.url) -> tuple[RedisBus, Box]:
            bus, box = RedisBus(parse_bus_url(url), b"secret", name, LEASE), Box()
            await bus.open(box)
            stack.push_async_callback(bus.close)
            return bus, box

        yield open_bus


def owned(uid: str, task_id: str, *aliases: str) -> Owned:
    """A generation."""
    return Owned(uid, ACME, task_id, f"m-{uid}", aliases, None, b"about")


async def found(bus: RedisBus, any_id: str) -> str | None:
    """The generation that an id names; None also while the bus can't say."""
    try:
        place = await bus.find(ACME, any_id)
    except BusUnavailableError:
        return None
    return None if place is None else place.uid


async def place_of(bus: RedisBus, any_id: str) -> Place:
    """What an id names, which must be known."""
    place = await bus.find(ACME, any_id)
    assert place is not None
    return place


async def lose(redis: RedisServer, how: str) -> None:
    """Let the server forget everything."""
    if how == "restart":
        await redis.restart()
    elif how == "flush":
        redis.command("FLUSHALL")
    else:
        for key in redis.names():
            if b"{beat}" not in key:
                redis.command("DEL", key)


@pytest.mark.parametrize("how", ["restart", "flush", "evict"])
async def test_what_the_server_lost_is_said_again(redis: RedisServer, opened: Open, how: str) -> None:
    """S15: after a restart, a FLUSHALL or an eviction every live id is known again within 5 s, and stops find it."""
    (a, at_a), (b, _) = await opened("a"), await opened("b")
    for index in range(250):
        a.own(owned(f"u-{index}", f"t-{index}", f"thread-{index}"))
    a.alias("u-7", "chatcmpl-7", b"later")
    await eventually(lambda: found(b, "t-249"))
    await lose(redis, how)
    began = monotonic()
    for any_id in ("t-0", "m-u-3", "thread-249", "chatcmpl-7"):
        await eventually(partial(found, b, any_id), what=f"{any_id} is known again")
    assert monotonic() - began < 5.0
    place = await place_of(b, "chatcmpl-7")
    assert place.about == b"later"
    assert await b.stop(place, KeptStop("n-1", b"letter"), b"letter") == 1
    await eventually(lambda: at_a.letters)


async def test_an_end_during_an_outage_is_said_afterwards(redis: RedisServer, opened: Open) -> None:
    """What began and what ended while the server was away is known as such when it is back."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    a.own(owned("u", "t"))
    await eventually(lambda: found(b, "t"))
    redis.pause()
    await eventually(lambda: not a.is_up)
    a.release("u", b"ended")
    a.own(owned("v", "s"))
    a.alias("v", "chatcmpl-1", b"")
    a.own(owned("w", "r"))
    a.release("w", b"ended")
    redis.resume()
    assert await eventually(lambda: found(b, "chatcmpl-1")) == "v"

    async def are_over() -> bool:
        places = [await b.find(ACME, any_id) for any_id in ("t", "r")]
        return all(place is not None and place.is_over for place in places)

    await eventually(are_over)


async def test_a_server_that_stands_still_is_noticed(redis: RedisServer, opened: Open) -> None:
    """S16: half-open connections: nothing waits longer than its deadline, and from then on nobody waits at all."""
    bus, box = await opened("a")
    redis.pause()
    began = monotonic()
    with pytest.raises(BusUnavailableError):
        await within(bus.find(ACME, "t"), "an answer although the server stands still")
    await eventually(lambda: not bus.is_up)
    assert monotonic() - began < 3.5
    began = monotonic()
    with pytest.raises(BusUnavailableError):
        await bus.find(ACME, "t")
    assert monotonic() - began < 0.1
    redis.resume()
    await eventually(lambda: bus.is_up)
    assert box.states == [True, False, True]


async def test_a_stop_kept_while_its_owner_was_deaf_is_found(redis: RedisServer, opened: Open) -> None:
    """A letter that the owner could not hear is found by it as a kept stop, well within the lease."""
    (a, at_a), (b, _) = await opened("a"), await opened("b")
    a.own(owned("u", "t"))
    await eventually(lambda: found(b, "t"))
    place = await place_of(b, "t")
    redis.command("CLIENT", "KILL", "TYPE", "pubsub")
    await b.stop(place, KeptStop("n-1", b"letter"), b"letter")
    await eventually(lambda: at_a.stops)
    assert at_a.stops[0] == ("u", b"letter")


async def test_a_lost_subscription_is_taken_again(redis: RedisServer, opened: Open) -> None:
    """S16: when only the listening connection breaks, it is made again, and letters arrive."""
    (_, at_a), (b, _) = await opened("a"), await opened("b")
    for _ in range(3):
        at_a.letters.clear()
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")

        async def heard() -> bool:
            try:
                return await b.send("a", b"again") == 1
            except BusUnavailableError:
                return False

        await eventually(heard)
        await eventually(lambda: at_a.letters)


async def test_nobody_there_at_the_start(tmp_path: Path, opened: Open) -> None:
    """S14: a bus that can't be reached at the start is down, keeps nobody waiting, and is used once it is there."""
    port = free_port()
    bus, box = await opened("a", f"redis://127.0.0.1:{port}")
    assert not bus.is_up
    bus.own(owned("u", "t"))
    with pytest.raises(BusUnavailableError):
        await bus.find(ACME, "t")
    async with redis_server(tmp_path, port=port):
        assert await eventually(lambda: found(bus, "t")) == "u"
        assert box.states == [True]


async def test_garbage_is_survived(redis: RedisServer, opened: Open) -> None:
    """S17: whatever somebody else writes to keys and channels, what is said properly is heard."""
    (a, at_a), (b, _) = await opened("a"), await opened("b")
    a.own(owned("u", "t"))
    a.own(owned("v", "s"))
    await eventually(lambda: found(b, "s"))
    place = await place_of(b, "s")
    names, keys = a._names, a._names.of(ACME)
    for garbage in (b"", b"L", b"Lx", b"F", b"F\xff\xfe", b"Fnone", b"\x00" * 70_000, b"zzz"):
        redis.command("PUBLISH", names.channel("a"), garbage)
    redis.command("HSET", f"{keys.generations}u", "n", "no number", "r", b"\xff")
    redis.command("SET", keys.id("other"), "no hash")
    redis.command("HSET", keys.stops, b"\xff", "x", "nobody", "y")
    assert await b.find(ACME, "t") is None
    with pytest.raises(BusUnavailableError):
        await b.find(ACME, "other")
    assert await b.stop(place, KeptStop("n-1", b"letter"), b"letter") == 1
    await eventually(lambda: b"letter" in at_a.letters)
    assert a.is_up
    assert b.is_up
    assert set(at_a.letters) <= {b"", b"x", b"letter"}


@pytest.mark.parametrize("option", ["maxmemory 1", "min-replicas-to-write 1"])
async def test_a_server_that_takes_no_writes_is_down(redis: RedisServer, opened: Open, option: str) -> None:
    """S15: a full server, or one that refuses to write, counts as down until it takes writes again."""
    bus, _ = await opened("a")
    name, value = option.split()
    redis.command("CONFIG", "SET", name, value)
    await eventually(lambda: not bus.is_up)
    redis.command("CONFIG", "SET", name, "0")
    await eventually(lambda: bus.is_up)


async def test_nothing_readable_is_in_the_names(redis: RedisServer, opened: Open) -> None:
    """No identity, no id, no end user is in a key's name; a second installation meets nobody."""
    a, _ = await opened("a")
    a.own(Owned("u", "key:acme", "task-1", "message-1", ("thread-1",), "ann", b""))
    await a.leave_stop("key:acme", "task-2", "ann", b"waiting")
    await eventually(lambda: found(a, "task-1"))
    names = b" ".join(redis.names())
    for readable in (b"acme", b"task", b"message", b"thread", b"ann"):
        assert readable not in names
    other = RedisBus(parse_bus_url(redis.url), b"another secret", "a", LEASE)
    await other.open(Box())
    assert await other.find("key:acme", "task-1") is None
    await other.close()


async def test_another_secret_is_told_at_both_sides(redis: RedisServer, opened: Open) -> None:
    """Two secrets on one bus: both sides log it once, know the other's name, and know that they don't know all."""
    with capture_logs() as logs:
        a, _ = await opened("a")
        b, _ = await opened("b")
        other = RedisBus(parse_bus_url(redis.url), b"another secret", "c", LEASE)
        await other.open(Box())
        await eventually(lambda: a.strangers == b.strangers == ["c"] and other.strangers == ["a", "b"])
        redis.command("SET", a._names.since, 1)
        assert not await a.knows_all()
        await other.close()
        await eventually(lambda: a.strangers == [], what="it is gone")
        assert await a.knows_all()
    told = [line for line in logs if line["event"] == "bus.another_secret"]
    assert sum(line["replicas"] == ["c"] for line in told) == 2, "a and b, once each"
    assert any(line["log_level"] == "error" and set(line["replicas"]) <= {"a", "b"} for line in told)
    assert f"127.0.0.1:{redis.port}/0" in str(told)
    assert b"secret" not in b" ".join(redis.command("ZRANGE", "quell:secrets", 0, -1))


async def test_garbage_among_the_marks_of_secrets(redis: RedisServer, opened: Open) -> None:
    """What is no mark there is nobody, and what is no such set at all costs nothing."""
    redis.command("ZADD", "quell:secrets", 10**15, "garbage", 10**15, b"0000ffff \xff", 10**15, "0000ffff x")
    bus, _ = await opened("a")
    await eventually(lambda: bus.strangers == ["x"])
    redis.command("DEL", "quell:secrets")
    redis.command("SET", "quell:secrets", "garbage")
    await eventually(lambda: bus.strangers == [] and bus.is_up)


async def test_everything_expires(redis: RedisServer, opened: Open) -> None:
    """No key stays for ever: what a dead replica left goes by itself."""
    a, _ = await opened("a")
    a.own(owned("u", "t", "thread"))
    await eventually(lambda: found(a, "t"))
    await a.stop(await place_of(a, "t"), KeptStop("n-1", b"letter"), b"letter")
    await a.leave_stop(ACME, "s", None, b"waiting")
    a.reply("a", "n", b"reply")
    await eventually(lambda: a.find_reply("n"))
    await a.ship("b", b"parcel")
    kept = redis.names()
    assert len(kept) == 17
    assert all(redis.command("PTTL", key) > 0 for key in kept)
    a.release("u", b"")
    await eventually(lambda: redis.command("PTTL", keys_of(a, "thread")) <= 120_000)


def keys_of(bus: RedisBus, any_id: str) -> str:
    """The key of an id."""
    return bus._names.of(ACME).id(any_id)


async def test_a_thread_s_key_does_not_grow(redis: RedisServer, opened: Open) -> None:
    """An id that names one generation after another forgets those that the directory forgot."""
    a, _ = await opened("a")
    keys = a._names.of(ACME)
    for index in range(20):
        a.own(owned(f"u-{index}", f"t-{index}", "thread"))
        await eventually(partial(found, a, f"t-{index}"))
        a.release(f"u-{index}", b"")
        redis.command("DEL", f"{keys.generations}u-{index}")
    assert redis.command("HLEN", keys.id("thread")) <= 2


async def test_waiting_commands_are_bounded(redis: RedisServer, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: while the server stands still, so many commands wait; one more is refused at once."""
    monkeypatch.setattr(bus_line, "WAITING_MOST", 50)
    bus, _ = await opened("a")
    redis.pause()
    asked = [asyncio.get_running_loop().create_task(bus.find(ACME, str(index))) for index in range(300)]
    done, _ = await asyncio.wait(asked, timeout=1.0)
    assert len(done) > 200
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(result) for result in results} == {BusUnavailableError}
    redis.resume()


async def test_two_replicas_with_one_name_are_noticed(
    opened: Open, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that two living replicas use is logged as an error."""
    monkeypatch.setattr(bus_redis, "BEAT_SECONDS", 0.05)
    await opened("a")
    await opened("a")
    await eventually(lambda: "bus.name_taken" in capsys.readouterr().out)


async def test_an_emptied_directory_knows_that_it_is_not_complete(
    redis: RedisServer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S15: from a FLUSHALL on, until everybody had time to say all again, that an id is not found means nothing."""
    monkeypatch.setattr(bus_redis, "FILL_SECONDS", 0.0)
    bus, _ = await opened("a")
    await eventually(bus.knows_all)
    redis.command("FLUSHALL")
    assert not await bus.knows_all()
    await eventually(bus.knows_all)


async def test_parcels_that_were_collected_are_trimmed(redis: RedisServer, opened: Open) -> None:
    """What lies at the bus for readers stays little while they read, and bounded while they don't."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    key = b._names.parcels("b")
    for _ in range(3):
        for _ in range(300):
            await a.ship("b", b"parcel")
        while await b.collect():
            pass
        b._box._trimmed_at = 0.0
    assert redis.command("XLEN", key) < 600
    for _ in range(5000):
        a._line.eval(scripts.SHIP, [key], b"parcel", 100, 10_000)
    await a.ship("b", b"last")
    assert redis.command("XLEN", key) <= 300


async def test_parcels_of_a_server_that_forgot(redis: RedisServer, opened: Open) -> None:
    """Collecting goes on at a server that was restarted, and says so when it can't."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    await a.ship("b", b"one")
    assert await b.collect() == [b"one"]
    redis.kill()
    with pytest.raises(BusUnavailableError):
        await b.collect()
    await redis.start()
    await eventually(lambda: a.is_up and b.is_up)
    await a.ship("b", b"two")
    assert await b.collect() == [b"two"]


async def test_a_lease_that_nobody_can_read(redis: RedisServer, opened: Open) -> None:
    """S17: bytes that are no text where a lease should be cost no beat: the lease is taken again."""
    bus, box = await opened("a")
    lease = bus._names.lease("a")
    redis.command("SET", lease, b"\xff")
    await eventually(lambda: redis.command("GET", lease) != b"\xff")
    beats = bus._beats
    await eventually(lambda: bus._beats > beats + 1)
    assert box.states == [True]


async def test_whatever_fails_in_a_beat_the_next_one_comes(
    opened: Open, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A beat in which anything at all goes wrong is logged once for as long as it does, and is tried again."""
    bus, _ = await opened("a")
    failed = 0

    async def look() -> None:
        nonlocal failed
        failed += 1
        raise LookupError

    with monkeypatch.context() as patched:
        patched.setattr(bus._announcer, "look", look)
        await eventually(lambda: failed > 2)
    await eventually(lambda: bus.is_up)
    assert capsys.readouterr().out.count("bus.failed") == 1


def scripts_run(redis: RedisServer) -> int:
    """How many scripts the server was asked to run so far."""
    with Redis(port=redis.port) as client:
        said = client.info("commandstats").get("cmdstat_eval", {})
        return sum(said.get(name, 0) for name in ("calls", "rejected_calls"))


@pytest.mark.parametrize("how", ["full", "read only", "not allowed"])
async def test_a_server_that_refuses_is_not_asked_without_end(redis: RedisServer, opened: Open, how: str) -> None:
    """S15: a server that refuses quickly is asked again a few times a second, and used once it takes writes."""
    bus, _ = await opened("a")
    refuse, relent = {
        "full": ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        "read only": ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        "not allowed": ("ACL SETUSER default -eval", "ACL SETUSER default +eval"),
    }[how]
    redis.command(*refuse.split())
    await eventually(lambda: not bus.is_up)
    before = scripts_run(redis)
    await asyncio.sleep(1.5)
    assert scripts_run(redis) - before < 20
    assert not bus.is_up
    redis.command(*relent.split())
    await eventually(lambda: bus.is_up)


@pytest.mark.parametrize("which", ["lease", "since", "replicas", "mail"])
async def test_a_key_of_the_beat_that_is_something_else(redis: RedisServer, opened: Open, which: str) -> None:
    """S17: somebody's list at a key that each beat needs is taken away by the next one."""
    bus, _ = await opened("a")
    names = bus._names
    key = {"lease": names.lease("a"), "since": names.since, "replicas": names.replicas, "mail": names.mail("a")}[which]
    redis.command("DEL", key)
    redis.command("LPUSH", key, "garbage")
    await eventually(lambda: redis.command("TYPE", key) != b"list")
    beats = bus._beats
    await eventually(lambda: bus._beats > beats and bus.is_up)


@pytest.mark.parametrize("garbage", ["garbage", "", "1e3", "-5", "9" * 5000, "99999999999", "\u0661"])
async def test_a_since_that_is_no_time(redis: RedisServer, opened: Open, garbage: str) -> None:
    """S17: what is no time of the past means that the directory may lack something; the next beat replaces it."""
    bus, _ = await opened("a")
    redis.command("SET", bus._names.since, garbage)
    assert not await bus.knows_all()
    await eventually(lambda: redis.command("GET", bus._names.since) != garbage.encode())
    since = int(redis.command("GET", bus._names.since))
    assert abs(bus.now() - since) < 5.0
    assert bus.is_up


async def test_kept_stops_that_are_something_else(redis: RedisServer, opened: Open) -> None:
    """S17: somebody's text where one caller's stops are kept costs no replica the bus, and goes."""
    bus, box = await opened("a")
    bus.own(owned("u", "t"))
    await eventually(lambda: found(bus, "t"))
    stops = bus._names.of(ACME).stops
    redis.command("SET", stops, "garbage")
    await eventually(lambda: not redis.command("EXISTS", stops))
    assert box.states == [True]


async def test_whoever_listens_again_looks_again(
    redis: RedisServer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came while nobody listened is found at once, and with the next beat what was too young for that."""
    monkeypatch.setattr(bus_redis, "LOOK_EVERY", 1_000_000)
    (a, at_a), (b, _) = await opened("a"), await opened("b")
    a.own(owned("u", "t"))
    await eventually(lambda: found(b, "t"))
    await eventually(lambda: a._beats > 4)
    redis.command("CLIENT", "KILL", "TYPE", "pubsub")
    await b.stop(await place_of(b, "t"), KeptStop("n-1", b"letter"), b"letter")
    beats = a._beats
    await eventually(lambda: len(at_a.stops) == 2)
    assert a._beats - beats <= 3
    await eventually(lambda: a._beats > beats + 4)
    assert at_a.stops == [("u", b"letter")] * 2
    assert at_a.states == [True]


async def test_a_stop_does_not_wait_longer_for_those_that_come_later(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stop waits its own time for an id, however many others are left for the same one meanwhile."""
    monkeypatch.setattr(bus_redis_letters, "WAITING_SECONDS", 0.5)
    bus, box = await opened("a")
    began = monotonic()
    await bus.leave_stop(ACME, "t", None, b"first")
    while monotonic() - began < 0.4:
        await bus.leave_stop(ACME, "t", "ann", b"another")
    await asyncio.sleep(0.15)
    bus.own(owned("u", "t"))
    await eventually(lambda: found(bus, "t"))
    assert box.waiting == []


async def test_one_that_is_overdue_is_dead_although_it_listens(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that seems open saves nobody for ever; one that is back after all finds what was kept for it."""
    monkeypatch.setattr(bus_redis_group, "OVERDUE_LEASES", 1.0)
    monkeypatch.setattr(bus_listener, "SILENCE_SECONDS", 60.0)  # else it listens anew when it hears no beat of its own
    async with AsyncExitStack() as stack:

        async def open_bus(name: str) -> tuple[RedisBus, Box]:
            bus, box = RedisBus(parse_bus_url(redis.url), b"secret", name, 2.0), Box()
            await bus.open(box)
            stack.push_async_callback(bus.close)
            return bus, box

        (a, at_a), (b, at_b) = await open_bus("a"), await open_bus("b")
        b.own(owned("u", "t"))
        await eventually(lambda: found(a, "t"))
        with monkeypatch.context() as patched:
            patched.setattr(b, "_beat", asyncio.Event().wait)  # a cut beat would take its connection for broken
            await a.stop(await place_of(a, "t"), KeptStop("n-1", b"kept"), b"sent")
            await a.post("b", "n", b"mail")
            await eventually(lambda: at_a.dead == {"b"})
            assert not await a.is_dead("b")
            assert not await a.is_unheard("b")
            await eventually(lambda: a.is_dead("b"))
            assert not await a.is_unheard("b")
            assert await a.begin_burial("b")
            await a.bury("b")
            await a.end_burial("b")
            assert (await place_of(a, "t")).is_over
        b._start(b._beat_forever(asyncio.Event()), "the bus's beat")
        await eventually(lambda: is_alive_again(a, "t"))
        await eventually(lambda: at_b.stops and at_b.mail)
        assert (at_b.stops[0], at_b.mail[0]) == (("u", b"kept"), b"mail")


async def is_alive_again(bus: RedisBus, any_id: str) -> bool:
    """Whether the directory has it as running."""
    return not (await place_of(bus, any_id)).is_over


async def test_a_bus_that_stood_still_makes_nobody_overdue(
    redis: RedisServer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases that ended while nobody could renew them, or long before anybody looked, are not over for long."""
    monkeypatch.setattr(bus_redis_group, "OVERDUE_LEASES", 0.2)
    bus, box = await opened("a")
    listening = Redis(port=redis.port).pubsub()  # type: ignore[no-untyped-call] # the package has no type there
    listening.subscribe(bus._names.channel("b"))
    redis.command("ZADD", bus._names.replicas, 1, "b")
    await eventually(lambda: box.dead == {"b"})
    await asyncio.sleep(1.2)
    redis.pause()
    await eventually(lambda: not bus.is_up)
    await asyncio.sleep(1.5)
    redis.resume()
    await eventually(lambda: bus.is_up)
    assert not await bus.is_dead("b")
    await eventually(lambda: bus.is_dead("b"))
    listening.close()
