"""The pages about other APIs: their settings, and their calls as one types them, against what `make run` starts."""

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from proxy.cli.demo_settings import MODEL, demo_settings
from proxy.core.settings.settings import RouteSettings
from support.chat import DONE
from support.documents import block, said_by, start, the_demo, yaml_blocks
from support.wait import PATIENCE, within

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def calls(name: str) -> list[str]:
    """The calls of a block whose first line sets a variable; each with that line before it."""
    base, *rest = re.sub(r"\\\n *", "", block(name)).splitlines()
    return [f"{base}; {call}" for call in rest]


def test_the_demo_serves_the_route_of_every_page() -> None:
    """`make run` serves the first example's route, Gemini's, and each page's as its YAML has it, but for the model."""
    served = {route.path: route for route in demo_settings({}).routes}
    assert served.pop("/v1").dialects == ("assistants", "openai")
    assert served.pop("/v1beta").upstream == "gemini"
    for page in ("dify", "async_messages", "aitronos"):
        (shown,) = yaml_blocks(f"apis/{page}")
        (route,) = yaml.safe_load(shown)["routes"]
        assert served.pop(route["path"]) == RouteSettings.model_validate({**route, "model": MODEL})
    assert not served


async def test_difys_page_works_as_typed(tmp_path: Path) -> None:
    """The page's chat streams, its stop stops it, and its blocking workflow is stopped by the id that it chose."""
    async with the_demo(tmp_path) as program:
        streaming = await start(program, "sh", "-c", block("dify-chat"))
        assert streaming.stdout is not None
        await within(streaming.stdout.readuntil(b"\n\n"), "the stream begins")
        assert json.loads(await said_by(program, block("dify-stop"))) == {"result": "success"}
        rest, _ = await streaming.communicate()
        run, cancel = block("dify-workflow").split("curl -X")
        waiting = await start(program, "sh", "-c", run)
        async with asyncio.timeout(PATIENCE):
            while json.loads(await said_by(program, f"curl -X{cancel}")).get("result") != "stopped":
                pass  # it has not arrived yet
        refused, _ = await waiting.communicate()
    assert b'"event":"message_end"' in rest
    assert b'"stop_reason":"user_manual"' in rest
    assert json.loads(refused)["status"] == 499


async def test_the_page_of_async_messages_works_as_typed(tmp_path: Path) -> None:
    """The page's five calls start a message, read it, ask about it, cancel it and delete it."""
    begin, stream, status, cancel, delete = calls("async-messages")
    async with the_demo(tmp_path) as program:
        assert json.loads(await said_by(program, begin))["status"] == "pending"
        streaming = await start(program, "sh", "-c", stream)
        assert streaming.stdout is not None
        await within(streaming.stdout.readuntil(b"content_block_delta"), "the stream begins")
        assert json.loads(await said_by(program, status))["status"] == "processing"
        assert json.loads(await said_by(program, cancel))["message"] == "Stream cancelled successfully"
        rest, _ = await streaming.communicate()
        assert await said_by(program, delete) == b""
        assert b"not found" in await said_by(program, status)
    assert b'"stop_reason":"cancelled"' in rest
    assert rest.endswith(b'data: {"type":"message_stop"}\n\n')


async def test_the_page_of_aitronos_works_as_typed(tmp_path: Path) -> None:
    """The page's stream names its thread, and the page's stop of that thread is a quick edit."""
    async with the_demo(tmp_path) as program:
        streaming = await start(program, "sh", "-c", block("aitronos-stream"))
        assert streaming.stdout is not None
        first = await within(streaming.stdout.readuntil(b"\n\n"), "the stream begins")
        thread = json.loads(first.removeprefix(b"data: "))["thread_id"]
        told = json.loads(await said_by(program, re.sub(r"thrd_\w+…", thread, block("aitronos-stop"))))
        rest, _ = await streaming.communicate()
    assert told["cancel_mode"] == "quick_edit"
    assert b'"event":"response.cancelled"' in rest
    assert rest.endswith(DONE)


async def test_the_page_of_assistants_works_as_typed(tmp_path: Path) -> None:
    """The page's calls make an assistant, stream a run of it and cancel that one, in both ways; ids put in."""
    make, run = re.split(r"(?<=})'\n", block("assistants-run"), maxsplit=1)
    async with the_demo(tmp_path) as program:
        assistant = json.loads(await said_by(program, make + "'"))["id"]
        streaming = await start(program, "sh", "-c", re.sub(r"asst_\w+…", assistant, run))
        assert streaming.stdout is not None
        begun = await within(streaming.stdout.readuntil(b"thread.message.delta"), "the run streams")
        ids = re.findall(r'"id":"((?:run|thread)_[^"]+)"', begun.decode())
        thread, run_id = (next(each for each in ids if each.startswith(kind)) for kind in ("thread_", "run_"))

        def put_in(command: str) -> str:
            return re.sub(r"run_\w+…", run_id, re.sub(r"thread_\w+…", thread, command))

        told = json.loads(await said_by(program, put_in(block("assistants-cancel"))))
        again = json.loads(await said_by(program, put_in(block("assistants-native-cancel"))))
        rest, _ = await streaming.communicate()
    assert told["status"] == "cancelling"
    assert (again["result"], again["cause"]) == ("stopped", "client")
    assert b"event: thread.run.cancelled\n" in rest
    assert rest.endswith(b"event: done\ndata: [DONE]\n\n")


async def test_the_page_of_responses_works_as_typed(tmp_path: Path) -> None:
    """The page's calls start a response in the background, read it, read on from an event, cancel and delete it."""
    begin, *later = calls("responses")
    async with the_demo(tmp_path) as program:
        streaming = await start(program, "sh", "-c", begin)
        assert streaming.stdout is not None
        begun = await within(streaming.stdout.readuntil(b'"sequence_number":41'), "the stream begins")
        found = re.search(rb'"id":"(resp_[^"]+)"', begun)
        assert found
        get, again, cancel, items, delete = (re.sub(r"resp_\w+…", found[1].decode(), call) for call in later)
        assert json.loads(await said_by(program, get))["status"] == "in_progress"
        behind = await start(program, "sh", "-c", again)
        assert behind.stdout is not None
        first = await within(behind.stdout.readuntil(b"\n\n"), "the stream goes on")
        assert b'"sequence_number":41' in first
        assert json.loads(await said_by(program, cancel))["status"] == "cancelled"
        endings = [(await each.communicate())[0] for each in (streaming, behind)]
        assert json.loads(await said_by(program, items))["data"]
        assert json.loads(await said_by(program, delete))["deleted"] is True
    assert all(b"event: response.cancelled\n" in ending for ending in endings)
