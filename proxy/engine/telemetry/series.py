"""The bound on series: neither settings nor callers can make more of them than a scraper bears."""

from typing import Final, Generic, TypeVar

from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

M = TypeVar("M", bound=MetricWrapperBase)

OTHER: Final = "other"
"""What a label says in place of a name for which there is no room."""


class Series:
    """How many series there are, of at most so many. Those without a free label are always made, and counted too."""

    def __init__(self, most: int, dropped: Counter) -> None:
        """`dropped` counts what was told under `other` because there was no room."""
        self._most = most
        self._made = 0
        self.dropped = dropped

    def of(self, metric: M, *, free: int = 0, each: int = 1) -> "Labelled[M]":
        """A metric whose label combinations are counted here.

        Args:
            metric: the metric.
            free: its first so many labels are names out of settings, callers or providers, not of closed sets.
            each: so many series a combination makes: a histogram makes one for each bucket, and two.
        """
        return Labelled(self, metric, free, each)

    def has_room(self, more: int) -> bool:
        """Whether there is room for so many more."""
        return self._made + more <= self._most

    def take(self, more: int) -> None:
        """So many more are made."""
        self._made += more


class Labelled(Generic[M]):
    """A metric, called with the values of its labels. Looking one up here is faster than in the metric itself."""

    __slots__ = ("_children", "_each", "_free", "_metric", "_series")

    def __init__(self, series: Series, metric: M, free: int, each: int) -> None:
        self._series, self._metric, self._free, self._each = series, metric, free, each
        self._children: dict[tuple[str, ...], M] = {}

    def __call__(self, *values: str) -> M:
        """The series with these values; where there is no room, that of `other`."""
        child = self._children.get(values)
        return self._made(values) if child is None else child

    def _made(self, values: tuple[str, ...]) -> M:
        rest = (OTHER,) * self._free + values[self._free :]
        if self._free and values != rest and not self._series.has_room(self._each):
            self._series.dropped.inc()
            values = rest
            if (child := self._children.get(values)) is not None:
                return child
        self._series.take(self._each)
        child = self._children[values] = self._metric.labels(*values)
        return child
