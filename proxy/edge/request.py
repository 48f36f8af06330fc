"""A request as the edge hands it on: with its route, its caller and its dialect."""

from dataclasses import dataclass

from aiohttp import web

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
