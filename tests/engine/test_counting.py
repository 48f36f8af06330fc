import asyncio
import importlib
import json
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import bpe_openai
import pytest

from proxy.core.encodings import CL100K, O200K, Vocabulary
from proxy.core.record import UsageSource
from proxy.engine.settling import counting
from proxy.engine.settling.counting import Counter

WORDS = "The quick brown fox jumps över the lazy dog.\n\nIt's 12345, isn't it? 漢字かな "


DEEP = b'{"prompt": ' + b"[" * 5000 + b"]" * 5000 + b"}"


@pytest.fixture
async def counter() -> AsyncIterator[Counter]:
    """A counter with its vocabularies loaded."""
    found = Counter()
    await found.warm()
    yield found
    await found.aclose()


def tokens(text: str, encoding: str = O200K) -> int:
    """What the tokenizer says of the whole text at once."""
    return len(bpe_openai.get_encoding(encoding).encode_ordinary(text))


@pytest.mark.parametrize("encoding", [O200K, CL100K])
@pytest.mark.parametrize("text", ["", "hello world", "<|endoftext|>", "a\ud800b", WORDS * 10, WORDS * 2000])
async def test_a_text_has_as_many_tokens_as_the_tokenizer_says(counter: Counter, encoding: str, text: str) -> None:
    """Short or long, cut into pieces or not, special tokens as plain text: the count is exact."""
    assert await counter.count(text, encoding) == (tokens(text, encoding), UsageSource.TOKENIZER)


async def test_a_text_beyond_the_tokenizers_limits_is_counted(counter: Counter) -> None:
    """The tokenizer refuses more than 200,000 tokens or a million characters; the counter does not."""
    unit = WORDS * 100
    count, source = await counter.count(unit * 150, O200K)
    assert source is UsageSource.TOKENIZER
    assert abs(count - 150 * tokens(unit)) <= 150
    assert (await counter.count("\U0001f9ff" * 300_000, O200K))[0] >= 300_000


async def test_an_unknown_encoding_gives_an_estimate(counter: Counter) -> None:
    """A token for each 4 characters begun, and the source says that it is an estimate."""
    assert await counter.count("x" * 9, "no-such-encoding") == (3, UsageSource.ESTIMATE)
    assert await counter.count("", "no-such-encoding") == (0, UsageSource.ESTIMATE)


async def test_without_the_package_counts_are_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokenizer is optional: warming up and counting work without it."""
    monkeypatch.setitem(sys.modules, "bpe_openai", None)
    counter = Counter()
    await counter.warm()
    assert await counter.count("x" * 8, O200K) == (2, UsageSource.ESTIMATE)
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 8}]}).encode()
    assert await counter.count_prompt(body, O200K) == (3 + 3 + 1 + 2, UsageSource.ESTIMATE)
    await counter.aclose()


async def test_a_prompt_is_counted_with_what_stands_between_its_texts(counter: Counter) -> None:
    """3 tokens a message, 3 for the reply, and what the tokenizer says of each text."""
    body = json.dumps({"messages": [{"role": "user", "content": "hello world"}]}).encode()
    assert await counter.count_prompt(body, O200K) == (3 + 1 + 2 + 3, UsageSource.TOKENIZER)
    long = json.dumps({"messages": [{"role": "user", "content": WORDS * 2000}]}).encode()
    assert await counter.count_prompt(long, O200K) == (3 + 1 + tokens(WORDS * 2000) + 3, UsageSource.TOKENIZER)


async def test_a_prompt_that_can_only_be_counted_in_part_is_an_estimate(counter: Counter) -> None:
    """What a picture costs nobody knows here: the count is a lower bound, and says so."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content = [{"type": "text", "text": "hello world"}, picture]
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    assert await counter.count_prompt(body, O200K) == (3 + 1 + 2 + 3, UsageSource.ESTIMATE)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b"\xff", b'{"model": "x"}', b"[" * 100_000, DEEP])
async def test_a_body_without_a_prompt_has_an_unknown_count(counter: Counter, body: bytes) -> None:
    """Unknown is None, never 0."""
    assert await counter.count_prompt(body, O200K) == (None, UsageSource.NONE)


async def test_a_body_that_only_lenient_parsers_take_is_counted(counter: Counter) -> None:
    """Lone surrogates and NaN don't turn a prompt into an unknown one."""
    body = rb'{"temperature": NaN, "prompt": "\ud800 hello"}'
    assert await counter.count_prompt(body, O200K) == (tokens("\ud800 hello"), UsageSource.TOKENIZER)


async def test_long_texts_are_counted_off_the_loop(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text goes to the counter's own thread, a short one does not; nothing loads on the event loop."""
    seen: list[str] = []
    load = importlib.import_module

    def watched(name: str) -> Any:
        seen.append(threading.current_thread().name)
        return load(name)

    monkeypatch.setattr("proxy.engine.settling.counting.importlib.import_module", watched)
    fresh = Counter()
    await fresh.count("short", O200K)
    assert seen[0].startswith("token-counter")
    seen.clear()

    def named(_text: str) -> int:
        seen.append(threading.current_thread().name)
        return 1

    fresh._vocabularies[O200K] = Vocabulary(named)
    await fresh.count("short", O200K)
    await fresh.count("long" * 5000, O200K)
    assert seen[0] == threading.main_thread().name
    assert seen[1].startswith("token-counter")
    await fresh.aclose()


async def test_closing_waits_for_what_is_counted() -> None:
    """A count that is under way when the counter closes still gives its number."""
    counter = Counter()
    counting = asyncio.gather(counter.count("x" * 100_000, "no-such-encoding"), counter.warm())
    await asyncio.sleep(0)
    await counter.aclose()
    assert (await counting)[0] == (25_000, UsageSource.ESTIMATE)


async def test_long_texts_take_turns_and_short_ones_do_not_wait(counter: Counter) -> None:
    """While one long text is made and counted no second one is made; a short one has no need to wait."""
    made: list[str] = []

    async def count_one() -> None:
        async with counter.turn(100_000):
            made.append("begun")
            await counter.count("many words " * 10_000, O200K)
            made.append("done")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(count_one())
        await asyncio.sleep(0)
        async with counter.turn(10):
            assert made == ["begun"]
    assert made == ["begun", "done"] * 3


async def test_what_a_parent_loaded_is_not_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was forked from one that had loaded the vocabularies counts with those, and asks for no others."""
    monkeypatch.setattr(counting, "_inherited", {})
    counting.load_built_in()
    monkeypatch.setitem(sys.modules, "bpe_openai", None)
    counter = Counter()
    try:
        await counter.warm()
        assert await counter.count("hello world", "o200k_base") == (2, UsageSource.TOKENIZER)
    finally:
        await counter.aclose()
