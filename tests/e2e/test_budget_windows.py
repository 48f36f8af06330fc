"""Budgets within windows: who is refused when they are used up, whose they are, and that a restart forgets nothing."""

import time
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest

from proxy.app import App, StartError
from proxy.edge.admin.errors import ReloadError
from proxy.engine.limits.standings import MOST_NAMED
from proxy.stores.ledger.null import NullLedger
from proxy.stores.ledger.place import path_of
from proxy.stores.ledger.port import LedgerUnavailableError, RecordFilter, UsedFilter, UsedRow
from support.budgets import LONG, Looks, budgeted, total_events
from support.chat import chat_object
from support.client import Answer, RawClient
from support.edge import refused
from support.ledgers import a_ledger, all_written
from support.program import ADMIN_TOKEN, config_text
from support.proxy import RunningProxy, running_proxy, settings_of
from support.records import a_record
from support.scripts import events_then_hang, in_turn, json_answer
from support.stops import CHAT, PLAIN, STREAM, Ask, call, record, settled, start, stop
from support.upstream import scripted_upstream
from support.wait import eventually

ACME, OTHER = Ask("sk-acme"), Ask("sk-other")
TEN = {"per": "key", "window": LONG, "completion_tokens": 10}


async def plain(proxy: RunningProxy, ask: Ask = ACME, **headers: str) -> Answer:
    """One call to its end, its use counted."""
    answer = await call(proxy, "POST", CHAT, PLAIN, ask, **headers)
    await settled(proxy)
    return answer


async def statuses(proxy: RunningProxy, *calls: tuple[Ask, str | None]) -> list[int]:
    """The statuses of calls one after the other, each of a caller's user."""
    return [(await plain(proxy, ask, **({"X_User_Id": user} if user else {}))).status for ask, user in calls]


async def test_a_budget_that_is_used_up_refuses_the_next_call(tmp_path: Path) -> None:
    """A key whose budget is used up is refused before its call starts, and told which budget it is and how long."""
    async with budgeted(json_answer(chat_object(6)), tmp_path, TEN) as (proxy, up):
        assert await statuses(proxy, (ACME, None), (ACME, None), (OTHER, None)) == [200, 200, 200]
        answer = await plain(proxy)
        assert refused(answer) == (429, "budget_exhausted")
        assert "completion_tokens 10 per key within 35000d" in answer.json()["error"]["message"]
        assert answer.header("x-should-retry") == "false"
        assert int(answer.header("Retry-After") or 0) > 1000
        assert answer.header("X-Task-Id") is None
        assert len(up.requests) == 3
        assert (await plain(proxy, OTHER)).status == 200
        metrics = proxy.app.engine.metrics.registry
        labels = {"per": "key", "limit": "completion_tokens"}
        assert metrics.get_sample_value("quell_budget_refusals_total", labels) == 1


async def test_calls_that_are_not_read_keep_to_a_window_too(tmp_path: Path) -> None:
    """Embeddings use up what they cost, and are refused like any call when a window is used up."""
    (tmp_path / "prices.yaml").write_text('version: "1"\ncurrency: USD\nmodels: {m: {input: "1", output: "1"}}\n')
    embedded = json_answer({"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}})
    async with budgeted(embedded, tmp_path, TEN, prices={"file": "prices.yaml"}) as (proxy, up):
        asked = {"model": "m", "input": "a"}
        assert (await call(proxy, "POST", "/v1/embeddings", asked, ACME)).status == 200
        await settled(proxy)
        (account,) = next(iter(proxy.app.engine.budgets._tallies.values()))._accounts.values()
        assert (account.use.cost, account.use.completion_tokens) == (Decimal("0.000008"), 0)
        up.script = json_answer(chat_object(10))
        assert (await plain(proxy)).status == 200
        await settled(proxy)
        assert refused(await call(proxy, "POST", "/v1/embeddings", asked, ACME)) == (429, "budget_exhausted")
        assert len(up.requests) == 2


async def test_time_is_used_up_too(tmp_path: Path) -> None:
    """A key whose seconds are used up is refused like one whose tokens are."""
    budget = {"per": "key", "window": LONG, "seconds": "0.000001"}
    async with budgeted(json_answer(chat_object(1)), tmp_path, budget) as (proxy, _):
        await plain(proxy)
        assert refused(await plain(proxy)) == (429, "budget_exhausted")


async def test_a_window_that_ends_soon_may_be_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SDKs are told to try again when a window ends within what they wait for; then the call is served."""
    wall = [1_000_000_010.0]
    monkeypatch.setattr("proxy.engine.engine.time.time", lambda: wall[0])
    budget = {"per": "key", "window": "40s", "completion_tokens": 10}
    async with budgeted(json_answer(chat_object(10)), tmp_path, budget) as (proxy, _):
        assert (await plain(proxy)).status == 200
        answer = await plain(proxy)
        assert (answer.status, answer.header("Retry-After"), answer.header("x-should-retry")) == (429, "30", None)
        wall[0] += 29.5
        assert (await plain(proxy)).header("Retry-After") == "1"
        wall[0] += 0.5
        assert (await plain(proxy)).status == 200


async def test_the_longest_wait_is_told(tmp_path: Path) -> None:
    """Of several budgets that are used up the one is told that lasts longest."""
    short = {"per": "key", "window": "1h", "completion_tokens": 10}
    async with budgeted(json_answer(chat_object(10)), tmp_path, short, {**TEN, "per": "user"}) as (proxy, _):
        await plain(proxy)
        assert "per user within 35000d" in (await plain(proxy)).json()["error"]["message"]


async def test_users_have_their_own(tmp_path: Path) -> None:
    """A budget per user is used up by that user of that caller alone; calls that name none are one user's."""
    async with budgeted(json_answer(chat_object(10)), tmp_path, {**TEN, "per": "user"}) as (proxy, _):
        assert await statuses(proxy, (ACME, "ann"), (ACME, "ann"), (ACME, "bob")) == [200, 429, 200]
        assert await statuses(proxy, (ACME, None), (ACME, None)) == [200, 429]
        assert await statuses(proxy, (OTHER, "ann"), (OTHER, "ann"), (OTHER, None)) == [200, 429, 200]
        body = {**PLAIN, "user": "bob"}
        assert (await call(proxy, "POST", CHAT, body, ACME)).status == 429


async def test_nobody_drains_anothers_users(tmp_path: Path) -> None:
    """A caller that names somebody else's user stops nothing of theirs and uses up nothing of theirs."""
    script = in_turn(events_then_hang(total_events(1, 5)), events_then_hang(total_events(1, 10)))
    async with (
        budgeted(script, tmp_path, {**TEN, "per": "user"}) as (proxy, up),
        RawClient(proxy.port) as client,
        RawClient(proxy.port) as other,
    ):
        looks = Looks(proxy)
        await client.post(CHAT, STREAM, ACME.headers(X_Task_Id="t-1", X_User_Id="ann"))
        await client.until(b"data: ", 5)
        await other.post(CHAT, STREAM, OTHER.headers(X_User_Id="ann"))
        assert b"cause=budget" in (await other.answer()).body
        await looks.two()
        assert (await record(proxy, "t-1", ACME))["outcome"] == "running"
        assert up.connections == 1


async def test_what_runs_counts_for_the_next(tmp_path: Path) -> None:
    """A call is refused because of what others of its key are using up right now, and again when they have ended."""
    two = {"per": "key", "window": LONG, "completion_tokens": 10}
    script = in_turn(events_then_hang(total_events(1, 9)), events_then_hang(total_events(1, 1)))
    async with budgeted(script, tmp_path, two) as (proxy, up):
        async with RawClient(proxy.port) as client, RawClient(proxy.port) as more:
            await start(client, "t-1", ask=ACME)
            await client.until(b"data: ", 9)
            await start(more, "t-2", ask=ACME)
            assert b"cause=budget" in (await more.answer()).body
            assert b"cause=budget" in (await client.answer()).body
            await up.no_connections()
        assert refused(await plain(proxy)) == (429, "budget_exhausted")


async def test_a_refused_call_uses_up_nothing(tmp_path: Path) -> None:
    """What the upstream refuses, and what is refused here, has no tokens."""
    script = in_turn(json_answer({"error": {"message": "no"}}, 400), json_answer(chat_object(10)))
    async with budgeted(script, tmp_path, TEN) as (proxy, _):
        assert (await call(proxy, "POST", CHAT, b"[]", ACME)).status == 400
        assert await statuses(proxy, (ACME, None), (ACME, None), (ACME, None)) == [400, 200, 429]


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """What was used before a restart is used after it, by key and by user."""
    budgets = [{**TEN, "completion_tokens": 20}, {**TEN, "per": "user"}]
    for expected in ([200, 429, 200], [429, 429, 429]):
        async with budgeted(json_answer(chat_object(10)), tmp_path, *budgets) as (proxy, _):
            assert await statuses(proxy, (ACME, "ann"), (ACME, "ann"), (ACME, None)) == expected
    async with budgeted(json_answer(chat_object(10)), tmp_path, *budgets) as (proxy, _):
        assert await statuses(proxy, (OTHER, "ann"), (OTHER, "ann"), (OTHER, "bob")) == [200, 429, 200]


async def test_what_a_kill_left_is_used_too(tmp_path: Path) -> None:
    """The text of an answer that a kill cut off is counted behind the next start, and on its caller's budget."""
    async with budgeted(json_answer(chat_object(1)), tmp_path, TEN) as (proxy, _):
        await plain(proxy)
        path = path_of(proxy.settings.ledger.url)
    async with a_ledger(path) as ledger:
        (last,) = (await ledger.page(RecordFilter(), 1, None)).records
        await ledger.begin(a_record(identity=last.identity, key_id=last.key_id, started_at=time.time()))
        ledger.append("u1", "one two three four five six seven eight nine ten eleven twelve")
        await all_written(ledger)
    async with budgeted(json_answer(chat_object(1)), tmp_path, TEN) as (proxy, _):
        await eventually(lambda: proxy.app.engine.budgets.standings(time.time())[0].used_up, what="the text is counted")
        assert await statuses(proxy, (ACME, None), (OTHER, None)) == [429, 200]


async def test_a_budget_that_comes_with_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that begins to hold while the proxy runs has every token once.

    That is: those from before, those of what ends while the ledger is asked, of what comes meanwhile, and of what runs.
    """
    script = in_turn(
        json_answer(chat_object(2)),
        events_then_hang(total_events(1, 3)),
        events_then_hang(total_events(1, 3)),
        json_answer(chat_object(1)),
    )
    async with scripted_upstream(script) as up:
        text = config_text(up.base_url, ledger={"flush": "20ms"})
        async with running_proxy(text, tmp_path) as proxy, RawClient(proxy.port) as ends, RawClient(proxy.port) as runs:
            ledger = proxy.app.engine.ledger
            used = ledger.used

            async def asked(which: UsedFilter) -> list[UsedRow]:
                assert (await stop(proxy, "ends", ACME)).json()["result"] == "stopped"
                await call(proxy, "POST", CHAT, PLAIN, ACME)
                await eventually(lambda: len(proxy.app.engine.registry) == 1)
                return await used(which)

            monkeypatch.setattr(ledger, "used", asked)
            await plain(proxy)
            for task_id, client in (("ends", ends), ("runs", runs)):
                await start(client, task_id, ask=ACME)
                await client.until(b"data: ", 3)
            new = config_text(up.base_url, ledger={"flush": "20ms"}, budgets=[TEN])
            proxy.app._reread = lambda: settings_of(new, tmp_path)
            await proxy.app.reload()
            assert (await stop(proxy, "runs", ACME)).json()["result"] == "stopped"
            await settled(proxy)
            assert await statuses(proxy, (ACME, None), (ACME, None)) == [200, 429]


class Unreadable(NullLedger):
    """A ledger that takes every write and can't be read."""

    async def used(self, _which: UsedFilter) -> list[UsedRow]:
        """Fail."""
        raise LedgerUnavailableError("broken")


async def test_a_ledger_that_cant_be_read_keeps_the_old_budgets(tmp_path: Path) -> None:
    """Without knowing what was used no budget begins to hold: a start fails and says so, a reload keeps what was."""
    async with scripted_upstream(json_answer(chat_object(10))) as up:
        new = config_text(up.base_url, budgets=[TEN])
        with pytest.raises(StartError, match="budgets: what was used of them so far is not known"):
            await App(settings_of(new, tmp_path), None).start(Unreadable())
        async with running_proxy(config_text(up.base_url), tmp_path, ledger=Unreadable()) as proxy:
            proxy.app._reread = lambda: settings_of(new, tmp_path)
            with pytest.raises(ReloadError):
                await proxy.app.reload()
            assert await statuses(proxy, (ACME, None), (ACME, None)) == [200, 200]


async def test_the_operator_sees_the_keys_of_the_settings_by_their_ids(tmp_path: Path) -> None:
    """Who is near a budget is shown, of many the first; a configured key by its id."""
    keys = {"keys": [{"id": "acme", "hash": sha256(b"sk-acme").hexdigest()}]}
    async with budgeted(json_answer(chat_object(8)), tmp_path, {**TEN, "per": "user"}, **keys) as (proxy, _):
        await statuses(proxy, *((ACME, f"u{number}") for number in range(MOST_NAMED + 2)))
        (standing,) = proxy.app.engine.budgets.standings(time.time())
        assert len(standing.nearest) == MOST_NAMED
        async with RawClient(proxy.admin_port) as client:
            await client.get("/api/budgets", [("Authorization", f"Bearer {ADMIN_TOKEN}")])
            (found,) = (await client.answer()).json()["data"]
    assert found["nearest"][0] == {
        "key_id": "acme",
        "user": "u0",
        "used": {"completion_tokens": "8"},
        "percent": 80.0,
        "used_up": False,
    }


async def test_the_operator_sees_how_budgets_stand(tmp_path: Path) -> None:
    """The admin API has each budget, when its window ends, and who is over or near it, never by a credential."""
    users = {"per": "user", "window": LONG, "seconds": 1000, "completion_tokens": 11}
    each = {"per": "request", "seconds": "2.50"}
    async with budgeted(json_answer(chat_object(10)), tmp_path, TEN, users, each) as (proxy, _):
        await statuses(proxy, (ACME, "ann"), (OTHER, "ann"))
        async with RawClient(proxy.admin_port) as client:
            await client.get("/api/budgets", [("Authorization", f"Bearer {ADMIN_TOKEN}")])
            answer = await client.answer()
    found = answer.json()["data"]
    assert all(float(each["used"].pop("seconds")) > 0 for each in found[1]["nearest"])
    assert not any(secret in answer.body for secret in (b"sk-acme", sha256(b"sk-acme").hexdigest().encode()))
    names = [sha256(secret).hexdigest()[:12] for secret in (b"sk-acme", b"sk-other")]
    seconds, ends = 5000 * 7 * 86400.0, "2065-10-29T00:00:00.000Z"
    assert found == [
        {
            "per": "key",
            "window_seconds": seconds,
            "limits": {"completion_tokens": "10"},
            "window_ends_at": ends,
            "used_up": 2,
            "nearest": [
                {"key_id": name, "user": None, "used": {"completion_tokens": "10"}, "percent": 100.0, "used_up": True}
                for name in names
            ],
            "shared": None,
        },
        {
            "per": "user",
            "window_seconds": seconds,
            "limits": {"seconds": "1000", "completion_tokens": "11"},
            "window_ends_at": ends,
            "used_up": 0,
            "nearest": [
                {"key_id": name, "user": "ann", "used": {"completion_tokens": "10"}, "percent": 90.9, "used_up": False}
                for name in names
            ],
            "shared": None,
        },
        {
            "per": "request",
            "window_seconds": None,
            "limits": {"seconds": "2.50"},
            "window_ends_at": None,
            "used_up": None,
            "nearest": [],
            "shared": None,
        },
    ]
