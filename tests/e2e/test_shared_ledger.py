"""A proxy whose ledger is in PostgreSQL: what callers and operators see while that is there, away, slow, or cut."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from structlog.testing import capture_logs

from proxy.engine.settling import forwarding
from support.chat import chat_events
from support.client import Answer, RawClient, request_bytes
from support.postgres import PASSWORD, Database, a_pool, pgbouncer, postgres_server
from support.program import ADMIN_TOKEN, config_text, running_program
from support.proxy import RunningProxy, running_proxy
from support.scripts import endless_sse, sse_stream
from support.stops import CHAT, STREAM, call, record, start, stop
from support.tcp_link import tcp_link
from support.upstream import ScriptedUpstream, scripted_upstream
from support.wait import eventually

TOTALS = "SELECT (SELECT count(*) FROM generation), (SELECT count(*) FROM settled), (SELECT count(*) FROM running)"
ANSWER = sse_stream(chat_events(4, usage=True))


LEASE = 4
"""Seconds: the shortest."""


def shared(up: ScriptedUpstream, url: str, name: str, bus: dict[str, Any] | None = None, **ledger: Any) -> str:
    """The config of a replica with its ledger there."""
    kept = {"url": url, "flush": "20ms", "text": "all"} | ledger
    return config_text(up.base_url, replica=name, ledger=kept, bus=bus or {})


@asynccontextmanager
async def sharing(folder: Path, url: str, names: str = "ab") -> AsyncIterator[list[RunningProxy]]:
    """Replicas with one ledger, in front of one upstream."""
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(scripted_upstream(ANSWER))
        started = []
        for name in names:
            (folder / name).mkdir()
            proxy = running_proxy(shared(up, url, name), folder / name)
            started.append(await stack.enter_async_context(proxy))
        yield started


async def ask(proxy: RunningProxy, task_id: str) -> int:
    """One streamed call, to its end; gives its status."""
    return (await call(proxy, "POST", CHAT, STREAM, X_Task_Id=task_id)).status


async def admin(proxy: RunningProxy, path: str, **query: Any) -> Answer:
    """One call of the admin API, with the token."""
    target = f"{path}?{urlencode(query)}" if query else path
    async with RawClient(proxy.admin_port) as client:
        headers = [("Authorization", f"Bearer {ADMIN_TOKEN}"), ("Host", f"127.0.0.1:{proxy.admin_port}")]
        await client.send(request_bytes("GET", target, b"", headers))
        return await client.answer()


async def metric(proxy: RunningProxy, name: str) -> float:
    """The value of a metric without labels."""
    for line in (await admin(proxy, "/metrics")).body.decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(name)


async def all_shared(proxy: RunningProxy, patience: float = 60.0) -> None:
    """Wait until nothing waits for PostgreSQL."""

    async def nothing_waits() -> bool:
        return await metric(proxy, "quell_ledger_forward_pending") == 0

    await eventually(nothing_waits, patience, "all of it is shared")


async def has_failed(proxy: RunningProxy) -> bool:
    """Whether the forwarder has failed."""
    return await metric(proxy, "quell_ledger_forward_errors_total") > 0


async def is_counted(proxy: RunningProxy) -> bool:
    """Whether sums are answered: for a second behind an outage a pool may still take PostgreSQL for away."""
    return (await admin(proxy, "/api/usage")).status == 200


async def generations(proxy: RunningProxy) -> int:
    """How many generations the sums of the last week have."""
    answer = await admin(proxy, "/api/usage", by="outcome")
    assert answer.status == 200, answer.body
    return sum(row["generations"] for row in answer.json()["data"])


async def test_any_replica_answers_for_all(tmp_path: Path, database: Database) -> None:
    """What one served, another shows at once: the record, the list, the sums and the export."""
    async with sharing(tmp_path, database.url) as (one, two):
        for number in range(3):
            assert await ask(one, f"t{number}") == 200
        listed = (await call(two, "GET", "/v1/generations")).json()
        assert await generations(one) == 3
        assert await generations(two) == 3
        found = await record(two, "t1")
        assert (found["outcome"], found["completion_tokens"], found["replica"]) == ("completed", 4, "a")
        listed = (await call(two, "GET", "/v1/generations")).json()
        assert [each["task_id"] for each in listed["data"]] == ["t2", "t1", "t0"]
        exported = (await admin(two, "/api/ledger/export")).body.decode().splitlines()
        assert [json.loads(line)["task_id"] for line in exported] == ["t0", "t1", "t2"]
        stopped = await stop(two, "t0")
        assert (stopped.status, stopped.json()["result"]) == (200, "already_finished")
    assert database.sql(TOTALS) == [["3", "3", "0"]]


async def test_others_see_what_runs(tmp_path: Path, database: Database) -> None:
    """A generation that runs elsewhere is a running record here; somebody else's key finds none."""
    async with scripted_upstream(endless_sse(chat_events(2, done=False)[0], 0.05)) as up:
        for name in "ab":
            (tmp_path / name).mkdir()
        async with (
            running_proxy(shared(up, database.url, "a"), tmp_path / "a") as one,
            running_proxy(shared(up, database.url, "b"), tmp_path / "b") as two,
            RawClient(one.port) as client,
        ):
            await start(client, "t1")

            async def is_seen() -> bool:
                return (await call(two, "GET", "/v1/generations/t1")).status == 200

            await eventually(is_seen, what="the other replica sees it")
            assert (await record(two, "t1"))["outcome"] == "running"
            assert (await call(two, "GET", "/v1/generations/t1", Authorization="Bearer other")).status == 404
            assert database.sql("SELECT replica FROM running") == [["a"]]


async def test_an_outage_stops_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """Killed under load and started again: no call is refused, nothing is lost or doubled, and it is told once."""
    async with postgres_server() as server:
        database = server.create()
        with capture_logs() as logs:
            async with sharing(tmp_path, database.url, "a") as (one,):
                statuses = []

                async def load(begin: int, many: int) -> None:
                    for batch in range(begin, begin + many, 20):
                        calls = (ask(one, f"t{number}") for number in range(batch, batch + 20))
                        statuses.extend(await asyncio.gather(*calls))

                await load(0, 100)
                await asyncio.gather(load(100, 200), asyncio.to_thread(server.kill))
                await load(300, 100)
                assert (await admin(one, "/readyz")).status == 200
                assert (await record(one, "t350"))["outcome"] == "completed"
                assert (await call(one, "GET", "/v1/generations/nobodys")).status == 503
                for refused in (await call(one, "GET", "/v1/generations"), await admin(one, "/api/usage")):
                    assert (refused.status, refused.header("Retry-After") is not None) == (503, True)
                assert await metric(one, "quell_ledger_forward_pending") > 0
                assert await metric(one, "quell_ledger_forward_lag_seconds") > 0
                await eventually(lambda: has_failed(one), what="the failure is counted")
                await asyncio.gather(load(400, 100), server.start())
                await all_shared(one)
                assert statuses == [200] * 500
                await eventually(lambda: is_counted(one), what="sums are answered again")
                assert await generations(one) == 500
                assert await metric(one, "quell_ledger_forward_lag_seconds") == 0
        assert database.sql(TOTALS) == [["500", "500", "0"]]
        assert database.sql("SELECT sum(completion_tokens), count(DISTINCT task_id) FROM generation") == [
            ["2000", "500"]
        ]
    failing = [line for line in logs if line["event"] == "ledger.forward_failing"]
    assert len(failing) == 1
    assert PASSWORD not in repr(logs)


@pytest.mark.parametrize("wrong", ["password", "database"])
async def test_what_waiting_does_not_help_is_an_error(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """A wrong password, or no such database: everything is served, and the log says again and again what to do."""
    monkeypatch.setattr(forwarding, "AGAIN_SECONDS", 0.0)
    name = f"{database.name}_later"
    url = database.url.replace(PASSWORD, "canary") if wrong == "password" else f"{database.url}_later"
    with capture_logs() as logs:
        async with sharing(tmp_path, url, "a") as (one,):
            assert await ask(one, "t1") == 200

            def told() -> list[Any]:
                return [line for line in logs if line["event"] == "ledger.forward_refused"]

            await eventually(lambda: len(told()) > 1, what="it is said again")
            if wrong == "database":
                database.server.sql(f"CREATE DATABASE {name}")
                await all_shared(one)
    at_start = [line for line in logs if line["event"] == "ledger.postgresql_refuses"]
    hint = "mend the user and the password" if wrong == "password" else "create an empty database"
    for line in (*told(), *at_start):
        assert line["log_level"] == "error"
        assert hint in line["hint"]
        assert wrong in line["why"]
    assert len(at_start) == 1
    assert "canary" not in repr(logs)
    if wrong == "database":
        assert database.server.sql("SELECT count(*) FROM generation", name) == [["1"]]
        database.server.drop(Database(database.server, name))


async def test_a_start_does_not_need_postgresql(tmp_path: Path) -> None:
    """It is away at the start: the proxy is ready and serves, and shares what it did once it is there."""
    async with postgres_server() as server:
        database = server.create()
        server.kill()
        async with sharing(tmp_path, database.url, "a") as (one,):
            assert (await admin(one, "/readyz")).status == 200
            assert await ask(one, "t1") == 200
            await server.start()
            await all_shared(one)

            async def is_summed() -> bool:
                return await generations(one) == 1

            await eventually(is_summed, what="the sums are there")  # for a second after a failure nobody connects
            await eventually(lambda: database.sql(TOTALS) == [["1", "1", "0"]], what="it is there")


async def test_an_answer_that_is_lost_behind_the_commit(tmp_path: Path, database: Database) -> None:
    """Each transaction of a while is committed, and its answer cut: all of it is there once."""
    async with tcp_link(database.server.port) as link, sharing(tmp_path, database.url_at(link.port), "a") as (one,):
        assert await ask(one, "t0") == 200
        await all_shared(one)
        link.cut_behind(b"COMMIT")
        for number in range(1, 20):
            assert await ask(one, f"t{number}") == 200
        await eventually(lambda: link.cuts >= 3, 30, "answers are cut")
        link.cut_behind(b"")
        await all_shared(one)
        assert await generations(one) == 20
    assert database.sql(TOTALS) == [["20", "20", "0"]]
    assert database.sql("SELECT count(*) FROM truth") == [["0"]]


async def test_a_locked_table_holds_up_nobody(tmp_path: Path, database: Database) -> None:
    """Somebody locks the records: calls go on, and what waited is there afterwards."""
    async with sharing(tmp_path, database.url, "a") as (one,), a_pool(database.url, answer=60.0) as other:
        assert await ask(one, "t0") == 200
        async with other.writing() as connection:
            await connection.exec_driver_sql("LOCK TABLE generation")
            for number in range(1, 30):
                assert await ask(one, f"t{number}") == 200
            assert (await record(one, "t5"))["outcome"] == "completed"
        await all_shared(one)
        assert await generations(one) == 30


async def test_a_silent_network_holds_up_nobody(tmp_path: Path, database: Database) -> None:
    """Nothing comes through and nothing is closed: calls go on, a record is found and a list is refused in time."""
    async with tcp_link(database.server.port) as link, sharing(tmp_path, database.url_at(link.port), "a") as (one,):
        assert await ask(one, "t0") == 200
        link.audible.clear()
        for number in range(1, 10):
            assert await ask(one, f"t{number}") == 200
        async with asyncio.timeout(20):
            assert (await record(one, "t5"))["outcome"] == "completed"
            assert (await call(one, "GET", "/v1/generations")).status == 503
        link.audible.set()
        await all_shared(one)
        assert await generations(one) == 10


async def test_a_pooler_in_transaction_mode(tmp_path: Path, database: Database) -> None:
    """Two replicas share their ledger through PgBouncer with two server connections."""
    async with pgbouncer(database) as port, sharing(tmp_path, database.url_at(port)) as proxies:
        calls = (ask(proxy, f"t{number}") for number in range(40) for proxy in proxies)
        assert set(await asyncio.gather(*calls)) == {200}
        for proxy in proxies:
            await all_shared(proxy)
        found = await asyncio.gather(*(generations(proxy) for proxy in proxies * 4))
        assert found == [80] * 8
    assert database.sql(TOTALS) == [["80", "80", "0"]]


async def test_a_kill_shares_each_record_once(tmp_path: Path, database: Database) -> None:
    """Killed while it streams and started again on its file: all that ended, and what was cut off, is there once."""
    async with scripted_upstream(endless_sse(chat_events(2, done=False)[1], 0.02)) as up:
        text = shared(up, database.url, "a")
        async with running_program(text, tmp_path) as program:
            async with AsyncExitStack() as stack:
                for number in range(6):
                    client = await stack.enter_async_context(RawClient(program.port))
                    await start(client, f"t{number}")
                    await client.until(b"data: ", 20)
                await eventually(lambda: database.sql(TOTALS) == [["6", "0", "6"]], what="all are seen to run")
                program.kill()
        async with running_program(text, tmp_path) as program:
            await eventually(lambda: database.sql(TOTALS) == [["6", "6", "0"]], 30, "all are shared")
            assert PASSWORD not in program.log()
            program.signal(signal.SIGTERM)
            assert await program.exit_code() == 0
    assert database.sql("SELECT outcome, count(*) FROM generation GROUP BY 1") == [["interrupted", "6"]]
    assert database.sql("SELECT count(*) FROM generation WHERE completion_tokens > 0") == [["6"]]


async def test_what_a_dead_replica_ran_is_interrupted_once(tmp_path: Path, database: Database) -> None:
    """X11: others end it when its lease is over, whoever is first; its owner, back, only knows more of it."""
    ends = "SELECT outcome, revision, count(*) FROM settled JOIN generation USING (uid) GROUP BY 1, 2 ORDER BY 2"
    for name in "abc":
        (tmp_path / name).mkdir()
    async with scripted_upstream(endless_sse(chat_events(2, done=False)[1], 0.02)) as up, AsyncExitStack() as stack:
        text = {name: shared(up, database.url, name, bus={"lease": f"{LEASE}s"}) for name in "abc"}
        others = [await stack.enter_async_context(running_proxy(text[name], tmp_path / name)) for name in "bc"]
        async with running_program(text["a"], tmp_path / "a") as program, AsyncExitStack() as clients:
            for number in range(3):
                client = await clients.enter_async_context(RawClient(program.port))
                await start(client, f"t{number}")
                await client.until(b"data: ", 20)
            await eventually(lambda: database.sql(TOTALS) == [["3", "0", "3"]], what="all are seen to run")
            program.kill()
            killed = asyncio.get_running_loop().time()
        with capture_logs() as logs:
            await eventually(lambda: database.sql(TOTALS) == [["3", "3", "0"]], 60, "the others have ended them")
            told = await eventually(lambda: [each for each in logs if each["event"] == "replica.records_interrupted"])
        assert [(each["replica"], each["records"]) for each in told] == [("a", 3)]
        assert asyncio.get_running_loop().time() - killed < 3 * LEASE  # two, and one for a machine that has other work
        assert database.sql(ends) == [["interrupted", "1", "3"]]
        async with running_program(text["a"], tmp_path / "a") as program:
            later = [["interrupted", "1", "3"], ["interrupted", "2", "3"]]
            await eventually(lambda: database.sql(ends) == later, 60, "what the owner knows better is there")
        for proxy in others:
            found = await record(proxy, "t1")
            assert (found["outcome"], found["completion_tokens"] > 0, len(found["text"]) > 0) == (
                "interrupted",
                True,
                True,
            )
            (row,) = (await admin(proxy, "/api/usage", by="outcome")).json()["data"]
            assert (row["generations"], row["completion_tokens"] > 0) == (3, True)
    assert database.sql("SELECT DISTINCT source FROM truth WHERE completion_tokens > 0") == [["replica:a"]]


async def test_two_replicas_of_one_name(tmp_path: Path, database: Database) -> None:
    """The one that starts ends nothing that the other runs, and its log says once that the name is taken."""
    for name in "ab":
        (tmp_path / name).mkdir()
    async with scripted_upstream(endless_sse(chat_events(2, done=False)[1], 0.02)) as up:
        text = shared(up, database.url, "same", bus={"lease": f"{LEASE}s"})
        async with running_proxy(text, tmp_path / "a") as one, RawClient(one.port) as client:
            await start(client, "t1")
            await eventually(lambda: database.sql(TOTALS) == [["1", "0", "1"]], what="it is seen to run")
            with capture_logs() as logs:
                async with running_proxy(text, tmp_path / "b"):

                    def said() -> int:
                        return sum(line["event"] == "ledger.name_taken" for line in logs)

                    await eventually(said, 30, what="it is said")
                    assert (await record(one, "t1"))["outcome"] == "running"
            assert said() == 1
            assert (await stop(one, "t1")).status == 200
            await eventually(lambda: database.sql(TOTALS) == [["1", "1", "0"]], what="it has ended")
    assert database.sql("SELECT outcome FROM generation") == [["cancelled"]]


async def test_the_password_is_shown_nowhere(tmp_path: Path, database: Database) -> None:
    """Neither the operator's view of the settings nor the metrics have the password."""
    async with sharing(tmp_path, database.url, "a") as (one,):
        shown = (await admin(one, "/api/config")).body + (await admin(one, "/metrics")).body
        assert PASSWORD.encode() not in shown
        assert b"postgresql://***@" in shown
