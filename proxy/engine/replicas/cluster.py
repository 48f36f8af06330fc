"""This replica among the others: what it makes known, what it asks, what it does for them."""

from proxy.core.letters import Seal
from proxy.core.parcels import Parcels
from proxy.engine.engine import Engine
from proxy.engine.replicas.announcing import Announcing
from proxy.engine.replicas.claiming import Claiming
from proxy.engine.replicas.correspondence import Correspondence
from proxy.engine.replicas.elsewhere import Elsewhere
from proxy.engine.replicas.group import Group
from proxy.engine.replicas.lending import Lending, LookHere
from proxy.engine.replicas.letter_work import LetterWork, ServeHere
from proxy.engine.replicas.letterbox import Letterbox
from proxy.engine.replicas.observing import Observing
from proxy.engine.replicas.undertaker import Undertaker
from proxy.stores.bus.port import Bus


class Cluster:
    """Joins an engine to the others over a bus."""

    def __init__(self, engine: Engine, bus: Bus, secret: bytes) -> None:
        """Ready to open; `secret` is what the replicas share."""
        self._engine = engine
        self._bus = bus
        seal, parcels = Seal(secret, bus.replica), Parcels(secret, bus.replica)
        letters = Correspondence(bus, seal)
        self.undertaker = Undertaker(bus, engine.metrics)
        self._elsewhere = Elsewhere(letters, self.undertaker, engine.metrics)
        self._group = Group(letters, self.undertaker)
        self._claiming = Claiming(bus, seal, self._group, self.undertaker, engine.registry)
        self._observing = Observing(letters, parcels, self._elsewhere, self.undertaker, engine.metrics, engine.now)
        self._lending = Lending(letters, parcels, engine.now)
        self._work = LetterWork(letters, engine)
        self._letterbox = Letterbox(letters, seal, engine, self.undertaker, self._lending, self._work)

    async def open(self, serve_here: ServeHere, look_here: LookHere) -> None:
        """Begin. A bus that is not there is no reason not to: what runs here is served all the same."""
        engine = self._engine
        self._work.serve_here = serve_here
        self._lending.look_here = look_here
        engine.metrics.bus_up.set(0)
        engine.metrics.bus_strangers.set_function(lambda: len(self._bus.strangers))
        await self._bus.open(self._letterbox)
        announcing = Announcing(self._bus, engine.now)
        engine.join(announcing, self._elsewhere, self._group, self._claiming, self._observing)

    async def close(self) -> None:
        """Leave: the lease is given back, and what was ended is known as such."""
        await self._claiming.close()
        await self._elsewhere.deletions.close()
        await self._letterbox.close()
        await self._lending.close()
        await self._observing.close()
        await self.undertaker.close()
        await self._bus.close()
