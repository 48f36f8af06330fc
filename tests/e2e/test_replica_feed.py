"""The live table over several replicas: rows of all, what becomes of them, and what is said while one is silent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.edge.admin import feed as admin_feed
from proxy.engine.replicas import live_elsewhere
from support.chat import ask, chat_events
from support.client import RawClient
from support.feed import feed
from support.http_bytes import Headers
from support.program import ADMIN_TOKEN
from support.proxy import RunningProxy
from support.replicas import deafen, joined
from support.scripts import events_then_hang
from support.wait import eventually

SAID = chat_events(8)[:-2]
BEARER: Headers = [("Authorization", f"Bearer {ADMIN_TOKEN}")]


@pytest.fixture(autouse=True)
def _asks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed looks and asks more often than it does, in the same proportions."""
    for name in ("TICK_SECONDS", "NUMBERS_SECONDS", "ASKING_SECONDS"):
        monkeypatch.setattr(admin_feed, name, getattr(admin_feed, name) / 10)


@asynccontextmanager
async def stream(proxy: RunningProxy, ident: str, user: str) -> AsyncIterator[None]:
    """A stream at a replica, all of whose words have come."""
    async with RawClient(proxy.port) as client:
        await client.post("/v1/chat/completions", ask(), [("X-Task-Id", ident), ("X-User-Id", user)])
        await client.until(b"data: ", len(SAID))
        yield


async def admin(proxy: RunningProxy, method: str, path: str) -> Any:
    """An answer of the admin API."""
    async with RawClient(proxy.admin_port) as client:
        await (client.post(f"/api/{path}", b"", BEARER) if method == "POST" else client.get(f"/api/{path}", BEARER))
        answer = await client.answer()
    assert answer.status == 200, answer.body
    return answer.json()


async def test_rows_of_other_replicas_come_along(tmp_path: Path) -> None:
    """A reader anywhere sees what lives everywhere, with the numbers that its owner has, and how it ends there."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, _), feed(a) as reader:
        async with stream(a, "at-a", "ann"), stream(b, "at-b", "bob"):
            await reader.until(lambda: reader.tasks == ["at-b", "at-a"], "both rows come")
            assert (reader.about["total"], reader.about["matched"], reader.about["complete"]) == (2, 2, True)
            assert [reader.rows[ident]["replica"] for ident in reader.order] == ["b", "a"]
            await reader.until(lambda: all(row["completion_tokens"] for row in reader.rows.values()), "both count")
            assert reader.rows[reader.order[0]]["state"] == "streaming"
            await admin(a, "POST", "generations/at-b/cancel")
            await reader.until(lambda: reader.tasks == ["at-a"], "the row goes")
        (gone,) = [each for each in reader.gone if each["task_id"] == "at-b"]
        assert (gone["outcome"], gone["cause"]) == ("cancelled", "operator")
        assert gone["upstream_closed_ms"] is not None


async def test_filters_and_order_hold_everywhere(tmp_path: Path) -> None:
    """A filter chooses among all, the order is that of all, and a window is one on all of them together."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, _):
        async with stream(a, "t-1", "ann"), stream(b, "t-2", "bob"), stream(b, "t-3", "ann"), stream(a, "t-4", "cid"):
            async with feed(a, user="ann") as reader:
                assert (reader.tasks, reader.about["matched"], reader.about["total"]) == (["t-3", "t-1"], 2, 4)
            async with feed(b, sort="user", order="desc", limit=2, offset=1) as reader:
                assert (reader.tasks, reader.about["matched"]) == (["t-2", "t-3"], 4)
            page = await admin(a, "GET", "generations?state=live&sort=user&limit=3")
            assert [row["task_id"] for row in page["data"]] == ["t-3", "t-1", "t-2"]
            rest = await admin(b, "GET", f"generations?state=live&sort=user&cursor={page['next_cursor']}")
            assert ([row["task_id"] for row in rest["data"]], rest["complete"]) == (["t-4"], True)
            newest = await admin(a, "GET", "generations?state=live")
            assert [(row["task_id"], row["state"]) for row in newest["data"]] == [
                (f"t-{number}", "streaming") for number in (4, 3, 2, 1)
            ]

            async def counted() -> bool:
                found = (await admin(a, "GET", "generations?state=live"))["data"]
                return len(found) == 4 and all(row["completion_tokens"] for row in found)

            await eventually(counted, what="each has its tokens so far")
            summary = await admin(a, "GET", "summary")
            assert (summary["live"], summary["complete"]) == (4, True)


async def test_a_silent_replica_keeps_its_rows(tmp_path: Path) -> None:
    """While a replica does not answer, what it said last stays in the table, which says that it is not complete."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, _):
        async with stream(b, "at-b", "bob"), feed(a) as reader:
            assert reader.tasks == ["at-b"]
            deafen(b)
            await reader.until(lambda: not reader.about["complete"], "it is said that something may be missing")
            assert reader.tasks == ["at-b"]


async def test_what_a_replica_may_not_send_is_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica sends only so many rows: a window or page that needs more of them says that it is not complete."""
    monkeypatch.setattr(live_elsewhere, "MOST", 3)
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, _):
        async with stream(b, "t-1", "a"), stream(b, "t-2", "b"), stream(b, "t-3", "c"), stream(b, "t-4", "d"):
            for limit, complete in ((3, True), (4, False)):
                async with feed(a, sort="user", limit=limit) as reader:
                    assert (reader.tasks, reader.about["complete"]) == (["t-1", "t-2", "t-3"], complete)
                    assert reader.about["matched"] == 4
            page = await admin(a, "GET", "generations?state=live&sort=user&limit=2")
            assert ([row["task_id"] for row in page["data"]], page["complete"]) == (["t-1", "t-2"], True)
            rest = await admin(a, "GET", f"generations?state=live&sort=user&cursor={page['next_cursor']}")
            assert ([row["task_id"] for row in rest["data"]], rest["complete"]) == (["t-3"], False)
            whole = await admin(a, "GET", "generations?state=live&sort=user&limit=3")
            assert (len(whole["data"]), whole["next_cursor"], whole["complete"]) == (3, None, False)
