"""The last words of an answer that did not end by itself: to a client without a header, and at the end of a stream."""

from proxy.core.errors import Refusal
from proxy.core.generation import Generation, Stop
from proxy.core.lifecycle import Cause
from proxy.engine.head import Ending
from proxy.engine.plan import Plan


def refusal_of(stop: Stop) -> Refusal:
    """What a client is told whose call was stopped before its header went out."""
    if stop.cause is Cause.SHUTDOWN:
        return Refusal.overloaded(1, "shutting_down", "The proxy is shutting down. Another replica can take this call.")
    return Refusal.cancelled()


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
        return plan.wire.error_frame(refusal.message, refusal.type, refusal.code), Ending.BROKEN
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
