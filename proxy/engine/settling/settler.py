"""The settler: counts an ended generation and prices it, writes its record once, and lets it go."""

from collections.abc import Callable
from dataclasses import replace

import structlog

from proxy.core.generation import REFUSED, Counted, Spared
from proxy.core.lifecycle import Outcome
from proxy.core.money import cost_text
from proxy.core.record import Record
from proxy.core.settlement import complete, settle, spared
from proxy.core.typical import Typical
from proxy.engine.failures import log_failure
from proxy.engine.free_memory import FreeMemory
from proxy.engine.registry import Registry
from proxy.engine.relaying.relay import Relay
from proxy.engine.settling.counted import NOT_SENT, counted
from proxy.engine.settling.counting import Counter
from proxy.engine.telemetry.metrics import Metrics
from proxy.engine.upstreams.news import UpstreamNews
from proxy.stores.ledger.port import Ledger, LedgerUnavailableError

log = structlog.get_logger()

UNAUTHORIZED, FORBIDDEN = 401, 403


class Settler:
    """Nothing about money happens anywhere else."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        counter: Counter,
        metrics: Metrics,
        memory: FreeMemory,
        typical: Typical,
        news: UpstreamNews,
        now: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._counter = counter
        self._metrics = metrics
        self._memory = memory
        self._typical = typical
        self._news = news
        self._now = now

    async def count(self, relay: Relay) -> None:
        """Write the token counts into the ended generation, see `counted`, and what it costs."""
        try:
            relay.upstream.usage.learn(relay.plan, relay.generation, relay.head)
            relay.generation.counted = await counted(relay, self._counter)
        except Exception as error:  # noqa: BLE001 an unknown count must not keep a generation from its end
            log_failure("count.failed", error, task_id=relay.generation.facts.task_id)
        self._price(relay)

    @staticmethod
    def _price(relay: Relay) -> None:
        try:
            pricing, address = relay.rules.pricing, relay.upstream.settings.base_url
            relay.generation.priced = pricing.price(relay.generation, address)
        except Exception as error:  # noqa: BLE001 nor must an unknown price keep it from its end
            log_failure("price.failed", error, task_id=relay.generation.facts.task_id)

    async def settle(self, relay: Relay) -> None:
        """Write the END, then release the generation. Returns when the record is on disk (or can't be for good)."""
        record = relay.generation.record(self._now())
        try:
            self._metrics.settled(record, read_on=relay.read_on is not None)
            self._news.settled(record, relay.generation.status)
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

    def apply_settlement(self, relay: Relay) -> None:
        """Let the counts be those that are billed after a stop, and price them. To be called once, before `settle`."""
        try:
            self._apply_settlement(relay)
        except Exception as error:  # noqa: BLE001 nor must this keep a generation from its end
            log_failure("settlement.failed", error, task_id=relay.generation.facts.task_id)
        if relay.read_on is not None:  # its counts are new ones
            self._price(relay)

    def _apply_settlement(self, relay: Relay) -> None:
        generation, facts = relay.generation, relay.generation.facts
        generation.counted, generation.spared = self._bill(relay)
        if generation.outcome is Outcome.COMPLETED and (made := generation.counted.usage.completion_tokens):
            self._typical.note(facts.model, facts.route, made)

    def _bill(self, relay: Relay) -> tuple[Counted, Spared]:
        """What is billed of an ended and counted generation, and what its stop spared."""
        generation, facts, read_on = relay.generation, relay.generation.facts, relay.read_on
        beyond = None if read_on is None else read_on.beyond()
        if read_on is not None and (generation.status or 0) >= REFUSED:  # the stop came first, then its refusal
            return Counted(), generation.spared
        if not generation.was_stopped:
            return complete(generation.counted, beyond), generation.spared
        settled = settle(facts.settlement, generation.counted, beyond)
        spares = spared(
            settled,
            bills=relay.upstream.settings.bills_after_close,
            sent=generation.stop_phase not in NOT_SENT,
            ended_by_itself=read_on is not None and read_on.to_the_end,
            max_tokens=facts.max_tokens,
            typical=self._typical.tokens(facts.model, facts.route),
        )
        return settled.counted, spares

    def as_it_stands(self, relay: Relay) -> Record:
        """The record of a generation whose upstream is read on behind its stop, as it is if nothing more comes.

        It says that it runs on, as long as it does; its numbers are those that a bill would have.
        """
        record = relay.generation.record(self._now())
        counted, spares = self._bill(relay)
        usage = counted.usage
        priced = relay.rules.pricing.price(relay.generation, relay.upstream.settings.base_url, usage)
        return replace(
            record,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            usage_source=counted.source,
            encoding=counted.encoding,
            cost=priced.cost,
            currency=priced.currency,
            price=priced.price,
            late_tokens=spares.late,
            saved_most=spares.most,
            saved_typical=spares.typical,
        )


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
        cost=None if record.cost is None else cost_text(record.cost),
        currency=record.currency,
    )
