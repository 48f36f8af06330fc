"""The last words of an answer that did not end by itself: to a client without a header, and at the end of a stream."""

from typing import TYPE_CHECKING, Final

from proxy.core.errors import Refusal, Source
from proxy.core.generation import Generation, Stop
from proxy.core.lifecycle import Cause
from proxy.engine.relaying.head import Ending
from proxy.engine.relaying.plan import Plan
from proxy.engine.services import Services

if TYPE_CHECKING:
    from proxy.engine.relaying.relay import Relay


NO_RETRY: Final = {"x-should-retry": "false"}
"""What SDKs heed: the same call would be stopped at the same limit again."""


def refusal_of(stop: Stop, *, begun: bool) -> Refusal:
    """What a client is told whose call was stopped before its header went out; `begun`: there is text of it."""
    if stop.cause is Cause.SHUTDOWN:
        return Refusal.shutting_down()
    if stop.cause is Cause.DEADLINE:
        message = f"The call took longer than it may, and was stopped{_why(stop)}."
        return Refusal(
            504, "deadline_exceeded", message, type="server_error", headers=dict(NO_RETRY), source=Source.OURS
        )
    if stop.cause is Cause.BUDGET:
        message = f"The call reached its budget, and was stopped before its answer was complete{_why(stop)}."
        return Refusal(429, "budget_exhausted", message, type="rate_limit_error", headers=dict(NO_RETRY))
    return Refusal.cancelled(begun=begun)


def _why(stop: Stop) -> str:
    return f" ({stop.reason})" if stop.reason else ""


async def conclude_passed(relay: "Relay", services: Services) -> None:
    """Answer the client and count. The count comes first only where the client waits for it."""
    waits = relay.generation.stop is not None and relay.streams and relay.plan.wants_usage
    if waits:
        await services.count(relay)
    _answer_client(relay)
    if not waits:
        await services.count(relay)


def _answer_client(relay: "Relay") -> None:
    """End every reader's stream, or answer with the refusal where nothing has gone out yet."""
    ending, refusal = Ending.CLEAN, relay.refusal
    if relay.head is None:
        relay.show(refusal or Refusal.internal())
    elif refusal is not None:
        ending = _end_stream(relay, refusal) if relay.streams else Ending.BROKEN
    relay.end_readers(ending)


def _end_stream(relay: "Relay", refusal: Refusal) -> Ending:
    frames, ending = last_frames(
        relay.generation,
        relay.plan,
        refusal,
        finish_reason=relay.rules.finish_reason,
        amid_event=relay.amid_event,
    )
    if frames:
        relay.put(frames)
    return ending


def last_frames(
    generation: Generation, plan: Plan, refusal: Refusal, *, finish_reason: str, amid_event: bool
) -> tuple[bytes, Ending]:
    """The frames that end a stream, and how its connection ends then: properly after a stop, broken off otherwise.

    Args:
        generation: ended, with everything folded; counted, if the client asked for its usage.
        plan: what the client asked for.
        refusal: why the stream ends.
        finish_reason: for choices that have none yet.
        amid_event: part of an oversize event went out, so that nothing can follow it properly.
    """
    if generation.partial.done:
        return b"", Ending.CLEAN
    if amid_event:
        return b"", Ending.BROKEN
    stop, facts = generation.stop, generation.facts
    if stop is None:
        return plan.wire.error_frame(generation.partial, refusal.message, refusal.type, refusal.code), Ending.BROKEN
    frames = plan.wire.closing(
        generation.partial,
        finish_reason=finish_reason,
        usage=generation.counted.usage if plan.wants_usage else None,
        comment=f"quell: task_id={facts.task_id} cause={stop.cause.value}",
        answer_id=facts.message_id,
        model=facts.model or "",
        created=int(facts.started_wall),
    )
    return frames, Ending.CLEAN
