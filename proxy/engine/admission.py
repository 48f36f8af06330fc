"""What is known of a model call when it asks to be let in, and the facts of the generation that it becomes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from proxy.core.budget import NO_LIMITS, Limits
from proxy.core.errors import Refusal
from proxy.core.generation import Facts, Identity
from proxy.core.ids import new_id
from proxy.core.record import Settlement, TextPolicy
from proxy.engine.relaying.plan import Call, Plan, Rules
from proxy.engine.replicas.claiming import Claim
from proxy.engine.upstreams.upstream import Upstream

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for admission, under which id, and how many generations there may be at once."""

    identity: Identity
    task_id: str | None
    most: int
    """In all."""
    most_of_key: int | None
    """Of this caller; None: no bound of its own."""
    limits: Limits = NO_LIMITS
    """Of this one call, as the caller wants it."""
    claim: Claim | None = None
    """Holds the chosen id among the replicas."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What the edge knows of a model call when it asks for admission."""

    asker: Asker
    plan: Plan
    call: Call
    rules: Rules
    upstream: Upstream
    tags: Mapping[str, str]
    partial_text: int
    text: TextPolicy
    tape: int


def facts_of(asked: Admission, replica: str, now: float) -> Facts:
    """The facts of the generation that a call becomes; `now` is in monotonic seconds."""
    asker, plan = asked.asker, asked.plan
    return Facts(
        uid=new_id() if asker.claim is None else asker.claim.uid,
        task_id=asker.task_id or new_id(),
        message_id=plan.message_id or new_id(),
        identity=asker.identity,
        dialect=plan.dialect,
        route=asked.rules.route.path,
        upstream=asked.upstream.name,
        model=plan.model,
        user=plan.user,
        tags=dict(asked.tags),
        replica=replica,
        started_wall=time.time(),
        started=now,
        settlement=Settlement(asked.rules.route.settlement),
        max_tokens=plan.max_tokens,
    )


def key_is_full(asker: Asker, here: int) -> Refusal:
    """429: so many of a key may run `here` now, and do."""
    log.info("key.limit_reached", key=asker.identity.shown, streams=here)
    most = f"{asker.most_of_key}"
    if here != asker.most_of_key:
        most = f"{here} of {most} on this replica, while the others can't be asked"
    return Refusal.too_many(1, f"As many generations of this key run as its keys.limits.streams allows ({most}).")
