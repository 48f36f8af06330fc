"""A program that writes to a ledger until it is killed, and says on stdout what was acknowledged.

Usage: python -m support.ledger_victim DATABASE ROUND. Each line is one of `start UID`, `text UID LENGTH` (what was
handed over so far) and `end UID`. A record's text repeats its uid; every other record is ended.
"""

import asyncio
import itertools
import os
import sys

from proxy.core.lifecycle import Cause, Outcome, Phase
from proxy.core.record import Known, Record, UsageSource
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.sqlite_open import open_ledger


def say(line: str) -> None:
    """One write a line: a kill can't tear it."""
    os.write(1, f"{line}\n".encode())


async def generation(ledger: SqliteLedger, uid: str, *, ends: bool) -> None:
    """One record's life."""
    record = Record(uid, "acme", uid, f"m-{uid}", "openai", "/v1", "openai", 1000.0, "acme", "one")
    await ledger.begin(record)
    say(f"start {uid}")
    for count in range(1, 6):
        say(f"text {uid} {count * len(uid)}")
        ledger.append(uid, uid)
        known = Known(Phase.STREAMING, f"up-{uid}", prompt_tokens=count, usage_source=UsageSource.UPSTREAM_RUNNING)
        ledger.note(uid, known)
        await asyncio.sleep(0.002)
    if ends:
        record.outcome, record.cause, record.ended_at, record.text = Outcome.CANCELLED, Cause.CLIENT, 1001.0, uid * 5
        await ledger.end(record)
        say(f"end {uid}")


async def main() -> None:
    """Begin a new record every millisecond or so, for ever."""
    ledger = await open_ledger(
        f"sqlite:///{sys.argv[1]}", text="partial", keep=9e9, text_keep=9e9, now=2000.0, replica="victim"
    )
    say("open")
    running = set()
    for number in itertools.count():
        uid = f"{sys.argv[2]}-{number}"
        task = asyncio.get_running_loop().create_task(generation(ledger, uid, ends=number % 2 == 0))
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(main())
