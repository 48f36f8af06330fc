"""Tests of proxy.core.kept_text: whatever was added is there, whenever it is taken, in little memory."""

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.kept_text import Text

pieces = st.one_of(
    st.text(st.sampled_from("aé😀\ud83d\ude00\udfff\ud800"), max_size=6),
    st.integers(1, 40_000).map(lambda size: "long \ud83d" * (size // 6)),
)


@given(st.lists(st.tuples(pieces, st.integers(1, 130), st.booleans()), max_size=12))
def test_every_character_is_kept_and_taken_once(added: list[tuple[str, int, bool]]) -> None:
    """Short and long pieces, many or few, taken now and then: the value is their sum, and so is what was taken."""
    text, whole, taken = Text(), "", ""
    for piece, times, takes in added:
        for _ in range(times if len(piece) < 100 else 1):
            text.add(piece)
            whole += piece
        if takes:
            taken += text.take()
            assert whole.startswith(taken)
            assert len(whole) - len(taken) <= 1
        assert text.value() == whole
        assert text.size == len(whole)
        for start in (0, len(whole) // 3, len(whole) - 20_000, len(whole) - 1, len(whole)):
            assert text.since(max(start, 0)) == whole[max(start, 0) :]
    text.add("end")
    assert taken + text.take() == whole + "end"
    assert text.take() == ""


def test_a_long_text_is_kept_compressed() -> None:
    """A text of a million characters takes much fewer bytes, taken or not."""
    rng = random.Random(1)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) + " " for _ in range(2000)]
    for takes in (True, False):
        tracemalloc.start()
        try:
            text, size = Text(), 0
            while size < 1_000_000:
                piece = rng.choice(words)
                text.add(piece)
                size += len(piece)
                if takes and size % 1000 == 0:
                    text.take()
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert held < 0.6 * size
        assert len(text.value()) == size
