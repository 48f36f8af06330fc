"""A run's next model call, or its end without one: what `create` and `submit` have in common."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from proxy.core.conversation import Message, MessageStatus
from proxy.core.lifecycle import OnDisconnect
from proxy.dialects.assistants import frames
from proxy.dialects.assistants.history import Chat
from proxy.dialects.assistants.ids import MESSAGE, NAME, fresh
from proxy.dialects.assistants.live import LiveRun
from proxy.dialects.assistants.run_request import EXPIRES, upstream_options
from proxy.dialects.assistants.translation import RunTranslation
from proxy.engine.dialect import Launch
from proxy.engine.plain import PlainReply
from proxy.engine.relaying.plan import Plan
from proxy.engine.translating.desk import LARGE_BODY, Desk
from proxy.engine.translating.run import Run
from proxy.engine.translating.translation import Kept
from proxy.wire.chat_request import PATH, chat_request
from proxy.wire.openai_chat import OpenAIChat

WIRE: Final = OpenAIChat()
T = TypeVar("T")

STREAM_HEADERS: Final = (("Cache-Control", "no-cache, no-transform"), ("X-Accel-Buffering", "no"))


def answer_of(live: LiveRun, now: float) -> Message:
    """The message that the run's next generation may say; it is not there for clients before its first text."""
    return Message(
        id=fresh(MESSAGE),
        identity=live.identity,
        dialect=NAME,
        role="assistant",
        created_at=now,
        status=MessageStatus.IN_PROGRESS,
        thread_id=live.run["thread_id"],
        content={"run_id": live.id, "assistant_id": live.run["assistant_id"]},
    )


async def worked_out(size: int, work: Callable[[], T]) -> T:
    """What `work` gives; done in a thread where so many characters would hold everybody up."""
    return work() if size < LARGE_BODY else await asyncio.to_thread(work)


def left_of(most: int | None, used: int | None) -> int | None:
    """What is left of a bound; None: there is none."""
    return None if most is None else most - (used or 0)


def body_of(live: LiveRun, chat: Chat, desk: Desk) -> bytes:
    """The upstream's request."""
    left = left_of(live.run["max_completion_tokens"], live.completion_tokens)
    options = upstream_options(live.run, live.model_options, left)
    return chat_request(live.run["model"], chat, asks_usage=desk.asks_usage, **options)


def plan_of(
    live: LiveRun, body: bytes, desk: Desk, *, run: Run, kept: Kept, translation: RunTranslation, user: str | None
) -> Plan:
    """The model call. Nobody needs to read it: a run goes on without its reader, until it expires."""
    return Plan(
        dialect=NAME,
        wire=WIRE,
        path=PATH,
        query="",
        body=body,
        model=live.run["model"],
        user=user,
        streamed=True,
        asks_usage=desk.asks_usage,
        translation=translation,
        kept=kept,
        run=run,
        message_id=kept.answer.id,
        aliases=(live.run["thread_id"], live.id),
        on_disconnect=OnDisconnect.FINISH,
        max_tokens=left_of(live.run["max_completion_tokens"], live.completion_tokens),
        most_seconds=max(live.created_at + EXPIRES - desk.wall(), 0.0),
    )


def started(plan: Plan, run: dict[str, Any], *, streams: bool) -> Plan | Launch:
    """The call with its stream for an answer, or with the queued run."""
    return plan if streams else Launch(plan, PlainReply(200, json.dumps(run).encode()))


@dataclass(frozen=True, slots=True)
class Said:
    """What a stream says of a run that ends without a model call."""

    events: bytes

    def reply(self, live: LiveRun, *, streams: bool) -> PlainReply:
        """That stream, or the run as it is."""
        if streams:
            return PlainReply(200, self.events, STREAM_HEADERS, "text/event-stream")
        return PlainReply(200, json.dumps(live.run).encode())


def over_limit(live: LiveRun, reason: str, now: float, before: bytes) -> Said:
    """End a run whose bound of tokens leaves nothing for a model call; `before` is what its stream says first."""
    live.end("incomplete", now, incomplete_details={"reason": reason})
    return Said(before + frames.run_event(live.run) + frames.DONE)
