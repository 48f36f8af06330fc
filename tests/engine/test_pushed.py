"""Tests of proxy.engine.upstreams.pushed through a real connection: what `take` gets, and what ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.core.errors import UpstreamErrorKind
from proxy.core.settings.settings import Settings
from proxy.engine.upstreams.pushed import Take
from proxy.engine.upstreams.upstream import Answer, Upstream, UpstreamError
from support.scripts import cut_at, events_then_hang, sse_stream
from support.upstream import ScriptedUpstream, scripted_upstream

EVENTS = [b"data: %d\n\n" % number for number in range(50)]
GRACE = 0.05


@asynccontextmanager
async def answered(up: ScriptedUpstream) -> AsyncIterator[Answer]:
    """An answer of the scripted upstream, with its head there."""
    route = {"path": "/v1", "dialect": "openai", "upstream": "up"}
    settings = Settings.model_validate(
        {"version": 1, "upstreams": {"up": {"base_url": up.base_url}}, "routes": [route]}
    )
    upstream = Upstream("up", settings.upstreams["up"])
    answer = await upstream.open("POST", f"{up.base_url}/x", [("Host", "x")], b"{}", lambda: None)
    try:
        yield answer
    finally:
        answer.close()
        await upstream.close()


def into(taken: list[bytes]) -> Take:
    """A `take` that keeps everything and never has enough."""

    def take(piece: bytes) -> bool:
        taken.append(piece)
        return False

    return take


async def test_everything_arrives_in_order() -> None:
    """Every byte is handed on in order, and a proper end is told as such."""
    taken: list[bytes] = []
    async with scripted_upstream(sse_stream(EVENTS)) as up, answered(up) as answer:
        assert await answer.push(into(taken), GRACE)
    assert b"".join(taken) == b"".join(EVENTS)


async def test_a_break_is_told_after_what_came() -> None:
    """What came before a break is handed on, then the break is told as the upstream's."""
    taken: list[bytes] = []
    body = b"".join(EVENTS)
    async with scripted_upstream(cut_at(body, 100, "reset")) as up, answered(up) as answer:
        with pytest.raises(UpstreamError) as broken:
            await answer.push(into(taken), GRACE)
    assert broken.value.kind is UpstreamErrorKind.TRUNCATED
    assert body.startswith(b"".join(taken))


async def test_an_end_that_does_not_come_is_not_waited_for() -> None:
    """Once `take` has all it wants, a body that does not end is given up after the grace."""
    async with scripted_upstream(events_then_hang(EVENTS)) as up, answered(up) as answer:
        assert not await answer.push(lambda _piece: True, GRACE)


async def test_what_take_raises_comes_out() -> None:
    """An exception of `take` ends the read and comes out as it is, not as the upstream's fault."""

    def take(_piece: bytes) -> bool:
        raise RuntimeError("ours")

    async with scripted_upstream(events_then_hang(EVENTS)) as up, answered(up) as answer:
        with pytest.raises(RuntimeError, match="ours"):
            await answer.push(take, GRACE)


async def test_what_take_raises_comes_out_although_the_body_ends() -> None:
    """An exception of `take` comes out also when the body's end arrives with the piece that it was raised for."""
    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        raise RuntimeError("ours")

    async with scripted_upstream(sse_stream([b"".join(EVENTS)])) as up, answered(up) as answer:
        with pytest.raises(RuntimeError, match="ours"):
            await answer.push(take, GRACE)
    assert len(taken) == 1


async def test_cancelling_ends_it() -> None:
    """A cancelled read ends at once, and nothing is handed on afterwards."""
    began = asyncio.Event()
    async with scripted_upstream(events_then_hang(EVENTS)) as up, answered(up) as answer:

        def take(_piece: bytes) -> bool:
            began.set()
            return False

        reading = asyncio.get_running_loop().create_task(answer.push(take, GRACE))
        await began.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
