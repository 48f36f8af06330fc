"""How many tokens an ended generation has, and who says so. The order of truth is here and nowhere else.

1. The upstream's final usage. 2. The last running total it sent. 3. The tokenizer, over the kept texts and the prompt,
once. 4. An estimate by characters. A number of two parts is called by the less exact one: a prompt counted by the
upstream and a completion by the tokenizer are `tokenizer`.
"""

import asyncio
from dataclasses import replace

from proxy.core.encodings import encoding_for, shown
from proxy.core.generation import Counted, Generation
from proxy.core.lifecycle import Outcome, Phase
from proxy.core.partial import Partial
from proxy.core.record import UsageSource
from proxy.core.usage import Usage
from proxy.engine.relaying.plan import Plan
from proxy.engine.relaying.relay import Relay
from proxy.engine.settling.counting import Counter, least_exact

LARGE_BODY = 256 * 1024
"""A request from here on is taken apart in a thread: it would hold everybody up for milliseconds."""
OURS = frozenset({UsageSource.TOKENIZER, UsageSource.ESTIMATE})
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


async def counted(relay: Relay, counter: Counter) -> Counted:
    """The counts of a generation that has ended; what nobody can know stays None."""
    partial, plan = relay.generation.partial, relay.plan
    usage = partial.usage or Usage()
    sources: list[UsageSource] = []
    if usage.prompt_tokens is not None or usage.completion_tokens is not None:
        sources.append(UsageSource.UPSTREAM if partial.usage_is_final else UsageSource.UPSTREAM_RUNNING)
    lacks_completion = usage.completion_tokens is None or partial.outgrew_usage
    nothing_to_count = not plan.counts or _not_billed(relay.generation) or _never_sent(relay)
    if nothing_to_count or (usage.prompt_tokens is not None and not lacks_completion):
        return Counted(usage, least_exact(*sources))
    encoding = encoding_for(plan.model or "", relay.upstream.settings.encoding)
    if usage.prompt_tokens is None:
        prompt, source = await prompt_tokens(relay.generation, plan, counter, encoding)
        if prompt is not None:
            usage = replace(usage, prompt_tokens=prompt)
            sources.append(source)
    if lacks_completion and not _made_unseen(relay):
        completion, source = await _completion(partial, counter, encoding)
        if usage.completion_tokens is None or completion > usage.completion_tokens:
            usage = replace(usage, completion_tokens=completion)
            sources.append(source)
    said = least_exact(*sources)
    return Counted(usage, said, shown(encoding) if said in OURS else None)


async def prompt_tokens(
    generation: Generation, plan: Plan, counter: Counter, encoding: str
) -> tuple[int | None, UsageSource]:
    """The tokens of the prompt, from the request as its wire format makes it countable; counted once."""
    if generation.prompt is not None:
        return generation.prompt
    body, countable = plan.body, plan.wire.countable
    body = countable(body) if len(body) < LARGE_BODY else await asyncio.to_thread(countable, body)
    tokens, source = await counter.count_prompt(body, encoding)
    if tokens is not None:
        generation.prompt = tokens, source
    return tokens, source


async def _completion(partial: Partial, counter: Counter, encoding: str) -> tuple[int, UsageSource]:
    """The tokens of everything that was made; of what was not kept, as many a character as in what was.

    What stood in an event that was too large to be read is in no count: the rest is a lower bound.
    """
    async with counter.turn(partial.counted_characters):
        texts = [text for _, text in partial.counted_texts()]
        tokens, source = await counter.count_each((text.value() for text in texts), encoding)
    kept = sum(text.size for text in texts)
    if partial.clipped and kept:
        return round(tokens * partial.counted_characters / kept), UsageSource.ESTIMATE
    return tokens, UsageSource.ESTIMATE if partial.oversize else source


def _not_billed(generation: Generation) -> bool:
    """Whether the upstream refused the call, or failed before it produced anything."""
    failed_at_once = generation.error_kind == "upstream_error" and not generation.partial.counted_characters
    return failed_at_once or generation.error_kind in NOT_BILLED


def _made_unseen(relay: Relay) -> bool:
    """Whether there may be an answer that nobody here could read: how long it is, is unknown and not 0."""
    plan, generation, partial = relay.plan, relay.generation, relay.generation.partial
    if relay.tee is None and generation.first_token is not None:
        return True
    comes_whole = not (plan.streamed or plan.folded or plan.translation)
    was_read = generation.outcome is Outcome.COMPLETED and not partial.oversize
    return comes_whole and not was_read and not partial.counted_characters


def _never_sent(relay: Relay) -> bool:
    return relay.generation.stop is not None and relay.generation.stop_phase in NOT_SENT
