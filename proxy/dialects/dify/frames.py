"""What the events and answers of all apps have in common: one frame, the error, the usage. Source: Dify's API docs."""

import json
from collections.abc import Mapping
from typing import Any, Final

from proxy.core.conversation import MessageStatus
from proxy.core.errors import Refusal
from proxy.core.generation import Priced
from proxy.core.lifecycle import Cause
from proxy.core.money import cost_text
from proxy.core.prices import costs, thawed
from proxy.core.usage import Usage
from proxy.dialects.dify.errors import code_of
from proxy.dialects.dify.turn import Turn
from proxy.engine.translating.translation import KeepAlive, Over, Stored

PING: Final = KeepAlive(10.0, b"event: ping\n\n", idle=False)
"""A name and no data, every ten seconds by the clock."""
CURRENCY: Final = "USD"
UNPRICED: Final = "0"
"""Prices are decimal strings; one that nobody knows is this."""
PRICE_UNIT: Final = "0.000001"
"""What a unit price times tokens is multiplied with: our prices are for a million tokens."""


def event(found: Mapping[str, Any]) -> bytes:
    """One event; its name is in its data."""
    return b"data: " + json.dumps(found, separators=(",", ":")).encode() + b"\n\n"


def growing(found: Mapping[str, Any], hole: str) -> tuple[bytes, bytes]:
    """An event that comes again and again, cut where its text goes in: the string `hole` stands there once."""
    before, _, behind = event(found).partition(json.dumps(hole).encode())
    return before, behind


def error(refusal: Refusal, head: Mapping[str, Any]) -> dict[str, Any]:
    """The data of an `error` event, which has no task id; `head` is what stands in every event of its message."""
    status, code = code_of(refusal)
    about = {name: value for name, value in head.items() if name not in ("task_id", "id")}
    return {"event": "error", **about, "code": code, "message": refusal.message, "status": status}


def metadata(over: Over) -> dict[str, Any]:
    """The metadata of an end: usage, and of a stopped message why; Dify itself has no mark of a stop."""
    found: dict[str, Any] = {"usage": usage(over), "retriever_resources": []}
    if over.cause is not None:
        found["stop_reason"] = "user_manual" if over.cause is Cause.CLIENT else over.cause.value
    return found


def usage(over: Over) -> dict[str, Any]:
    """The usage object. Counts are numbers there, so one that nobody knows is 0; so are prices, which are strings.

    The price of a prompt has its cached tokens in it, that of a completion its reasoning; the total also what the
    price list has for each request.
    """
    counted = over.usage
    price = None if over.priced.price is None else thawed(over.priced.price)
    parts = costs(price, counted) if price is not None and over.priced.cost else None
    unit = UNPRICED if price is None else PRICE_UNIT
    return {
        "prompt_tokens": counted.prompt_tokens or 0,
        "prompt_unit_price": UNPRICED if price is None else cost_text(price.input),
        "prompt_price_unit": unit,
        "prompt_price": UNPRICED if parts is None else cost_text(parts.prompt),
        "completion_tokens": counted.completion_tokens or 0,
        "completion_unit_price": UNPRICED if price is None else cost_text(price.output),
        "completion_price_unit": unit,
        "completion_price": UNPRICED if parts is None else cost_text(parts.completion),
        "total_tokens": total(counted),
        **total_price(over.priced),
        "latency": round(over.elapsed, 3),
    }


def total_price(priced: Priced) -> dict[str, str]:
    """What it costs in all, and in which currency."""
    cost = UNPRICED if priced.cost is None else cost_text(priced.cost)
    return {"total_price": cost, "currency": priced.currency or CURRENCY}


def total(counted: Usage) -> int:
    """All tokens that are known of."""
    return (counted.prompt_tokens or 0) + (counted.completion_tokens or 0)


def stored(over: Over, turn: Turn) -> Stored:
    """What is kept: the turn with its answer as far as it came. A message's metadata is left to its feedback."""
    status = MessageStatus.CANCELLED if over.is_stopped else MessageStatus.COMPLETED
    content = turn.content()
    if over.refusal is not None:
        status, content["error"] = MessageStatus.FAILED, over.refusal.message
    return Stored(status, over.partial.text(), content)
