"""Responses that are passed through: stopping one by its id. Sources: OpenAI's API reference; other servers' contracts.

A synchronous response is stopped here, by closing the upstream. One in the background runs at the upstream by itself:
its cancel is passed on, if this caller created it through us. Everybody else's ids look unknown.
"""

import json
from typing import Final

from proxy.core.errors import Refusal
from proxy.core.generation import was_asked_for
from proxy.core.ids import new_id
from proxy.core.lifecycle import Outcome
from proxy.core.record import Record
from proxy.engine.dialect import PassThrough
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.relay import Relay
from proxy.engine.translating.desk import Desk
from proxy.wire.openai_responses import OpenAIResponses
from proxy.wire.responses_record import response_of_record

RESPONSES: Final = "/responses"
CANCEL: Final = "cancel"
WIRE: Final = OpenAIResponses()

_BACKGROUND: Final = "background-"
_PREFIX: Final = "resp_"


def response_id_of(rest: str) -> str | None:
    """The id in the path of a response's cancel; None: it is none."""
    match rest.split("/"):
        case ["", "responses", response_id, "cancel"] if response_id:
            return response_id
    return None


def background_id() -> str:
    """A message id for a response in the background: the record tells by it, for ever, whose stop is the upstream's."""
    return _BACKGROUND + new_id()


async def cancel_response(any_id: str, request: PlainRequest, desk: Desk) -> PlainReply | PassThrough:  # noqa: ARG001 a cancel has no body
    """`POST /responses/{id}/cancel`: 200 with the cancelled response, also when it is repeated.

    Raises:
        Refusal: 404, this caller created no such response through us; 400, it is over.
    """
    found = desk.find(any_id)
    if isinstance(found, Relay):
        if not isinstance(found.plan.wire, OpenAIResponses):
            raise Refusal.not_found()
        generation = found.generation
        if generation.facts.message_id.startswith(_BACKGROUND):
            return _passed(any_id, generation.partial.upstream_id)
    record = await desk.stop(any_id, dialect="openai")
    if record is None or not (isinstance(found, Relay) or _is_response(record)):
        raise Refusal.not_found()
    if record.message_id.startswith(_BACKGROUND):
        return _passed(any_id, record.upstream_id)
    ident = record.upstream_id or _PREFIX + record.message_id.replace("-", "")
    if record.outcome is Outcome.RUNNING or was_asked_for(record):
        return PlainReply(200, json.dumps(response_of_record(record, ident)).encode())
    raise Refusal.bad_request("cannot_cancel", "Cannot cancel a synchronous response.")


def _passed(any_id: str, upstream_id: str | None) -> PassThrough:
    """The caller's path goes up as it is: an id that the caller chose could be that of somebody else's response.

    Raises:
        Refusal: 404, it is not the id that the upstream gave.
    """
    if any_id != upstream_id:
        raise Refusal.not_found()
    return PassThrough()


def _is_response(record: Record) -> bool:
    return (record.upstream_id or "").startswith(_PREFIX)
