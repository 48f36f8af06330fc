"""Requests and answers without their connections: what dialects take and give, here and from replica to replica."""

from collections.abc import Sequence
from dataclasses import dataclass


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
