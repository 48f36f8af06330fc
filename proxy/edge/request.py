"""A request as the edge hands it on: with its route, its caller and its dialect."""

from dataclasses import dataclass

from aiohttp import web

from proxy.core.errors import Refusal
from proxy.core.headers import HeaderPair
from proxy.edge.runtime import Caller, Served
from proxy.engine.dialect import Dialect


@dataclass(frozen=True, slots=True)
class Request:
    """A request with all that the edge has found out about it."""

    http: web.BaseRequest
    headers: list[HeaderPair]
    served: Served
    rest: str
    query: str
    caller: Caller
    dialect: Dialect


def single_header(http: web.BaseRequest, name: str) -> str | None:
    """The value of a header that says one thing, None without it.

    Raises:
        Refusal: 400, it is there twice: nobody could tell which one counts.
    """
    values = http.headers.getall(name, ())
    if len(values) > 1:
        raise Refusal.bad_request("invalid_header", f"The {name} header is there more than once.", name)
    return values[0] if values else None
