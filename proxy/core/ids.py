"""Ids: unguessable, without counters or time in them (122 random bits each). And what is shown of who calls."""

from os import urandom
from typing import Final

OF_KEY: Final = "key:"
"""How the identity of a configured key begins; its id follows."""

_DIGITS: Final = 12


def new_id() -> str:
    """A fresh id for a generation, an answer or a record, as a UUID (version 4, RFC 9562) in text form.

    Every call takes three: `str(uuid.uuid4())` gives the same at twice the price.
    """
    bits = bytearray(urandom(16))
    bits[6] = bits[6] & 0x0F | 0x40
    bits[8] = bits[8] & 0x3F | 0x80
    text = bits.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def public_name(identity: str) -> str:
    """What people see of an identity: the id of its key, or the first digits of its credential's hash."""
    return identity.removeprefix(OF_KEY) if identity.startswith(OF_KEY) else identity[:_DIGITS]
