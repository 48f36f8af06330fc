"""The benchmarks: Quell beside nginx and a plain aiohttp hop, on loopback, in one run. `make bench` starts this.

`python tests/bench/run.py [--quick] [--only NAME] [--markdown FILE]`.
"""

import argparse
import asyncio
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

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import scene_cpu  # noqa: E402 the folder is not installed
from bench.contestants import Arena  # noqa: E402 the same
from bench.scene import Bench  # noqa: E402 the same
from bench.table import Table  # noqa: E402 the same

SCENES: Final[dict[str, Callable[[Bench], Awaitable[None]]]] = {
    "cpu": scene_cpu.run,
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
        print("interrupted; everything that was started has been ended", file=sys.stderr)
        return 130
    print(table.plain())
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
            print(f"{name} …", end=" ", file=sys.stderr, flush=True)
            try:
                await scene(Bench(arena, table, quick))
            except (OSError, RuntimeError, TimeoutError) as error:
                failed = True
                table.notes.append(f"{name}: not measured: {error!r}")
            print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    finally:
        arena.close()
    return failed


def _explain(table: Table, arena: Arena, quick: bool) -> None:
    kind = "quick run" if quick else "full run"
    nginx = arena.nginx or "no nginx here (Debian: apt-get install nginx-light)"
    if not arena.nginx:
        print(f"bench: {nginx}; going on without it", file=sys.stderr)
    where = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, {nginx}"
    table.notes.append(f"{datetime.now(UTC):%Y-%m-%d}, {kind}: {where}; everything on loopback, one process per proxy.")


if __name__ == "__main__":
    sys.exit(main())
