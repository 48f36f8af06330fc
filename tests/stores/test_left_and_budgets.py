"""What a kill left is counted behind the start: every budget has it once, whenever that one begins to hold."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.core.generation import Priced
from proxy.core.record import Record
from proxy.core.settings.settings import BudgetSettings
from proxy.engine.limits.budgets import Budgets, Prepared
from proxy.engine.settling.counting import Counter
from proxy.engine.settling.left_records import settle_left_records
from proxy.engine.telemetry.metrics import Metrics
from proxy.stores.ledger.port import LedgerUnavailableError, UsedFilter, UsedRow
from proxy.stores.ledger.sqlite import SqliteLedger
from support.ledgers import a_ledger, all_written
from support.records import a_record

TEXT = "one two three four"
TOKENS = 4
DAY = BudgetSettings.model_validate({"per": "key", "window": "5000w", "completion_tokens": 100})


async def killed(path: Path, *uids: str) -> None:
    """A ledger whose process dies while these run."""
    async with a_ledger(path) as ledger:
        for uid in uids:
            await ledger.begin(a_record(uid, started_at=time.time()))
            ledger.append(uid, TEXT)
        await all_written(ledger)


async def settle_what_is_left(ledger: SqliteLedger, counter: Counter, budgets: Budgets) -> None:
    """Count and settle, as the app has it done."""
    await settle_left_records(
        ledger, counter, lambda _upstream: "auto", lambda _record: Priced(), budgets.count_left, lambda: budgets.summing
    )


def used(prepared: Prepared) -> int:
    """The tokens that count on the window."""
    (tally,) = prepared.tallies.values()
    return tally.use_of(("acme", None), time.time()).completion_tokens


def at_the_read(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Events of the sums: that they were read, and that they may be given."""
    read, go_on, sums = asyncio.Event(), asyncio.Event(), ledger.used

    async def slowly(which: UsedFilter) -> list[UsedRow]:
        found = await sums(which)
        read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(ledger, "used", slowly)
    return read, go_on


async def test_a_reload_while_left_records_settle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that begins between a record's being on disk and the word of it has it once, not twice."""
    path, counter = tmp_path / "q.db", Counter()
    await killed(path, "u1")
    async with a_ledger(path) as ledger, asyncio.TaskGroup() as tasks:
        budgets = Budgets(ledger, counter, Metrics(), time.monotonic, "here")
        settle, reloads = ledger.settle, []

        async def settled_before_a_reload(record: Record) -> int:
            done = await settle(record)
            reloads.append(tasks.create_task(budgets.prepare([DAY], list)))
            for _ in range(50):
                await asyncio.sleep(0)
            return done

        monkeypatch.setattr(ledger, "settle", settled_before_a_reload)
        await settle_what_is_left(ledger, counter, budgets)
        assert used(await reloads[0]) == TOKENS
    await counter.aclose()


async def test_left_records_wait_for_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is counted while a budget takes over the ledger's sums comes behind them, once."""
    path, counter = tmp_path / "q.db", Counter()
    await killed(path, "u1")
    async with a_ledger(path) as ledger, asyncio.TaskGroup() as tasks:
        budgets = Budgets(ledger, counter, Metrics(), time.monotonic, "here")
        read, go_on = at_the_read(ledger, monkeypatch)
        reload = tasks.create_task(budgets.prepare([DAY], list))
        await read.wait()
        settling = tasks.create_task(settle_what_is_left(ledger, counter, budgets))
        await asyncio.sleep(0)
        go_on.set()
        prepared = await reload
        await settling
        assert used(prepared) == TOKENS
    await counter.aclose()


async def test_what_settles_beside_a_failure_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When one record can't be settled now, the others count on the budgets at once, and that one later; each once."""
    monkeypatch.setattr("proxy.engine.settling.left_records.RETRY_SECONDS", 0.01)
    path, counter = tmp_path / "q.db", Counter()
    await killed(path, "u1", "u2", "u3")
    async with a_ledger(path) as ledger:
        budgets = Budgets(ledger, counter, Metrics(), time.monotonic, "here")
        prepared = await budgets.prepare([DAY], list)
        real, refusals, seen = ledger.settle, ["u2"], []

        def refusing(record: Record) -> Any:
            if record.uid in refusals:
                seen.append(used(prepared))
                refusals.remove(record.uid)
                raise LedgerUnavailableError("not now")
            return real(replace(record))

        monkeypatch.setattr(ledger, "settle", refusing)
        await settle_what_is_left(ledger, counter, budgets)
        assert (seen, used(prepared)) == ([0], 3 * TOKENS)
    await counter.aclose()
