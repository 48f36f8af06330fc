"""Parcels between replicas: sealed, packed, and for one addressee."""

import hmac
import zlib

import pytest

from proxy.core.letters import LetterError, derive
from proxy.core.parcels import Kind, Parcels, Piece

SECRET = b"a secret of the tests"
PIECES = [Piece("r-1", 7, Kind.SAID, b"data: x\n\n"), Piece("r-2", 0, Kind.BEAT), Piece("r-1", 16, Kind.ENDED)]


def sealed(packed: bytes) -> bytes:
    """Anything with a true seal."""
    return hmac.digest(derive(SECRET, "parcels"), packed, "sha256") + packed


def test_what_was_packed_comes_out() -> None:
    """The pieces come out as they went in, in order, and repetitive ones take little room."""
    a, b = Parcels(SECRET, "a"), Parcels(SECRET, "b")
    assert b.open(a.close("b", PIECES)) == PIECES
    many = [Piece("r-1", 0, Kind.SAID, b'data: {"choices":[{"delta":{"content":"word "}}]}\n\n' * 100)]
    assert len(a.close("b", many)) < 300


@pytest.mark.parametrize(
    ("parcel", "why"),
    [
        (Parcels(b"another", "a").close("b", PIECES), "forged"),
        (Parcels(SECRET, "a").close("c", PIECES), "misdirected"),
        (Parcels(SECRET, "a").close("b", PIECES)[:-1], "forged"),
        (b"", "forged"),
        (sealed(b"no zlib"), "unreadable"),
        (sealed(zlib.compress(b"no msgpack")), "unreadable"),
        (sealed(zlib.compress(b"\x92\xa1b\x91\x94\xa1r\x00\x63\xa0")), "unreadable"),
    ],
)
def test_what_is_not_opened(parcel: bytes, why: str) -> None:
    """A parcel without the secret's seal, for another replica, or with something else in it is refused, and why."""
    with pytest.raises(LetterError) as refused:
        Parcels(SECRET, "b").open(parcel)
    assert refused.value.why == why
