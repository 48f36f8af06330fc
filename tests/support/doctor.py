"""`quell doctor` in tests: with the demo upstream behind the proxy, and its checks by their names."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from proxy.cli.doctor.command import doctor
from proxy.demo.upstream import DemoUpstream, start_demo_upstream
from support.program import ADMIN_TOKEN, config_text
from support.proxy import RunningProxy, running_proxy
from support.wait import within

NOWHERE = "http://127.0.0.1:1"
LOOKED_AT = "proxy.cli.doctor.streaming.ENOUGH_SECONDS"
"""How long a stream is looked at: tests that are not about its pace look for a moment only."""

ALL_WELL = dict.fromkeys(
    ("admin", "front", "quell", "ids", "encoding", "stream", "stop", "disconnect", "early disconnect"), "ok"
)
"""The verdicts where nothing is wrong."""


@asynccontextmanager
async def a_proxy(folder: Path, **config: Any) -> AsyncIterator[tuple[RunningProxy, DemoUpstream]]:
    """A proxy with the demo upstream behind it."""
    demo = await start_demo_upstream("127.0.0.1", 0)
    try:
        async with running_proxy(config_text(demo.base_url, **config), folder) as proxy:
            yield proxy, demo
    finally:
        await demo.stop()


async def examine(url: str, *arguments: str, admin: str = NOWHERE, **env: str) -> Result:
    """Run doctor in a thread."""
    known = {"QUELL_ADMIN": admin, "QUELL_ADMIN_TOKEN": ADMIN_TOKEN, "NO_COLOR": "1", "QUELL_KEY": ""}
    with capture_logs():
        call = asyncio.to_thread(CliRunner().invoke, doctor, (url, *arguments), env={**known, **env})
        return await within(call, "doctor ends", 60.0)


async def found(url: str, *arguments: str, admin: str = NOWHERE) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the checks by their names."""
    result = await examine(url, "-o", "json", *arguments, admin=admin)
    assert result.stdout, result.output
    return result.exit_code, {each["name"]: each for each in json.loads(result.stdout)["checks"]}


def verdicts(checks: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The verdicts of the checks."""
    return {name: check["verdict"] for name, check in checks.items()}
