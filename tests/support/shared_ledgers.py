"""Shared ledgers for tests: a local file each, one database of PostgreSQL, and rounds of the forwarder by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.core.lifecycle import Outcome, Phase
from proxy.core.record import Record, UsageSource
from proxy.stores.ledger.sqlite_open import open_ledger
from proxy.stores.shared_ledger.forward import interrupt_life
from proxy.stores.shared_ledger.forwarder import Forwarder
from proxy.stores.shared_ledger.ledger import SharedLedger
from proxy.stores.shared_ledger.open import open_shared
from support.records import a_record


@asynccontextmanager
async def a_shared_ledger(path: Path, url: str, replica: str = "one", **settings: Any) -> AsyncIterator[SharedLedger]:
    """A replica's ledger, without the task that forwards; settings as for `open_ledger`, and `backlog`, `lease`."""
    backlog = settings.pop("backlog", 1_000_000)
    lease = settings.pop("lease", 10.0)
    known: dict[str, Any] = {"text": "all", "keep": 1e9, "text_keep": 1e9, "now": 5000.0, "replica": replica}
    known |= settings
    local = await open_ledger(f"sqlite:///{path}", **known)
    shared = await open_shared(
        local, url, replica, keep=known["keep"], text_keep=known["text_keep"], backlog=backlog, lease=lease
    )
    try:
        yield shared
    finally:
        await shared.close()


def ended(uid: str, **facts: Any) -> Record:
    """A record that is complete, with tokens and a text."""
    known: dict[str, Any] = {
        "outcome": Outcome.COMPLETED,
        "phase": Phase.FINISHED,
        "ended_at": 1002.0,
        "prompt_tokens": 7,
        "completion_tokens": 9,
        "usage_source": UsageSource.UPSTREAM,
        "text": f"text of {uid}",
        "characters": len(f"text of {uid}"),
    }
    return a_record(uid, **(known | facts))


async def bury(dead: SharedLedger, by: SharedLedger, now: float = 7000.0) -> int:
    """End what a ledger's replica runs, as another does when its lease is over; gives how many."""
    async with by._postgres.writing() as connection:
        return len(await interrupt_life(connection, dead.forwarder.boot, now))


async def settle(ledger: SharedLedger, *records: Record) -> None:
    """Begin and end records; returns when they are on disk here."""
    for record in records:
        await ledger.begin(a_record(record.uid, identity=record.identity, replica=record.replica))
        await ledger.end(record)


async def all_of_it(forwarder: Forwarder) -> None:
    """Forward until nothing is left."""
    while await forwarder.round():
        pass
