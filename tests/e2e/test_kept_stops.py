"""A stop behind which the upstream is read on (`on_stop: drain`) outlives the process, with what its bill needs."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.verify import verify_file
from support.budgets import FLUSH, LONG, Looks
from support.chat import DONE, chat_events, chat_object, text
from support.client import Answer, RawClient
from support.ledgers import failing, locked
from support.program import ADMIN_TOKEN, config_text, running_program
from support.proxy import RunningProxy, running_proxy
from support.scripts import SSE, in_turn, json_answer
from support.stops import CHAT, PLAIN, STREAM, call, record, start, stop
from support.upstream import Conn, scripted_upstream
from support.wait import eventually, within

DRAIN: dict[str, Any] = {"on_stop": "drain", "bills_after_close": "yes", "usage": "final"}
PRICES = 'version: "1"\ncurrency: USD\nmodels: {"*": {input: "1", output: "4"}}\n'
WHOLE = chat_events(12, usage=True)
SAID = WHOLE[:9]
"""Role and eight words of twelve."""
PRODUCED = 9
"""Their tokens, by our tokenizer."""
LATE = round(len("roof, and ") * PRODUCED / len(text(8)))
"""Tokens of the two words that come behind the stop, estimated by what went before."""
CANCEL = "/v1/generations/t-1/cancel"


class Gated:
    """An upstream that says `first`, then `rest` when it is let go on, and never ends."""

    def __init__(self, first: list[bytes], rest: list[bytes]) -> None:
        self.go_on = asyncio.Event()
        self._first, self._rest = first, rest

    async def __call__(self, conn: Conn) -> None:
        """See `Script`."""
        if self._first:
            await conn.head(200, SSE)
        for event in self._first:
            await conn.chunk(event)
        await self.go_on.wait()
        for event in self._rest:
            await conn.chunk(event)
        await conn.sleep_until_closed()


def config(base_url: str, settlement: str = "produced") -> str:
    """A proxy whose upstream is read on."""
    route = {"settlement": settlement}
    return config_text(base_url, upstream=DRAIN, route=route, ledger={"flush": "20ms"}, prices={"file": "prices.yaml"})


def on_disk(folder: Path, what: str) -> Any:
    """The value of a column of the one record, as the ledger's file has it."""
    with closing(sqlite3.connect(f"file:{folder / 'quell.db'}?mode=ro", uri=True)) as db:
        found = db.execute(f"SELECT {what} FROM generation").fetchall()  # noqa: S608 a name of the test's own
    return found[0][0] if found else None


async def asked(port: int, method: str, path: str, body: Any = b"", *, token: str = "") -> Answer:
    """One request on a connection of its own."""
    headers = [("Authorization", f"Bearer {token}")] if token else []
    async with RawClient(port) as client:
        if method == "GET":
            await client.get(path, headers)
        else:
            await client.post(path, body, headers)
        return await client.answer()


@pytest.mark.parametrize(
    ("settlement", "tokens", "source", "priced"),
    [
        ("produced", PRODUCED, "tokenizer", True),
        ("drained", PRODUCED + LATE, "estimate", True),
        ("void", PRODUCED, "tokenizer", False),
    ],
)
async def test_a_kill_while_it_is_read_on(
    tmp_path: Path, settlement: str, tokens: int, source: str, priced: bool
) -> None:
    """P3: after SIGKILL the stop is the end, with who, why and when; it is billed by its settlement, and told again."""
    (tmp_path / "prices.yaml").write_text(PRICES)
    slow = Gated(SAID, WHOLE[9:11])
    async with scripted_upstream(slow) as up:
        async with running_program(config(up.base_url, settlement), tmp_path) as program:
            async with RawClient(program.port) as client:
                await client.post(CHAT, STREAM, [("X-Task-Id", "t-1")])
                await client.until(b"data:", len(SAID))
                first = (await asked(program.port, "POST", CANCEL, {"reason": "enough"})).json()
                assert on_disk(tmp_path, "cause") == "client"
                assert (await client.answer()).events[-1] == DONE
            slow.go_on.set()
            await eventually(
                lambda: on_disk(tmp_path, "late_tokens") == LATE, what="what came behind the stop is on disk"
            )
            assert verify_file(tmp_path / "quell.db").findings == []
            assert on_disk(tmp_path, "outcome") == "running"
            program.kill()
        async with running_program(config(up.base_url, settlement), tmp_path) as program:
            kept = (await asked(program.port, "GET", "/v1/generations/t-1")).json()
            again = (await asked(program.port, "POST", CANCEL)).json()
            metrics = (await asked(program.admin_port, "GET", "/metrics", token=ADMIN_TOKEN)).body
    assert (first["result"], again["result"]) == ("stopping", "stopped")
    same = ("task_id", "message_id", "cause", "phase", "elapsed_seconds", "partial", "upstream_closed_ms")
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    assert (kept["outcome"], kept["cause"], kept["reason"], kept["text"]) == ("cancelled", "client", "enough", text(8))
    assert (kept["prompt_tokens"], kept["completion_tokens"], kept["usage_source"]) == (10, tokens, source)
    assert (kept["late_tokens"], kept["phase"], kept["settlement"]) == (LATE, "streaming", settlement)
    assert float(kept["cost"]) == pytest.approx((10 + 4 * tokens) * 1e-6 if priced else 0)
    assert kept["currency"] == "USD"
    assert b'quell_generations_total{outcome="cancelled",route="/v1",upstream="up"} 1.0' in metrics
    assert b'quell_generations_total{outcome="interrupted",route="/v1",upstream="up"} 0.0' in metrics
    assert verify_file(tmp_path / "quell.db").findings == []


async def test_a_kill_before_the_first_byte(tmp_path: Path) -> None:
    """A stop of a silent upstream that is read on is the end after a kill: the prompt is billed, nothing was made."""
    (tmp_path / "prices.yaml").write_text(PRICES)
    async with scripted_upstream(Gated([], [])) as up:
        async with running_program(config(up.base_url), tmp_path) as program:
            async with RawClient(program.port) as client:
                await client.post(CHAT, STREAM, [("X-Task-Id", "t-1")])
                await up.conn()
                await eventually(lambda: on_disk(tmp_path, "phase") == "waiting", what="the upstream has the request")
                await asked(program.port, "POST", CANCEL)
                assert (await client.answer()).status == 499
                program.kill()
        async with running_program(config(up.base_url), tmp_path) as program:
            kept = (await asked(program.port, "GET", "/v1/generations/t-1")).json()
            again = (await asked(program.port, "POST", CANCEL)).json()
    assert (kept["outcome"], kept["phase"], kept["first_token_at"]) == ("cancelled", "waiting", None)
    assert (kept["prompt_tokens"], kept["completion_tokens"], kept["cost"]) == (10, 0, "0.00001")
    assert (again["result"], again["phase"]) == ("stopped", "waiting")
    assert verify_file(tmp_path / "quell.db").findings == []


async def test_a_kill_behind_the_last_word(tmp_path: Path) -> None:
    """An answer that was whole when its stop came stays what its caller was told: complete, also after a kill."""
    (tmp_path / "prices.yaml").write_text(PRICES)
    async with scripted_upstream(Gated(WHOLE[:14], [])) as up:
        async with running_program(config(up.base_url), tmp_path) as program:
            async with RawClient(program.port) as client:
                await client.post(CHAT, STREAM, [("X-Task-Id", "t-1")])
                await client.until(b'"finish_reason":"stop"')
                first = (await asked(program.port, "POST", CANCEL)).json()
                program.kill()
        async with running_program(config(up.base_url), tmp_path) as program:
            kept = (await asked(program.port, "GET", "/v1/generations/t-1")).json()
            again = (await asked(program.port, "POST", CANCEL)).json()
    assert (first["result"], first["status"]) == (again["result"], again["status"]) == ("already_finished", "completed")
    assert (kept["outcome"], kept["cause"], kept["phase"], kept["text"]) == ("completed", None, "finished", None)
    assert (kept["prompt_tokens"], kept["completion_tokens"], kept["usage_source"]) == (10, 14, "tokenizer")
    assert verify_file(tmp_path / "quell.db").findings == []


async def test_nobody_is_told_before_it_is_on_disk(tmp_path: Path) -> None:
    """X21: while the ledger can't be written a stop is not answered, although its client was let go; then it is."""
    async with scripted_upstream(Gated(SAID, [])) as up:
        patient = config_text(up.base_url, upstream=DRAIN, cancellation={"confirm_timeout": "10m"})
        async with running_proxy(patient, tmp_path) as proxy, RawClient(proxy.port) as client:
            await start(client, "t-1")
            await client.until(b"data:", len(SAID))
            async with asyncio.TaskGroup() as tasks:
                with locked(tmp_path / "quell.db"):
                    asking = tasks.create_task(stop(proxy, "t-1"))
                    assert (await client.answer()).events[-1] == DONE
                    ledger = proxy.app.engine.ledger
                    assert isinstance(ledger, SqliteLedger)
                    await failing(ledger)
                    assert not asking.done()
                    assert on_disk(tmp_path, "cause") is None
                receipt = (await within(asking, "the stop is answered")).json()
            assert on_disk(tmp_path, "cause") == "client"
            await proxy.app.stop(drain=False)
    assert (receipt["result"], receipt["cause"]) == ("stopping", "client")


@asynccontextmanager
async def read_on_under(
    folder: Path, settlement: str, limit: dict[str, Any], slow: Gated
) -> AsyncIterator[RunningProxy]:
    """A proxy with a budget that a stopped stream, which is read on, counts on; other calls get a short answer."""
    (folder / "prices.yaml").write_text(PRICES)
    async with scripted_upstream(in_turn(slow, json_answer(chat_object(1)))) as up:
        budgeted = config_text(
            up.base_url,
            upstream=DRAIN,
            route={"settlement": settlement},
            budgets=[{"per": "key", "window": LONG, **limit}],
            prices={"file": "prices.yaml"},
            ledger=FLUSH,
        )
        async with running_proxy(budgeted, folder) as proxy, RawClient(proxy.port) as client:
            await start(client, "t-1")
            await client.until(b"data:", len(SAID))
            await stop(proxy, "t-1")
            await Looks(proxy).two()
            yield proxy
            assert (await record(proxy, "t-1"))["outcome"] == "running"
            await proxy.app.stop(drain=False)


@pytest.mark.parametrize("limit", [{"completion_tokens": 40}, {"cost": "0.0002"}])
async def test_a_budget_is_charged_while_it_is_read_on(tmp_path: Path, limit: dict[str, Any]) -> None:
    """What is billed of a drain is used as it comes: its caller is refused before the drain is over, not behind it."""
    slow = Gated(SAID, chat_events(100, finish=None, done=False))
    async with read_on_under(tmp_path, "drained", limit, slow) as proxy:
        budgets = proxy.app.engine.budgets
        assert (await call(proxy, "POST", CHAT, PLAIN)).status == 200
        slow.go_on.set()
        await eventually(lambda: budgets.standings(time.time())[0].used_up, what="the window is used up")
        assert (await call(proxy, "POST", CHAT, PLAIN)).status == 429


async def test_what_is_billed_for_nothing_uses_no_money(tmp_path: Path) -> None:
    """A stop whose settlement is void gives its caller's money back at once, while its upstream is read on."""
    async with read_on_under(tmp_path, "void", {"cost": "0.00005"}, Gated(SAID, [])) as proxy:
        for _ in range(3):
            assert (await call(proxy, "POST", CHAT, PLAIN)).status == 200
            await Looks(proxy).two()
