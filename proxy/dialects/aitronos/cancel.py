"""`POST /model/response/{thread_id}/cancel`.

Source: Aitronos' API documentation. Its own front end closes the stream first and cancels then, so that a stop by a
client that left counts as the cancel that follows. Order: the active or just stopped stream, then whose it is.
"""

import json
from typing import Any, Final

from proxy.core.errors import Refusal
from proxy.core.lifecycle import Cause, Outcome, RunState
from proxy.core.record import Record
from proxy.dialects.aitronos import errors
from proxy.dialects.aitronos.fields import read_fields
from proxy.dialects.aitronos.ids import NAME, thread_key
from proxy.dialects.aitronos.turn import Decision, turn_of
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk
from proxy.engine.translating.run import Run

LEFT_SECONDS: Final = 10.0
"""So long after its starter left a cancel of the stream is still answered."""

SURE_SECONDS: Final = 1.0
"""How far the clocks of two replicas may be apart."""


async def cancel(thread_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """Cancel the stream of a thread; for a minute a repeated cancel is answered like the first one."""
    await read_fields(request.body, desk, may_be_empty=True)
    key = thread_key(thread_id)
    run = desk.run(key)
    if run is not None:
        if not run.is_over:
            await desk.stop(key, dialect=NAME)
        if (decision := await _decision(run, desk)) is not None:
            return PlainReply(200, json.dumps(decision.body()).encode())
    elif any(not other.is_over for other in desk.anybodys_runs(key)):
        raise errors.foreign()
    raise errors.not_found("active stream on this thread")


async def unserved(record: Record, desk: Desk) -> PlainReply:
    """Its replica has not confirmed: what the stop will find decided, where that is sure; or that replica is dead.

    Raises:
        Refusal: 404, its stream is over; 503, only its replica can say whether the stop came early enough for an edit.
    """
    if record.outcome is not Outcome.RUNNING:
        raise errors.not_found("active stream on this thread")
    elapsed = desk.wall() - record.started_at
    if elapsed < desk.cancellation.quick_edit_window + SURE_SECONDS:
        raise Refusal.bus_unavailable()
    return PlainReply(200, json.dumps(Decision(is_edit=False, elapsed=elapsed).body()).encode())


async def _decision(run: Run, desk: Desk) -> Decision | None:
    """What the stop made of the turn, once it is written; None: it was over by itself.

    Raises:
        LedgerUnavailableError: it can't be written now.
    """
    turn = turn_of(run)
    if turn is None:
        return None
    if not run.is_over:
        return turn.decision or _undecided(run)
    if (turn.decision is None and _was_left(run, desk.now())) or (turn.decision is not None and not run.is_written):
        await desk.leave_run(run)
    return turn.decision


def _was_left(run: Run, now: float) -> bool:
    """Whether its starter left a short time ago: the cancel that follows decides."""
    past = run.past[-1] if run.past else None
    if run.state is not RunState.STOPPED or past is None or past.stop is None or past.stopped_at is None:
        return False
    return past.stop.cause is Cause.DISCONNECT and now - past.stopped_at <= LEFT_SECONDS


def _undecided(run: Run) -> Decision | None:
    """The stop took effect, and its end is not on disk yet: the mode is what that end will find decided."""
    turn, relay = turn_of(run), run.relay
    at: Any = run.stopped_at if relay is None else relay.generation.stopped_at
    if turn is None or at is None or (relay is not None and relay.generation.outcome is Outcome.COMPLETED):
        return None
    return turn.decide(max(at - run.started, 0.0))
