"""Who gets in, as whom, and what becomes of the credential."""

from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from support.chat import chat_object
from support.client import RawClient
from support.edge import bearer, refused, send
from support.http_bytes import header
from support.program import ADMIN_TOKEN, config_text
from support.proxy import running_proxy
from support.scripts import hang, json_answer
from support.stops import CHAT, PLAIN, STREAM, Ask, call, record, start, stop
from support.upstream import scripted_upstream


def hash_of(key: str) -> str:
    """The SHA-256 of a key as the settings have it."""
    return sha256(key.encode()).hexdigest()


KEYS: list[dict[str, Any]] = [
    {"id": "acme", "hash": f"{hash_of('acme-old')}\n{hash_of('acme-new')}", "limits": {"streams": 2}},
    {"id": "globex", "hash": hash_of("globex-key")},
]


async def test_only_keys_get_in(tmp_path: Path) -> None:
    """With keys, a missing or unknown credential is 401 in the dialect's shape everywhere, and goes nowhere."""
    async with (
        scripted_upstream(json_answer({"ok": True})) as up,
        running_proxy(config_text(up.base_url, keys=KEYS), tmp_path) as proxy,
    ):
        for headers in ([], bearer("nobodys"), bearer(hash_of("globex-key")), bearer(ADMIN_TOKEN), bearer("")):
            for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("GET", "/v1/generations"), ("POST", "/v1/x")):
                answer = await send(proxy, method, path, headers=headers)
                assert refused(answer) == (401, "invalid_api_key")
                assert answer.header("WWW-Authenticate") == "Bearer"
        assert not up.requests


@pytest.mark.parametrize("where", ["Authorization", "X-API-Key", "api-key"])
async def test_a_key_is_its_id(tmp_path: Path, where: str) -> None:
    """While a key is exchanged both its hashes are one caller, known by the key's id; the key goes up to nobody."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url, keys=KEYS), tmp_path) as proxy,
    ):
        for number, key in enumerate(("acme-old", "acme-new")):
            value = f"Bearer {key}" if where == "Authorization" else key
            done = await send(proxy, "POST", CHAT, PLAIN, [(where, value), ("X-Task-Id", f"t-{number}")])
            assert done.status == 200
            assert (await send(proxy, "GET", "/v1/models", headers=[(where, value)])).status == 200
        listed = await call(proxy, "GET", "/v1/generations", ask=Ask("acme-new"))
        assert [(one["task_id"], one["key_id"]) for one in listed.json()["data"]] == [
            ("t-1", "acme"),
            ("t-0", "acme"),
        ]
        assert (await stop(proxy, "t-0", Ask("globex-key"))).status == 404
    assert len(up.requests) == 4
    for request in up.requests:
        assert not {"authorization", "x-api-key", "api-key"} & {name.lower() for name, _ in request.headers}


async def test_the_configured_key_goes_up_instead(tmp_path: Path) -> None:
    """With an api_key the caller's credential is replaced by it, in every place where one may stand."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url, upstream={"api_key": "sk-ours"}), tmp_path) as proxy,
    ):
        await send(proxy, "POST", CHAT, PLAIN, [("X-API-Key", "mine")])
        await send(proxy, "GET", "/v1/models", headers=bearer("mine"))
    for request in up.requests:
        sent = [(name.lower(), value) for name, value in request.headers if "key" in name.lower() or value == "mine"]
        assert sent == []
        assert header(request.headers, "Authorization") == "Bearer sk-ours"


async def test_without_keys_the_own_credential_goes_up(tmp_path: Path) -> None:
    """Without keys and api_key the caller's own credential goes up, and its hash is the identity shown."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        await send(proxy, "POST", CHAT, PLAIN, [*bearer("sk-mine"), ("X-Task-Id", "t-1")])
        kept = await record(proxy, "t-1", Ask("sk-mine"))
    assert header(up.requests[0].headers, "Authorization") == "Bearer sk-mine"
    assert kept["key_id"] == hash_of("sk-mine")[:12]


async def test_two_credentials_that_differ(tmp_path: Path) -> None:
    """Two credentials that differ are refused, whichever of them is right; twice the same one is that one."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url, keys=KEYS), tmp_path) as proxy,
    ):
        for other in ("X-API-Key", "api-key", "Authorization"):
            headers = [*bearer("globex-key"), (other, "another")]
            assert refused(await send(proxy, "POST", CHAT, PLAIN, headers)) == (400, "conflicting_credentials")
        assert not up.requests
        both = [*bearer("globex-key"), ("X-API-Key", "globex-key")]
        assert (await send(proxy, "POST", CHAT, PLAIN, both)).status == 200


async def test_a_key_has_its_bound(tmp_path: Path) -> None:
    """A key runs as many generations at once as its limit says, the next is 429 that names it, logged once."""
    async with (
        scripted_upstream(hang()) as up,
        running_proxy(config_text(up.base_url, keys=KEYS), tmp_path) as proxy,
        AsyncExitStack() as stack,
    ):
        for number, key in enumerate(("acme-old", "acme-new")):
            client = await stack.enter_async_context(RawClient(proxy.port))
            await start(client, f"t-{number}", ask=Ask(key))
            await up.conn(number)
        with capture_logs() as logged:
            full = await call(proxy, "POST", CHAT, STREAM, Ask("acme-old"))
        assert refused(full) == (429, "rate_limit_exceeded")
        assert "of this key run as its keys.limits.streams allows (2)" in full.json()["error"]["message"]
        assert [(each["event"], each["key"]) for each in logged] == [("key.limit_reached", "acme")]
        refusals = proxy.app.engine.metrics.registry.get_sample_value("quell_refusals_total", {"why": "key_streams"})
        assert refusals == 1
        assert full.header("Retry-After") == "1"
        for number, key in enumerate(("globex-key",) * 3):
            client = await stack.enter_async_context(RawClient(proxy.port))
            await start(client, f"g-{number}", ask=Ask(key))
            await up.conn(2 + number)
        assert (await stop(proxy, "t-0", Ask("acme-new"))).json()["result"] == "stopped"
        again = await stack.enter_async_context(RawClient(proxy.port))
        await start(again, "t-2", ask=Ask("acme-new"))
        await up.conn(5)
