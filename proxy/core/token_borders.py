"""Where a text can be cut so that its parts have the tokens of the whole."""

import re
from collections import deque
from collections.abc import Iterator
from typing import Final

PIECE: Final = 16_384
"""Characters counted in one go: half a millisecond, in which the tokenizer keeps the interpreter to itself."""

PIECE_MOST: Final = 40_000
"""Characters after which a text without a border is cut anyway; at 4 tokens each still below the tokenizer's limit."""

_BORDER: Final = re.compile(
    r"""
    \n(?=[^\s/])                            # behind a line's end
    | (?<=\S)(?=\ )                         # in front of a blank
    | (?<=[^\W_])(?=[\n\r,.;:!?()"]        # behind a word or a number
        | [\u3001\u3002\u300c\u300d\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f])  # the same in Chinese and Japanese
    """,
    re.VERBOSE,
)
"""Where no token of OpenAI's vocabularies, or of others that split words like they do, reaches across.

Their rules: a word's token may begin with one blank or sign and goes on over letters, digits stand in threes, signs go
on over signs and line ends, and blanks belong to what follows them.
"""

_WINDOWS: Final = (64, 1024)
"""Characters at the end of a text in which its last border nearly always is."""


def pieces(text: str, size: int = PIECE, most: int = PIECE_MOST) -> Iterator[str]:
    """Cut a text so that the tokens of the pieces are the tokens of the text.

    Each piece has at least `size` characters, but for the last; only where `most` characters have no border is the cut
    made anyway, and may cost a token.
    """
    start = 0
    while len(text) - start > size:
        border = _BORDER.search(text, start + size, min(start + most, len(text)))
        # Without a border the end of the text may still be within reach.
        end = border.end() if border else min(start + most, len(text))
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def last_border(text: str) -> int:
    """How many characters stand before the last border of a text; 0: it has none."""
    for window in (*_WINDOWS, len(text)):
        start = max(len(text) - window, 0)
        if found := deque(_BORDER.finditer(text, start), maxlen=1):
            return found[0].end()
        if not start:
            break
    return 0
