"""Whatever happens, in whatever order, with a crash at any point: the ledger against a model of what it promised.

A crash is a copy of the file and its log as they are on the disk, opened by the next process while the old one is
still in the middle of things: what that one had not committed is gone, as with a SIGKILL.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.core.generation import Priced
from proxy.core.lifecycle import Cause, Outcome, Phase
from proxy.core.record import Known, Record, UsageSource
from proxy.engine.settling.counting import Counter
from proxy.engine.settling.left_records import settle_left_records
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.sqlite_open import open_ledger
from proxy.stores.ledger.verify import verify_file
from support.records import a_record

MAX_PENDING = 6
CHOICES = st.integers(0, 1 << 16)
TEXTS = st.text(st.sampled_from("ab \0é😀\n"), min_size=1, max_size=6)


@dataclass
class Fate:
    """What is known of one record."""

    record: Record
    start: "asyncio.Future[None]"
    handed: str = ""
    """All of its text that was handed over."""
    safe: str = ""
    """So much of it is on disk for sure."""
    end: "asyncio.Future[None] | None" = None
    over: Record | None = None
    """What its END says."""
    stop: "asyncio.Future[None] | None" = None
    """Of the stop behind which its upstream is read on."""
    final: tuple[Any, ...] | None = None
    """Its row, once it was settled: for ever."""


class LedgerMachine(RuleBasedStateMachine):
    """Starts, texts, notes, stops, ends, locks by others, crashes, counts, exports, closes."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory(prefix="quell-property-")
        self.path = Path(self.folder.name) / "q0.db"
        self.fates: dict[str, Fate] = {}
        self.lives = 0
        self.other: sqlite3.Connection | None = None
        self.exported: list[tuple[int, str, int]] = []
        self.ledger = self.run(self.opened())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something of the ledger's."""
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    async def opened(self) -> SqliteLedger:
        """The next life's ledger."""
        self.lives += 1
        return await open_ledger(
            f"sqlite:///{self.path}",
            text="all",
            keep=9e9,
            text_keep=9e9,
            now=2000.0 + self.lives,
            replica="one",
            max_pending=MAX_PENDING,
            start_deadline=30.0,
            close_patience=0.2,
        )

    def pick(self, number: int, fits: Callable[[Fate], bool]) -> Fate | None:
        """One of the records of this life."""
        found = [fate for fate in self.fates.values() if fits(fate)]
        return found[number % len(found)] if found else None

    def running(self, number: int) -> Fate | None:
        """One that runs in this life, its START acknowledged or on its way."""
        return self.pick(number, lambda fate: fate.over is None and fate.final is None)

    @rule()
    def begin(self) -> None:
        """A START; beyond the bound it is refused."""
        uid = f"u{len(self.fates)}"
        record = a_record(uid, model="gpt-4o")
        waiting = self.ledger.pending
        try:
            start = self.run(self._begin(record))
        except LedgerUnavailableError:
            assert waiting >= MAX_PENDING
            return
        self.fates[uid] = Fate(record, start)

    async def _begin(self, record: Record) -> "asyncio.Future[None]":
        ledger: SqliteLedger = self.ledger
        return ledger.begin(record)

    @rule(number=CHOICES, texts=st.lists(TEXTS, min_size=1, max_size=3), written=st.booleans())
    def append(self, number: int, texts: list[str], written: bool) -> None:
        """Pieces of text, each with what is known by then; some get to the disk one by one."""
        for text in texts:
            self._append(number, text)
            if written:
                self.write_all()

    def _append(self, number: int, text: str) -> None:
        if (fate := self.running(number)) is not None:
            self.ledger.append(fate.record.uid, text)
            fate.handed += text
            known = Known(Phase.STREAMING, f"up-{fate.record.uid}", prompt_tokens=len(fate.handed))
            self.ledger.note(fate.record.uid, known._replace(usage_source=UsageSource.UPSTREAM_RUNNING))

    @rule(number=CHOICES, written=st.booleans())
    def stop(self, number: int, written: bool) -> None:
        """A stop that releases its client and lets the upstream be read on, or how that stands by now."""
        if (fate := self.running(number)) is None:
            return
        stopped = replace(
            fate.record,
            cause=Cause.CLIENT,
            phase=Phase.STREAMING,
            elapsed_seconds=0.5,
            completion_tokens=len(fate.handed),
            usage_source=UsageSource.TOKENIZER,
        )
        fate.stop = self.run(self._stop(stopped))
        if written:
            self.write_all()

    async def _stop(self, record: Record) -> "asyncio.Future[None]":
        ledger: SqliteLedger = self.ledger
        return ledger.stop(record)

    @rule(number=CHOICES, whole=st.booleans(), written=st.booleans())
    def end(self, number: int, whole: bool, written: bool) -> None:
        """An END, with its text or from the pieces; another one behind it says something else, and changes nothing."""
        if (fate := self.running(number)) is None:
            return
        over = replace(
            fate.record,
            outcome=Outcome.CANCELLED,
            cause=Cause.CLIENT,
            phase=Phase.STREAMING,
            ended_at=1001.0,
            text=fate.handed if whole and fate.handed else None,
            characters=len(fate.handed),
        )
        fate.over, fate.end = over, self.run(self._end(over))
        if written:
            self.write_all()
        self.run(self._end(replace(over, outcome=Outcome.FAILED, cause=None, error_kind="late")))
        if written:
            self.write_all()

    async def _end(self, record: Record) -> "asyncio.Future[None]":
        ledger: SqliteLedger = self.ledger
        return ledger.end(record)

    @rule()
    def write_all(self) -> None:
        """Everything handed over gets to the disk, unless another program has the lock."""
        if self.other is not None:
            return
        self.run(self._written())
        for fate in self.fates.values():
            fate.safe = fate.handed

    async def _written(self) -> None:
        while self.ledger.pending:  # noqa: ASYNC110 the ledger announces nothing
            await asyncio.sleep(0.001)

    @rule(turns=st.integers(0, 4))
    def let_run(self, turns: int) -> None:
        """Some time passes, so that a crash may be anywhere."""
        for _ in range(turns):
            self.run(asyncio.sleep(0.0005))

    @rule()
    def lock(self) -> None:
        """Another program takes the lock, or gives it back."""
        if self.other is None:
            try:
                self.other = sqlite3.connect(self.path, isolation_level=None, timeout=0.5)
                self.other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                self._unlock()
        else:
            self._unlock()

    def _unlock(self) -> None:
        if self.other is not None:
            self.other.close()
            self.other = None

    @rule(recoveries=st.integers(1, 3))
    def crash(self, recoveries: int) -> None:
        """The process dies; the next ones start, some of which die before they have counted what was left."""
        left = Path(self.folder.name) / f"q{self.lives}.db"
        acknowledged = {uid: (_done(fate.start), _done(fate.stop), _done(fate.end)) for uid, fate in self.fates.items()}
        for end in ("", "-wal"):
            if (source := self.path.with_name(self.path.name + end)).exists():
                shutil.copyfile(source, left.with_name(left.name + end))
        self._unlock()
        self.run(self.ledger.close())
        self.path = left
        for number in range(recoveries):
            self.ledger = self.run(self.opened())
            if number + 1 < recoveries:
                self.run(self.ledger.close())
        self._hold_against_the_model(acknowledged)
        self.run(self._count())
        self._note_what_is_final()

    async def _count(self) -> None:
        counter = Counter()
        await settle_left_records(self.ledger, counter, lambda _upstream: "auto", lambda _record: Priced())
        await counter.aclose()

    def _hold_against_the_model(self, acknowledged: dict[str, tuple[bool, bool, bool]]) -> None:
        rows = self.rows()
        for uid, (started, stopped, ended) in acknowledged.items():
            fate, row = self.fates[uid], rows.get(uid)
            if fate.final is not None:
                continue
            assert row is not None or not started, "I1: an acknowledged START is gone"
            if row is None:
                continue
            outcome, text = row[0], row[1] or ""
            assert fate.handed.startswith(text), "I2: the text is no prefix"
            assert outcome in ("interrupted", "cancelled"), "I4: it has not ended"
            assert outcome == "cancelled" or not stopped, "I4: an acknowledged stop is forgotten"
            if ended:
                assert (outcome, text) == ("cancelled", fate.handed), "I4: an acknowledged END is gone"
            assert text.startswith(fate.safe) or outcome == "cancelled", "I3: text that was on disk is gone"

    def _note_what_is_final(self) -> None:
        rows = self.rows()
        self.fates = {uid: fate for uid, fate in self.fates.items() if uid in rows}
        for uid, fate in self.fates.items():
            fate.final = rows[uid]

    def rows(self) -> dict[str, tuple[Any, ...]]:
        """What the file says of each record, and how often it is settled."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as db:
            asked = (
                "SELECT uid, outcome, text, cause, ended_at, completion_tokens, prompt_tokens, usage_source, "
                "(SELECT count(*) FROM settled s WHERE s.uid = g.uid) FROM generation g"
            )
            return {uid: tuple(row) for uid, *row in db.execute(asked)}

    @rule()
    def export(self) -> None:
        """A reader of `settled` goes on where it was: it sees each end once, in an order that never changes."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as db:
            last = self.exported[-1][0] if self.exported else 0
            self.exported += db.execute("SELECT * FROM settled WHERE number > ? ORDER BY number", (last,)).fetchall()
            everything = db.execute("SELECT * FROM settled ORDER BY number").fetchall()
        ids = [(uid, revision) for _, uid, revision in everything]
        assert len(set(ids)) == len(ids), "I5: an end was given out twice"
        assert everything[: len(self.exported)] == self.exported, "I5: an end was slipped in behind a reader's back"

    @invariant()
    def what_is_final_stays(self) -> None:
        """I4: a settled record never changes."""
        finals = {uid: fate.final for uid, fate in self.fates.items() if fate.final is not None}
        if finals:
            rows = self.rows()
            assert {uid: rows[uid] for uid in finals} == finals
            assert all(row[-1] == 1 for row in finals.values())

    @invariant()
    def queues_are_bounded(self) -> None:
        """I9: what waits grows with the records that run, and no more STARTs than the bound are among it."""
        running = sum(fate.final is None for fate in self.fates.values())
        assert self.ledger.pending <= 5 * running + 1

    def teardown(self) -> None:
        """The last process ends properly, and its ledger is in order."""
        self._unlock()
        self.run(self._written())
        self.run(self.ledger.close())
        rules = {finding.rule for finding in verify_file(self.path).findings}
        assert rules <= {"running_without_process"}
        self.loop.close()
        self.folder.cleanup()


def _done(future: "asyncio.Future[None] | None") -> bool:
    return future is not None and future.done() and not future.cancelled() and future.exception() is None


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
