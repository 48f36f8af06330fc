"""The list of a caller's own generations: in order, page by page, up to date."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from proxy.edge.own_list import own_list
from proxy.engine.canceller import Canceller
from proxy.engine.engine import Engine
from proxy.engine.registry import Registry
from proxy.engine.replicas.many import Many
from proxy.stores.ledger.null import NullLedger
from support.chat import chat_events, chat_object
from support.client import RawClient
from support.edge import refused, send
from support.ledgers import a_ledger
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.records import a_record
from support.scripts import by_path, events_then_hang, hang, json_answer
from support.stops import ANYBODY, CHAT, PLAIN, Ask, call, record, start, stop
from support.upstream import scripted_upstream
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over."""


async def ids_of(proxy: RunningProxy, query: str = "", ask: Ask = ANYBODY) -> tuple[list[str], str | None]:
    """The ids on one page, and the cursor to the next."""
    answer = await call(proxy, "GET", f"/v1/generations{query}", ask=ask)
    assert answer.status == 200, answer.body
    page = answer.json()
    assert page["object"] == "list"
    return [one["task_id"] for one in page["data"]], page["next_cursor"]


async def test_pages_are_newest_first_and_whole(tmp_path: Path) -> None:
    """Page by page, whatever their size, a caller sees its own generations once each, live or over, newest first."""
    scripts = {"/v1/chat/completions": events_then_hang(SAID), "/v1/completions": json_answer(chat_object(1))}
    async with (
        scripted_upstream(by_path(scripts)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as one,
        RawClient(proxy.port) as two,
    ):
        for number, live in enumerate((None, one, None, None, two)):
            if live is None:
                done = await call(proxy, "POST", "/v1/completions", PLAIN, X_Task_Id=f"t-{number}")
                assert done.status == 200
            else:
                await start(live, f"t-{number}")
                await live.until(b"data:", len(SAID))
        await call(proxy, "POST", "/v1/completions", PLAIN, Ask("another"), X_Task_Id="foreign")
        for limit in (1, 2, 3, 5, 100):
            seen: list[str] = []
            cursor: str | None = ""
            while cursor is not None and len(seen) < 6:
                page, cursor = await ids_of(proxy, f"?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
                assert len(page) <= limit
                seen += page
            assert seen == ["t-4", "t-3", "t-2", "t-1", "t-0"], limit
        assert await ids_of(proxy, ask=Ask("another")) == (["foreign"], None)
        assert await ids_of(proxy, "?limit=1", ask=Ask("nobody")) == ([], None)


@pytest.mark.parametrize("limit", [1, 2, 3, 6])
async def test_pages_of_what_started_together(tmp_path: Path, limit: int) -> None:
    """Generations that started at the very same moment are on one page each, too."""
    async with a_ledger(tmp_path / "quell.db") as ledger:
        for number in range(6):
            await ledger.begin(a_record(f"u-{number}", started_at=1000.5 if number else 1000.0))
        many = Many(Registry(), cast("Canceller", None))
        engine = cast("Engine", SimpleNamespace(ledger=ledger, many=many, now=lambda: 0.0))
        seen: list[str] = []
        cursor = None
        while len(seen) < 7:
            page = await own_list(engine, "acme", limit, cursor)
            seen += [record.uid for record in page.records]
            cursor = page.next_cursor
            if cursor is None:
                break
    assert seen == ["u-5", "u-4", "u-3", "u-2", "u-1", "u-0"]


async def test_a_list_shows_twenty(tmp_path: Path) -> None:
    """Without a limit a page has twenty records."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        for _ in range(21):
            await call(proxy, "POST", CHAT, PLAIN)
        assert len((await ids_of(proxy))[0]) == 20


async def test_a_generation_is_listed_at_once(tmp_path: Path) -> None:
    """A generation that was just admitted is in the list while the ledger shows nothing of it, and on one page only."""
    async with (
        scripted_upstream(hang()) as up,
        running_proxy(config_text(up.base_url), tmp_path, ledger=NullLedger()) as proxy,
        RawClient(proxy.port) as one,
        RawClient(proxy.port) as two,
    ):
        await start(one, "t-1", ask=Ask("me"))
        await up.conn(0)
        await start(two, "t-2", ask=Ask("me"))
        await up.conn(1)
        assert await ids_of(proxy, ask=Ask("me")) == (["t-2", "t-1"], None)
        first, cursor = await ids_of(proxy, "?limit=1", ask=Ask("me"))
        assert (first, await ids_of(proxy, f"?limit=1&cursor={cursor}", ask=Ask("me"))) == (["t-2"], (["t-1"], None))
        assert await ids_of(proxy, ask=Ask("other")) == ([], None)


async def test_a_list_shows_what_lives_as_it_is_now(tmp_path: Path) -> None:
    """What the ledger has of a live generation is as old as its last flush: the list shows it as it is."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url, ledger={"flush": "10s"}), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        listed = (await call(proxy, "GET", "/v1/generations")).json()["data"][0]
    assert (listed["phase"], listed["upstream_id"]) == ("streaming", "chatcmpl-scripted-1")


async def test_a_list_shows_no_whole_texts(tmp_path: Path) -> None:
    """Of a long text a list shows the beginning, for what lives and for what is over."""
    said = chat_events(finish=None, done=False, words=["x" * 3000])
    async with (
        scripted_upstream(events_then_hang(said)) as up,
        running_proxy(config_text(up.base_url, ledger={"flush": "20ms"}), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(said))
        await eventually(lambda: shown_text(proxy), what="the text was folded")
        live = (await call(proxy, "GET", "/v1/generations")).json()["data"][0]
        await stop(proxy, "t-1")
        over = (await call(proxy, "GET", "/v1/generations")).json()["data"][0]
        whole = await record(proxy, "t-1")
    for listed in (live, over):
        assert (listed["text"], listed["text_clipped"]) == ("x" * 1000, True)
    assert (whole["text"], whole["text_clipped"]) == ("x" * 3000, False)


async def shown_text(proxy: RunningProxy) -> str | None:
    """The text so far of a live generation."""
    found: str | None = (await record(proxy, "t-1"))["text"]
    return found


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_parameter"),
        ("limit=101", "invalid_parameter"),
        ("limit=-1", "invalid_parameter"),
        ("limit=ten", "invalid_parameter"),
        ("limit=", "invalid_parameter"),
        ("cursor=nonsense", "invalid_cursor"),
        ("cursor=nan_u", "invalid_cursor"),
        ("cursor=inf_u", "invalid_cursor"),
        ("cursor=1.5", "invalid_cursor"),
        ("cursor=", "invalid_cursor"),
    ],
)
async def test_bad_pages(tmp_path: Path, query: str, code: str) -> None:
    """A page's size is 1 to 100 and its cursor one that was given out; anything else is 400."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        assert refused(await send(proxy, "GET", f"/v1/generations?{query}")) == (400, code)
