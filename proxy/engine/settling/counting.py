"""Counting tokens where an upstream gave no usage: a tokenizer over the text, else an estimate.

Always over a whole text, once: counts of single deltas don't add up. Long texts are counted on a thread of the
counter's own, in pieces, because a tokenizer may keep the interpreter to itself while it works on one.
"""

import asyncio
import importlib
import json
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import structlog

from proxy.config_file.vocabulary import VocabularyError, read_vocabulary
from proxy.core.encodings import CL100K, O200K, Vocabulary, is_file
from proxy.core.partial import safe_text
from proxy.core.prompt import read_prompt
from proxy.core.record import UsageSource
from proxy.core.token_borders import pieces
from proxy.core.usage import CHARACTERS_A_TOKEN

log = structlog.get_logger()

_AT_ONCE: Final = 4096
"""Characters up to which a text is counted on the event loop: 0.1 ms, about what the way to a thread takes."""


_T = TypeVar("_T")

_inherited: Final[dict[str, Vocabulary | None]] = {}
"""What was loaded before this process was forked; to ask the package for it once more would copy a part of it."""


class Counter:
    """Counts texts and prompts. Works without the tokenizer's package too, then every count is an estimate."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="token-counter")
        self._vocabularies: dict[str, Vocabulary | None] = {}
        self._turn = asyncio.Lock()

    async def warm(self, encodings: Iterable[str] = ()) -> None:
        """Load the vocabularies (a second, 120 MB), so that no generation waits for them.

        Args:
            encodings: what the settings name beside `auto`; files are read again if they have changed.
        """
        for encoding in dict.fromkeys((O200K, CL100K, *encodings)):
            if is_file(encoding) or encoding not in self._vocabularies:
                await self._on_thread(partial(self._load, encoding))

    def turn(self, characters: int) -> AbstractAsyncContextManager[None]:
        """A turn to make a text of about so many characters and have it counted.

        A long text waits here before it is made, not afterwards for the thread: of a thousand answers that end at
        once, one is in memory.
        """
        return self._turn if characters > _AT_ONCE else nullcontext()

    def seam(self, encoding: str) -> int:
        """How many tokens more two parts of a text have than the whole, in a vocabulary that is at hand."""
        vocabulary = self._vocabularies.get(encoding)
        return vocabulary.seam if vocabulary else 0

    async def count(self, text: str, encoding: str) -> tuple[int, UsageSource]:
        """The number of tokens of a text, and how exact it is.

        An encoding that is not at hand (no package, no such file) gives an estimate: a token for 4 characters.
        """
        if len(text) <= _AT_ONCE and encoding in self._vocabularies:
            return self._count(text, encoding)
        return await self._on_thread(partial(self._count, text, encoding))

    async def count_each(self, texts: Iterable[str], encoding: str) -> tuple[int, UsageSource]:
        """The tokens of several texts that no token reaches across, made one after the other."""
        total, source = 0, UsageSource.TOKENIZER
        for text in texts:
            count, exact = await self.count(text, encoding)
            total, source = total + count, least_exact(source, exact)
        return total, source

    async def count_prompt(self, body: bytes, encoding: str) -> tuple[int | None, UsageSource]:
        """The number of prompt tokens of a request, see `core.prompt`; None if it has no prompt that is text.

        Of a prompt with pictures or other things that can't be counted it is a lower bound, and called an estimate.
        """
        if len(body) <= _AT_ONCE and encoding in self._vocabularies:
            return self._count_prompt(body, encoding)
        return await self._on_thread(partial(self._count_prompt, body, encoding))

    async def aclose(self) -> None:
        """Finish what is being counted, then end the thread."""
        await self._on_thread(_nothing)
        self._thread.shutdown()

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _load(self, encoding: str) -> Vocabulary | None:
        found = self._vocabularies[encoding] = _from_file(encoding) if is_file(encoding) else _built_in(encoding)
        return found

    def _count(self, text: str, encoding: str) -> tuple[int, UsageSource]:
        known = encoding in self._vocabularies
        vocabulary = self._vocabularies[encoding] if known else self._load(encoding)
        if vocabulary is not None:
            try:
                counts = [vocabulary.count(piece) for piece in pieces(safe_text(text))]
            except ValueError:  # a vocabulary that is not made for every text
                log.warning("tokenizer.failed", encoding=encoding)
            else:
                return sum(counts) - vocabulary.seam * max(len(counts) - 1, 0), UsageSource.TOKENIZER
        return estimate(len(text)), UsageSource.ESTIMATE

    def _count_prompt(self, body: bytes, encoding: str) -> tuple[int | None, UsageSource]:
        try:
            prompt = read_prompt(_parsed(body))
        except RecursionError:  # lists in lists in lists: no prompt, whatever it is
            prompt = None
        if prompt is None:
            return None, UsageSource.NONE
        tokens, source = prompt.tokens, UsageSource.TOKENIZER if prompt.whole else UsageSource.ESTIMATE
        for text in prompt.texts:
            count, exact = self._count(text, encoding)
            tokens, source = tokens + count, least_exact(source, exact)
        return tokens, source


def estimate(characters: int) -> int:
    """The tokens of so many characters, where nothing better is known: one for each 4 begun."""
    return math.ceil(characters / CHARACTERS_A_TOKEN)


def least_exact(*sources: UsageSource) -> UsageSource:
    """What numbers from these sources may be called together: by the one that is known least exactly."""
    return max(sources, key=list(UsageSource).index, default=UsageSource.NONE)


def load_built_in() -> None:
    """Load the vocabularies of the package into this process: those that are forked from it share their memory."""
    for encoding in (O200K, CL100K):
        _inherited[encoding] = _built_in(encoding)


def _built_in(encoding: str) -> Vocabulary | None:
    if encoding in _inherited:
        return _inherited[encoding]
    try:
        encode = importlib.import_module("bpe_openai").get_encoding(encoding).encode_ordinary
    except (ImportError, KeyError):  # the package is optional; it answers a name it does not know with a KeyError
        return None
    return Vocabulary(lambda text: len(encode(text)))


def _from_file(name: str) -> Vocabulary | None:
    """A vocabulary file; the settings were refused if it was not there, so it has gone or changed since."""
    try:
        return read_vocabulary(Path(name))
    except VocabularyError as error:
        log.warning("tokenizer.unreadable", file=name, why=str(error))
        return None


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
