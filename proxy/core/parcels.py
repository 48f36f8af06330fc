"""Parcels: what the observers of another replica are sent of a generation's stream, many pieces at a time, sealed.

A piece says where in its reading it stands, so what got lost is seen and what comes twice does no harm. That is why
parcels, unlike letters, need no numbers and no time. They are packed together for one replica: repetitive events shrink
well, and one seal serves all.
"""

import hashlib
import hmac
import zlib
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import msgspec

from proxy.core.letters import LetterError, derive

_SIGNATURE: Final = hashlib.sha256().digest_size


class Kind(IntEnum):
    """What a piece is."""

    SAID = 0
    """Bytes of the stream; `at` is the position of the first one."""
    ASIDE = 1
    """A sign of life for the client of a quiet stream, which has no position of its own."""
    BEAT = 2
    """The owner still serves this reading; `at` is the position of what it says next."""
    ENDED = 3
    """Nothing more comes."""
    BROKEN = 4
    """The same, and the client must not take the stream for complete."""


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A part of one reading; `at` counts the stream's bytes."""

    reading: str
    at: int
    kind: Kind
    data: bytes = b""


class _Parcel(msgspec.Struct, frozen=True, array_like=True):
    to: str
    pieces: list[Piece]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Parcel)


class Parcels:
    """Seals parcels, and opens those that were sealed with the same secret for this replica."""

    def __init__(self, secret: bytes, replica: str) -> None:
        self._key = derive(secret, "parcels")
        self._replica = replica

    def close(self, to: str, pieces: Sequence[Piece]) -> bytes:
        """A parcel as it goes over the bus."""
        packed = zlib.compress(_ENCODER.encode(_Parcel(to, list(pieces))), 1)
        return hmac.digest(self._key, packed, "sha256") + packed

    def open(self, sealed: bytes) -> list[Piece]:
        """The pieces in a parcel that came for this replica.

        Raises:
            LetterError: nobody who has the secret sealed it, or it is for another replica.
        """
        signature, packed = sealed[:_SIGNATURE], sealed[_SIGNATURE:]
        if not hmac.compare_digest(signature, hmac.digest(self._key, packed, "sha256")):
            raise LetterError("forged")
        try:
            parcel = _DECODER.decode(zlib.decompress(packed))
        except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise LetterError("unreadable") from error
        if parcel.to != self._replica:
            raise LetterError("misdirected")
        return parcel.pieces
