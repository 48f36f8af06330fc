"""Tests of proxy.core.token_borders: no token reaches across a border."""

import bpe_openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.token_borders import last_border, pieces

WORDS = [
    "a",
    "Ab",
    "B",
    "é",
    "ß",
    "漢",
    "字",
    "क",
    "7",
    "12",
    "²",
    "½",
    "Ⅷ",
    "'s",
    "'S",
    "re",
    "ll",
    "😀",
    "👩\u200d🔬",
]
MARKS = ["\u0627", "\u0650", "\u094d", "i\u0307", "\u0301", "\u200d"]
SIGNS = ["'", "\u2019", "/", ".", ",", ")", "(", "。", "\uff0c", "_", "-", '"', "!", "?", ":"]
BLANKS = [" ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", "\xa0", "\u3000", "\x1c", "x y"]
TEXT = st.lists(st.sampled_from([*WORDS, *MARKS, *SIGNS, *BLANKS])).map("".join)


@given(text=TEXT, size=st.integers(1, 12))
@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_the_pieces_have_the_tokens_of_the_whole(encoding: str, text: str, size: int) -> None:
    """Wherever a text is cut at a border, its parts have the tokens of the whole."""
    encode = bpe_openai.get_encoding(encoding).encode_ordinary
    cut = list(pieces(text, size))
    assert "".join(cut) == text
    assert [token for piece in cut for token in encode(piece)] == encode(text)
    end = last_border(text)
    assert encode(text[:end]) + encode(text[end:]) == encode(text)


def test_a_text_without_borders_is_cut_all_the_same() -> None:
    """No piece is longer than the most, and all but the last are at least of the size asked for."""
    cut = list(pieces("漢" * 95, size=20, most=30))
    assert [len(piece) for piece in cut] == [30, 30, 30, 5]


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", 0),
        ("word", 0),
        ("a word", 1),
        ("a word ", 6),
        ("one, two", 4),
        ("one\n", 3),
        ("a b" + "x" * 3000, 1),
        ("昨夜の雨。静か", 4),
        ("😀" * 500, 0),
    ],
)
def test_the_last_border_is_found(text: str, end: int) -> None:
    """It is the last place before which nothing can change any more, also far from the text's end."""
    assert last_border(text) == end
