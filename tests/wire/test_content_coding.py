import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.content_coding import Decoder, decoder_for
from support.recordings import recorded

BODY = recorded("llama-chat")


def raw_deflate(data: bytes) -> bytes:
    """Deflate without the zlib header, as many servers send it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("X-GZIP ", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
]


def fed(decoder: Decoder | None, data: bytes, size: int) -> bytes:
    """What the decoder gives for data in pieces of a size."""
    assert decoder is not None
    return b"".join(decoder.feed(data[at : at + size]) for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
@pytest.mark.parametrize(("coding", "pack"), CODINGS)
def test_a_coded_body_is_read_in_any_pieces(coding: str, pack: Callable[[bytes], bytes], size: int) -> None:
    """U15: gzip and both kinds of deflate are decoded, cut in any way."""
    decoder = decoder_for(coding)
    assert fed(decoder, pack(BODY), size) == BODY
    assert decoder is not None
    assert decoder.whole
    assert decoder.failed is None
    decoder.feed(b"trailing garbage")
    assert decoder.failed in (None, "damaged")


def test_several_gzip_members_are_one_body() -> None:
    """A gzip body may be several members one after the other."""
    assert fed(decoder_for("gzip"), gzip.compress(b"a") + gzip.compress(b"b"), 5) == b"ab"


@pytest.mark.parametrize("spare", [-2, -1, 0, 1, 2, 200])
@pytest.mark.parametrize(("coding", "pack"), CODINGS)
def test_output_of_any_length_comes_at_once(coding: str, pack: Callable[[bytes], bytes], spare: int) -> None:
    """Plain bytes around the size of an inner step are all given with the bytes that carry them."""
    body = b"a" * (2 * 65536 + spare)
    decoder = decoder_for(coding)
    assert decoder is not None
    assert decoder.feed(pack(body)) == body
    assert decoder.whole


def test_text_is_there_when_the_server_flushes() -> None:
    """Each event that the server flushed is decoded at once, not at the end of the body."""
    packer, decoder = zlib.compressobj(wbits=31), decoder_for("gzip")
    assert decoder is not None
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        assert decoder.feed(packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)) == event
    assert not decoder.whole


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip;q=1", "compress", "", "identity", "wat"])
def test_what_we_cannot_read_stays_opaque(coding: str) -> None:
    """U15: for any other coding there is no decoder."""
    assert decoder_for(coding) is None


def test_a_cut_body_is_not_whole() -> None:
    """U16: a gzip body cut at any byte gives what came, raises nothing, and is not whole."""
    packed = gzip.compress(BODY)
    for cut in range(len(packed)):
        decoder = Decoder("gzip")
        assert BODY.startswith(decoder.feed(packed[:cut]))
        assert not decoder.whole


def test_a_bomb_is_stopped() -> None:
    """U16: 50 MB of zeros in 50 kB stop at the ratio, long before the cap, and nothing more is decoded."""
    decoder = Decoder("gzip")
    bomb = gzip.compress(bytes(50_000_000))
    assert len(fed(decoder, bomb, 4096)) < 4_000_000
    assert decoder.failed == "bomb"
    assert decoder.feed(bomb) == b""


def test_the_output_is_capped() -> None:
    """Text that compresses as text does is decoded up to the cap."""
    decoder = Decoder("deflate", max_output=100_000)
    plain = fed(decoder, zlib.compress(b"".join(b"%d," % number for number in range(100_000))), 1000)
    assert 100_000 < len(plain) < 200_000
    assert (decoder.failed, decoder.whole) == ("bomb", False)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@given(st.binary(max_size=200), st.integers(1, 50))
def test_garbage_is_flagged_and_never_raises(coding: str, data: bytes, size: int) -> None:
    """Whatever comes, nothing is raised, and after damage nothing more is given."""
    decoder = decoder_for(coding)
    assert decoder is not None
    fed(decoder, data, size)
    if decoder.failed:
        assert decoder.feed(gzip.compress(b"x")) == b""
