"""Tests of proxy.engine.upstreams.slots: so many at once, the rest in line."""

import asyncio

import pytest
from structlog.testing import capture_logs

from proxy.core.errors import Refusal
from proxy.engine.upstreams.slots import Slots
from support.wait import eventually


async def test_queue_is_first_come_first_served_and_bounded() -> None:
    """A call over the size waits its turn; one over the queue's size gets 429 at once, which names the queue."""
    slots = Slots("local", 1, 2)
    order: list[int] = []

    async def call(number: int) -> None:
        await slots.take()
        order.append(number)

    await slots.take()
    async with asyncio.TaskGroup() as group:
        group.create_task(call(1))
        group.create_task(call(2))
        await eventually(lambda: slots.waiting == 2)
        with pytest.raises(Refusal) as refused, capture_logs() as logged:
            await slots.take()
        assert refused.value.status == 429
        assert refused.value.message == "The queue of upstream local is full. Try again later."
        assert logged == [{"event": "upstream.queue_full", "upstream": "local", "waiting": 2, "log_level": "info"}]
        slots.give_back()
        slots.give_back()
    assert order == [1, 2]
    assert slots.waiting == 0


async def test_leaving_the_queue_frees_the_place() -> None:
    """A cancelled wait leaves the queue, and the slot goes to the next one."""
    slots = Slots("local", 1, 1)
    await slots.take()
    waiting = asyncio.get_running_loop().create_task(slots.take())
    await eventually(lambda: slots.waiting)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert slots.waiting == 0
    slots.give_back()
    await slots.take()


async def test_without_a_size_nobody_waits() -> None:
    """Without a size every call is admitted at once."""
    slots = Slots("local", None, 0)
    for _ in range(1000):
        await slots.take()
    assert slots.waiting == 0
