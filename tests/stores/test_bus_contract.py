"""What every bus must do, in memory and on a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from os import urandom

import pytest

from proxy.core.bus_address import parse_bus_url
from proxy.core.record_bytes import record_bytes
from proxy.stores.bus.group import Holder
from proxy.stores.bus.memory import MemoryBus
from proxy.stores.bus.memory_group import MemoryHub
from proxy.stores.bus.port import KEPT_EACH, WAITING_EACH, WAITING_USERS, Bus, KeptStop, Owned, Place
from proxy.stores.bus.redis import RedisBus
from support import replicas
from support.inbox import Box
from support.records import a_record
from support.redis_server import redis_cluster, redis_server
from support.wait import eventually

ACME, OTHER = "key:acme", "key:other"
LEASE = 4.0


Open = Callable[[str], Awaitable[tuple[Bus, Box]]]


@pytest.fixture(scope="module", params=["memory", "one server", "Cluster"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """The address of servers that run for all of these tests; None: no server is needed."""
    if request.param == "memory":
        yield None
        return
    folder, stack = tmp_path_factory.mktemp("redis"), AsyncExitStack()

    async def start() -> str:
        if request.param == "one server":
            return (await stack.enter_async_context(redis_server(folder))).url
        return (await stack.enter_async_context(redis_cluster(folder))).url

    with asyncio.Runner() as runner:
        yield runner.run(start())
        runner.run(stack.aclose())


@pytest.fixture
async def opened(url: str | None) -> AsyncIterator[Open]:
    """Opens a replica's bus, under any name. Each test is an installation of its own."""
    hub, secret = MemoryHub(), urandom(16)
    async with AsyncExitStack() as stack:

        async def open_bus(name: str) -> tuple[Bus, Box]:
            bus: Bus = MemoryBus(hub, name) if url is None else RedisBus(parse_bus_url(url), secret, name, LEASE)
            box = Box()
            await bus.open(box)
            stack.push_async_callback(bus.close)
            return bus, box

        yield open_bus


def owned(uid: str, task_id: str, *aliases: str, identity: str = ACME, user: str | None = None) -> Owned:
    """A generation."""
    return Owned(uid, identity, task_id, f"m-{uid}", aliases, user, f"about {uid}".encode())


async def found(bus: Bus, any_id: str, identity: str = ACME) -> tuple[str, str, bool] | None:
    """The generation that an id names, its owner, and whether it is over."""
    place = await bus.find(identity, any_id)
    return None if place is None else (place.uid, place.replica, place.is_over)


async def place_of(bus: Bus, any_id: str) -> Place:
    """What an id names, which must be known."""
    place = await bus.find(ACME, any_id)
    assert place is not None
    return place


async def says(bus: Bus, any_id: str, about: bytes) -> bool:
    """Whether that is known of what an id names."""
    return (await place_of(bus, any_id)).about == about


async def test_every_id_finds_the_owner(opened: Open) -> None:
    """A generation is found by task id, message id, alias and what is added later, from any replica."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    a.own(owned("u", "t", "thread"))
    a.alias("u", "chatcmpl-1", b"streaming")
    for any_id in ("t", "m-u", "thread", "chatcmpl-1"):
        assert await eventually(partial(found, b, any_id)) == ("u", "a", False)
        assert await found(a, any_id) == ("u", "a", False)
    await eventually(lambda: says(b, "t", b"streaming"))
    assert (await place_of(b, "t")).identity == ACME


@pytest.mark.parametrize("any_id", ["", "T", "t ", "t*", "t-1", "?", "[t]", "m-", "quell", "ü", "\ud83d", "t\x00"])
async def test_ids_match_exactly(opened: Open, any_id: str) -> None:
    """X16: no pattern, no prefix, no other case finds anything."""
    a, _ = await opened("a")
    a.own(owned("u", "t"))
    await eventually(lambda: found(a, "t"))
    assert await found(a, any_id) is None


async def test_somebody_elses_id_is_unknown(opened: Open) -> None:
    """Z1: an id means something for its identity only; two may use the same one."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    a.own(owned("u", "t"))
    b.own(owned("v", "t", identity=OTHER))
    assert await eventually(lambda: found(b, "t")) == ("u", "a", False)
    assert await eventually(lambda: found(a, "t", OTHER)) == ("v", "b", False)
    assert await found(a, "m-u", OTHER) is None


async def test_what_is_over_is_known_as_such(opened: Open) -> None:
    """An ended generation is found as over, with what its owner said last."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    a.own(owned("u", "t", "thread"))
    a.release("u", b"cancelled")
    await eventually(lambda: is_over(b, "thread"))
    assert (await place_of(b, "thread")).about == b"cancelled"


async def test_the_living_go_first_and_the_newer_too(opened: Open) -> None:
    """A chosen id used again names the newest; one that lives goes before one that is over."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    a.own(owned("u", "t"))
    await eventually(lambda: found(a, "t"))
    b.own(owned("v", "t"))
    await eventually(lambda: found(a, "m-v"))
    assert await found(a, "t") == ("v", "b", False)
    b.release("v", b"")
    await eventually(lambda: is_over(a, "m-v"))
    assert await found(a, "t") == ("u", "a", False)
    a.release("u", b"")
    await eventually(lambda: is_over(a, "m-u"))
    assert await found(a, "t") == ("v", "b", True)


async def is_over(bus: Bus, any_id: str) -> bool:
    """Whether what an id names is known to be over."""
    place = await bus.find(ACME, any_id)
    return place is not None and place.is_over


async def test_an_alias_of_several_names_none(opened: Open) -> None:
    """An alias that two live generations share names neither, until one of them is over; a task id goes first."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    a.own(owned("u", "t", "thread"))
    b.own(owned("v", "s", "thread"))
    await eventually(lambda: found(a, "s"))
    await eventually(lambda: found(b, "t"))
    assert await found(a, "thread") is None
    a.own(owned("w", "thread"))
    await eventually(lambda: found(a, "m-w"))
    assert await found(b, "thread") == ("w", "a", False)
    a.release("w", b"")
    a.release("u", b"")
    await eventually(lambda: is_over(b, "t"))
    assert await found(b, "thread") == ("v", "b", False)


async def test_a_stop_is_kept_and_sent(opened: Open) -> None:
    """The owner gets the letter, and finds the stop again until the generation is over; nobody else does."""
    (a, at_a), (b, at_b) = await opened("a"), await opened("b")
    a.own(owned("u", "t"))
    await eventually(lambda: found(b, "t"))
    heard = await b.stop(await place_of(b, "t"), KeptStop("n-1", b"letter"), b"letter")
    assert heard in {0, 1}  # a node of a Cluster counts its own listeners only
    await eventually(lambda: at_a.letters)
    assert at_a.letters == [b"letter"]
    if isinstance(a, MemoryBus):
        a.look()
    await eventually(lambda: at_a.stops)
    assert at_a.stops[0] == ("u", b"letter")
    a.release("u", b"")
    await eventually(lambda: is_over(b, "t"))
    assert (at_b.letters, at_b.stops) == ([], [])


async def test_kept_stops_replace_no_others(opened: Open) -> None:
    """Each stop that is kept is found until its owner withdraws that one; what is only sent is not."""
    (a, at_a), (b, _) = await opened("a"), await opened("b")
    a.own(owned("u", "t"))
    await eventually(lambda: found(b, "t"))
    place = await place_of(b, "t")
    for number in ("n-1", "n-2"):
        await b.stop(place, KeptStop(number, number.encode()), b"letter")
    await b.stop(place, None, b"sent only")
    await eventually(lambda: at_a.letters[-1:] == [b"sent only"])
    await eventually(lambda: _looked(a) or set(at_a.stops) == {("u", b"n-1"), ("u", b"n-2")})
    a.withdraw(OTHER, "u", "n-2")
    a.withdraw(ACME, "u", "n-1")
    await found(a, "t")  # the bus has heard that by now
    at_a.stops.clear()
    await eventually(lambda: _looked(a) or len(at_a.stops) > 1)
    assert set(at_a.stops) == {("u", b"n-2")}


async def test_kept_stops_are_bounded(opened: Open) -> None:
    """So many are kept for one generation, and besides those what asks for more than a stop."""
    (a, at_a), (b, _) = await opened("a"), await opened("b")
    a.own(owned("u", "t"))
    await eventually(lambda: found(b, "t"))
    place = await place_of(b, "t")
    for number in range(KEPT_EACH + 2):
        await b.stop(place, KeptStop(f"n-{number}", b"%d" % number), b"letter")
    await b.stop(place, KeptStop("wipe", b"wipe", must_stay=True), b"letter")
    await eventually(lambda: _looked(a) or ("u", b"wipe") in at_a.stops)
    assert {letter for _, letter in at_a.stops} == {b"wipe", *(b"%d" % number for number in range(KEPT_EACH))}


async def test_a_stop_of_what_is_over_is_only_sent(opened: Open) -> None:
    """What has ended is asked for, and nothing is kept."""
    (a, at_a), (b, _) = await opened("a"), await opened("b")
    a.own(owned("u", "t"))
    a.release("u", b"")
    await eventually(lambda: is_over(b, "t"))
    await b.stop(await place_of(b, "t"), KeptStop("n-1", b"letter"), b"letter")
    await eventually(lambda: at_a.letters)
    a.own(owned("v", "s"))
    await eventually(lambda: found(b, "s"))
    if isinstance(a, MemoryBus):
        a.look()
    assert at_a.stops == []


async def test_a_stop_waits_for_its_generation(opened: Open) -> None:
    """A stop that came first is found by the replica on which its generation begins, once."""
    (a, at_a), (b, _) = await opened("a"), await opened("b")
    assert await b.leave_stop(ACME, "t", None, b"waiting")
    assert await found(a, "t") is None
    a.own(owned("u", "t"))
    await eventually(lambda: at_a.waiting)
    assert at_a.waiting == [("u", b"waiting")]
    assert not await b.leave_stop(ACME, "t", None, b"late")
    a.release("u", b"")
    await eventually(lambda: is_over(b, "t"))
    a.own(owned("v", "t"))
    await eventually(lambda: found(b, "m-v"))
    assert len(at_a.waiting) == 1


@pytest.mark.parametrize(
    ("user", "identity", "any_id"), [("ann", ACME, "t"), (None, OTHER, "t"), (None, ACME, "thread")]
)
async def test_a_waiting_stop_means_its_own(opened: Open, user: str | None, identity: str, any_id: str) -> None:
    """Another end user's, another identity's, and one for an alias stop nothing."""
    a, at_a = await opened("a")
    assert await a.leave_stop(identity, any_id, user, b"waiting")
    a.own(owned("u", "t", "thread", user="bob"))
    await eventually(lambda: found(a, "t"))
    a.own(owned("v", "s"))
    await eventually(lambda: found(a, "s"))
    assert at_a.waiting == []


async def test_waiting_stops_are_bounded(opened: Open) -> None:
    """So many wait for one identity; of more the oldest go."""
    a, at_a = await opened("a")
    for start in range(0, WAITING_EACH + 2, 100):
        await asyncio.gather(
            *(
                a.leave_stop(ACME, f"t-{index}", None, b"w")
                for index in range(start, min(start + 100, WAITING_EACH + 2))
            )
        )
    for number, index in enumerate((0, 1, 2, WAITING_EACH + 1)):
        a.own(owned(f"u-{number}", f"t-{index}"))
    await eventually(lambda: found(a, f"t-{WAITING_EACH + 1}"))
    await eventually(lambda: len(at_a.waiting) == 2)
    assert {uid for uid, _ in at_a.waiting} == {"u-2", "u-3"}


async def test_the_stops_that_wait_for_one_id_are_bounded(opened: Open) -> None:
    """So many end users' stops wait for one id; of more the oldest go, and one that is left again is a new one."""
    a, at_a = await opened("a")
    for index in range(WAITING_USERS + 2):
        await a.leave_stop(ACME, "t", f"user {index}", b"%d" % index)
        await a.leave_stop(ACME, "t", "user 0", b"again")
    waiting = await a.claim(ACME, "t", "u", [])
    assert isinstance(waiting, list)
    assert sorted(waiting) == sorted([b"again", *(b"%d" % index for index in range(3, WAITING_USERS + 2))])
    await a.leave_stop(ACME, "s", None, b"other")
    a.own(owned("v", "s"))
    a.own(owned("u", "t", user="user 9"))
    await eventually(lambda: len(at_a.waiting) == 2)
    assert at_a.waiting == [("v", b"other"), ("u", b"9")]


async def test_letters_and_replies_arrive(opened: Open) -> None:
    """A letter goes to one replica, a reply too, however long, and is kept under its number until it is dropped."""
    (a, at_a), (b, at_b) = await opened("a"), await opened("b")
    await b.send("a", b"ask")
    await eventually(lambda: at_a.letters)
    a.reply("b", "n-1", b"short")
    a.reply("b", "n-2", long := b"long" * 100_000)
    await eventually(lambda: len(at_b.letters) == 2)
    assert {*at_b.letters} == {b"short", long}  # of two at once neither is promised to be first
    assert await b.find_reply("n-2") == long
    assert await b.find_reply("n-3") is None
    assert at_a.letters == [b"ask"]
    b.drop_reply("n-2")
    await eventually(lambda: is_dropped(b, "n-2"))
    assert await b.find_reply("n-1") == b"short"


async def is_dropped(bus: Bus, number: str) -> bool:
    """Whether an answer is kept no more."""
    return await bus.find_reply(number) is None


async def test_the_lease_ends_with_its_replica(opened: Open) -> None:
    """A replica is alive until it closes; an id that it left with another's is that other's then."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    assert await a.is_alive("b")
    assert not await a.is_alive("c")
    a.own(owned("u", "t", "thread"))
    b.own(owned("v", "s", "thread"))
    await eventually(lambda: found(a, "s"))
    assert await found(a, "thread") is None
    await b.close()
    await eventually(lambda: not_alive(a, "b"))
    assert await found(a, "thread") == ("u", "a", False)
    assert await found(a, "s") == ("v", "b", False)


async def not_alive(bus: Bus, replica: str) -> bool:
    """Whether a lease is gone."""
    return not await bus.is_alive(replica)


async def test_the_clock_is_one(opened: Open) -> None:
    """Replicas know the same time."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    assert abs(a.now() - b.now()) < 0.5


async def test_parcels_lie_there_until_they_are_collected(opened: Open) -> None:
    """Parcels are collected by their addressee only, in order, each once; who waits gets the next one at once."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    for number in range(250):
        await a.ship("b", b"%d" % number)
    await b.ship("a", b"for a")
    found: list[bytes] = []
    while len(found) < 250:
        found += await b.collect()
    assert found == [b"%d" % number for number in range(250)]
    assert await a.collect() == [b"for a"]
    waiting = asyncio.create_task(b.collect())  # noqa: TID251 a test's own
    await asyncio.sleep(0)
    await a.ship("b", b"late")
    assert await waiting == [b"late"]
    assert await b.collect() == []


async def test_who_is_there(opened: Open) -> None:
    """The replicas that hold their leases are known by name; one that left is not."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    assert sorted(await a.replicas()) == ["a", "b"]
    await b.close()
    assert await a.replicas() == ["a"]


# All replicas together.


def about(uid: str, task_id: str, identity: str = ACME) -> Owned:
    """A generation of which a record is known."""
    data = record_bytes(a_record(uid, identity=identity, task_id=task_id))
    return Owned(uid, identity, task_id, f"m-{uid}", (), None, data)


async def test_owners_and_what_they_run(opened: Open) -> None:
    """The replicas are known by name, and of each what it runs: of one identity, or of anybody."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    a.own(about("u", "t"))
    b.own(about("v", "s"))
    b.own(about("w", "r", OTHER))
    for any_id, whose in (("t", ACME), ("s", ACME), ("r", OTHER)):
        await eventually(partial(found, a, any_id, whose))
    assert await a.replicas() == ["a", "b"]
    assert sorted(await a.owners(ACME)) == ["a", "b"]
    assert await a.owners(OTHER) == ["b"]
    assert [place.uid for place in await a.left_with("b", ACME)] == ["v"]
    assert {place.uid for place in await a.left_with("b", None)} == {"v", "w"}
    assert [(place.uid, place.replica) for place in await a.places(ACME, ["u", "v", "w", "x"])] == [
        ("u", "a"),
        ("v", "b"),
    ]
    b.release("v", b"")
    await eventually(lambda: is_over(a, "s"))
    assert await a.owners(ACME) == ["a"]
    assert await a.left_with("b", ACME) == []


async def test_a_posted_letter_is_kept_until_it_is_taken(opened: Open) -> None:
    """A letter that is posted comes at once, and again until its replica says that it has it."""
    (a, at_a), (b, _) = await opened("a"), await opened("b")
    await b.post("a", "n-1", b"letter")
    await eventually(lambda: at_a.letters == [b"letter"])
    for _ in range(2):
        at_a.mail.clear()
        _look(a)
        await eventually(lambda: at_a.mail)
    a.taken("n-1")
    await asyncio.sleep(0.05)
    _look(a)
    await asyncio.sleep(1.2 if not isinstance(a, MemoryBus) else 0)
    at_a.mail.clear()
    _look(a)
    await asyncio.sleep(1.2 if not isinstance(a, MemoryBus) else 0)
    assert at_a.mail == []


def _look(bus: Bus) -> None:
    if isinstance(bus, MemoryBus):
        bus.look()


async def test_a_chosen_id_is_claimed_once(opened: Open) -> None:
    """X20: of two replicas that claim an id at once one has it; it is free again when nothing began, or it is over."""
    (a, _), (b, _) = await opened("a"), await opened("b")
    said = await asyncio.gather(a.claim(ACME, "t", "u", []), b.claim(ACME, "t", "v", []))
    (holder,) = [each for each in said if isinstance(each, Holder)]
    winner, uid, loser = (a, "u", b) if holder.replica == "a" else (b, "v", a)
    assert (holder.uid, holder.is_begun) == (uid, False)
    assert await loser.claim(OTHER, "t", "w", []) == []
    assert await found(a, "t") is None
    winner.give_up(ACME, "t", uid)
    await eventually(lambda: is_claimed(loser, "x"))
    loser.own(about("x", "t"))
    await eventually(lambda: found(a, "t"))
    begun = await winner.claim(ACME, "t", "y", [])
    assert begun == Holder("x", loser.replica, is_begun=True)
    assert await winner.claim(ACME, "t", "y", ["x"]) == []
    winner.give_up(ACME, "t", "y")
    loser.release("x", b"")
    await eventually(lambda: is_claimed(winner, "z"))


async def is_claimed(bus: Bus, uid: str) -> bool:
    """Whether the id could be claimed."""
    return await bus.claim(ACME, "t", uid, []) == []


async def test_a_claim_that_comes_behind_its_generation(opened: Open) -> None:
    """A claim that is later than the beginning of what it was for hides that from nobody, nor holds the id after it."""
    (a, at_a), (b, _) = await opened("a"), await opened("b")
    a.own(about("u", "t"))
    await eventually(lambda: found(b, "t"))
    assert await a.claim(ACME, "t", "u", []) == []
    assert await found(b, "t") == ("u", "a", False)
    assert await b.claim(ACME, "t", "v", []) == Holder("u", "a", is_begun=True)
    await b.stop(await place_of(b, "t"), KeptStop("n-1", b"letter"), b"letter")
    await eventually(lambda: _looked(a) or at_a.stops)
    a.release("u", b"")
    await eventually(lambda: is_over(b, "t"))
    assert await a.claim(ACME, "t", "u", []) == []
    assert await is_over(b, "t")
    assert await b.claim(ACME, "t", "v", []) == []


async def test_a_claim_tells_of_the_stops_that_wait(opened: Open) -> None:
    """Stops that wait for a claimed id are told at once, and wait on until its generation is known."""
    (a, at_a), (b, _) = await opened("a"), await opened("b")
    assert await b.leave_stop(ACME, "t", None, b"waiting")
    assert await a.claim(ACME, "t", "u", []) == [b"waiting"]
    assert await b.leave_stop(ACME, "t", "ann", b"another")
    a.own(owned("u", "t"))
    await eventually(lambda: at_a.waiting)
    assert at_a.waiting == [("u", b"waiting")]


async def test_one_replica_buries_a_dead_one(opened: Open) -> None:
    """What a dead replica ran is ended once, by one of the others; then nothing is known of it any more."""
    (a, at_a), (b, _), (c, _) = await opened("a"), await opened("b"), await opened("c")
    c.own(about("u", "t"))
    c.own(about("v", "s", OTHER))
    b.own(about("w", "r"))
    for bus, any_id, whose in ((a, "t", ACME), (a, "s", OTHER), (a, "r", ACME)):
        await eventually(partial(found, bus, any_id, whose))
    assert not await a.is_dead("c")
    assert not await a.begin_burial("c")
    await die(c)
    await eventually(lambda: _looked(a) or at_a.dead == {"c"}, what="a hears of it")
    assert await a.is_dead("c")
    assert sorted(await asyncio.gather(a.begin_burial("c"), b.begin_burial("c"))) == [False, True]
    left = [*await a.bury("c"), *await b.bury("c")]
    assert sorted(place.uid for place in left) == ["u", "v"]
    assert await found(b, "t") == ("u", "c", True)
    assert await found(b, "r") == ("w", "b", False)
    await a.end_burial("c")
    assert await a.replicas() == ["a", "b"]
    assert not await b.begin_burial("c")


def _looked(bus: Bus) -> bool:
    _look(bus)
    return False


async def die(bus: Bus) -> None:
    """End a replica as a kill does: its lease runs out, and nobody listens."""
    if isinstance(bus, MemoryBus):
        bus.die()
    else:
        await replicas.die(bus)
