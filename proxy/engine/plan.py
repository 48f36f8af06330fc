"""The plan of a model call: what a dialect made of a request, and all the relay has to know of it."""

from dataclasses import dataclass

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
