"""Signs of life for readers of quiet streams: a route's comments, or what a dialect prescribes."""

from typing import Final

from proxy.core.sse import comment
from proxy.engine.relaying.relay import Relay
from proxy.engine.translating.translated import STREAM_HEAD
from proxy.engine.translating.translation import KeepAlive

COMMENT: Final = comment("keep-alive")


def keep_alive(relay: Relay, now: float) -> None:
    """Send what is due to each reader that has everything; others get it with what they still have to read."""
    alive = _prescribed(relay)
    if alive is None:
        return
    _begin_stream(relay, alive, now)
    quiet = relay.quiet_for(now)
    if not quiet or (alive.idle and quiet < alive.every):
        return
    for reader in relay.readers:
        if reader.direct and reader.sink is not None and now - reader.last_comment >= alive.every:
            reader.last_comment = now
            reader.sink.comment(alive.frame)


def _prescribed(relay: Relay) -> KeepAlive | None:
    """What the dialect says, else what the route wants."""
    translation = relay.plan.translation
    if translation is not None and translation.keep_alive is not None:
        return translation.keep_alive
    every = relay.rules.route.keepalive
    return None if every is None else KeepAlive(every, COMMENT)


def _begin_stream(relay: Relay, alive: KeepAlive, now: float) -> None:
    """Let a translated stream begin although nothing has come yet, when its client has waited for so long."""
    waits = relay.head is None and relay.ending is None and relay.plan.translation is not None and relay.plan.streamed
    if waits and now - relay.generation.facts.started >= alive.every and relay.is_on_disk:
        relay.show(STREAM_HEAD)
