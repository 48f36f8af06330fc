"""What is sent to readers elsewhere: no more than they have room for, and many pieces in one parcel."""

import asyncio

import pytest

from proxy.core.parcels import Kind, Parcels, Piece
from proxy.engine.replicas import shipping
from proxy.engine.replicas.lent import Lent, ReaderGoneError
from proxy.engine.replicas.shipping import Shipping
from proxy.stores.bus.memory import MemoryBus
from proxy.stores.bus.memory_group import MemoryHub
from support.inbox import Box
from support.wait import within

SECRET = b"a secret of the tests"


class Port:
    """Two replicas' ends of what goes from a to b."""

    def __init__(self) -> None:
        self.hub = MemoryHub()
        self.a, self.b = MemoryBus(self.hub, "a"), MemoryBus(self.hub, "b")
        self.shipping = Shipping(self.a, Parcels(SECRET, "a"))
        self.parcels: list[list[Piece]] = []

    async def collected(self) -> list[Piece]:
        """All that was sent so far."""
        await self.shipping.close()
        opener = Parcels(SECRET, "b")
        self.parcels = [opener.open(parcel) for parcel in self.hub.parcels.pop("b", ())]
        return [piece for parcel in self.parcels for piece in parcel]


@pytest.fixture
async def port() -> Port:
    """An open port."""
    port = Port()
    await port.a.open(Box())
    await port.b.open(Box())
    return port


async def test_pieces_share_a_parcel(port: Port) -> None:
    """What is said within a moment goes together, each reading's bytes as one; what stands between stays there."""
    for at in range(3):
        port.shipping.put("b", Piece("r-1", at, Kind.SAID, b"x"))
        port.shipping.put("b", Piece("r-2", at, Kind.SAID, b"y"))
    port.shipping.put("b", Piece("r-1", 3, Kind.BEAT))
    port.shipping.put("b", Piece("r-1", 3, Kind.SAID, b"z"))
    assert await port.collected() == [
        Piece("r-1", 0, Kind.SAID, b"xxx"),
        Piece("r-1", 3, Kind.BEAT),
        Piece("r-1", 3, Kind.SAID, b"z"),
        Piece("r-2", 0, Kind.SAID, b"yyy"),
    ]
    assert len(port.parcels) == 1


async def test_a_parcel_has_a_size(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much for one parcel goes in several."""
    monkeypatch.setattr(shipping, "PARCEL_BYTES", 100)
    for number in range(5):
        port.shipping.put("b", Piece(f"r-{number}", 0, Kind.SAID, bytes(60)))
    assert len(await port.collected()) == 5
    assert [len(parcel) for parcel in port.parcels] == [2, 2, 1]


async def test_a_bus_that_is_away_costs_the_pieces(port: Port) -> None:
    """What the bus does not take is let go, and what comes later goes all the same."""
    port.hub.is_down = True
    port.shipping.put("b", Piece("r", 0, Kind.SAID, b"lost"))
    assert await port.collected() == []
    port.hub.is_down = False
    port.shipping.put("b", Piece("r", 4, Kind.SAID, b"x"))
    assert await port.collected() == [Piece("r", 4, Kind.SAID, b"x")]


async def test_a_window(port: Port) -> None:
    """No more is sent than the window beyond what was taken; the rest is held, and follows as more is taken."""
    lent = Lent("r", "b", 0, port.shipping, lambda: 10)
    assert lent.write(b"01234")
    assert not lent.write(b"56789abcdef")
    lent.comment(b": no room\n\n")
    assert await port.collected() == [Piece("r", 0, Kind.SAID, b"0123456789")]
    waiting = asyncio.create_task(lent.drained(30.0))  # noqa: TID251 a test's own
    lent.heard(4, 1.0)
    assert await port.collected() == [Piece("r", 10, Kind.SAID, b"abcd")]
    assert not waiting.done()
    lent.heard(14, 2.0)
    assert await port.collected() == [Piece("r", 14, Kind.SAID, b"ef")]
    await within(waiting, "there is room")
    lent.comment(b": room\n\n")
    lent.say(Kind.ENDED)
    assert await port.collected() == [Piece("r", 16, Kind.ASIDE, b": room\n\n"), Piece("r", 16, Kind.ENDED)]


async def test_what_is_there_already_is_skipped(port: Port) -> None:
    """A reading that goes on sends what is behind its beginning, at its true position."""
    lent = Lent("r", "b", 7, port.shipping, lambda: 100)
    for data in (b"01234", b"56789", b"ab"):
        lent.write(data)
    assert await port.collected() == [Piece("r", 7, Kind.SAID, b"789ab")]


async def test_one_that_left_or_takes_nothing(port: Port) -> None:
    """Whoever serves a reader that left, or takes nothing for too long, is told; nothing is held for it."""
    stalled = Lent("r", "b", 0, port.shipping, lambda: 2)
    stalled.write(b"0123")
    with pytest.raises(ReaderGoneError):
        await stalled.drained(0.01)
    left = Lent("r", "b", 0, port.shipping, lambda: 2)
    left.write(b"0123")
    left.leave()
    assert not left.write(b"4567")
    with pytest.raises(ReaderGoneError):
        await left.drained(30.0)


async def test_a_lie_about_what_was_taken(port: Port) -> None:
    """More than was sent can't have been taken, nor less than before."""
    lent = Lent("r", "b", 0, port.shipping, lambda: 10)
    lent.write(b"0123456789abcdef")
    lent.heard(10**9, 1.0)
    lent.heard(0, 1.0)
    assert (lent.taken, lent.sent) == (10, 16)
