"""Helpers of the tests of budgets: a proxy with some, upstreams that tell running totals, and looks to wait for."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.engine.limits.spending import Spending
from support.chat import UPSTREAM_ID, sse, usage_object, word
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.upstream import Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually

FLUSH = {"flush": "20ms"}
LONG = "5000w"
"""A window that begins and ends in no test."""


@asynccontextmanager
async def budgeted(
    script: Script, folder: Path, *budgets: dict[str, Any], **config: Any
) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """The proxy with these budgets in front of an upstream."""
    async with scripted_upstream(script) as up:
        text = config_text(up.base_url, budgets=list(budgets), ledger=FLUSH, **config)
        async with running_proxy(text, folder) as proxy:
            yield proxy, up


def total_events(first: int, last: int) -> list[bytes]:
    """The events of the tokens from number `first` to `last`, from 1, each with the running total of the tokens."""
    head = {"id": UPSTREAM_ID, "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "scripted"}
    return [
        sse({**head, "choices": [choice(word(number - 1))], "usage": usage_object(7, number)})
        for number in range(first, last + 1)
    ]


def choice(content: str) -> dict[str, Any]:
    """A choice with a piece of text."""
    return {"index": 0, "delta": {"content": content}, "finish_reason": None}


class Looks:
    """Counts how often the proxy has looked at what is under its budgets."""

    def __init__(self, proxy: RunningProxy) -> None:
        self._looks = proxy.app.engine.budgets.looks
        self._look = self._looks._look
        self._done = 0
        self._looks._look = self._counted  # type: ignore[method-assign] # counted here, done there

    async def _counted(self, only: Sequence[Spending] = ()) -> None:
        await self._look(only)
        self._done += 1

    async def two(self) -> None:
        """Wait for two more: what had come by now was folded before the second one."""
        before = self._done
        await eventually(lambda: self._done >= before + 2, what="two looks")
