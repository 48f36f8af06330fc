"""Bodies of Gemini's API for scripts: streamed and whole, one token a word; and a proxy that serves it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.chat import text, word
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.upstream import Script, ScriptedUpstream, scripted_upstream

ID = "resp-scripted-1"
MODEL = "gemini-scripted"
STREAM = f"/v1/models/{MODEL}:streamGenerateContent"
PLAIN = f"/v1/models/{MODEL}:generateContent"
BODY: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Tell me."}]}]}


def usage(prompt: int = 7, said: int | None = None, **more: int) -> dict[str, int]:
    """Token counts, in the shape of this API, which leaves out what is 0."""
    counts = {"promptTokenCount": prompt, "totalTokenCount": prompt + (said or 0)}
    return {**counts, **({} if said is None else {"candidatesTokenCount": said}), **more}


def answer(
    *parts: dict[str, Any], reason: str | None = None, counts: dict[str, int] | None = None, index: int | None = None
) -> dict[str, Any]:
    """One answer with one candidate."""
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}}
    if reason is not None:
        candidate["finishReason"] = reason
    if index is not None:
        candidate["index"] = index
    found: dict[str, Any] = {"candidates": [candidate], "modelVersion": f"{MODEL}-001", "responseId": ID}
    return found if counts is None else {**found, "usageMetadata": counts}


def sse(found: Any) -> bytes:
    """One event as the API sends it."""
    return b"data: " + json.dumps(found).encode() + b"\r\n\r\n"


def answers(tokens: int = 5) -> list[dict[str, Any]]:
    """The answers of a whole stream, each with the counts so far."""
    said = [answer({"text": word(number)}, counts=usage(said=number + 1)) for number in range(tokens)]
    return [*said, answer({"text": ""}, reason="STOP", counts=usage(said=tokens))]


def answer_events(tokens: int = 5) -> list[bytes]:
    """The same as events."""
    return [sse(each) for each in answers(tokens)]


def whole(tokens: int = 5) -> dict[str, Any]:
    """The same as one answer."""
    return answer({"text": text(tokens)}, reason="STOP", counts=usage(said=tokens))


@asynccontextmanager
async def served(script: Script, folder: Path, **config: Any) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """The proxy with an `openai` route in front of an upstream of this format."""
    upstream = {"format": "gemini", **config.pop("upstream", {})}
    async with scripted_upstream(script) as up:
        async with running_proxy(config_text(up.base_url, upstream=upstream, **config), folder) as proxy:
            yield proxy, up
