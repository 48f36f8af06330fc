"""Kills: the proxy dies over and over under load, also while it recovers, and its ledger is held against the facts.

I1: whoever got a byte has a record. I2: a kept text is a prefix of what the upstream sent. I3: what is missing was sent
within the last flush. I4: a record ends once, and never changes again. I7: what was complete is there as a whole.
"""

import asyncio
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from proxy.stores.ledger.verify import verify_file
from support.program import ROOT, config_text, environment, listening
from support.upstream import Conn, scripted_upstream
from support.wait import eventually
from torture.load import Call, Load

FLUSH = 0.25
"""Seconds within which a text is on disk, its way through two sockets included."""

VERIFY_EVERY = 20


@dataclass(slots=True)
class Figures:
    """What came of it."""

    kills: int = 0
    kills_while_starting: int = 0
    streams: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    stops: int = 0
    starts_lost: list[str] = field(default_factory=list)
    ends_lost: list[str] = field(default_factory=list)
    two_ends: list[str] = field(default_factory=list)
    foreign_text: list[str] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    """Of each cut off stream, seconds between the kill and the sending of the first thing that is missing."""
    given_away: int = 0
    """Characters that a client got and no record has."""
    findings: list[str] = field(default_factory=list)

    @property
    def late(self) -> list[float]:
        """Ages beyond one flush."""
        return [age for age in self.ages if age > FLUSH]

    @property
    def faults(self) -> list[str]:
        """What must not be; empty when all is well, but for `late`, which a busy machine can make."""
        return [*self.starts_lost, *self.ends_lost, *self.two_ends, *self.foreign_text, *self.findings]

    def lines(self) -> list[str]:
        """The figures in words."""
        ages = sorted(self.ages) or [0.0]
        p99, most = ages[len(ages) * 99 // 100], ages[-1]
        wrong = (self.starts_lost, self.ends_lost, self.two_ends, self.foreign_text, self.findings)
        lost, ends, two, foreign, findings = map(len, wrong)
        return [
            f"kills {self.kills}, and {self.kills_while_starting} more while starting; streams {self.streams}",
            f"stops answered {self.stops}; ends {dict(self.outcomes)}",
            f"starts lost {lost}; acknowledged ends lost {ends}; records with two ends {two}",
            f"texts that were never sent {foreign}; findings {findings}",
            f"age of the oldest missing text: p99 {p99 * 1000:.0f} ms, most {most * 1000:.0f} ms",
            f"beyond one flush ({FLUSH * 1000:.0f} ms): {len(self.late)}; not kept: {self.given_away} characters",
        ]


class Torture(AbstractAsyncContextManager["Torture"]):
    """A proxy that dies often. Each `round` is one life of it, checked in the next one."""

    def __init__(self, folder: Path, streams: int, seed: int) -> None:
        self._folder, self._streams, self._chance = folder, streams, random.Random(seed)
        self._database = folder / "quell.db"
        self._seen: dict[str, tuple[Any, ...]] = {}
        self._load = Load(0, "none", self._chance)
        self._lives = 0
        self.figures = Figures()

    async def __aenter__(self) -> Self:
        self._upstream = scripted_upstream(self._script)
        up = await self._upstream.__aenter__()
        ledger = {"flush": f"{FLUSH * 1000:.0f}ms", "text": "all"}
        (self._folder / "quell.yaml").write_text(config_text(up.base_url, ledger=ledger))
        self._zygote = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "support.zygote", "quell.yaml"),
            cwd=self._folder,
            env=environment(PYTHONPATH=f"{ROOT}{os.pathsep}{ROOT / 'tests'}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zygote.kill()
        await self._zygote.wait()
        await self._upstream.__aexit__(kind, error, trace)

    async def _script(self, conn: Conn) -> None:
        await self._load.script(conn)

    async def round(self) -> None:
        """One life under load, killed at a random moment; then the facts are held against the next life's ledger."""
        pid, port = await self._born()
        self._load = load = Load(self._streams, f"r{self._lives}", self._chance)
        running = asyncio.create_task(load.run(port))  # noqa: TID251 a task of a test
        await asyncio.sleep(self._chance.uniform(0.05, 1.0))
        killed_at = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        self.figures.kills += 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await self._gone(pid)
        while self._chance.random() < 0.3:
            await self._die_young()
        pid, _ = await self._born()
        await eventually(lambda: not self._unsettled(), 30.0, "what was cut off is counted")
        self._check(load, killed_at)
        if self.figures.kills % VERIFY_EVERY == 0:
            self._verify()
        os.kill(pid, signal.SIGKILL)
        await self._gone(pid)

    async def finish(self) -> None:
        """A last life that ends properly; then nothing may have changed of all that had ended."""
        pid, _ = await self._born()
        os.kill(pid, signal.SIGTERM)
        await self._gone(pid)
        rows = self._rows("")
        self.figures.two_ends += [task for task, row in self._seen.items() if rows.get(task) != row]
        self._verify()

    async def _spawn(self) -> tuple[int, Path]:
        self._lives += 1
        log = self._folder / f"life-{self._lives}.log"
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(f"{log}\n".encode())
        return int(await self._zygote.stdout.readline()), log

    async def _born(self) -> tuple[int, int]:
        pid, log = await self._spawn()
        await eventually(lambda: log.is_file() and listening(log.read_text()), 30.0, "the proxy listens")
        return pid, listening(log.read_text()) or 0

    async def _die_young(self) -> None:
        """A life that is killed while it starts, and recovers."""
        pid, _ = await self._spawn()
        await asyncio.sleep(self._chance.uniform(0.0, 0.3))
        os.kill(pid, signal.SIGKILL)
        await self._gone(pid)
        self.figures.kills_while_starting += 1

    async def _gone(self, pid: int) -> None:
        await eventually(lambda: not Path(f"/proc/{pid}").exists(), 30.0, "the process is gone")

    def _unsettled(self) -> int:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as db:
            asked = (
                "SELECT count(*) FROM generation WHERE outcome = 'interrupted' AND uid NOT IN (SELECT uid FROM settled)"
            )
            return int(db.execute(asked).fetchone()[0])

    def _rows(self, name: str) -> dict[str, tuple[Any, ...]]:
        """Each record by its task id, and how often it is settled; two of one id make an unlikely row."""
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as db:
            asked = (
                "SELECT g.task_id, g.outcome, g.text, g.ended_at, g.completion_tokens, g.usage_source, g.upstream_id, "
                "(SELECT count(*) FROM settled s WHERE s.uid = g.uid) FROM generation g WHERE g.task_id LIKE ?"
            )
            rows: dict[str, tuple[Any, ...]] = {}
            for task, *row in db.execute(asked, (f"{name}%",)):
                rows[task] = ("two",) if task in rows else tuple(row)
        return rows

    def _check(self, load: Load, killed_at: float) -> None:
        figures = self.figures
        name = next(iter(load.calls), "").partition("-")[0]
        rows = self._rows(f"{name}-") if name else {}
        for call in load.calls.values():
            figures.streams += call.heard
            row = rows.get(call.task_id)
            if row is None:
                if call.heard or call.receipt is not None:
                    figures.starts_lost.append(f"{call.task_id}: got a byte, and has no record")
                continue
            self._seen[call.task_id] = row
            self._compare(call, row, killed_at)

    def _compare(self, call: Call, row: tuple[Any, ...], killed_at: float) -> None:
        figures, (outcome, text, *_, settled) = self.figures, row
        figures.outcomes[outcome] += 1
        if settled != 1 or outcome == "running":
            figures.two_ends.append(f"{call.task_id}: {outcome}, settled {settled} times")
        kept = text or ""
        if not call.sent.startswith(kept):
            figures.foreign_text.append(f"{call.task_id}: {kept[-60:]!r} was never sent")
        if call.receipt is not None and call.receipt.get("result") == "stopped":
            figures.stops += 1
            if outcome != "cancelled" or kept != call.receipt["partial"]["text"]:
                figures.ends_lost.append(f"{call.task_id}: {outcome}, although its stop was acknowledged")
        if outcome == "completed" and kept != call.sent:
            figures.ends_lost.append(f"{call.task_id}: completed without all of its text")
        if outcome == "interrupted":
            figures.given_away += max(len(call.shown) - len(kept), 0)
            missing = [at for at, count in call.sent_at if count > len(kept) and at <= killed_at]
            figures.ages.append(killed_at - missing[0] if missing else 0.0)

    def _verify(self) -> None:
        found = verify_file(self._database, text="all").findings
        self.figures.findings += [f"{each.task_id}: {each.rule}" for each in found]
