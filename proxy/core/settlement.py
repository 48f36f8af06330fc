"""What a stopped generation is billed for, and what its stop spared. One place decides both, as pure rules.

Source of the policies: the three ways in which providers and gateways bill an answer that was stopped.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from proxy.core.generation import Counted, Spared
from proxy.core.record import Settlement, UsageSource
from proxy.core.usage import CHARACTERS_A_TOKEN, Usage

Bills = Literal["no", "yes", "unknown"]
"""Whether the upstream bills on after its connection was closed, as the settings know it."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """What was read behind a stop.

    `usage` is the upstream's own count of the whole answer, None where it never came. `before` and `behind` are the
    characters that came before and behind the stop, of all that counts as completion tokens. `shows_reasoning`: the
    model's reasoning was among them. `to_the_end`: the upstream ended by itself. `running`: its last running totals,
    where it never came to the count of the whole, and nothing was said behind them.
    """

    usage: Usage | None
    before: int
    behind: int
    shows_reasoning: bool
    to_the_end: bool
    running: Usage | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The counts that are billed; `late` as in the record, `in_all` what the upstream made as far as known."""

    counted: Counted
    late: int | None
    in_all: int | None


def settle(policy: Settlement, made: Counted, beyond: Beyond | None) -> Settled:
    """The counts of a stopped generation.

    Args:
        policy: what is billed. `void` counts like `produced`: that it costs nothing is the price's business.
        made: what was counted of the answer as it was at the stop.
        beyond: what was read behind it; None: nothing was.
    """
    produced = made.usage.completion_tokens
    if beyond is None:
        return Settled(made, None, produced)
    if beyond.usage is None or beyond.usage.completion_tokens is None:
        return _without_usage(policy, made, beyond)
    total = beyond.usage.completion_tokens
    counted = _until_the_stop(made, beyond, beyond.usage, total)
    produced = counted.usage.completion_tokens
    late = None if produced is None else total - produced
    if policy is Settlement.DRAINED:
        counted = _by_upstream(made, beyond.usage)
    return Settled(counted, late, total)


def complete(made: Counted, beyond: Beyond | None) -> Counted:
    """The counts of an answer that was whole when its stop came: the upstream's own, where they were waited for."""
    if beyond is None or beyond.usage is None or beyond.usage.completion_tokens is None:
        return made
    return _by_upstream(made, beyond.usage)


def costs_nothing(policy: Settlement, *, stopped: bool) -> bool:
    """Whether a generation is recorded with a cost of 0; `stopped`: a stop took effect on it."""
    return stopped and policy is Settlement.VOID


def spared(
    settled: Settled,
    *,
    bills: Bills,
    sent: bool,
    ended_by_itself: bool,
    max_tokens: int | None,
    typical: int | None,
) -> Spared:
    """What a stop spared, as far as it may be claimed.

    `most` is a bound that holds wherever the upstream does not bill on for sure; `typical` is a claim, so it takes an
    upstream that is known to stop. Of one that bills on nothing is claimed, and of a count that is unknown neither.

    Args:
        settled: the counts.
        bills: whether the upstream bills on after a close.
        sent: whether it ever got the request; if not, all of the answer was spared.
        ended_by_itself: it was read on to its end, so nothing was spared.
        max_tokens: the most completion tokens that the request allowed.
        typical: how many a complete answer of that model and route has.
    """
    made = settled.in_all if sent else 0
    if made is None or (sent and bills == "yes"):
        return Spared(settled.late)
    if ended_by_itself:
        return Spared(settled.late, 0, 0)
    is_sure = bills == "no" or not sent
    most = None if max_tokens is None else max(max_tokens - made, 0)
    usual = max(typical - made, 0) if typical is not None and is_sure else None
    return Spared(settled.late, most, usual)


def _without_usage(policy: Settlement, made: Counted, beyond: Beyond) -> Settled:
    """Reading on was cut short, or the upstream counts nothing: what came is estimated from its characters.

    An upstream that counted along has said how many there were by then.
    """
    produced, running = made.usage.completion_tokens, beyond.running
    if produced is not None and running is not None and (running.completion_tokens or 0) >= produced:
        in_all = running.completion_tokens or 0
        if policy is Settlement.DRAINED:
            made = _by_upstream(made, running, UsageSource.UPSTREAM_RUNNING)
        return Settled(made, in_all - produced, in_all)
    late = _estimate(beyond, produced)
    if produced is None:
        return Settled(made, late or None, None)
    in_all = produced + late
    if policy is Settlement.DRAINED and late:
        made = replace(made, usage=replace(made.usage, completion_tokens=in_all), source=UsageSource.ESTIMATE)
    return Settled(made, late, in_all)


def _estimate(beyond: Beyond, produced: int | None) -> int:
    """Tokens behind the stop: as many a character as before it, if that is known."""
    if produced and beyond.before:
        return round(beyond.behind * produced / beyond.before)
    return math.ceil(beyond.behind / CHARACTERS_A_TOKEN)


def _until_the_stop(made: Counted, beyond: Beyond, usage: Usage, total: int) -> Counted:
    """What of the upstream's total had been made when the stop came."""
    produced = made.usage.completion_tokens
    if produced is None:  # an answer that comes whole: nobody saw how far it was
        source = UsageSource.UPSTREAM if made.source is UsageSource.NONE else made.source
        return replace(made, usage=replace(made.usage, prompt_tokens=_prompt(made, usage)), source=source)
    if beyond.before and not beyond.behind:  # nothing was said any more: all of it was made before
        return _by_upstream(made, usage)
    reasoning = made.usage.reasoning_tokens
    is_text = made.source in (UsageSource.TOKENIZER, UsageSource.ESTIMATE)
    if is_text and beyond.before and not beyond.shows_reasoning and usage.reasoning_tokens:
        reasoning = usage.reasoning_tokens  # it had been thought, unseen, before the first word was said
        produced += reasoning
    counts = Usage(
        prompt_tokens=_prompt(made, usage),
        completion_tokens=min(produced, total),
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=None if reasoning is None else min(reasoning, total),
    )
    return replace(made, usage=counts)


def _by_upstream(made: Counted, usage: Usage, source: UsageSource = UsageSource.UPSTREAM) -> Counted:
    """The upstream's own count. Of a prompt that it did not count ours stays, and then all is called by ours."""
    if usage.prompt_tokens is not None or made.usage.prompt_tokens is None:
        return Counted(usage, source)
    return replace(made, usage=replace(usage, prompt_tokens=made.usage.prompt_tokens))


def _prompt(made: Counted, usage: Usage) -> int | None:
    return made.usage.prompt_tokens if usage.prompt_tokens is None else usage.prompt_tokens
