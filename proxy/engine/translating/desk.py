"""The desk: what one caller can have done at a translated dialect's endpoints. Made for each request."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from proxy.core.errors import Refusal
from proxy.core.generation import Identity, Stop
from proxy.core.lifecycle import Cause
from proxy.core.record import Record
from proxy.core.request_body import parse_object
from proxy.core.settings.settings import CancellationSettings, RouteSettings
from proxy.core.usage import UsageAsk
from proxy.engine.engine import Engine
from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.relay import Relay
from proxy.engine.translating.run import Run
from proxy.stores.conversations.port import Conversations, Owner
from proxy.stores.ledger.port import LedgerUnavailableError

T = TypeVar("T")

LARGE_BODY: Final = 256 * 1024
"""A body from here on is parsed in a thread: it would hold everybody up for milliseconds."""


RETRY_SECONDS: Final = 5
"""When to try again where runs hold as much as they may: each is forgotten a minute after its end."""


class Desk:
    """One request's way to the engine and the stores. Somebody else's ids look like unknown ones."""

    def __init__(
        self,
        engine: Engine,
        identity: Identity,
        route: RouteSettings,
        cancellation: CancellationSettings,
        *,
        asks_usage: UsageAsk,
        asks_others: bool = True,
    ) -> None:
        """For a caller on a route.

        Args:
            engine: whose generations are meant.
            identity: the caller.
            route: whose rules hold.
            cancellation: how a stop looks.
            asks_usage: what the upstream is asked for beside the answer.
            asks_others: a stop of what does not run here is one for other replicas.
        """
        self._engine = engine
        self.identity = identity
        self.route = route
        self.cancellation = cancellation
        self.asks_usage = asks_usage
        self.asks_others = asks_others
        self._begun: list[Run] = []
        self._resumed: list[tuple[Run, int, int]] = []

    @property
    def conversations(self) -> Conversations:
        """The conversation store."""
        return self._engine.conversations

    @staticmethod
    def wall() -> float:
        """The time, in seconds since the epoch."""
        return time.time()

    def now(self) -> float:
        """Monotonic seconds, as runs and generations have them."""
        return self._engine.now()

    @staticmethod
    async def parse(body: bytes) -> dict[str, Any]:
        """A body that must be one strict JSON object; a large one is read in a thread, where it holds nobody up.

        Raises:
            BodyError: see `parse_object`.
        """
        return parse_object(body) if len(body) < LARGE_BODY else await asyncio.to_thread(parse_object, body)

    @staticmethod
    async def made(size: int, make: Callable[[], bytes]) -> bytes:
        """What a request of `size` bytes is made into; in a thread where that takes long."""
        return make() if size < LARGE_BODY else await asyncio.to_thread(make)

    def owner(self, dialect: str, user: str | None = None) -> Owner:
        """The caller, as the conversation store knows it."""
        return Owner(self.identity.name, dialect, user)

    def find(self, any_id: str) -> Relay | Finished | None:
        """The caller's generation with this id: live, or ended a short time ago."""
        registry, name = self._engine.registry, self.identity.name
        return registry.find(name, any_id) or registry.find_finished(name, any_id)

    def generation(self, uid: str) -> Relay | Finished | None:
        """The generation with this `uid`, which a store gave for the caller: live, or ended a short time ago.

        One whose upstream is only read on any more has nothing that the store has not: None.
        """
        found = self._engine.registry.find_uid(uid)
        is_let_go = isinstance(found, Relay) and found.read_on is not None and found.released.done()
        return None if is_let_go else found

    async def stop(
        self, any_id: str, *, dialect: str, user: str | None = None, reason: str | None = None
    ) -> Record | None:
        """Stop a generation or a run of the caller's, see `Canceller.cancel`."""
        stop = Stop(Cause.CLIENT, self.identity.shown, reason)
        confirm = self.cancellation.confirm_timeout
        return await self._engine.canceller.cancel(
            self.identity,
            any_id,
            stop,
            dialect=dialect,
            confirm=confirm,
            user=user,
            asks_others=self.asks_others,
        )

    async def wipe(self, uid: str) -> None:
        """Delete the text of a generation from record and tape, see `Deleter.wipe`."""
        await self._engine.deleter.wipe(uid)

    async def carry_out(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Do something to its end although this request's client leaves; `name` is for the log."""
        return await self._engine.carry_out(work, name)

    async def delete_thread(self, owner: Owner, thread_id: str) -> bool:
        """Delete a thread with all that is in it, see `Deleter.delete_thread`."""
        stop = Stop(Cause.CLIENT, self.identity.shown, "its thread was deleted")
        return await self._engine.deleter.delete_thread(owner, thread_id, stop, self.cancellation.confirm_timeout)

    async def delete_messages(self, owner: Owner, *message_ids: str) -> bool:
        """Delete messages, see `Deleter.delete_messages`."""
        return await self._engine.deleter.delete_messages(owner, *message_ids)

    # Runs.

    def run(self, key: str) -> Run | None:
        """The caller's run with this key, live or over a short time ago."""
        return self._engine.runs.find(self.identity.name, key)

    def anybodys_runs(self, key: str) -> list[Run]:
        """Whoever's runs with this key: for APIs that tell somebody else's from an unknown one."""
        return self._engine.runs.find_anybodys(key)

    async def begin_run(
        self, key: str, dialect: str, user: str | None = None, *, label: str = "", holds_waiting: bool = False
    ) -> Run | None:
        """A new run; None: one is working under this key, here or at another replica.

        It is forgotten when no generation comes of the request.

        Args:
            key: what it is called by, and works on.
            dialect: whose key it is.
            user: the end user.
            label: what other replicas are told of it, see `run_elsewhere`.
            holds_waiting: also while it waits for the results of tools no other replica may work on that.

        Raises:
            LedgerUnavailableError: what other replicas do is not known now.
        """
        run = self._engine.runs.begin(self.identity, key, user, self.now())
        if run is None:
            return None
        run.holds_waiting = holds_waiting
        self._begun.append(run)
        return run if await self._engine.holding.take(run, dialect, label) else None

    async def resume_run(self, key: str, dialect: str, *, label: str = "") -> Run | None:
        """The run that waits for the results of tools, working again; None: there is none, or another replica works.

        It waits again when no generation comes of the request. One that held its key all the while is given at once.

        Raises:
            LedgerUnavailableError: what other replicas do is not known now.
        """
        run = self._engine.runs.resume(self.identity, key, self.now())
        if run is None:
            return None
        self._resumed.append((run, len(run.past), run.held))
        return run if await self._engine.holding.take(run, dialect, label) else None

    async def run_elsewhere(self, key: str, dialect: str) -> str | None:
        """The label of the run that works on this at another replica; None: none does.

        Raises:
            LedgerUnavailableError: nobody can know now.
        """
        return await self._engine.holding.elsewhere(self.identity.name, dialect, key)

    @property
    def is_alone(self) -> bool:
        """Whether nobody else writes into the conversation store: then what is not in memory here does not run."""
        return self.conversations.holds is None

    def hold(self, run: Run, characters: int) -> None:
        """Let a run that works hold so many characters in memory, all in all; without a generation it is as before.

        Raises:
            Refusal: 503, runs hold as much as they may.
        """
        if not self._engine.runs.hold(run, characters):
            raise Refusal.overloaded(RETRY_SECONDS, message="The runs in memory hold as much as they may.")

    async def leave_run(self, run: Run) -> None:
        """Have the run's `on_left` awaited, once more if need be: also if this request's client leaves meanwhile.

        Raises:
            LedgerUnavailableError: what it says is not written within the time that a stop may take.
        """
        if not await self._engine.canceller.left.told(run, self.cancellation.confirm_timeout):
            raise LedgerUnavailableError("what a stop made of a run could not be written")

    async def settle_run(self, key: str) -> None:
        """Wait until the caller's run, if its generation is over or being stopped, says what it is now.

        A client may have read the end of a stream a moment before its record is on disk.
        """
        run = self.run(key)
        if run is not None and run.is_ending and run.relay is not None:
            await asyncio.wait([run.relay.released], timeout=self.cancellation.confirm_timeout)

    def leave(self) -> None:
        """The request is served: what it began or resumed and came to no generation is as it was."""
        for run in self._begun:
            if run.relay is None and not run.past:
                self._engine.runs.forget(run)
                self._engine.holding.let_go(run)
        for run, rounds, held in self._resumed:
            if run.relay is None and len(run.past) == rounds:
                self._engine.runs.hold(run, held)
                if run.undo(self.now()):
                    self._engine.canceller.left.tell(run)
