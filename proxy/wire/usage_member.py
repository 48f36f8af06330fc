"""Taking running totals out of chunks again, where they were asked for by us: every other byte stays as it came."""

import re
from typing import Final

import msgspec

from proxy.core import sse
from proxy.wire.body_edit import without_member

USAGE: Final = b'"usage"'
_NAME: Final = "usage"

_NO_CHOICES: Final = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_DATA: Final = re.compile(rb"(?:\A|[\r\n])data:[ ]?([^\r\n]*)")


class _Chunk(msgspec.Struct, gc=False):
    """A chunk read for the bytes of its usage."""

    usage: msgspec.Raw = msgspec.Raw()


_CHUNK: Final = msgspec.json.Decoder(_Chunk)


def has_no_choices(data: bytes) -> bool:
    """Whether a chunk says, by its bytes, that it has no choices: the one that exists only for usage does."""
    return _NO_CHOICES.search(data) is not None


def without_running_usage(block: bytes, *, null: bool) -> bytes:
    """The block without the `usage` of chunks that have choices; `null` leaves the member, without what it says."""
    if USAGE not in block:
        return block
    plain = sse.plain_data(block)
    if plain is not None:
        return b"data: " + b"\n\ndata: ".join([_without(data, null=null) for data in plain]) + b"\n\n"
    kept: list[bytes] = []
    end = 0
    for raw, border in sse.slices_with(USAGE, block):
        kept += (block[end : border - len(raw)], _event_without(raw, null=null))
        end = border
    return b"".join((*kept, block[end:]))


def _event_without(raw: bytes, *, null: bool) -> bytes:
    """One event without the member. An event whose data has several lines stays as it is: none of these servers'."""
    lines = list(_DATA.finditer(raw))
    if len(lines) != 1:
        return raw
    start, end = lines[0].span(1)
    return raw[:start] + _without(raw[start:end], null=null) + raw[end:]


def _without(data: bytes, *, null: bool) -> bytes:
    """The chunk without the member, by its bytes where the word is there once, as in nearly every chunk."""
    if USAGE not in data or has_no_choices(data):
        return data
    value = _value(data) if data.count(USAGE) == 1 else b""
    if value and (member := b',"usage":' + value) in data:
        return data.replace(member, b',"usage":null' if null else b"")
    try:
        return without_member(data, _NAME, "null" if null else None)
    except (ValueError, RecursionError):  # what can't be read is passed on, here as everywhere
        return data


def _value(data: bytes) -> bytes:
    """The bytes of the member's value; none, where this reader is stricter than most (half a surrogate pair, NaN)."""
    try:
        return bytes(_CHUNK.decode(data).usage)
    except (msgspec.DecodeError, RecursionError):
        return b""
