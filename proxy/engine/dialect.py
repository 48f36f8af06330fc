"""What a dialect is: one client-facing API, as plain functions of plain requests. Edge and dialects both know this."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxy.core.errors import Refusal
from proxy.core.record import Record
from proxy.core.settings.settings import RouteSettings
from proxy.core.usage import UsageAsk
from proxy.engine.operation import Operation
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.plan import Plan
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.reading import Reading
from proxy.engine.translating.desk import Desk


class PlanMaker(Protocol):
    """Makes the model call that a passed-through request asks for."""

    def __call__(
        self, request: PlainRequest, route: RouteSettings, *, asks_usage: UsageAsk, forbids_usage: bool
    ) -> Plan:
        """The call, with the client's body as far as possible.

        Args:
            request: the client's.
            route: whose rules hold for it.
            asks_usage: what the upstream is asked for beside what the client asks for.
            forbids_usage: the settings want nothing asked, or the upstream refuses to be asked.

        Raises:
            Refusal: the request breaks a rule of the API.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelCall:
    """The endpoint starts a generation that is passed through."""

    plan: PlanMaker = field(compare=False)


@dataclass(frozen=True, slots=True)
class StopCall:
    """The endpoint stops the generation with this id; `reply` is the answer, from the record."""

    any_id: str
    reply: Callable[[Record], PlainReply] = field(compare=False)


@dataclass(frozen=True, slots=True)
class PassThrough:
    """The endpoint is none of ours: it is passed on, and nothing is recorded."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing is served there, or not in this way: the dialect's own refusal."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a generation that needs no reader, and answer at once, as soon as its START is on disk."""

    plan: Plan
    reply: PlainReply


@dataclass(frozen=True, slots=True)
class Watch:
    """Send a generation's events from the first one, to the end: what its tape has, live or finished.

    `beginning` stands for what is no longer on the tape: it is sent first, then the tape is read from `position` on
    (`Tape.behind` gives the one behind an event). `holds`: this reader keeps the generation wanted.
    """

    source: Relay | Finished
    beginning: bytes = b""
    position: int = 0
    holds: bool = False


Serve = Callable[[PlainRequest, Desk], Awaitable[PlainReply | Plan | Launch | Watch | PassThrough | Reading]]
"""An endpoint of a dialect's own: from a plain request and the caller's desk to a reply, or to a generation; or the
request is passed on as it came after all.

It raises `Refusal` for a request that breaks a rule of the API, `LedgerUnavailableError` where the store can't be used.
"""


SayUnserved = Callable[[Record, Desk], Awaitable[PlainReply]]
"""What a dialect says of a stop that its owner did not serve.

Of a record that runs: the owner has not confirmed, and the stop is kept for it. Of one that is `interrupted`: the owner
is dead. It raises `Refusal` where the API has no truer word.
"""


@dataclass(frozen=True, slots=True)
class AtOwner:
    """The endpoint is about what this id names, and only its owner knows the words: it is served where that runs.

    `unserved`: the words of a stop where the owner can't serve it; None: there are none, so nobody can know.
    `looks`: it only looks at it. `stops`: it stops it, so that it is kept for an owner that does not hear it. Else it
    changes something, and is served only if the owner hears it now.
    """

    any_id: str
    serve: Serve = field(compare=False)
    unserved: SayUnserved | None = field(default=None, compare=False)
    looks: bool = False
    stops: bool = False


Endpoint = ModelCall | StopCall | PassThrough | Refuse | Serve | AtOwner


class Dialect(Protocol):
    """One client-facing API."""

    @property
    def name(self) -> str:
        """Its name in the settings."""
        ...

    @property
    def operations(self) -> Sequence[Operation]:
        """Its calls, for the description of the HTTP API."""
        ...

    def endpoint(self, method: str, rest: str) -> Endpoint | None:
        """What a request is; None when this dialect does not serve it.

        Raises:
            Refusal: the path is one of its own, but nothing is served there in this way.
        """
        ...

    def refused(self, refusal: Refusal) -> PlainReply:
        """A refusal in the dialect's shape."""
        ...


def who_serves(dialects: Sequence[Dialect], method: str, rest: str) -> tuple[Dialect, Endpoint]:
    """Which of a route's dialects serves a request, and as what.

    It is the first one that knows it as its own, be it to refuse it; else the first one that passes it on.
    """
    passing: Dialect | None = None
    for dialect in dialects:
        try:
            found = dialect.endpoint(method, rest)
        except Refusal as refusal:
            found = Refuse(refusal)
        if isinstance(found, PassThrough):
            passing = passing or dialect
        elif found is not None:
            return dialect, found
    return (dialects[0], Refuse(Refusal.not_found())) if passing is None else (passing, PassThrough())
