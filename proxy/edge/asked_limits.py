"""The limits that a request sets itself by its headers: they lower what it may use, and never raise it."""

import re
from decimal import Decimal
from typing import Final

from aiohttp import web

from proxy.core.budget import ASKED_BY, NO_LIMITS, Limit, Limits
from proxy.core.errors import Refusal
from proxy.edge.request import single_header

_EXPECTED: Final[dict[Limit, tuple[re.Pattern[str], str]]] = {
    "seconds": (re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?"), "a number of seconds such as 30 or 2.5"),
    "completion_tokens": (re.compile(r"[0-9]{1,12}"), "a whole number of tokens such as 500"),
    "cost": (re.compile(r"[0-9]{1,7}(\.[0-9]{1,12})?"), "an amount such as 0.25, in the currency of the prices"),
}


def asked_limits(http: web.BaseRequest) -> Limits:
    """What `X-Max-Seconds`, `X-Max-Tokens` and `X-Max-Cost` say.

    Raises:
        Refusal: 400, one of them is no positive number, or is there twice.
    """
    headers = http.headers
    if not any(name in headers for name in ASKED_BY.values()):
        return NO_LIMITS
    tokens = _asked(http, "completion_tokens")
    return Limits(_asked(http, "seconds"), None if tokens is None else int(tokens), _asked(http, "cost"))


def _asked(http: web.BaseRequest, limit: Limit) -> Decimal | None:
    name = ASKED_BY[limit]
    value = single_header(http, name)
    if value is None:
        return None
    pattern, expected = _EXPECTED[limit]
    amount = Decimal(value) if pattern.fullmatch(value) else Decimal(0)
    if not amount:
        raise Refusal.bad_request("invalid_header", f"The {name} header must be more than 0: {expected}.", name)
    return amount
