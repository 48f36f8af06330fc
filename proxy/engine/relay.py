"""The relay: one task per generation, owned by the registry. It moves bytes from upstream to tape and readers.

It never waits for a client. One cancel scope spans queueing, connecting, silence and streaming; a stop or a deadline
sets that scope to now. What follows (close, fold, answer, settle) is the same for every way to end.
"""

import asyncio
from typing import TYPE_CHECKING

from proxy.core.errors import Refusal
from proxy.core.generation import Generation, Stop
from proxy.core.lifecycle import Cause, OnDisconnect, Outcome, Phase
from proxy.core.record import Known
from proxy.core.tee import Tee
from proxy.engine.closing import conclude_passed, refusal_of
from proxy.engine.deadlines import Expiry, look_again, overdue
from proxy.engine.failures import log_failure
from proxy.engine.head import Ending, Head
from proxy.engine.plan import Call, Plan, Rules
from proxy.engine.readers import Reader
from proxy.engine.receive import receive
from proxy.engine.services import Services
from proxy.engine.tape import Tape
from proxy.engine.translated import begin, conclude_translated, open_early
from proxy.engine.upstream import Answer, Upstream, UpstreamError
from proxy.stores.ports import LedgerUnavailableError

if TYPE_CHECKING:
    from proxy.engine.registry import Finished

LAG = 0.5
"""So far behind (as a part of the tape) a reader of a plain answer may be before the answer waits for it."""

PACE_SECONDS = 0.01


class Relay:
    """A generation at work: its task's state, its tape, its readers."""

    __slots__ = (
        "_alone_since",
        "_answer",
        "_call",
        "_expiry",
        "_folded",
        "_fresh",
        "_handed",
        "_known",
        "_look_at",
        "_said",
        "_scope",
        "_services",
        "_since",
        "_started",
        "amid_event",
        "ending",
        "finished",
        "generation",
        "head",
        "plan",
        "readers",
        "refusal",
        "rules",
        "settled",
        "tape",
        "tee",
        "upstream",
        "wiped",
    )

    def __init__(
        self,
        generation: Generation,
        plan: Plan,
        call: Call,
        rules: Rules,
        upstream: Upstream,
        tape: Tape,
        started: "asyncio.Future[None]",
        services: Services,
    ) -> None:
        """Ready to run; `started` is done when the START is on disk, `tape` is empty."""
        self.generation, self.plan, self.rules, self.upstream, self.tape = generation, plan, rules, upstream, tape
        self._call: Call | None = call
        self._started, self._services = started, services
        self.head: Head | Refusal | None = None
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.readers: set[Reader] = set()
        self.ending: Ending | None = None
        self.tee: Tee | None = None
        self.amid_event = False
        self.wiped = False
        """Whether its text is to be nowhere once it has ended."""
        self.finished: Finished | None = None
        """What the registry keeps of it once it is settled."""
        self._answer: Answer | None = None
        self._scope: asyncio.Timeout | None = None
        self._since = self._said = generation.facts.started
        self._expiry: Expiry | None = None
        self.refusal: Refusal | None = None
        """What a client without a header is told, and the end of a stream says."""
        self._alone_since: float | None = None
        self._look_at = 0.0
        self._fresh = self._folded = False
        self._handed = 0
        self._known = Known()

    # What others ask of it. None of this waits.

    def stop(self, stop: Stop) -> bool:
        """End this generation now; True if this is the stop that took effect."""
        if not self.generation.request_stop(stop, self._services.now()):
            return False
        self._interrupt()
        return True

    def attach(self, reader: Reader) -> None:
        """Serve one more reader."""
        self.readers.add(reader)
        if reader.holds:
            self._alone_since = None

    def detach(self, reader: Reader) -> None:
        """A reader left. When it was the last one that holds the generation, the route's rule decides."""
        self.readers.discard(reader)
        if self.finished is not None:
            self.finished.detach(reader)
            return
        if self.ending is not None or not reader.holds or any(other.holds for other in self.readers):
            return
        if isinstance(self.head, Head) and self.head.body is not None:  # it has its whole answer
            return
        self._alone_since = self._services.now()
        self._look_at = 0.0
        if self._on_disconnect is OnDisconnect.CANCEL:
            self.stop(Stop(Cause.DISCONNECT))

    @property
    def _on_disconnect(self) -> OnDisconnect:
        return self.plan.on_disconnect or self.rules.route.on_disconnect

    def sweep(self, now: float) -> str:
        """Look at the deadlines and fold what is due. Gives the text that the ledger does not have yet."""
        if now >= self._look_at:
            self._look(now)
        if not self._fresh or self.tee is None:
            return ""
        self._fresh, self._folded = False, True
        self.tee.fold()
        text = self.generation.partial.take_new_text()
        self._handed += len(text)
        return text

    def news(self) -> Known | None:
        """What the ledger is to know while this runs; None unless that has changed since the last call."""
        generation = self.generation
        if not self._folded and generation.phase is self._known.phase:
            return None
        self._folded = False
        if generation.outcome is not Outcome.RUNNING:  # its END says it all
            return None
        known = generation.known(self._handed)
        if known == self._known:
            return None
        self._known = known
        return known

    def _look(self, now: float) -> None:
        """Look whether a deadline has passed, and when to look again: thousands of relays can't be asked every time."""
        generation, settings = self.generation, self.upstream.settings
        if self._expiry is not None or generation.stop is not None or generation.outcome is not Outcome.RUNNING:
            return
        started, phase = generation.facts.started, generation.phase
        self._expiry = overdue(settings, phase, now=now, started=started, since=self._since)
        if self._expiry is not None:
            self._interrupt()
        elif self._lingered(now):
            self.stop(Stop(Cause.DISCONNECT))
        elif self.plan.most_seconds is not None and now - started >= self.plan.most_seconds:
            self.stop(Stop(Cause.DEADLINE))
        self._look_at = look_again(settings, phase, started=started, since=self._since)
        if self.plan.most_seconds is not None:
            self._look_at = min(self._look_at, started + self.plan.most_seconds)
        if self._alone_since is not None:
            self._look_at = min(self._look_at, self._alone_since + self.rules.route.linger)

    def wall(self) -> float:
        """The time, in seconds since the epoch, by this generation's own steady clock."""
        facts = self.generation.facts
        return facts.started_wall + self._services.now() - facts.started

    def quiet_for(self, now: float) -> float:
        """Seconds since the client of an open stream was last told anything; 0 where no comment may be sent."""
        open_for_comments = self.ending is None and self.streams and not self.amid_event
        since = self._since if self.plan.translation is None else self._said
        return now - since if open_for_comments else 0.0

    def _lingered(self, now: float) -> bool:
        linger, alone = self.rules.route.linger, self._alone_since
        return self._on_disconnect is OnDisconnect.LINGER and alone is not None and now - alone >= linger

    def _interrupt(self) -> None:
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(0)

    @property
    def streams(self) -> bool:
        """Whether a stream of events has begun for the client."""
        return isinstance(self.head, Head) and self.head.streamed

    # What its receiver asks of it, see `receive.py`.

    def heard(self) -> None:
        """Bytes of the body came."""
        self._since = self._services.now()
        self._fresh = True
        if self.generation.first_token is None:
            self.generation.advance(Phase.STREAMING)
            self.generation.first_token = self._since
            self._look_at = 0.0

    def pass_on(self, data: bytes) -> None:
        """Bytes for the client: onto the tape and to every reader that keeps up."""
        self.tape.append(data)
        for reader in self.readers:
            reader.push(data)

    def say(self, data: bytes) -> None:
        """What a translation says: the upstream may have been heard since without anything to say."""
        self.pass_on(data)
        self._said = self._services.now()

    async def keep_pace(self) -> None:
        """Let the readers of an answer that is no stream keep up: they want all of it, and no token waits for them."""
        while any(reader.holds and self.tape.lag(reader.cursor) > LAG for reader in self.readers):
            await asyncio.sleep(PACE_SECONDS)
            self._since = self._services.now()

    def learned_id(self, upstream_id: str) -> None:
        """The upstream's own id of this completion."""
        self.generation.partial.upstream_id = upstream_id
        self._services.learned_id(self, upstream_id)

    async def publish(self, head: Head) -> None:
        """Let the client's answer begin, once the START is on disk."""
        await self.start_on_disk()
        self.show(head)
        if head.streamed:
            await asyncio.sleep(0)  # the client gets its header before we work on what has come already

    def show(self, head: Head | Refusal) -> None:
        """Let every reader know what the answer begins with, or that there is none."""
        self.head = head
        for reader in self.readers:
            reader.wake()

    # The task.

    async def run(self) -> None:
        """Relay to the end and settle. Never raises; whatever happens, the generation ends with one outcome."""
        try:
            with self.upstream.in_use():
                await self._relay()
        except Exception as error:  # noqa: BLE001 a defect of ours must not leave a generation open
            log_failure("relay.failed", error, task_id=self.generation.facts.task_id)
            self._end_refused(Refusal.internal())
        finally:
            self._scope = None
        await self._conclude()

    async def _relay(self) -> None:
        opening = begin(self)
        if self.generation.stop is not None:  # a stop that came first: the upstream is never called
            self._end_interrupted()
            return
        try:
            async with asyncio.timeout(None) as self._scope:
                await open_early(self, opening)
                await self._hold_slot()
        except TimeoutError:
            self._end_interrupted()
        except UpstreamError as error:
            if self.generation.stop is not None:  # it broke because, or just when, it was stopped
                self._end_interrupted()
            else:
                self._end_cut(Outcome.FAILED, error.kind.value, Refusal.upstream(error.kind))
        except LedgerUnavailableError:
            message = "The ledger can't record new work now. Nothing was sent to the client."
            self._end_refused(Refusal.overloaded(5, "ledger_unavailable", message))
        except Refusal as refusal:
            self._end_refused(refusal)

    async def _hold_slot(self) -> None:
        slots = self.upstream.slots
        await slots.take()
        try:
            await self._exchange()
        finally:
            if self._answer is not None:
                self._answer.close()
                self._answer = None
            self.generation.upstream_closed(self._services.now())
            slots.give_back()

    async def _exchange(self) -> None:
        call, self._call = self._call, None  # a prompt may be large; only the connection needs it
        if call is None:
            raise RuntimeError("a relay runs once")
        if self.rules.strict:
            await self.start_on_disk()
        self._enter(Phase.CONNECTING)
        self._answer = await self.upstream.open(
            call.method, call.url, call.headers, call.body, lambda: self._enter(Phase.WAITING)
        )
        self.generation.status = self._answer.status
        complete = await receive(self, self._answer)
        if not complete and self.generation.stop is not None:
            self._end_interrupted()
        else:
            self.generation.end_answered(self._answer.status, self._services.now(), complete=complete)

    @property
    def is_on_disk(self) -> bool:
        """Whether `start_on_disk` would not wait, nor raise."""
        started = self._started
        return started.done() and not started.cancelled() and started.exception() is None

    async def start_on_disk(self) -> None:
        """Wait until the START, and what goes into the conversation store with it, is on disk.

        Raises:
            LedgerUnavailableError: it can't be written.
            Refusal: the conversation store has something else under one of its ids.
        """
        if not self._started.done():
            await asyncio.shield(self._started)  # the ledger's future is not ours to cancel
        self._started.result()

    def _enter(self, phase: Phase) -> None:
        self.generation.advance(phase)
        self._since = self._services.now()
        self._look_at = 0.0

    # The ends that are not the upstream's own. Each folds the rest and writes the outcome, once.

    def _end_interrupted(self) -> None:
        """A stop, or one of our deadlines; when both came, the stop."""
        stop, expiry = self.generation.stop, self._expiry
        if stop is not None:
            self._fold()
            self.generation.upstream_closed(self._services.now())
            self.refusal = refusal_of(stop, begun=self.generation.partial.characters > 0)
            self.generation.end_stopped(self._services.now(), shown=self.head is not None)
        elif expiry is not None:
            self._end_cut(Outcome.TIMED_OUT, expiry.kind, expiry.refusal)
        else:
            raise RuntimeError("interrupted by nobody")

    def _end_cut(self, outcome: Outcome, kind: str, refusal: Refusal) -> None:
        self._fold()
        self.generation.end_cut(outcome, self._services.now(), kind, shown=self.head is not None)
        if self.generation.outcome is not Outcome.COMPLETED:
            self.refusal = refusal

    def _end_refused(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self.generation.end(Outcome.FAILED, self._services.now(), refusal.code)

    def _fold(self) -> None:
        if self.tee is not None:
            self.tee.fold(final=True)

    # Afterwards.

    async def _conclude(self) -> None:
        """Answer the client, count, settle."""
        if self.plan.translation is not None:
            await conclude_translated(self, self.plan.translation, self._services)
        else:
            await conclude_passed(self, self._services)
        await self._services.settle(self)
        self.tee = None
        self.settled.set_result(None)

    def end_readers(self, ending: Ending) -> None:
        """Nothing more comes: every reader ends like that, once it has read all."""
        self.ending = ending
        for reader in self.readers:
            reader.wake()
