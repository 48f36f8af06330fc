"""The how-tos about clients: their snippets, run as they stand with the packages that they name."""

import asyncio
import json
import re
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.demo.upstream import start_demo_upstream
from support.documents import block, start
from support.messages import begun_events, served
from support.node import FOLDER, node, run_script
from support.program import Program, config_text, environment, running_program
from support.scripts import events_then_hang
from support.wait import within

IMPORTS = 60.0
"""Seconds for a program that imports a large package first, on a busy machine."""


@asynccontextmanager
async def in_front_of_the_demo(folder: Path, **route: Any) -> AsyncIterator[Program]:
    """The program in front of a demo upstream, on free ports."""
    demo = await start_demo_upstream("127.0.0.1", 0)
    try:
        async with running_program(config_text(demo.base_url, route=route), folder) as program:
            yield program
    finally:
        await demo.stop()


async def python(program: Program, name: str) -> str:
    """What a Python snippet prints; it says nothing on standard error."""
    process = await start(program, sys.executable, "-c", block(name))
    said, errors = await within(process.communicate(), f"{name} ends", IMPORTS)
    assert errors.decode() == ""
    return said.decode()


async def test_the_first_python_example(tmp_path: Path) -> None:
    """The example about stopping runs to its end without an exception, and its stop is confirmed."""
    async with in_front_of_the_demo(tmp_path) as program:
        said = await python(program, "python-stop")
    assert "'task_id': 'chat-42'" in said
    assert "'result': 'stopped'" in said


async def test_openais_python_client(tmp_path: Path) -> None:
    """A stop by another thread ends the loop as a complete answer does."""
    async with in_front_of_the_demo(tmp_path) as program:
        said = await python(program, "openai-python")
    assert said.rstrip().endswith("ended with: stop")


async def test_ctrl_c_in_a_script(tmp_path: Path) -> None:
    """Ctrl-C in the helper's script stops the generation, and the script says what is billed."""
    async with in_front_of_the_demo(tmp_path) as program:
        process = await start(program, sys.executable, "-u", "-c", block("openai-python-ctrl-c"))
        assert process.stdout is not None
        await within(process.stdout.readexactly(20), "the stream begins", IMPORTS)
        process.send_signal(signal.SIGINT)
        said, errors = await within(process.communicate(), "the script ends", IMPORTS)
    assert errors.decode() == ""
    assert re.search(r"\n(stopped|already_finished): \d+ tokens are billed\n$", said.decode())


async def test_openais_node_client(tmp_path: Path) -> None:
    """The snippet's loop ends by itself, with the text so far, and the receipt says that it was stopped."""
    async with in_front_of_the_demo(tmp_path) as program:
        process = await asyncio.create_subprocess_exec(
            node(),
            "--input-type=module",
            "--eval",
            block("openai-js"),
            cwd=FOLDER,
            env=environment(OPENAI_BASE_URL=program.base_url),
            stdout=PIPE,
            stderr=PIPE,
        )
        said, errors = await within(process.communicate(), "the snippet ends", IMPORTS)
    assert errors.decode() == ""
    told = json.loads(said)
    assert (told["result"], told["task_id"]) == ("stopped", "story-8")
    assert told["partial"] > 100


async def test_anthropics_python_client(tmp_path: Path) -> None:
    """The snippet stops at its first text, and the message ends as one that is complete."""
    async with served(events_then_hang(begun_events(8)), tmp_path) as (proxy, _):
        snippet = block("anthropic-python").replace("127.0.0.1:8484", f"127.0.0.1:{proxy.port}")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore::DeprecationWarning", "-c", snippet),  # models go out of use
            env=environment(),
            stdout=PIPE,
            stderr=PIPE,
        )
        said, errors = await within(process.communicate(), "the snippet ends", IMPORTS)
    assert errors.decode() == ""
    assert said.decode().startswith("end_turn ")


async def test_langchain(tmp_path: Path) -> None:
    """A stop ends the loop of a chain's stream by itself, and the receipt has what is kept."""
    async with in_front_of_the_demo(tmp_path) as program:
        said = await python(program, "langchain")
    result, tokens, characters = said.split()
    assert result in {"stopped", "already_finished"}
    assert int(tokens) > 0
    assert int(characters) > 100


async def test_the_ai_sdk_resumes_and_stops(tmp_path: Path) -> None:
    """A page that left reads on from the start, a stop ends what it reads as a complete answer ends, once for all."""
    (tmp_path / "quell.mjs").write_text(block("ai-sdk-quell"))
    (tmp_path / "handlers.mjs").write_text(block("ai-sdk-handlers"))
    node()
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    async with in_front_of_the_demo(tmp_path, on_disconnect="linger", linger="60s") as program:
        told = await run_script("ai_sdk.mjs", str(tmp_path / "handlers.mjs"), program.base_url)
        log = program.log()
    assert told["resumed"].startswith(told["before"])
    assert len(told["resumed"]) > len(told["before"]) > 0
    assert told["receipt"]["result"] == "stopped"
    assert told["receipt"]["partial"]["text"] == told["resumed"]
    assert told["last"] == {"type": "finish", "finishReason": "stop"}
    assert told["gone"] == 204
    assert log.count("generation.end") == 1, "the second reader calls nobody"
