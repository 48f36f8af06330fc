"""A slow conversation store, or a START that fails: no message stays in progress, lacks text, or is told too early."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.core.conversation import Message, MessageStatus
from proxy.engine.translating import translated
from proxy.stores.conversations.port import Owner, Window
from proxy.stores.ledger.port import LedgerUnavailableError
from support import assistants, dify
from support.chat import chat_events, text
from support.client import RawClient
from support.proxy import RunningProxy
from support.scripts import SSE, hang
from support.stops import settled
from support.upstream import Conn
from support.wait import PATIENCE, within

OWNER = Owner("anonymous", "dify /v1")


def held(
    patch: pytest.MonkeyPatch,
    proxy: RunningProxy,
    name: str,
    let_in: asyncio.Event,
    called: asyncio.Event | None = None,
) -> None:
    """Let one method of the store begin when it may; `called` is set when it is asked to."""
    store = type(proxy.app.engine.conversations)
    real = getattr(store, name)

    async def later(self: Any, *args: Any, **values: Any) -> Any:
        if called is not None:
            called.set()
        await let_in.wait()
        return await real(self, *args, **values)

    patch.setattr(store, name, later)


async def in_store(proxy: RunningProxy) -> list[Message]:
    """All messages of all conversations."""
    store = proxy.app.engine.conversations
    threads, _ = await store.threads(OWNER, Window())
    return [each for thread in threads for each in (await store.messages(OWNER, thread.id, Window()))[0]]


async def test_stop_before_the_message_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop's answer does not wait for a slow store for ever, and its message is ended as soon as it is in."""
    monkeypatch.setattr(translated, "KEEP_SECONDS", 0.1)
    let_in = asyncio.Event()
    async with dify.served(hang(), tmp_path) as (proxy, up):
        held(monkeypatch, proxy, "add_messages", let_in)
        async with RawClient(proxy.port) as client:
            await dify.begin(client, "/chat-messages", dify.body(), "t-1")
            await up.conn()
            await dify.send(proxy, "POST", "/chat-messages/t-1/stop", {"user": "ann"})
            assert (await client.answer()).status == 499
        assert await in_store(proxy) == []
        let_in.set()
        await proxy.app.engine.settle_all()
        found = await in_store(proxy)
    assert [each.status for each in found] == [MessageStatus.CANCELLED]


@pytest.mark.parametrize("path", ["/completion-messages", "/chat-messages"])
async def test_start_that_fails_behind_its_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """When the START fails after the message went in, message and new conversation are taken back."""
    async with dify.served(hang(), tmp_path) as (proxy, up):
        ledger = type(proxy.app.engine.ledger)
        real = ledger.begin

        def begin(self: Any, fresh: Any) -> "asyncio.Future[None]":
            real(self, fresh)
            loop = asyncio.get_running_loop()
            failing: asyncio.Future[None] = loop.create_future()
            loop.call_later(0.2, failing.set_exception, LedgerUnavailableError("late"))
            return failing

        monkeypatch.setattr(ledger, "begin", begin)
        async with RawClient(proxy.port) as client:
            await dify.begin(client, path, dify.body(), "t-1")
            await up.conn()
            store: Any = proxy.app.engine.conversations
            async with asyncio.timeout(PATIENCE):
                while len(store._texts) == 0:  # noqa: ASYNC110 the store announces nothing
                    await asyncio.sleep(0.01)
            await dify.send(proxy, "POST", f"{path}/t-1/stop", {"user": "ann"})
            assert (await client.answer()).status == 499
        await settled(proxy)
        await proxy.app.engine.settle_all()
        assert len(store._texts) == 0
        assert await store.threads(OWNER, Window()) == ([], False)


async def test_first_words_of_a_blocking_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before the message is in is written with it: the store's text begins as the answer does."""
    let_in = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        events = chat_events(6)[:-2]
        for event in events[:4]:
            await conn.chunk(event)
        await conn.pause(0.2)  # these are to come before the message is let in, else this shows nothing
        let_in.set()
        for event in events[4:]:
            await conn.chunk(event)
        await conn.sleep_until_closed()

    async with dify.served(script, tmp_path, ledger={"flush": "20ms"}) as (proxy, _):
        held(monkeypatch, proxy, "add_messages", let_in)
        async with RawClient(proxy.port) as client:
            await dify.begin(client, "/chat-messages", dify.body(response_mode="blocking"), "t-1")
            async with asyncio.timeout(PATIENCE):
                found: list[Message] = []
                while not found or found[0].text != text(6):
                    await asyncio.sleep(0.05)
                    found = await in_store(proxy)
    assert [(each.status, each.text) for each in found] == [(MessageStatus.IN_PROGRESS, text(6))]


async def test_a_run_that_ends_while_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Assistants run is told as completed only once its message is kept, also to whoever asked before its end."""
    finish, asked, look_on, ending, write = (asyncio.Event() for _ in range(5))

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        await finish.wait()
        for event in chat_events(3):
            await conn.chunk(event)
        await conn.end()

    async with assistants.served(script, tmp_path) as (proxy, _):
        thread_id = await assistants.a_thread(proxy, "Hello.")
        run = await assistants.a_run(proxy, thread_id, await assistants.an_assistant(proxy))
        path = f"/threads/{thread_id}/runs/{run['id']}"
        held(monkeypatch, proxy, "find_item", look_on, asked)
        held(monkeypatch, proxy, "end_message", write, ending)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(assistants.ask(proxy, "GET", path))
            try:
                await within(asked.wait(), "the run is looked for")
                finish.set()
                await within(ending.wait(), "its message is being kept")
                look_on.set()
                done, _ = await asyncio.wait({reading}, timeout=0.2)
                assert not done
            finally:
                for event in (look_on, write):
                    event.set()
        assert reading.result()["status"] == "completed"
        messages = (await assistants.ask(proxy, "GET", f"/threads/{thread_id}/messages"))["data"]
        assert (messages[0]["role"], messages[0]["status"]) == ("assistant", "completed")
