"""What the calls about generations ask for, on both listeners: methods, small JSON bodies, numbers, a reason.

A refusal names the field at fault and what was expected, never what was sent.
"""

import json
from typing import Any, Final

from aiohttp import hdrs, web

from proxy.core.errors import Refusal
from proxy.core.partial import safe_text
from proxy.core.settings.settings import LimitsSettings
from proxy.edge.intake import read_body

READS: Final = ("GET", "HEAD")

PAGE: Final = 20
MAX_PAGE: Final = 100
MAX_REASON: Final = 500
"""Characters of the words that go with a stop; they are stored and shown."""

SMALL_BODY: Final = 64 * 1024
"""Bytes of a body that only has a few fields."""

LAST_EVENT: Final = 10**15
"""Beyond the last event of any stream, and a number that every JSON reader still reads exactly."""


def check_method(http: web.BaseRequest, *allowed: str) -> None:
    """Let the methods of a path in.

    Raises:
        Refusal: 405, with the methods that are.
    """
    if http.method not in allowed:
        message = f"This path takes {' and '.join(allowed)}."
        raise Refusal(405, "method_not_allowed", message, headers={"Allow": ", ".join(allowed)})


async def small_body(http: web.BaseRequest, limits: LimitsSettings) -> bytes:
    """The body of a call that only has a few fields.

    Raises:
        Refusal: see `read_body`.
    """
    return await read_body(http, min(limits.body, SMALL_BODY), limits.body_deadline)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a call; an empty body is an empty object. Escapes may give halves of characters.

    Raises:
        Refusal: 400, it is something else.
    """
    if not body.strip():
        return {}
    try:
        fields = json.loads(body.decode("utf-8-sig"))  # json's own decoding takes more than UTF-8
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refusal.bad_request("invalid_json", "The body must be a JSON object, or empty.")
    return fields


def reason_of(fields: dict[str, Any]) -> str | None:
    """The field `reason`, as text that can be stored and sent.

    Raises:
        Refusal: 400, it is no text, or too long.
    """
    reason = fields.get("reason")
    if reason is not None and not (isinstance(reason, str) and len(reason) <= MAX_REASON):
        message = f"reason must be a string of at most {MAX_REASON} characters."
        raise Refusal.bad_request("invalid_reason", message, "reason")
    return None if reason is None else safe_text(reason)


def whole_number(name: str, text: str, least: int, most: int) -> int:
    """A parameter that is a whole number from `least` to `most`.

    Raises:
        Refusal: 400, it is not.
    """
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    raise Refusal.bad_request("invalid_parameter", f"{name} must be a whole number from {least} to {most}.", name)


def page_size(text: str | None) -> int:
    """The parameter `limit`: how many records a page has at most.

    Raises:
        Refusal: 400, it is no number from 1 to `MAX_PAGE`.
    """
    return PAGE if text is None else whole_number("limit", text, 1, MAX_PAGE)


def last_event(http: web.BaseRequest) -> int:
    """The number of the last event that an observer has: `Last-Event-ID`, else the parameter `after`, else 0.

    A browser that comes back sends the header with the address it began with, so the header is the newer one.

    Raises:
        Refusal: 400, it is no event's number.
    """
    return after_event(http.headers.get(hdrs.LAST_EVENT_ID) or http.query.get("after", "0"))


def after_event(text: str) -> int:
    """The number of an event.

    Raises:
        Refusal: 400, it is none.
    """
    return whole_number("after (or Last-Event-ID)", text, 0, LAST_EVENT)
