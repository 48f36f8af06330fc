"""The calls below `/api/ledger`, and the sums: what they answer, and what they refuse."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from proxy.core.lifecycle import Outcome
from proxy.stores.ledger.sqlite import SqliteLedger
from support.client import Answer, RawClient, request_bytes
from support.program import ADMIN_TOKEN, config_text
from support.proxy import RunningProxy, running_proxy
from support.settled import over, settle
from support.tiny_server import error_of


@asynccontextmanager
async def a_proxy(folder: Path) -> AsyncIterator[tuple[RunningProxy, SqliteLedger]]:
    """A proxy with a ledger of its own, which has ended records: u0 to u4, each a second after the other."""
    async with running_proxy(config_text("http://127.0.0.1:1/v1"), folder) as proxy:
        ledger: Any = proxy.app.engine.ledger
        now = time.time() - 3600
        records = (over(f"u{n}", started_at=now + n, tags={"team": "ab"[n % 2]}, text="words") for n in range(5))
        await settle(ledger, *records)
        yield proxy, ledger


async def call(proxy: RunningProxy, method: str, path: str, body: Any = b"", **query: Any) -> Answer:
    """One call of the admin API, with the token."""
    target = f"/api/{path}" + (f"?{urlencode(query)}" if query else "")
    async with RawClient(proxy.admin_port) as client:
        await client.send(request_bytes(method, target, body, [("Authorization", f"Bearer {ADMIN_TOKEN}")]))
        return await client.answer()


def refused(answer: Answer, status: int = 400) -> str:
    """The message of an answer that must be a refusal."""
    assert answer.status == status, answer.body
    message: str = error_of(answer.body)["message"]
    return message


async def attach(proxy: RunningProxy, *truths: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Attach later truths; what each leaves out is made up."""
    known = {"upstream_id": "up-u0", "source": "bill", "completion_tokens": 6}
    answer = await call(proxy, "POST", "ledger/truths", {"truths": [{**known, **each} for each in truths], **more})
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


async def test_an_export_is_one_object_a_line(tmp_path: Path) -> None:
    """Pages follow each other by the header's cursor, each record is there once, texts only where asked for."""
    async with a_proxy(tmp_path) as (proxy, _):
        ids: list[str] = []
        cursor: str | None = "0"
        more = True
        while more:
            page = await call(proxy, "GET", "ledger/export", after=cursor, limit=2)
            assert (page.status, page.header("Content-Type")) == (200, "application/x-ndjson")
            assert page.header("X-Last-Cursor") == "5"
            found = [json.loads(line) for line in page.body.splitlines()]
            ids += [each["id"] for each in found]
            assert not any("text" in each for each in found)
            cursor, more = page.header("X-Next-Cursor"), page.header("X-More") == "true"
        assert ids == [f"u{n}.1" for n in range(5)]
        full = await call(proxy, "GET", "ledger/export", text="true")
        assert all("text" in json.loads(line) for line in full.body.splitlines())


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ({"after": "-1"}, "after must be a whole number"),
        ({"after": "99999999999999999999"}, "after must be a whole number"),
        ({"limit": "0"}, "limit must be a whole number from 1 to 1000"),
        ({"since": "yesterday"}, "since: expected how long ago"),
        ({"since": "1h", "until": "2h"}, "until must be later than since"),
        ({"text": "yes"}, "text must be true or false"),
        ({"before": "1"}, "not known here"),
    ],
)
async def test_a_wrong_export_is_refused(tmp_path: Path, query: dict[str, str], part: str) -> None:
    """The message names the parameter and what was expected."""
    async with a_proxy(tmp_path) as (proxy, _):
        assert part in refused(await call(proxy, "GET", "ledger/export", **query))


async def test_a_foreign_cursor_is_refused(tmp_path: Path) -> None:
    """A cursor that this ledger never gave out is a conflict, not an empty page."""
    async with a_proxy(tmp_path) as (proxy, _):
        answer = await call(proxy, "GET", "ledger/export", after="6")
        assert "the cursor is of another one" in refused(answer, 409)


async def test_truths_are_attached(tmp_path: Path) -> None:
    """Each truth is answered in its place, is counted in the metrics, and shows in the drift; a dry run in neither."""
    async with a_proxy(tmp_path) as (proxy, _):
        cost = {"cost": "0.5", "currency": "USD"}
        truths: list[dict[str, Any]] = [
            {"prompt_tokens": 8, **cost},
            {"upstream_id": "none"},
            {"upstream_id": "up-u1", "upstream": "openai"},
        ]
        dry = await attach(proxy, *truths, dry_run=True)
        assert dry["counts"]["attached"] == 2
        found = await attach(proxy, *truths)
        assert [each["result"] for each in found["data"]] == ["attached", "unknown", "attached"]
        assert [each["task_id"] for each in found["data"]] == ["task-u0", None, "task-u1"]
        assert (await attach(proxy, truths[0]))["counts"]["unchanged"] == 1
        drift = (await call(proxy, "GET", "ledger/drift", since="1d")).json()["data"]
        assert drift == [
            {
                "upstream": "openai",
                "model": "m",
                "source": "bill",
                "records": 2,
                "not_compared": 0,
                "prompt_tokens": {"ours": 7, "theirs": 8, "percent": 14.286},
                "completion_tokens": {"ours": 10, "theirs": 12, "percent": 20.0},
                "cost": {"USD": {"ours": "0.25", "theirs": "0.5", "percent": 100.0}},
            }
        ]
        counted = proxy.app.engine.metrics.registry.get_sample_value("quell_truths_total", {"result": "attached"})
        assert counted == 2.0
        untold = (await call(proxy, "GET", "ledger/untold", upstream="openai", source="bill", limit=2)).json()
        assert untold["data"] == ["up-u2", "up-u3"]
        rest = await call(
            proxy, "GET", "ledger/untold", upstream="openai", source="bill", limit=2, after=untold["next_cursor"]
        )
        assert (rest.json()["data"], rest.json()["next_cursor"]) == (["up-u4"], None)
        assert "source is missing" in refused(await call(proxy, "GET", "ledger/untold", upstream="openai"))


@pytest.mark.parametrize(
    ("truth", "part"),
    [
        ("x", "truths[0] must be an object"),
        ({"upstream_id": "u"}, "truths[0] needs upstream_id and source"),
        ({"upstream_id": "u", "source": "s"}, "says nothing"),
        ({"upstream_id": "", "source": "s"}, "truths[0].upstream_id must be a string of 1 to 256"),
        ({"upstream_id": "u", "source": "s", "prompt_tokens": -1}, "truths[0].prompt_tokens must be a whole number"),
        ({"upstream_id": "u", "source": "s", "prompt_tokens": True}, "truths[0].prompt_tokens must be a whole number"),
        ({"upstream_id": "u", "source": "s", "prompt_tokens": 2**70}, "truths[0].prompt_tokens must be a whole number"),
        ({"upstream_id": "u", "source": "s", "cost": 0.1, "currency": "USD"}, "truths[0].cost must be a decimal"),
        ({"upstream_id": "u", "source": "s", "cost": "NaN", "currency": "USD"}, "truths[0].cost must be a decimal"),
        ({"upstream_id": "u", "source": "s", "cost": "1e9", "currency": "USD"}, "truths[0].cost must be a decimal"),
        ({"upstream_id": "u", "source": "s", "cost": "1"}, "needs cost and currency together"),
        ({"upstream_id": "u", "source": "s", "prompt_tokens": 1, "currency": "USD"}, "cost and currency together"),
        ({"upstream_id": "u", "source": "s", "cost": "1", "currency": "usd"}, "truths[0].currency must be three"),
        ({"upstream_id": "u", "source": "s", "prompt_token": 1}, "did you mean 'prompt_tokens'?"),
    ],
)
async def test_a_wrong_truth_is_refused(tmp_path: Path, truth: Any, part: str) -> None:
    """The message names the place and the field, and nothing at all is attached."""
    async with a_proxy(tmp_path) as (proxy, ledger):
        good = {"upstream_id": "up-u0", "source": "s", "prompt_tokens": 1}
        answer = await call(proxy, "POST", "ledger/truths", {"truths": [truth, good]})
        assert part in refused(answer)
        assert await ledger.outbox.pending(5) == 0


async def test_a_call_has_some_truths(tmp_path: Path) -> None:
    """None, too many, or no list at all are refused."""
    async with a_proxy(tmp_path) as (proxy, _):
        wrong: tuple[Any, ...] = ([], [{}] * 501, {}, None)
        for truths in wrong:
            answer = await call(proxy, "POST", "ledger/truths", {"truths": truths})
            assert "truths must be a list of 1 to 500 objects" in refused(answer)
        assert "not known here" in refused(await call(proxy, "POST", "ledger/truths", {"truth": []}))


async def test_sums_over_several_groups(tmp_path: Path) -> None:
    """Groups are named, values that a record does not have are null, each currency has its own sum."""
    async with a_proxy(tmp_path) as (proxy, ledger):
        await settle(ledger, over("eur", started_at=time.time(), cost=Decimal(1), currency="EUR", tags={}))
        await settle(
            ledger, over("none", started_at=time.time(), cost=None, outcome=Outcome.FAILED, error_kind="reset", tags={})
        )
        found = (await call(proxy, "GET", "usage", by="model,tag:team")).json()
        assert (found["by"], found["until"]) == (["model", "tag:team"], None)
        assert [(each["group"], each["generations"], each["cost"], each["cost_unknown"]) for each in found["data"]] == [
            ({"model": "m", "tag:team": "a"}, 3, {"USD": "0.75"}, 0),
            ({"model": "m", "tag:team": None}, 2, {"EUR": "1"}, 1),
            ({"model": "m", "tag:team": "b"}, 2, {"USD": "0.5"}, 0),
        ]
        one = (await call(proxy, "GET", "usage", by="outcome", tag="team:a", outcome="completed")).json()["data"]
        assert [each["generations"] for each in one] == [3]
        until = (await call(proxy, "GET", "usage", until="30m")).json()["data"]
        assert [each["generations"] for each in until] == [5]


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ({"by": "modle"}, "Did you mean model?"),
        ({"by": "model,model"}, "by names one group twice"),
        ({"by": "tag:"}, "by must be one of"),
        ({"outcome": "done"}, "outcome must be one of"),
        ({"tag": "team"}, "tag must be name:value"),
        ({"until": "2020-01-01"}, "until must be later than since"),
    ],
)
async def test_wrong_sums_are_refused(tmp_path: Path, query: dict[str, str], part: str) -> None:
    """The message names the parameter and what there is."""
    async with a_proxy(tmp_path) as (proxy, _):
        assert part in refused(await call(proxy, "GET", "usage", **query))


async def test_too_many_groups_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is never cut."""
    monkeypatch.setattr("proxy.stores.ledger.usage_sqlite.MOST_GROUPS", 1)
    async with a_proxy(tmp_path) as (proxy, _):
        assert "There are more than" in refused(await call(proxy, "GET", "usage", by="tag:team"))
