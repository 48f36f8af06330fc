import asyncio
import importlib
import json
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import bpe_openai
import pytest

from proxy.core.record import UsageSource
from proxy.engine.counting import CL100K, O200K, Counter, encoding_for

WORDS = "The quick brown fox jumps över the lazy dog.\n\nIt's 12345, isn't it? 漢字かな "


DEEP = b'{"prompt": ' + b"[" * 900 + b"]" * 900 + b"}"


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


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        ({"messages": []}, 3),
        ({"messages": [{"role": "user", "content": "hello world"}]}, 3 + 1 + 2 + 3),
        ({"messages": [{"role": "user", "name": "ann", "content": "hi"}]}, 3 + 1 + 1 + tokens("ann") + 1 + 3),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None}]}, 5 + 4 + 3),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "hello world"},
                            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                        ],
                    }
                ]
            },
            3 + 1 + 2 + 3,
        ),
        ({"messages": ["no message"], "prompt": "x"}, 3 + 3),
        ({"prompt": "hello world"}, 2),
        ({"prompt": ["hello", "hello world"]}, 3),
        ({"prompt": [1, 2, 3]}, 3),
        ({"prompt": [[1, 2], [3]]}, 3),
        ({"input": "hello world"}, 2),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "hello world"}]}]}, 2),
    ],
)
async def test_a_prompt_is_counted_by_the_published_recipe(
    counter: Counter, request_body: dict[str, Any], expected: int
) -> None:
    """3 a message, 1 for a name, 3 for the reply; of content only the text; completions' prompt in all its forms."""
    assert await counter.count_prompt(json.dumps(request_body).encode(), O200K) == (expected, UsageSource.TOKENIZER)


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

    monkeypatch.setattr("proxy.engine.counting.importlib.import_module", watched)
    fresh = Counter()
    await fresh.count("short", O200K)
    assert seen[0].startswith("token-counter")
    seen.clear()

    def named(_text: str) -> list[int]:
        seen.append(threading.current_thread().name)
        return [1]

    fresh._encodings[O200K] = named
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


@pytest.mark.parametrize(
    ("model", "setting", "expected"),
    [
        ("gpt-4o-mini", "auto", O200K),
        ("gpt-4.1", "auto", O200K),
        ("gpt-5-nano", "auto", O200K),
        ("o1-preview", "auto", O200K),
        ("o3", "auto", O200K),
        ("o4-mini", "auto", O200K),
        ("chatgpt-4o-latest", "auto", O200K),
        ("openai/GPT-4-turbo", "auto", CL100K),
        ("gpt-4", "auto", CL100K),
        ("gpt-3.5-turbo", "auto", CL100K),
        ("llama-3", "auto", O200K),
        ("", "auto", O200K),
        ("gpt-4", O200K, O200K),
    ],
)
def test_the_model_says_the_encoding_unless_the_settings_do(model: str, setting: str, expected: str) -> None:
    """`auto` goes by the model's name, the longer prefix first; a setting goes before it."""
    assert encoding_for(model, setting) == expected


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
