"""The record: one per generation, what the ledger keeps and what bills are made from."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Literal, NamedTuple

from proxy.core.lifecycle import Cause, Outcome, Phase


class UsageSource(StrEnum):
    """Where the token counts of a record come from, from exact to unknown."""

    UPSTREAM = "upstream"
    UPSTREAM_RUNNING = "upstream_running"
    TOKENIZER = "tokenizer"
    ESTIMATE = "estimate"
    NONE = "none"


class Settlement(StrEnum):
    """What a stopped generation is billed for."""

    PRODUCED = "produced"
    """The prompt, and what was produced until the stop."""
    DRAINED = "drained"
    """The prompt, and all that the upstream made, also behind the stop."""
    VOID = "void"
    """Nothing: it is recorded, and costs 0."""


TextPolicy = Literal["none", "partial", "all"]
"""Whose answer text a record has: nobody's, that of answers that did not complete, or everybody's."""


class Known(NamedTuple):
    """What is known of a generation while it runs, so that a kill leaves a record that can be billed.

    `first_token_at` is seconds since the epoch. The counts are the upstream's own running ones,
    that of the prompt may be ours. `characters` is how
    many count as completion tokens so far, told only where the pieces of the text are not all of it: reasoning, tool
    calls, further choices, a text that is clipped or not kept.
    """

    phase: Phase = Phase.QUEUED
    upstream_id: str | None = None
    upstream_model: str | None = None
    first_token_at: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_source: UsageSource = UsageSource.NONE
    characters: int | None = None
    text_clipped: bool = False


@dataclass(slots=True)
class Record:
    """One generation as it is billed. Unknown is None, never 0.

    `uid` is the record's own key: task ids may be used again after their generation ended, and two callers may use
    the same one. `identity` is the full name of the owner (`key_id` is what people are shown of it).
    Times are seconds since the epoch, UTC. What was saved or made late never counts in a bill.
    """

    uid: str
    identity: str
    task_id: str
    message_id: str
    dialect: str
    route: str
    upstream: str
    started_at: float
    key_id: str
    replica: str
    model: str | None = None
    user: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    upstream_id: str | None = None
    upstream_model: str | None = None
    first_token_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome = Outcome.RUNNING
    cause: Cause | None = None
    cancelled_by: str | None = None
    reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_source: UsageSource = UsageSource.NONE
    cost: Decimal | None = None
    currency: str | None = None
    characters: int | None = None
    text: str | None = None
    text_clipped: bool = False
    error_kind: str | None = None
    phase: Phase = Phase.QUEUED
    elapsed_seconds: float | None = None
    upstream_closed_ms: float | None = None
    settlement: Settlement = Settlement.PRODUCED
    price: str | None = None
    """The unit prices that the cost was made with, as a JSON object, with the version of their list."""
    encoding: str | None = None
    """The tokenizer's encoding, where the counts come from one."""
    max_tokens: int | None = None
    """The most completion tokens that the request allowed."""
    late_tokens: int | None = None
    """Completion tokens that the upstream made behind the stop, as far as known."""
    saved_most: int | None = None
    """Tokens not made thanks to the stop: at most so many."""
    saved_typical: int | None = None
    """The same, against the median answer of that model and route."""
