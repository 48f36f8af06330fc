"""The settler: counts an ended generation, writes its record once, and lets it go."""

from collections.abc import Callable

import structlog

from proxy.core.generation import Counted, Generation
from proxy.core.lifecycle import Outcome, Phase
from proxy.core.record import Record, UsageSource
from proxy.core.usage import Usage
from proxy.engine.counting import Counter, encoding_for
from proxy.engine.failures import log_failure
from proxy.engine.free_memory import FreeMemory
from proxy.engine.metrics import Metrics
from proxy.engine.registry import Registry
from proxy.engine.relay import Relay
from proxy.stores.ports import Ledger, LedgerUnavailableError

log = structlog.get_logger()

UNAUTHORIZED, FORBIDDEN = 401, 403
NOT_SENT = frozenset({Phase.QUEUED, Phase.CONNECTING})
NOT_BILLED = frozenset(
    {
        "bad_answer",
        "connect_timeout",
        "dns",
        "ledger_unavailable",
        "queue_timeout",
        "rate_limit_exceeded",
        "redirect",
        "rejected_upstream",
        "tls",
        "unreachable",
        "upgraded",
    }
)
"""Ends of which the upstream never made anything."""


class Settler:
    """Nothing about money happens anywhere else."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        counter: Counter,
        metrics: Metrics,
        memory: FreeMemory,
        now: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._counter = counter
        self._metrics = metrics
        self._memory = memory
        self._now = now

    async def count(self, relay: Relay) -> None:
        """Write the token counts into the ended generation: the upstream's own, else counted from the texts."""
        try:
            relay.generation.counted = await self._counted(relay)
        except Exception as error:  # noqa: BLE001 an unknown count must not keep a generation from its end
            log_failure("count.failed", error, task_id=relay.generation.facts.task_id)

    async def _counted(self, relay: Relay) -> Counted:
        generation, plan = relay.generation, relay.plan
        partial = generation.partial
        if partial.usage_chunk and plan.wants_usage:  # the client asked by itself, and the upstream understood
            relay.upstream.takes_usage = True
        if partial.usage is not None and partial.usage.completion_tokens is not None:
            final = partial.usage_is_final
            return Counted(partial.usage, UsageSource.UPSTREAM if final else UsageSource.UPSTREAM_RUNNING)
        if not plan.counts or _not_billed(generation) or _never_sent(relay):
            return Counted()
        encoding = encoding_for(plan.model or "", relay.upstream.settings.encoding)
        prompt, _ = await self._counter.count_prompt(plan.body, encoding)
        if _made_unseen(relay):
            return Counted(Usage(prompt_tokens=prompt), UsageSource.NONE if prompt is None else UsageSource.TOKENIZER)
        async with self._counter.turn(partial.counted_characters):
            text = partial.counted_text()
            completion, source = await self._counter.count(text, encoding)
        if partial.clipped and text:  # more came than was kept: as many tokens a character as in what was kept
            completion, source = round(completion * partial.counted_characters / len(text)), UsageSource.ESTIMATE
        return Counted(Usage(prompt_tokens=prompt, completion_tokens=completion), source)

    async def settle(self, relay: Relay) -> None:
        """Write the END, then release the generation. Returns when the record is on disk (or can't be for good)."""
        record = relay.generation.record(self._now())
        try:
            self._metrics.settled(record)
            await self._ledger.end(record)
            _log_end(record, relay.generation.status)
        except LedgerUnavailableError as error:
            log_failure("ledger.write_failed", error, task_id=record.task_id)
        except Exception as error:  # noqa: BLE001 what ended must be released, come what may
            log_failure("settle.failed", error, task_id=record.task_id)
        self._memory.let_go(relay.tape.end + relay.generation.partial.counted_characters)
        relay.generation.settle(record)
        relay.tape.finish()
        for finished in self._registry.release(relay, record, self._now()):
            finished.tape.close()


def _not_billed(generation: Generation) -> bool:
    """Whether the upstream refused the call, or failed before it produced anything."""
    failed_at_once = generation.error_kind == "upstream_error" and not generation.partial.counted_characters
    return failed_at_once or generation.error_kind in NOT_BILLED


def _made_unseen(relay: Relay) -> bool:
    """Whether there may be an answer that nobody here could read: how long it is, is unknown and not 0."""
    plan, generation = relay.plan, relay.generation
    if relay.tee is None and generation.first_token is not None:
        return True
    comes_whole = not (plan.streamed or plan.folded or plan.translation)
    return comes_whole and generation.outcome is not Outcome.COMPLETED and not generation.partial.counted_characters


def _never_sent(relay: Relay) -> bool:
    return relay.generation.stop is not None and relay.generation.stop_phase in NOT_SENT


def _log_end(record: Record, status: int | None) -> None:
    """One line per generation: everything but its text. A provider that takes no key is somebody's to look at."""
    tell = log.warning if status in (UNAUTHORIZED, FORBIDDEN) else log.info
    tell(
        "generation.end",
        task_id=record.task_id,
        message_id=record.message_id,
        upstream_id=record.upstream_id,
        upstream_status=status,
        route=record.route,
        upstream=record.upstream,
        model=record.model,
        key_id=record.key_id,
        outcome=record.outcome.value,
        cause=record.cause.value if record.cause else None,
        phase=record.phase.value,
        error_kind=record.error_kind,
        elapsed_seconds=record.elapsed_seconds,
        upstream_closed_ms=record.upstream_closed_ms,
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        usage_source=record.usage_source.value,
    )
