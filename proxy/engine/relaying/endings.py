"""The ends of a generation that are not its upstream's own. Each folds the rest and writes the outcome, once.

Where the upstream is read on behind a stop the outcome is written already, and none of these changes anything.
"""

from typing import TYPE_CHECKING, Final

from proxy.core.errors import Refusal, UpstreamErrorKind
from proxy.core.lifecycle import Outcome, Phase
from proxy.engine.relaying.closing import refusal_of
from proxy.engine.relaying.deadlines import Expiry

if TYPE_CHECKING:
    from proxy.engine.relaying.relay import Relay

SENT: Final = frozenset({Phase.WAITING, Phase.STREAMING})
"""Where a generation is whose upstream has got the request."""


def end_interrupted(relay: "Relay", now: float, expiry: Expiry | None) -> None:
    """A stop, or one of our deadlines; when both came, the stop. An upstream that is at work is told to abort."""
    generation, stop = relay.generation, relay.generation.stop
    if relay.read_on is not None:
        return
    was_sent = generation.phase in SENT
    if stop is not None:
        _fold(relay)
        generation.upstream_closed(now)
        relay.refusal = refusal_of(stop, begun=generation.partial.characters > 0)
        generation.end_stopped(now, shown=relay.head is not None)
    elif expiry is not None:
        end_cut(relay, now, Outcome.TIMED_OUT, expiry.kind, expiry.refusal)
    else:
        raise RuntimeError("interrupted by nobody")
    if was_sent and generation.outcome is not Outcome.COMPLETED:
        relay.abort()


def end_broken(relay: "Relay", now: float, kind: UpstreamErrorKind) -> None:
    """The upstream broke. Because, or just when, it was stopped, that is an end by the stop."""
    if relay.generation.stop is not None:
        end_interrupted(relay, now, None)
    else:
        end_cut(relay, now, Outcome.FAILED, kind.value, Refusal.upstream(kind))


def end_cut(relay: "Relay", now: float, outcome: Outcome, kind: str, refusal: Refusal) -> None:
    """It ends in the middle, for the reason that the refusal gives; unless it was complete by then."""
    _fold(relay)
    relay.generation.end_cut(outcome, now, kind, shown=relay.head is not None)
    if relay.generation.outcome is not Outcome.COMPLETED:
        relay.refusal = refusal


def end_refused(relay: "Relay", now: float, refusal: Refusal) -> None:
    """It is refused, by us or in the upstream's name."""
    if relay.read_on is None:
        relay.refusal = refusal
        relay.generation.end(Outcome.FAILED, now, refusal.code)


def _fold(relay: "Relay") -> None:
    if relay.tee is not None:
        relay.tee.fold(final=True)
