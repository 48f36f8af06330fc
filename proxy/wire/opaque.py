"""The wire format of what nobody folds: embeddings, audio, files, and answers in a coding we cannot read."""

# ruff: noqa: ARG002 - the protocol's parameters, which mean nothing for bytes that are not read

from proxy.core import sse
from proxy.core.partial import Partial
from proxy.core.usage import Usage


class Opaque:
    """Bytes are passed and counted elsewhere; an answer is whole when its HTTP body ended properly."""

    name = "opaque"

    def fold(self, block: bytes, partial: Partial) -> None:
        """See `Wire`."""
        partial.ends_with_body = True

    def fold_answer(self, body: bytes, partial: Partial) -> None:
        """See `Wire`."""
        partial.ends_with_body = True

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

    def ask_for_usage(self, body: bytes, *, continuous: bool = False) -> bytes:
        """See `Wire`."""
        return body

    def countable(self, body: bytes) -> bytes:
        """See `Wire`."""
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

    def peek_id(self, block: bytes) -> str | None:
        """See `Wire`."""
        return None

    def is_done(self, block: bytes) -> bool:
        """See `Wire`."""
        return False
