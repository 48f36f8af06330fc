"""`make torture`: kills, power cuts, tenants, outages of PostgreSQL and the bus, under load; tells what came of it.

`python tests/torture/run.py --help` names the parts and how much of each may be asked for.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from support.disk_trace import can_trace
from torture.kills import Torture
from torture.outages import without_bus, without_database
from torture.power_cuts import cut_power
from torture.tenants import wander


async def kill(folder: Path, asked: argparse.Namespace) -> list[str]:
    """Kill until the number or the time is over, or something is wrong; gives what is."""
    ends = time.monotonic() + asked.minutes * 60
    async with Torture(folder, asked.streams, asked.seed) as torture:
        figures = torture.figures
        while figures.kills < asked.kills and time.monotonic() < ends and not figures.faults:
            await torture.round()
            if figures.kills % 10 == 0:
                print(f"{figures.kills} kills", end="\r", file=sys.stderr, flush=True)  # noqa: T201 for who waits
        await torture.finish()
    tell(figures.lines())
    return figures.faults


async def cut(folder: Path, asked: argparse.Namespace) -> list[str]:
    """Cut the power so often; gives what is wrong."""
    if not can_trace():
        tell(["no power was cut: that needs strace, and the right to trace"])
        return []
    cuts = await cut_power(folder, asked.cuts, 20_000, asked.seed)
    tell(cuts.lines())
    return cuts.faults


async def visit(_folder: Path, asked: argparse.Namespace) -> list[str]:
    """Let tenants do so many steps; gives what is wrong."""
    figures = await asyncio.to_thread(wander, asked.steps, asked.seed)
    tell(figures.lines())
    return figures.faults


async def do_without_database(folder: Path, asked: argparse.Namespace) -> list[str]:
    """PostgreSQL is away under load; gives what is wrong."""
    figures = await without_database(folder, asked.database_away, CALLERS, asked.seed)
    tell(figures.lines())
    return figures.faults


async def do_without_bus(folder: Path, asked: argparse.Namespace) -> list[str]:
    """The bus fails in each of its ways under load; gives what is wrong."""
    outages = await without_bus(folder, asked.bus_away, CALLERS, asked.seed)
    for figures in outages:
        tell(figures.lines())
    return [fault for figures in outages for fault in figures.faults]


CALLERS = 60
"""While a server is away."""

PARTS = {
    "kills": kill,
    "power": cut,
    "tenants": visit,
    "database": do_without_database,
    "bus": do_without_bus,
}


def tell(lines: list[str]) -> None:
    """Print what came of it."""
    print("\n".join(lines), flush=True)  # noqa: T201 what is asked for


async def main() -> int:
    """Torture, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--cuts", type=int, default=400)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--database-away", type=float, default=600.0, help="seconds")
    parser.add_argument("--bus-away", type=float, default=30.0, help="seconds")
    parser.add_argument("--only", choices=sorted(PARTS))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    tell([f"seed {asked.seed}"])
    faults: list[str] = []
    for name, part in PARTS.items():
        if asked.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory(prefix="quell-torture-") as folder:
            faults += await part(Path(folder), asked)
    tell(faults[:20])
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
