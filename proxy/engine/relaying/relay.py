"""The relay: one task per generation, owned by the registry. It moves bytes from upstream to tape and readers.

It never waits for a client. Its call of the upstream (`exchange.py`) can be interrupted at any time; what follows
(close, fold, answer, settle) is the same for every way to end.
"""

import asyncio

from proxy.core.errors import Refusal
from proxy.core.generation import Generation, Stop
from proxy.core.lifecycle import Cause, OnDisconnect, Outcome, Phase
from proxy.core.partial import Partial
from proxy.core.read_on import ReadOn
from proxy.core.record import Known, Record
from proxy.core.tee import Tee
from proxy.engine.failures import log_failure
from proxy.engine.relaying import reading_on
from proxy.engine.relaying.deadlines import Expiry, look_again, overdue
from proxy.engine.relaying.endings import end_refused
from proxy.engine.relaying.exchange import Exchange
from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.head import Ending, Head
from proxy.engine.relaying.plan import Call, Plan, Rules
from proxy.engine.relaying.readers import Reader
from proxy.engine.relaying.reading_on import conclude
from proxy.engine.relaying.tape import Tape
from proxy.engine.services import Services
from proxy.engine.upstreams.upstream import Upstream

LAG = 0.5
"""So far behind (as a part of the tape) a reader of a plain answer may be before the answer waits for it."""

PACE_SECONDS = 0.01


class Relay:
    """A generation at work: its task's state, its tape, its readers."""

    __slots__ = (
        "_alone_since",
        "_exchange",
        "_folded",
        "_fresh",
        "_handed",
        "_known",
        "_look_at",
        "_releasing",
        "_said",
        "_services",
        "_since",
        "_started",
        "amid_event",
        "as_it_stands",
        "counts_prompt",
        "ending",
        "expiry",
        "finished",
        "generation",
        "head",
        "plan",
        "read_on",
        "readers",
        "refusal",
        "released",
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
        self._exchange = Exchange(call)
        self._started, self._services = started, services
        self.head: Head | Refusal | None = None
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.released: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when its client is: once it is settled, or sooner where its upstream is read on behind a stop."""
        self.read_on: ReadOn | None = None
        """What is read behind a stop; from then on nothing more goes to the tape but the stream's last words."""
        self.as_it_stands: Record | None = None
        """How it ends if nothing more comes, once a stop has released it and its upstream is read on."""
        self._releasing: asyncio.Task[None] | None = None
        self.readers: set[Reader] = set()
        self.ending: Ending | None = None
        self.tee: Tee | None = None
        self.amid_event = False
        self.counts_prompt = False
        """Whether somebody counts its prompt while it runs, or did."""
        self.wiped = False
        """Whether its text is to be nowhere once it has ended."""
        self.finished: Finished | None = None
        """What the registry keeps of it once it is settled."""
        self._since = self._said = generation.facts.started
        self.expiry: Expiry | None = None
        self.refusal: Refusal | None = None
        """What a client without a header is told, and the end of a stream says."""
        self._alone_since: float | None = None
        self._look_at = 0.0
        self._fresh = self._folded = False
        self._handed = 0
        self._known = Known()

    # What others ask of it. None of this waits.

    def stop(self, stop: Stop) -> bool:
        """End this generation now; True if this is the stop that took effect.

        Its upstream is closed, or read on for its usage where the settings want that; the end of the process cuts it.
        """
        now = self._services.now()
        if not self.generation.request_stop(stop, now):
            if stop.cause is Cause.SHUTDOWN and self.read_on is not None:
                self._exchange.interrupt()
            return False
        if self._exchange.is_open and self.expiry is None and reading_on.reads_on(self, stop):
            self._read_on(stop, now)
        else:
            self._exchange.interrupt()
        return True

    def _read_on(self, stop: Stop, now: float) -> None:
        self.read_on = reading_on.begin(self, stop, now)
        self.upstream.reading_on += 1
        self._look_at = 0.0
        releasing = reading_on.release(self, self._services)
        self._releasing = self._services.start(releasing, f"release {self.generation.facts.task_id}")

    def abort(self) -> None:
        """Have the upstream's own abort called, where the settings name one."""
        if (headers := self._exchange.abort_headers) is not None:
            self._services.abort(self, headers)

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
        return self.new_text()

    def new_text(self) -> str:
        """The text that was folded and that the ledger does not have yet."""
        text = self.generation.partial.take_new_text()
        self._handed += len(text)
        return text

    def fold(self) -> None:
        """Fold what came since the last sweep, for whoever can't wait for the next one; its text waits for that."""
        if self._fresh and self.tee is not None:
            self.tee.fold()

    def has_news(self) -> None:
        """More is known of it than its last fold has told."""
        self._folded = True

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
        if self.read_on is not None and reading_on.is_over(self, self.read_on, now, self._since):
            self._exchange.interrupt()
        if self.expiry is not None or generation.stop is not None or generation.outcome is not Outcome.RUNNING:
            return
        started, phase = generation.facts.started, generation.phase
        self.expiry = overdue(settings, phase, now=now, started=started, since=self._since)
        if self.expiry is not None:
            self._exchange.interrupt()
        elif self._lingered(now):
            self.stop(Stop(Cause.DISCONNECT))
        elif self.plan.most_seconds is not None and now - started >= self.plan.most_seconds:
            self.stop(Stop(Cause.DEADLINE))
        self._look_at = look_again(settings, phase, started=started, since=self._since)
        if self.plan.most_seconds is not None:
            self._look_at = min(self._look_at, started + self.plan.most_seconds)
        if self._alone_since is not None:
            self._look_at = min(self._look_at, self._alone_since + self.rules.route.linger)

    def look_soon(self) -> None:
        """Look at the deadlines with the next sweep: one may be nearer than was thought."""
        self._look_at = 0.0

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
        linger, alone = self.rules.route.linger if self._services.returns else 0.0, self._alone_since
        return self._on_disconnect is OnDisconnect.LINGER and alone is not None and now - alone >= linger

    @property
    def streams(self) -> bool:
        """Whether a stream of events has begun for the client."""
        return isinstance(self.head, Head) and self.head.streamed

    # What its receiver asks of it, see `receive.py`.

    def heard(self) -> None:
        """Bytes of the body came."""
        self._since = self._services.now()
        self._fresh = True
        if self.generation.first_token is None and self.read_on is None:
            self.generation.advance(Phase.STREAMING)
            self.generation.first_token = self._since
            self._look_at = 0.0

    @property
    def partial(self) -> Partial:
        """What the upstream's bytes are folded into."""
        return self.generation.partial if self.read_on is None else self.read_on.partial

    def pass_on(self, data: bytes) -> None:
        """The upstream's bytes for the client, unless a stop has released it."""
        if self.read_on is None:
            self.put(data)

    def put(self, data: bytes) -> None:
        """Bytes for the client: onto the tape and to every reader that keeps up."""
        self.tape.append(data)
        for reader in self.readers:
            reader.push(data)

    def say(self, data: bytes) -> None:
        """What a translation says: the upstream may have been heard since without anything to say."""
        self.put(data)
        self._said = self._services.now()

    async def keep_pace(self) -> None:
        """Let the readers of an answer that is no stream keep up: they want all of it, and no token waits for them."""
        while self.read_on is None and any(
            reader.holds and self.tape.lag(reader.cursor) > LAG for reader in self.readers
        ):
            await asyncio.sleep(PACE_SECONDS)
            self._since = self._services.now()

    def learned_id(self, upstream_id: str) -> None:
        """The upstream's own id of this completion."""
        self.generation.partial.upstream_id = upstream_id
        self._services.learned_id(self, upstream_id)

    async def publish(self, head: Head) -> None:
        """Let the client's answer begin, once the START is on disk; not if a stop has released it."""
        if self.read_on is None and head.body is not None:
            self.tape.append(head.body)
        await self.start_on_disk()
        if self.read_on is not None:
            return
        self.tape.sse = self.tape.sse or head.streamed
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
                await self._exchange.run(self, self._services)
        except Exception as error:  # noqa: BLE001 a defect of ours must not leave a generation open
            log_failure("relay.failed", error, task_id=self.generation.facts.task_id)
            end_refused(self, self._services.now(), Refusal.internal())
        await self._conclude()

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

    def enter(self, phase: Phase) -> None:
        """Its call goes on to this phase."""
        self.generation.advance(phase)
        self._since = self._services.now()
        self._look_at = 0.0

    # Afterwards.

    async def _conclude(self) -> None:
        """Answer the client and count, unless that is done already; settle."""
        if self._releasing is None:
            await conclude(self, self._services)
        else:
            await asyncio.wait({self._releasing})
        self.generation.reads_on = False
        await self._services.settle(self)
        self.tee = None
        self.settled.set_result(None)
        if not self.released.done():
            self.released.set_result(None)

    def end_readers(self, ending: Ending) -> None:
        """Nothing more comes: every reader ends like that, once it has read all."""
        self.ending = ending
        for reader in self.readers:
            reader.wake()
