"""A receiver of the sink's batches that can be told to fail in every way; it drops the ids that it had."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from support.http_bytes import Headers, header
from support.scripts import answer
from support.upstream import Conn

Behaviour = Callable[[Conn, "Meter", list[dict[str, Any]]], Awaitable[None]]


class Meter:
    """A script for the scripted upstream: each batch is met by the next behaviour, then by the last one for ever."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self._behaviours = list(behaviours) or [take]
        self.events: dict[str, dict[str, Any]] = {}
        """What was taken, by id, in the order in which each came first."""
        self.times: Counter[str] = Counter()
        """How often each id was taken."""
        self.sizes: list[int] = []
        """How many events each batch had, taken or not."""
        self.headers: list[Headers] = []

    async def __call__(self, conn: Conn) -> None:
        """Meet one batch."""
        request = conn.request
        assert request.method == "POST"
        assert header(request.headers, "content-type") == "application/cloudevents-batch+json; charset=utf-8"
        events = json.loads(request.body)
        self.sizes.append(len(events))
        self.headers.append(request.headers)
        behave = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
        await behave(conn, self, events)

    def keep(self, events: list[dict[str, Any]]) -> None:
        """Take a batch; what came before must come again as it was."""
        for event in events:
            assert self.events.setdefault(event["id"], event) == event
            self.times[event["id"]] += 1


async def take(conn: Conn, meter: Meter, events: list[dict[str, Any]]) -> None:
    """Take the batch, and say so."""
    meter.keep(events)
    await answer(204)(conn)


async def lose_answer(conn: Conn, meter: Meter, events: list[dict[str, Any]]) -> None:
    """Take the batch, and break the connection instead of saying so."""
    meter.keep(events)
    conn.reset()


async def cut_answer(conn: Conn, meter: Meter, events: list[dict[str, Any]]) -> None:
    """Take the batch, say so, and break off in the answer's body."""
    meter.keep(events)
    await conn.head(200, length=100)
    await conn.chunk(b"half")
    conn.fin()
    await conn.sleep_until_closed()


async def hang(conn: Conn, _meter: Meter, _events: list[dict[str, Any]]) -> None:
    """Say nothing."""
    await conn.sleep_until_closed()


def say(status: int, headers: Headers | None = None) -> Behaviour:
    """Take nothing, and answer with this status."""

    async def behave(conn: Conn, _meter: Meter, _events: list[dict[str, Any]]) -> None:
        await answer(status, b"no", headers)(conn)

    return behave


def refuse(*ids: str, status: int = 422) -> Behaviour:
    """Refuse each batch that has one of these events in it, and take the others."""

    async def behave(conn: Conn, meter: Meter, events: list[dict[str, Any]]) -> None:
        if any(event["id"] in ids for event in events):
            await answer(status)(conn)
        else:
            await take(conn, meter, events)

    return behave


def at_most(count: int) -> Behaviour:
    """Refuse with 413 what has more events than this."""

    async def behave(conn: Conn, meter: Meter, events: list[dict[str, Any]]) -> None:
        await (say(413) if len(events) > count else take)(conn, meter, events)

    return behave
