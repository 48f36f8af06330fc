"""Kills: what was acknowledged before a SIGKILL is there after it, at any instant."""

import random
from pathlib import Path

from proxy.core.lifecycle import Outcome
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.usage import UsageQuery
from support.ledgers import a_ledger
from support.victims import killed_at_random

ROUNDS = 6


async def check(ledger: SqliteLedger, said: list[list[str]]) -> None:
    """Hold the ledger against what the victim was told."""
    handed: dict[str, int] = {line[1]: int(line[2]) for line in said if line[0] == "text"}
    over = {line[1] for line in said if line[0] == "end"}
    for uid in [line[1] for line in said if line[0] == "start"]:
        found = await ledger.find("acme", uid)
        assert found is not None, f"{uid}: acknowledged, and gone"
        assert found.outcome in ({Outcome.CANCELLED} if uid in over else {Outcome.CANCELLED, Outcome.INTERRUPTED})
        text = found.text or ""
        assert (uid * 5).startswith(text)
        assert len(text) <= handed.get(uid, 0)
        if found.outcome is Outcome.INTERRUPTED:
            assert found.characters == len(text)
        else:
            assert text == uid * 5


async def test_a_kill_at_any_instant_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Every acknowledged START has a record, every acknowledged END its outcome, recovered text is a prefix. P3, P4."""
    path = tmp_path / "q.db"
    everything: list[list[str]] = []
    for number in range(ROUNDS):
        moment = random.uniform(0.02, 0.4)
        everything += await killed_at_random("support.ledger_victim", path, number, moment)
    assert sum(line[0] == "end" for line in everything) > 0
    async with a_ledger(path, now=3000.0) as ledger:
        await check(ledger, everything)
        assert all(row.group != ("running",) for row in await ledger.usage(UsageQuery(("outcome",))))
