"""`make torture`: kills the proxy under load until the time or the number is over, and prints what came of it."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from torture.kills import Torture


async def main() -> int:
    """Torture, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    ends = time.monotonic() + asked.minutes * 60
    print(f"seed {asked.seed}", flush=True)  # noqa: T201 what is asked for
    with tempfile.TemporaryDirectory(prefix="quell-torture-") as folder:
        async with Torture(Path(folder), asked.streams, asked.seed) as torture:
            while torture.figures.kills < asked.kills and time.monotonic() < ends and not torture.figures.faults:
                await torture.round()
                if torture.figures.kills % 10 == 0:
                    print(f"{torture.figures.kills} kills", end="\r", file=sys.stderr, flush=True)  # noqa: T201 the same
            await torture.finish()
            print("\n".join([*torture.figures.lines(), *torture.figures.faults[:20]]))  # noqa: T201 the same
            return 1 if torture.figures.faults else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
