"""Programs that are killed at a random instant, and what they had said by then."""

import asyncio
import os
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


async def killed_at_random(module: str, path: Path, number: int, after: float) -> list[list[str]]:
    """Run the victim, kill it that many seconds after it opened; gives what it had acknowledged."""
    victim = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        str(path),
        str(number),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"},
    )
    assert victim.stdout is not None
    try:
        assert await victim.stdout.readline() == b"open\n"
        await asyncio.sleep(after)
    finally:
        victim.kill()
    said = await victim.stdout.read()
    await victim.wait()
    return [line.split() for line in said.decode().splitlines()]
