"""What is decided before a relay runs: the dialect's plan, the request as it goes up, the rules of the route."""

from dataclasses import dataclass

from proxy.core.settings import RouteSettings
from proxy.wire.base import Wire


@dataclass(frozen=True, slots=True)
class Plan:
    """One call to be made upstream.

    `streamed`: the client asked for a stream. `folded`: it did not, but the upstream is asked for one that is folded
    into the answer. `wants_usage`: the client asked for the usage chunk; `strips_usage`: we asked for it, so it is
    taken out of the client's stream again. `counts`: prompt and text are worth counting where no usage came.
    """

    dialect: str
    wire: Wire
    path: str
    query: str
    body: bytes
    model: str | None
    user: str | None
    streamed: bool
    folded: bool = False
    wants_usage: bool = False
    strips_usage: bool = False
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """The plan's request as it goes up: address, headers and body are final."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings that hold for a generation to its end, also over a reload.

    `strict`: the START must be on disk before the upstream is called, not only before the client's first byte.
    `kept`: bytes kept of a non-streaming answer for the fold. `answer`: the longest answer folded from a stream.
    """

    route: RouteSettings
    finish_reason: str
    strict: bool
    kept: int
    answer: int
