"""Tests of proxy.engine.relaying.tape: what was appended is read back, from any position, in little memory."""

import os
import random
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.relaying.spill import Spill
from proxy.engine.relaying.tape import FallenBehindError, Tape
from proxy.engine.relaying.tape_limits import BLOCK_BYTES, MEMORY_BYTES

BOUND = 8 * 1024 * 1024


@pytest.fixture
def spill() -> Iterator[Spill]:
    """A spill file that goes with its test."""
    made = Spill()
    yield made
    made.close()


def read_all(tape: Tape, position: int = 0) -> bytes:
    """Everything from a position on, read block by block."""
    parts = []
    while position < tape.end:
        parts.append(tape.read(position))
        position += len(parts[-1])
    return b"".join(parts)


@given(st.lists(st.binary(max_size=9000), max_size=30), st.integers(min_value=0))
def test_reads_back_what_was_appended(pieces: list[bytes], start: int) -> None:
    """Whatever is appended is read back byte for byte, from any position."""
    spill = Spill()
    tape = Tape(spill, BOUND)
    for piece in pieces:
        tape.append(piece)
    whole = b"".join(pieces)
    position = start % (len(whole) + 1)
    assert tape.end == len(whole)
    assert read_all(tape, position) == whole[position:]
    spill.close()


def test_incompressible_bytes_spill_and_come_back(spill: Spill) -> None:
    """What does not fit into memory goes to the spill file, is read from there, and its slots are freed at the end."""
    tape = Tape(spill, BOUND)
    pieces = [os.urandom(5000) for _ in range(200)]
    for piece in pieces:
        tape.append(piece)
    assert spill.used > 0
    assert tape._blocks is not None
    assert tape._blocks.memory <= MEMORY_BYTES + BLOCK_BYTES + 5000
    assert read_all(tape) == b"".join(pieces)
    tape.close()
    assert spill.used == 0


def test_over_the_bound_the_oldest_bytes_go(spill: Spill) -> None:
    """A tape keeps its newest bytes up to the bound; a reader that needs older ones has fallen behind."""
    tape = Tape(spill, 64 * 1024)
    piece = bytes(range(256)) * 16
    for _ in range(100):
        tape.append(piece)
    assert 0 < tape.end - tape.start <= 64 * 1024 + BLOCK_BYTES
    assert read_all(tape, tape.start) == (piece * 100)[tape.start :]
    with pytest.raises(FallenBehindError):
        tape.read(0)
    with pytest.raises(FallenBehindError):
        tape.seek(-1)


def test_seek_finds_the_block_of_an_event(spill: Spill) -> None:
    """Seeking to an event gives a position and the number of events before it, whichever block it is in."""
    tape = Tape(spill, BOUND)
    tape.sse = True
    rng = random.Random(1)
    events = [b"data: %d %s\n\n" % (number, b"x" * rng.randrange(400)) for number in range(1000)]
    for event in events:
        tape.append(event)
    for wanted in (0, 1, 17, 500, 998, 999, 1000, 5000):
        position, before = tape.seek(wanted)
        assert before <= wanted
        assert read_all(tape, position) == b"".join(events[before:])


def test_full_disk_costs_the_oldest_bytes_only(spill: Spill, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the spill file can't be written, appending goes on and only the oldest bytes are lost."""

    def full(_data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spill, "write", full)
    tape = Tape(spill, BOUND)
    pieces = [os.urandom(5000) for _ in range(40)]
    for piece in pieces:
        tape.append(piece)
    assert tape.start > 0
    assert read_all(tape, tape.start) == b"".join(pieces)[tape.start :]


def test_spill_file_has_no_name_and_reuses_slots(spill: Spill) -> None:
    """The spill file is unlinked from the start, and a freed slot is used again."""
    first = spill.write(b"one")
    second = spill.write(b"two")
    spill.free(first)
    assert spill.write(b"three") == first
    assert spill.read(first, 5) == b"three"
    assert spill.read(second, 3) == b"two"
    assert os.fstat(spill._fd or -1).st_nlink == 0


def test_a_large_piece_spills_too(spill: Spill) -> None:
    """One large incompressible piece is kept as blocks of ordinary size, so that it spills like everything else."""
    tape = Tape(spill, BOUND)
    tape.sse = True
    pieces = [b"data: 1\n\n", b"data: " + os.urandom(300_000).hex().encode() + b"\n\n", b"data: 3\n\n"]
    for piece in pieces:
        tape.append(piece)
    tape.finish()
    assert tape._blocks is not None
    assert tape._blocks.memory <= MEMORY_BYTES + BLOCK_BYTES
    assert read_all(tape) == b"".join(pieces)
    position, before = tape.seek(1)
    assert read_all(tape, position) == b"".join(pieces[before:])


def test_a_part_written_is_a_failure(spill: Spill, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write of which the disk takes only a part fails, and its slot is free again."""
    spill.write(b"first")
    monkeypatch.setattr(os, "pwrite", lambda _fd, data, _at: len(data) - 1)
    with pytest.raises(OSError, match="only a part"):
        spill.write(b"second")
    assert spill.used == 1


def test_a_long_tape_takes_little_memory(spill: Spill) -> None:
    """A tape of megabytes that nobody reads holds its bound of bytes and a few numbers a block, in memory."""
    event = b"data: " + b"x" * 242 + b"\n\n"
    tracemalloc.start()
    try:
        tape = Tape(spill, BOUND)
        tape.sse = True
        for number in range(2 * BOUND // len(event)):
            tape.append(event if number % 8 else b"data: " + os.urandom(121).hex().encode() + b"\n\n")
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert tape.end - tape.start > BOUND - 2 * BLOCK_BYTES
    assert held < MEMORY_BYTES + 3 * BLOCK_BYTES


def test_exactly_behind_an_event(spill: Spill) -> None:
    """The position behind any event is exact, in sealed blocks and in the open one; None for events to come."""
    tape = Tape(spill, BOUND)
    tape.sse = True
    chance = random.Random(8)
    events = [b"event: e\ndata: " + b"x" * chance.choice((3, 200, 5000, 40_000)) + b"\n\n" for _ in range(300)]
    for event in events:
        tape.append(event)
    whole, at = b"".join(events), 0
    for number, event in enumerate((b"", *events)):
        at += len(event)
        assert tape.behind(number) == at
        assert read_all(tape, at) == whole[at:]
    assert tape.behind(301) is None


def test_behind_an_event_that_is_forgotten(spill: Spill) -> None:
    """An event that is no longer kept can't be found, one that is kept can."""
    tape = Tape(spill, 64 * 1024)
    tape.sse = True
    event = b"data: " + b"x" * 1000 + b"\n\n"
    for _ in range(300):
        tape.append(event)
    with pytest.raises(FallenBehindError):
        tape.behind(3)
    assert tape.behind(290) == 290 * len(event)
