import asyncio

import pytest

from support.wait import eventually, within


async def test_the_first_true_value_is_given_back() -> None:
    """A check is repeated until it gives something true, plain or async; an assertion means not yet."""
    values = iter([0, None, 7])
    assert await eventually(lambda: next(values)) == 7

    async def later() -> int:
        return next(numbers)

    numbers = iter([0, 8])
    assert await eventually(later) == 8

    def asserting() -> bool:
        assert next(truths), "not yet"
        return True

    truths = iter([False, True])
    assert await eventually(asserting)


async def test_a_wait_in_vain_says_what_was_missing() -> None:
    """The message has the name of the check, the bound, and the last value or assertion."""
    with pytest.raises(AssertionError, match=r"not within 0.02 s: the tide \(last value: 0\)"):
        await eventually(lambda: 0, timeout=0.02, what="the tide")

    def never() -> bool:
        raise AssertionError("too dry")

    with pytest.raises(AssertionError, match=r"never \(assertion failed: too dry\)"):
        await eventually(never, timeout=0.02)


async def test_an_event_in_vain_says_what_was_missing() -> None:
    """A bounded await gives its result, or says what did not happen."""
    assert await within(asyncio.sleep(0, "done"), "sleep") == "done"
    with pytest.raises(AssertionError, match=r"not within 0\.01 s: the bell"):
        await within(asyncio.Event().wait(), "the bell", 0.01)
