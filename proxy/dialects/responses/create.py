"""`POST /responses`: from a request to the generation that answers it, or that is made in the background.

A stored response is a thread of its own in the conversation store: its input items, then the answer, all under its id.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus, Thread
from proxy.core.errors import Refusal
from proxy.core.lifecycle import OnDisconnect
from proxy.core.partial import safe_text
from proxy.core.request_body import BodyError, most_tokens
from proxy.core.usage import UsageAsk
from proxy.dialects.responses.chat import chat_messages
from proxy.dialects.responses.draft import Draft
from proxy.dialects.responses.history import load
from proxy.dialects.responses.inputs import Item, check_calls
from proxy.dialects.responses.names import NAME, NOT_STORED, RESPONSE, fresh
from proxy.dialects.responses.request import Asked, read_request
from proxy.dialects.responses.translation import ResponseTranslation
from proxy.engine.dialect import Launch
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.plan import Plan
from proxy.engine.translating.desk import LARGE_BODY, Desk
from proxy.engine.translating.translation import Kept
from proxy.wire.chat_request import PATH, chat_request
from proxy.wire.openai_chat import OpenAIChat

WIRE: Final = OpenAIChat()


@dataclass(frozen=True, slots=True)
class _Made:
    """A response about to be made."""

    id: str
    asked: Asked
    created_at: int
    user: str | None

    @property
    def details(self) -> dict[str, Any]:
        """What the store has of it from its start."""
        asked = self.asked
        return {
            "model": asked.model,
            "created_at": self.created_at,
            "previous": asked.previous,
            "streams": asked.streams,
            "shown": asked.shown,
        }


async def create(request: PlainRequest, desk: Desk) -> Plan | Launch:
    """Make a response.

    Raises:
        Refusal: 400, what is asked can't be had, or the response before it can't.
    """
    try:
        body = await desk.parse(request.body)
    except BodyError as error:
        raise Refusal.bad_request(error.code, error.message, error.param) from error
    is_large = len(request.body) >= LARGE_BODY  # images: what is made of it would hold everybody up
    model = desk.route.model
    asked = await asyncio.to_thread(read_request, body, model) if is_large else read_request(body, model)
    earlier, size = ([], 0) if asked.previous is None else await load(asked.previous, desk)
    items = [*earlier, *(item.shown for item in asked.items)]
    is_large = is_large or size >= LARGE_BODY
    check_calls(items, len(asked.items))
    made = _Made(
        fresh(RESPONSE if asked.store else NOT_STORED), asked, int(desk.wall()), request.user_header or asked.user
    )
    asks_usage = desk.asks_usage
    up = await asyncio.to_thread(_up, made, items, asks_usage) if is_large else _up(made, items, asks_usage)
    return _begun(made, up, desk)


def _up(made: _Made, items: list[dict[str, Any]], asks_usage: UsageAsk) -> bytes:
    asked = made.asked
    messages = chat_messages(asked.instructions, items)
    return chat_request(asked.model, messages, asks_usage=asks_usage, user=made.user, **asked.options)


def _begun(made: _Made, body: bytes, desk: Desk) -> Plan | Launch:
    asked = made.asked
    draft = Draft(made.id, asked.model, made.created_at, asked.shown)
    plan = Plan(
        dialect=NAME,
        wire=WIRE,
        path=PATH,
        query="",
        body=body,
        model=asked.model,
        user=made.user,
        streamed=asked.streams,
        asks_usage=desk.asks_usage,
        translation=ResponseTranslation(draft, made.details),
        kept=_kept(made, desk) if asked.store else None,
        message_id=made.id,
        on_disconnect=OnDisconnect.FINISH if asked.background else None,
        max_tokens=most_tokens(asked.options),
    )
    if asked.background and not asked.streams:
        return Launch(plan, PlainReply(200, json.dumps(draft.object()).encode()))
    return plan


def _kept(made: _Made, desk: Desk) -> Kept:
    identity, now = desk.identity.name, desk.wall()
    answer = Message(
        id=made.id,
        identity=identity,
        dialect=NAME,
        role="assistant",
        created_at=now,
        status=MessageStatus.IN_PROGRESS,
        thread_id=made.id,
        user=made.user,
        metadata=made.details,
    )
    before = tuple(_message(item, made, identity, now) for item in made.asked.items)
    return Kept(answer, before, Thread(made.id, identity, NAME, now, now, made.user))


def _message(item: Item, made: _Made, identity: str, now: float) -> Message:
    return Message(
        id=item.id,
        identity=identity,
        dialect=NAME,
        role=item.role,
        created_at=now,
        thread_id=made.id,
        user=made.user,
        text=safe_text(item.text),
        content=item.shown,
    )
