"""Observing a generation: its client-side stream again, from any event on, each event with its number as `id:`."""

from collections.abc import Iterator

from aiohttp import web

from proxy.core.errors import Refusal
from proxy.core.headers import HeaderPair
from proxy.core.sse import Framer, encode_event, slices, with_id
from proxy.edge import downstream
from proxy.engine.head import Ending
from proxy.engine.readers import Reader
from proxy.engine.relay import Relay
from proxy.engine.tape import FallenBehindError, Tape

STREAM_HEADERS: tuple[HeaderPair, ...] = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),
)


class Numbered:
    """Turns the tape's bytes into numbered events, those behind `after` only."""

    def __init__(self, number: int, after: int) -> None:
        self._number = number
        self._after = after
        self._framer = Framer()

    def take(self, data: bytes) -> bytes:
        """The events that `data` completes."""
        return b"".join(self._events(self._framer.push(data)))

    def _events(self, block: bytes) -> Iterator[bytes]:
        for raw, dispatched in slices(block):
            self._number += dispatched
            if self._number > self._after:
                yield with_id(raw, str(self._number)) if dispatched else raw


async def send_events(
    request: web.BaseRequest,
    relay: Relay | None,
    tape: Tape,
    after: int,
    deadline: float,
    headers: list[HeaderPair],
    *,
    holds: bool,
) -> web.StreamResponse:
    """Send the events behind number `after`, live ones as they come, to the end.

    Args:
        request: the observer's.
        relay: the live generation; None when it is over and only its tape is left.
        tape: what its client was sent.
        after: the last event the observer has; 0 for all.
        deadline: seconds in which the observer must take bytes.
        headers: added to the answer's.
        holds: whether the generation stays wanted while this observer is there.

    Raises:
        Refusal: 410, the events behind `after` are no longer kept.
        ConnectionError: the observer left, or fell behind what the tape keeps.
    """
    reader = Reader(holds=holds)
    if relay is not None:
        relay.attach(reader)
    try:
        while relay is not None and relay.head is None:
            await reader.woken()
        position, number = _seek(tape, after)
        response, sink = await downstream.begin(request, 200, [*STREAM_HEADERS, *headers], None)
        numbered = Numbered(number, after)
        while True:
            over = relay is None or relay.ending is not None
            while position < tape.end and (tape.sse or over):
                data = _read(tape, position)
                position += len(data)
                shown = numbered.take(data) if tape.sse else b""
                if shown and not sink.write(shown):
                    await sink.drained(deadline)
            if over:
                break
            if relay is not None and relay.ending is None:
                await reader.woken()
        if not tape.sse and tape.end and after < 1:
            sink.write(with_id(encode_event(_whole(tape)), "1"))
        if relay is not None and relay.ending is Ending.BROKEN:
            downstream.break_off()
        return response
    finally:
        if relay is not None:
            relay.detach(reader)


def _seek(tape: Tape, after: int) -> tuple[int, int]:
    try:
        return tape.seek(after)
    except FallenBehindError:
        message = "The events behind this number are no longer kept. The record has the partial text."
        raise Refusal(410, "events_gone", message) from None


def _read(tape: Tape, position: int) -> bytes:
    try:
        return tape.read(position)
    except FallenBehindError:
        raise ConnectionResetError("the observer fell behind the tape") from None


def _whole(tape: Tape) -> bytes:
    parts, position = [], tape.start
    while position < tape.end:
        parts.append(tape.read(position))
        position += len(parts[-1])
    return b"".join(parts)
