"""What comes from other replicas. The seal is looked at first; then it is said what is to be done (`letter_work`)."""

from typing import Final

from proxy.core.letters import (
    Answer,
    AnyLetter,
    FindIt,
    ItCame,
    LetterError,
    ListThese,
    LookAt,
    Reads,
    Seal,
    ServeIt,
    StopIt,
    StopThese,
    StopWhenItComes,
)
from proxy.engine.engine import Engine
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.correspondence import Correspondence
from proxy.engine.replicas.lending import Lending
from proxy.engine.replicas.letter_work import LetterWork, owner_of
from proxy.engine.replicas.undertaker import Undertaker
from proxy.engine.tasks import Tasks
from proxy.stores.bus.port import KEPT_SECONDS, WAITING_SECONDS

MOST_AT_ONCE: Final = 10_000
"""So many letters are worked on; a stop that comes when there are more is kept at the bus, and found again."""
ON_ITS_WAY_SECONDS: Final = 1.0
"""So long a kept stop is left alone: the letter that came with it may say more."""


class Letterbox:
    """Opens what comes, and has it done where it is to be done."""

    def __init__(
        self,
        letters: Correspondence,
        seal: Seal,
        engine: Engine,
        undertaker: Undertaker,
        lending: Lending,
        work: LetterWork,
    ) -> None:
        self._letters = letters
        self._bus = letters.bus
        self._seal = seal
        self._undertaker = undertaker
        self._lending = lending
        self._work = work
        self._canceller = engine.canceller
        self._registry = engine.registry
        self._metrics = engine.metrics
        self._now = engine.now
        self._tasks = Tasks()
        self._is_closed = False

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
                self._tasks.start(self._work.stop(letter, letter.any_id), "stop for another replica")
            case ServeIt():
                self._tasks.start(self._work.serve(letter), "serve for another replica")
            case StopThese():
                self._tasks.start(self._work.stop_these(letter, 0.0), "stop many for another replica")
            case ListThese():
                self._work.list_these(letter)
            case FindIt():
                self._tasks.start(self._work.find(letter), "find for another replica")

    def found_stop(self, uid: str, letter: bytes) -> None:
        """A stop is kept for one of ours: its letter got lost, or is being followed already."""
        if self._is_closed:
            return
        opened = self._opened(letter)
        if not isinstance(opened, StopIt | ServeIt) or opened.uid != uid or opened.number in self._work.followed:
            return
        if self._bus.now() - opened.at < ON_ITS_WAY_SECONDS or len(self._tasks) >= MOST_AT_ONCE:
            return
        any_id = self._work.kept_for(opened)
        if isinstance(opened, ServeIt):
            if any_id == opened.any_id:
                self._seal.is_new(opened, self._bus.now())
                self._tasks.start(self._work.serve(opened), "serve a kept stop")
        elif any_id is not None:
            self._seal.is_new(opened, self._bus.now())
            self._tasks.start(self._work.stop(opened, any_id), "a kept stop")
        elif opened.wipes and self._seal.is_new(opened, self._bus.now()):
            self._tasks.start(self._work.wipe_kept(opened), "wipe what was deleted")

    def found_waiting(self, uid: str, letter: bytes) -> None:
        """A stop waited for one of ours that was made known just now."""
        if self._is_closed:
            return
        opened, found = self._opened(letter), self._registry.find_uid(uid)
        if not isinstance(opened, StopWhenItComes) or found is None:
            return
        facts = found.generation.facts if isinstance(found, Relay) else found.record
        is_meant = owner_of(found) == opened.identity and opened.any_id in (facts.task_id, facts.message_id)
        is_users = opened.user is None or opened.user == facts.user
        if is_meant and is_users and self._bus.now() - opened.at <= 2 * WAITING_SECONDS:
            if isinstance(found, Relay):  # else its claim told of this stop, which has ended it by now
                self._canceller.stop_relay(found, opened.wish.stop())
            self._tasks.start(self._work.tell_it_came(opened), "tell that it came")

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
            self._tasks.start(self._work.stop_these(opened, age), "a kept stop of many")

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
