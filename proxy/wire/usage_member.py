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
    kept, end = [], 0
    for raw, border in sse.slices_with(USAGE, block):
        kept += (block[end : border - len(raw)], raw if has_no_choices(raw) else _without(raw, null=null))
        end = border
    return b"".join((*kept, block[end:]))


def _without(raw: bytes, *, null: bool) -> bytes:
    """One event without the member. An event whose data has several lines stays as it is: none of these servers'."""
    lines = list(_DATA.finditer(raw))
    if len(lines) != 1:
        return raw
    start, end = lines[0].span(1)
    try:
        return raw[:start] + _edited(raw[start:end], null=null) + raw[end:]
    except (ValueError, RecursionError):  # what can't be read is passed on, here as everywhere
        return raw


def _edited(data: bytes, *, null: bool) -> bytes:
    """The chunk without the member: by its bytes, where they are there once, as in nearly every chunk.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        value = bytes(_CHUNK.decode(data).usage)
    except msgspec.DecodeError:
        value = b""
    member = b',"usage":' + value
    if value and data.count(member) == 1 and data.count(b'"usage":' + value) == 1:
        return data.replace(member, b',"usage":null' if null else b"")
    return without_member(data, _NAME, "null" if null else None)
