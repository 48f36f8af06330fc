"""`POST /responses/{id}/cancel`. Sources: OpenAI's API reference; for what it leaves open, other servers' contracts.

A response is stopped by closing the upstream, in the background or not. Repeating it gives the same answer.
"""

import json
from typing import Any, Final

from proxy.core.errors import Refusal
from proxy.core.generation import was_asked_for
from proxy.core.lifecycle import Outcome
from proxy.core.record import Record
from proxy.dialects.responses.names import NAME, NOT_STORED
from proxy.dialects.responses.stored import find, shown, translation_of
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.relay import Relay
from proxy.engine.translating.desk import Desk
from proxy.wire.responses_record import response_of_record

NOT_FOUND: Final = 404


async def cancel(any_id: str, request: PlainRequest, desk: Desk) -> PlainReply:  # noqa: ARG001 a cancel has no body
    """Cancel a response: 200 with it, as far as it came.

    It is named by its id, or by the `X-Task-Id` of its generation: who waits for a whole one knows no other yet.

    Raises:
        Refusal: 404, the caller has no such response; 400, it has ended by itself.
    """
    found = desk.find(any_id)
    if isinstance(found, Relay) and translation_of(found) is None:  # a chat completion has stops of its own
        raise Refusal.not_found()
    record = await desk.stop(any_id, dialect=NAME)  # what lives is stopped before any store is asked
    response_id = any_id if record is None else record.message_id
    translation = translation_of(found)
    if isinstance(found, Relay) and found.plan.kept is not None and translation is not None:
        return _answer(translation.final or translation.draft.object())
    try:
        return _answer(shown(*await find(response_id, desk)))
    except Refusal as refusal:
        if record is None or refusal.status != NOT_FOUND or not _is_cancelled(record):
            raise
        return _reply(response_of_record(record, response_id))


async def unserved(record: Record, _desk: Desk) -> PlainReply:
    """Its replica has not confirmed: the response is in progress; or that replica is dead.

    Raises:
        Refusal: 404, it is no response; 400, it ended with its replica.
    """
    if record.dialect != NAME:
        raise Refusal.not_found()
    if record.outcome is not Outcome.RUNNING:
        raise Refusal.bad_request("cannot_cancel", "Cannot cancel a failed response.")
    return _reply(response_of_record(record, record.message_id))


def _is_cancelled(record: Record) -> bool:
    """Whether a record is that of a response that was not to be stored and was stopped, with text or without."""
    return record.message_id.startswith(NOT_STORED) and (record.outcome is Outcome.RUNNING or was_asked_for(record))


def _answer(response: dict[str, Any]) -> PlainReply:
    status = response["status"]
    if status in ("cancelled", "queued", "in_progress"):  # the latter: the stop is not confirmed yet
        return _reply(response)
    what = f"a {status}" if response["background"] else "a synchronous"
    what = what.replace("a incomplete", "an incomplete")
    raise Refusal.bad_request("cannot_cancel", f"Cannot cancel {what} response.")


def _reply(response: dict[str, Any]) -> PlainReply:
    return PlainReply(200, json.dumps(response).encode())
