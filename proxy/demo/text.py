"""What the demo upstream says: a text that explains itself, cut so that each piece is one token for a tokenizer too."""

import re
from collections.abc import Iterator

TEXT = (
    "This answer comes from Quell's demo upstream. No model made it, no key was used, and it cost nothing. "
    "Each word is sent as one token, forty of them in a second, so that there is time to stop it. "
    "Send its id to the cancel route from another window: the stream ends the way your client expects, "
    "the text so far is kept, and only the tokens that were made are counted. "
    "The demo upstream says when it saw the connection close, and after how many tokens. "
    "Ask for another speed, length, silence or failure with the demo field of the request."
)

# Words are single tokens in the cl100k and o200k vocabularies; the name alone is two.
PIECES: tuple[str, ...] = tuple(re.findall(r" Qu(?=ell)|'s| ?\w+|[.,:]", TEXT))


def pieces(tokens: int) -> list[str]:
    """The text as `tokens` pieces; it starts again when it is too short."""
    return [_piece(index) for index in range(tokens)]


def _piece(index: int) -> str:
    turn, at = divmod(index, len(PIECES))
    return f" {PIECES[0]}" if turn and not at else PIECES[at]


def texts(prompt: object) -> Iterator[str]:
    """Every text in a prompt or in messages, however deep; roles and types are none."""
    todo = [prompt]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            todo += value
        elif isinstance(value, dict):
            todo.append(value.get("content") or value.get("text"))
