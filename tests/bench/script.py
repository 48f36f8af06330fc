"""What a call asks of the scripted upstream, and the bytes that this upstream answers: known to both sides.

A call carries its script in its JSON body under the key `bench`, which every proxy passes on; one that is translated
carries it as the words of its last message.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

EVENT_BYTES: Final = 250
"""Length of one event, its border included."""

BATCH: Final = 64
"""Events in one write when they are asked back to back."""

DONE: Final = b"data: [DONE]\n\n"
ANSWER_BYTES: Final = 300
"""Length of a short JSON answer."""

WORDS: Final = tuple(
    f"{start}{end}"
    for start in ("re", "con", "in", "de", "pro", "per", "sub", "ex", "trans", "dis")
    for end in ("form", "port", "tain", "spect", "sist", "tract", "press", "cede", "ject", "vert")
)

HOLDS: Final = ("head", "body", "middle")
"""Where a scripted answer may fall silent for ever: before the header, behind the header, half-way."""


@dataclass(frozen=True, slots=True)
class Script:
    """One scripted answer.

    `ident` starts with its group's name and a dash; calls without one are not reported. `kind`: `stream` (events of
    250 bytes), `json` (one short answer) or `random` (see `random_stream`). `every` is seconds between two events, 0
    back to back. `hold` is one of `HOLDS` or nothing. `seed` and `pause` are for `random`: the content, and the seconds
    between two writes.
    """

    kind: str = "stream"
    ident: str = ""
    events: int = 0
    every: float = 0.0
    hold: str = ""
    seed: int = 0
    pause: float = 0.0

    def words(self) -> str:
        """The script as the words of a message."""
        return json.dumps(asdict(self))

    def body(self) -> bytes:
        """The JSON body of the call."""
        message = {"role": "user", "content": "Say something of the asked length."}
        return json.dumps(
            {"model": "bench-model", "stream": self.kind != "json", "messages": [message], "bench": asdict(self)}
        ).encode()


def script_of(body: bytes) -> Script:
    """The script in a call's body."""
    asked: dict[str, Any] = json.loads(body)
    fields: dict[str, Any] = asked["bench"] if "bench" in asked else json.loads(asked["messages"][-1]["content"])
    return Script(**fields)


def word(number: int) -> str:
    """The text of event number `number`, from 0."""
    return " " + WORDS[number % len(WORDS)]


def text_of(events: int) -> str:
    """The text of the first `events` events, joined."""
    return "".join(word(number) for number in range(events))


def prefix(name: str) -> bytes:
    """How each event of one answer begins: up to and with the completion's id."""
    return f'data: {{"id":"chatcmpl-{name[-12:]:0>12}",'.encode()


def _rest(number: int) -> bytes:
    head, tail = '"object":"chat.completion.chunk","created":1760000000,"model":"bench-model",', "}\n\n"
    choice = f'"choices":[{{"index":0,"delta":{{"content":"{word(number)}"}},"logprobs":null,"finish_reason":null}}]'
    used = len(prefix("")) + len(head) + len(choice) + len(tail) + len('"system_fingerprint":"",')
    return f'{head}"system_fingerprint":"{"f" * (EVENT_BYTES - used)}",{choice}{tail}'.encode()


RESTS: Final = tuple(_rest(number) for number in range(len(WORDS)))
"""What follows the prefix in event number i, i modulo their number."""

LAST: Final = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1760000000,"model":"bench-model",'
    b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n\n' + DONE
)


def short_answer(name: str) -> bytes:
    """A short JSON answer with its usage."""
    answer = {
        "id": f"chatcmpl-{name[-12:]:0>12}",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "bench-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21},
    }
    lacking = ANSWER_BYTES - len(json.dumps(answer))
    answer["choices"][0]["message"]["content"] = "x" * lacking  # type: ignore[index] # literal above
    return json.dumps(answer).encode()


def random_stream(seed: int) -> bytes:
    """An SSE stream of random events: JSON deltas with any text, comments, CR and LF mixed, several data lines."""
    source = random.Random(seed)
    return b"".join(_random_event(source) for _ in range(source.randint(1, 60))) + DONE


def _random_event(source: random.Random) -> bytes:
    end = source.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r"))
    if source.random() < 0.1:
        return b": " + b"c" * source.randint(0, 80) + end + end
    size = source.choice((1, 1, 1, 2, 8, 100))
    text = "".join(source.choices('aä€😀\\"{}[]: \u2028', k=source.randint(0, 40))) * source.randint(1, size)
    chunk = {"id": f"chatcmpl-{source.getrandbits(32)}", "choices": [{"index": 0, "delta": {"content": text}}]}
    lines = [b"data: " + json.dumps(chunk, ensure_ascii=source.random() < 0.5).encode()]
    if source.random() < 0.1:
        lines.insert(0, b"event: message")
    if source.random() < 0.1:
        lines.insert(0, b"id: %d" % source.randint(0, 99))
    if source.random() < 0.05:
        lines = [b"data: {", b'data: "choices":[]}']
    return end.join(lines) + end + end


def random_cuts(data: bytes, seed: int) -> Iterator[bytes]:
    """The same bytes in pieces, cut anywhere: also inside characters, line ends and borders."""
    source = random.Random(seed + 1)
    at = 0
    while at < len(data):
        size = source.choice((1, 2, 7, 50, 300, 4000, 30000))
        size = source.randint(1, size)
        yield data[at : at + size]
        at += size
