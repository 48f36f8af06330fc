"""Rounds of work that leave the event loop to others."""

from contextlib import suppress

import pytest

from proxy.edge.pace import SHARE, Pace

USUAL, LONGEST = 0.25, 10.0


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def rest_behind(*took: float) -> float:
    """The rest behind a round whose pieces took so long."""
    clock = Clock()
    pace = Pace(USUAL, LONGEST, clock)
    for seconds in took:
        with pace.work():
            clock.now += seconds
        clock.now += 1.0  # others had their turn, which is no part of it
    return pace.rest()


def test_quick_rounds_come_at_the_usual_pace() -> None:
    """What takes next to nothing comes as often as it should."""
    assert rest_behind() == rest_behind(0.001, 0.001) == USUAL


@pytest.mark.parametrize("took", [(0.1,), (0.05, 0.05)])
def test_slow_rounds_take_no_more_than_their_share(took: tuple[float, ...]) -> None:
    """Behind a round that took long, all its pieces together, the rest is so long that the share is kept."""
    rest = rest_behind(*took)
    assert sum(took) / (sum(took) + rest) == pytest.approx(SHARE)


def test_no_rest_is_longer_than_the_longest() -> None:
    """However long a round took, the next one comes."""
    assert rest_behind(60.0) == LONGEST


def test_each_round_is_judged_by_itself() -> None:
    """Behind a quick round the pace is the usual one again, also when a piece of the round before broke."""
    clock = Clock()
    pace = Pace(USUAL, LONGEST, clock)
    with suppress(ValueError), pace.work():
        clock.now += 0.1
        raise ValueError
    assert pace.rest() > USUAL
    assert pace.rest() == USUAL
