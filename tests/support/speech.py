"""Answers of an upstream that knows its own count: made token by token, a delta of one or several tokens each.

The text of a kind is put together by chance, encoded as a whole, and cut where its tokens end; bytes of a character
that is not whole are held back until it is, as real servers do. An answer may break off behind any of its deltas.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import bpe_openai

from proxy.core.choices import Place
from support.chat import sse, usage_object

PROMPT_TOKENS: Final = 7

MODELS: Final = {"gpt-4o": "o200k_base", "gpt-4": "cl100k_base"}
"""A model of each vocabulary; what follows the name is the seed of its answer."""

WORDS: Final = {
    "emoji": [
        *("😀", "👩\u200d🔬", "🏳️\u200d🌈", "🎉🎉🧿", "👨\u200d👩\u200d👧\u200d👦", "🇩🇪🇯🇵"),
        *("☕️", "✨", "🤷🏽\u200d♀️", "🫠", "ok", "!"),
    ],
    "cjk": [
        *(
            "昨夜",
            "の雨は",
            "静か",
            "に古い",
            "屋根",
            "を叩き",
            "続けた。",
            "今天",
            "天气",
            "很好",
            "我们",
            "去",
            "公园",
            "散步",
        ),
        *("吧!", "안녕하세요", "오늘은", "비가", "옵니다", "天地", "玄黃"),
    ],
    "code": [
        *(
            "def f(",
            "x_1",
            "):\n",
            "    return ",
            "[i**2",
            " for i in ",
            "range(10)]",
            "  # note\n",
            "\n\n",
            "\t}",
            "//",
        ),
        "'it's'",
    ],
    "prose": [
        *(
            "The",
            "rain",
            "fell,",
            "all",
            "night;",
            "it's",
            "12345",
            "o'clock...",
            "Überall",
            "naïve",
            "façades?",
            "\n\n",
        ),
        "1,000.50€",
    ],
    "tool": [
        *(
            '{"city":',
            '"Zürich"',
            ",",
            '"at":"2026-11-',
            "07",
            '"',
            "}",
            ' "note": "line\\nbreak \\"q\\" é漢"',
            "[1,22,333]",
        ),
        "😀",
    ],
}


@dataclass(slots=True)
class Speech:
    """One answer as far as it is sent."""

    encoding: str
    events: list[bytes] = field(default_factory=list)
    tokens: int = 0
    """The upstream's own count."""
    so_far: list[int] = field(default_factory=list)
    """The same behind each event."""
    texts: dict[Place, str] = field(default_factory=dict)


@lru_cache(maxsize=4096)
def speech(seed: int, encoding: str, kind: str, *, running: bool = False) -> Speech:
    """An answer that breaks off somewhere. `running`: with running totals, as vLLM sends them."""
    rng = random.Random(f"{seed} {encoding} {kind}")
    said = Speech(encoding)
    parts = list(_parts(rng, encoding, kind))
    made: dict[int, int] = {}
    for place, delta, text, tokens in parts[: rng.randint(1, len(parts))]:
        said.tokens += tokens
        said.so_far.append(said.tokens)
        said.texts[place] = said.texts.get(place, "") + text
        made[place[0]] = made.get(place[0], 0) + tokens
        chunk = {
            "id": f"chatcmpl-{seed}-{encoding}",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "scripted",
            "choices": [{"index": place[0], "delta": delta, "finish_reason": None}],
        }
        usage = {"usage": usage_object(PROMPT_TOKENS, made[place[0]])} if running else {}
        said.events.append(sse({**chunk, **usage}))
    return said


def _parts(rng: random.Random, encoding: str, kind: str) -> Iterator[tuple[Place, dict[str, Any], str, int]]:
    """The deltas of a whole answer: what they add, where, and how many tokens that is."""
    if rng.random() < 0.3:
        for text, tokens in _deltas(rng, encoding, "prose"):
            yield (0, "reasoning", 0), {"reasoning_content": text}, text, tokens
    if kind == "tool":
        for index in range(rng.randint(1, 3)):
            name = rng.choice(("get_weather", "look", "sendMail"))
            head = {
                "index": index,
                "id": f"call_{index}",
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }
            yield (0, "name", index), {"tool_calls": [head]}, name, _count(encoding, name)
            for text, tokens in _deltas(rng, encoding, kind):
                more = {"index": index, "function": {"arguments": text}}
                yield (0, "arguments", index), {"tool_calls": [more]}, text, tokens
        return
    choices = [_deltas(rng, encoding, kind) for _ in range(rng.choice((1, 1, 2)))]
    while choices:
        number = rng.randrange(len(choices))
        found = next(choices[number], None)
        if found is None:
            break
        yield (number, "content", 0), {"content": found[0]}, *found


def _deltas(rng: random.Random, encoding: str, kind: str) -> Iterator[tuple[str, int]]:
    """The text of each delta, and how many tokens it is."""
    vocabulary = _vocabulary(encoding)
    blank = rng.choice(("", " "))
    whole = blank.join(rng.choices(WORDS[kind], k=rng.randint(2, 50)))
    held, tokens, most = b"", 0, rng.choice((1, 1, 4))
    for token in vocabulary.encode_ordinary(whole):
        held += vocabulary.decode_single_token_bytes(token)
        tokens += 1
        try:
            text = held.decode()
        except UnicodeDecodeError:
            continue
        if tokens >= rng.randint(1, most):
            yield text, tokens
            held, tokens = b"", 0
    if held:
        yield held.decode(), tokens


@lru_cache
def _vocabulary(encoding: str) -> Any:
    return bpe_openai.get_encoding(encoding)


def _count(encoding: str, text: str) -> int:
    return len(_vocabulary(encoding).encode_ordinary(text))


def recount(said: Speech) -> int:
    """What the tokenizer says of what was sent."""
    return sum(_count(said.encoding, text) for text in said.texts.values())


def request(seed: int, model: str, kind: str) -> bytes:
    """A request whose answer is `speech(seed, …)`."""
    body = {"model": f"{model}-{seed}", "stream": True, "messages": [{"role": "user", "content": kind}]}
    return json.dumps(body).encode()
