"""What the admin listener says of the whole proxy: summary, health, upstreams, config, and sums with savings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from proxy.edge.admin import summary as admin_summary
from support.chat import ask, chat_events, chat_object
from support.client import RawClient
from support.http_bytes import Headers
from support.program import ADMIN_TOKEN, config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import answer, events_then_hang, in_turn, json_answer
from support.upstream import Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually

BEARER: Headers = [("Authorization", f"Bearer {ADMIN_TOKEN}")]
CHAT = "/v1/chat/completions"
STREAM = events_then_hang(chat_events(5, finish=None, done=False))
PRICES: dict[str, Any] = {
    "version": "t",
    "currency": "USD",
    "models": [{"model": "scripted", "input": "1", "output": "2"}],
}


@asynccontextmanager
async def a_proxy(
    folder: Path, script: Script = STREAM, **config: Any
) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy in front of a scripted upstream."""
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url, **config), folder) as proxy:
        yield proxy, up


async def get(proxy: RunningProxy, path: str) -> Any:
    """An answer of the admin API."""
    async with RawClient(proxy.admin_port) as client:
        await client.get(f"/api/{path}", BEARER)
        found = await client.answer()
    assert found.status == 200, found.body
    return found.json()


async def chat(proxy: RunningProxy, **more: Any) -> int:
    """A model call that is no stream; gives the status."""
    async with RawClient(proxy.port) as client:
        await client.post(CHAT, ask(stream=False, **more))
        return (await client.answer()).status


async def stopped(proxy: RunningProxy, ident: str, **more: Any) -> None:
    """A stream that an operator stops."""
    async with RawClient(proxy.port) as client, RawClient(proxy.admin_port) as admin:
        await client.post(CHAT, ask(**more), [("X-Task-Id", ident)])
        await client.until(b"data: ", 5)
        await admin.post(f"/api/generations/{ident}/cancel", b"", BEARER)
        assert (await admin.answer()).status == 200


async def test_the_summary_counts_today_and_now(tmp_path: Path, monkeypatch: Any) -> None:
    """What lives, and today's stops by their cause with what they saved, as a range and priced where that is known."""
    monkeypatch.setattr(admin_summary, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(admin_summary, "KEPT_TIMES", 0)
    (tmp_path / "prices.yaml").write_text(yaml.safe_dump(PRICES))
    config: dict[str, Any] = {"prices": {"file": "prices.yaml"}, "upstream": {"bills_after_close": "no"}}
    async with a_proxy(tmp_path, **config) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(CHAT, ask())
        await client.until(b"data: ", 5)
        await stopped(proxy, "one", max_tokens=1000)

        async def summed() -> Any:
            found = await get(proxy, "summary")
            return found if found["today"]["stopped"] else None

        found = await eventually(summed, what="the stop is in the ledger")
        assert (found["live"], found["queued"], found["reading_on"], found["orphans"]) == (1, 0, 0, 0)
        today = found["today"]
        assert (today["generations"], today["stopped"], today["stops_by_cause"]) == (2, 1, {"operator": 1})
        made = today["completion_tokens"]
        assert today["saved_tokens"] == {"typical": None, "most": 1000 - made}
        (saved,) = today["saved_cost"].values()
        assert (saved["typical"], float(saved["most"])) == (None, (1000 - made) * 2 / 1e6)
        assert today["since"].endswith("T00:00:00.000Z")


async def test_sums_are_kept_for_a_while(tmp_path: Path, monkeypatch: Any) -> None:
    """Whoever asks within a second gets the same sums: looking on costs next to no reading of the ledger."""
    monkeypatch.setattr(admin_summary, "KEPT_SECONDS", 3600.0)
    async with a_proxy(tmp_path) as (proxy, _):
        before = (await get(proxy, "summary"))["today"]
        await stopped(proxy, "one")
        found = await get(proxy, "summary")
        assert (found["today"], found["live"]) == (before, 0)


async def test_usage_has_savings_in_money(tmp_path: Path) -> None:
    """A group says what its stops saved, as a range by currency; null where no price is known."""
    async with a_proxy(tmp_path) as (proxy, _):
        await stopped(proxy, "one", max_tokens=100)

        async def row() -> Any:
            (found,) = (await get(proxy, "usage?by=cause,upstream,hour,replica"))["data"]
            return found if found["group"]["cause"] else None

        found = await eventually(row, what="the stop is in the ledger")
        assert (found["group"]["cause"], found["group"]["upstream"]) == ("operator", "up")
        assert found["group"]["hour"].endswith(":00Z")
        assert (found["saved_cost"], found["saved_unpriced"]) == (None, 1)


async def test_upstreams_say_how_their_calls_went(tmp_path: Path) -> None:
    """Errors by kind and the last of each; the state is that of the last call, and none is made to find out."""
    script = in_turn(json_answer(chat_object(3)), answer(500, b"{}"), STREAM)
    async with a_proxy(tmp_path, script, upstream={"on_stop": "close"}) as (proxy, up):
        (unused,) = (await get(proxy, "upstreams"))["data"]
        assert (unused["state"], unused["errors"], unused["last_error"], unused["last_success_at"]) == (
            "unused",
            {},
            None,
            None,
        )
        assert (unused["on_stop"], unused["format"]) == ("close", "openai")
        assert await chat(proxy) == 200
        (good,) = (await get(proxy, "upstreams"))["data"]
        assert (good["state"], good["errors"]) == ("ok", {})
        assert await chat(proxy) == 500
        (bad,) = (await get(proxy, "upstreams"))["data"]
        assert (bad["state"], bad["errors"], bad["last_error"]["kind"]) == (
            "failing",
            {"upstream_error": 1},
            "upstream_error",
        )
        assert bad["last_success_at"] == good["last_success_at"]
        async with RawClient(proxy.port) as client:
            await client.post(CHAT, ask())
            await client.until(b"data: ", 5)
            (again,) = (await get(proxy, "upstreams"))["data"]
            assert (again["state"], again["calls"]) == ("ok", 1)
        assert len(up.requests) == 3


async def test_health_says_on_what_it_stands(tmp_path: Path) -> None:
    """The checks of readiness, the ledger and its size, no bus, the build, and the file of the settings."""
    async with a_proxy(tmp_path) as (proxy, up):
        found = await get(proxy, "health")
        assert all(found["ready"].values())
        assert found["bus"] == {"configured": False, "up": False}
        ledger = found["ledger"]
        assert (ledger["healthy"], ledger["url"]) == (True, proxy.settings.ledger.url)
        assert ledger["bytes"] > 4096
        assert found["config"]["file"] == str(tmp_path / "quell.yaml")
        assert found["config"]["needs_restart"] == []
        assert set(found["build"]) == {"version", "python"}
        assert not up.requests


async def test_health_tells_what_waits_for_a_restart(tmp_path: Path) -> None:
    """After a reload that changed what can't be changed while it runs, health says so, and when it was loaded."""
    async with a_proxy(tmp_path) as (proxy, up):
        before = (await get(proxy, "health"))["config"]["loaded_at"]
        changed = config_text(up.base_url, replica="another", limits={"streams": 7})
        proxy.app._reread = _reader(changed, tmp_path)
        async with RawClient(proxy.admin_port) as client:
            await client.post("/api/reload", b"", BEARER)
            assert (await client.answer()).json()["needs_restart"] == ["replica"]
        config = (await get(proxy, "health"))["config"]
        assert config["needs_restart"] == ["replica"]
        assert config["loaded_at"] >= before
        values = {each["key"]: each for each in (await get(proxy, "config"))["values"]}
        assert (values["limits.streams"]["value"], values["limits.streams"]["from"]) == (7, "file")


def _reader(text: str, folder: Path) -> Any:
    from support.proxy import settings_of  # noqa: PLC0415 for this test alone

    return lambda: settings_of(text, folder)


async def test_config_has_settings_and_each_value(tmp_path: Path) -> None:
    """The settings as before, secrets masked, and each value with its line; the admin token is nowhere."""
    async with a_proxy(tmp_path) as (proxy, _):
        found = await get(proxy, "config")
        assert (found["object"], found["file"]) == ("config", str(tmp_path / "quell.yaml"))
        assert found["settings"]["admin"]["token"] == "**********"
        values = {each["key"]: each for each in found["values"]}
        text = (tmp_path / "quell.yaml").read_text().splitlines()
        for key in ("upstreams.up.base_url", "routes[0].path", "drain.timeout", "admin.token"):
            line, name = text[values[key]["line"] - 1], key.rpartition(".")[2]
            assert name in line[: values[key]["column"]]
        assert ADMIN_TOKEN not in str(found)
