"""Our own deadlines around everything an upstream does; the sweeper looks at them, so they cost nothing per chunk."""

from dataclasses import dataclass

from proxy.core.errors import Refusal, UpstreamErrorKind
from proxy.core.lifecycle import Phase
from proxy.core.settings.settings import UpstreamSettings


@dataclass(frozen=True, slots=True)
class Expiry:
    """A deadline that passed: the record's `error_kind`, and what a client without a header is told."""

    kind: str
    refusal: Refusal


def _upstream(kind: UpstreamErrorKind) -> Expiry:
    return Expiry(kind.value, Refusal.upstream(kind))


def look_again(settings: UpstreamSettings, phase: Phase, *, started: float, since: float) -> float:
    """When a deadline may have passed next, if nothing happens until then; see `overdue` for the times."""
    timeouts = settings.timeouts
    waits = {
        Phase.QUEUED: settings.queue.timeout,
        Phase.CONNECTING: timeouts.connect,
        Phase.WAITING: timeouts.first_byte,
        Phase.STREAMING: timeouts.idle,
    }
    return min(since + waits.get(phase, timeouts.total), started + timeouts.total)


def overdue(settings: UpstreamSettings, phase: Phase, *, now: float, started: float, since: float) -> Expiry | None:
    """The deadline that has passed, if any. All times are monotonic seconds.

    Args:
        settings: the upstream's.
        phase: where the generation is.
        now: the time.
        started: when it was admitted.
        since: when it entered its phase; while streaming, when bytes came last.
    """
    waited, timeouts = now - since, settings.timeouts
    match phase:
        case Phase.QUEUED if waited > settings.queue.timeout:
            message = "No slot of the upstream became free within queue.timeout."
            return Expiry("queue_timeout", Refusal.overloaded(1, "queue_timeout", message))
        case Phase.CONNECTING if waited > timeouts.connect:
            return _upstream(UpstreamErrorKind.CONNECT_TIMEOUT)
        case Phase.WAITING if waited > timeouts.first_byte:
            return _upstream(UpstreamErrorKind.HEADER_TIMEOUT)
        case Phase.STREAMING if waited > timeouts.idle:
            return _upstream(UpstreamErrorKind.IDLE_TIMEOUT)
    if now - started > timeouts.total:
        return _upstream(UpstreamErrorKind.TOTAL_TIMEOUT)
    return None
