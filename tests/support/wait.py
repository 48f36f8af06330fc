"""Waiting in tests: for events and conditions, under generous bounds, with a message that says what was missing."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which a test gives up waiting: far beyond what anything here takes on a busy machine."""

PAUSE = 0.005
"""Seconds between two looks at a condition that nothing announces."""


@overload
def eventually(check: Callable[[], Awaitable[T]], timeout: float = ..., what: str = ...) -> Coroutine[Any, Any, T]: ...


@overload
def eventually(check: Callable[[], T], timeout: float = ..., what: str = ...) -> Coroutine[Any, Any, T]: ...


async def eventually(
    check: Callable[[], Any],
    timeout: float = PATIENCE,  # noqa: ASYNC109 - a failed wait must say what it waited for
    what: str = "",
) -> Any:
    """Call `check` until it gives something true, and give that back.

    `check` may be a plain or an async function. An AssertionError counts as "not yet", so it may assert.

    Raises:
        AssertionError: it did not come true within `timeout` seconds; says `what`, and the last value or assertion.
    """
    end = asyncio.get_running_loop().time() + timeout
    while True:
        problem: AssertionError | None = None
        value = None
        try:
            value = check()
            if isinstance(value, Awaitable):
                value = await value
        except AssertionError as error:
            problem = error
        if value:
            return value
        if asyncio.get_running_loop().time() > end:
            last = f"assertion failed: {problem}" if problem else f"last value: {value!r}"
            name = what or getattr(check, "__qualname__", repr(check))
            raise AssertionError(f"not within {timeout:g} s: {name} ({last})") from problem
        await asyncio.sleep(PAUSE)


async def within(awaitable: Awaitable[T], what: str, seconds: float = PATIENCE) -> T:
    """Await something that must happen.

    Raises:
        AssertionError: it did not within `seconds`; the message says `what`.
    """
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError as error:
        raise AssertionError(f"not within {seconds:g} s: {what}") from error
