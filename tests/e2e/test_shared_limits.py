"""Limits over all replicas: streams of a key, budgets within windows, and what holds while the bus is away."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.core.shared_use import is_untold
from support.budgets import LONG, total_events
from support.chat import chat_object
from support.client import Answer, RawClient
from support.edge import refused
from support.program import ADMIN_TOKEN, running_program
from support.proxy import RunningProxy, running_proxy
from support.redis_server import RedisServer, redis_cluster, redis_server
from support.replicas import joined, replica_text, replicas
from support.scripts import events_then_hang, in_turn, json_answer, sse_stream
from support.stops import CHAT, PLAIN, STREAM, Ask, call, record, settled, start, stop
from support.upstream import scripted_upstream
from support.wait import eventually, within

ACME, OTHER = Ask("sk-acme"), Ask("sk-other")
QUICK = {"flush": "50ms"}
TEN = {"per": "key", "window": LONG, "completion_tokens": 10}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts on which nothing runs are exchanged with every flush, not every few seconds."""
    monkeypatch.setattr("proxy.engine.limits.sharing.AGAIN_SECONDS", 0.0)


def keys(streams: int) -> list[dict[str, Any]]:
    """Two keys, with so many streams each."""
    return [
        {"id": name, "hash": sha256(f"sk-{name}".encode()).hexdigest(), "limits": {"streams": streams}}
        for name in ("acme", "other")
    ]


def is_shared(proxy: RunningProxy) -> bool:
    """Whether a replica's limits hold over all of them now."""
    sharing = proxy.app.engine.sharing
    return sharing is not None and sharing.away is None


async def all_shared(*proxies: RunningProxy) -> None:
    """Wait until the limits of all replicas hold over all of them."""
    await eventually(lambda: all(is_shared(proxy) for proxy in proxies), what="limits are shared")


async def try_start(client: RawClient, ask: Ask = ACME, task_id: str | None = None) -> Answer:
    """Start a stream; gives the head of its answer, or the whole of a refusal."""
    await client.post(CHAT, STREAM, ask.headers(**({"X_Task_Id": task_id} if task_id else {})))
    await client.until(b"\r\n\r\n")
    return await client.answer(to_head=client.buffer.startswith(b"HTTP/1.1 200"))


async def plain(proxy: RunningProxy, ask: Ask = ACME, **headers: str) -> int:
    """One call to its end, its use counted; gives its status."""
    answer = await call(proxy, "POST", CHAT, PLAIN, ask, **headers)
    await settled(proxy)
    return answer.status


async def counted(tokens: int, *proxies: RunningProxy) -> None:
    """Wait until each replica counts so many tokens on the only account that it knows."""
    sums = [[tokens]] * len(proxies)
    await eventually(lambda: [tokens_of(each) for each in proxies] == sums, what="all know the sum")


def said_by(redis: RedisServer, replica: str) -> int:
    """How many tokens a replica has told of, on all accounts."""
    said = [redis.command("HGET", name, replica) for name in redis.names() if b"used:" in name]
    return sum(int(entry.split(b"/")[1]) for entry in said if entry)


async def told(redis: RedisServer, tokens: int, *names: str) -> None:
    """Wait until replicas have told of so many tokens together."""
    await eventually(lambda: sum(said_by(redis, name) for name in names) == tokens, what="it is told")


def refused_entries(proxy: RunningProxy) -> float:
    """How many entries of others a replica has thrown away."""
    return proxy.app.engine.metrics.registry.get_sample_value("quell_limits_refused_total") or 0.0


async def used_up_by(proxy: RunningProxy, ask: Ask = ACME) -> int:
    """How many calls are served until one is refused."""
    for served in range(100):
        if await plain(proxy, ask) == 429:
            return served
    raise AssertionError("a hundred calls were served")


def tokens_of(proxy: RunningProxy) -> list[int]:
    """The tokens of each account that a replica knows, as they count now."""
    away = proxy.app.engine.sharing.away if proxy.app.engine.sharing else None
    return [account.counted(away).completion_tokens for account in proxy.app.engine.budgets.accounts()]


@asynccontextmanager
async def clients(proxies: list[RunningProxy], each: int) -> AsyncIterator[list[RawClient]]:
    """So many clients of each replica, in turn."""
    async with AsyncExitStack() as stack:
        ports = [proxy.port for _ in range(each) for proxy in proxies]
        yield [await stack.enter_async_context(RawClient(port)) for port in ports]


async def test_streams_of_a_key_are_counted_over_all_replicas(tmp_path: Path) -> None:
    """Of many starts at once at three replicas exactly as many get through as the key's limit says, round by round."""
    script = events_then_hang(total_events(1, 1))
    async with joined(script, tmp_path, "abc", keys=keys(7), ledger=QUICK) as (proxies, up, _):
        await all_shared(*proxies)
        for _ in range(3):
            async with clients(proxies, 10) as asking:
                statuses = [answer.status for answer in await asyncio.gather(*map(try_start, asking))]
                assert sorted(statuses) == [200] * 7 + [429] * 23
            await asyncio.gather(*map(settled, proxies))
        async with clients(proxies, 2) as asking:
            answers = await asyncio.gather(*(try_start(client, OTHER) for client in asking))
            assert [answer.status for answer in answers] == [200] * 6
    assert len(up.requests) == 27


async def test_a_key_at_its_limit_is_refused_everywhere(tmp_path: Path) -> None:
    """The refusal is the same as that of one replica; a place is free again everywhere when a stream is over."""
    script = events_then_hang(total_events(1, 1))
    async with joined(script, tmp_path, keys=keys(1), ledger=QUICK) as ((a, b), _, _), clients([a, b, b], 1) as asking:
        await all_shared(a, b)
        assert (await try_start(asking[0], task_id="t-1")).status == 200
        answer = await try_start(asking[1])
        assert refused(answer) == (429, "rate_limit_exceeded")
        assert "keys.limits.streams allows (1)" in answer.json()["error"]["message"]
        assert (await stop(a, "t-1", ACME)).json()["result"] == "stopped"
        assert (await try_start(asking[2])).status == 200


async def test_a_budget_is_used_up_for_all_replicas(tmp_path: Path) -> None:
    """What a key used at one replica refuses its next call at another, before the provider is called."""
    async with joined(json_answer(chat_object(5)), tmp_path, "abc", budgets=[TEN], ledger=QUICK) as ((a, b, c), up, _):
        await all_shared(a, b, c)
        assert [await plain(a), await plain(b)] == [200, 200]
        await counted(10, a, b)
        answer = await call(c, "POST", CHAT, PLAIN, ACME)
        assert refused(answer) == (429, "budget_exhausted")
        assert [await plain(a), await plain(b), await plain(c, OTHER)] == [429, 429, 200]
        assert len(up.requests) == 3
        async with RawClient(c.admin_port) as client:
            await client.get("/api/budgets", [("Authorization", f"Bearer {ADMIN_TOKEN}")])
            (found,) = (await client.answer()).json()["data"]
        assert (found["shared"], found["used_up"]) == (True, 1)
        assert found["nearest"][0]["used"] == {"completion_tokens": "10"}


async def test_users_are_counted_over_all_replicas(tmp_path: Path) -> None:
    """A budget per user is that of this user of this caller at all replicas, and nobody else's."""
    budget = {**TEN, "per": "user"}
    async with joined(json_answer(chat_object(10)), tmp_path, budgets=[budget], ledger=QUICK) as ((a, b), _, redis):
        await all_shared(a, b)
        assert await plain(a, X_User_Id="ann") == 200
        await told(redis, 10, "a")
        statuses = [await plain(b, X_User_Id="ann"), await plain(b, X_User_Id="bob"), await plain(b)]
        assert [*statuses, await plain(b, OTHER, X_User_Id="ann")] == [429, 200, 200, 200]


async def test_streams_end_by_what_others_use(tmp_path: Path) -> None:
    """Streams of one key at two replicas end together when both together have used its budget up."""
    script = in_turn(events_then_hang(total_events(1, 6)), events_then_hang(total_events(1, 5)))
    async with joined(script, tmp_path, budgets=[TEN], ledger=QUICK) as ((a, b), up, _), clients([a, b], 1) as asking:
        await all_shared(a, b)
        await start(asking[0], "t-1", ask=ACME)
        await asking[0].until(b"data: ", 6)
        await start(asking[1], "t-2", ask=ACME)
        for client in asking:
            assert b"cause=budget" in (await client.answer()).body
        await up.no_connections()
        assert {(await record(a, "t-1", ACME))["cause"], (await record(b, "t-2", ACME))["cause"]} == {"budget"}


async def test_an_overshoot_is_one_flush(tmp_path: Path) -> None:
    """Three replicas that use one budget up at once go beyond it by no more than they make within one flush."""
    interval, flush, limit = 0.01, 0.25, 240
    script = sse_stream(total_events(1, 5000), interval)
    budget = {**TEN, "completion_tokens": limit}
    async with (
        joined(script, tmp_path, "abc", budgets=[budget], ledger={"flush": f"{flush}s"}) as (proxies, _, _),
        clients(proxies, 1) as asking,
    ):
        await all_shared(*proxies)
        for number, client in enumerate(asking):
            await start(client, f"t-{number}", ask=ACME)
        for client in asking:
            assert b"cause=budget" in (await client.answer()).body
        await asyncio.gather(*map(settled, proxies))
        records = [await record(proxy, f"t-{number}", ACME) for number, proxy in enumerate(proxies)]
    made = sum(each["completion_tokens"] for each in records)
    assert limit <= made <= limit + len(proxies) * flush / interval


async def test_each_has_its_share_of_what_is_left_while_the_bus_is_away(tmp_path: Path) -> None:
    """Without the bus each replica uses its share of what was left, and after it all know every token once."""
    budget = {**TEN, "completion_tokens": 30}
    config: dict[str, Any] = {"bus": {"shares": 3}, "ledger": QUICK}
    async with joined(json_answer(chat_object(2)), tmp_path, "abc", budgets=[budget], **config) as (proxies, up, redis):
        a, b, c = proxies
        await all_shared(a, b, c)
        assert [await plain(a), await plain(b), await plain(c)] == [200, 200, 200]
        await counted(6, *proxies)
        redis.kill()
        await eventually(lambda: not any(map(is_shared, proxies)), what="each is alone")
        assert [await used_up_by(a), await used_up_by(b)] == [4, 4]
        await redis.start()
        await all_shared(a, b, c)
        await counted(22, *proxies)
        assert await used_up_by(c) == 4
        await counted(30, *proxies)
        assert [await plain(a), await plain(b)] == [429, 429]
        assert len(up.requests) == 15


async def test_a_start_without_the_bus_has_its_share(tmp_path: Path) -> None:
    """A replica that never heard of the others uses one share of a budget, and runs one share of a key's streams."""
    config: dict[str, Any] = {"bus": {"shares": 3}, "ledger": QUICK, "keys": keys(4)}
    script = in_turn(*[json_answer(chat_object(4))] * 3, events_then_hang(total_events(1, 1)))
    async with joined(script, tmp_path, "a", budgets=[{**TEN, "completion_tokens": 30}], **config) as ((a,), _, redis):
        redis.kill()
        await eventually(lambda: not is_shared(a), what="it is alone")
        assert await used_up_by(a) == 3
        async with clients([a], 3) as asking:
            answers = [await try_start(client, OTHER) for client in asking]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert "(2 of 4 on this replica" in answers[-1].json()["error"]["message"]


async def test_streams_that_began_while_the_bus_was_away_are_known_after_it(tmp_path: Path) -> None:
    """When the bus is back, what runs at each replica counts for all of them."""
    config: dict[str, Any] = {"bus": {"shares": 2}, "ledger": QUICK, "keys": keys(2)}
    script = events_then_hang(total_events(1, 1))
    async with joined(script, tmp_path, **config) as ((a, b), _, redis), clients([a, b, a, b], 1) as asking:
        await all_shared(a, b)
        redis.kill()
        await eventually(lambda: not is_shared(a) and not is_shared(b), what="each is alone")
        assert [(await try_start(client)).status for client in asking[:2]] == [200, 200]
        await redis.start()
        await all_shared(a, b)
        assert [(await try_start(client)).status for client in asking[2:]] == [429, 429]


async def test_a_bus_that_was_emptied_knows_all_again(tmp_path: Path) -> None:
    """After a FLUSHALL the replicas say again what they used and run, whether something runs or not."""
    script = in_turn(*[json_answer(chat_object(10))] * 2, events_then_hang(total_events(1, 1)))
    config: dict[str, Any] = {"ledger": QUICK, "keys": keys(1), "budgets": [TEN]}
    async with joined(script, tmp_path, **config) as ((a, b), _, redis):
        await all_shared(a, b)
        assert await plain(a) == 200
        assert (await plain(a, OTHER)) == 200
        await told(redis, 20, "a")
        for _ in range(2):
            redis.command("FLUSHALL")
            await told(redis, 20, "a")
            await eventually(lambda: all(tokens == 10 for tokens in tokens_of(b)), what="it is heard again")
            assert [await plain(b), await plain(b, OTHER)] == [429, 429]


async def test_streams_are_known_again_when_the_bus_was_emptied(tmp_path: Path) -> None:
    """What runs is said again as soon as the bus was emptied, long before its lease is to be renewed."""
    config: dict[str, Any] = {"ledger": QUICK, "keys": keys(1), "bus": {"lease": "600s"}}
    script = events_then_hang(total_events(1, 1))
    async with joined(script, tmp_path, **config) as ((a, b), _, redis), clients([a, b], 1) as asking:
        await all_shared(a, b)
        assert (await try_start(asking[0])).status == 200
        redis.command("FLUSHALL")
        await eventually(lambda: any(b"at:" in name for name in redis.names()), what="it is said again")
        assert (await try_start(asking[1])).status == 429


async def test_a_bus_that_stands_still_holds_no_start_up(tmp_path: Path) -> None:
    """S16: when the server stops answering a start waits a moment for it, then goes on with its replica's share."""
    config: dict[str, Any] = {"ledger": QUICK, "keys": keys(4), "budgets": [TEN], "bus": {"shares": 2}}
    script = events_then_hang(total_events(1, 1))
    async with joined(script, tmp_path, **config) as ((a, b), _, redis), clients([a, b], 4) as asking:
        await all_shared(a, b)
        redis.pause()
        try:
            statuses = [(await within(try_start(client), "an answer", 1.5)).status for client in asking]
        finally:
            redis.resume()
        assert statuses == [200] * 4 + [429] * 4
        await all_shared(a, b)
        async with clients([a, b], 1) as more:
            assert [(await try_start(client)).status for client in more] == [429, 429]
        for client in asking[:2]:
            await client.__aexit__(None, None, None)
        await eventually(lambda: len(a.app.engine.registry) == len(b.app.engine.registry) == 1)
        async with clients([a, b, b], 1) as more:
            assert [(await try_start(client)).status for client in more] == [200, 200, 429]


async def test_a_start_that_comes_to_nothing_takes_no_place(tmp_path: Path) -> None:
    """A call that is refused behind the look at the others gives its place back."""
    async with joined(events_then_hang(total_events(1, 1)), tmp_path, keys=keys(2), ledger=QUICK) as ((a, b), _, _):
        await all_shared(a, b)
        async with clients([a, b, b], 1) as asking:
            assert (await try_start(asking[0], task_id="t-1")).status == 200
            for _ in range(3):
                answer = await call(a, "POST", CHAT, STREAM, ACME, X_Max_Cost="1")
                assert refused(answer) == (400, "price_unknown")
            assert [(await try_start(client)).status for client in asking[1:]] == [200, 429]


async def test_garbage_is_thrown_away(tmp_path: Path) -> None:
    """S17: what somebody else wrote in place of numbers changes no limit, and is counted."""
    config: dict[str, Any] = {"ledger": QUICK, "keys": keys(1), "budgets": [TEN]}
    script = in_turn(json_answer(chat_object(9)), json_answer(chat_object(1)), events_then_hang(total_events(1, 1)))
    async with joined(script, tmp_path, **config) as ((a, b), _, redis):
        await all_shared(a, b)
        assert await plain(a) == 200
        await told(redis, 9, "a")
        (used,) = [name for name in redis.names() if b"used:" in name]
        for entry in (b"nonsense", b"-1/-1/-1", b"1/1", b"inf/nan/1", b"9" * 90 + b"/1/1", b"\xff\x00"):
            redis.command("HSET", used, b"evil-" + entry[:5], entry)
        redis.command("HSET", used, b"\xff\xfe", b"1/1/1")
        assert await plain(b) == 200
        for wrong in ("SET", "LPUSH"):
            script_text = f"redis.call('DEL', KEYS[1]) redis.call('{wrong}', KEYS[1], 'text')"
            redis.command("EVAL", script_text, 1, used)
            await eventually(lambda: redis.command("TYPE", used) == b"hash", what="it is said again")
            await told(redis, 10, "a", "b")
            await counted(10, a, b)
        assert await plain(b) == 429
        assert refused_entries(a) + refused_entries(b) >= 9
        assert redis.command("HLEN", used) == 2


async def test_garbage_about_streams_is_thrown_away(tmp_path: Path) -> None:
    """S17: what somebody else wrote in place of a key's streams neither uses its limit up nor lifts it."""
    script = events_then_hang(total_events(1, 1))
    async with joined(script, tmp_path, keys=keys(2), ledger=QUICK) as ((a, b), _, redis), clients([a, b], 3) as asking:
        await all_shared(a, b)
        assert (await try_start(asking[0])).status == 200
        (streams,) = [name for name in redis.names() if name.endswith(b"at")]
        redis.command("HSET", streams, "evil", "nonsense", "later", "9" * 30)
        redis.command("SADD", streams + b":evil", *range(100))
        assert (await try_start(asking[1])).status == 200
        assert (await try_start(asking[3])).status == 429
        await asking[1].__aexit__(None, None, None)
        await settled(b)
        redis.command("SET", streams, "text")
        assert (await try_start(asking[2])).status == 200
        assert (await try_start(asking[5])).status == 429
        assert refused_entries(a) + refused_entries(b) == 3


async def test_a_replica_that_starts_again_is_counted_once(tmp_path: Path) -> None:
    """What a replica used before a restart is counted once after it, under its old name or a new one."""
    script = json_answer(chat_object(3))
    config: dict[str, Any] = {"ledger": QUICK, "budgets": [TEN]}
    async with redis_server(tmp_path) as redis, scripted_upstream(script) as up:
        async with replicas(tmp_path, up.base_url, redis.url, "b", **config) as (b,):
            for name, tokens in (("one", 3), ("one", 6), ("two", 9)):
                text = replica_text(up.base_url, redis.url, name, **config)
                async with running_proxy(text, tmp_path) as proxy:
                    await all_shared(proxy, b)
                    assert await plain(proxy) == 200
                    await counted(tokens, proxy)
                    await told(redis, tokens, "one", "two")
            redis.command("FLUSHALL")
            async with running_proxy(text, tmp_path) as proxy:
                await all_shared(proxy, b)
                await eventually(lambda: [said_by(redis, name) for name in ("one", "two")] == [6, 3], what="it is said")
                assert await plain(b) == 200
                assert await plain(b) == 429


async def test_a_replica_that_lost_its_ledger_still_used_what_it_used(tmp_path: Path) -> None:
    """What a replica told the others stays used although its ledger is gone, and what it uses now is added."""
    script = json_answer(chat_object(4))
    config: dict[str, Any] = {"ledger": QUICK, "budgets": [TEN]}
    async with redis_server(tmp_path) as redis, scripted_upstream(script) as up:
        for boot, statuses in (("1", [200]), ("2", [200, 200, 429])):
            async with replicas(tmp_path, up.base_url, redis.url, **config, names="a") as (a,):
                await all_shared(a)
                assert [await plain(a) for _ in statuses] == statuses, boot
            shutil.rmtree(tmp_path / "a")
    assert len(up.requests) == 3


async def test_a_killed_replica_frees_its_streams(tmp_path: Path) -> None:
    """The streams of a replica that was killed count for two leases at most."""
    script = events_then_hang(total_events(1, 1))
    config: dict[str, Any] = {"ledger": QUICK, "keys": keys(2), "bus": {"lease": "4s"}}
    async with redis_server(tmp_path) as redis, scripted_upstream(script) as up:
        text = replica_text(up.base_url, redis.url, "a", **dict(config))
        async with (
            replicas(tmp_path, up.base_url, redis.url, "b", **dict(config)) as (b,),
            running_program(text, tmp_path) as a,
            RawClient(a.port) as one,
            RawClient(a.port) as two,
        ):
            await all_shared(b)
            assert [(await try_start(client)).status for client in (one, two)] == [200, 200]
            a.kill()
            killed = asyncio.get_running_loop().time()

            async def is_free() -> bool:
                async with RawClient(b.port) as client:
                    return (await try_start(client)).status == 200

            assert not await is_free()
            await eventually(is_free, 8.0, "its streams are free")
            assert asyncio.get_running_loop().time() - killed < 8


async def test_the_log_says_why_limits_are_kept_by_share(tmp_path: Path) -> None:
    """When the bus goes away the line says which bus that is, and why it can't be used."""
    async with joined(json_answer(chat_object(10)), tmp_path, "a", ledger=QUICK) as ((a,), _, redis):
        await all_shared(a)
        with capture_logs() as logs:
            redis.kill()
            said = await eventually(lambda: [each for each in logs if each["event"] == "limits.by_share"])
        assert said[0]["bus"] == f"127.0.0.1:{redis.port}/0"
        assert not said[0]["why"].endswith("Error")


async def test_a_cluster_holds_the_limits_too(tmp_path: Path) -> None:
    """On a Redis Cluster limits hold over the replicas as on one server, whichever node has a caller's numbers."""
    script = in_turn(*[json_answer(chat_object(10))] * 2, events_then_hang(total_events(1, 1)))
    config: dict[str, Any] = {"ledger": QUICK, "keys": keys(1), "budgets": [{**TEN, "per": "user"}]}
    async with redis_cluster(tmp_path) as cluster, scripted_upstream(script) as up, AsyncExitStack() as stack:
        proxies = []
        for name in "ab":
            (tmp_path / name).mkdir()
            text = replica_text(up.base_url, cluster.url, name, **dict(config))
            proxies.append(await stack.enter_async_context(running_proxy(text, tmp_path / name)))
        a, b = proxies
        await all_shared(a, b)
        for ask in (ACME, OTHER):
            assert await plain(a, ask, X_User_Id="ann") == 200
        told = proxies[0].app.engine.budgets.accounts
        await eventually(lambda: not any(map(is_untold, told())), what="it is told")
        for ask in (ACME, OTHER):
            assert await plain(b, ask, X_User_Id="ann") == 429
        async with clients([a, b], 1) as asking:
            assert [(await try_start(client)).status for client in asking] == [200, 429]
