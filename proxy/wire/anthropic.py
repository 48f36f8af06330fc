"""The wire format of Anthropic's Messages API, and of the servers that speak it. Source: Anthropic's API reference.

A stopped stream is closed as the API closes one: every open block, then the reason to stop with what was used, then the
message. The reason is `end_turn`, or with `finish_reason: cancelled` the word `cancelled`, which the API does not have
but its clients pass on as it is. A count that is unknown is 0 there: the clients' types have no room for null.
"""

# ruff: noqa: ARG002 - the protocol's parameters, which mean nothing in this format

import json
from typing import Any, Final

from proxy.core import sse
from proxy.core.partial import Partial
from proxy.core.usage import Usage
from proxy.wire.anthropic_fold import blocks_of, fold_event, fold_whole
from proxy.wire.anthropic_shapes import PREFIX, error_type, event, message_start, stop_reason
from proxy.wire.chunks import read_quickly
from proxy.wire.openai_fold import DONE, usable_id

_STATUS_OF: Final = {"upstream_idle_timeout": 504, "upstream_total_timeout": 504}


class AnthropicMessages:
    """Messages: blocks that open, grow and close, one after the other."""

    name: Final = "anthropic"

    def fold(self, block: bytes, partial: Partial) -> None:
        """See `Wire`."""
        if not block:
            return
        for each in sse.events(block, at_start=partial.at_start):
            fold_event(each.data, partial)
        partial.at_start = False

    def fold_answer(self, body: bytes, partial: Partial) -> None:
        """See `Wire`."""
        fold_whole(body, partial)

    def closing(
        self,
        partial: Partial,
        *,
        finish_reason: str,
        usage: Usage | None,
        comment: str,
        answer_id: str = "",
        model: str = "",
        created: int = 0,
    ) -> bytes:
        """See `Wire`. What ended by itself needs no closing; what had not begun begins first, as clients want it."""
        if partial.done or partial.terminal or partial.error is not None:
            return b""
        used, blocks = usage or Usage(), blocks_of(partial)
        frames = [sse.comment(comment)]
        if not blocks.begun:
            ident = partial.upstream_id or PREFIX + answer_id.replace("-", "")
            frames.append(message_start(ident, partial.upstream_model or model, used.prompt_tokens or 0))
        frames += [event("content_block_stop", index=index) for index in blocks.open]
        if not partial.finish_reasons:
            delta = {"stop_reason": stop_reason(finish_reason), "stop_sequence": None}
            frames.append(event("message_delta", delta=delta, usage={"output_tokens": used.completion_tokens or 0}))
        frames.append(event("message_stop"))
        return b"".join(frames)

    def error_frame(self, partial: Partial, message: str, type_: str, code: str) -> bytes:
        """See `Wire`."""
        return event("error", error={"type": error_type(_STATUS_OF.get(code, 502)), "message": message, "code": code})

    def ask_for_usage(self, body: bytes, *, continuous: bool = False) -> bytes:
        """See `Wire`. Usage always comes."""
        return body

    def is_extra_usage(self, data: bytes) -> bool:
        """See `Wire`."""
        return False

    def without_extra_usage(self, block: bytes) -> bytes:
        """See `Wire`."""
        return block

    def without_running_usage(self, block: bytes, *, null: bool) -> bytes:
        """See `Wire`."""
        return block

    def countable(self, body: bytes) -> bytes:
        """See `Wire`. The system prompt stands beside the messages here."""
        request = read_quickly(body) or {}
        messages = request.get("messages")
        system: list[Any] = [{"role": "system", "content": request["system"]}] if request.get("system") else []
        return json.dumps({"messages": system + (messages if isinstance(messages, list) else [])}).encode()

    def peek_id(self, block: bytes) -> str | None:
        """See `Wire`."""
        for each in sse.events(block, at_start=True):
            message = (read_quickly(each.data) or {}).get("message")
            ident = message.get("id") if isinstance(message, dict) else None
            if isinstance(ident, str) and (usable := usable_id(ident)):
                return usable
        return None

    def is_done(self, block: bytes) -> bool:
        """See `Wire`. The API ends with the body, behind `message_stop`; some servers add OpenAI's terminator."""
        found = sse.events(block, at_start=True) if DONE in block else []
        return bool(found) and found[-1].data.strip() == DONE
