"""What the README says, held against the program: its commands, its files, its names, its example code."""

import asyncio
import json
import re
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.cli import COMMANDS
from proxy.cli.demo_settings import MODEL, demo_settings
from proxy.cli.init import SMALLEST
from proxy.config_file import load
from proxy.core.settings import RouteSettings
from proxy.demo.upstream import start_demo_upstream
from proxy.engine.metrics import Metrics
from support.chat import DONE
from support.program import ROOT, Program, config_text, environment, running_program
from support.wait import PATIENCE, within

README = (ROOT / "README.md").read_text()
CONFIG = {"OPENAI_API_KEY": "sk-of-the-tests"}


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def page(title: str) -> str:
    """What stands below a heading of the third level, up to the next heading."""
    found = re.search(rf"^### {title}[^\n]*\n(.*?)^##", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def folders(top: Path) -> Iterator[str]:
    """The folders in a folder that hold code, as the README writes them."""
    for each in sorted(top.iterdir()):
        if any(each.glob("*.py")):
            yield f"`{each.relative_to(ROOT)}/`"


def test_the_map_names_every_folder() -> None:
    """Every folder of the program is on the README's map."""
    assert [folder for folder in folders(ROOT / "proxy") if folder not in README] == []


def test_every_file_that_is_named_exists() -> None:
    """Every path in the README leads somewhere."""
    named = set(re.findall(r"`((?:proxy|config|deploy|tests|requirements|\.ci)/[^` ]*)`", README))
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_files_of_the_map_are_where_it_says() -> None:
    """A file that a row of the map names is in the folder of that row."""
    rows = re.findall(r"^\| \d \| `(proxy/[a-z_]+/)` \| (.*) \|$", README, re.MULTILINE)
    assert len(rows) > 5
    named = [folder + name for folder, what in rows for name in re.findall(r"`([a-z_]+\.py)`", what)]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_smallest_config_is_the_one_of_init() -> None:
    """The README's config is what `quell init` writes, it has eight lines, and it is valid."""
    shown = blocks("yaml")[0]
    assert shown == SMALLEST
    assert len(shown.splitlines()) <= 9
    example = ROOT / "config" / "minimal.yaml"
    assert yaml.safe_load(example.read_text()) == yaml.safe_load(shown)
    assert load(example, CONFIG).settings is not None


def test_every_command_exists() -> None:
    """Every `quell` command of the README is one, and every command is in the README, but those about themselves."""
    named = set(re.findall(r"\bquell ([a-z]+)\b(?= |`)", "\n".join(re.findall(r"(?:\.venv/bin/)quell .*", README))))
    assert named <= set(COMMANDS)
    assert set(COMMANDS) - named <= {"run", "demo", "version"}


def test_every_make_target_exists() -> None:
    """Every `make` target of the README is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)(?:`|$)", README, re.MULTILINE))
    assert {"run", "test", "bench"} <= named <= targets


def test_every_metric_exists_with_its_labels() -> None:
    """The metrics of the README are served under these names, with these labels."""
    rows = re.findall(r"^\| (`quell_[a-z_]+`.*) \| (.*) \|$", README, re.MULTILINE)
    assert len(rows) > 5
    served = {_served_name(each): set(each._labelnames) for each in _families()}
    for names, labels in rows:
        for name in re.findall(r"`(quell_[a-z_]+)`", names):
            assert name in served, name
            if labels.strip():
                assert served[name] == set(re.findall(r"`([a-z]+)`", labels)), name


def _families() -> Iterable[Any]:
    return list(Metrics().registry._collector_to_names)


def _served_name(metric: Any) -> str:
    return str(metric._name) + ("_total" if metric._type == "counter" else "")


@asynccontextmanager
async def as_in_the_readme(folder: Path) -> AsyncIterator[Program]:
    """The program in front of a demo upstream, on free ports."""
    demo = await start_demo_upstream("127.0.0.1", 0)
    try:
        async with running_program(config_text(demo.base_url), folder) as program:
            yield program
    finally:
        await demo.stop()


async def start(program: Program, *command: str) -> asyncio.subprocess.Process:
    """Run a command of the README against this program."""
    here = [part.replace("127.0.0.1:8484", f"127.0.0.1:{program.port}") for part in command]
    return await asyncio.create_subprocess_exec(*here, stdout=PIPE, stderr=PIPE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_two_curls_work_as_typed(tmp_path: Path) -> None:
    """The README's first curl streams, its second one stops that stream, and the first one ends well."""
    stream, stop = [block for block in blocks("sh") if block.startswith("curl")][:2]
    async with as_in_the_readme(tmp_path) as program:
        streaming = await start(program, "sh", "-c", stream)
        assert streaming.stdout is not None
        first = await within(streaming.stdout.readuntil(b"\n\n"), "the stream begins")
        assert first.startswith(b"data: ")
        receipt, _ = await (await start(program, "sh", "-c", stop)).communicate()
        rest, _ = await streaming.communicate()
    assert json.loads(receipt)["result"] == "stopped"
    assert b": quell: task_id=try-1 cause=client\n" in rest
    assert rest.endswith(DONE)
    assert streaming.returncode == 0


async def test_the_python_example_works_as_it_stands(tmp_path: Path) -> None:
    """The README's Python example runs to its end without an exception, and its stop is confirmed."""
    (example,) = blocks("python")
    async with as_in_the_readme(tmp_path) as program:
        said, errors = await (await start(program, sys.executable, "-c", example)).communicate()
    assert not errors
    assert b"'task_id': 'chat-42'" in said
    assert b"'result': 'stopped'" in said


@asynccontextmanager
async def a_page(title: str, folder: Path) -> AsyncIterator[tuple[Program, list[str]]]:
    """What `make run` starts, on free ports; and the shell blocks of a dialect's page."""
    anywhere = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
    program = Program(["-m", "proxy", "demo", *anywhere], folder, environment())
    try:
        await program.ready()
        yield program, blocks("sh", page(title))
    finally:
        program.kill()


def test_the_demo_serves_the_route_of_every_page() -> None:
    """`make run` serves each page's route as its YAML has it, but with the demo's model, beside the first example's."""
    served = {route.path: route for route in demo_settings({}).routes}
    assert served.pop("/v1").dialects == ("assistants", "openai")
    for title in ("Dify", "Async messages", "Aitronos"):
        (shown,) = blocks("yaml", page(title))
        (route,) = yaml.safe_load(shown)["routes"]
        assert served.pop(route["path"]) == RouteSettings.model_validate({**route, "model": MODEL})
    assert not served


@pytest.mark.parametrize("title", ["Dify", "Async messages", "Aitronos", "Budgets"])
def test_the_yaml_of_a_page_is_valid(title: str, tmp_path: Path) -> None:
    """The settings of a page, put into the smallest config file, are taken."""
    (shown,) = blocks("yaml", page(title))
    file = tmp_path / "quell.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(SMALLEST), **yaml.safe_load(shown)}))
    loaded = load(file, CONFIG)
    assert loaded.problems == ()
    assert loaded.settings is not None


async def said_by(program: Program, command: str) -> bytes:
    """What a shell command prints."""
    said, _ = await (await start(program, "sh", "-c", command)).communicate()
    return said


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_difys_page_works_as_typed(tmp_path: Path) -> None:
    """The page's chat streams, its stop stops it, and its blocking workflow is stopped by the id that it chose."""
    async with a_page("Dify", tmp_path) as (program, (stream, stop, blocking)):
        streaming = await start(program, "sh", "-c", stream)
        assert streaming.stdout is not None
        await within(streaming.stdout.readuntil(b"\n\n"), "the stream begins")
        assert json.loads(await said_by(program, stop)) == {"result": "success"}
        rest, _ = await streaming.communicate()
        run, cancel = blocking.split("curl -X")
        waiting = await start(program, "sh", "-c", run)
        async with asyncio.timeout(PATIENCE):
            while json.loads(await said_by(program, f"curl -X{cancel}")).get("result") != "stopped":
                pass  # it has not arrived yet
        refused, _ = await waiting.communicate()
    assert b'"event":"message_end"' in rest
    assert b'"stop_reason":"user_manual"' in rest
    assert json.loads(refused)["status"] == 499


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_page_of_async_messages_works_as_typed(tmp_path: Path) -> None:
    """The page's five calls start a message, read it, ask about it, cancel it and delete it."""
    async with a_page("Async messages", tmp_path) as (program, (block,)):
        base, *calls = re.sub(r"\\\n *", "", block).splitlines()
        begin, stream, status, cancel, delete = (f"{base}; {call}" for call in calls)
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


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_page_of_aitronos_works_as_typed(tmp_path: Path) -> None:
    """The page's stream names its thread, and the page's stop of that thread is a quick edit."""
    async with a_page("Aitronos", tmp_path) as (program, (stream, stop)):
        streaming = await start(program, "sh", "-c", stream)
        assert streaming.stdout is not None
        first = await within(streaming.stdout.readuntil(b"\n\n"), "the stream begins")
        thread = json.loads(first.removeprefix(b"data: "))["thread_id"]
        told = json.loads(await said_by(program, re.sub(r"thrd_\w+…", thread, stop)))
        rest, _ = await streaming.communicate()
    assert told["cancel_mode"] == "quick_edit"
    assert b'"event":"response.cancelled"' in rest
    assert rest.endswith(DONE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_page_of_assistants_works_as_typed(tmp_path: Path) -> None:
    """The page's calls make an assistant, stream a run of it and cancel that one, its ids put in."""
    async with a_page("OpenAI Assistants", tmp_path) as (program, (block, cancel, _)):
        make, run = re.split(r"(?<=})'\n", block, maxsplit=1)
        assistant = json.loads(await said_by(program, make + "'"))["id"]
        streaming = await start(program, "sh", "-c", re.sub(r"asst_\w+…", assistant, run))
        assert streaming.stdout is not None
        begun = await within(streaming.stdout.readuntil(b"thread.message.delta"), "the run streams")
        ids = re.findall(r'"id":"((?:run|thread)_[^"]+)"', begun.decode())
        thread, run_id = (next(each for each in ids if each.startswith(kind)) for kind in ("thread_", "run_"))
        told = await said_by(program, re.sub(r"run_\w+…", run_id, re.sub(r"thread_\w+…", thread, cancel)))
        rest, _ = await streaming.communicate()
    assert json.loads(told)["status"] == "cancelling"
    assert b"event: thread.run.cancelled\n" in rest
    assert rest.endswith(b"event: done\ndata: [DONE]\n\n")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_page_of_responses_works_as_typed(tmp_path: Path) -> None:
    """The page's calls start a response in the background, read it, read on from an event, cancel and delete it."""
    async with a_page("OpenAI's Responses", tmp_path) as (program, (block,)):
        base, *calls = re.sub(r"\\\n *", "", block).splitlines()
        begin, get, again, cancel, items, delete = (f"{base}; {call}" for call in calls)
        streaming = await start(program, "sh", "-c", begin)
        assert streaming.stdout is not None
        begun = await within(streaming.stdout.readuntil(b'"sequence_number":41'), "the stream begins")
        found = re.search(rb'"id":"(resp_[^"]+)"', begun)
        assert found
        get, again, cancel, items, delete = (
            re.sub(r"resp_\w+…", found[1].decode(), call) for call in (get, again, cancel, items, delete)
        )
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
