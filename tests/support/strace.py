"""A disk that fails or is slow for a program that runs: `strace` puts itself between it and the kernel."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support.wait import within


def can_attach() -> bool:
    """Whether there is an `strace` that may put itself between."""
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], check=False, capture_output=True).returncode == 0
    )


@asynccontextmanager
async def injected(pid: int, fault: str) -> AsyncIterator[None]:
    """Meanwhile each such call of that process goes wrong, such as `fdatasync:error=EIO` or `pwrite64:error=EROFS`."""
    call = fault.partition(":")[0]
    tracer = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={fault}", "-p", str(pid)),
        stderr=asyncio.subprocess.PIPE,
    )
    assert tracer.stderr is not None
    try:
        attached = await within(tracer.stderr.readline(), "strace is attached")
        assert b"attached" in attached, attached
        yield
    finally:
        tracer.terminate()
        await tracer.stderr.read()
        await tracer.wait()
