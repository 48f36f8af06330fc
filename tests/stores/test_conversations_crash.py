"""Kills: what was acknowledged before a SIGKILL is there after it, and nothing is in progress or open any more."""

import random
from collections.abc import Iterable
from pathlib import Path

from proxy.core.conversation import MessageStatus
from proxy.stores.conversations.port import Conversations
from support.conversations import OWNER, in_thread
from support.ledgers import a_ledger
from support.victims import killed_at_random

ROUNDS = 5


def named(said: Iterable[list[str]], what: str) -> set[str]:
    """Of which names the victim said this."""
    return {line[1] for line in said if line[0] == what}


async def check(store: Conversations, name: str, said: list[list[str]], handed: int) -> None:
    """Hold one conversation against what the victim was told."""
    found = await store.find_message(OWNER, name)
    if found is None:
        assert name not in named(said, "begun") or int(name.split("-")[1]) % 6 == 0, f"{name}: acknowledged, and gone"
        return
    assert name not in named(said, "deleted")
    assert await in_thread(store, name) == [f"q-{name}", name]
    if found.status is MessageStatus.COMPLETED:
        assert (found.text, found.ended_at) == (name * 5, 1500.0)
    else:
        assert name not in named(said, "ended")
        assert found.status is MessageStatus.INTERRUPTED
        assert found.ended_at in {2000.0, 3000.0}
        assert (name * 5).startswith(found.text)
        assert len(found.text) <= handed


async def check_items(store: Conversations, name: str, said: list[list[str]]) -> None:
    """Hold one conversation's run and step against the same."""
    run, step = [await store.find_item(OWNER, kind, name) for kind in ("run", "step")]
    assert (run is None) is (step is None)
    if run is None or step is None:
        assert await store.find_thread(OWNER, name) is None
        return
    assert not run.is_open
    assert not step.is_open
    assert step.is_interrupted
    assert run.is_interrupted is (run.body != {"over": name})
    assert not (run.is_interrupted and name in named(said, "closed"))


async def test_a_kill_at_any_instant_leaves_a_prefix(tmp_path: Path) -> None:
    """Threads and messages that were acknowledged are there, ends hold, and a text cut off is a prefix of the whole."""
    path = tmp_path / "q.db"
    said: list[list[str]] = []
    for number in range(ROUNDS):
        said += await killed_at_random("support.conversation_victim", path, number, random.uniform(0.05, 0.4))
    assert named(said, "deleted")
    assert named(said, "closed")
    handed = {line[1]: int(line[2]) for line in said if line[0] == "text"}
    async with a_ledger(path, now=3000.0) as ledger:
        texts = 0
        for name in named(said, "begun"):
            await check(ledger.conversations, name, said, handed.get(name, 0))
            await check_items(ledger.conversations, name, said)
            found = await ledger.conversations.find_message(OWNER, name)
            texts += found is not None and found.status is MessageStatus.INTERRUPTED and found.text != ""
        assert texts > 0
        for name in named(said, "deleted"):
            assert await ledger.conversations.find_thread(OWNER, name) is None
