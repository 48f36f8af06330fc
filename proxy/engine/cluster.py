"""This replica among the others: what it makes known, what it asks, what it does for them."""

from proxy.core.letters import Seal
from proxy.core.parcels import Parcels
from proxy.engine.announcing import Announcing
from proxy.engine.elsewhere import Elsewhere
from proxy.engine.engine import Engine
from proxy.engine.lending import Lending, LookHere
from proxy.engine.letterbox import Letterbox, ServeHere
from proxy.engine.observing import Observing
from proxy.stores.bus import Bus


class Cluster:
    """Joins an engine to the others over a bus."""

    def __init__(self, engine: Engine, bus: Bus, secret: bytes) -> None:
        """Ready to open; `secret` is what the replicas share."""
        self._engine = engine
        self._bus = bus
        seal = Seal(secret, bus.replica)
        self.elsewhere = Elsewhere(bus, seal, engine.metrics)
        parcels = Parcels(secret, bus.replica)
        self._observing = Observing(bus, seal, parcels, self.elsewhere, engine.metrics, engine.now)
        self._lending = Lending(bus, seal, parcels, engine.now)
        self._letterbox = Letterbox(
            bus,
            seal,
            self.elsewhere,
            self._lending,
            engine.canceller,
            engine.registry,
            engine.runs,
            engine.metrics,
            engine.now,
        )

    async def open(self, serve_here: ServeHere, look_here: LookHere) -> None:
        """Begin. A bus that is not there is no reason not to: what runs here is served all the same."""
        engine = self._engine
        self._letterbox.serve_here = serve_here
        self._lending.look_here = look_here
        engine.metrics.bus_up.set(0)
        await self._bus.open(self._letterbox)
        engine.join(Announcing(self._bus, engine.now), self.elsewhere, self._observing)

    async def close(self) -> None:
        """Leave: the lease is given back, and what was ended is known as such."""
        await self._letterbox.close()
        await self._lending.close()
        await self._observing.close()
        await self._bus.close()
