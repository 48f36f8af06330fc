"""What the engine asks of a wire format, whoever's bytes they are."""

from typing import Protocol

from proxy.core.partial import Partial
from proxy.core.usage import Usage


class StreamFold(Protocol):
    """Takes the events of one stream, and builds the answer that the same server gives without streaming."""

    def feed(self, block: bytes) -> None:
        """Take whole SSE events.

        Raises:
            AnswerTooLargeError: the answer grew beyond its limit.
        """
        ...

    def answer(self) -> bytes:
        """The answer as JSON."""
        ...


class Wire(Protocol):
    """One provider's byte format. Does no I/O, keeps nothing between calls, and no bytes make it raise.

    A `block` is always whole SSE events, as `core.sse.Framer` gives them.
    """

    @property
    def name(self) -> str:
        """The format's name in logs and metrics."""
        ...

    def fold(self, block: bytes, partial: Partial) -> None:
        """Fold events into the partial; what cannot be read is counted in `partial.bad_events`."""
        ...

    def fold_answer(self, body: bytes, partial: Partial) -> None:
        """Fold a whole non-streaming answer, be it an error."""
        ...

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
        """The events that end a stopped stream as its SDK expects.

        Args:
            partial: everything that went to the client, folded.
            finish_reason: for each choice that has none yet.
            usage: for the usage chunk; None sends none.
            comment: goes first, as an SSE comment.
            answer_id: stands in when the upstream named no id before the stop.
            model: the same for the model.
            created: the same for the time of creation, seconds since the epoch.
        """
        ...

    def error_frame(self, partial: Partial, message: str, type_: str, code: str) -> bytes:
        """The event that tells a running stream's client of an error; `partial` as in `closing`."""
        ...

    def ask_for_usage(self, body: bytes, *, continuous: bool = False) -> bytes:
        """The request body with usage asked for; `continuous` asks for a running total in every chunk (vLLM).

        A body that has no room for it is given back as it is.
        """
        ...

    def countable(self, body: bytes) -> bytes:
        """The request body with its prompt where OpenAI's chat completions have it, for counting its tokens."""
        ...

    def is_extra_usage(self, data: bytes) -> bool:
        """Whether an event's data is the chunk that exists only for usage."""
        ...

    def without_extra_usage(self, block: bytes) -> bytes:
        """The block without those chunks; every other byte stays, so a `usage` within other chunks does too."""
        ...

    def without_running_usage(self, block: bytes, *, null: bool) -> bytes:
        """The block without the running totals in chunks of text; `null` leaves a `usage` that says nothing.

        Every other byte stays, the chunk that exists only for usage too.
        """
        ...

    def peek_id(self, block: bytes) -> str | None:
        """The upstream's id of this completion, if an event of the block names it."""
        ...

    def is_done(self, block: bytes) -> bool:
        """Whether the last event of the block is the end of the stream."""
        ...
