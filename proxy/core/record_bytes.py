"""A record as bytes, for a letter to another replica and for the directory."""

from dataclasses import replace
from typing import Final

import msgspec

from proxy.core.record import Record

_DECODER: Final = msgspec.json.Decoder(Record)


def record_bytes(record: Record) -> bytes:
    """The record as JSON. A text that JSON can't carry (half a character in it) stays behind."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        return msgspec.json.encode(replace(record, text=None, text_clipped=True))


def record_of(data: bytes) -> Record | None:
    """The record in these bytes; None: they have none, as another version may write one."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
