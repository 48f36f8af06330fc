"""The wire format of what nobody folds: embeddings, audio, files, and answers in a coding we cannot read.

Only the counts at the end of an answer are looked for, and only those called `prompt_tokens`, as embeddings have them.
Pictures and sound count `input_tokens` of several kinds, each with a price of its own: one sum fits none.
"""

# ruff: noqa: ARG002 - the protocol's parameters, which mean nothing for bytes that are not read

import json
from dataclasses import replace
from typing import Final

from proxy.core import sse
from proxy.core.partial import Partial
from proxy.core.tee import END_BYTES
from proxy.core.usage import Usage, count_in, read_usage, usage_at_end
from proxy.wire.usage_by_itself import UsageByItself

_NAMED: Final = b'"prompt_tokens"'


class Opaque(UsageByItself):
    """Bytes are passed as they are; an answer is whole when its HTTP body ended properly."""

    name = "opaque"

    def fold(self, block: bytes, partial: Partial) -> None:
        """See `Wire`."""
        partial.ends_with_body = True

    def fold_answer(self, body: bytes, partial: Partial) -> None:
        """See `Wire`."""
        partial.ends_with_body = True
        if _NAMED in (end := body[-END_BYTES:]) and (usage := _usage(end)) is not None:
            partial.note_usage(usage, final=True)

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
        """See `Wire`. Only a comment: of an unknown stream nobody knows the end."""
        return sse.comment(comment)

    def error_frame(self, partial: Partial, message: str, type_: str, code: str) -> bytes:
        """See `Wire`."""
        return sse.comment(f"error {code}: {message}")

    def countable(self, body: bytes) -> bytes:
        """See `Wire`."""
        return body

    def peek_id(self, block: bytes) -> str | None:
        """See `Wire`."""
        return None

    def is_done(self, block: bytes) -> bool:
        """See `Wire`."""
        return False


def _usage(end: bytes) -> Usage | None:
    """The counts at the end of an answer. A total that is the prompt's says that nothing was completed."""
    found = json.loads(usage_at_end(end) or b"{}").get("usage")
    if not isinstance(found, dict) or (prompt := count_in(found.get("prompt_tokens"))) is None:
        return None
    usage = read_usage(found)
    if usage is not None and usage.completion_tokens is None and count_in(found.get("total_tokens")) == prompt:
        return replace(usage, completion_tokens=0)
    return usage
