"""Prompts are counted while their streams run, so that a kill leaves a record that can be billed.

It costs nothing more: it is done once, and only where the end would have to do it too.
"""

from typing import Final

from proxy.core.encodings import encoding_for
from proxy.core.lifecycle import Outcome, Phase
from proxy.core.usage import UsageAsk
from proxy.engine.counted import prompt_tokens
from proxy.engine.counting import Counter
from proxy.engine.failures import log_failure
from proxy.engine.relay import Relay
from proxy.engine.tasks import Tasks

AT_ONCE: Final = 50
"""So many prompts wait for the counter at once; the others are asked again at the next sweep."""


class EarlyPrompts:
    """One per process."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._counts = Tasks()

    def look_at(self, relay: Relay) -> None:
        """Have a prompt counted that nobody else will tell, once."""
        if _is_due(relay) and len(self._counts) < AT_ONCE:
            relay.counts_prompt = True
            self._counts.start(self._count(relay), f"count the prompt of {relay.generation.facts.task_id}")

    async def end(self) -> None:
        """Count no more."""
        await self._counts.cancel()

    async def _count(self, relay: Relay) -> None:
        encoding = encoding_for(relay.plan.model or "", relay.upstream.settings.encoding)
        try:
            await prompt_tokens(relay.generation, relay.plan, self._counter, encoding)
        except Exception as error:  # noqa: BLE001 it is tried again at the end
            log_failure("count.failed", error, task_id=relay.generation.facts.task_id)
        relay.has_news()


def _is_due(relay: Relay) -> bool:
    plan, generation = relay.plan, relay.generation
    if relay.counts_prompt or generation.phase is not Phase.STREAMING or generation.outcome is not Outcome.RUNNING:
        return False
    tells = plan.wants_usage or plan.asks_usage is not UsageAsk.NOTHING
    return plan.counts and not tells and generation.partial.usage is None
