"""Google's `google-genai` client, unmodified, over the passed-through Gemini API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.engine.tasks import Tasks
from support.chat import text
from support.gemini import ID, MODEL, answer, answer_events, served, sse, usage, whole
from support.proxy import RunningProxy
from support.scripts import events_then_hang, hang, json_answer, sse_stream
from support.stops import Ask, record, settled, stop
from support.upstream import Script, ScriptedUpstream
from support.wait import within

_WITHOUT = "google-genai is not installed"
genai: Any = pytest.importorskip("google.genai", reason=_WITHOUT)
errors: Any = pytest.importorskip("google.genai.errors", reason=_WITHOUT)
types: Any = pytest.importorskip("google.genai.types", reason=_WITHOUT)

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
"""Where aiohttp is installed the client makes its asynchronous calls with it, in a way that aiohttp advises against."""

KEY = "AIza-test"
MINE = Ask(KEY)


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    """Whatever reads beside the test."""
    found = Tasks()
    yield found
    await found.cancel()


def made(proxy: RunningProxy, task_id: str = "t-1") -> Any:
    """The client as people make it, with its base URL changed, and an id of its own choice for its calls."""
    options = types.HttpOptions(
        base_url=proxy.base_url.removesuffix("/v1"), api_version="v1", headers={"X-Task-Id": task_id}
    )
    return genai.Client(api_key=KEY, http_options=options)


@asynccontextmanager
async def client(script: Script, folder: Path) -> AsyncIterator[tuple[Any, RunningProxy, ScriptedUpstream]]:
    """The client's asynchronous half in front of the proxy."""
    async with served(script, folder, ledger={"text": "all"}) as (proxy, up):
        async with made(proxy).aio as sdk:
            yield sdk, proxy, up


async def test_not_streaming(tmp_path: Path) -> None:
    """A whole answer is read with its counts, and is in the record."""
    async with client(json_answer(whole(5)), tmp_path) as (sdk, proxy, up):
        found = await sdk.models.generate_content(model=MODEL, contents="Tell me.")
        await settled(proxy)
        kept = await record(proxy, "t-1", ask=MINE)
    assert (found.text, found.response_id, found.candidates[0].finish_reason) == (text(5), ID, types.FinishReason.STOP)
    assert (found.usage_metadata.prompt_token_count, found.usage_metadata.candidates_token_count) == (7, 5)
    assert (kept["outcome"], kept["text"], kept["completion_tokens"], kept["model"]) == ("completed", text(5), 5, MODEL)
    assert len(up.requests) == 1


async def test_streaming(tmp_path: Path) -> None:
    """A stream is read to its end."""
    async with client(sse_stream(answer_events(5)), tmp_path) as (sdk, proxy, _):
        stream = await sdk.models.generate_content_stream(model=MODEL, contents="Tell me.")
        said = [each.text or "" async for each in stream]
        await settled(proxy)
        kept = await record(proxy, "t-1", ask=MINE)
    assert "".join(said) == text(5)
    assert (kept["outcome"], kept["usage_source"], kept["completion_tokens"]) == ("completed", "upstream", 5)


@pytest.mark.parametrize("any_id", ["t-1", ID])
async def test_stopped(tmp_path: Path, any_id: str) -> None:
    """A stop from elsewhere is no error for the client: its loop ends, with a reason and the counts so far."""
    async with client(events_then_hang(answer_events(8)[:4]), tmp_path) as (sdk, proxy, up):
        stream = await sdk.models.generate_content_stream(model=MODEL, contents="Tell me.")
        found = []
        async for each in stream:
            found.append(each)
            if len(found) == 4:
                assert (await stop(proxy, any_id, MINE)).json()["result"] == "stopped"
                await up.no_connections()
        kept = await record(proxy, "t-1", ask=MINE)
    assert "".join(each.text or "" for each in found) == text(4)
    last = found[-1]
    assert (last.candidates[0].finish_reason, last.response_id) == (types.FinishReason.STOP, ID)
    assert (last.usage_metadata.prompt_token_count, last.usage_metadata.candidates_token_count) == (7, 4)
    assert (kept["outcome"], kept["completion_tokens"], kept["usage_source"]) == ("cancelled", 4, "upstream_running")


async def test_stopped_in_a_thread(tmp_path: Path, tasks: Tasks) -> None:
    """The synchronous client's loop ends in the same way."""
    async with client(events_then_hang(answer_events(8)[:4]), tmp_path) as (_, proxy, _):
        came: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def read() -> list[str]:
            with made(proxy) as sdk:
                said = []
                for each in sdk.models.generate_content_stream(model=MODEL, contents="Tell me."):
                    said.append(each.text or "")
                    loop.call_soon_threadsafe(came.put_nowait, said[-1])
                return said

        reading = tasks.start(asyncio.to_thread(read), "read")
        for _ in range(4):
            await within(came.get(), "a piece came")
        await stop(proxy, "t-1", MINE)
        assert "".join(await within(reading, "the client's loop ended")) == text(4)


@pytest.mark.parametrize("streamed", [False, True])
async def test_stopped_before_the_header(tmp_path: Path, tasks: Tasks, *, streamed: bool) -> None:
    """A stop before anything came is raised as Google's own CANCELLED, and not tried again."""
    async with client(hang(), tmp_path) as (sdk, proxy, up):
        call = sdk.models.generate_content_stream if streamed else sdk.models.generate_content
        asking = tasks.start(_all(call(model=MODEL, contents="Tell me."), streamed=streamed), "ask")
        await up.conn()
        await stop(proxy, "t-1", MINE)
        with pytest.raises(errors.ClientError) as refused:
            await within(asking, "the client was told")
    assert (refused.value.code, refused.value.status) == (499, "CANCELLED")
    assert len(up.requests) == 1


async def _all(asked: Any, *, streamed: bool) -> Any:
    found = await asked
    return [each async for each in found] if streamed else found


LEAVERS = ["the loop is left", "the task is cancelled", "the client is closed"]


@pytest.mark.parametrize("how", LEAVERS)
async def test_the_client_leaves(tmp_path: Path, tasks: Tasks, how: str) -> None:
    """Whoever leaves closes the upstream; the bill is its last total.

    The asynchronous client keeps its connection when its loop is merely left, with aiohttp and with httpx2: it takes a
    cancelled task, a closed client, or a stop.
    """
    async with client(events_then_hang(answer_events(8)[:2]), tmp_path) as (sdk, proxy, up):
        match how:
            case "the loop is left":
                await asyncio.to_thread(_leave, proxy)
            case "the task is cancelled":
                two = asyncio.Event()
                reading = tasks.start(_read(sdk, two), "read")
                await within(two.wait(), "two pieces came")
                reading.cancel()
                await asyncio.wait([reading])
            case _:
                async with made(proxy).aio as other:
                    stream = await other.models.generate_content_stream(model=MODEL, contents="Tell me.")
                    assert [(await anext(stream)).text, (await anext(stream)).text] == ["Rain ", "fell "]
        await up.no_connections()
        await settled(proxy)
        kept = await record(proxy, "t-1", ask=MINE)
    assert (kept["outcome"], kept["completion_tokens"], kept["usage_source"]) == ("client_gone", 2, "upstream_running")


def _leave(proxy: RunningProxy) -> None:
    with made(proxy) as sdk:
        for each in sdk.models.generate_content_stream(model=MODEL, contents="Tell me."):
            if each.text == "fell ":
                break


async def _read(sdk: Any, two: asyncio.Event) -> None:
    async for each in await sdk.models.generate_content_stream(model=MODEL, contents="Tell me."):
        if each.text == "fell ":
            two.set()


async def test_errors(tmp_path: Path) -> None:
    """The provider's own refusal and an error within the stream are raised as such."""
    body = {"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}}
    async with client(json_answer(body, status=429), tmp_path) as (sdk, _, up):
        with pytest.raises(errors.ClientError, match="Slow down"):
            await sdk.models.generate_content(model=MODEL, contents="Tell me.")
        failed = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}
        up.script = sse_stream([*answer_events(8)[:2], sse(failed)])
        with pytest.raises(errors.ServerError, match="Overloaded"):
            await _all(sdk.models.generate_content_stream(model=MODEL, contents="Tell me."), streamed=True)


async def test_a_conversation_goes_on_behind_a_stop(tmp_path: Path) -> None:
    """The client's chat keeps the stopped turn as far as it came, and sends it along with the next one."""
    async with client(events_then_hang(answer_events(8)[:3]), tmp_path) as (sdk, proxy, up):
        chat = sdk.chats.create(model=MODEL)
        pieces = 0
        async for _piece in await chat.send_message_stream("Tell me."):
            pieces += 1
            if pieces == 3:
                await stop(proxy, "t-1", MINE)
        up.script = json_answer(whole(2))
        assert (await chat.send_message("Go on.")).text == text(2)
    told = up.requests[-1].json()["contents"]
    assert [each["role"] for each in told][-1] == "user"
    assert "".join(part["text"] for each in told[1:-1] for part in each["parts"] if "text" in part) == text(3)


async def test_calls_of_functions_and_thoughts(tmp_path: Path) -> None:
    """Calls and thoughts come through; at a stop they are counted."""
    parts: list[dict[str, Any]] = [
        {"text": "Hm.", "thought": True},
        {"functionCall": {"name": "roll", "args": {"sides": 6}}},
    ]
    script = events_then_hang([sse(answer(part, counts=usage(7))) for part in parts])
    async with client(script, tmp_path) as (sdk, proxy, _):
        found = []
        async for each in await sdk.models.generate_content_stream(model=MODEL, contents="Roll."):
            found.append(each)
            if len(found) == 2:
                await stop(proxy, "t-1", MINE)
        kept = await record(proxy, "t-1", ask=MINE)
    assert found[1].function_calls[0].args == {"sides": 6}
    assert (kept["completion_tokens"] > 2, kept["usage_source"]) == (True, "tokenizer")
