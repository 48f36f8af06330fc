"""Observing a generation: its client-side stream again, from any event on, each event with its number as `id:`."""

import asyncio
import re
from collections.abc import Iterator

from proxy.core.errors import Refusal
from proxy.core.headers import HeaderPair
from proxy.core.sse import Framer, encode_event, slices, with_id
from proxy.edge import downstream
from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.head import Ending
from proxy.engine.relaying.keep_alive import COMMENT
from proxy.engine.relaying.readers import Opening, Outlet, Reader
from proxy.engine.relaying.relay import Relay
from proxy.engine.relaying.tape import FallenBehindError, Tape

STREAM_HEADERS: tuple[HeaderPair, ...] = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),
)

_ID_LINE = re.compile(rb"(?:^|[\r\n])id(?=[:\r\n])")


class Numbered:
    """Turns a tape's bytes into numbered events, those behind `after` only."""

    def __init__(self, number: int, after: int, *, at_start: bool) -> None:
        """Begin behind event `number`; `at_start` when the first bytes that come are the stream's first."""
        self._number = number
        self._after = after
        self._at_start = at_start
        self._amid_event = False
        self._framer = Framer()

    def take(self, data: bytes) -> bytes:
        """The events that `data` completes."""
        return b"".join(self._events(self._framer.push(data)))

    def rest(self) -> bytes:
        """What the stream ended with and is no whole event: it goes on as it is."""
        return b"".join(self._events(self._framer.flush()))

    @property
    def amid_event(self) -> bool:
        """Whether nothing may be put behind what was given so far."""
        return self._amid_event

    def _events(self, block: bytes) -> Iterator[bytes]:
        found = slices(block, at_start=self._at_start)
        if found and self._amid_event:
            rest, _ = found.pop(0)
            yield rest if self._number > self._after else b""
        if found and self._framer.amid_event:  # of an event too large to be held its first piece gets the number
            found[-1] = (found[-1][0], True)
        for raw, counts in found:
            yield self._event(raw, counts=counts)
        if block:
            self._at_start, self._amid_event = False, self._framer.amid_event

    def _event(self, raw: bytes, *, counts: bool) -> bytes:
        self._number += counts
        if self._number < self._after or (counts and self._number == self._after):
            return b""
        # A comment has no number. But an id without data is what a parser would come back with, so it becomes ours.
        return with_id(raw, str(self._number)) if counts or _ID_LINE.search(raw) else raw


async def send_events(opening: Opening, source: Relay | Finished, after: int, deadline: float, *, holds: bool) -> None:
    """Send the events behind number `after`, live ones as they come, to the end.

    Args:
        opening: the observer.
        source: the live generation, or what is left of one that is over; its tape is what its client was sent.
        after: the last event the observer has; 0 for all.
        deadline: seconds in which the observer must take bytes.
        holds: whether the generation stays wanted while this observer is there.

    Raises:
        Refusal: 410, the events behind `after` are no longer kept; or the observer is one too many.
        ConnectionError: the observer left, or fell behind what the tape keeps.
    """
    if source.wiped and source.ending is not None:
        raise Refusal(410, "events_gone", "Its text was deleted; the record keeps the numbers.")
    reader, tape = Reader(holds=holds), source.tape
    relay = source if isinstance(source, Relay) else None
    source.attach(reader)
    try:
        await _begun(relay, reader)
        if tape.sse:
            position, number = _seek(tape, after)
            sink = await opening.begin(uid_of(source), STREAM_HEADERS)
            numbered = Numbered(number, after, at_start=not position)
            await _follow(relay, reader, tape, position, numbered, sink, deadline)
        else:
            whole = _whole(tape, after)
            sink = await opening.begin(uid_of(source), STREAM_HEADERS)
            if whole and source.ending is not Ending.BROKEN:
                await _send(sink, with_id(encode_event(whole), "1"), deadline)
        if source.ending is Ending.BROKEN:
            downstream.break_off()
    finally:
        source.detach(reader)


def uid_of(source: Relay | Finished) -> str:
    """The `uid` of the generation."""
    return source.generation.facts.uid if isinstance(source, Relay) else source.record.uid


async def _begun(relay: Relay | None, reader: Reader) -> None:
    """Wait until it is known what the client gets; an answer that is one event must be there as a whole."""
    while relay is not None and relay.ending is None and (relay.head is None or not relay.tape.sse):
        await reader.woken()


async def _follow(
    relay: Relay | None,
    reader: Reader,
    tape: Tape,
    position: int,
    numbered: Numbered,
    sink: Outlet,
    deadline: float,
) -> None:
    over = False
    while not over:
        over = relay is None or relay.ending is not None
        while position < tape.end:
            data = _read(tape, position)
            position += len(data)
            await _send(sink, numbered.take(data), deadline)
        if relay is not None and relay.ending is None:
            await _more(relay, reader, numbered, sink)
    await _send(sink, numbered.rest(), deadline)


async def _send(sink: Outlet, data: bytes, deadline: float) -> None:
    if data and not sink.write(data):
        await sink.drained(deadline)


async def _more(relay: Relay, reader: Reader, numbered: Numbered, sink: Outlet) -> None:
    """Wait for news of the generation; a silent upstream is bridged by comments where the route wants them."""
    try:
        async with asyncio.timeout(relay.rules.route.keepalive):
            await reader.woken()
    except TimeoutError:
        if not numbered.amid_event:
            sink.comment(COMMENT)


def _seek(tape: Tape, after: int) -> tuple[int, int]:
    try:
        return tape.seek(after)
    except FallenBehindError:
        raise _gone(after) from None


def _gone(after: int) -> Refusal:
    which = f"The events behind number {after}" if after else "The first events of this generation"
    return Refusal(410, "events_gone", f"{which} are no longer kept. Its record has what is kept of its text.")


def _read(tape: Tape, position: int) -> bytes:
    try:
        return tape.read(position)
    except FallenBehindError:
        raise downstream.BrokenOffError("the observer fell behind the tape") from None


def _whole(tape: Tape, after: int) -> bytes:
    """The one event of an answer that is no stream; empty when the observer has it."""
    if after >= 1:
        return b""
    if tape.start:
        raise _gone(after)
    parts, position = [], 0
    while position < tape.end:
        parts.append(tape.read(position))
        position += len(parts[-1])
    return b"".join(parts)
