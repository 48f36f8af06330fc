"""What a client's answer begins with, and how it ends."""

from dataclasses import dataclass
from enum import Enum


class Ending(Enum):
    """How a reader's stream ends: properly, or broken off so that nobody takes it for complete."""

    CLEAN = "clean"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Head:
    """The answer's head for the client.

    `headers` are the upstream's, hop-by-hop ones included. `streamed`: SSE events follow. `length`: bytes that follow,
    where known. `body`: the whole answer, when it is known already.
    """

    status: int
    headers: list[tuple[str, str]]
    streamed: bool
    length: int | None = None
    body: bytes | None = None
