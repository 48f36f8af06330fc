"""The chat completions request that a translated dialect sends upstream (OpenAI's API reference, Create chat)."""

import json
from collections.abc import Sequence
from typing import Any, Final

from proxy.core.usage import UsageAsk

PATH: Final = "/chat/completions"


def chat_request(model: str, messages: Sequence[dict[str, Any]], *, asks_usage: UsageAsk, **fields: Any) -> bytes:
    """A streaming request; fields that are None are left out. `asks_usage`: what is asked for beside the answer."""
    body: dict[str, Any] = {"model": model, "messages": list(messages), "stream": True}
    if asks_usage:
        running = {"continuous_usage_stats": True} if asks_usage >= UsageAsk.RUNNING else {}
        body["stream_options"] = {"include_usage": True, **running}
    body |= {name: value for name, value in fields.items() if value is not None}
    try:
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can say
        return json.dumps(body, separators=(",", ":")).encode()
