"""What is done here for other replicas: for the identity that a letter names, or for an operator, who is none."""

import contextlib
from collections.abc import Awaitable
from typing import Final, Protocol

from proxy.core.generation import Identity
from proxy.core.letters import (
    Answer,
    FindIt,
    Found,
    ItCame,
    Listed,
    ListThese,
    Said,
    ServeIt,
    StopIt,
    Stopped,
    StopThese,
    StopWhenItComes,
    Table,
)
from proxy.core.lifecycle import Outcome
from proxy.core.record import Record
from proxy.core.record_bytes import record_bytes
from proxy.engine.engine import Engine
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.correspondence import Correspondence
from proxy.engine.replicas.live_elsewhere import table_here
from proxy.engine.replicas.many import clipped
from proxy.engine.settling.whole_record import whole_record
from proxy.stores.bus.port import BusUnavailableError
from proxy.stores.ledger.port import LedgerUnavailableError

LONGEST_CONFIRM: Final = 60.0
LISTED_MOST: Final = 1000


class ServeHere(Protocol):
    """Serves a request that another replica took in; None: it is not served here."""

    def __call__(self, identity: Identity, route: str, request: PlainRequest) -> Awaitable[PlainReply | None]:
        """Serve it, without asking others."""
        ...


class LetterWork:
    """Does what letters ask for, and answers them."""

    def __init__(self, letters: Correspondence, engine: Engine) -> None:
        self._letters = letters
        self._bus = letters.bus
        self._engine = engine
        self._canceller = engine.canceller
        self._registry = engine.registry
        self._runs = engine.runs
        self._now = engine.now
        self.followed: set[str] = set()
        """The numbers of the letters that are being followed."""
        self.serve_here: ServeHere

    def kept_for(self, letter: StopIt | ServeIt) -> str | None:
        """The id by which to stop what a kept stop was for: exactly that, and nothing newer. None: it needs none."""
        relay = self._registry.find_uid(letter.uid)
        user = letter.user if isinstance(letter, StopIt) else None  # a request is looked at as what it is
        if isinstance(relay, Relay) and relay.generation.stop is None:
            facts = relay.generation.facts
            for any_id in (letter.any_id, facts.task_id):
                is_theirs = facts.identity.name == letter.identity and user in (None, facts.user)
                if is_theirs and self._registry.find(letter.identity, any_id) is relay:
                    return any_id
        waiting = self._runs.behind(letter.identity, letter.any_id)
        is_behind = any(run.has(letter.uid) and user in (None, run.user) for run in waiting)
        return letter.any_id if is_behind else None

    async def stop(self, letter: StopIt, any_id: str) -> None:
        """Stop what an id means here, as the letter's identity asks."""
        confirm = min(letter.confirm, LONGEST_CONFIRM)
        stop = letter.wish.stop()
        if letter.wipes:
            await self._wipe(letter)
        record = await self._canceller.cancel_here(letter.identity, any_id, stop, confirm=confirm, user=letter.user)
        if record is not None or self.kept_for(letter) is None:  # else it is tried again as it is kept
            self._bus.withdraw(letter.identity, letter.uid, letter.number)
        data = None if record is None else record_bytes(record)
        self._answer(Said(**self._letters.head(letter.by), answers=letter.number, record=data))

    async def wipe_kept(self, letter: StopIt) -> None:
        """What a kept stop asks for where somebody else's was first."""
        await self._wipe(letter)
        self._bus.withdraw(letter.identity, letter.uid, letter.number)

    async def _wipe(self, letter: StopIt) -> None:
        """Let the text of a generation be nowhere, if it is its identity that asks."""
        found = self._registry.find_uid(letter.uid)
        if found is None or owner_of(found) != letter.identity:
            return
        with contextlib.suppress(LedgerUnavailableError):  # its END has no text all the same
            await self._engine.deleter.wipe(letter.uid)

    async def stop_these(self, letter: StopThese, age: float) -> None:
        """Stop what is chosen of what ran when the letter was written, so many seconds ago."""
        many = self._engine.many
        relays = many.chosen_here(letter.chosen, self._now(), age)
        if not letter.dry:
            self._bus.taken(letter.number)
        confirm = min(letter.confirm, LONGEST_CONFIRM)
        done = await many.stop_here(relays, letter.wish.stop(), dialect=letter.dialect, confirm=confirm, dry=letter.dry)
        said = Stopped(
            **self._letters.head(letter.by),
            answers=letter.number,
            matched=tuple(done.matched),
            stopped=tuple(done.stopped),
            unconfirmed=tuple(done.unconfirmed),
        )
        self._answer(said)

    def list_these(self, letter: ListThese) -> None:
        """Tell of what runs here: records, the newest first, or rows in the order that is asked for."""
        most = min(max(letter.most, 0), LISTED_MOST)
        table: Table | None = None
        if letter.rows is not None:
            records, table = table_here(self._engine.live, letter.chosen, letter.rows, most, letter.before)
        else:
            found = self._engine.many.newest_here(letter.chosen, letter.before, most, letter.text, self._now())
            records = tuple(map(record_bytes, found))
        self._answer(Listed(**self._letters.head(letter.by), answers=letter.number, records=records, table=table))

    async def find(self, letter: FindIt) -> None:
        """What an id means here, as its owner or the operator asks; without a ledger that can be read nobody knows."""
        relays = self._registry.called(letter.identity, letter.any_id)
        if letter.identity is None:  # an operator's page shows the numbers so far
            found = [self._engine.live.whole(relay) for relay in relays]
        else:
            found = [relay.generation.record(self._now()) for relay in relays]
        if not found:
            with contextlib.suppress(LedgerUnavailableError):
                return self._answer_found(letter, await self._over(letter))
            return None
        return self._answer_found(letter, found)

    async def _over(self, letter: FindIt) -> list[Record]:
        """What an id means here that is over.

        Raises:
            LedgerUnavailableError: it is to be looked for in the ledger, which can't be read.
        """
        whose, any_id, registry, ledger = letter.identity, letter.any_id, self._registry, self._engine.ledger
        over = registry.find_anybodys_finished(any_id) if whose is None else registry.find_finished(whose, any_id)
        if not letter.whole:
            return [] if over is None else [over.record]
        record = await (ledger.find(whose, any_id) if over is None else whole_record(over, ledger))
        return [] if record is None or record.outcome is Outcome.RUNNING else [record]

    def _answer_found(self, letter: FindIt, found: list[Record]) -> None:
        records = tuple(record_bytes(record if letter.whole else clipped(record, 0)) for record in found)
        self._answer(Found(**self._letters.head(letter.by), answers=letter.number, records=records))

    def _answer(self, letter: Answer) -> None:
        self._bus.reply(letter.to, letter.answers, self._letters.close(letter))

    async def serve(self, letter: ServeIt) -> None:
        """Serve a request that another replica took in."""
        request = PlainRequest(
            letter.method, letter.rest, letter.query, letter.content_type, letter.body, letter.user_header
        )
        self.followed.add(letter.number)
        try:
            reply = await self.serve_here(Identity(letter.identity, letter.shown), letter.route, request)
        finally:
            self.followed.discard(letter.number)
        if letter.uid:
            self._bus.withdraw(letter.identity, letter.uid, letter.number)
        if reply is None:
            reply = PlainReply(0, b"")
        self._answer(self._letters.served(letter, reply))

    async def tell_it_came(self, letter: StopWhenItComes) -> None:
        """Let nobody remember a stop that was used up: several may have been asked for it."""
        with contextlib.suppress(BusUnavailableError):  # then it is remembered there for some seconds more
            for replica in await self._bus.replicas():
                if replica != self._bus.replica:
                    told = ItCame(
                        **self._letters.head(replica),
                        identity=letter.identity,
                        any_id=letter.any_id,
                        user=letter.user,
                    )
                    await self._bus.send(replica, self._letters.close(told))


def owner_of(found: Relay | Finished) -> str:
    """Whose a generation is."""
    return found.generation.facts.identity.name if isinstance(found, Relay) else found.record.identity
