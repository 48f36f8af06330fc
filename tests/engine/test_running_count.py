"""Tests of proxy.engine.settling.running_count: right at every look, at the price of what is new."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import bpe_openai
import pytest

from proxy.core.encodings import CL100K, O200K
from proxy.core.partial import Partial, safe_text
from proxy.core.usage import Usage
from proxy.engine.settling.counting import Counter
from proxy.engine.settling.running_count import RunningCount
from support.vocabulary import sentencepiece

FEW = 2
"""Tokens that a running count may be off at any time."""

TEXTS = {
    "prose": "The quick brown fox jumps over the lazy dog; it's 12345, isn't it?\n\nYes. ",
    "cjk": "昨夜の雨は静かに古い屋根を叩き続けた。誰も眠らなかった、そして朝が来た。",
    "without borders": "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏",
    "emoji": "😀👩\u200d🔬🏳️\u200d🌈🎉🧿",
    "code": "def f(x):\n\treturn [y**2 for y in range(x)]  # squares\n\nprint(f(10))\n",
    "blanks": "a    b\n\n\n   c\t\t d\r\n",
    "no end of a word": "abcdefghijklmnopqrstuvwxyz",
}


@pytest.fixture(scope="module")
def encode() -> dict[str, bpe_openai.Encoding]:
    """The vocabularies, each loaded once."""
    return {encoding: bpe_openai.get_encoding(encoding) for encoding in (O200K, CL100K)}


@pytest.fixture
async def counter() -> AsyncIterator[Counter]:
    """A counter with its vocabularies loaded."""
    found = Counter()
    await found.warm()
    yield found
    await found.aclose()


@pytest.mark.parametrize("encoding", [O200K, CL100K])
@pytest.mark.parametrize("kind", TEXTS)
async def test_it_is_right_at_every_look(
    counter: Counter, encode: dict[str, bpe_openai.Encoding], kind: str, encoding: str
) -> None:
    """However a text grows, the count so far is that of the whole text so far, within a few tokens."""
    rng = random.Random(kind)
    whole = TEXTS[kind] * (6000 // len(TEXTS[kind]))
    partial, running, at = Partial(), RunningCount(counter, encoding), 0
    while at < len(whole):
        step = rng.choice((1, 3, 40, 900))
        partial.add_content(0, whole[at : at + step])
        at = min(at + step, len(whole))
        exact = len(encode[encoding].encode_ordinary(whole[:at]))
        assert abs(await running.update(partial) - exact) <= FEW
    assert await running.update(partial) == pytest.approx(len(encode[encoding].encode_ordinary(whole)), abs=FEW)


async def test_everything_that_counts_is_counted_apart(
    counter: Counter, encode: dict[str, bpe_openai.Encoding]
) -> None:
    """Choices, reasoning, refusals, names and arguments: no token reaches from one into another."""
    partial, running = Partial(), RunningCount(counter, O200K)
    texts = ["Rain", "fall", "ing", "on", "get", '{"a":', "sun", "ny"]
    partial.add_content(0, texts[0])
    partial.add_reasoning(0, texts[1])
    partial.add_refusal(0, texts[2])
    partial.add_content(1, texts[3])
    partial.add_tool_call(1, 0, ident="call_1", name=texts[4], arguments=texts[5])
    partial.add_tool_call(1, 1, ident="call_2", name=texts[6], arguments=texts[7])
    assert await running.update(partial) == sum(len(encode[O200K].encode_ordinary(text)) for text in texts)


async def test_only_what_is_new_is_counted(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a long text costs what came since the last look, and one at an unchanged text nothing."""
    partial, running = Partial(), RunningCount(counter, O200K)
    partial.add_content(0, TEXTS["prose"] * 1000)
    await running.update(partial)
    counted: list[int] = []
    count = counter._count

    def watched(text: str, encoding: str) -> object:
        counted.append(len(text))
        return count(text, encoding)

    monkeypatch.setattr(counter, "_count", watched)
    before = await running.update(partial)
    assert not counted
    partial.add_content(0, " And so on.")
    assert await running.update(partial) == before + 4
    assert sum(counted) < 100


async def test_the_upstreams_running_total_stands(counter: Counter) -> None:
    """An upstream that counts along knows best, also what it does not show; text behind its last total is not lost."""
    partial, running = Partial(), RunningCount(counter, O200K)
    partial.add_content(0, "Rain")
    partial.note_usage(Usage(5, 40), final=False, choice=0)
    assert await running.update(partial) == 40
    partial.add_content(0, " fell" * 30)
    assert await running.update(partial) == 40
    partial.add_content(0, " fell" * 30)
    assert await running.update(partial) == 61


async def test_half_a_pair_costs_nothing_for_long(counter: Counter, encode: dict[str, bpe_openai.Encoding]) -> None:
    """An emoji that came in two halves is counted as one once both are there, also where the text is cut between."""
    partial, running = Partial(), RunningCount(counter, O200K)
    text = "\ud83d\ude00" * 3000
    for at in range(0, len(text), 333):
        partial.add_content(0, text[at : at + 333])
        await running.update(partial)
    exact = len(encode[O200K].encode_ordinary(safe_text(text)))
    assert abs(await running.update(partial) - exact) <= FEW


async def test_what_is_not_kept_is_taken_to_be_alike(counter: Counter) -> None:
    """Beyond the bound on kept text the count goes on with the number of characters."""
    partial, running = Partial(max_text=1000), RunningCount(counter, O200K)
    partial.add_content(0, "word " * 200)
    before = await running.update(partial)
    partial.add_content(0, "word " * 200)
    assert await running.update(partial) == 2 * before


async def test_a_vocabulary_that_begins_every_text_with_a_blank_counts_right(counter: Counter, tmp_path: Path) -> None:
    """Each part that such a text is cut into has a token more, which is not counted, neither early nor at the end."""
    encoding = str(sentencepiece(tmp_path / "v.model"))
    await counter.warm([encoding])
    partial, running, whole = Partial(), RunningCount(counter, encoding), ""
    for _ in range(5000):
        partial.add_content(0, " The rain fell")
        whole += " The rain fell"
        if len(whole) % 50 == 0:
            assert abs(await running.update(partial) - 3 * len(whole) // 14) <= FEW
    assert abs((await counter.count(whole, encoding))[0] - 15_000) <= FEW


async def test_without_a_tokenizer_it_estimates_the_whole(counter: Counter) -> None:
    """The roundings of many small looks don't add up."""
    partial, running = Partial(), RunningCount(counter, "no-such-encoding")
    for _ in range(100):
        partial.add_content(0, "a b, c. ")
        await running.update(partial)
    assert await running.update(partial) == 200
