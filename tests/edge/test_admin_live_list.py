"""The list of what lives, in any order: rows with the numbers so far, pages, and what is refused."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.chat import ask, chat_events
from support.client import RawClient
from support.http_bytes import Headers
from support.program import ADMIN_TOKEN, config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import SSE, events_then_hang
from support.tiny_server import error_of
from support.upstream import Conn, scripted_upstream
from support.wait import eventually

BEARER: Headers = [("Authorization", f"Bearer {ADMIN_TOKEN}")]
PRICES: dict[str, Any] = {
    "version": "t",
    "currency": "USD",
    "models": [{"model": "scripted", "input": "1", "output": "2"}],
}


async def as_many_as_asked(conn: Conn) -> None:
    """Send as many words as the request allows tokens, each with the running count, then nothing."""
    most = json.loads(conn.request.body)["max_tokens"]
    await conn.head(200, SSE)
    for number, event in enumerate(chat_events(most, finish=None, done=False)):
        said = json.loads(event.removeprefix(b"data: "))
        said["usage"] = {"prompt_tokens": 10, "completion_tokens": number, "total_tokens": 10 + number}
        await conn.chunk(b"data: " + json.dumps(said).encode() + b"\n\n")
    await conn.sleep_until_closed()


@asynccontextmanager
async def a_proxy(folder: Path) -> AsyncIterator[RunningProxy]:
    """A proxy with prices, whose upstream counts along."""
    (folder / "prices.yaml").write_text(yaml.safe_dump(PRICES))
    async with scripted_upstream(as_many_as_asked) as up:
        config = config_text(up.base_url, prices={"file": "prices.yaml"})
        async with running_proxy(config, folder) as proxy:
            yield proxy


@asynccontextmanager
async def streams(proxy: RunningProxy, **tokens: int) -> AsyncIterator[None]:
    """Streams by their task ids, with so many tokens each; all is folded."""
    async with AsyncExitStack() as stack:
        for ident, most in tokens.items():
            client = await stack.enter_async_context(RawClient(proxy.port))
            await client.post("/v1/chat/completions", ask(max_tokens=most), [("X-Task-Id", ident)])
            await client.until(b"data: ", most)

        async def counted() -> bool:
            data = (await get(proxy, "state=live"))["data"]
            return {each["task_id"]: each["completion_tokens"] for each in data} == tokens

        await eventually(counted, what="all tokens are counted")
        yield


async def get(proxy: RunningProxy, query: str, status: int = 200) -> Any:
    """The list's answer."""
    async with RawClient(proxy.admin_port) as client:
        await client.get(f"/api/generations?{query}", BEARER)
        answer = await client.answer()
    assert answer.status == status, answer.body
    return answer.json() if status == 200 else error_of(answer.body)


async def test_what_lives_has_its_numbers_so_far(tmp_path: Path) -> None:
    """A live generation is a record with the tokens and the cost so far, and what it does now; so is it by itself."""
    async with a_proxy(tmp_path) as proxy, streams(proxy, one=7):
        (row,) = (await get(proxy, "state=live"))["data"]
        assert (row["object"], row["id"], row["state"], row["cancel_asked"]) == (
            "generation",
            row["message_id"],
            "streaming",
            False,
        )
        assert (row["prompt_tokens"], row["completion_tokens"], row["usage_source"]) == (10, 7, "upstream_running")
        assert (Decimal(row["cost"]), row["currency"]) == (Decimal("0.000024"), "USD")
        assert row["age_seconds"] > 0
        assert "text" not in row
        async with RawClient(proxy.admin_port) as client:
            await client.get("/api/generations/one", BEARER)
            one = (await client.answer()).json()
        assert (one["outcome"], one["completion_tokens"], one["cost"]) == ("running", 7, row["cost"])
        assert one["text"]


@pytest.mark.parametrize(
    ("query", "tasks"),
    [
        ("sort=tokens", "bca"),
        ("sort=tokens&order=asc", "acb"),
        ("sort=cost", "bca"),
        ("sort=age&order=desc", "abc"),
        ("sort=age", "cba"),
        ("sort=state&order=desc", "cba"),
        ("sort=replica", "cba"),
    ],
)
async def test_what_lives_comes_in_any_order(tmp_path: Path, query: str, tasks: str) -> None:
    """The list is sorted as was asked, page by page too; each page goes on where the one before ended."""
    async with a_proxy(tmp_path) as proxy, streams(proxy, a=3, b=9, c=5):
        whole = await get(proxy, f"state=live&{query}")
        assert "".join(row["task_id"] for row in whole["data"]) == tasks
        assert (whole["next_cursor"], whole["complete"]) == (None, True)
        seen, cursor = "", ""
        for _ in range(3):
            page = await get(proxy, f"state=live&{query}&limit=1{cursor}")
            seen += page["data"][0]["task_id"]
            cursor = f"&cursor={page['next_cursor']}"
        assert (seen, page["next_cursor"]) == (tasks, None)


async def test_a_budgets_count_goes_before_an_estimate(tmp_path: Path) -> None:
    """Where a budget counts the tokens of a stream that runs, the table shows its count."""
    budgets = [{"per": "request", "completion_tokens": 1000}]
    script = events_then_hang(chat_events(30, finish=None, done=False))
    async with scripted_upstream(script) as up:
        config = config_text(up.base_url, budgets=budgets)
        async with running_proxy(config, tmp_path) as proxy, RawClient(proxy.port) as client:
            await client.post("/v1/chat/completions", ask())

            async def counted() -> bool:
                (row,) = (await get(proxy, "state=live"))["data"]
                return row["usage_source"] == "tokenizer" and bool(row["completion_tokens"])

            await eventually(counted, what="the budget has counted")


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("sort=tokens", "invalid_parameter", "sort is for state=live"),
        ("state=ended&order=asc", "invalid_parameter", "order is for state=live"),
        ("state=live&sort=size", "invalid_parameter", "sort must be one of"),
        ("state=live&sort=tokens&cursor=x", "invalid_cursor", "not given out here"),
        ("state=live&sort=tokens&cursor=1.5_u", "invalid_cursor", "not given out here"),
    ],
)
async def test_a_wrong_order_is_refused(tmp_path: Path, query: str, code: str, words: str) -> None:
    """Only what lives can be sorted, by what the table has, and a cursor belongs to its order."""
    async with a_proxy(tmp_path) as proxy:
        error = await get(proxy, query, 400)
        assert error["code"] == code
        assert words in error["message"]
