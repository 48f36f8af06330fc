"""Counting tokens where an upstream gave no usage: a tokenizer over the text, else an estimate.

Always over a whole text, once: counts of single deltas don't add up. Long texts are counted on a thread of the
counter's own, in pieces, because the tokenizer keeps the interpreter to itself while it works on one.
"""

import asyncio
import importlib
import json
import math
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from proxy.core.record import UsageSource

Encode: TypeAlias = Callable[[str], list[int]]

O200K: Final = "o200k_base"
CL100K: Final = "cl100k_base"

_MODELS: Final = (
    (("gpt-4o", "gpt-4.1", "gpt-5", "o1", "o3", "o4", "chatgpt-"), O200K),
    (("gpt-4", "gpt-3.5"), CL100K),
)

_AT_ONCE: Final = 4096
"""Characters up to which a text is counted on the event loop: 0.1 ms, about what the way to a thread takes."""

_PIECE: Final = 16_384
"""Characters counted in one go on the thread: the event loop waits half a millisecond for it at most."""

_PIECE_MOST: Final = 40_000
"""Characters after which a text without a border is cut anyway; at 4 tokens each still below the tokenizer's limit."""

_BORDER: Final = re.compile(r"\n(?=[^\s/])|(?<=[a-z])(?= [A-Za-z])")
"""Where no token of either vocabulary reaches across: behind a line's end, and in front of the blank between words."""

CHARACTERS_A_TOKEN: Final = 4
"""Where there is no tokenizer."""

_PER_MESSAGE: Final = 3
_PER_NAME: Final = 1
_PER_REPLY: Final = 3

_T = TypeVar("_T")


class Counter:
    """Counts texts and prompts. Works without the tokenizer's package too, then every count is an estimate."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="token-counter")
        self._encodings: dict[str, Encode | None] = {}
        self._turn = asyncio.Lock()

    async def warm(self) -> None:
        """Load the vocabularies (a second, 120 MB), so that no generation waits for them."""
        for encoding in (O200K, CL100K):
            await self._on_thread(partial(self._encode, encoding))

    def turn(self, characters: int) -> AbstractAsyncContextManager[None]:
        """A turn to make a text of about so many characters and have it counted.

        A long text waits here before it is made, not afterwards for the thread: of a thousand answers that end at
        once, one is in memory.
        """
        return self._turn if characters > _AT_ONCE else nullcontext()

    async def count(self, text: str, encoding: str) -> tuple[int, UsageSource]:
        """The number of tokens of a text, and how exact it is.

        An encoding that is not at hand (no package, an unknown name) gives an estimate: a token for 4 characters.
        """
        if len(text) <= _AT_ONCE and encoding in self._encodings:
            return self._count(text, encoding)
        return await self._on_thread(partial(self._count, text, encoding))

    async def count_prompt(self, body: bytes, encoding: str) -> tuple[int | None, UsageSource]:
        """The number of prompt tokens of an OpenAI request: `messages` of a chat, else `prompt`, else `input`.

        Messages follow OpenAI's published recipe: 3 tokens a message, 1 for a name, 3 for the reply's beginning. Of
        content parts the text counts; pictures, sound and tools don't. None if the body has no prompt that is text.
        """
        if len(body) <= _AT_ONCE and encoding in self._encodings:
            return self._count_prompt(body, encoding)
        return await self._on_thread(partial(self._count_prompt, body, encoding))

    async def aclose(self) -> None:
        """Finish what is being counted, then end the thread."""
        await self._on_thread(_nothing)
        self._thread.shutdown()

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _encode(self, encoding: str) -> Encode | None:
        if encoding not in self._encodings:
            self._encodings[encoding] = load_encoding(encoding)
        return self._encodings[encoding]

    def _count(self, text: str, encoding: str) -> tuple[int, UsageSource]:
        encode = self._encode(encoding)
        if encode is None:
            return math.ceil(len(text) / CHARACTERS_A_TOKEN), UsageSource.ESTIMATE
        return sum(len(encode(piece)) for piece in pieces(text)), UsageSource.TOKENIZER

    def _count_prompt(self, body: bytes, encoding: str) -> tuple[int | None, UsageSource]:
        try:
            return self._count_request(_parsed(body), encoding)
        except RecursionError:  # lists in lists in lists: no prompt, whatever it is
            return None, UsageSource.NONE

    def _count_request(self, request: Any, encoding: str) -> tuple[int | None, UsageSource]:
        if not isinstance(request, dict):
            return None, UsageSource.NONE
        messages = request.get("messages")
        if isinstance(messages, list):
            texts, extra = list(_message_texts(messages)), _overhead(messages)
        else:
            prompt = request.get("prompt", request.get("input"))
            if prompt is None:
                return None, UsageSource.NONE
            texts, extra = list(_prompt_texts(prompt)), _prompt_tokens(prompt)
        counts = [self._count(text, encoding) for text in texts]
        source = counts[0][1] if counts else UsageSource.TOKENIZER
        return extra + sum(count for count, _ in counts), source


def encoding_for(model: str, setting: str) -> str:
    """The encoding to count a model's tokens with: the setting, unless it is `auto`.

    Other providers' models have vocabularies of their own; for these the newest one of OpenAI's is an approximation.
    """
    if setting != "auto":
        return setting
    name = model.rpartition("/")[2].lower()
    return next((encoding for prefixes, encoding in _MODELS if name.startswith(prefixes)), O200K)


def pieces(text: str, size: int = _PIECE, most: int = _PIECE_MOST) -> Iterator[str]:
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


def load_encoding(encoding: str) -> Encode | None:
    """The tokenizer of an encoding, loaded once a process; None without its package, or for an unknown name."""
    try:
        encode: Encode = importlib.import_module("bpe_openai").get_encoding(encoding).encode_ordinary
    except (ImportError, KeyError):  # the package is optional; it answers a name it does not know with a KeyError
        return None
    return encode


def _nothing() -> None:
    """Behind everything that waits for the thread."""


def _parsed(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        pass
    try:
        return json.loads(body)  # takes lone surrogates and NaN, as the upstream may have
    except ValueError:
        return None


def _message_texts(messages: list[Any]) -> Iterator[str]:
    for message in messages:
        if isinstance(message, dict):
            for key in ("role", "name", "content"):
                yield from _prompt_texts(message.get(key))


def _overhead(messages: list[Any]) -> int:
    named = sum(isinstance(message, dict) and isinstance(message.get("name"), str) for message in messages)
    return _PER_MESSAGE * len(messages) + _PER_NAME * named + _PER_REPLY


def _prompt_texts(prompt: Any) -> Iterator[str]:
    """Every text in a string, a content part, an input item, or a list of such."""
    if isinstance(prompt, str):
        yield prompt
    elif isinstance(prompt, list):
        for part in prompt:
            yield from _prompt_texts(part)
    elif isinstance(prompt, dict):
        yield from _prompt_texts(prompt.get("text", prompt.get("content")))


def _prompt_tokens(prompt: Any) -> int:
    """How many tokens were sent as tokens: `prompt` of completions may be a list of numbers, or several."""
    if isinstance(prompt, list):
        return sum(_prompt_tokens(part) for part in prompt)
    return int(isinstance(prompt, int) and not isinstance(prompt, bool))
