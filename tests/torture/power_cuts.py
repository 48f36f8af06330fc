"""Power cuts: a real run's writes and syncs are recorded, and its power is cut at any point of them, many times."""

import random
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.verify import verify_file
from support.disk_trace import Said, Synced, trace
from support.ledgers import a_ledger
from support.power_cut import Disk
from support.victims import killed_at_random

VICTIM = "support.ledger_victim"
DATABASE = "q.db"


@dataclass(slots=True)
class Cuts:
    """What came of it."""

    states: int = 0
    syncs: int = 0
    acknowledged: int = 0
    """STARTs and ENDs that were told as durable, over all states."""
    faults: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The figures in words."""
        return [
            f"crash states {self.states}, of a run with {self.syncs} syncs",
            f"acknowledged starts and ends looked for {self.acknowledged}; lost, wrong or refused {len(self.faults)}",
        ]


async def cut_power(folder: Path, states: int, lines: int, seed: int) -> Cuts:
    """Record a run that recovers from a kill and then works until it has said so many lines; cut its power so often."""
    chance = random.Random(seed)
    work = folder / "work"
    work.mkdir()
    before = await killed_at_random(VICTIM, work / DATABASE, 0, 0.3)
    files = {file.name: file.read_bytes() for file in work.iterdir()}
    events = await trace(VICTIM, work / DATABASE, 1, lines, folder / "trace")
    cuts = Cuts(syncs=sum(isinstance(event, Synced) for event in events))
    points = sorted(chance.choices(range(len(events)), k=states))
    disk, said, done = Disk(files), b"", 0
    for point in points:
        for event in events[done:point]:
            disk.do(event)
            if isinstance(event, Said):
                said += event.text
        done = max(done, point)
        state = folder / f"state-{cuts.states}"
        state.mkdir()
        disk.cut(state, chance)
        told = [line.split() for line in said.decode().splitlines()]
        await _look(cuts, state, [*before, *told])
        cuts.states += 1
        shutil.rmtree(state)
    return cuts


async def _look(cuts: Cuts, state: Path, told: Iterable[list[str]]) -> None:
    """Start on what the cut left, and look for everything that was acknowledged."""
    path = state / DATABASE
    where = f"state {cuts.states}"
    try:
        async with a_ledger(path, keep=9e9, text_keep=9e9, now=3000.0):
            cuts.faults += [f"{where}: {finding.rule}" for finding in verify_file(path).findings]
    except LedgerOpenError as error:
        cuts.faults.append(f"{where}: {error}")
        return
    with closing(sqlite3.connect(path)) as db:
        rows = {uid: (outcome, text) for uid, outcome, text in db.execute("SELECT uid, outcome, text FROM generation")}
    for kind, uid, *_ in (line for line in told if line[0] in ("start", "end")):
        cuts.acknowledged += 1
        outcome, text = rows.get(uid, ("lost", None))
        if outcome not in (("cancelled",) if kind == "end" else ("cancelled", "interrupted")):
            cuts.faults.append(f"{where}: {uid} is {outcome}, although its {kind} was acknowledged")
        if not (uid * 5).startswith(text or "") or (kind == "end" and text != uid * 5):
            cuts.faults.append(f"{where}: {uid} has a text that it never had")
