"""Server-sent events as bytes: finding borders, reading events, writing events. Source: the WHATWG HTML standard, 9.2.

A line ends with LF, CRLF or CR, mixed as one likes; an event ends with a blank line. What passes through a `Framer` is
never changed: all that went in comes out, in order, only a little later, so that every piece ends at a border.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_EVENT = 1 << 20
"""How many bytes of an unfinished event are held back. Events with audio or images have some hundred kilobytes, and
thousands of streams that all stay below the bound must still fit into memory."""

BOM = b"\xef\xbb\xbf"

_BORDERS = (b"\n\n", b"\n\r", b"\r\r")
"""The end of a line and the blank line behind it. Its CR may be followed by its LF; CR LF alone is one end of line."""
_LINE_BREAK = re.compile(rb"\r\n|\r|\n")
_NO_LINE = re.compile("[\r\n\x00]")


class Framer:
    """Cuts a byte stream at event borders, byte for byte.

    An event of more than `max_event` bytes is no longer held back: it goes raw, as it comes, until its border.
    Whatever way the input is cut, the same bytes come out.
    """

    __slots__ = ("_calm", "_held", "_last", "_max_event", "_raw", "_whole", "oversize")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max_event = max_event
        self._held = bytearray()
        self._last = b""
        self._raw = False
        self._whole: slice | None = None
        self._calm = True
        self.oversize = False
        """Whether any event so far was too large to be held back."""

    @property
    def tail(self) -> bytes:
        """The bytes of the unfinished event that are held back."""
        return bytes(self._held)

    @property
    def amid_event(self) -> bool:
        """Whether the bytes given out so far end within an oversize event, so that nothing may be put behind them."""
        return self._raw

    def push(self, chunk: bytes) -> bytes:
        """Take what arrived; give everything up to the last border, b"" when there is none yet."""
        if self._calm and chunk.endswith(b"\n\n"):
            return chunk
        self._whole = None
        block = self._push_raw(chunk) if self._raw else self._push_held(chunk, self._border(chunk))
        self._last = chunk[-1:] or self._last
        self._calm = not self._held and not self._raw and self._whole is None
        return block

    def whole(self, block: bytes) -> bytes:
        """The part of the block just pushed that is whole events: all of it, but for bytes of an oversize event."""
        return block if self._whole is None else block[self._whole]

    def flush(self) -> bytes:
        """Give what is held back at the end of the stream: an event that never got its border."""
        tail = bytes(self._held)
        self._held.clear()
        self._raw, self._calm = False, True
        return tail

    def _push_held(self, chunk: bytes, border: int) -> bytes:
        held = self._held
        block = b""
        if border:
            block = bytes(held) + chunk[:border]
            held.clear()
        held += chunk[border:]
        if len(held) > self._max_event:
            self._raw = self.oversize = True
            self._whole = slice(0, len(block))
            block += held
            held.clear()
        return block

    def _push_raw(self, chunk: bytes) -> bytes:
        border = self._border(chunk)
        if not border:
            self._whole = slice(0, 0)
            return chunk
        probe = self._last + chunk
        first = min(_behind(probe, at) for pair in _BORDERS if (at := probe.find(pair)) >= 0) - len(self._last)
        self._raw = False
        block = self._push_held(chunk, border)
        self._whole = slice(first, border)
        return block

    def _border(self, chunk: bytes) -> int:
        """Where the last border within the chunk is; 0 for none."""
        amid = self._held or self._raw
        probe = self._last + chunk if amid else chunk
        at = probe.rfind(b"\n\n")
        if b"\r" in probe:
            at = max(at, *(probe.rfind(pair) for pair in _BORDERS))
        border = _behind(probe, at) if at >= 0 else 0
        if amid:
            return max(border - len(self._last), 0)
        return max(border, len(chunk) - len(chunk.lstrip(b"\r\n")))


def _behind(text: bytes, at: int) -> int:
    """The border of the pair of line ends at `at`: behind it, and behind the LF that belongs to its CR."""
    end = at + 2
    return end + 1 if text[end - 1 : end + 1] == b"\r\n" else end


class Event(NamedTuple):
    """One event as an SSE parser dispatches it."""

    type: str
    """`message` when the event names none."""
    data: bytes
    """The data lines joined by LF; UTF-8 as far as the sender keeps to it."""
    id: str | None
    """The event's own id; None when it has none."""
    raw: bytes
    """The event as it was sent, with its comments and its border."""


def slices(block: bytes, *, at_start: bool = False) -> list[tuple[bytes, bool]]:
    """Split whole events into (raw bytes, whether a parser dispatches an event for them), losing nothing.

    `at_start` says that the block begins the stream, where one byte order mark is ignored. Bytes behind the last
    border make a last slice that is not dispatched.
    """
    found: list[tuple[bytes, bool]] = []
    start = end = 0
    has_data = False
    for line in block.splitlines(keepends=True):
        at = end
        end += len(line)
        text = line.removeprefix(BOM) if at_start and not at else line
        if text[:1] in b"\r\n":
            found.append((block[start:end], has_data))
            start, has_data = end, False
        elif text.startswith(b"data") and text[4:5] in b":\r\n":
            has_data = True
    if start < end:
        found.append((block[start:], False))
    return found


def slices_with(word: bytes, block: bytes) -> Iterator[tuple[bytes, int]]:
    """Each event of a block (as in `slices`) that has `word` in it, with the position behind it; the word has no LF.

    Only these are cut out: for one event of a block of hundreds that costs a hundredth of cutting all.
    """
    if b"\r" in block:
        end = 0
        for raw, _ in slices(block):
            end += len(raw)
            if word in raw:
                yield raw, end
        return
    end = 0
    while (at := block.find(word, end)) >= 0:
        start = block.rfind(b"\n\n", end, at) + 2 if block.find(b"\n\n", end, at) >= 0 else end
        start += len(block[start:at]) - len(block[start:at].lstrip(b"\n"))  # a blank line is a slice of its own
        border = block.find(b"\n\n", at)
        end = border + 2 if border >= 0 else len(block)
        yield block[start:end], end


def events(block: bytes, *, at_start: bool = False) -> list[Event]:
    """The events that a parser dispatches for a block of whole events; see `slices` for `at_start`."""
    return [
        _event(raw, bom=at_start and not number)
        for number, (raw, counts) in enumerate(slices(block, at_start=at_start))
        if counts
    ]


def _event(raw: bytes, *, bom: bool) -> Event:
    data: list[bytes] = []
    kind = ident = None
    for line in (raw.removeprefix(BOM) if bom else raw).splitlines():
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            ident = value.decode(errors="replace")
    return Event(kind or "message", b"\n".join(data), ident, raw)


def plain_data(block: bytes) -> list[bytes] | None:
    """The data of each event when all events are a single line `data: …` with LF, as most are; else None."""
    if not block.startswith(b"data: ") or not block.endswith(b"\n\n") or b"\r" in block:
        return None
    found = block[6:-2].split(b"\n\ndata: ")
    return found if block.count(b"\n") == 2 * len(found) else None


def dispatched(block: bytes, *, at_start: bool = False) -> int:
    """How many events a parser dispatches for a block; comments and events without data are none."""
    lines = block.count(b"\n")
    if lines == 2 and block.startswith(b"data:") and block.endswith(b"\n\n") and b"\r" not in block:  # noqa: PLR2004 - a line and its border
        return 1
    count = block.count(b"\n\ndata:") + block.startswith(b"data:")
    if lines == 2 * count and block.endswith(b"\n\n") and b"\r" not in block:  # so each has one line and its border
        return count
    return sum(has_data for _, has_data in slices(block, at_start=at_start))


def encode_event(data: bytes, event: str | None = None, ident: str | None = None) -> bytes:
    """Write one event; data of several lines becomes several data lines.

    Raises:
        ValueError: a line break or NUL in `event` or `ident`, which would forge other fields.
    """
    lines = [b"data: " + line for line in _LINE_BREAK.split(data)]
    for name, value in ((b"event: ", event), (b"id: ", ident)):
        if value is not None:
            if _NO_LINE.search(value):
                raise ValueError(f"a line break or NUL in the event's {name.decode()[:-2]}")
            lines.insert(0, name + value.encode(errors="replace"))
    return b"\n".join(lines) + b"\n\n"


def comment(text: str) -> bytes:
    """Write a comment, which every SSE parser skips; line breaks in it become spaces."""
    return b": " + _NO_LINE.sub(" ", text).encode(errors="replace") + b"\n\n"


def with_id(raw_event: bytes, ident: str) -> bytes:
    """Give one raw event our id; the upstream's own id lines, and a byte order mark before it, are dropped.

    Raises:
        ValueError: a line break or NUL in `ident`.
    """
    if _NO_LINE.search(ident):
        raise ValueError("a line break or NUL in the event's id")
    lines = raw_event.removeprefix(BOM).splitlines(keepends=True)
    kept = [line for line in lines if not (line.startswith(b"id") and line[2:3] in b":\r\n")]
    return b"id: " + ident.encode(errors="replace") + b"\n" + b"".join(kept)
