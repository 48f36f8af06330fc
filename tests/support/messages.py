"""Bodies of Anthropic's Messages API for scripts: streamed and whole, one token a word; and a proxy that serves it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.chat import text, word
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.upstream import Script, ScriptedUpstream, scripted_upstream

ID = "msg_scripted_1"
MESSAGES = "/v1/messages"
ROUTE = {"dialect": "anthropic"}
BODY: dict[str, Any] = {
    "model": "scripted",
    "max_tokens": 64,
    "stream": True,
    "messages": [{"role": "user", "content": "Tell me."}],
}


def event(kind: str, **fields: Any) -> bytes:
    """One event as the API sends it."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def start(ident: str = ID, **usage: Any) -> bytes:
    """`message_start`; by default a prompt of 7 tokens, and an output that begins with 1."""
    counts = {"input_tokens": 7, "output_tokens": 1, **usage}
    return event("message_start", message=message([], None, counts, ident=ident))


def message(
    content: list[dict[str, Any]], stop_reason: str | None, usage: dict[str, Any], *, ident: str = ID
) -> dict[str, Any]:
    """A message."""
    return {
        "id": ident,
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": "scripted-1",
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def block(index: int, begun: dict[str, Any], *deltas: dict[str, Any], stop: bool = True) -> list[bytes]:
    """The events of one block."""
    found = [event("content_block_start", index=index, content_block=begun)]
    found += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    return [*found, event("content_block_stop", index=index)] if stop else found


def text_block(tokens: int, index: int = 0, *, stop: bool = True) -> list[bytes]:
    """The events of a block of text."""
    deltas = [{"type": "text_delta", "text": word(number)} for number in range(tokens)]
    return block(index, {"type": "text", "text": ""}, *deltas, stop=stop)


def end(tokens: int, stop_reason: str = "end_turn") -> list[bytes]:
    """The events that end a message of so many tokens."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return [event("message_delta", delta=delta, usage={"output_tokens": tokens}), event("message_stop")]


def message_events(tokens: int = 5) -> list[bytes]:
    """A whole stream: a block of text, and a ping within it."""
    begun, *rest = text_block(tokens)
    return [start(), begun, event("ping"), *rest, *end(tokens)]


def begun_events(tokens: int = 8) -> list[bytes]:
    """A stream in the middle of its text."""
    return [start(), *text_block(tokens, stop=False)]


def whole(tokens: int = 5) -> dict[str, Any]:
    """The same message as a non-streaming call gets it."""
    usage = {"input_tokens": 7, "output_tokens": tokens}
    return message([{"type": "text", "text": text(tokens)}], "end_turn", usage)


@asynccontextmanager
async def served(script: Script, folder: Path, **config: Any) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """The proxy with a route of this dialect, in front of an upstream of this format."""
    route = {**ROUTE, **config.pop("route", {})}
    upstream = {"format": "anthropic", **config.pop("upstream", {})}
    async with scripted_upstream(script) as up:
        async with running_proxy(config_text(up.base_url, route=route, upstream=upstream, **config), folder) as proxy:
            yield proxy, up
