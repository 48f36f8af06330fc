"""The benchmarks: Quell beside nginx and a plain aiohttp hop, on loopback, in one run. `make bench` starts this.

`python tests/bench/run.py [--quick] [--only NAME] [--markdown FILE]`.
"""

import argparse
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import (
    scene_cpu,
    scene_dialects,
    scene_feed,
    scene_first_byte,
    scene_memory,
    scene_money,
    scene_replicas,
    scene_resume,
    scene_safety,
    scene_stops,
)
from bench.contestants import Arena
from bench.scene import Bench
from bench.table import Table

SCENES: Final[dict[str, Callable[[Bench], Awaitable[None]]]] = {
    "cpu": scene_cpu.run,
    "dialects": scene_dialects.run,
    "resume": scene_resume.run,
    "first-byte": scene_first_byte.run,
    "stops": scene_stops.run,
    "feed": scene_feed.run,
    "replicas": scene_replicas.run,
    "memory": scene_memory.run,
    "safety": scene_safety.run,
    "money": scene_money.run,
}


def main() -> int:
    """Run what was asked for, print the table, and write it where that was asked."""
    options = _options()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    table = Table()
    try:
        failed = uvloop.run(_run(table, options.quick, options.only))
    except KeyboardInterrupt:
        click.echo("interrupted; everything that was started has been ended", err=True)
        return 130
    click.echo(table.plain())
    if options.markdown:
        options.markdown.write_text(table.markdown())
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Quell beside nginx and a plain aiohttp hop, from one run.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: under two minutes")
    parser.add_argument("--only", choices=sorted(SCENES), action="append", help="this part only; may be repeated")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too, as Markdown")
    return parser.parse_args()


async def _run(table: Table, quick: bool, only: list[str] | None) -> bool:
    """Run the scenes one after another; one that fails is told of and does not keep the others from running."""
    arena = Arena()
    failed = False
    try:
        _explain(table, arena, quick)
        for name, scene in SCENES.items():
            if only and name not in only:
                continue
            began = time.monotonic()
            click.echo(f"{name} … ", nl=False, err=True)
            try:
                await scene(Bench(arena, table, quick))
            except (OSError, RuntimeError, TimeoutError) as error:
                failed = True
                table.notes.append(f"{name}: not measured: {error!r}")
            click.echo(f"{time.monotonic() - began:.0f} s", err=True)
    finally:
        arena.close()
    return failed


def _explain(table: Table, arena: Arena, quick: bool) -> None:
    kind = "quick run" if quick else "full run"
    nginx = arena.nginx or "no nginx here (Debian: apt-get install nginx-light)"
    if not arena.nginx:
        click.echo(f"bench: {nginx}; going on without it", err=True)
    where = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, {nginx}"
    table.notes.append(f"{datetime.now(UTC):%Y-%m-%d}, {kind}: {where}; everything on loopback, one process per proxy.")


if __name__ == "__main__":
    sys.exit(main())
