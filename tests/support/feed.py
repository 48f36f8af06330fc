"""Reading the admin listener's feed as a page does: events as they come, and the table that they make.

async with feed(proxy, user="ann") as reader:
    await reader.until(lambda: reader.order == [...])
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from support.program import ADMIN_TOKEN, Program
from support.proxy import RunningProxy
from support.wait import PATIENCE, within


@dataclass(slots=True)
class FeedEvent:
    """One event, or a comment (then it has no name)."""

    name: str
    ident: str
    data: Any


@dataclass(slots=True)
class FeedReader:
    """One reader. What it was told makes its table."""

    answer: aiohttp.ClientResponse
    events: list[FeedEvent] = field(default_factory=list)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    gone: list[dict[str, Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] | None = None
    retry: str = ""

    @property
    def tasks(self) -> list[str]:
        """The task ids of the rows, in their order."""
        return [self.rows[ident]["task_id"] for ident in self.order]

    def named(self, name: str) -> list[FeedEvent]:
        """The events of this name so far."""
        return [event for event in self.events if event.name == name]

    @property
    def heartbeats(self) -> list[FeedEvent]:
        """The comments so far."""
        return self.named("")

    async def next(self, seconds: float = PATIENCE) -> FeedEvent:
        """The next event or comment, which is taken into the table.

        Raises:
            EOFError: the feed ended.
        """
        block = await within(self.answer.content.readuntil(b"\n\n"), "the feed says something", seconds)
        if not block:
            raise EOFError
        event = self._parsed(block.decode())
        self.events.append(event)
        self._take(event)
        return event

    async def until(self, true: Callable[[], Any], what: str = "the feed says it") -> None:
        """Read on until this is true; signs of life do not prolong the wait."""

        async def read_on() -> None:
            while not true():
                try:
                    await self.next()
                except EOFError:
                    raise AssertionError(f"the feed ended before: {what}") from None

        await within(read_on(), what)

    def _parsed(self, block: str) -> FeedEvent:
        fields: dict[str, str] = {}
        for line in block.splitlines():
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        self.retry = fields.get("retry", self.retry)
        data = json.loads(fields["data"]) if "data" in fields else None
        return FeedEvent(fields.get("event", ""), fields.get("id", ""), data)

    def _take(self, event: FeedEvent) -> None:
        match event.name:
            case "page":
                self.rows = {row["id"]: row for row in event.data["rows"]}
                self.order = list(self.rows)
                self.about = event.data
            case "change":
                self.rows |= {row["id"]: row for row in event.data["rows"]}
                self.order = event.data.get("order", self.order)
                self.gone += event.data["gone"]
                self.about = event.data
            case "summary":
                self.summary = event.data


@asynccontextmanager
async def feed(proxy: RunningProxy | Program, **query: str | int) -> AsyncIterator[FeedReader]:
    """Read the feed with these parameters; the first page has come."""
    url = f"http://127.0.0.1:{proxy.admin_port}/api/feed"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as session,
        session.get(url, params=query, timeout=aiohttp.ClientTimeout(total=None)) as answer,
    ):
        assert answer.status == 200, await answer.text()
        reader = FeedReader(answer)
        await reader.until(lambda: reader.named("page"), "the page")
        yield reader
