"""Stops behind which an upstream is read on, on disk before anybody is told: a kill forgets neither stop nor counts.

With the stop goes what its settlement needs: the record as it ends if nothing more comes. When more has come it is
written again, so that a kill costs a flush of what was read behind the stop, as it does of a text.
"""

import asyncio
from collections.abc import Callable

from proxy.core.record import Record
from proxy.core.settlement import Beyond
from proxy.engine.failures import log_failure
from proxy.engine.relaying.relay import Relay
from proxy.stores.ledger.port import Ledger


class KeptStops:
    """One per process."""

    def __init__(self, ledger: Ledger, as_it_stands: Callable[[Relay], Record]) -> None:
        """`as_it_stands`: see `Settler.as_it_stands`."""
        self._ledger = ledger
        self._as_it_stands = as_it_stands
        self._written: dict[str, asyncio.Future[None]] = {}
        self._seen: dict[str, tuple[Beyond, str | None]] = {}

    async def keep(self, relay: Relay) -> None:
        """Write the stop of a counted generation; returns when it is on disk, or can't be for good."""
        uid = relay.generation.facts.uid
        try:
            await relay.start_on_disk()
            if (text := relay.new_text()) and not relay.wiped:
                self._ledger.append(uid, text)
            await asyncio.shield(self._write(relay))
        except Exception as error:  # noqa: BLE001 its client must be let go, come what may
            log_failure("stop.not_kept", error, task_id=relay.generation.facts.task_id)

    def look_at(self, relay: Relay) -> None:
        """Write it again where more has come, unless the last one still waits for the disk."""
        uid = relay.generation.facts.uid
        written = self._written.get(uid)
        if written is not None and written.done() and self._seen[uid] != _seen(relay):
            self._write(relay)

    def forget(self, relay: Relay) -> None:
        """Its END says all from now on."""
        uid = relay.generation.facts.uid
        self._written.pop(uid, None)
        self._seen.pop(uid, None)

    def _write(self, relay: Relay) -> "asyncio.Future[None]":
        uid = relay.generation.facts.uid
        seen = _seen(relay)
        relay.as_it_stands = self._as_it_stands(relay)
        written = self._ledger.stop(relay.as_it_stands)
        self._written[uid], self._seen[uid] = written, seen
        return written


def _seen(relay: Relay) -> tuple[Beyond, str | None]:
    """What has come behind the stop: of this a record's numbers are made."""
    if relay.read_on is None:
        raise RuntimeError("a stop is kept only while its upstream is read on")
    return relay.read_on.beyond(), relay.generation.partial.upstream_id
