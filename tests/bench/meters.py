"""What is read of another process: CPU time and memory, from the kernel. Linux only."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

KIB: Final = 1024


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that processes used so far, user and system, all their threads, in seconds.

    It is the sum of what /proc/PID/stat has as utime and stime, read from the processes' own CPU clocks because those
    count nanoseconds, not hundredths of a second.
    """
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def memory(pids: Iterable[int]) -> int:
    """Proportional set size in bytes: shared pages count once."""
    return sum(_field(pid, "smaps_rollup", "Pss") for pid in pids)


def resident_peak(pids: Iterable[int]) -> int:
    """The most that was resident since `forget_peak`, in bytes."""
    return sum(_field(pid, "status", "VmHWM") for pid in pids)


def resident(pids: Iterable[int]) -> int:
    """What is resident now, in bytes."""
    return sum(_field(pid, "status", "VmRSS") for pid in pids)


def forget_peak(pids: Iterable[int]) -> None:
    """Start `resident_peak` anew."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _field(pid: int, file: str, name: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * KIB
    raise RuntimeError(f"/proc/{pid}/{file} has no {name}")


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie; the largest one near 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
