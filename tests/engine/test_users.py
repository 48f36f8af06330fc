"""Tests of proxy.engine.users: nothing is closed while anybody uses it."""

import asyncio

from proxy.engine.users import Users
from support.wait import within


async def test_gone_waits_for_the_last_user() -> None:
    """One object is entered any number of times, and who waits is told when the last one has left."""
    users = Users()
    await within(users.gone(), "nobody used it")
    async with asyncio.TaskGroup() as group:
        with users:
            with users:
                waiting = group.create_task(users.gone())
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not waiting.done()
        await within(waiting, "the last user left")
