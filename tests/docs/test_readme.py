"""What the README says, held against the program: its commands, its files, its names, its example config."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from proxy.cli import COMMANDS
from proxy.cli.banner import Page, banner
from proxy.cli.demo_settings import MODEL, demo_settings
from proxy.cli.init import SMALLEST
from proxy.config_file import load
from proxy.dialects import DIALECTS
from proxy.edge.openapi.admin import shape
from proxy.edge.openapi.proxy import NATIVE
from support.chat import DONE
from support.documents import README, block, blocks, documents, said_by, start, the_demo
from support.program import ROOT
from support.wait import within

CONFIG = {"OPENAI_API_KEY": "sk-of-the-tests"}
LONGEST = 200
"""Lines. It is one page, and the table of figures, which grows as it likes."""
MAP = README.partition("## The map of the house")[2].partition("## Figures")[0]
ALL = "\n".join(document.read_text() for document in documents())

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def folders(top: Path) -> Iterator[str]:
    """The folders in a folder that hold code, as the README writes them."""
    for each in sorted(top.iterdir()):
        if any(each.glob("*.py")):
            yield f"`{each.relative_to(ROOT)}/`"


def test_it_is_one_page() -> None:
    """The README stays short: what is long has a page of its own."""
    page = re.sub(r"^<!-- bench -->$.*^<!-- /bench -->$", "", README, flags=re.MULTILINE | re.DOTALL)
    assert len(page.splitlines()) <= LONGEST


def test_the_map_names_every_folder() -> None:
    """Every folder of the program is on the README's map."""
    assert [folder for folder in folders(ROOT / "proxy") if folder not in README] == []


def test_files_of_the_map_are_where_it_says() -> None:
    """A file that a row of the map names is in the folder of that row."""
    floor, rows, named = "", 0, []
    for whole, below, what in re.findall(r"^\| (?:\d )?\| (?:`(proxy/[a-z_]+/)`|(.*?)) \| (.*) \|$", MAP, re.MULTILINE):
        floor, rows = whole or floor, rows + 1
        folders_below = ["", *re.findall(r"`([a-z_]+/)`", below)]
        named += [[floor + each + name for each in folders_below] for name in re.findall(r"`([a-z_/]+\.py)`", what)]
    assert rows > 15
    assert [paths for paths in named if not any((ROOT / path).exists() for path in paths)] == []


def test_smallest_config_is_the_one_of_init() -> None:
    """The README's config is what `quell init` writes, it has eight lines, and it is valid."""
    (shown,) = [each.text for each in blocks(ROOT / "README.md") if each.language == "yaml"]
    assert shown == SMALLEST
    assert len(shown.splitlines()) <= 9
    example = ROOT / "config" / "minimal.yaml"
    assert yaml.safe_load(example.read_text()) == yaml.safe_load(shown)
    assert load(example, CONFIG).settings is not None


def test_every_stop_route_is_one() -> None:
    """The table of stop routes has every dialect's, and each of them stops."""
    rows = re.findall(r"^\| .* \| .* \| (\[.*\]\(.*\)) \|$", README, re.MULTILINE)
    told = {shape(path) for row in rows for path in re.findall(r"(/[^`]*)`", row)}
    stops = {
        shape(each.path)
        for operations in (NATIVE, *(dialect.operations for dialect in DIALECTS.values()))
        for each in operations
        if each.does == "stops" and each.method == "POST"
    }
    assert told == stops - {"/generations/cancel"}


def test_every_command_exists() -> None:
    """Every `quell` command of the documents is one, and every command is in them, but those about themselves."""
    named = set(re.findall(r"\bquell ([a-z]+)\b(?= |`|$)", "\n".join(re.findall(r"(?:\.venv/bin/)quell .*", ALL))))
    assert named <= set(COMMANDS)
    assert set(COMMANDS) - named <= {"run", "demo", "version"}


def test_every_make_target_exists() -> None:
    """Every `make` target of the documents is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)(?:`|$)", ALL, re.MULTILINE))
    assert {"run", "test", "bench", "reference"} <= named <= targets


def test_the_banner_prints_the_same_commands() -> None:
    """What `make run` prints to try is what the README has one type."""
    said = " ".join(banner(demo_settings({}), "one", 8484, [Page(8485)], MODEL, None).split())
    for name in ("demo-stream", "demo-stop"):
        assert " ".join(block(name).split()) in said


@needs_curl
async def test_the_four_commands_work_as_typed(tmp_path: Path) -> None:
    """The first curl streams, the second one stops that stream, it ends well, and the ledger has it as stopped."""
    async with the_demo(tmp_path) as program:
        streaming = await start(program, "sh", "-c", block("demo-stream"))
        assert streaming.stdout is not None
        first = await within(streaming.stdout.readuntil(b"\n\n"), "the stream begins")
        receipt = json.loads(await said_by(program, block("demo-stop")))
        rest, _ = await streaming.communicate()
        bill = await said_by(program, block("demo-usage"))
        log = program.log()
    assert first.startswith(b"data: ")
    assert receipt["result"] == "stopped"
    assert b": quell: task_id=try-1 cause=client\n" in rest
    assert rest.endswith(DONE)
    assert streaming.returncode == 0
    assert receipt["saved_tokens"]["most"] == 2000 - receipt["usage"]["completion_tokens"]
    assert re.search(r"cancelled .* up to 1,\d{3} ", bill.decode())
    assert re.search(r"saw the close of chatcmpl-demo-\S+ after \d+ of 2000 tokens", log)


async def test_the_operators_commands_work_as_typed(tmp_path: Path) -> None:
    """Each command by which one watches and stops does what stands behind it, on a stream that runs."""
    (tmp_path / "quell.yaml").write_text(SMALLEST)
    lines = [line.partition("  #")[0].strip() for line in block("operate-first").splitlines()]
    async with the_demo(tmp_path) as program:
        streaming = await start(program, "sh", "-c", block("demo-stream"))
        assert streaming.stdout is not None
        await within(streaming.stdout.readuntil(b"\n\n"), "the stream begins")
        said = {}
        for line in (each for each in lines if " top" not in each and " tail" not in each):
            said[line] = (await said_by(program, line, OPENAI_API_KEY="sk-x")).decode()
        tailed = (await said_by(program, ".venv/bin/quell tail try-1")).decode()
        await streaming.communicate()
    assert "try-1" in said[".venv/bin/quell ps"]
    assert said[".venv/bin/quell stop --last --reason loop"].startswith("stopped try-1")
    assert "This answer" in tailed
    assert all(said.values())
