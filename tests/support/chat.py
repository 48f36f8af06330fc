"""Bodies of the OpenAI APIs for scripts: chat completions and completions, streamed and whole, one token a word."""

import json
from collections.abc import Sequence
from typing import Any

DONE = b"data: [DONE]\n\n"

UPSTREAM_ID = "chatcmpl-scripted-1"

WORDS = ("Rain ", "fell ", "all ", "night ", "on ", "the ", "old ", "tin ", "roof, ", "and ", "no ", "one ", "slept. ")


def word(index: int) -> str:
    """The word that stands for token number `index`, from 0."""
    return WORDS[index % len(WORDS)]


def text(tokens: int) -> str:
    """The text that `tokens` tokens make."""
    return "".join(word(index) for index in range(tokens))


def sse(data: Any) -> bytes:
    """One event of a stream, as its bytes."""
    return b"data: " + json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def usage_object(prompt: int, completion: int) -> dict[str, int]:
    """Token counts, in the shape of this API."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def chat_events(
    tokens: int = 5,
    *,
    usage: bool = False,
    running: bool = False,
    n: int = 1,
    finish: str | None = "stop",
    done: bool = True,
    upstream_id: str = UPSTREAM_ID,
    model: str = "scripted",
    words: Sequence[str] | None = None,
    prompt_tokens: int = 7,
) -> list[bytes]:
    """The events of a streamed chat completion: role, `tokens` words, finish, usage, [DONE], for each of `n` choices.

    `words` replaces the words (and `tokens`); `finish` None and `done` False leave these endings out. `running`: each
    chunk has the total of its choice so far, as vLLM sends it.
    """
    made = dict.fromkeys(range(n), 0)

    def chunk(delta: dict[str, Any], index: int, reason: str | None = None) -> bytes:
        made[index] += bool(delta.get("content"))
        so_far = {"usage": usage_object(prompt_tokens, made[index])} if running else {}
        return sse({**head, "choices": [{"index": index, "delta": delta, "finish_reason": reason}], **so_far})

    head = {"id": upstream_id, "object": "chat.completion.chunk", "created": 1_700_000_000, "model": model}
    said = [word(i) for i in range(tokens)] if words is None else words
    events = [chunk({"role": "assistant", "content": ""}, index) for index in range(n)]
    events += [chunk({"content": piece}, index) for piece in said for index in range(n)]
    if finish is not None:
        events += [chunk({}, index, finish) for index in range(n)]
    if usage:
        events.append(sse({**head, "choices": [], "usage": usage_object(prompt_tokens, len(said) * n)}))
    return [*events, DONE] if done else events


def chat_object(
    tokens: int = 5,
    *,
    n: int = 1,
    finish: str = "stop",
    upstream_id: str = UPSTREAM_ID,
    model: str = "scripted",
    prompt_tokens: int = 7,
) -> dict[str, Any]:
    """A whole chat completion, as a non-streaming call gets it."""
    message = {"role": "assistant", "content": text(tokens)}
    return {
        "id": upstream_id,
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [{"index": index, "message": message, "finish_reason": finish} for index in range(n)],
        "usage": usage_object(prompt_tokens, tokens * n),
    }


def completion_events(
    tokens: int = 5, *, usage: bool = False, finish: str = "stop", upstream_id: str = "cmpl-scripted-1"
) -> list[bytes]:
    """The events of a streamed (legacy) completion."""
    head = {"id": upstream_id, "object": "text_completion", "created": 1_700_000_000, "model": "scripted"}

    def chunk(piece: str, reason: str | None = None) -> bytes:
        return sse({**head, "choices": [{"index": 0, "text": piece, "logprobs": None, "finish_reason": reason}]})

    events = [*(chunk(word(i)) for i in range(tokens)), chunk("", finish)]
    if usage:
        events.append(sse({**head, "choices": [], "usage": usage_object(7, tokens)}))
    return [*events, DONE]


def ask(content: str = "Hello", *, stream: bool = True, **more: Any) -> dict[str, Any]:
    """A chat completion request body."""
    return {"model": "scripted", "messages": [{"role": "user", "content": content}], "stream": stream, **more}
