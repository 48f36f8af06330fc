"""A relay's one call of its upstream: the slot, the connection, the answer, and what is made of its end.

One cancel scope spans queueing, connecting, silence and streaming; a stop or a deadline sets that scope to now.
"""

import asyncio
from typing import TYPE_CHECKING

from proxy.core.errors import Refusal
from proxy.core.headers import HeaderPair
from proxy.core.lifecycle import Phase
from proxy.engine.relaying.endings import end_broken, end_interrupted, end_refused
from proxy.engine.relaying.plan import Call
from proxy.engine.relaying.receive import receive
from proxy.engine.services import Services
from proxy.engine.translating.translated import begin, open_early
from proxy.engine.upstreams.abort import abort_headers
from proxy.engine.upstreams.open_calls import OpenCall
from proxy.engine.upstreams.upstream import Answer, UpstreamError
from proxy.stores.ledger.port import LedgerUnavailableError

if TYPE_CHECKING:
    from proxy.engine.relaying.relay import Relay


class Exchange:
    """One call, made once."""

    __slots__ = ("_answer", "_call", "_open", "_scope", "abort_headers")

    def __init__(self, call: Call) -> None:
        self._call: Call | None = call
        self._answer: Answer | None = None
        self._open: OpenCall | None = None
        self._scope: asyncio.Timeout | None = None
        self.abort_headers: list[HeaderPair] | None = None
        """For the upstream's own abort, where the settings name one and the call has begun."""

    @property
    def is_open(self) -> bool:
        """Whether it goes on, and can be interrupted."""
        return self._scope is not None and not self._scope.expired()

    def interrupt(self) -> None:
        """End it now."""
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(0)

    async def run(self, relay: "Relay", services: Services) -> None:
        """Make the call, and end the relay's generation as the call ended; where it is read on that is done already."""
        try:
            await self._run(relay, services)
        finally:
            self._scope = None

    async def _run(self, relay: "Relay", services: Services) -> None:
        opening = begin(relay)
        if relay.generation.stop is not None:  # a stop that came first: the upstream is never called
            end_interrupted(relay, services.now(), None)
            return
        try:
            async with asyncio.timeout(None) as self._scope:
                await open_early(relay, opening)
                await self._hold_slot(relay, services)
        except TimeoutError:
            end_interrupted(relay, services.now(), relay.expiry)
        except UpstreamError as error:
            end_broken(relay, services.now(), error.kind)
        except LedgerUnavailableError:
            message = "The ledger can't record new work now. Nothing was sent to the client."
            end_refused(relay, services.now(), Refusal.overloaded(5, "ledger_unavailable", message))
        except Refusal as refusal:
            end_refused(relay, services.now(), refusal)

    async def _hold_slot(self, relay: "Relay", services: Services) -> None:
        slots = relay.upstream.slots
        await slots.take()
        try:
            await self._exchange(relay, services)
        finally:
            if self._answer is not None:
                self._answer.close()
                self._answer = None
            if self._open is not None:
                services.calls.end(self._open)
                self._open = None
            relay.generation.upstream_closed(services.now())
            relay.upstream.reading_on -= relay.read_on is not None
            slots.give_back()

    async def _exchange(self, relay: "Relay", services: Services) -> None:
        call, self._call = self._call, None  # a prompt may be large; only the connection needs it
        if call is None:
            raise RuntimeError("a relay runs once")
        if relay.rules.strict:
            await relay.start_on_disk()
        if relay.upstream.settings.on_stop == "call":
            self.abort_headers = abort_headers(call.headers)
        relay.enter(Phase.CONNECTING)
        self._open = services.calls.begin(relay)
        headers = call.headers if services.telemetry is None else services.telemetry.calling(relay, call.headers)
        self._answer = answer = await relay.upstream.open(
            call.method, call.url, headers, call.body, lambda: relay.enter(Phase.WAITING)
        )
        self._open.answer, relay.generation.status = answer, answer.status
        complete = await receive(relay, answer)
        if relay.read_on is not None:
            relay.read_on.to_the_end = True
        elif not complete and relay.generation.stop is not None:
            end_interrupted(relay, services.now(), None)
        else:
            relay.generation.end_answered(answer.status, services.now(), complete=complete)
