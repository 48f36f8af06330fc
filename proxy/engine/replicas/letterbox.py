"""What comes from other replicas. The seal is looked at first; then it is done as for the identity that is named."""

import contextlib
from collections.abc import Awaitable
from typing import Final, Protocol

from proxy.core.generation import Identity
from proxy.core.letters import (
    Answer,
    AnyLetter,
    FindIt,
    Found,
    ItCame,
    LetterError,
    Listed,
    ListThese,
    LookAt,
    Reads,
    Said,
    Seal,
    Served,
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
from proxy.engine.dialect import PlainReply, PlainRequest
from proxy.engine.engine import Engine
from proxy.engine.registry import Finished
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.correspondence import Correspondence
from proxy.engine.replicas.lending import Lending
from proxy.engine.replicas.live_elsewhere import table_here
from proxy.engine.replicas.many import clipped
from proxy.engine.replicas.undertaker import Undertaker
from proxy.engine.settling.whole_record import whole_record
from proxy.engine.tasks import Tasks
from proxy.stores.bus.port import KEPT_SECONDS, WAITING_SECONDS, BusUnavailableError
from proxy.stores.ledger.port import LedgerUnavailableError

MOST_AT_ONCE: Final = 10_000
"""So many letters are worked on; a stop that comes when there are more is kept at the bus, and found again."""
LONGEST_CONFIRM: Final = 60.0
LISTED_MOST: Final = 1000
ON_ITS_WAY_SECONDS: Final = 1.0
"""So long a kept stop is left alone: the letter that came with it may say more."""


class ServeHere(Protocol):
    """Serves a request that another replica took in; None: it is not served here."""

    def __call__(self, identity: Identity, route: str, request: PlainRequest) -> Awaitable[PlainReply | None]:
        """Serve it, without asking others."""
        ...


class Letterbox:
    """Does what the letters ask for."""

    def __init__(
        self, letters: Correspondence, seal: Seal, engine: Engine, undertaker: Undertaker, lending: Lending
    ) -> None:
        self._letters = letters
        self._bus = letters.bus
        self._seal = seal
        self._engine = engine
        self._undertaker = undertaker
        self._lending = lending
        self._canceller = engine.canceller
        self._registry = engine.registry
        self._runs = engine.runs
        self._metrics = engine.metrics
        self._now = engine.now
        self._tasks = Tasks()
        self._is_closed = False
        self._followed: set[str] = set()
        """The numbers of the letters that are being followed."""
        self.serve_here: ServeHere

    def got_letter(self, letter: bytes) -> None:
        """A letter to this replica came."""
        try:
            opened = self._seal.open(letter, self._bus.now())
        except LetterError as error:
            self._metrics.letters_refused.labels(error.why).inc()
            return
        if isinstance(opened, Answer):
            self._letters.came(opened)
        elif isinstance(opened, Reads):
            self._lending.heard(opened)
        elif self._is_closed:
            return  # nothing runs here any more; who asks has it from the directory
        elif isinstance(opened, ItCame):
            self._registry.take_stop(opened.identity, opened.any_id, self._now(), opened.user)
        elif isinstance(opened, LookAt):
            self._lending.look(opened)
        elif len(self._tasks) < MOST_AT_ONCE:
            self._work_on(opened)

    def _work_on(self, letter: AnyLetter) -> None:
        match letter:
            case StopIt():
                self._tasks.start(self._stop(letter, letter.any_id), "stop for another replica")
            case ServeIt():
                self._tasks.start(self._serve(letter), "serve for another replica")
            case StopThese():
                self._tasks.start(self._stop_these(letter, 0.0), "stop many for another replica")
            case ListThese():
                self._list(letter)
            case FindIt():
                self._tasks.start(self._find(letter), "find for another replica")

    def found_stop(self, uid: str, letter: bytes) -> None:
        """A stop is kept for one of ours: its letter got lost, or is being followed already."""
        if self._is_closed:
            return
        opened = self._opened(letter)
        if not isinstance(opened, StopIt | ServeIt) or opened.uid != uid or opened.number in self._followed:
            return
        if self._bus.now() - opened.at < ON_ITS_WAY_SECONDS or len(self._tasks) >= MOST_AT_ONCE:
            return
        any_id = self._kept_for(opened)
        if isinstance(opened, ServeIt):
            if any_id == opened.any_id:
                self._seal.is_new(opened, self._bus.now())
                self._tasks.start(self._serve(opened), "serve a kept stop")
        elif any_id is not None:
            self._seal.is_new(opened, self._bus.now())
            self._tasks.start(self._stop(opened, any_id), "a kept stop")
        elif opened.wipes and self._seal.is_new(opened, self._bus.now()):
            self._tasks.start(self._wipe_kept(opened), "wipe what was deleted")

    def _kept_for(self, letter: StopIt | ServeIt) -> str | None:
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

    def found_waiting(self, uid: str, letter: bytes) -> None:
        """A stop waited for one of ours that was made known just now."""
        if self._is_closed:
            return
        opened, found = self._opened(letter), self._registry.find_uid(uid)
        if not isinstance(opened, StopWhenItComes) or found is None:
            return
        facts = found.generation.facts if isinstance(found, Relay) else found.record
        is_meant = _owner(found) == opened.identity and opened.any_id in (facts.task_id, facts.message_id)
        is_users = opened.user is None or opened.user == facts.user
        if is_meant and is_users and self._bus.now() - opened.at <= 2 * WAITING_SECONDS:
            if isinstance(found, Relay):  # else its claim told of this stop, which has ended it by now
                self._canceller.stop_relay(found, opened.wish.stop())
            self._tasks.start(self._tell_it_came(opened), "tell that it came")

    def found_mail(self, letter: bytes) -> None:
        """A letter is kept for this replica: it was not heard, or is being followed already."""
        if self._is_closed:
            return
        opened = self._opened(letter)
        if not isinstance(opened, StopThese) or opened.to != self._bus.replica:
            return
        age = self._bus.now() - opened.at
        if age < ON_ITS_WAY_SECONDS or not self._seal.is_new(opened, self._bus.now()):
            return
        if age <= KEPT_SECONDS:
            self._tasks.start(self._stop_these(opened, age), "a kept stop of many")

    def lapsed(self, replica: str) -> None:
        """Another replica's lease is over."""
        if not self._is_closed:
            self._undertaker.lapsed(replica)

    def changed(self, *, is_up: bool) -> None:
        """The bus can be used from now on, or not any more."""
        self._metrics.bus_up.set(is_up)

    async def close(self) -> None:
        """End what is asked of us, and begin nothing more; the answers to what we ask come yet."""
        self._is_closed = True
        await self._tasks.cancel()

    def _opened(self, letter: bytes) -> AnyLetter | None:
        try:
            return self._seal.open_kept(letter)
        except LetterError as error:
            self._metrics.letters_refused.labels(error.why).inc()
            return None

    async def _stop(self, letter: StopIt, any_id: str) -> None:
        confirm = min(letter.confirm, LONGEST_CONFIRM)
        stop = letter.wish.stop()
        if letter.wipes:
            await self._wipe(letter)
        record = await self._canceller.cancel_here(letter.identity, any_id, stop, confirm=confirm, user=letter.user)
        if record is not None or self._kept_for(letter) is None:  # else it is tried again as it is kept
            self._bus.withdraw(letter.identity, letter.uid, letter.number)
        data = None if record is None else record_bytes(record)
        self._answer(Said(**self._letters.head(letter.by), answers=letter.number, record=data))

    async def _wipe_kept(self, letter: StopIt) -> None:
        """What a kept stop asks for where somebody else's was first."""
        await self._wipe(letter)
        self._bus.withdraw(letter.identity, letter.uid, letter.number)

    async def _wipe(self, letter: StopIt) -> None:
        """Let the text of a generation be nowhere, if it is its identity that asks."""
        found = self._registry.find_uid(letter.uid)
        if found is None or _owner(found) != letter.identity:
            return
        with contextlib.suppress(LedgerUnavailableError):  # its END has no text all the same
            await self._engine.deleter.wipe(letter.uid)

    async def _stop_these(self, letter: StopThese, age: float) -> None:
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

    def _list(self, letter: ListThese) -> None:
        most = min(max(letter.most, 0), LISTED_MOST)
        table: Table | None = None
        if letter.rows is not None:
            records, table = table_here(self._engine.live, letter.chosen, letter.rows, most, letter.before)
        else:
            found = self._engine.many.newest_here(letter.chosen, letter.before, most, letter.text, self._now())
            records = tuple(map(record_bytes, found))
        self._answer(Listed(**self._letters.head(letter.by), answers=letter.number, records=records, table=table))

    async def _find(self, letter: FindIt) -> None:
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

    async def _serve(self, letter: ServeIt) -> None:
        request = PlainRequest(
            letter.method, letter.rest, letter.query, letter.content_type, letter.body, letter.user_header
        )
        self._followed.add(letter.number)
        try:
            reply = await self.serve_here(Identity(letter.identity, letter.shown), letter.route, request)
        finally:
            self._followed.discard(letter.number)
        if letter.uid:
            self._bus.withdraw(letter.identity, letter.uid, letter.number)
        if reply is None:
            reply = PlainReply(0, b"")
        served = Served(
            **self._letters.head(letter.by),
            answers=letter.number,
            status=reply.status,
            content_type=reply.content_type,
            headers=tuple(reply.headers),
            body=reply.body,
        )
        self._answer(served)

    async def _tell_it_came(self, letter: StopWhenItComes) -> None:
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


def _owner(found: Relay | Finished) -> str:
    return found.generation.facts.identity.name if isinstance(found, Relay) else found.record.identity
