"""What an operator's id means, wherever that runs: all other replicas are asked, as it may be anybody's."""

from dataclasses import dataclass

from proxy.core.errors import Refusal
from proxy.core.lifecycle import Outcome
from proxy.core.record import Record
from proxy.core.record_bytes import record_bytes
from proxy.edge.one_generation import ambiguous, in_memory, unknown
from proxy.engine.engine import Engine
from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.group import Meant
from proxy.engine.settling.whole_record import whole_record
from proxy.stores.bus.port import Place
from proxy.stores.ledger.port import LedgerUnavailableError


@dataclass(frozen=True, slots=True)
class Seen:
    """One generation: its whole record, and who has more of it: this replica's memory, another one, or nobody.

    `is_silent`: the replica that began it is there, and does not answer.
    """

    record: Record
    here: Relay | Finished | None = None
    replica: str | None = None
    is_silent: bool = False

    @property
    def is_live(self) -> bool:
        """Whether it runs."""
        return self.record.outcome is Outcome.RUNNING

    @property
    def aliases(self) -> tuple[str, ...] | None:
        """What else its dialect calls it by; None: only the memory of its replica has that, for some time."""
        match self.here:
            case Relay() as relay:
                return relay.plan.aliases
            case Finished() as finished:
                return finished.aliases
        return None

    @property
    def place(self) -> Place | None:
        """Where another replica has it."""
        if self.replica is None:
            return None
        record = self.record
        return Place(record.uid, record.identity, self.replica, not self.is_live, record_bytes(record))


async def find_anywhere(engine: Engine, any_id: str) -> Seen:
    """The generation that an operator's id means. What lives goes before what is over, the newer before the older.

    The record of one that lives has the numbers so far.

    Raises:
        Refusal: 400, it means several that live; 404, none; 503, none, and not everybody could be asked.
        LedgerUnavailableError: it can't be read, and nothing lives.
    """
    here = in_memory(engine, any_id)
    if isinstance(here, Relay):
        return Seen(engine.live.whole(here), here)
    unreadable: LedgerUnavailableError | None = None
    try:
        over = await (engine.ledger.find(None, any_id) if here is None else whole_record(here, engine.ledger))
    except LedgerUnavailableError as error:
        over, unreadable = None, error
    there = Meant() if engine.many.group is None else await engine.many.group.find_anybodys(any_id)
    seen = [Seen(record, None, replica) for replica, record in there.found]
    if len(living := [each for each in seen if each.is_live]) > 1:
        raise ambiguous([each.record.message_id for each in living])
    if over is not None:
        seen.append(Seen(over, here, is_silent=here is None and over.replica in there.unreachable))
    elif unreadable is not None and not living:
        raise unreadable
    if not seen:
        raise unknown() if there.complete else Refusal.bus_unavailable()
    return max(living or seen, key=lambda each: each.record.started_at)
