"""What a dialect is: one client-facing API, as plain functions of plain requests. Edge and dialects both know this."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.core.errors import Refusal
from proxy.core.record import Record
from proxy.core.settings import RouteSettings
from proxy.engine.plan import Plan


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """A request without its connection: `rest` is the path behind the route's, `content_type` is lower-case."""

    method: str
    rest: str
    query: str
    content_type: str
    body: bytes
    user_header: str | None = None


@dataclass(frozen=True, slots=True)
class PlainReply:
    """An answer without its connection."""

    status: int
    body: bytes
    headers: Sequence[tuple[str, str]] = ()
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class ModelCall:
    """The endpoint starts a generation."""


@dataclass(frozen=True, slots=True)
class StopCall:
    """The endpoint stops the generation with this id."""

    any_id: str


@dataclass(frozen=True, slots=True)
class PassThrough:
    """The endpoint is none of ours: it is passed on, and nothing is recorded."""


Endpoint = ModelCall | StopCall | PassThrough


class Dialect(Protocol):
    """One client-facing API."""

    @property
    def name(self) -> str:
        """Its name in the settings."""
        ...

    def endpoint(self, method: str, rest: str) -> Endpoint | None:
        """What a request is; None when this dialect does not serve it."""
        ...

    def plan(self, request: PlainRequest, route: RouteSettings, *, asks_usage: bool, forbids_usage: bool) -> Plan:
        """The model call that a request asks for.

        Args:
            request: the client's.
            route: whose rules hold for it.
            asks_usage: the upstream takes a request for its usage.
            forbids_usage: the settings want none, whatever the upstream takes.

        Raises:
            Refusal: the request breaks a rule of the API.
        """
        ...

    def stopped(self, record: Record) -> PlainReply:
        """The answer of the dialect's own stop route."""
        ...

    def refused(self, refusal: Refusal) -> PlainReply:
        """A refusal in the dialect's shape."""
        ...
