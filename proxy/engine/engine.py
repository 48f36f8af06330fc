"""The engine: admits generations, runs their relays, sweeps over them, and ends them all at shutdown."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import structlog

from proxy.core.deltas import DeltaPartial
from proxy.core.errors import Refusal
from proxy.core.generation import Generation, Stop
from proxy.core.headers import HeaderPair
from proxy.core.lifecycle import Cause
from proxy.core.partial import Partial
from proxy.core.typical import Typical
from proxy.engine.admission import Admission, Asker, facts_of, key_is_full
from proxy.engine.canceller import Canceller
from proxy.engine.failures import log_failure
from proxy.engine.free_memory import FreeMemory
from proxy.engine.limits.budgets import Budgets
from proxy.engine.limits.sharing import Place, Sharing
from proxy.engine.live import LiveHere
from proxy.engine.registry import Registry
from proxy.engine.relaying.kept_stops import KeptStops
from proxy.engine.relaying.readers import Reader
from proxy.engine.relaying.relay import Relay
from proxy.engine.relaying.spill import Spill
from proxy.engine.relaying.tape import Tape
from proxy.engine.replicas.announcing import Announcing
from proxy.engine.replicas.claiming import Claim, Claiming
from proxy.engine.replicas.elsewhere import Elsewhere
from proxy.engine.replicas.group import Group
from proxy.engine.replicas.many import Many
from proxy.engine.replicas.observing import Observing
from proxy.engine.settling.counting import Counter
from proxy.engine.settling.early_prompts import EarlyPrompts
from proxy.engine.settling.settler import Settler
from proxy.engine.settling.so_far import SoFar
from proxy.engine.sweeper import Sweeper
from proxy.engine.tasks import Tasks
from proxy.engine.telemetry.metrics import Metrics
from proxy.engine.telemetry.port import Telemetry
from proxy.engine.translating.deleter import Deleter
from proxy.engine.translating.holding import Holding
from proxy.engine.translating.keeping import Keeping
from proxy.engine.translating.run import Run
from proxy.engine.translating.runs import Runs
from proxy.engine.translating.translation import Kept, Stored
from proxy.engine.upstreams.abort import Aborter
from proxy.engine.upstreams.news import UpstreamNews
from proxy.engine.upstreams.open_calls import OpenCalls
from proxy.stores.ledger.port import Ledger, LedgerUnavailableError

log = structlog.get_logger()

T = TypeVar("T")

LEARNED_FROM = 5000
"""So many of the ledger's newest records are looked at for what is typical."""


class Engine:
    """One per process: what all generations share."""

    def __init__(self, ledger: Ledger, counter: Counter, metrics: Metrics, replica: str) -> None:
        self.ledger = ledger
        self.conversations = ledger.conversations
        self.metrics = metrics
        self.registry = Registry()
        self.runs = Runs()
        self.holding = Holding(ledger.conversations)
        self.runs.on_change = self.holding.changed
        self.draining = False
        self.returns = True
        self.replica = replica
        self._relays = Tasks()
        self._spill = Spill()
        self.calls = OpenCalls(self.now)
        self.memory = FreeMemory()
        self.budgets = Budgets(ledger, counter, metrics, self.now, replica)
        self.typical = Typical()
        self.news = UpstreamNews()
        self._settler = Settler(self.registry, ledger, counter, metrics, self.memory, self.typical, self.news, self.now)
        self._aborter = Aborter(metrics)
        self.canceller = Canceller(self.registry, self.runs, ledger, metrics, self.now, replica)
        self.deleter = Deleter(self.registry, ledger, self.canceller, self._relays)
        self._keeping = Keeping(ledger.conversations, self._relays)
        left = self.canceller.left
        self._stops = KeptStops(ledger, self._settler.as_it_stands)
        prompts, stops = EarlyPrompts(counter), self._stops
        self.sweeper = Sweeper(
            self.registry, self.runs, left, ledger, self._keeping, self.budgets, prompts, stops, metrics, self.now
        )
        self.many = Many(self.registry, self.canceller)
        self.live = LiveHere(self.registry, SoFar(self.registry, self.budgets), self.calls, self.now)
        self.announcing: Announcing | None = None
        self.observing: Observing | None = None
        """What is read from the other replicas, where there are any."""
        self._claiming: Claiming | None = None
        self.sharing: Sharing | None = None
        self.telemetry: Telemetry | None = None
        metrics.active.set_function(lambda: len(self.registry))

    def join(
        self, announcing: Announcing, elsewhere: Elsewhere, group: Group, claiming: Claiming, observing: Observing
    ) -> None:
        """Be one replica of several from now on."""
        self.announcing, self.canceller.elsewhere, self.observing = announcing, elsewhere, observing
        self.many.group, self._claiming = group, claiming

        def changed(run: Run) -> None:
            self.holding.changed(run)
            announcing.run_changed(run)

        self.runs.on_change = changed

    def share(self, sharing: Sharing) -> None:
        """Keep limits together with other replicas from now on."""
        self.sharing = sharing
        self.budgets.share(sharing)
        sharing.all_accounts = self.budgets.accounts
        self.registry.on_leave = sharing.streams.left

    @staticmethod
    def now() -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def look(self) -> None:
        """Bring the metrics of what is true now up to date; to be called before they are read."""
        started = self.registry.oldest_start
        oldest = 0.0 if started is None else self.now() - started
        takes_work, calls = self.ledger.healthy, self.calls.by_upstream()
        self.metrics.live.look(oldest=oldest, takes_work=takes_work, calls=calls)

    def runs_here(self, identity: str, any_id: str) -> bool:
        """Whether an id means something here that lives, or waits."""
        runs = self.runs
        if self.registry.is_live(identity, any_id) or runs.behind(identity, any_id):
            return True
        return any(not run.is_over for run in runs.keyed(identity, any_id))

    def over_here(self, identity: str, any_id: str) -> float | None:
        """When what an id means here, and ended a short time ago, began: in seconds since the epoch. None: nothing."""
        ahead = time.time() - self.now()
        began = [run.started + ahead for run in self.runs.keyed(identity, any_id)]
        if (finished := self.registry.find_finished(identity, any_id)) is not None:
            began.append(finished.record.started_at)
        return max(began, default=None)

    # Services of the relays.

    def learned_id(self, relay: Relay, upstream_id: str) -> None:
        """An upstream named its completion."""
        self.registry.add_alias(relay, upstream_id)
        self.runs.renamed(relay.generation.facts.identity.name, [upstream_id])
        if self.announcing is not None:
            self.announcing.learned_id(relay, upstream_id)

    async def count(self, relay: Relay) -> None:
        """Count tokens, see `Settler.count`."""
        await self._settler.count(relay)

    async def keep(self, relay: Relay, stored: Stored) -> None:
        """Write what became of an answer, see `Services.keep`."""
        kept, run = relay.plan.kept, relay.plan.run
        if kept is None:
            return
        uid = relay.generation.facts.uid
        if stored.drops:
            self.registry.wipe(uid)  # before anything is waited for: the END must not have the text
        if run is not None:
            run.is_written = False
        # Told as done, so it is done although whoever waits loses patience.
        await self._relays.carry_out(self._keep(relay, kept, stored), f"keep the end of {uid}")

    async def _keep(self, relay: Relay, kept: Kept, stored: Stored) -> None:
        try:
            if stored.drops:
                await self._drop(relay, kept, stored.drops)
            else:
                await self._keeping.end(relay, kept, stored)
        except LedgerUnavailableError as error:
            log_failure("conversation.write_failed", error, task_id=relay.generation.facts.task_id)
            return
        if (run := relay.plan.run) is not None:
            run.is_written = True
            await self.holding.free(run, waits=bool(relay.generation.partial.tool_calls()))

    async def _drop(self, relay: Relay, kept: Kept, message_ids: Sequence[str]) -> None:
        made_by = {relay.generation.facts.uid}
        try:
            made_by.update(await self._keeping.drop(relay, kept, message_ids))
        finally:  # a deletion that is late comes all the same
            for uid in made_by:
                await self.deleter.wipe(uid)

    def start(self, coroutine: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Start a task whose end is waited for before the ledger is closed."""
        return self._relays.start(coroutine, name)

    def abort(self, relay: Relay, headers: list[HeaderPair]) -> None:
        """Call the upstream's own abort, see `Aborter`."""
        calling = self._aborter.abort(relay.upstream, relay.generation, headers)
        self.start(calling, f"abort {relay.generation.facts.task_id}")

    async def release(self, relay: Relay) -> None:
        """Let go of a generation whose upstream is read on, once its stop is on disk; its run goes on to the next."""
        await self._stops.keep(relay)
        self.registry.let_go(relay)
        await self._go_on(relay, wants_tools=bool(relay.generation.partial.tool_calls()))

    async def settle(self, relay: Relay) -> None:
        """Write the record, see `Settler.settle`; its run goes on to what follows."""
        wants_tools = bool(relay.generation.partial.tool_calls())
        self._stops.forget(relay)
        self._settler.apply_settlement(relay)
        self.budgets.settle(relay)
        if self.telemetry is not None:
            self.telemetry.settled(relay, relay.generation.record(self.now(), text=False))
        await self._settler.settle(relay)
        self._keeping.let_go(relay.generation.facts.uid)
        if relay.read_on is None:
            await self._go_on(relay, wants_tools=wants_tools)
        if self.announcing is not None:
            self.announcing.settled(relay)

    async def _go_on(self, relay: Relay, *, wants_tools: bool) -> None:
        run = relay.plan.run
        if run is not None and run.settled(self.now(), waits=wants_tools):
            await self.canceller.left.told(run)

    async def carry_out(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Do something to its end although whoever asked for it leaves; the end of the process waits for it too."""
        return await self._relays.carry_out(work, name)

    # Admission.

    def claim(self, identity: str, task_id: str | None) -> Claim | None:
        """Begin to claim a chosen id among the replicas; None: there is none to claim, or nobody to ask."""
        return None if task_id is None or self._claiming is None else self._claiming.claim(identity, task_id)

    async def let_in(self, asked: Admission, reader: Reader | None) -> Relay:
        """Admit, see `admit`, once the other replicas were asked where a limit holds over all of them.

        Raises:
            Refusal: see `admit`.
        """
        sharing, asker = self.sharing, asked.asker
        if sharing is None:
            return self.admit(asked, reader)
        self.check_room(asker)
        name, place = asker.identity.name, Place()
        accounts = self.budgets.accounts_of(name, asked.plan.user, time.time())
        try:
            await sharing.reserve(name, asker.most_of_key, accounts, place)
            relay = self.admit(asked, reader, is_full=place.is_full)
        except BaseException:
            sharing.give_back(place)
            raise
        if place.held is not None:
            sharing.streams.began(relay, place.held[1])
        return relay

    def admit(self, asked: Admission, reader: Reader | None, *, is_full: bool = False) -> Relay:
        """Admit a model call and start its relay, with its client as the first reader (None: it needs none).

        `is_full`: at all replicas together as many of its caller's run as may.

        Raises:
            Refusal: the chosen id is in use, a limit or a budget is reached, or no new work is taken.
        """
        asker, plan = asked.asker, asked.plan
        self.check_room(asker, is_full=is_full)
        now = self.now()
        facts = facts_of(asked, self.replica, now)
        fold = Partial if plan.translation is None else DeltaPartial
        generation = Generation(facts, fold(max_text=asked.partial_text), asked.text)
        terms = self.budgets.admit(generation, plan, asked.rules, asked.upstream, asker.limits)
        try:
            started = self.ledger.begin(generation.record(now))
        except LedgerUnavailableError as error:
            raise Refusal.overloaded(5, "ledger_unavailable", "The ledger can't record new work now.") from error
        if plan.kept is not None:
            started = self._keeping.put_in(plan.kept, facts.uid, started)
        started.add_done_callback(_look)
        tape = Tape(self._spill, asked.tape)
        relay = Relay(generation, plan, asked.call, asked.rules, asked.upstream, tape, started, self)
        if reader is not None:
            relay.attach(reader)
        self._stop_early(relay, asker, now)
        self.runs.renamed(facts.identity.name, (facts.task_id, facts.message_id, *plan.aliases))
        if plan.run is not None:
            plan.run.take(relay)
        self.registry.add(relay)
        if self.announcing is not None:
            self.announcing.began(relay)
        if terms is not None:
            self.budgets.begin(relay, terms)
        self._relays.start(relay.run(), f"relay {facts.task_id}")
        return relay

    def _stop_early(self, relay: Relay, asker: Asker, now: float) -> None:
        """The stops that came before the generation: here, or at the bus for an id that was claimed there."""
        facts, claim = relay.generation.facts, asker.claim
        waiting = [
            self.registry.take_stop(asker.identity.name, chosen, now, facts.user)
            for chosen in filter(None, (facts.task_id, relay.plan.message_id))
        ]
        if claim is not None:
            claim.use()
            waiting.append(claim.take_stop(facts.user))
        for stop in filter(None, waiting):
            relay.stop(stop)

    def check_room(self, asker: Asker, *, is_full: bool = False) -> None:
        """Make sure there is room for one more; worth asking before a body is read. `is_full`: see `admit`.

        Raises:
            Refusal: see `admit`.
        """
        name = asker.identity.name
        if self.draining:
            self.metrics.refusals.labels("draining").inc()
            raise Refusal.shutting_down()
        if not self.ledger.healthy:
            self.metrics.refusals.labels("ledger").inc()
            raise Refusal.overloaded(5, "ledger_unavailable", "The ledger can't record new work now.")
        if len(self.registry) >= asker.most:
            self.metrics.refusals.labels("streams").inc()
            raise Refusal.overloaded(1, "overloaded", "As many generations run as limits.streams allows.")
        if (most := asker.most_of_key) is not None:
            here = most if self.sharing is None else self.sharing.share_of(most)
            if is_full or self.registry.streams_of(name) >= here:
                self.metrics.refusals.labels("key_streams").inc()
                raise key_is_full(asker, here)
        if asker.task_id is not None:
            self.registry.check_free(name, asker.task_id)

    async def learn(self) -> None:
        """Learn from the ledger how long complete answers usually are."""
        try:
            for model, route, tokens in await self.ledger.sizes(LEARNED_FROM):
                self.typical.note(model, route, tokens)
        except LedgerUnavailableError as error:
            log_failure("typical.not_learned", error)

    # The end.

    async def settle_all(self) -> None:
        """Wait until every generation has ended and is settled, and nothing is to be written for them or their runs."""
        await self._relays.finish()
        await self.canceller.left.finish()

    def expect_nobody(self) -> None:
        """Whoever comes back is led elsewhere, and asked for what runs here in vain: nothing lingers any more."""
        self.returns = False
        for relay in self.registry:
            relay.look_soon()

    def stop_all(self) -> int:
        """Stop every generation, cause shutdown, and break off what is read from others; gives how many this ended."""
        if self.observing is not None:
            self.observing.break_off()
        return sum(relay.stop(Stop(Cause.SHUTDOWN)) for relay in self.registry)

    def close(self) -> None:
        """Let the spill file go; every generation is settled by now."""
        self._spill.close()


def _look(future: "asyncio.Future[None]") -> None:
    """A START that failed is answered by whoever waits for it; here it only counts as seen."""
    if not future.cancelled():
        future.exception()
