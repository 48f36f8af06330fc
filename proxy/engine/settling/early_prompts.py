"""Prompts are counted while their streams run, so that a kill leaves a record that can be billed.

Where nobody else tells it the end has to count it too, so that it costs nothing more: it is done at the next sweep.
Where the upstream was asked for its usage most counts are made in vain, its own come with the end of the stream. There
a stream must have run for some time, the longer the longer its prompt is: a stream that is soon over costs nothing,
and what is counted is little beside what the stream has cost by then.
"""

from typing import Final

from proxy.core.encodings import encoding_for
from proxy.core.lifecycle import Outcome, Phase
from proxy.core.usage import UsageAsk
from proxy.engine.failures import log_failure
from proxy.engine.relaying.relay import Relay
from proxy.engine.settling.counted import prompt_tokens
from proxy.engine.settling.counting import Counter
from proxy.engine.tasks import Tasks

AT_ONCE: Final = 50
"""So many prompts wait for the counter at once; the others are asked again at the next sweep."""

BYTES_A_SECOND: Final = 8192
"""So much of a request for each second that its stream has run: counting that takes 0.3 ms, and a stream of 50 events
a second costs six times as much."""


class EarlyPrompts:
    """One per process."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._counts = Tasks()

    def look_at(self, relay: Relay, now: float) -> None:
        """Have a prompt counted, once, that nobody has told by `now`, in monotonic seconds."""
        if _is_due(relay, now) and len(self._counts) < AT_ONCE:
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


def _is_due(relay: Relay, now: float) -> bool:
    plan, generation = relay.plan, relay.generation
    if relay.counts_prompt or generation.phase is not Phase.STREAMING or generation.outcome is not Outcome.RUNNING:
        return False
    if not plan.counts or generation.partial.usage is not None:
        return False
    is_told = plan.wants_usage or plan.asks_usage is not UsageAsk.NOTHING
    return not is_told or now - generation.facts.started >= len(plan.body) / BYTES_A_SECOND
