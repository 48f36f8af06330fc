"""One admitted model call: its ids, its facts, where it is, how it ended.

Pure: the caller passes the time in. `now` is monotonic seconds, `wall` seconds since the epoch.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from proxy.core.lifecycle import ASKED_FOR, OUTCOME_OF, PHASE_AFTER, Cause, Outcome, Phase
from proxy.core.partial import Partial
from proxy.core.record import Known, Record, Settlement, TextPolicy, UsageSource
from proxy.core.usage import Usage

REFUSED = 400
SERVER_ERROR = 500
NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls: `name` is the whole truth (ownership), `shown` what people see of it (`key_id`)."""

    name: str
    shown: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a generation when it is admitted and never changes."""

    uid: str
    task_id: str
    message_id: str
    identity: Identity
    dialect: str
    route: str
    upstream: str
    model: str | None
    user: str | None
    tags: dict[str, str]
    replica: str
    started_wall: float
    started: float
    settlement: Settlement = Settlement.PRODUCED
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """A request to stop: who stands behind it, as whom, and why."""

    cause: Cause
    by: str | None = None
    reason: str | None = None


@dataclass(slots=True)
class Counted:
    """Token counts of an ended generation, with their source."""

    usage: Usage = field(default_factory=Usage)
    source: UsageSource = UsageSource.NONE
    encoding: str | None = None
    """What they were counted with, where we counted any."""


@dataclass(frozen=True, slots=True)
class Priced:
    """What an ended generation costs; `price` as in the record."""

    cost: Decimal | None = None
    currency: str | None = None
    price: str | None = None


@dataclass(frozen=True, slots=True)
class Spared:
    """What a stop spared and what it did not, in completion tokens; see the record's fields."""

    late: int | None = None
    most: int | None = None
    typical: int | None = None


class Generation:
    """The state of one model call. The first stop and the first outcome win; later ones change nothing."""

    __slots__ = (
        "_settled",
        "closed_ms",
        "counted",
        "ended",
        "error_kind",
        "facts",
        "first_token",
        "outcome",
        "partial",
        "phase",
        "priced",
        "prompt",
        "reads_on",
        "spared",
        "status",
        "stop",
        "stop_phase",
        "stopped_at",
        "text",
    )

    def __init__(self, facts: Facts, partial: Partial, text: TextPolicy = "partial") -> None:
        self.facts = facts
        self.partial = partial
        self.text = text
        self._settled: Record | None = None
        self.phase = Phase.QUEUED
        self.outcome = Outcome.RUNNING
        self.stop: Stop | None = None
        self.stop_phase: Phase | None = None
        self.stopped_at: float | None = None
        self.closed_ms: float | None = None
        self.first_token: float | None = None
        self.ended: float | None = None
        self.error_kind: str | None = None
        self.status: int | None = None
        """The HTTP status of the upstream's answer, once it came."""
        self.counted = Counted()
        self.priced = Priced()
        self.prompt: tuple[int, UsageSource] | None = None
        """Our own count of its prompt, once it was made."""
        self.spared = Spared()
        self.reads_on = False
        """Whether the upstream still works, although a stop has released the client: what is read is only counted."""

    def advance(self, phase: Phase) -> None:
        """Go on to `phase` where the table allows it; otherwise nothing happens (the end stays the end)."""
        if phase in PHASE_AFTER[self.phase]:
            self.phase = phase

    def request_stop(self, stop: Stop, now: float) -> bool:
        """Note the first stop. True if this one took effect."""
        if self.stop is not None or self.outcome is not Outcome.RUNNING:
            return False
        self.stop, self.stop_phase, self.stopped_at = stop, self.phase, now
        return True

    def upstream_closed(self, now: float) -> None:
        """Note when the upstream was closed after a stop."""
        if self.stopped_at is not None and self.closed_ms is None:
            self.closed_ms = round((now - self.stopped_at) * 1000, 3)

    def end(self, outcome: Outcome, now: float, error_kind: str | None = None) -> bool:
        """Write the outcome, once. True if this call wrote it."""
        if self.outcome is not Outcome.RUNNING:
            return False
        self.outcome, self.ended, self.error_kind = outcome, now, error_kind
        self.phase = Phase.FINISHED
        return True

    def end_stopped(self, now: float, *, shown: bool = True) -> bool:
        """End as the noted stop says. An answer that was complete before the stop is `completed`, if it was `shown`."""
        if self.stop is None:
            raise RuntimeError("end_stopped without a stop")
        if shown and self.partial.complete(eof_clean=False):
            return self.end(Outcome.COMPLETED, now)
        return self.end(OUTCOME_OF[self.stop.cause], now)

    def end_answered(self, status: int, now: float, *, complete: bool) -> bool:
        """End after the upstream's answer was over by itself; `complete` by the rules of its format."""
        if status >= SERVER_ERROR or (self.partial.error is not None and status < REFUSED):
            return self.end(Outcome.FAILED, now, "upstream_error")
        if status >= REFUSED:
            return self.end(Outcome.FAILED, now, "rejected_upstream")
        if complete:
            return self.end(Outcome.COMPLETED, now)
        return self.end(Outcome.FAILED, now, "truncated")

    def end_cut(self, outcome: Outcome, now: float, error_kind: str, *, shown: bool = True) -> bool:
        """End because something broke or took too long. An answer complete by then is completed, if it was `shown`."""
        if shown and self.partial.complete(eof_clean=False):
            return self.end(Outcome.COMPLETED, now)
        return self.end(outcome, now, error_kind)

    @property
    def was_stopped(self) -> bool:
        """Whether a stop, by whoever it was, ended it."""
        return self.stop is not None and self.outcome in OUTCOME_OF.values()

    def settle(self, record: Record) -> None:
        """The record is written: nothing but it is kept, the texts are let go."""
        self._settled = record
        self.partial = Partial()

    def known(self, handed: int) -> Known:
        """What is known while it runs; `handed` characters of its text are in the ledger."""
        partial, usage = self.partial, self.partial.usage or NO_USAGE
        beyond = self.text == "none" or partial.counted_characters != handed
        source = UsageSource.UPSTREAM if partial.usage_is_final else UsageSource.UPSTREAM_RUNNING
        prompt, source = usage.prompt_tokens, source if usage.is_known else UsageSource.NONE
        if prompt is None and self.prompt is not None:
            prompt, source = self.prompt
        return Known(
            phase=self.phase,
            upstream_id=partial.upstream_id,
            upstream_model=partial.upstream_model,
            first_token_at=None if self.first_token is None else self._wall(self.first_token),
            prompt_tokens=prompt,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            usage_source=source,
            characters=partial.counted_characters if beyond else None,
            text_clipped=partial.clipped,
        )

    def record(self, now: float, *, text: bool = True) -> Record:
        """The record as of `now`; final once the outcome is written. It runs as long as its upstream is read on.

        Without `text` a long one need not be put together for who does not show it.
        """
        if self._settled is not None:
            return self._settled
        facts, partial, usage = self.facts, self.partial, self.counted.usage
        stop = self.stop if self.was_stopped or self.outcome is Outcome.RUNNING else None
        ended = self.ended
        is_open = self.reads_on and self.was_stopped
        elapsed = (now if ended is None else ended) - facts.started
        return Record(
            uid=facts.uid,
            identity=facts.identity.name,
            key_id=facts.identity.shown,
            task_id=facts.task_id,
            message_id=facts.message_id,
            dialect=facts.dialect,
            route=facts.route,
            upstream=facts.upstream,
            started_at=facts.started_wall,
            replica=facts.replica,
            model=facts.model,
            user=facts.user,
            tags=facts.tags,
            upstream_id=partial.upstream_id,
            upstream_model=partial.upstream_model,
            first_token_at=None if self.first_token is None else self._wall(self.first_token),
            ended_at=None if ended is None or is_open else self._wall(ended),
            outcome=Outcome.RUNNING if is_open else self.outcome,
            cause=stop.cause if stop else None,
            cancelled_by=stop.by if stop else None,
            reason=stop.reason if stop else None,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            usage_source=self.counted.source,
            cost=self.priced.cost,
            currency=self.priced.currency,
            characters=partial.characters,
            text=partial.display_text() if text and self._shows_text() else None,
            text_clipped=partial.clipped,
            error_kind=self.error_kind,
            phase=self.stop_phase if stop and self.stop_phase else self.phase,
            elapsed_seconds=round(elapsed, 3),
            upstream_closed_ms=self.closed_ms if stop else None,
            settlement=facts.settlement,
            price=self.priced.price,
            encoding=self.counted.encoding,
            max_tokens=facts.max_tokens,
            late_tokens=self.spared.late,
            saved_most=self.spared.most,
            saved_typical=self.spared.typical,
        )

    def _shows_text(self) -> bool:
        return self.text == "all" or (self.text == "partial" and self.outcome is not Outcome.COMPLETED)

    def _wall(self, moment: float) -> float:
        return self.facts.started_wall + (moment - self.facts.started)


def was_asked_for(record: Record) -> bool:
    """Whether a person stopped this generation, so that a repeated cancel gives the first answer again."""
    return record.outcome is Outcome.CANCELLED and record.cause in ASKED_FOR
