"""Open WebUI and LiteLLM are too large to run here: their files are read, and what they send is sent to a proxy.

What they send is taken from their source and documents: Open WebUI's headers and its closed connection behind a Stop,
LiteLLM's headers that begin with `x-`, and its answers in OpenAI's shape.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from support.chat import chat_events, text
from support.client import RawClient
from support.deploy_files import tool
from support.documents import DOCS, blocks
from support.program import merged
from support.proxy import RunningProxy, running_proxy
from support.scripts import events_then_hang, hang, sse_stream
from support.stops import CHAT, PLAIN, STREAM, Ask, call, record, settled, stop
from support.upstream import Script, ScriptedUpstream, scripted_upstream
from support.wait import within

KEY = "sk-between-the-two"
WEB_UI = {
    "X_User_Id": "0c7c5c0e-6f0b-4d0e-9a53-0a6a35d1c001",
    "X_OpenWebUI_User_Name": "Ann",
    "X_OpenWebUI_User_Email": "ann@example.com",
    "X_OpenWebUI_User_Role": "user",
    "X_OpenWebUI_Chat_Id": "9b0f3f1c-1c42-4c35-b1a1-7f1d4e2f0002",
}


def files(page: str) -> dict[str, Any]:
    """The files that a page shows, by the name in their first line."""
    shown = [each.text for each in blocks(DOCS / "howto" / f"{page}.md") if each.language == "yaml"]
    return {each.splitlines()[0].removeprefix("# "): yaml.safe_load(each) for each in shown}


@asynccontextmanager
async def as_shown(page: str, script: Script, folder: Path) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy with the page's `quell.yaml`, its one upstream a scripted one, its listeners on free ports."""
    config = files(page)["quell.yaml"]
    (upstream,) = config["upstreams"]
    async with scripted_upstream(script) as up:
        here = {
            "listen": "127.0.0.1:0",
            "admin": {"listen": "127.0.0.1:0", "token": "t"},
            "upstreams": {upstream: {"base_url": up.base_url, "api_key": "sk-up"}},
            "ledger": {"url": "sqlite:///quell.db"},
        }
        text_of_file = yaml.safe_dump(merged(config, here))
        text_of_file = text_of_file.replace("${QUELL_KEY_SHA256}", hashlib.sha256(KEY.encode()).hexdigest())
        async with running_proxy(text_of_file, folder) as proxy:
            yield proxy, up


def test_open_webuis_compose_file(tmp_path: Path) -> None:
    """The compose file is valid, points Open WebUI at the route, and sends the end user in our header."""
    compose = files("open_webui")["compose.yaml"]
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(compose))
    assert not tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(tmp_path / "compose.yaml"))
    variables = compose["services"]["open-webui"]["environment"]
    (route,) = files("open_webui")["quell.yaml"]["routes"]
    assert variables["OPENAI_API_BASE_URL"].endswith(f":8484{route['path']}")
    assert variables["FORWARD_USER_INFO_HEADER_USER_ID"] == "X-User-Id"


async def test_open_webuis_stop_while_it_streams(tmp_path: Path) -> None:
    """The connection that it closes at a Stop closes the provider's; the record has its user and the text so far."""
    async with as_shown("open_webui", events_then_hang(chat_events(8)[:-2]), tmp_path) as (proxy, up):
        async with RawClient(proxy.port) as client:
            await client.post(CHAT, STREAM, Ask(KEY).headers(**WEB_UI, X_Task_Id="t-1"))
            await client.until(b"tin ")
            client.fin()
            await within((await up.conn()).closed.wait(), "the provider's connection is closed")
        await settled(proxy)
        kept = await record(proxy, "t-1", Ask(KEY))
        refused = await call(proxy, "GET", "/v1/files", ask=Ask(KEY))
    assert (kept["outcome"], kept["user"], kept["key_id"]) == ("client_gone", WEB_UI["X_User_Id"], "open-webui")
    assert kept["text"] == text(8)
    assert refused.status == 403


async def test_open_webuis_stop_before_the_first_token(tmp_path: Path) -> None:
    """A Stop while the model still thinks closes the provider's connection too."""
    async with as_shown("open_webui", hang(), tmp_path) as (proxy, up):
        async with RawClient(proxy.port) as client:
            await client.post(CHAT, STREAM, Ask(KEY).headers(**WEB_UI))
            conn = await up.conn()
            client.fin()
            await within(conn.closed.wait(), "the provider's connection is closed")
        await settled(proxy)


async def test_only_its_key_gets_in(tmp_path: Path) -> None:
    """Whoever has another key than Open WebUI's is refused."""
    async with as_shown("open_webui", hang(), tmp_path) as (proxy, _):
        refused = await call(proxy, "POST", CHAT, STREAM, Ask("sk-other"))
    assert refused.status == 401


def test_litellms_file() -> None:
    """LiteLLM's file sends its calls to our route as OpenAI's, lets our headers through, and passes a departure on."""
    litellm = files("litellm")["litellm.yaml"]
    (model,) = litellm["model_list"]
    assert model["litellm_params"]["model"].startswith("openai/")
    assert model["litellm_params"]["api_base"] == "http://quell:8484/v1"
    assert litellm["general_settings"]["forward_client_headers_to_llm_api"] is True
    assert litellm["general_settings"]["cancel_on_disconnect"] is True


async def test_a_stop_behind_litellm(tmp_path: Path) -> None:
    """A call that LiteLLM passes on, with the id that its client chose, is stopped by that id and LiteLLM's key."""
    async with as_shown("litellm", events_then_hang(chat_events(8)[:-2]), tmp_path) as (proxy, _):
        async with RawClient(proxy.port) as client:
            await client.post(
                CHAT, STREAM, [("Authorization", f"Bearer {KEY}"), ("x-task-id", "c-1"), ("x-user-id", "ann")]
            )
            await client.until(b"tin ")
            receipt = (await stop(proxy, "c-1", Ask(KEY))).json()
            answer = await client.answer()
        kept = await record(proxy, "c-1", Ask(KEY))
    assert receipt["result"] == "stopped"
    assert answer.complete
    assert kept["user"] == "ann"


async def test_litellm_behind_us(tmp_path: Path) -> None:
    """A call without a stream is asked of LiteLLM as a stream, and comes back whole, with LiteLLM's counts."""
    async with as_shown("litellm", sse_stream(chat_events(5, usage=True)), tmp_path) as (proxy, up):
        answer = await call(proxy, "POST", CHAT, PLAIN, Ask(KEY))
        asked = up.requests[0].json()
        headers = {name.lower(): value for name, value in up.requests[0].headers}
    assert (asked["stream"], asked["stream_options"]) == (True, {"include_usage": True})
    assert headers["authorization"] == "Bearer sk-up"
    assert answer.json()["usage"]["completion_tokens"] == 5
