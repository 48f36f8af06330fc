"""A record as bytes, for a letter to another replica and for the directory."""

from dataclasses import fields, replace
from typing import Any, Final

import msgspec

from proxy.core.partial import safe_text
from proxy.core.record import Record

_DECODER: Final = msgspec.json.Decoder(Record)


def record_bytes(record: Record) -> bytes:
    """The record as JSON. Where half a character stands in it, which JSON can't carry, the text stays behind."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        short = {each.name: getattr(record, each.name) for each in fields(record) if each.name != "text"}
        whole: dict[str, Any] = {name: safe_text(value) for name, value in short.items() if type(value) is str}
        return msgspec.json.encode(replace(record, **whole, text=None, text_clipped=True))


def record_of(data: bytes) -> Record | None:
    """The record in these bytes; None: they have none, as another version may write one."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
