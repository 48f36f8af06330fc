"""README.md and deploy/docs: their code blocks, by the names in the comment before each; and running these as typed.

A block of a language in `TYPED` has one of these on the line before it, which nobody sees who reads the page:

    <!-- run: NAME -->            the test that has NAME runs it
    <!-- not run: WHY -->         nobody does
"""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from support.program import ROOT, Program, environment

DOCS: Final = ROOT / "deploy" / "docs"
README: Final = (ROOT / "README.md").read_text()
TYPED: Final = frozenset({"sh", "python", "js"})
"""What people copy and run."""

_BLOCK: Final = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A code block. `mark` is what its comment says, empty without one."""

    document: Path
    language: str
    mark: str
    text: str


def documents() -> list[Path]:
    """README.md and every page below deploy/docs."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks(document: Path) -> list[Block]:
    """The code blocks of a document, in order."""
    found = _BLOCK.finditer(document.read_text())
    return [Block(document, each["language"], each["mark"] or "", each["text"]) for each in found]


def block(name: str) -> str:
    """The text of the block with a name.

    Raises:
        AssertionError: no block has it, or several have.
    """
    found = [each.text for document in documents() for each in blocks(document) if each.mark == f"run: {name}"]
    assert len(found) == 1, f"{name}: {len(found)} blocks"
    return found[0]


def yaml_blocks(page: str) -> list[str]:
    """The YAML of a page, named from deploy/docs on, without `.md`."""
    return [each.text for each in blocks(DOCS / f"{page}.md") if each.language == "yaml"]


async def start(program: Program, *command: str, **variables: str) -> asyncio.subprocess.Process:
    """Run a command of a document against a program, in its folder, where the operator's token is."""
    here = [_here(program, part) for part in command]
    variables = {"QUELL_ADMIN": program.admin_url, **variables}
    return await asyncio.create_subprocess_exec(
        *here, cwd=program.folder, env=environment(**variables), stdout=PIPE, stderr=PIPE
    )


def _here(program: Program, text: str) -> str:
    """What one types, with this program's ports and the interpreter of the tests."""
    ports = {"127.0.0.1:8484": f"127.0.0.1:{program.port}", "127.0.0.1:8485": f"127.0.0.1:{program.admin_port}"}
    for shown, real in ports.items():
        text = text.replace(shown, real)
    return re.sub(r"(?<![\w/])(?:\.venv/bin/)?quell(?= [a-z-]+)", f"{sys.executable} -m proxy", text)


async def said_by(program: Program, command: str, **variables: str) -> bytes:
    """What a shell command prints."""
    said, _ = await (await start(program, "sh", "-c", command, **variables)).communicate()
    return said


@asynccontextmanager
async def the_demo(folder: Path) -> AsyncIterator[Program]:
    """What `make run` starts, on free ports."""
    anywhere = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
    program = Program(["-m", "proxy", "demo", *anywhere], folder, environment())
    try:
        await program.ready()
        yield program
    finally:
        program.kill()
