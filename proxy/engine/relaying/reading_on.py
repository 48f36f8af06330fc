"""Reading on behind a stop, for upstreams that bill all of an answer anyway (`on_stop: drain`).

The stop releases the client at once. The relay stays in its receiving and takes the upstream's bytes as before, but
nothing goes to the tape any more; it is folded into a partial that only counts, until the answer ends or a bound is
reached.
"""

from typing import TYPE_CHECKING

from proxy.core.generation import Stop
from proxy.core.lifecycle import Cause, Phase
from proxy.core.read_on import ReadOn
from proxy.engine.relaying.closing import conclude_passed, refusal_of
from proxy.engine.relaying.deadlines import overdue
from proxy.engine.relaying.endings import SENT
from proxy.engine.services import Services
from proxy.engine.translating.translated import conclude_translated

if TYPE_CHECKING:
    from proxy.engine.relaying.relay import Relay


def reads_on(relay: "Relay", stop: Stop) -> bool:
    """Whether a stopped generation's upstream is read on: it has got the request, and there is room for one more.

    At the end of the process there is no time for it.
    """
    upstream = relay.upstream
    if upstream.settings.on_stop != "drain" or stop.cause is Cause.SHUTDOWN or relay.generation.phase not in SENT:
        return False
    return upstream.reading_on < upstream.settings.drain.streams


def begin(relay: "Relay", stop: Stop, now: float) -> ReadOn:
    """From now on what comes is only counted. What came before is the answer, and its outcome is the stop's."""
    generation, bounds = relay.generation, relay.upstream.settings.drain
    if relay.tee is not None:
        relay.tee.fold()
    read_on = ReadOn(generation.partial, now + bounds.time, bounds.tokens)
    if relay.tee is not None:
        relay.tee.go_on(read_on.partial)
    relay.refusal = refusal_of(stop, begun=generation.partial.characters > 0)
    generation.end_stopped(now, shown=relay.head is not None)
    generation.reads_on = True
    return read_on


def is_over(relay: "Relay", read_on: ReadOn, now: float, since: float) -> bool:
    """Whether reading on must end now: one of its bounds is reached, or the upstream is silent for too long."""
    generation = relay.generation
    stopped_at = generation.stopped_at or now
    phase = Phase.STREAMING if since > stopped_at else generation.stop_phase or Phase.STREAMING
    settings, started = relay.upstream.settings, generation.facts.started
    return read_on.is_over(now) or overdue(settings, phase, now=now, started=started, since=since) is not None


async def conclude(relay: "Relay", services: Services) -> None:
    """Answer the client and count."""
    if relay.plan.translation is not None:
        await conclude_translated(relay, relay.plan.translation, services)
    else:
        await conclude_passed(relay, services)


async def release(relay: "Relay", services: Services) -> None:
    """Let the client of a generation go whose upstream is read on."""
    try:
        await conclude(relay, services)
    finally:
        await services.release(relay)
        relay.released.set_result(None)
