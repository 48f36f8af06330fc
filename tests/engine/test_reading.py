"""A stream that comes in pieces from another replica: in order and whole, whatever comes twice, late or not at all."""

import random

from proxy.core.letters import LookAt
from proxy.core.parcels import Kind, Piece
from proxy.engine.replicas.reading import Reading


def letter(number: str = "r") -> LookAt:
    """What asks for it."""
    return LookAt(
        to="a",
        by="b",
        at=0.0,
        number=number,
        identity="i",
        shown="i",
        route="/",
        rest="/",
        query="",
        user_header=None,
    )


def a_reading() -> tuple[Reading, list[tuple[int, bool]]]:
    """A reading, and what it had to tell: how much was taken, and whether something is lost."""
    told: list[tuple[int, bool]] = []
    return Reading(letter(), 0.0, lambda each: told.append((each.taken, each.is_lost))), told


def said(at: int, data: bytes, reading: str = "r") -> Piece:
    """A piece of the stream."""
    return Piece(reading, at, Kind.SAID, data)


async def test_what_comes_twice_counts_once() -> None:
    """Pieces that overlap with what is here add only what is new."""
    reading, _ = a_reading()
    for piece in (said(0, b"abc"), said(0, b"abc"), said(1, b"bcde"), said(5, b"f"), said(2, b"c")):
        reading.take(piece, 1.0)
    assert await reading.read() == b"abcdef"
    assert reading.position == 6


async def test_a_gap_is_seen_once() -> None:
    """A piece, a beat or an end behind what is here says that something is lost; it is told once, and nothing added."""
    for late in (said(9, b"x"), Piece("r", 9, Kind.BEAT), Piece("r", 9, Kind.ENDED), Piece("r", 9, Kind.BROKEN)):
        reading, told = a_reading()
        reading.take(said(0, b"abc"), 1.0)
        reading.take(late, 1.0)
        reading.take(late, 1.0)
        assert told == [(0, True)]
        assert await reading.read() == b"abc"
        assert not reading.is_over


async def test_what_an_older_letter_asked_for_is_no_gap() -> None:
    """Pieces that answer a letter before the last one fill in, and say nothing of what is lost."""
    reading, told = a_reading()
    reading.letter = letter("r-2")
    reading.take(said(3, b"d"), 1.0)
    assert told == []
    reading.take(said(0, b"abc"), 1.0)
    reading.take(said(3, b"d", "r-2"), 1.0)
    assert await reading.read() == b"abcd"


async def test_the_end_comes_behind_everything() -> None:
    """An end is one when all before it is here; then what waits is read, then nothing, and it stays the first end."""
    reading, _ = a_reading()
    reading.take(said(0, b"abc"), 1.0)
    reading.take(Piece("r", 3, Kind.ENDED), 1.0)
    reading.take(Piece("r", 3, Kind.BROKEN), 1.0)
    reading.take(said(3, b"d"), 1.0)
    assert await reading.read() == b"abc"
    assert await reading.read() == b""
    assert not reading.is_broken


async def test_signs_of_life_have_no_place() -> None:
    """A comment reaches the client where it belongs or not at all, and is not counted as taken."""
    reading, _ = a_reading()
    reading.take(said(0, b"abc"), 1.0)
    reading.take(Piece("r", 3, Kind.ASIDE, b": hello\n\n"), 1.0)
    reading.take(Piece("r", 1, Kind.ASIDE, b": late\n\n"), 1.0)
    reading.take(said(3, b"def"), 1.0)
    assert await reading.read() == b"abc: hello\n\ndef"
    reading.end(Kind.ENDED)
    assert await reading.read() == b""
    assert (reading.taken, reading.position) == (6, 6)


async def test_what_was_taken_is_told() -> None:
    """What the client took is told from some size on, once it comes for more."""
    reading, told = a_reading()
    reading.take(said(0, bytes(1000)), 1.0)
    await reading.read()
    reading.take(said(1000, bytes(2000)), 1.0)
    await reading.read()
    assert told == []
    reading.take(said(3000, b"x"), 1.0)
    await reading.read()
    assert told == [(3000, False)]


async def test_any_order_gives_the_stream() -> None:
    """Whatever order, doubling and loss: what is read is the stream's beginning, as far as it is whole."""
    chance = random.Random(5)
    whole = chance.randbytes(2000)
    for _ in range(200):
        reading, _ = a_reading()
        for _ in range(chance.randrange(1, 60)):
            start = chance.randrange(2000)
            if chance.random() < 0.6:
                start = min(start, reading.position)
            reading.take(said(start, whole[start : start + chance.randrange(200)]), 1.0)
        reading.end(Kind.ENDED)
        assert await reading.read() == whole[: reading.position]
