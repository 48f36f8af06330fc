import asyncio

import pytest

from proxy.demo import answer
from proxy.demo.calls import DemoCall
from proxy.demo.plan import read_plan


class LateClock:
    """A clock that moves only by sleeping, and every sleep ends 3 ms late, as on a busy machine."""

    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        """What the loop's clock would say."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.now += seconds + 0.003


async def test_lateness_does_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token is due at its own time from the first one on, however late those before it were."""
    clock = LateClock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    plan = read_plan(b'{"model": "demo", "demo": {"tokens": 401, "per_second": 40}}')
    times = [clock.now async for _ in answer._tokens(plan, DemoCall("x", "/", 401, stream=True))]
    monkeypatch.undo()
    assert times == pytest.approx([100.003 + step / 40 for step in range(401)])
